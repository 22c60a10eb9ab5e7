"""The Lua scripts in `redis_lua/`: steps that a Redis server takes at once. Sent by name; the name is their SHA-1."""

from __future__ import annotations

import hashlib
from importlib.resources import files

_FOLDER = files("roomful.engines") / "redis_lua"
_SHARED = (_FOLDER / "stream.lua").read_text("utf-8")


class Script:
    """One script. source: its text. sha: what EVALSHA calls it."""

    def __init__(self, name: str, *, on_stream: bool = False) -> None:
        text = (_FOLDER / f"{name}.lua").read_text("utf-8")
        self.source = (_SHARED + text if on_stream else text).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


PUBLISH = Script("publish", on_stream=True)
HISTORY = Script("history", on_stream=True)
HEADS = Script("heads", on_stream=True)
LEASE = Script("lease")
REAP = Script("reap")

ALL = (PUBLISH, HISTORY, HEADS, LEASE, REAP)
