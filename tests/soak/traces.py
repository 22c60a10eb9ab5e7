"""Published editing traces through a served process: `python -m tests.soak.traces FOLDER`.

FOLDER holds `automerge-paper.json.gz` and `friendsforever.json.gz` of github.com/josephg/editing-traces. The text of a
single author must be the recorded one; two who type at once must converge. Each is read again after a restart.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.components import find
from tests.e2e.yjs.replay import replay
from tests.e2e.yjs.writer import writer
from tests.served import serve

TRACES = {"automerge-paper": True, "friendsforever": False}
"""Name → whether one author wrote it, so that there is only one way it can end."""


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--within", type=float, default=600.0, help="seconds for each trace")
    given = parser.parse_args()
    node = find("node")
    if node is None:
        sys.exit("node isn't installed")
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for name, alone in TRACES.items():
            server = await serve(Path(directory))
            try:
                done = await replay(node, server, name, given.folder / f"{name}.json.gz", within_s=given.within)
            finally:
                await server.stop()
            server = await serve(Path(directory))
            try:
                async with writer(server.port, name) as reader:
                    kept = reader.text == done.text
            finally:
                await server.stop()
            good = kept and (done.recorded or not alone)
            failed |= not good
            print(
                f"{name}: {done.transactions} transactions in {done.seconds:.1f} s, {len(done.text)} characters, "
                f"{'the recorded text' if done.recorded else 'converged'}, "
                f"{'the same' if kept else 'ANOTHER TEXT'} after a restart{'' if good else '  FAILED'}",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
