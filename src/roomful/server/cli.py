"""The command `roomful`. What the user got wrong is told in lines without a traceback, with exit status 1."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from roomful.auth.tokens import sign
from roomful.model.document import Rights
from roomful.model.errors import ConfigError, RoomfulError
from roomful.model.tracing import Happening, Wanted
from roomful.node.hooks import Hooks
from roomful.node.stats import Stats
from roomful.server import config_check, config_explain, settings
from roomful.server.app import Roomful
from roomful.server.config import Config
from roomful.server.local_engine import program, socket_url
from roomful.server.wiring import wire
from roomful.server.worker_peers import Peers

log = logging.getLogger("roomful.server")

EXTRAS = {"hiredis": "redis", "nats": "nats", "asyncpg": "postgres"}
"""Library that an engine or a store may miss → the extra that brings it."""

_arguments: tuple[str, ...] = ()
"""Those of this process, which its workers get too."""

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

app = typer.Typer(
    name="roomful",
    help="""Roomful: real-time rooms for Python.

    \b
    To begin:
      roomful serve --dev
    For real: write roomful.toml, then
      roomful check
      roomful token --user ann
      roomful serve
    """,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; else ROOMFUL_CONFIG, else ./roomful.toml.")
]
DataDirectory = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where relative paths lie; else ROOMFUL_DATA, else ./roomful-data."),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. arguments: by default those of the process. Raises SystemExit."""
    global _arguments
    _arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    app(args=list(_arguments), prog_name="roomful")


