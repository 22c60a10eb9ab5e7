-- KEYS: the leases of all owners (a sorted set: owner, end in ms of this server's clock). ARGV: owner, its new time to
-- live in ms (0: leave it as it is), whether it may begin (1 or 0). Returns whether the owner had a living lease (1 or
-- 0), owners that live, a "", owners whose lease has ended.
local now = redis.call('time')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local until_ms = redis.call('zscore', KEYS[1], ARGV[1])
local alive = until_ms and tonumber(until_ms) > now
if ARGV[2] ~= '0' and (alive or ARGV[3] == '1') then
  redis.call('zadd', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
end
local answer = { alive and 1 or 0 }
for _, owner in ipairs(redis.call('zrangebyscore', KEYS[1], '(' .. now, '+inf')) do
  answer[#answer + 1] = owner
end
answer[#answer + 1] = ''
for _, owner in ipairs(redis.call('zrangebyscore', KEYS[1], '-inf', now)) do
  answer[#answer + 1] = owner
end
return answer
