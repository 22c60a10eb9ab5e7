from __future__ import annotations

import pytest

from roomful.stores.memory import MemoryStore
from roomful.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