@app.command()
def serve(
    target: Annotated[
        str | None, typer.Argument(metavar="MODULE:APP", help="A Roomful with your hooks; else one without.")
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Open everything to everybody, on loopback only.")] = False,
    config: ConfigFile = None,
    data: DataDirectory = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Port to listen on; 0: any free one.")] = None,
    uds: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unix socket to listen on, under --data unless absolute.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="How many processes serve.")] = None,
    engine: Annotated[str | None, typer.Option(metavar="URL", help="Where servers meet.")] = None,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve clients until SIGTERM or Ctrl-C; SIGHUP reloads keys, limits and TLS files.

    Settings come from a TOML file, then environment variables ROOMFUL_…, then these options; the last one wins.

    \b
    Try it, with everything open:
      roomful serve --dev
    With your hooks (in chat.py: app = Roomful()):
      roomful serve chat:app --port 9000
    On all cores, with a private Redis in between:
      roomful serve chat:app --workers 4 --engine local
    As a service behind a proxy:
      roomful serve --config /etc/roomful.toml --data /var/lib/roomful
    """
    # Here, because other commands needn't wait for what only a server needs.
    from roomful.server import logs
    from roomful.server.serve import serve as run
    from roomful.server.supervisor import supervise

    logs.setup(console=dev or sys.stderr.isatty())
    given: dict[settings.KeyPath, object] = {
        ("server", "host"): host,
        ("server", "port"): port,
        ("server", "uds"): uds,
        ("server", "workers"): workers,
        ("engine", "url"): engine,
    }
    flags = {path: value for path, value in given.items() if value is not None}
    with _mistakes_told():
        served = load_app(target) if target else Roomful()
        dev = dev or served.dev
        own = served.config

        def read() -> Config:
            found = _configuration(own, target, config, flags, data)
            _look_over(found, dev)
            return found

        chosen = read()
        served.configure(chosen, dev=dev)
        _make_directory(chosen.server.uds, settings.data_directory(data))
        workers_at = settings.data_directory(data) / "workers"
        local = chosen.engine.scheme == "local"
        with _engine_told():
            if worker is None and (chosen.server.workers > 1 or local):
                supervise(_worker_command, chosen.server, workers_at, local)
            peers = Peers(workers_at, worker, chosen.server.workers) if worker else None
            # Under --dev a terminal that is closed ends the server, as it would any other program.
            run(served, chosen.server, peers, None if dev else read)


@app.command()
def token(
    user: Annotated[str, typer.Option(metavar="ID", help='User id; "" for an anonymous user.')],
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help='How long it is valid: 90s, 30m, 1h, 7d, 1h30m, or "never".')
    ] = "1h",
    channel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a subscription token, which grants this one channel.")
    ] = None,
    subscribe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL", help="A channel to which the server subscribes the connection; may be repeated."
        ),
    ] = None,
    document: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RIGHTS",
            help="A document, or with * many, and none, read, comment or write; may be repeated.",
        ),
    ] = None,
    info: Annotated[str | None, typer.Option(metavar="JSON", help="What others see beside the user id.")] = None,
    config: ConfigFile = None,
    data: DataDirectory = None,
) -> None:
    """Print a token, signed with [tokens] hmac_secret.

    \b
    For connecting as Ann, for an hour:
      roomful token --user ann
    For subscribing to one channel, whatever its namespace allows:
      roomful token --user ann --channel '$chat:1' --ttl 10m
    With a name for others to see, and a channel from the start:
      roomful token --user ann --info '{"name": "Ann"}' --subscribe news
    For editing one document, and reading others:
      roomful token --user ann --document notes=write --document 'wiki/*=read'
    """
    if channel and subscribe:
        raise typer.BadParameter(
            "goes with a connection, --channel with a single subscription", param_hint="--subscribe"
        )
    claims: dict[str, Any] = {}
    if channel:
        claims["channel"] = channel
    if subscribe:
        claims["subs"] = {name: {} for name in subscribe}
    if document:
        if channel:
            raise typer.BadParameter(
                "goes with a connection, --channel with a single subscription", param_hint="--document"
            )
        claims["documents"] = dict(_document(given) for given in document)
    if info is not None:
        claims["info"] = _json(info)
    ttl_s = seconds(ttl)
    with _mistakes_told(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `roomful check` tells of a short secret, in better words
        options = settings.load(config, data=data).tokens
        typer.echo(sign(options, claims, user=user, now=time.time(), ttl_s=ttl_s))


def _document(given: str) -> tuple[str, str]:
    name, _, rights = given.rpartition("=")  # a document's name may have a "="
    if not name or rights not in list(Rights):
        known = ", ".join(Rights)
        raise typer.BadParameter(f"{given!r} is no NAME=RIGHTS with rights of {known}", param_hint="--document")
    return name, rights


@app.command()
def check(config: ConfigFile = None, data: DataDirectory = None) -> None:
    """Check the settings, and say what is open to whom.

    They are read like the server reads them. The exit status is 1 if it couldn't run with them.

    \b
      roomful check
      roomful check --config /etc/roomful.toml
    """
    with _mistakes_told():
        file = settings.file_in_use(config)
        sources = [str(file)] if file else []
        sources += settings.variables_in_use()
        typer.echo(f"Read from    {', '.join(sources) or 'nowhere, all defaults'}")
        found = settings.load(config, data=data)
        with _engine_told():
            as_served = _served(found, settings.data_directory(data))
            wire(
                as_served, dev=False, hooks=Hooks(Stats()), stats=Stats()
            )  # raises for what only the live parts notice
        typer.echo(config_explain.explain(found))
        for stray in settings.stray_variables():
            typer.echo(f"Warning: {stray}.")


@app.command()
def trace(
    user: Annotated[str, typer.Option(metavar="ID", help="What happens to this user's connections.")] = "",
    channel: Annotated[str, typer.Option(metavar="NAME", help="What happens in this channel.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One object a line, for programs such as jq.")] = False,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Any node; else the address in the settings.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="An API key; else the first in the settings.")] = None,
    config: ConfigFile = None,
    data: DataDirectory = None,
) -> None:
    """Show the life of connections and messages, on all nodes, as it happens, until Ctrl-C.

    No payloads, no tokens. While nobody traces it costs nothing; somebody does: some microseconds a delivery.

    
    Is Ann connected, since when, and why does it end?
      roomful trace --user ann
    What becomes of a message: published, arrived at each node, delivered?
      roomful trace --channel chat:1
    Why did Ann not get message 42?
      roomful trace --user ann --channel chat:1 | grep -E 'offset=4[12]|subscribed|closed'

    
    How to read the answer to the last question:
      published … offset=42    the engine has it
      arrived … offset=42      it came to that node; no such line on Ann's node: nobody there listens
      delivered … offset=42    it went into Ann's socket: look at her side of the network
      queued, left_to_log      Ann doesn't read fast enough; read_on says when she got it
      seen_before, filtered, excluded   she wasn't to get it
      subscribed … since=40 offset=45 (recovered)   she was away, and got 41 to 45 with the reply
      gap, unsubscribed … code=2500     she was told that something is missing, and why
      closed … code=…          she wasn't there; refused says why she couldn't come back
    """
    from roomful.server import trace_client

    if not (user or channel):
        raise typer.BadParameter("say whom or what: --user, --channel, or both", param_hint="--user")
    with _mistakes_told():
        found = settings.load(config, data=data)
        if url is None:
            url = trace_client.address(found.server)
        if key is None:
            key = trace_client.first_key(found.api)
        try:
            for line in trace_client.read(url, key, Wanted(user, channel)):
                happening = msgspec.json.decode(line, type=Happening)
                typer.echo(line.decode().rstrip() if as_json else trace_client.text(happening))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"roomful {importlib.metadata.version('roomful')}")


def _served(config: Config, data: Path) -> Config:
    """The configuration as workers get it, with what `local://` stands for. Raises ConfigError if that isn't there."""
    if config.engine.scheme != "local":
        return config
    program()
    url = socket_url(data / "workers")
    return msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, url=url))


