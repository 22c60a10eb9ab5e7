-- Part of a stream, and its head, from one read. KEYS: meta, log. ARGV: time to live of meta in ms, limit (-1: none),
-- since (-1: none), reverse (1 or 0), max_bytes (-1: none; the entry that exceeds it is the last one), nonce, life.
-- Returns epoch, top, {offset-0, {"b", body}} …
local epoch, top = open_stream(KEYS[1], KEYS[2], ARGV[6], ARGV[7], ARGV[1])
redis.call('pexpire', KEYS[1], ARGV[1], 'gt')

local limit, since, reverse, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local function id(offset)
  return string.format('%.0f-0', offset)
end
local from = reverse and '+' or '-'
if since >= 0 then
  from = reverse and id(since - 1) or id(since + 1)
end
if limit == 0 or (reverse and since == 0) then
  return { epoch, string.format('%.0f', top), {} }
end

-- In steps, so that a page of large publications doesn't load all that its limit would allow.
local entries, bytes = {}, 0
local step = max_bytes < 0 and 10000 or 16
repeat
  local count = limit < 0 and step or math.min(step, limit - #entries)
  local part
  if reverse then
    part = redis.call('xrevrange', KEYS[2], from, '-', 'count', count)
  else
    part = redis.call('xrange', KEYS[2], from, '+', 'count', count)
  end
  local full = false
  for _, entry in ipairs(part) do
    entries[#entries + 1] = entry
    bytes = bytes + #entry[2][2]
    if max_bytes >= 0 and bytes > max_bytes then
      full = true
      break
    end
  end
  if #entries > 0 then
    local last = tonumber(string.match(entries[#entries][1], '^%d+'))
    if reverse and last <= 1 then
      break
    end
    from = id(reverse and last - 1 or last + 1)
  end
until full or #part < count or #entries == limit
return { epoch, string.format('%.0f', top), entries }
