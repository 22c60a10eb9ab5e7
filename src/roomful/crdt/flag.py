"""Flags: on or off, and which one wins when both are said at once. Almeida et al. 2018, section 7.3."""

from __future__ import annotations

from typing import Self

from roomful.crdt.causal import Context
from roomful.crdt.errors import Malformed
from roomful.crdt.replicated import Replicated
from roomful.crdt.value import Frozen


class _Flag(Replicated):
    """A live dot is somebody's vote for the side that wins. Item: null."""

    __slots__ = ()

    def _vote(self) -> Self:
        return self._commit([None], Context.of(self._dots()))

    def _withdraw(self) -> Self:
        return self._commit([], Context.of(self._dots()))

    def __bool__(self) -> bool:
        return bool(self.value)

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if item is not None:
            raise Malformed("a flag's item is null")


class EnableWinsFlag(_Flag):
    """Off at first; on if there is an enable that no disable has seen: "somebody needs this".

    All costs O(concurrent enables).
    """

    kind = "ewflag"
    __slots__ = ()

    @property
    def value(self) -> bool:
        return bool(self._live)

    def enable(self) -> Self:
        return self._vote()

    def disable(self) -> Self:
        """Ends the enables seen here."""
        return self._withdraw()


class DisableWinsFlag(_Flag):
    """On at first; off if there is a disable that no enable has seen: "somebody objects".

    All costs O(concurrent disables).
    """

    kind = "dwflag"
    __slots__ = ()

    @property
    def value(self) -> bool:
        return not self._live

    def disable(self) -> Self:
        return self._vote()

    def enable(self) -> Self:
        """Ends the disables seen here."""
        return self._withdraw()
