from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from roomful.model.errors import ConfigError
from roomful.server.config import ServerOptions
from roomful.server.listen import bound_sockets, url_of


def can_connect(address: object, family: int = socket.AF_INET) -> bool:
    with socket.socket(family) as client:
        client.settimeout(5)
        return client.connect_ex(address) == 0  # type: ignore[arg-type]  # a tuple or a path, by family


def test_one_address() -> None:
    with bound_sockets(ServerOptions(port=0)) as sockets:
        (bound,) = sockets
        assert bound.getsockname()[0] == "127.0.0.1"
        assert not can_connect(bound.getsockname())  # who comes before the server is ready goes to another one
        bound.listen()
        assert can_connect(bound.getsockname())
    assert bound.fileno() == -1


def test_every_address_of_a_name_has_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
    with bound_sockets(ServerOptions(host="both", port=0)) as sockets:
        hosts, ports = zip(*(bound.getsockname() for bound in sockets), strict=True)
    assert hosts == ("127.0.0.1", "127.0.0.2")
    assert len(set(ports)) == 1


def test_a_port_that_was_in_use_a_moment_ago_can_be_had_again() -> None:
    with bound_sockets(ServerOptions(port=0)) as sockets:
        port = sockets[0].getsockname()[1]
        sockets[0].listen()
        with socket.create_connection(("127.0.0.1", port)):
            sockets[0].accept()[0].close()  # we close first, so that our end waits in TIME_WAIT
    with bound_sockets(ServerOptions(port=port)):
        pass


@pytest.mark.parametrize(
    ("host", "complaint"),
    [
        ("no-such-host.invalid", "server.host: can't resolve 'no-such-host.invalid': "),
        ("192.0.2.1", "server.host, port: can't listen on 192.0.2.1:0: Cannot assign requested address"),
        ("a" * 300, "server.host: can't resolve "),
    ],
)
def test_hosts_that_are_not_ours(host: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused, bound_sockets(ServerOptions(host=host, port=0)):
        pass
    assert str(refused.value).startswith(complaint)


def test_a_unix_socket_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bound_sockets(ServerOptions(uds=str(path))) as (bound,):
        bound.listen()
        assert can_connect(str(path), socket.AF_UNIX)
        assert path.stat().st_mode & 0o777 == 0o666
    assert not path.exists()


def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bound_sockets(ServerOptions(uds=str(path))) as (bound,):
        bound.listen()
        assert can_connect(str(path), socket.AF_UNIX)


def test_another_servers_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bound_sockets(ServerOptions(uds=str(path))):
        os.unlink(path)
        path.write_text("somebody else's")
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("alive", "another server listens there"),
        ("file", "it is a file, and no socket"),
        ("missing/s", "No such file or directory"),
        ("file/s", "Not a directory"),
        ("n" * 120, "AF_UNIX path too long"),
    ],
)
def test_paths_that_cannot_be_had(tmp_path: Path, name: str, why: str) -> None:
    path = tmp_path / name
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "alive"))
        alive.listen()
        with pytest.raises(ConfigError) as refused, bound_sockets(ServerOptions(uds=str(path))):
            pass
    assert str(refused.value) == f"server.uds: can't listen on {path}: {why}"


@pytest.mark.parametrize(
    ("family", "address", "tls", "url"),
    [
        (socket.AF_INET, ("127.0.0.1", 0), False, r"http://127\.0\.0\.1:\d+"),
        (socket.AF_INET, ("127.0.0.1", 0), True, r"https://127\.0\.0\.1:\d+"),
    ],
)
def test_urls(family: int, address: tuple[str, int], tls: bool, url: str) -> None:
    with socket.create_server(address, family=family) as bound:
        assert re.fullmatch(url, url_of(bound, tls))


def test_a_shared_port_belongs_to_one_family_of_processes() -> None:
    with bound_sockets(ServerOptions(port=0), "first") as held:
        port = held[0].getsockname()[1]
        options = ServerOptions(port=port)
        with bound_sockets(options, "more") as one, bound_sockets(options, "more") as two:
            one[0].listen()
            two[0].listen()
            for share in (None, "first"):
                with pytest.raises(ConfigError, match="in use"), bound_sockets(options, share):  # type: ignore[arg-type]
                    pass
            # Who holds the port without listening gets no connection.
            for _ in range(20):
                socket.create_connection(("127.0.0.1", port), timeout=5.0).close()
