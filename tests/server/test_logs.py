"""What is logged can be read by machines, and never holds a secret."""

from __future__ import annotations

import io
import json
import logging
import urllib.parse
import warnings
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.server.logs import HIDDEN, ROUTED, redact, setup

TOKEN = jwt.encode({"sub": "ann"}, "s" * 32, "HS256")
SECRET = "swordfish42"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), *map(logging.getLogger, ROUTED)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


Capture = pytest.CaptureFixture[str]


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_has_one_object_a_line(capsys: Capture) -> None:
    setup(console=False)
    logging.getLogger("roomful.node").warning("channel %s is\nslow", "chat:1", extra={"queue": 7, "path": io})
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "channel chat:1 is\nslow",
        "level": "warning",
        "logger": "roomful.node",
        "queue": 7,
        "path": repr(io),
        "template": "channel %s is\nslow",
    }


def test_the_console_is_for_people(capsys: Capture) -> None:
    setup(console=True)
    logging.getLogger("roomful.node").info("ready", extra={"port": 8000})
    text = capsys.readouterr().err
    assert "ready" in text
    assert "port=8000" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "a.library"])
def test_libraries_log_the_same_way(capsys: Capture, name: str) -> None:
    logger = logging.getLogger(name)
    if name in ROUTED:
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
    setup(console=False)
    setup(console=False)
    logger.warning("hello", extra={"color_message": "\x1b[1mhello"})
    (line,) = lines(capsys)
    assert (line["logger"], line["event"]) == (name, "hello")
    assert "color_message" not in line


def test_warnings_are_logged_and_details_are_not(capsys: Capture) -> None:
    setup(console=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    logging.getLogger("roomful").debug("detail")
    (line,) = lines(capsys)
    assert "DeprecationWarning: old" in line["event"]


@pytest.mark.parametrize("console", [False, True])
def test_a_traceback_is_kept_and_redacted(capsys: Capture, console: bool) -> None:
    setup(console=console)
    try:
        raise ValueError(f"bad header Authorization: Bearer {SECRET}")
    except ValueError:
        logging.getLogger("roomful").exception("it failed")
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "test_logs.py" in text
    assert f"Authorization: {HIDDEN}" in text
    assert SECRET not in text


def events(secret: str) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Ways in which a secret could get into the log: message, arguments, extra fields."""
    quoted = urllib.parse.quote(json.dumps({"id": 1, "connect": {"token": secret}}))
    command = json.dumps({"id": 1, "connect": {"token": secret}})
    raw_headers = [
        (b"authorization", f"Bearer {secret}".encode()),
        (b"cookie", f"a=1; roomful_token={secret}".encode()),
    ]
    headers = {"Authorization": f"Bearer {secret}", "X-API-Key": secret, "Cookie": f"roomful_token={secret}"}
    access = '%s - "%s %s HTTP/%s" %d'
    return [
        (access, ("127.0.0.1:1", "GET", f"/events?channel=a&token={secret}&x=1", "1.1", 200), {}),
        (access, ("127.0.0.1:1", "GET", f"/connection/sse?cf_connect={quoted}", "1.1", 200), {}),
        (access, ("127.0.0.1:1", "POST", f"/api/publish?api_key={secret}", "1.1", 200), {}),
        (f"?TOKEN={secret}", (), {}),
        (f"Authorization: Bearer {secret}", (), {}),
        (f"authorization: apikey {secret}\r\nx-api-key:{secret}\r\ncookie: a=b; c={secret}", (), {}),
        ("headers %s", (headers,), {}),
        ("headers %s", (raw_headers,), {}),
        ("headers %r", (str(headers).encode(),), {}),
        ("received %s", (command,), {}),
        ("received %s", (command.encode(),), {}),
        ("received %s", (json.dumps({"session": "1", "data": command}),), {}),
        ("redis at redis://:%s@127.0.0.1", (secret,), {}),
        ("redis at redis://ann:%s@127.0.0.1", (secret,), {}),
        ("fields", (), {"token": secret, "api_key": secret, "hmac_secret": secret, "url": f"/poll?token={secret}"}),
        ("fields", (), {"scope": {"headers": raw_headers, "query_string": f"token={secret}".encode()}}),
        ("fields", (), {"request": headers, "command": command, "all": [f"token={secret}", {"cookie": secret}]}),
    ]


@pytest.mark.parametrize("secret", [TOKEN, SECRET], ids=["jwt", "word"])
@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
@pytest.mark.parametrize("number", range(len(events(""))))
def test_a_secret_never_appears(capsys: Capture, secret: str, console: bool, number: int) -> None:
    setup(console=console)
    message, args, extra = events(secret)[number]
    logging.getLogger("uvicorn.access").info(message, *args, extra=extra)
    text = capsys.readouterr().err
    assert HIDDEN in text
    assert secret not in text
    assert secret.rpartition(".")[2] not in text


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_web_token_disappears_from_any_text(before: str, after: str) -> None:
    assert TOKEN not in redact(f"{before} {TOKEN}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "channel chat:1 has 3 subscribers",
        "token expired",
        "/events?channel=token&since=1:2",
        "the token, which was too old",
        "https://example.com/a@b?x=1",
        "cookies: none of them",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
