"""File, environment and flags: what overrides what, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import ConfigError
from roomful.node.document_options import DocumentOptions
from roomful.server.config import Config
from roomful.server.settings import (
    absolute_store,
    data_directory,
    file_in_use,
    load,
    stray_variables,
    variables_in_use,
)

FULL = """
[server]
host = "0.0.0.0"
port = 9000
allowed_origins = ["https://example.com"]
drain_s = 5

[tokens]
hmac_secret = "12345678901234567890123456789012"

[api]
keys = ["a long enough key"]

[namespaces.default]
presence = true

[namespaces.chat]
history_size = 100
history_ttl_s = 300
recover = true
join_leave = "all"
subscribe = "client"
publish = "subscriber"
slow = "resume"
"""


def all_defaults() -> Config:
    """Relative paths lie under the data directory."""
    return Config(documents=DocumentOptions(store=absolute_store(DocumentOptions().store, data_directory())))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str = "", environ: dict[str, str] | None = None, **more: Any) -> Config:
    Path("roomful.toml").write_text(text)
    return load(environ=environ or {}, **more)


def complaints(text: str = "", environ: dict[str, str] | None = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(text, environ, **more)
    return str(error.value).splitlines()


def test_nothing_set_is_the_default() -> None:
    assert load(environ={}) == all_defaults()


def test_a_whole_file() -> None:
    config = read(FULL)
    assert (config.server.host, config.server.port, config.server.drain_s) == ("0.0.0.0", 9000, 5.0)
    assert config.server.allowed_origins == ("https://example.com",)
    assert config.api.keys == ("a long enough key",)
    assert config.namespaces == {
        "default": ChannelOptions(presence=True),
        "chat": ChannelOptions(
            history_size=100,
            history_ttl_s=300,
            recover=True,
            join_leave="all",
            subscribe="client",
            publish=Right.SUBSCRIBER,
            slow="resume",
        ),
    }


def test_the_environment_overrides_the_file_and_flags_override_both() -> None:
    environ = {"ROOMFUL_SERVER__PORT": "9001", "ROOMFUL_SERVER__DRAIN_S": "1.5"}
    config = read(FULL, environ, flags={("server", "port"): 9002})
    assert (config.server.host, config.server.port, config.server.drain_s) == ("0.0.0.0", 9002, 1.5)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SERVER__PORT", "80", 80),
        ("SERVER__HOST", "::1", "::1"),
        ("SERVER__HOST", '"::1"', "::1"),
        ("SERVER__ALLOWED_ORIGINS", '["https://a.b", "*"]', ("https://a.b", "*")),
        ("CONNECTION__SERVER_TIME", "true", True),
        ("CONNECTION__PING_S", "20", 20.0),
        ("CONNECTION__PING_S", "20.5", 20.5),
        ("TOKENS__HMAC_SECRET", "12345678901234567890123456789012", "12345678901234567890123456789012"),
        ("TOKENS__HMAC_SECRET", "true", "true"),
        ("TOKENS__HMAC_SECRET", "1979-05-27", "1979-05-27"),
        ("TOKENS__HMAC_SECRET", "a=b#c'd\"e\nf = 1", "a=b#c'd\"e\nf = 1"),
        ("TOKENS__HMAC_SECRET", "1\nother = 2", "1\nother = 2"),
        ("TOKENS__ISSUER", "", ""),
    ],
)
def test_a_variable(name: str, text: str, value: object) -> None:
    table, _, key = name.lower().partition("__")
    assert getattr(getattr(read("", {f"ROOMFUL_{name}": text}), table), key) == value


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("all", "all"), ('"all"', "all"), ("1", True)]
)
def test_a_variable_of_a_namespace(text: str, value: object) -> None:
    environ = {"ROOMFUL_NAMESPACES__CHAT__JOIN_LEAVE": text, "ROOMFUL_NAMESPACES__NEWS__PUBLISH": "user"}
    config = read(FULL, environ)
    assert config.namespaces["chat"].join_leave == value
    assert config.namespaces["chat"].history_size == 100
    assert config.namespaces["news"] == ChannelOptions(publish=Right.USER)


def test_a_variable_finds_a_namespace_with_capitals() -> None:
    config = read("[namespaces.ChatRoom]", {"ROOMFUL_NAMESPACES__CHATROOM__PRESENCE": "true"})
    assert config.namespaces == {"ChatRoom": ChannelOptions(presence=True)}


def test_which_file_is_read(directory: Path) -> None:
    named, other = directory / "named.toml", directory / "other.toml"
    named.write_text("[server]\nport = 1")
    other.write_text("[server]\nport = 2")
    environ = {"ROOMFUL_CONFIG": str(other)}
    assert file_in_use(environ={}) is None
    assert load(environ={}).server.port == 8000
    assert load(environ=environ).server.port == 2
    assert load(named, environ=environ).server.port == 1
    Path("roomful.toml").write_text("[server]\nport = 3")
    assert load(environ={}).server.port == 3
    assert load(environ=environ).server.port == 2


def test_relative_paths_lie_under_the_data_directory(directory: Path) -> None:
    text = '[server]\nuds = "a.sock"\ntls_cert = "/etc/c.pem"\ntls_key = "k.pem"'
    server = read(text).server
    assert (server.uds, server.tls_cert) == (str(directory / "roomful-data/a.sock"), "/etc/c.pem")
    assert read(text, {"ROOMFUL_DATA": "/srv"}).server.tls_key == "/srv/k.pem"
    assert read(text, {"ROOMFUL_DATA": "/srv"}, data=Path("/var")).server.tls_key == "/var/k.pem"
    assert read('[api]\nkey_files = ["a", "/b"]').api.key_files == (str(directory / "roomful-data/a"), "/b")
    assert complaints('[tokens]\npublic_key = "key.pem"', data=Path("/nowhere")) == [
        "roomful.toml: tokens.public_key: /nowhere/key.pem: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nprot = 1", "server.prot: unknown key; did you mean port?"),
        ("[servr]\nport = 1", "servr: unknown key; did you mean server?"),
        (
            "[namespaces.chat]\nhistroy_size = 1",
            "namespaces.chat.histroy_size: unknown key; did you mean history_size?",
        ),
        (
            '[namespaces.chat]\nhistory_ttl = "300s"',
            "namespaces.chat.history_ttl: unknown key; here it is `namespaces.*.history_ttl_s`",
        ),
        (
            "[namespaces.chat]\nallow_subscribe_for_client = true",
            'namespaces.chat.allow_subscribe_for_client: unknown key; here it is `namespaces.*.subscribe`: `"user"`',
        ),
        (
            "[namespaces.chat]\nclient_publish_debounce_interval = 1",
            "namespaces.chat.client_publish_debounce_interval: unknown key; not available",
        ),
        ('[api]\nhmac_secret = "x"', "api.hmac_secret: unknown key; did you mean tokens.hmac_secret?"),
        ("[api]\nzzz = 1", "api.zzz: unknown key; known are keys, key_files, body_max_bytes, body_timeout_s"),
        ("server = 1", "server: has to be a table"),
        ("namespaces = 1", "namespaces: expected object, got int"),
        ("[namespaces]\nchat = true", "namespaces.chat: has to be a table"),
        ('[server]\nport = "high"', "server.port: expected int, got str"),
        ("[server]\nport = 1.5", "server.port: expected int, got float"),
        ("[server]\nallowed_origins = [1]", "server.allowed_origins: expected str, got int at [0]"),
        ("[tokens]\nhmac_secret = 5", "tokens.hmac_secret: expected str | null, got int"),
        (
            '[namespaces.chat]\nsubscribe = "subscriber"',
            'namespaces.chat.subscribe: has to be one of "nobody", "user", "client"',
        ),
        (
            '[namespaces.chat]\npublish = "all"',
            'namespaces.chat.publish: has to be one of "nobody", "subscriber", "user", "client"',
        ),
        ('[namespaces.chat]\njoin_leave = "some"', 'namespaces.chat.join_leave: has to be one of true, false, "all"'),
        (
            '[webhooks.users]\nevents = ["conect"]',
            'webhooks.users.events: has to be a list of "connect", "refresh", "subscribe", '
            '"sub_refresh", "publish", "rpc"',
        ),
        ("[webhooks.users]\nurls = 1", "webhooks.users.urls: unknown key; did you mean url?"),
        ("[namespaces.chat]\nslow = 1", 'namespaces.chat.slow: has to be one of "resume", "latest", "close"'),
        ('[namespaces.chat]\npresence = "yes"', "namespaces.chat.presence: has to be one of true, false"),
        ("[namespaces.chat]\nrecover = true", "namespaces.chat.recover: needs history: history_size and history_ttl_s"),
    ],
)
def test_a_mistake_in_the_file(text: str, line: str) -> None:
    assert complaints(text) == [f"roomful.toml: {line}"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[server\nport = 1", "roomful.toml: not TOML: "),
        ("a = 1\na = 2\nb = 3", "roomful.toml: not TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_the_place(text: str, start: str) -> None:
    (line,) = complaints(text)
    assert line.startswith(start)
    assert "line" in line
    assert "column" in line


def test_files_that_cannot_be_read(directory: Path) -> None:
    (directory / "latin.toml").write_bytes(b"# caf\xe9")
    for name, reason in [("nowhere.toml", "No such file"), (".", "directory"), ("latin.toml", "UTF-8")]:
        with pytest.raises(ConfigError, match=reason) as error:
            load(Path(name), environ={})
        assert str(error.value).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("ROOMFUL_SERVER__PRT", "1", "server.prt: unknown key; did you mean port?"),
        ("ROOMFUL_SERVR__PORT", "1", "servr: unknown key; did you mean server?"),
        ("ROOMFUL_SERVER__TLS__CERT", "c", "server.tls: unknown key; did you mean "),
        ("ROOMFUL_SERVER__PORT", "1_000_000x", "server.port: expected int, got str"),
        ("ROOMFUL_SERVER__PORT", "70000", "server.port: lies in 0–65535, not 70000"),
        ("ROOMFUL_NAMESPACES__TYPING__PRESENCE", "1", "namespaces.typing: is a facet of every room"),
        ("ROOMFUL_NAMESPACES__CHAT", "1", "namespaces.chat: has to be a table"),
        ("ROOMFUL_SERVER__", "1", "server.: unknown key; known are "),
    ],
)
def test_a_mistake_in_a_variable_names_it(name: str, text: str, line: str) -> None:
    (said,) = complaints("", {name: text})
    assert said.startswith(f"{name}: {line}")


def test_a_mistake_in_a_flag_names_it() -> None:
    (said,) = complaints(FULL, {"ROOMFUL_SERVER__WORKERS": "1"}, flags={("server", "workers"): 4})
    assert said.startswith("--workers: server.workers: the memory engine")


def test_a_table_that_is_none_stays_one_mistake() -> None:
    assert complaints("server = 1", {"ROOMFUL_SERVER__PORT": "1"}) == ["roomful.toml: server: has to be a table"]


def test_all_mistakes_at_once() -> None:
    lines = complaints("[server]\nprot = 1\n[api]\nkey = 1\n[namespaces.chat]\npresence = []", {"ROOMFUL_API__X": "1"})
    assert [line.split(": ")[1] for line in lines] == ["server.prot", "api.key", "api.x", "namespaces.chat.presence"]
    assert [line.split(": ")[0] for line in lines] == ["roomful.toml", "roomful.toml", "ROOMFUL_API__X", "roomful.toml"]


def test_variables_of_others_are_left_alone() -> None:
    """Kubernetes makes them for a service called "roomful"; none has two underscores in a row."""
    environ = {
        "ROOMFUL_SERVICE_HOST": "10.0.0.1",
        "ROOMFUL_SERVICE_PORT": "8000",
        "ROOMFUL_PORT": "tcp://10.0.0.1:8000",
        "ROOMFUL_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert load(environ=environ) == all_defaults()
    assert variables_in_use(environ) == stray_variables(environ) == []


def test_one_underscore_too_few_is_noticed() -> None:
    environ = {"ROOMFUL_SERVER_PORT": "1", "ROOMFUL_SERVER__PORT": "1", "ROOMFUL_NAMESPACES_CHAT_PRESENCE": "1"}
    strays = stray_variables(environ)
    assert [line.split()[0] for line in strays] == ["ROOMFUL_NAMESPACES_CHAT_PRESENCE", "ROOMFUL_SERVER_PORT"]
    assert variables_in_use(environ) == ["ROOMFUL_SERVER__PORT"]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
def test_any_text_can_be_a_secret_or_is_refused_without_showing_it(text: str) -> None:
    secret, complaint = None, ""
    try:
        secret = load(environ={"ROOMFUL_TOKENS__HMAC_SECRET": text}).tokens.hmac_secret
    except ConfigError as refusal:
        complaint = str(refusal)
    if complaint:
        assert complaint.endswith(("got array", "got object"))
        assert len(text) < 3 or text not in complaint
    else:
        assert secret == text or text.strip().startswith(("'", '"'))
