"""What may be set about the state that rooms share: the `[state]` table."""

from __future__ import annotations

import msgspec

from roomful.rooms.shared_state import SharedStateOptions


class StateOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[state]` table. It is kept where documents are, see `documents.store`.

    objects_max: objects in a room.
    room_max_bytes: all objects of a room together, in MessagePack. Each newcomer is sent all of it in one frame, as
    JSON up to twice as long, which has to fit into `limits.outbox_max_bytes`. A full room still takes removals.
    clock_ahead_max_s: how far ahead of the server's clock a client's stamp may lie.
    compact_entries: a room's log of more changes than this is compacted.
    """

    objects_max: int = 128
    room_max_bytes: int = 262_144
    clock_ahead_max_s: float = 60.0
    compact_entries: int = 256

    @property
    def shared(self) -> SharedStateOptions:
        """What the pure half needs."""
        return SharedStateOptions(
            max_objects=self.objects_max,
            max_bytes=self.room_max_bytes,
            max_ahead_ms=round(self.clock_ahead_max_s * 1000),
        )
