"""What `Redis` lets its server do in one step (Lua), and how tags lie in an entry.

Every script on one entry gets the entry's key, and as its first arguments what stands before a tag's key, and the
entry's name in the sets of its tags. An entry that the server let expire stays in those sets until its tag is
dropped, so whoever reads a set looks whether the entry still has the tag.
"""

from __future__ import annotations

from collections.abc import Iterable

_COMMON = """
local function each(packed, act)
    local i = 1
    while packed and i <= #packed do
        local length = struct.unpack('>I4', packed, i)
        act(string.sub(packed, i + 4, i + 3 + length))
        i = i + 4 + length
    end
end
local function tags_of(key)
    return redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, 'tags')
end
local function delete(key, tags, name)
    each(tags_of(key), function(tag) redis.call('SREM', tags .. tag, name) end)
    return redis.call('DEL', key)
end
"""

PUT = (
    _COMMON
    + """
local tags, name, ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if ms <= 0 then return delete(KEYS[1], tags, name) end
local old, kind = tags_of(KEYS[1]), redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
-- the first write: a server without memory refuses that one, and with it all
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ms)
each(old, function(tag) redis.call('SREM', tags .. tag, name) end)
each(tags_of(KEYS[1]), function(tag)
    redis.call('SADD', tags .. tag, name)
    if redis.call('PTTL', tags .. tag) < ms then redis.call('PEXPIRE', tags .. tag, ms) end
end)
return 1
"""
)

HIT = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'hits', 1)
    redis.call('HSET', KEYS[1], 'last_hit', ARGV[3])
end
"""

DELETE = _COMMON + "return delete(KEYS[1], ARGV[1], ARGV[2])"

DROP = (
    _COMMON
    + """
local entries, tags, dropped, gone = ARGV[1], ARGV[2], ARGV[3], 0
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local has = false
    each(tags_of(entries .. name), function(tag) has = has or tag == dropped end)
    if has then gone = gone + delete(entries .. name, tags, name) end
end
redis.call('DEL', KEYS[1])
return gone
"""
)


def packed(tags: Iterable[bytes]) -> bytes:
    """Return tags as one text: each with its length before it (4 bytes, big-endian)."""
    return b"".join(len(tag).to_bytes(4, "big") + tag for tag in tags)


def unpacked(data: bytes) -> list[bytes]:
    """Read what `packed` made.

    Raises
    ------
    ValueError
        If it is cut off.
    """
    tags, i = [], 0
    while i < len(data):
        length = int.from_bytes(data[i : i + 4], "big")
        i += 4 + length
        if i > len(data):
            raise ValueError(data)
        tags.append(data[i - length : i])
    return tags
