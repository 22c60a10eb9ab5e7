"""Who has sent what had to be refused, and how long its connection is kept waiting before it is closed.

A provider that was refused comes back within a second and offers the same again, for ever. So the first refusal closes
at once, and each one after it takes twice as long. Source: Yjs protocols, section 14.2.
"""

from __future__ import annotations

FIRST_S = 1.0
"""How long the second refusal waits."""

FORGET_S = 600.0
"""Who wasn't refused for so long begins anew."""

KEPT_MAX = 10_000
"""Who was refused longest ago is forgotten first: a stranger can come from many addresses."""


class Refusals:
    """longest_s: no refusal waits longer; 0: none waits."""

    __slots__ = ("_counts", "_longest_s")

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._counts: dict[str, tuple[int, float]] = {}

    def delay(self, who: str, now: float) -> float:
        """Counts a refusal; the seconds that this one waits."""
        count, last = self._counts.pop(who, (0, now))
        if now - last > FORGET_S:
            count = 0
        self._counts[who] = (count + 1, now)
        if len(self._counts) > KEPT_MAX:
            del self._counts[next(iter(self._counts))]
        return min(self._longest_s, FIRST_S * 2 ** min(count - 1, 30)) if count else 0.0