def _worker_command(number: int, port: int, engine: str | None) -> list[str]:
    """What starts a worker: the command that we were given, with what only it has to know. A later option wins."""
    more = ["--worker", str(number), "--port", str(port), *(["--engine", engine] if engine else [])]
    return [sys.executable, "-m", "roomful", *_arguments, *more]


def load_app(target: str) -> Roomful:
    """The Roomful that `module:name` means, the current directory being searched first.

    Raises ConfigError when there is none; whatever the module itself raises passes, with its traceback.
    """
    name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in (*name.split("."), attribute)):
        raise ConfigError(f"{target}: say module:name, such as chat:app for `app` in chat.py")
    module = _module(name)
    found = getattr(module, attribute, None)
    if isinstance(found, Roomful):
        return found
    if found is not None:
        kind = type(found).__name__
        raise ConfigError(f"{target} is no Roomful but {kind}; what mounts a Roomful runs under a server of its own")
    others = [f"{name}:{known}" for known, value in vars(module).items() if isinstance(value, Roomful)]
    hint = f"; there is {', '.join(others)}" if others else ""
    raise ConfigError(f"{target}: the module has no {attribute!r}{hint}")


def seconds(text: str) -> float | None:
    """A duration such as 90s or 1h30m in seconds; None for "never". Raises BadParameter."""
    if text == "never":
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"{text!r} is no duration such as 90s, 30m, 1h, 7d", param_hint="--ttl")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def _module(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, and imports something that isn't
        hint = "; leave out .py" if name.endswith(".py") else ""
        raise ConfigError(f"there is no module {error.name!r}, neither in {Path.cwd()} nor installed{hint}") from None


def _configuration(
    own: Config | None, target: str | None, file: Path | None, flags: dict[settings.KeyPath, object], data: Path | None
) -> Config:
    """own: what the application was made with, which stands for file and environment."""
    if own is None:
        return settings.load(file, flags=flags, data=data)
    if file is not None:
        raise ConfigError(f"{target} has a Config of its own, so --config {file} would not be read")
    return settings.overlay(own, flags, data=data)


def _look_over(config: Config, dev: bool) -> None:
    """Refuses what must not be open, warns of what is weak. Raises ConfigError."""
    if dev:
        refused = config_check.dev_problems(config)
        if refused:
            raise ConfigError("\n".join(map(str, refused)))
    for warning in settings.stray_variables() + ([] if dev else config_check.warnings(config)):
        log.warning("settings: %s", warning)


def _make_directory(uds: str | None, data: Path) -> None:
    """Makes the folder of a socket that lies under the data directory; others are the administrator's. ConfigError."""
    if uds is not None and Path(uds).is_relative_to(data):
        try:
            Path(uds).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{Path(uds).parent}: {error.strerror}") from error


@contextmanager
def _engine_told() -> Iterator[None]:
    """An engine that can't be reached, or whose library isn't there, is the administrator's to mend: ConfigError."""
    try:
        yield
    except RoomfulError as error:
        raise ConfigError(str(error)) from error
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        raise ConfigError(f"{library} isn't installed: pip install 'roomful[{EXTRAS[library]}]'") from error


@contextmanager
def _mistakes_told() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        for line in str(error).splitlines():
            typer.echo(f"roomful: {line}", err=True)
        raise typer.Exit(1) from None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint="--info") from None
