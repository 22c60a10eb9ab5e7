from __future__ import annotations

import asyncio

from roomful.transports.shutdown import Closable, close_all


class Connection:
    def __init__(self, connections: set[Closable], *, stubborn: bool = False) -> None:
        self.connections = connections
        self.stubborn = stubborn
        self.calls: list[object] = []
        connections.add(self)

    def close(self, code: int, reason: str) -> None:
        self.calls.append((code, reason))
        if not self.stubborn:
            asyncio.get_running_loop().call_soon(self.connections.discard, self)

    def abort(self) -> None:
        self.calls.append("abort")
        self.connections.discard(self)


async def test_everything_is_closed() -> None:
    connections: set[Closable] = set()
    all_of_them = [Connection(connections) for _ in range(3)]
    await close_all(connections, 1012, "service restart", 10.0)
    assert [connection.calls for connection in all_of_them] == [[(1012, "service restart")]] * 3


async def test_what_does_not_go_is_cut() -> None:
    connections: set[Closable] = set()
    stubborn = Connection(connections, stubborn=True)
    await close_all(connections, 1012, "service restart", 0.05)
    assert stubborn.calls == [(1012, "service restart"), "abort"]
