"""What may be set about the engine: the `[engine]` table. Needs no engine's library."""

from __future__ import annotations

from typing import Literal

import msgspec


class EngineOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[engine]` table.

    url: where nodes meet: "memory://" (one process, nothing beside it), "local://" (the workers of one `roomful serve`,
    through a private Redis that it runs), "redis://…", "nats://…"; a bare word means `word://`.
    publish_deadline_s: a publish that the engine hasn't confirmed by then answers with an error.
    check_s: how often a node compares what it has heard with the heads of the log, and repairs what it missed. With
    more than 10,000 channels a round takes longer: 2,000 of them a second.
    idempotency_ttl_s: how long a key makes a retry harmless. The default is the reference's (section 22).

    For engines that nodes share:
    lease_s: a node that hasn't renewed its lease for so long is dead, and its members leave.
    renew_s: how often a node renews its lease.
    backlog_max_bytes: what may wait for a broker that doesn't answer; beyond it calls fail at once.
    prefix: in front of every name in the broker, so that several installations may share one.
    allow_eviction: start on a Redis that may evict the log when its memory is full; clients are told of the gaps.

    Of NATS:
    nats_storage: where JetStream keeps publications. With "memory" a server that restarts has forgotten them, and who
    comes back is told of a gap.
    nats_replicas: on how many servers of a NATS cluster.
    nats_max_age_s: what is left of a channel whose node died goes after this; longer than any history_meta_ttl_s.

    Bounds of the memory engine, which has nobody to evict for it:
    idempotency_keys_max: keys remembered at once (about 0.4 KB each); beyond it those nearest to their end go.
    idle_channels_max: channels without publications whose epoch and offset are remembered (about 0.3 KB each); beyond
    it the one nearest to its end begins anew, and whoever comes back to it is told of a gap.
    """

    url: str = "memory://"
    publish_deadline_s: float = 5.0
    check_s: float = 5.0
    idempotency_ttl_s: float = 300.0
    lease_s: float = 45.0
    renew_s: float = 15.0
    backlog_max_bytes: int = 16_777_216
    prefix: str = "roomful"
    allow_eviction: bool = False
    nats_storage: Literal["file", "memory"] = "file"
    nats_replicas: int = 1
    nats_max_age_s: float = 40 * 86400.0
    idempotency_keys_max: int = 500_000
    idle_channels_max: int = 250_000

    @property
    def scheme(self) -> str:
        """Which engine: "memory" …"""
        return self.url.partition("://")[0]
