"""What `roomful trace` does: reads the stream of a running server, and writes each happening as a line for people."""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException

import msgspec

from roomful.model.errors import ConfigError
from roomful.model.tracing import Happening, Wanted
from roomful.server.api_keys import keys_of
from roomful.server.config import ApiOptions, ServerOptions
from roomful.server.trace_stream import ALIVE_S

SILENT_S = 3 * ALIVE_S
"""The server sends something at least every `ALIVE_S`."""


class _Told(msgspec.Struct):
    """The body of an answer that is an error."""

    class Error(msgspec.Struct):
        message: str

    error: Error


def read(url: str, key: str, wanted: Wanted) -> Iterator[bytes]:
    """The lines of the stream, each one a Happening. Raises ConfigError with what hinders it, or ended it."""
    query = urllib.parse.urlencode({name: value for name, value in msgspec.structs.asdict(wanted).items() if value})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would keep the lines to itself
    headers = {"X-API-Key": key} if key else {}
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/api/trace?{query}", headers=headers)
        with direct.open(request, timeout=SILENT_S) as lines:
            for line in lines:
                if not line.isspace():
                    yield line
    except urllib.error.HTTPError as refusal:
        raise ConfigError(f"{url}: {_message(refusal.read()) or refusal.reason}") from None
    except (OSError, HTTPException, ValueError) as failure:
        reason = getattr(failure, "reason", failure)
        raise ConfigError(f"{url}: {reason or type(failure).__name__}") from None


def text(happening: Happening) -> str:
    """A happening as one line: when, where, what, to whom, and the rest by name."""
    at_s, ms = divmod(happening.at_ms, 1000)
    when = f"{time.strftime('%H:%M:%S', time.localtime(at_s))}.{ms:03d}"
    who = " ".join(filter(None, [happening.user, happening.client[:8]])) or "-"
    named = {
        "since": happening.since,
        "offset": happening.offset,
        "count": happening.count,
        "code": happening.code or None,
        "transport": happening.transport or None,
        "trace": happening.trace or None,
    }
    rest = [f"{name}={value}" for name, value in named.items() if value is not None]
    parts = [when, f"{happening.node[:8]:8}", f"{happening.event:12}", f"{who:20}", happening.channel, *rest]
    if happening.reason:
        parts.append(f"({happening.reason})")
    return _printable(" ".join(filter(None, parts)).rstrip())


def address(options: ServerOptions) -> str:
    """Where a server with these options is reached from its own machine. Raises ConfigError for a Unix socket."""
    if options.uds:
        raise ConfigError("the server listens on a Unix socket; say --url with the address of what stands before it")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    return f"http{'s' if options.tls_cert else ''}://{f'[{host}]' if ':' in host else host}:{options.port}"


def first_key(options: ApiOptions) -> str:
    """A key that opens the API, "" if the settings have none. Raises ConfigError for a file that can't be read."""
    return next(iter(keys_of(options)), "")


def _printable(line: str) -> str:
    """Without what could move a terminal's cursor: ids, channels and reasons are other people's words."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Told).error.message
    except msgspec.DecodeError:
        return ""
