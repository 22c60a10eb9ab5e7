"""Logs: one line an event on stderr, JSON for machines or plain text for a terminal, and never a secret in it.

All of Roomful, uvicorn and asyncio log through the standard library; structlog only writes the lines.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

HIDDEN = "***"

_NAMES = r"(?:\w*token|cf_connect|\w*api[_-]?key|x-api-key|authorization|(?:set-)?cookie|\w*secret|password)"

_PATTERNS = (
    # A JSON Web Token, wherever it stands.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    # A parameter of a query string or a cookie. `cf_connect` holds a whole command with its token, percent-encoded.
    (re.compile(rf"(?i)\b({_NAMES}=)[^&;\s\"'<>]+"), rf"\g<1>{HIDDEN}"),
    # A member of JSON, also of JSON inside a JSON string; a Python dict; a pair of raw headers as ASGI has them.
    (re.compile(rf"(?i)((\\*[\"']){_NAMES}\2\s*[:,]\s*b?(\\*[\"'])).*?(\3)"), rf"\g<1>{HIDDEN}\g<4>"),
    # A header line.
    (re.compile(r"(?im)\b((?:authorization|x-api-key|(?:set-)?cookie)\s*[:=] ?)(?![\"'])[^\r\n]+"), rf"\g<1>{HIDDEN}"),
    # The password in a URL.
    (re.compile(r"(?<=://)[^/@\s]+@"), f"{HIDDEN}@"),
)

_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)

ROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers of others that bring handlers of their own."""


def setup(*, console: bool, level: int = logging.INFO) -> None:
    """From now on everything that is logged in this process goes to stderr, in lines of one form.

    console: text for people; otherwise JSON, one object a line. A second call replaces the first.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(console))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in ROUTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def redact(text: str) -> str:
    """The text with tokens, keys, cookies and passwords replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _formatter(console: bool) -> logging.Formatter:
    writer: Any = structlog.processors.JSONRenderer()
    if console:
        writer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=not console),
            *([] if console else [_name_event]),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Before redaction: a traceback may quote what it failed on.
            structlog.processors.format_exc_info,
            _redact_event,
            writer,
        ],
    )


def _name_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """With `template`: the sentence before its values were put in, by which docs/monitoring.md lists all events."""
    record: logging.LogRecord = event["_record"]
    if record.name.partition(".")[0] == "roomful":
        event["template"] = record.msg
    return event


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's event once more, with colours
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: object, value: Any) -> Any:
    """A value of an event as it may be written; all that is no number and no mapping becomes text first."""
    if isinstance(name, str) and _SECRET_NAME.fullmatch(name):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _redacted(key, item) for key, item in value.items()}
    return redact(value if isinstance(value, str) else repr(value))
