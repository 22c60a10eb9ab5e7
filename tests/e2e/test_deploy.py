"""`docker-compose.yml` and `deploy/`: what they say is checked against what the server really offers."""

from __future__ import annotations

import asyncio
import configparser
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import typer
import websockets
import yaml

from roomful.server import cli
from roomful.server.config import Config
from roomful.server.settings import load
from tests.served import Serve, Server

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

AFTER_DRAIN_S = 17.0
"""What a server may take to end beyond `drain_s`; see `server/serve.py`."""


def composed() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())  # type: ignore[no-any-return]


def manifests() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def unit() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(DEPLOY / "roomful.service")
    return parser["Service"]


def read(arguments: list[str], environ: dict[str, str], file: Path) -> Config:
    """The configuration of a server that is started so, read as `roomful serve` reads it. Fails for a flag it lacks."""
    command = typer.main.get_command(cli.app)
    serve = command.commands["serve"]  # type: ignore[attr-defined]
    assert arguments[0] == "serve"
    given = serve.make_context("serve", arguments[1:]).params
    flags = {("server", key): given[key] for key in ("host", "port", "uds", "workers") if given[key] is not None}
    if given["engine"]:
        flags["engine", "url"] = given["engine"]
    return load(file, environ=environ, flags=flags, data=given["data"])


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# Settings that are read as they stand there


def test_compose_starts_servers_whose_settings_hold() -> None:
    service = composed()["services"]["roomful"]
    environ = {name: re.sub(r"\$\{\w+:\?.*\}", "s" * 32, value) for name, value in service["environment"].items()}
    config = read(service["command"], environ, DEPLOY / "roomful.toml")
    assert config.engine.scheme == "redis"
    assert config.server.host == "0.0.0.0"
    assert config.tokens.hmac_secret == "s" * 32
    assert config.server.trusted_proxies == ("172.16.0.0/12",)
    assert seconds(service["stop_grace_period"]) >= config.server.drain_s + AFTER_DRAIN_S


def test_compose_names_only_what_is_there() -> None:
    services = composed()["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in composed()["volumes"] or (ROOT / source).is_file()
    assert (ROOT / services["roomful"]["build"]["dockerfile"]).is_file()
    assert "http://127.0.0.1:8000/ready" in services["roomful"]["healthcheck"]["test"][-1]


def test_the_image_is_built_of_what_is_there() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert sources
    for source in " ".join(sources).split():
        assert (ROOT / source).exists()
    [command] = re.findall(r"^CMD (.+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    read(json.loads(command), {}, DEPLOY / "roomful.toml")


def test_kubernetes_starts_servers_whose_settings_hold(tmp_path: Path) -> None:
    kinds = manifests()
    file = tmp_path / "roomful.toml"
    file.write_text(kinds["ConfigMap"]["data"]["roomful.toml"])
    pod = kinds["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    environ = {each["name"]: each.get("value", "s" * 32) for each in container["env"]}
    config = read(container["args"], environ, file)
    assert config.engine.scheme == "redis"
    assert container["ports"][0]["containerPort"] == config.server.port
    pause_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pause_s + config.server.drain_s + AFTER_DRAIN_S
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_kubernetes_fits_together() -> None:
    kinds = manifests()
    pod = kinds["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    [container] = pod["spec"]["containers"]
    assert kinds["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}


def test_systemd_starts_servers_whose_settings_hold() -> None:
    service = unit()
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/roomful")
    config = read(arguments, {}, DEPLOY / "roomful.toml")
    assert (config.server.workers, config.engine.scheme) == (4, "local")
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) >= config.server.drain_s + AFTER_DRAIN_S


async def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    """Where systemd is; the lines that it can't know here (a program of another machine) are left out."""
    analyze = shutil.which("systemd-analyze")
    text = (DEPLOY / "roomful.service").read_text().replace("/opt/roomful/bin/roomful", "/bin/true")
    copy = tmp_path / "roomful.service"
    copy.write_text(text)
    if analyze is not None:
        process = await asyncio.create_subprocess_exec(
            *(analyze, "verify", "--man=no", str(copy)), stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert [line for line in said.decode().splitlines() if "roomful.service" in line] == []


# nginx


@pytest.fixture
async def nodes(component: Callable[[str], str], served: Serve) -> list[Server]:
    component("nginx")
    return [await served(), await served()]


@pytest.fixture
async def front(component: Callable[[str], str], nodes: list[Server], tmp_path: Path) -> AsyncIterator[str]:
    """The base URL of nginx with deploy/nginx.conf, in front of two servers."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{node.port};" for node in nodes)
    site = (DEPLOY / "nginx.conf").read_text().replace("server roomful:8000;", servers)
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    (tmp_path / "site.conf").write_text(site)
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {tmp_path}/body;\n{paths}"
        f"include {tmp_path}/site.conf; }}\n"
    )
    command = (component("nginx"), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "log"))
    check = await asyncio.create_subprocess_exec(*command, "-t", stderr=asyncio.subprocess.PIPE)
    _, said = await check.communicate()
    assert check.returncode == 0, said.decode()
    nginx = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(10):
            while not await listens(port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        nginx.terminate()
        await nginx.wait()


async def test_nginx_carries_every_way_in(front: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{front}", timeout=10) as client:
        assert (await client.get("/ready")).json() == {"ready": True}
        assert (await client.get("/health")).status_code == 200
        async with client.stream("GET", "/events", params={"channel": "chat:1"}) as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.aiter_lines()
            async with asyncio.timeout(5):  # before anything is published: nothing waits in a buffer
                while "event: subscribed" not in await anext(lines):
                    pass
        async with websockets.connect(f"ws://{front}/connection/websocket") as link:
            await link.send('{"id": 1, "connect": {}}')
            assert "connect" in msgspec.json.decode(str(await link.recv()))


async def test_nginx_goes_to_the_server_that_is_left(front: str, nodes: list[Server]) -> None:
    await nodes[0].stop()
    async with httpx.AsyncClient(base_url=f"http://{front}", timeout=10) as client:
        for _ in range(10):
            assert (await client.get("/health")).status_code == 200


def test_the_settings_to_begin_with_hold() -> None:
    tables = tomllib.loads((DEPLOY / "roomful.toml").read_text())
    assert "hmac_secret" not in json.dumps(tables)  # no secret in a file that is copied
    assert load(DEPLOY / "roomful.toml", environ={"ROOMFUL_TOKENS__HMAC_SECRET": "s" * 32}).namespaces["chat"].recover


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
