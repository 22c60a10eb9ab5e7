"""Django channels under uvicorn with its Redis layer (a redis-server of its own on a Unix socket): /pub sends to the
group that /sub is in; /echo sends back."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from django.conf import settings

directory = tempfile.TemporaryDirectory()
address = f"{directory.name}/redis.sock"
settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [f"unix://{address}"], "capacity": 100_000},
        }
    }
)

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from django.urls import path  # noqa: E402
from serving import serve  # noqa: E402


class Subscriber(AsyncWebsocketConsumer):
    groups = ["bench"]

    async def relayed(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class Publisher(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send("bench", {"type": "relayed", "text": text_data})


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


app = URLRouter([path("sub", Subscriber.as_asgi()), path("pub", Publisher.as_asgi()), path("echo", Echo.as_asgi())])


def wait_for(path: Path) -> None:
    """Raises TimeoutError after 10 s."""
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError("redis-server doesn't listen")


if __name__ == "__main__":
    command = ["redis-server", "--port", "0", "--unixsocket", address, "--save", "", "--dir", directory.name]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(Path(address))
        serve(app)
    finally:
        redis.terminate()
        redis.wait()
        directory.cleanup()
