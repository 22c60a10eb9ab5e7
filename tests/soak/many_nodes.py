"""Every fault of `faults.py` at full size: `python -m tests.soak.many_nodes`.

Prints what was published and told, and ends with 1 when the books don't balance. Not part of `make test`, whose small
size is tests/e2e/test_many_nodes.py.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from roomful.testing.ledger import BookError
from tests.components import find
from tests.engines.redis_server import RedisServer
from tests.soak import faults
from tests.soak.fleet import Fleet, fleet

FAULTS: dict[str, Callable[[Fleet[RedisServer], float], Awaitable[None]]] = {
    "listeners killed every 2 s": faults.killed_listeners,
    "2 MB messages, 1 MB output limit": faults.large_messages,
    "broker crashes": faults.crash,
    "one link mute": faults.mute_link,
    "one link 3 s late": faults.slow_link,
    "one node frozen": faults.frozen_node,
    "one node killed": faults.killed_node,
}


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--followers", type=int, default=200)
    parser.add_argument("--per-second", type=int, default=1_000)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fault")
    parser.add_argument("--durable", action="store_true", help="Redis with appendfsync always")
    given = parser.parse_args()
    program = find("redis-server")
    if program is None:
        sys.exit("redis-server isn't installed")
    options = ("--appendonly", "yes", "--appendfsync", "always") if given.durable else ()
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        redis = RedisServer(program, Path(directory) / "redis", *options)
        await redis.start()
        try:
            async with fleet(
                Path(directory),
                redis,
                nodes=given.nodes,
                channels=given.channels,
                followers=given.followers,
                per_second=given.per_second,
                history=10_000,
            ) as running:
                for name, fault in FAULTS.items():
                    gaps, published = running.gaps, sum(each.published for each in running.publishers)
                    seconds = min(given.seconds, 5.0) if fault is faults.crash else given.seconds
                    await fault(running, seconds)
                    await running.flows()
                    try:
                        await running.check()
                        verdict = "holds"
                    except BookError as error:
                        failed, verdict = 1, f"BROKEN\n{error}"
                    more = sum(each.published for each in running.publishers) - published
                    print(
                        f"{name:34} published {more:7} told gaps {running.gaps - gaps:5} ledger {verdict}", flush=True
                    )
        finally:
            await redis.kill()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
