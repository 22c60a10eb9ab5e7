"""The contract has teeth: it fails each store that breaks one promise. Sound stores pass it in tests/stores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest

from roomful.model.errors import NotAvailable
from roomful.seams.store import Entry, Lease, RawWindow, Snapshot, Stored
from roomful.stores.memory import MemoryStore
from roomful.testing.store_contract import StoreContract


class Renumbers(MemoryStore):
    """Begins anew after a snapshot."""

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        return await super().append(name, entries, lineage) - (self._documents[name].upto if entries else 0)


class TakesStale(MemoryStore):
    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        self._documents[name].snapshots.clear()
        return await super().compact(name, snapshot, fence, keep)


class IgnoresFences(MemoryStore):
    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        return await super().compact(name, snapshot, self._documents[name].fence, keep)


class SharesLeases(MemoryStore):
    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        return await super().lease(name, "anybody", ttl_s)


class ForgetsTheDead(MemoryStore):
    async def load(self, name: str) -> Stored | None:
        with suppress(NotAvailable):
            return await super().load(name)
        return None


class NeverTooLate(MemoryStore):
    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        await MemoryStore.append(self, name, entries, lineage)
        return True


class FoldsCase(MemoryStore):
    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        return await super().append(name.lower(), entries, lineage)

    async def load(self, name: str) -> Stored | None:
        return await super().load(name.lower())


class KeepsAll(MemoryStore):
    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        return await super().compact(name, snapshot, fence, RawWindow(0.0, 1 << 60))


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (Renumbers, StoreContract.test_numbers_go_on_after_a_snapshot_of_everything),
        (TakesStale, StoreContract.test_an_older_snapshot_never_replaces_a_newer),
        (IgnoresFences, StoreContract.test_an_owner_whose_lease_is_over_is_fenced_off),
        (SharesLeases, StoreContract.test_one_owner_at_a_time),
        (ForgetsTheDead, StoreContract.test_a_deleted_document_is_gone_and_stays_away),
        (NeverTooLate, StoreContract.test_only_one_is_next),
        (FoldsCase, StoreContract.test_names_are_any_text),
        (KeepsAll, StoreContract.test_the_raw_log_ends_with_its_window),
        (KeepsAll, StoreContract.test_the_raw_log_is_bounded_in_bytes),
    ],
)
async def test_a_broken_promise_is_noticed(store: type[MemoryStore], test: object) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await test(StoreContract(), store())  # type: ignore[operator] # each is a method of the contract
