"""Which servers a NATS URL means. Importable without the library."""

from __future__ import annotations

from urllib.parse import urlsplit

from roomful.model.errors import ConfigError

SCHEMES = ("nats", "tls")
"""`tls://` where the server's certificate has to be checked against the machine's authorities from the first byte on;
with `nats://` it is the server who says whether it wants TLS."""


def servers(url: str) -> list[str]:
    """`nats://ann:secret@one:4222,two` as one URL a server, in order; user and password hold for all of them.

    Raises ConfigError for what is no address.
    """
    scheme, _, rest = url.partition("://")
    login, at, hosts = rest.rpartition("@")
    found = [f"{scheme}://{login}{at}{host.strip()}" for host in hosts.split(",")]
    for each in found:
        try:
            parts = urlsplit(each)
            fine = bool(parts.hostname) and (parts.port is None or parts.port > 0) and parts.path in ("", "/")
        except ValueError:
            fine = False
        if not fine:
            raise ConfigError(f"engine.url: {each.rpartition('@')[2]!r} is no address such as nats://127.0.0.1:4222")
    return found
