"""A subscription whose deliveries somebody traces: it does what it always does, and says what came of it.

A subscription becomes one by its class, and changes back by itself when nobody looks any more. So those that aren't
traced run the same code as if there were no traces at all.
"""

from __future__ import annotations

from typing import Protocol, cast

from roomful.model.publication import Publication
from roomful.session.subscription import BEHIND, ENDED, LATEST, LIVE, PENDING, Holder, Phase, Subscription


class Witness(Holder, Protocol):
    """The session of a watched subscription."""

    @property
    def reads_slowly(self) -> bool:
        """What is queued for its client waits."""
        ...

    @property
    def replaced(self) -> int:
        """Frames of all connections in whose place a newer one waits."""
        ...

    def saw(self, subscription: Subscription, fate: str, publication: Publication, epoch: str) -> None:
        """This has become of a publication, "" where that is told already. If nobody wants to know any more, the
        subscription isn't watched any longer."""
        ...


class Watched(Subscription):
    __slots__ = ()

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        witness = cast(Witness, self.holder)
        phase, place, replaced = self.phase, self.offset, witness.replaced
        known = self.traits.tracked and epoch == self.epoch and 0 < publication.offset <= place
        super().deliver(publication, epoch, frame)
        witness.saw(
            self, self._fate(witness, publication, phase, known, witness.replaced > replaced), publication, epoch
        )

    def skip(self, publication: Publication, epoch: str) -> None:
        super().skip(publication, epoch)
        cast(Witness, self.holder).saw(self, "filtered", publication, epoch)

    def _fate(self, witness: Witness, publication: Publication, before: Phase, known: bool, replaces: bool) -> str:
        """What has become of it; "" when its end, or its gap, has told that."""
        if before is PENDING:
            return "waiting"
        if self.phase is ENDED:
            return ""
        if before is BEHIND or self.phase is BEHIND:
            return "left_to_log"
        if before is LIVE and known:
            return "seen_before"
        if witness.client in publication.exclude:
            return "excluded"
        if replaces and before is LATEST:
            return "replaces"
        return "queued" if witness.reads_slowly else "delivered"
