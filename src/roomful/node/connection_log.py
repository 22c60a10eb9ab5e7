"""Log lines about a connection say whose it is, in fields of their own: `client`, and where known `user` and `trace`.

Nothing is made or kept for a connection about which nothing is logged.
"""

from __future__ import annotations

import logging
from typing import TypeAlias

FIELDS = ("client", "user", "trace")

Lines: TypeAlias = logging.LoggerAdapter[logging.Logger]


def about(log: logging.Logger, connection: object) -> Lines:
    """The logger for lines about a connection: a session, or an event that hooks get of one. What it doesn't know of
    these fields is left out."""
    return logging.LoggerAdapter(log, {field: value for field in FIELDS if (value := getattr(connection, field, ""))})
