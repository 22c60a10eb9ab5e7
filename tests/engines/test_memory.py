from __future__ import annotations

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.testing.clock import VirtualClock
from roomful.testing.engine_contract import EngineContract, MakeEngine, PassTime


class TestMemoryEngine(EngineContract):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def make_engine(self, clock: VirtualClock) -> MakeEngine:
        return lambda: MemoryEngine(clock=clock)

    @pytest.fixture
    def pass_time(self, clock: VirtualClock) -> PassTime:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance
