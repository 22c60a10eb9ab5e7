-- Takes all entries of one owner out of a channel's presence and announces their leaves, each once whoever else is at it.
-- KEYS: the channel's presence. ARGV: owner, pub/sub command and channel. An entry is "<owner> <body of the leave>".
local prefix = ARGV[1] .. ' '
local entries = redis.call('hgetall', KEYS[1])
local gone = 0
for i = 1, #entries, 2 do
  if string.sub(entries[i + 1], 1, #prefix) == prefix then
    redis.call('hdel', KEYS[1], entries[i])
    redis.call(ARGV[2], ARGV[3], '0  ' .. string.sub(entries[i + 1], #prefix + 1))
    gone = gone + 1
  end
end
return gone
