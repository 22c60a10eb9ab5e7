-- The heads of many streams. KEYS: meta, log for each. ARGV: for each the time to live of meta in ms, the epoch and the
-- offset that the node knows; then nonce, life. Returns epoch and top for each.
local nonce, life, heads = ARGV[#ARGV - 1], ARGV[#ARGV], {}
for i = 0, #KEYS / 2 - 1 do
  local meta, log, keep_ms = KEYS[2 * i + 1], KEYS[2 * i + 2], ARGV[3 * i + 1]
  local epoch, top = open_stream(meta, log, nonce, life, keep_ms, ARGV[3 * i + 2], tonumber(ARGV[3 * i + 3]))
  redis.call('pexpire', meta, keep_ms, 'gt')
  heads[2 * i + 1], heads[2 * i + 2] = epoch, string.format('%.0f', top)
end
return heads
