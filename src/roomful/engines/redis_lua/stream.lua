-- Put in front of the scripts that touch a stream. A stream is a hash `meta` (e: epoch, t: top offset, l: the life of the
-- server under which the epoch began) and a Redis stream `log` whose ids are the offsets.

-- Epoch and top offset of a stream, begun if there is none. A stream that another life of the server has made, or that
-- doesn't reach as far as `known` says, may have lost its end: from now on it is another epoch. nonce: the node's own.
local function open_stream(meta, log, nonce, life, keep_ms, known_epoch, known_top)
  local found = redis.call('hmget', meta, 'e', 't', 'l')
  local epoch, top = found[1], tonumber(found[2] or 0)
  if epoch and found[3] == life and not (epoch == known_epoch and top < known_top) then
    return epoch, top
  end
  if not epoch then
    redis.call('del', log) -- left over if only the hash was evicted
  end
  local now = redis.call('time')
  epoch = nonce .. string.format('%x%05x', now[1], now[2])
  redis.call('hset', meta, 'e', epoch, 't', top, 'l', life)
  redis.call('pexpire', meta, keep_ms)
  return epoch, top
end
