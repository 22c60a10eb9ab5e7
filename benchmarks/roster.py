"""Who is measured: Roomful, the floors, and the peers, each with the settings that its own documentation recommends."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from install import BUILD, PEERS, PYTHON, both, compiled, debian, nothing, npm, npm_version, pip, python_version, run
from servers import DIRECTORY, PORT, Peer

FANOUT, ECHO, STORM = "fanout", "echo", "storm"
ROOMFUL, ROOMFUL_ALONE = "Roomful", "Roomful, presence off"
DIRECT = "one direct write a client"

SETTINGS = """
[server]
port = 0

[tokens]
anonymous = true

[limits]
handshakes_per_s = 100000
unauthenticated_per_address_max = 100000
channels_max = 200000

[documents]
access = "client"

[namespaces.bench]
history_size = 100
history_ttl_s = 300
recover = true
presence = {presence}
subscribe = "client"
publish = "client"
"""

NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NATS = """
listen: "127.0.0.1:-1"
ping_interval: "10m"
websocket {{ host: "127.0.0.1", port: {port}, no_tls: true, compression: false }}
"""


def roomful(name: str, *, presence: bool, protocol: str = "centrifuge", family: str = "websocket") -> Peer:
    """The real server with everything on: rights, metrics, limits (raised where the benchmark is many clients from one
    address), a history of 100."""
    config = BUILD / f"roomful-{'with' if presence else 'without'}-presence.toml"

    def set_up() -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        config.write_text(SETTINGS.format(presence=str(presence).lower()))

    command = [sys.executable, "-m", "roomful", "serve", "roomful_app:app", "--config", str(config)]
    command += ["--data", DIRECTORY]
    modes = frozenset({FANOUT, ECHO, STORM} if family == "websocket" else {FANOUT})
    return Peer(name, protocol, command, set_up, python_version(sys.executable, "roomful"), family, modes)


def floor(name: str, *arguments: str, modes: frozenset[str]) -> Peer:
    program = BUILD / "floor"
    command = [str(program), *arguments]
    return Peer(
        name, "bare", command, compiled([PEERS / "floor.c"], program), lambda: run("cc", "-dumpversion"), modes=modes
    )


def configured(name: str, program: str, template: str, substitute: dict[str, str], arguments: str) -> list[str]:
    """A shell that puts a free port into a configuration file, says it, and becomes the program."""
    edits = "".join(f"s#{old}#{new}#;" for old, new in substitute.items())
    source, target = f"{BUILD}/{name}.template", f"{BUILD}/{name}.conf"
    Path(source).write_text(template)
    return [
        "sh",
        "-c",
        f"sed '{edits}s#PORT#'$0'#' {source} > {target}; echo http://127.0.0.1:$0; exec {program} {arguments} {target}",
        PORT,
    ]


def nchan(name: str, protocol: str, family: str) -> Peer:
    def command() -> list[str]:
        substitute = {"MODULE": str(NCHAN), "DIRECTORY": str(BUILD)}
        return configured("nchan", "nginx", (PEERS / "nchan.conf").read_text(), substitute, f"-p {BUILD} -c")

    def version() -> str:
        return run("dpkg-query", "-W", "-f", "${Package} ${Version} ", "libnginx-mod-nchan", "nginx")

    return Peer(name, protocol, command, debian("libnginx-mod-nchan", NCHAN.exists), version, family)


def nats() -> Peer:
    def command() -> list[str]:
        return configured("nats", "nats-server", NATS.format(port="PORT"), {}, "-c")

    set_up = debian("nats-server", lambda: shutil.which("nats-server"))
    return Peer("nats-server", "nats", command, set_up, lambda: run("nats-server", "--version"))


def all_peers() -> list[Peer]:
    own, every = sys.executable, frozenset({FANOUT, ECHO, STORM})
    redis = debian("redis-server", lambda: shutil.which("redis-server"))
    uvicorn = ("uvicorn[standard]",)
    return [
        roomful(ROOMFUL, presence=True),
        roomful(ROOMFUL_ALONE, presence=False),
        floor("C, a send each", modes=every),
        floor("C, joined", "joined", modes=frozenset({FANOUT})),
        Peer(
            "bare picows", "bare", [own, str(PEERS / "bare_picows.py")], nothing,
            python_version(own, "picows", "uvloop"), modes=every,
        ),
        nats(),
        nchan("Nchan", "bare", "websocket"),
        Peer("node ws", "bare", ["node", f"{BUILD}/node_ws.mjs"], npm("ws"), npm_version("ws"), modes=every),
        Peer(
            "socket.io", "socketio", ["node", f"{BUILD}/socket_io.mjs"], npm("socket.io"), npm_version("socket.io"),
            modes=every,
        ),
        Peer(
            "Starlette", "bare", [PYTHON, str(PEERS / "starlette_ws.py")], pip("starlette", *uvicorn),
            python_version(PYTHON, "starlette", "uvicorn", "websockets"), modes=every,
        ),
        Peer(
            "python-socketio", "socketio", [PYTHON, str(PEERS / "python_socketio.py")],
            pip("python-socketio", *uvicorn), python_version(PYTHON, "python-socketio", "uvicorn"), modes=every,
            slowness=4,
        ),
        Peer(
            "Django channels", "bare", [PYTHON, str(PEERS / "django_channels.py")],
            both(redis, pip("channels", "channels_redis", *uvicorn)),
            python_version(PYTHON, "django", "channels", "channels_redis", "uvicorn"), modes=frozenset({FANOUT, ECHO}),
            slowness=10,
        ),
        roomful("Roomful, /events", presence=False, protocol="events", family="events"),
        Peer(
            DIRECT, "bare-events", [own, str(PEERS / "direct_events.py")], nothing, python_version(own, "uvloop"),
            "events",
        ),
        nchan("Nchan, EventSource", "bare-events", "events"),
        Peer("node http", "bare-events", ["node", f"{BUILD}/node_events.mjs"], npm("ws"), npm_version("ws"), "events"),
        Peer(
            "sse-starlette", "bare-events", [PYTHON, str(PEERS / "sse_starlette_events.py")],
            pip("sse-starlette", "starlette", *uvicorn), python_version(PYTHON, "sse-starlette", "uvicorn"), "events",
        ),
        roomful("Roomful, /yjs", presence=False, protocol="yjs", family="documents"),
        roomful("Roomful, /hocuspocus", presence=False, protocol="hocuspocus", family="documents"),
        Peer(
            "Hocuspocus", "hocuspocus", ["node", f"{BUILD}/hocuspocus.mjs", PORT], npm("@hocuspocus/server"),
            npm_version("@hocuspocus/server"), "documents",
        ),
        Peer(
            "y-websocket", "yjs", ["node", f"{BUILD}/y_websocket.mjs"], npm("y-websocket@2", "yjs", "ws"),
            npm_version("y-websocket", "yjs"), "documents",
        ),
        Peer(
            "pycrdt-websocket", "yjs", [PYTHON, str(PEERS / "pycrdt_documents.py")], pip("pycrdt-websocket", *uvicorn),
            python_version(PYTHON, "pycrdt-websocket", "pycrdt", "uvicorn"), "documents",
        ),
    ]  # fmt: skip
