"""The trace that a request belongs to, as whoever sent it says.

Source: W3C Trace Context, section 3.2 (`traceparent`).
"""

from __future__ import annotations

import re

HEADER = "traceparent"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def trace_id(traceparent: str) -> str:
    """The trace id, 32 hexadecimal digits; "" for a header that says none, or says it wrongly."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return ""
    version, trace, parent, more = found.groups()
    if version == "ff" or (more and version == "00") or not int(trace, 16) or not int(parent, 16):
        return ""
    return trace
