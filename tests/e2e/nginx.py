"""nginx as Debian has it, in front of one or more nodes, with the settings that hurt streams most.

    async with Nginx(component("nginx"), tmp_path, server.port) as nginx:
        ...connect to nginx.port instead of server.port...

Buffering on, gzip on for everything, a read timeout of 30 s, HTTP/1.0 to the nodes (nginx's default) unless asked
otherwise; several nodes take turns.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.engines.redis_server import free_port

START_S = 15.0

CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
{user}
events {{ worker_connections 512; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  gzip on;
  gzip_proxied any;
  gzip_min_length 1;
  gzip_types text/event-stream application/json application/octet-stream text/plain;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  upstream nodes {{ {nodes} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://nodes;
      proxy_buffering on;
      proxy_read_timeout 30s;
      proxy_http_version {http_version};
      {upgrade}
    }}
  }}
}}
"""

UPGRADE = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"


class Nginx:
    """port: where it listens on loopback. http_version: to the nodes; with 1.1 it passes WebSockets on."""

    def __init__(self, program: str, directory: Path, *node_ports: int, http_version: str = "1.0") -> None:
        self.port = free_port()
        self._program = program
        self._directory = directory / "nginx"
        self._config = CONFIG.format(
            directory=self._directory,
            user="user root;" if os.geteuid() == 0 else "",  # its worker has to get into the test's folder
            nodes=" ".join(f"server 127.0.0.1:{port};" for port in node_ports),
            port=self.port,
            http_version=http_version,
            upgrade=UPGRADE if http_version == "1.1" else "",
        )

    @property
    def log(self) -> str:
        """What it complained about."""
        return (self._directory / "error.log").read_text()

    async def __aenter__(self) -> Self:
        self._directory.mkdir()
        (self._directory / "nginx.conf").write_text(self._config)
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *("-p", str(self._directory), "-c", str(self._directory / "nginx.conf")),
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S):
            while not await self._listens():
                assert self._process.returncode is None, self.log
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True
