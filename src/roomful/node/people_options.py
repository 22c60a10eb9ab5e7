"""What may be set about the presence of people: the `[people]` table."""

from __future__ import annotations

import msgspec

from roomful.rooms.attendance import GRACE_S
from roomful.rooms.people import SHOWN_MAX


class PeopleOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[people]` table.

    grace_s: who was lost, and didn't leave, is away for so long after the last sign of life, and then gone.
    shown_max: a room of more people shows so many, and counts the others.
    status_max_bytes: what a person may say of itself, as JSON.
    """

    grace_s: float = GRACE_S
    shown_max: int = SHOWN_MAX
    status_max_bytes: int = 1024
