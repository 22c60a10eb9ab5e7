"""`kill -9` of nats-server, again and again, under load: `python -m tests.soak.nats_crashes`.

Prints what was published and told; ends with 1 when the books don't balance, a node logged a traceback, or a gap was
told with file storage, which loses nothing. The small size is tests/e2e/test_nats_crashes.py.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from roomful.testing.ledger import BookError
from tests.components import find
from tests.engines.nats_server import NatsServer
from tests.soak import faults
from tests.soak.fleet import fleet


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--followers", type=int, default=40)
    parser.add_argument("--per-second", type=int, default=40)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--crashes", type=int, default=20)
    parser.add_argument("--storage", choices=("file", "memory"), default="file")
    parser.add_argument("--program", default=find("nats-server"), help="another nats-server")
    given = parser.parse_args()
    program = given.program
    if program is None:
        sys.exit("nats-server isn't installed")
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(program, Path(directory))
        await server.start()
        try:
            async with fleet(
                Path(directory),
                server,
                nodes=given.nodes,
                channels=given.channels,
                followers=given.followers,
                per_second=given.per_second,
                history=10_000,
                engine=f'nats_storage = "{given.storage}"',
            ) as running:
                for number in range(given.crashes):
                    await faults.crash(running, 0.2)
                    await running.flows(5)
                    print(f"crash {number + 1}: told gaps {running.gaps}", flush=True)
                try:
                    await running.check()
                    verdict = "holds"
                except BookError as error:
                    verdict = f"BROKEN\n{error}"
                published = sum(each.published for each in running.publishers)
                unsure = sum(each.refused for each in running.publishers)
                tracebacks = sum(node.server.log.count("Traceback") for node in running.nodes)
                print(
                    f"published {published} unsure {unsure} told gaps {running.gaps} "
                    f"tracebacks {tracebacks} ledger {verdict}"
                )
                told_for_nothing = running.gaps > 0 and given.storage == "file"
                return int(verdict != "holds" or tracebacks > 0 or told_for_nothing)
        finally:
            await server.kill()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
