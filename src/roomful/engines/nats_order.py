"""Publications in the order of their offsets.

The server stores them one after the other, but it has been seen (2.9.10) to tell what it has stored in another order,
when two nodes published to one channel at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roomful.model.publication import Publication

HELD_S = 0.25
"""What comes too early waits so long for those before it; then they were lost, and the node reads the log."""

HELD_MAX = 256
"""No more of one channel wait."""

Deliver = Callable[[str, Publication, str], None]


class InOrder:
    """The channels that one node hears. deliver: gets channel, publication, epoch."""

    __slots__ = ("_deliver", "_places")

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._places: dict[str, _Place] = {}

    def take(self, channel: str, publication: Publication, epoch: str) -> None:
        """A numbered publication has come."""
        place = self._places.get(channel)
        if place is None or place.epoch != epoch:
            self.release(channel)
            self._places[channel] = _Place(epoch, publication.offset)
            self._deliver(channel, publication, epoch)
        elif publication.offset <= place.offset + 1:
            self._pass_on(channel, place, publication)
            while (following := place.held.pop(place.offset + 1, None)) is not None:
                self._pass_on(channel, place, following)
            if not place.held:
                place.wait_no_more()
        else:
            place.held[publication.offset] = publication
            if len(place.held) > HELD_MAX:
                self.release(channel)
            elif place.timer is None:
                place.timer = asyncio.get_running_loop().call_later(HELD_S, self.release, channel)

    def release(self, channel: str) -> None:
        """Passes on what waits, with a hole before it."""
        place = self._places.get(channel)
        if place is None:
            return
        place.wait_no_more()
        held, place.held = place.held, {}
        for offset in sorted(held):
            self._pass_on(channel, place, held[offset])

    def forget(self, channel: str) -> None:
        """Nobody hears the channel any more."""
        place = self._places.pop(channel, None)
        if place is not None:
            place.wait_no_more()

    def _pass_on(self, channel: str, place: _Place, publication: Publication) -> None:
        place.offset = max(place.offset, publication.offset)
        self._deliver(channel, publication, place.epoch)


class _Place:
    __slots__ = ("epoch", "held", "offset", "timer")

    def __init__(self, epoch: str, offset: int) -> None:
        self.epoch = epoch
        self.offset = offset
        self.held: dict[int, Publication] = {}
        self.timer: asyncio.TimerHandle | None = None

    def wait_no_more(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
