"""What belongs to a trace; and that everything it may show is explained, and shown."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from roomful.model.tracing import HAPPENINGS, OF_THE_CHANNEL, Wanted

ROOT = Path(__file__).parent.parent.parent
ANN, ROOM, BOTH = Wanted(user="ann"), Wanted(channel="chat:1"), Wanted("ann", "chat:1")


@pytest.mark.parametrize(
    ("wanted", "event", "user", "channel", "included"),
    [
        (ANN, "connected", "ann", "", True),
        (ANN, "connected", "bob", "", False),
        (ANN, "connected", "", "", False),
        (ANN, "delivered", "ann", "news", True),
        (ANN, "published", "ann", "news", True),
        (ANN, "published", "bob", "news", False),
        (ROOM, "delivered", "bob", "chat:1", True),
        (ROOM, "delivered", "bob", "chat:2", False),
        (ROOM, "connected", "bob", "", False),
        (ROOM, "closed", "", "", False),
        (BOTH, "delivered", "ann", "chat:1", True),
        (BOTH, "delivered", "ann", "chat:2", False),
        (BOTH, "delivered", "bob", "chat:1", False),
        (BOTH, "connected", "ann", "", True),
        (BOTH, "connected", "bob", "", False),
        (BOTH, "connected", "", "", False),
        (BOTH, "published", "bob", "chat:1", True),
        (BOTH, "arrived", "", "chat:1", True),
        (BOTH, "published", "ann", "chat:2", False),
    ],
)
def test_what_is_shown(wanted: Wanted, event: str, user: str, channel: str, included: bool) -> None:
    assert wanted.includes(event, user, channel) is included


@pytest.mark.parametrize(
    ("wanted", "concerned"),
    [
        (ANN, {("ann", "chat:1"), ("ann", "x")}),
        (ROOM, {("ann", "chat:1"), ("bob", "chat:1")}),
        (BOTH, {("ann", "chat:1")}),
    ],
)
def test_whose_deliveries_are_looked_at(wanted: Wanted, concerned: set[tuple[str, str]]) -> None:
    everybody = {(user, channel) for user in ("ann", "bob") for channel in ("chat:1", "x")}
    assert {each for each in everybody if wanted.concerns(*each)} == concerned


def test_each_happening_is_told_somewhere_and_none_other() -> None:
    files = [path for folder in ("node", "session", "server") for path in (ROOT / "src/roomful" / folder).glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    told = {
        node.args[0].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("happens", "_happens", "_happening")
        and isinstance(node.args[0], ast.Constant)
    }
    assert HAPPENINGS.keys() <= texts
    assert told <= HAPPENINGS.keys()
    assert HAPPENINGS.keys() >= OF_THE_CHANNEL


def test_the_page_about_monitoring_has_the_table() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in HAPPENINGS.items())
    assert rows in page, rows
