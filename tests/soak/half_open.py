"""Links that are open and mute, with the default pings: `python -m tests.soak.half_open`.

centrifuge-js over each transport, through a proxy that lets nothing through for a while. Prints when clients and server
found out, what the server held before and after, and whether all came back once the links were healed. The small size
is tests/transports/test_14_half_open.py.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from roomful.testing.fault_proxy import FaultProxy
from tests.components import find
from tests.e2e.sdks.js_sdk import Bridge, JsSdk
from tests.e2e.sdks.rooms import url_of
from tests.e2e.sdks.sdk import Client
from tests.engines.redis_server import eventually
from tests.served import Server, serve

CONFIG = """
[tokens]
anonymous = true
[metrics]
open = true
[limits]
unauthenticated_per_address_max = 0
"""
TRANSPORTS: dict[str, list[str]] = {"websocket": [], "http_stream": ["http_stream"], "sse": ["sse"]}


async def held(http: httpx.AsyncClient, server: Server) -> tuple[int, int]:
    """Connections, and open files."""
    text = (await http.get("/metrics")).text
    connections = re.findall(r"^roomful_connections\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(round(float(each)) for each in connections), len(os.listdir(f"/proc/{server.pid}/fd"))


async def moment(condition: Callable[[], object], began: float) -> float:
    """How long after `began` it became true."""
    await eventually(condition, 120.0)  # type: ignore[arg-type]  # whatever a caller's lambda returns is a truth
    return time.monotonic() - began


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50, help="over each transport")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the hole")
    given = parser.parse_args()
    node = find("node")
    if node is None:
        sys.exit("node isn't installed")
    bridge = Bridge()
    await bridge.start(node)
    with tempfile.TemporaryDirectory() as directory:
        server = await serve(Path(directory), dev=False, config=CONFIG)
        try:
            async with FaultProxy(server.port) as proxy, httpx.AsyncClient(base_url=server.url) as http:
                before = await held(http, server)
                clients: list[Client] = []
                for transports in TRANSPORTS.values():
                    sdk = JsSdk(False, bridge, transports)
                    for _ in range(given.clients):
                        clients.append(await sdk.client(url_of(proxy.port)))
                await asyncio.gather(*(client.connected() for client in clients))
                print(f"before {before}, with {len(clients)} clients {await held(http, server)}", flush=True)
                proxy.hole()
                began = time.monotonic()
                healing = asyncio.get_running_loop().call_later(given.seconds, proxy.heal)

                async def gone() -> bool:
                    return (await held(http, server))[0] <= before[0]

                server_s, client_s = await asyncio.gather(
                    moment(gone, began),
                    moment(lambda: all(len(client.log.named("connecting")) > 1 for client in clients), began),
                )
                reasons = {client.log.named("connecting")[1].reason for client in clients}
                after = await held(http, server)
                print(
                    f"found out: server {server_s:.1f} s, clients {client_s:.1f} s ({reasons}); left {after}",
                    flush=True,
                )
                proxy.cut()
                await eventually(lambda: time.monotonic() > began + given.seconds, given.seconds + 10)
                healing.cancel()
                proxy.heal()
                proxy.cut()
                await eventually(lambda: all(len(client.log.named("connected")) > 1 for client in clients), 120.0)
                print("all are back", flush=True)
                for client in clients:
                    await client.disconnect()
        finally:
            await bridge.stop()
            await server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
