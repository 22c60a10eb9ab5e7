"""What streams cost: `python benchmarks/streams.py [cpu | churn]`, against `roomful serve` on loopback.

cpu: server CPU a delivery to 1,000 EventSource clients (Centrifuge's `uni_sse`), with 1 and with 16 publications in
flight. churn: 2,000 streams are opened and reset, five times: file descriptors and memory have to come back. Both need
`ulimit -n 5000`.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from roomful.testing.raw_websocket import TEXT, frame

CLIENTS = 1_000
PUBLICATIONS = 160
PAYLOAD = "x" * 180
CHURN, ROUNDS = 2_000, 5
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
CONFIG = """
[tokens]
anonymous = true
[namespaces.default]
subscribe = "client"
publish = "client"
history_size = 100
history_ttl_s = 60
recover = true
"""
RESET = struct.pack("ii", 1, 0)


def serve(directory: str) -> tuple[subprocess.Popen[str], int]:
    (Path(directory) / "roomful.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "roomful", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline().rsplit(":", 1)[1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def connect(port: int, request: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(request)
    return client


def sse_request(connect: dict[str, object], path: str = "/connection/uni_sse") -> bytes:
    return f"GET {path}?cf_connect={quote(json.dumps(connect))} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def websocket_request(path: str) -> bytes:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()


def read_until(client: socket.socket, end: bytes, count: int = 1) -> None:
    received = b""
    while received.count(end) < count:
        received += client.recv(1 << 20)


class Audience:
    """Clients that count what comes, by a mark that each publication carries once."""

    def __init__(self, clients: list[socket.socket], mark: bytes) -> None:
        self.clients = clients
        self.mark = mark
        self._selector = selectors.DefaultSelector()
        for client in clients:
            client.setblocking(False)
            self._selector.register(client, selectors.EVENT_READ)
        self._tails = dict.fromkeys(clients, b"")

    def hear(self, each: int) -> None:
        missing = each * len(self.clients)
        while missing > 0:
            for key, _ in self._selector.select(10):
                received = self._tails[key.fileobj] + key.fileobj.recv(1 << 20)  # type: ignore[index,union-attr]
                missing -= received.count(self.mark)
                self._tails[key.fileobj] = received[1 - len(self.mark) :]  # type: ignore[index]


def measure(server: int, port: int, clients: list[socket.socket], in_flight: int) -> float:
    """µs a delivery."""
    audience = Audience(clients, b'"mark"')
    publisher = connect(port, websocket_request("/connection/websocket"))
    read_until(publisher, b"\r\n\r\n")
    publisher.sendall(frame(TEXT, b'{"connect":{},"id":1}'))
    read_until(publisher, b'"connect"')
    before = cpu_s(server)
    for number in range(0, PUBLICATIONS, in_flight):
        publish = {"publish": {"channel": "a", "data": {"mark": 1, "text": PAYLOAD}}}
        batch = [json.dumps({**publish, "id": 2 + number + n}, separators=(",", ":")) for n in range(in_flight)]
        publisher.sendall(frame(TEXT, "\n".join(batch).encode()))
        read_until(publisher, b'"publish":{}', in_flight)
        audience.hear(in_flight)
    return (cpu_s(server) - before) / PUBLICATIONS / len(clients) * 1e6


def cpu() -> None:
    print(f"{CLIENTS} clients, {len(PAYLOAD)} bytes; server CPU a delivery in µs, median of 5")
    for in_flight in (1, 16):
        with tempfile.TemporaryDirectory() as directory:
            server, port = serve(directory)
            try:
                clients = [connect(port, sse_request({"subs": {"a": {}}})) for _ in range(CLIENTS)]
                for client in clients:
                    read_until(client, b'"subs"')
                figures = sorted(measure(server.pid, port, clients, in_flight) for _ in range(5))
            finally:
                server.kill()
                server.wait()
            print(f"{in_flight:3} in flight  {figures[2]:5.2f}   {[round(figure, 2) for figure in figures]}")


def churn() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server, port = serve(directory)
        print(f"at the start: {fds(server.pid)} descriptors, {rss_kb(server.pid)} KB")
        for round_ in range(ROUNDS):
            clients = []
            for number in range(CHURN):
                client = connect(port, sse_request({"subs": {"a": {}}}))
                if number % 2:
                    read_until(client, b'"subs"')
                clients.append(client)
            opened = fds(server.pid)
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            while fds(server.pid) > 40:
                time.sleep(0.05)
            print(f"round {round_}: {opened} descriptors open, then {fds(server.pid)}; {rss_kb(server.pid)} KB")
        server.terminate()
        print("exit status", server.wait())


if __name__ == "__main__":
    {"cpu": cpu, "churn": churn}[sys.argv[1] if len(sys.argv) > 1 else "cpu"]()
