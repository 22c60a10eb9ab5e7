"""What was taken back before its time: whose credentials, issued up to which moment, count no longer."""

from __future__ import annotations

from collections.abc import Iterator

from roomful.model.order import RevokeOrder


class Revoked:
    """All that is revoked at the moment; of two revocations of the same thing the later one counts."""

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str], RevokeOrder] = {}

    def add(self, order: RevokeOrder) -> bool:
        """Whether it says anything new."""
        known = self._orders.get((order.kind, order.name))
        if known is not None and known.at >= order.at and known.until >= order.until:
            return False
        if known is not None:
            order = RevokeOrder(order.kind, order.name, max(known.at, order.at), max(known.until, order.until))
        self._orders[order.kind, order.name] = order
        return True

    def names(self, kind: str, name: str, issued_at: float = 0.0) -> bool:
        """Whether that is revoked, and was issued no later than that. issued_at: seconds since 1970.

        A token tells its time in whole seconds, so one of the very second of the revocation counts as older.
        """
        order = self._orders.get((kind, name))
        return order is not None and issued_at <= order.at

    def ends(self, user: str, token: str, issued_at: float) -> bool:
        """Whether a connection of that user, opened with that token (its id), has no right to be there any more."""
        if not self._orders:
            return False
        return (user != "" and self.names("user", user, issued_at)) or (token != "" and self.names("token", token))

    def expire(self, now: float) -> None:
        """Forgets what is over. now: seconds since 1970."""
        self._orders = {key: order for key, order in self._orders.items() if order.until > now}

    def __iter__(self) -> Iterator[RevokeOrder]:
        return iter(tuple(self._orders.values()))

    def __len__(self) -> int:
        return len(self._orders)
