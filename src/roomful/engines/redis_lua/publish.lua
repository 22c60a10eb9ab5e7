-- Numbers a body, appends it to the stream, trims, and sends it to all who listen: one step.
-- KEYS: meta, log, mark (absent without a key). ARGV: pub/sub command and channel, body, size (0: no stream), time to
-- live of log, meta and mark in ms, nonce, life.
-- Returns "<offset> <epoch>"; with a "=" in front when the mark says that it was published before.
local mark = KEYS[3]
if mark then
  local first = redis.call('get', mark)
  if first then
    return '=' .. first
  end
end
local place = '0 '
if ARGV[4] ~= '0' then
  local epoch, top = open_stream(KEYS[1], KEYS[2], ARGV[8], ARGV[9], ARGV[6])
  local offset = string.format('%.0f', top + 1)
  place = offset .. ' ' .. epoch
  redis.call('hset', KEYS[1], 't', offset)
  redis.call('xadd', KEYS[2], 'maxlen', '=', ARGV[4], offset .. '-0', 'b', ARGV[3])
  redis.call('pexpire', KEYS[2], ARGV[5])
  redis.call('pexpire', KEYS[1], ARGV[6])
end
if mark then
  redis.call('set', mark, place, 'px', ARGV[7])
end
redis.call(ARGV[1], ARGV[2], place .. ' ' .. ARGV[3])
return place
