"""The table of the reference's options: complete, and true about ours."""

from __future__ import annotations

import pytest

from roomful.model.channel import ChannelOptions
from roomful.server.centrifuge_options import CLIENT_OPTIONS, LIMITS, NAMESPACE_OPTIONS, Ours, counterpart
from roomful.server.config import Config
from roomful.server.webhook_options import WebhookOptions

RIGHTS = [
    f"allow_{what}_for_{who}"
    for what, whom in {
        "subscribe": "client anonymous",
        "publish": "client subscriber anonymous",
        "presence": "client subscriber anonymous",
        "history": "client subscriber anonymous",
    }.items()
    for who in whom.split()
]

OF_NAMESPACES = """
presence join_leave force_push_join_leave history_size history_ttl history_meta_ttl force_positioning
allow_positioning force_recovery allow_recovery force_recovery_mode auto_cache_recover allowed_delta_types delta_publish
allow_tags_filter allow_user_limited_channels channel_regex publication_data_format subscribe_proxy_enabled
publish_proxy_enabled sub_refresh_proxy_enabled subscribe_stream_proxy_enabled subscription_type map.* shared_poll.*
client_publish_debounce_interval allow_channel_compaction keep_latest_publication batch_*
"""

OF_CLIENTS = """
insecure allow_anonymous_connect_without_token disallow_anonymous_connection_tokens token.* subscription_token.*
allowed_origins user_id_http_header subscribe_to_user_personal_channel.enabled
subscribe_to_user_personal_channel.personal_channel_namespace subscribe_to_user_personal_channel.single_connection
connect_include_server_time
"""


def test_every_option_of_the_reference_has_its_line() -> None:
    assert set(NAMESPACE_OPTIONS) == {*OF_NAMESPACES.split(), *RIGHTS}
    assert set(CLIENT_OPTIONS) == set(OF_CLIENTS.split())


@pytest.mark.parametrize("name", [*NAMESPACE_OPTIONS, *CLIENT_OPTIONS, *LIMITS])
def test_what_it_is_called_here_exists(name: str) -> None:
    ours = counterpart(name) or LIMITS[name]
    for key in ours.keys:
        table, _, option = key.rpartition(".")
        named = {"namespaces.*": ChannelOptions, "webhooks.*": WebhookOptions}
        options = named.get(table) or type(getattr(Config(), table))
        assert option in options.__struct_fields__


def test_as_text() -> None:
    assert str(Ours(("a.b", "a.c"), "so")) == "`a.b`, `a.c`: so"
    assert str(Ours(())) == "not available"
    assert counterpart("history_size_s") is None
