"""SIGTERM with everything open. The full size (500 WebSockets, 500 streams, 200 polls): tests/soak/shutdown.py."""

from __future__ import annotations

from pathlib import Path

from tests.soak.shutdown import shutdown

SOCKETS, STREAMS, POLLS = 25, 25, 10
DRAIN_S = 2.0


async def test_13_it_ends_in_time_and_tells_everybody_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    figures = await shutdown(tmp_path, SOCKETS, STREAMS, POLLS, DRAIN_S)
    assert figures.status == 0
    assert figures.took_s < DRAIN_S + 17, "docs/deploy.md promises that"
    assert figures.ends == {
        "websocket": {"3001 shutdown": SOCKETS},
        "events": {"drain 3001": STREAMS},
        "poll": {"200 with 0": POLLS},
        "document": {"1012": 1},
    }
    assert figures.incomplete == 0
    assert figures.acknowledged_edits > 0
    assert figures.lost_edits == 0
    assert figures.tracebacks == 0
