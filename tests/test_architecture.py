"""Who may import whom, through which door each library comes in, and that each file has its test.

The tables are the architecture; the code below only reads the sources (never runs them) and compares. An import counts
wherever it stands: at the top, inside a function, under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "roomful"

FOLDERS = ["model", "crdt", "wire", "rooms", "seams", "node", "session", "engines", "stores", "auth", "transports"]
ALL = {*FOLDERS, "server"}

MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "crdt": set(),
    "wire": {"model"},
    "rooms": {"model", "crdt"},
    "seams": {"model"},
    "node": {"model", "rooms", "seams"},
    "session": {"model", "rooms", "seams", "node"},
    "engines": {"model", "rooms", "seams"},
    "stores": {"model", "seams"},
    "auth": {"model", "seams"},
    "transports": {"model", "seams", "wire", "node", "session"},
    "server": ALL,
    "testing": ALL,
    "": ALL,
}
"""Folder → the folders it may import besides itself. "" is `roomful/__init__.py` and `__main__.py`."""

PURE = {"model", "crdt", "wire", "rooms", "seams"}
"""They get time, ids and random values as arguments, and never wait, log or sleep."""

NEVER_IN_PURE = {"asyncio", "logging", "random", "secrets", "time"}

DOORS: dict[str, set[str]] = {
    "asyncpg": {"stores/postgres.py"},
    "cryptography": {"auth/jwks.py"},
    "httpx": {"server/webhooks.py"},
    "google": {"wire/centrifuge_protobuf.py"},
    "hiredis": {"engines/redis_wire.py"},
    "httptools": {"transports/uvicorn_door.py"},
    "jwt": {"auth/tokens.py"},
    "msgspec": {"*"},
    "nats": {"engines/nats_link.py"},
    "prometheus_client": {"server/metrics.py"},
    "pycrdt": {"rooms/document.py", "rooms/document_content.py", "rooms/shared_state.py"},
    "starlette": {"server/*", "transports/*"},
    "structlog": {"server/logs.py"},
    "typer": {"server/cli.py"},
    "uvicorn": {"server/serve.py", "transports/uvicorn_http.py"},
    "uvloop": {"server/serve.py"},
    "websockets": {"transports/frames.py"},
}
"""Library → the files that may import it. `testing/` may import any of them, and pytest."""

ONLY_LIBRARY_OF_MODEL = "msgspec"

UNMIRRORED: dict[str, str] = {
    "__main__.py": "one call of the command line, which tests/server/test_cli.py starts",
    "model/client.py": "frozen structs without behaviour",
    "model/command.py": "frozen structs without behaviour",
    "model/document.py": "frozen structs; session/test_document_access.py goes through the rights",
    "model/event.py": "frozen structs without behaviour",
    "model/order.py": "frozen structs without behaviour",
    "model/publication.py": "frozen structs without behaviour",
    "model/push.py": "frozen structs without behaviour",
    "model/reply.py": "frozen structs without behaviour",
    "seams/authenticator.py": "protocols; every implementation has its test",
    "node/document_options.py": "defaults; tests/server/test_config.py reads them",
    "seams/dialect.py": "protocols; every implementation has its test",
    "seams/document_dialect.py": "protocols; every implementation has its test",
    "seams/engine.py": "protocols; testing/engine_contract.py is their test",
    "seams/store.py": "protocols; testing/store_contract.py is their test",
    "seams/transport.py": "protocols; testing/transport_contract.py is their test",
    "session/options.py": "defaults; tests/server/test_config.py reads them",
}
"""Source files without a `tests/<folder>/test_<file>.py`, and why."""

PUBLIC = [
    "ApplicationError",
    "AwarenessEvent",
    "ChannelOptions",
    "ClientInfo",
    "Config",
    "ConfigError",
    "ConnectEvent",
    "ConnectReply",
    "Disconnect",
    "DisconnectEvent",
    "DocumentChangeEvent",
    "DocumentCloseEvent",
    "DocumentLoadEvent",
    "DocumentLoadReply",
    "DocumentOpenEvent",
    "DocumentOpenReply",
    "DocumentStoreEvent",
    "DocumentUnloadEvent",
    "Forbidden",
    "ForeignHistoryEvent",
    "MessageEvent",
    "Override",
    "Page",
    "Position",
    "Publication",
    "PublishEvent",
    "PublishReply",
    "RefreshEvent",
    "RefreshReply",
    "Rights",
    "Roomful",
    "RoomfulError",
    "RpcEvent",
    "RpcReply",
    "ServerRpcEvent",
    "StatelessEvent",
    "StatelessReply",
    "SubRefreshEvent",
    "SubRefreshReply",
    "SubscribeEvent",
    "SubscribeReply",
    "SubscriptionOptions",
    "UnsubscribeEvent",
]
"""What `from roomful import …` offers."""


LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
"""Method of a logger → the level of its line."""

LOG_TABLE = "docs/monitoring.md"


class Import(NamedTuple):
    """One imported module, as written in one file."""

    file: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"

    @property
    def folder(self) -> str:
        return folder_of(self.file)

    @property
    def library(self) -> str:
        return self.module.partition(".")[0]

    @property
    def ours(self) -> bool:
        return self.library == "roomful"

    @property
    def target_folder(self) -> str:
        """Of ours: the folder that is imported, "" for the package itself."""
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 and (SOURCE / parts[1]).is_dir() else ""


def folder_of(file: str) -> str:
    return file.rpartition("/")[0].partition("/")[0]


@cache
def sources() -> list[str]:
    """Paths below src/roomful, `/` between the parts; generated modules are not ours to judge."""
    files = (path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
    return sorted(file for file in files if not file.endswith("_pb2.py"))


def module_name(file: str) -> str:
    return ".".join(["roomful", *file.removesuffix(".py").removesuffix("__init__").strip("/").split("/")]).strip(".")


@cache
def imports() -> list[Import]:
    return [found for file in sources() for found in imports_of(file, (SOURCE / file).read_text())]


def imports_of(file: str, text: str) -> list[Import]:
    package = module_name(file) if file.endswith("__init__.py") else module_name(file).rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [Import(file, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            found += [Import(file, node.lineno, submodule(base, alias.name)) for alias in node.names]
    return found


def submodule(base: str, name: str) -> str:
    """`from roomful.model import channel` imports a module, `from roomful.model.channel import Right` a name of one."""
    path = ROOT / "src" / Path(*base.split(".")) / name
    return f"{base}.{name}" if path.with_suffix(".py").exists() or path.is_dir() else base


def mirror_of(file: str) -> str:
    folder, _, name = file.rpartition("/")
    return "/".join(filter(None, ["tests", folder, f"test_{name}"]))


def listed(problems: list[str]) -> str:
    return "\n".join(["", *problems])


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import roomful.model.channel", ["roomful.model.channel"]),
        ("from roomful.model import channel", ["roomful.model.channel"]),
        ("from roomful.model.channel import Right, namespace_of", ["roomful.model.channel"] * 2),
        ("from ..model.channel import Right", ["roomful.model.channel"]),
        ("from . import hub", ["roomful.node.hub"]),
        ("def late():\n    import hiredis.hiredis", ["hiredis.hiredis"]),
        ("if TYPE_CHECKING:\n    from roomful.node.node import Node", ["roomful.node.node"]),
    ],
)
def test_every_way_to_import_is_seen(text: str, modules: list[str]) -> None:
    assert [found.module for found in imports_of("node/presence.py", text)] == modules


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_its_row_allows(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder}
    wrong = [
        f"{i}; allowed: {', '.join(sorted(allowed))}"
        for i in imports()
        if i.ours and i.folder == folder and i.target_folder not in allowed
    ]
    assert not wrong, listed(wrong)


def test_every_folder_has_a_row() -> None:
    folders = {folder_of(file) for file in sources()}
    assert folders <= MAY_IMPORT.keys()


def test_a_name_is_imported_from_where_it_lives() -> None:
    wrong = [str(i) for i in imports() if i.module == "roomful"]
    assert not wrong, listed(wrong)


def test_no_circle_between_modules() -> None:
    modules = {module_name(file) for file in sources()}
    graph = {module: {i.module for i in imports() if module_name(i.file) == module} & modules for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" ← ".join(circle.args[1]))


def test_pure_folders_never_wait_look_at_a_clock_draw_lots_or_log() -> None:
    wrong = [str(i) for i in imports() if i.folder in PURE and i.library in NEVER_IN_PURE]
    assert not wrong, listed(wrong)


def test_pure_folders_have_no_coroutine_but_in_a_protocol() -> None:
    wrong = [
        f"{file}:{node.lineno} is async"
        for file in sources()
        if folder_of(file) in PURE - {"seams"}
        for node in ast.walk(ast.parse((SOURCE / file).read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert not wrong, listed(wrong)


def test_each_library_comes_in_by_its_door() -> None:
    libraries = [
        i for i in imports() if not i.ours and i.library not in sys.stdlib_module_names and i.folder != "testing"
    ]
    wrong = [
        f"{i}; its doors: {', '.join(sorted(DOORS.get(i.library, {'none in DOORS'})))}"
        for i in libraries
        if not DOORS.get(i.library, set()) & {"*", i.file, f"{i.folder}/*"}
    ]
    wrong += [str(i) for i in libraries if i.folder == "model" and i.library != ONLY_LIBRARY_OF_MODEL]
    assert not wrong, listed(wrong)


def test_each_source_file_has_a_test_of_its_name() -> None:
    wrong = [
        f"{file} has no {mirror_of(file)}"
        for file in sources()
        if not file.endswith("__init__.py") and file not in UNMIRRORED and not (ROOT / mirror_of(file)).exists()
    ]
    assert not wrong, listed(wrong)


def test_the_exceptions_from_the_mirror_are_needed() -> None:
    wrong = [file for file in UNMIRRORED if file not in sources() or (ROOT / mirror_of(file)).exists()]
    assert not wrong, listed(wrong)


def test_public_names() -> None:
    roomful = importlib.import_module("roomful")
    assert roomful.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(roomful, name)] == []


def events_of(text: str) -> list[tuple[int, str, str]]:
    """Each event that is logged: its line, its level, and its sentence before the values are put in.

    An event that has no sentence of its own (a variable, an f-string) comes as the source of that, which no table has.
    """
    return [
        (node.lineno, LEVELS[node.func.attr], sentence(node.args[0]))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and is_logger(node.func.value)
    ]


def is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name.lstrip("_") in ("log", "logger")
        case ast.Call(func=ast.Name("about")):
            return True
    return False


def sentence(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else f"`{ast.unparse(node)}`"


def test_every_event_that_is_logged_is_explained_and_every_one_explained_is_logged() -> None:
    page = (ROOT / LOG_TABLE).read_text().partition("\n## The log\n")[2]
    explained = set(re.findall(r"^\| (debug|info|warning|error) \| (.+?) \| .*\|$", page, re.MULTILINE))
    places = {
        (level, event): f"{file}:{line}"
        for file in sources()
        if folder_of(file) != "testing"
        for line, level, event in events_of((SOURCE / file).read_text())
    }
    wrong = [
        f"{places[event]}: {LOG_TABLE} needs | {event[0]} | {event[1]} | what it means |"
        for event in sorted(places.keys() - explained)
    ]
    wrong += [f"{LOG_TABLE}: nothing logs | {' | '.join(event)} |" for event in sorted(explained - places.keys())]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('log.info("hello %s", name)', [("info", "hello %s")]),
        ('about(log, self.socket).exception("x")', [("error", "x")]),
        ('self._log.warning("x" "y")', [("warning", "xy")]),
        ("log.error(text)", [("error", "`text`")]),
        ('dialog.info("x"); math.log.error', []),
    ],
)
def test_every_way_to_log_is_seen(text: str, events: list[tuple[str, str]]) -> None:
    assert [found[1:] for found in events_of(text)] == events
