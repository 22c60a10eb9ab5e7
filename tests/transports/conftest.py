from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "roomful.testing.transport_contract", "roomful.testing.raw_websocket", "roomful.testing.stream_contract"
)
