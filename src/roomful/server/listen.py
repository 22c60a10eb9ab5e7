"""The sockets a server listens on, or one sentence that says why there can't be any."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from roomful.model.errors import ConfigError
from roomful.server.config import ServerOptions

Share = Literal["first", "more"]

_UDS_MODE = 0o666
"""The proxy in front runs as another user; who may reach the socket is decided by the mode of its folder."""


@contextmanager
def bound_sockets(options: ServerOptions, share: Share | None = None) -> Iterator[list[socket.socket]]:
    """Bound, not yet listening: one for each address of the host, or the Unix socket; closed at the end.

    share: other processes of ours bind the port too, and whoever listens gets some of the connections; the "first" one
    makes sure that it is nobody else's, and holds it while others come and go. A Unix socket that a dead process left
    behind is replaced, and ours is removed at the end. Raises ConfigError.
    """
    sockets = [_unix_socket(options.uds)] if options.uds else _tcp_sockets(options.host, options.port, share)
    file = os.stat(options.uds) if options.uds else None
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()
        if options.uds and file is not None:
            _remove_own(options.uds, file)


def url_of(bound: socket.socket, tls: bool) -> str:
    """Where a socket listens, as people write it."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _tcp_sockets(host: str, port: int, share: Share | None) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as failure:
        raise ConfigError(f"server.host: can't resolve {host!r}: {_why(failure)}") from failure
    sockets: list[socket.socket] = []
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        # Port 0 is chosen by the system once, and is then the same for every address.
        chosen = sockets[0].getsockname()[1] if sockets else address[1]
        bound = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(bound)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if share == "more":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((address[0], chosen, *address[2:]))
            if share == "first":  # only now, so that binding fails where anybody listens, another Roomful too
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as failure:
            for each in sockets:
                each.close()
            raise ConfigError(f"server.host, port: can't listen on {host}:{port}: {_why(failure)}") from failure
    return sockets


def _unix_socket(path: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        bound.bind(path)
        os.chmod(path, _UDS_MODE)
    except OSError as failure:
        bound.close()
        raise ConfigError(f"server.uds: can't listen on {path}: {_why(failure)}") from failure
    return bound


def _remove_dead(path: str) -> None:
    """Removes a socket that nobody listens on. Raises FileExistsError for anything else at that path."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        return
    if is_socket:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
    raise FileExistsError(None, "another server listens there" if is_socket else "it is a file, and no socket")


def _remove_own(path: str, ours: os.stat_result) -> None:
    """Another server may have put its own socket there meanwhile."""
    try:
        if os.path.samestat(os.stat(path), ours):
            os.unlink(path)
    except FileNotFoundError:
        return


def _why(failure: Exception) -> str:
    return str(getattr(failure, "strerror", None) or failure)
