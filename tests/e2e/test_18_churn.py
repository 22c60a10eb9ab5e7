"""Number 18 at a small size: hooks raise whatever can be raised, clients come and go in every way, nothing is left.

The full size is `python -m tests.soak.churn`.
"""

from __future__ import annotations

from pathlib import Path

from tests.soak.churn import WAYS, check_ends, churn, grown, report_when_all_are_gone, serve_churn

VISITS = 600


async def test_18_what_hooks_raise_ends_nothing_and_each_end_is_told_once(tmp_path: Path) -> None:
    server = await serve_churn(tmp_path)
    try:
        await churn(server.port, VISITS)
        before = await report_when_all_are_gone(server)
        done = await churn(server.port, VISITS)
        after = await report_when_all_are_gone(server)
    finally:
        status = await server.stop()
    assert status == 0
    check_ends(after)
    assert after["counted"]["raised"] > 20
    assert all(done[way.__name__] > 10 for way in WAYS)
    assert after["tasks"] <= before["tasks"] + 5
    assert grown(before, after, least=VISITS // 4) == {}
