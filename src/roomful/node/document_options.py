"""What may be set about documents: the `[documents]` table."""

from __future__ import annotations

from typing import Literal

import msgspec


class DocumentOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[documents]` table. Defaults: Yjs protocols, section 14.3.

    store: where documents are kept: "sqlite:///roomful.db" (a relative path lies under `--data`), "postgresql://…" or
    "memory://".
    access: who may open documents without a token or a hook that says so.
    rights: what they may do then: "read", "comment" (reads, and sends stateless messages) or "write".
    lineage: a client that brings another history of a document is refused, and what it holds is kept as a rescue.
    message_max_bytes: one message from a client (larger: 1009).
    outbox_max_bytes: waiting for one client that reads slowly. Beyond, it is closed (1013), and comes back for what it
    lacks.
    queue_max, queue_max_bytes: messages of a connection that wait while a document is authorized or loaded (4205).
    documents_max, pending_max: on one Hocuspocus socket, and of those, not open yet (4205).
    name_max_bytes: a document's name.
    document_max_bytes: a document. Updates beyond it are refused, and at 80 % a warning is logged.
    clients_max: client ids that have ever written in a document.
    stateless_max_bytes: one stateless message.
    awareness_max_bytes, awareness_ids_max: one state, and how many a connection may have.
    awareness_expiry_s: a state that isn't renewed for so long is gone.
    auth_s: a connection without any document for so long is closed (4408).
    expired_grace_s: how long a client may take to send a new token.
    keepalive_s: something reaches each client this often, for they count messages and no pings.
    ping_s, dead_s: WebSocket ping, and how long a peer may be silent.
    load_s, loads_max: a load that takes longer fails, and how many run at once.
    unload_s: a document that nobody uses is unloaded after so long.
    compact_entries, compact_bytes: a longer log is compacted, if it is also longer than the snapshot.
    compact_ratio, compact_floor_bytes: a log of more times the snapshot than this is compacted, but for short ones.
    raw_keep_s, raw_keep_max_bytes: how long, and how many bytes of a document, compacted entries are kept to cut an
    author out.
    rescues_max, rescues_max_bytes: what is kept for one document of clients with another history. Beyond, such a client
    is refused, and told that nothing was kept.
    waiting_max_bytes: updates that wait in a document for others that they lean on. Beyond, the sender is refused.
    refusal_max_s: a user's first malformed update closes the connection at once, each further one after twice as long,
    up to this.
    deleted_s: a deleted document can't be made anew for so long.
    """

    store: str = "sqlite:///roomful.db"
    access: Literal["nobody", "user", "client"] = "nobody"
    rights: Literal["read", "comment", "write"] = "write"
    lineage: bool = True
    message_max_bytes: int = 16_777_216
    outbox_max_bytes: int = 16_777_216
    queue_max: int = 1000
    queue_max_bytes: int = 5_242_880
    documents_max: int = 1000
    pending_max: int = 100
    name_max_bytes: int = 512
    document_max_bytes: int = 52_428_800
    clients_max: int = 10_000
    stateless_max_bytes: int = 65_536
    awareness_max_bytes: int = 8192
    awareness_ids_max: int = 16
    awareness_expiry_s: float = 30.0
    auth_s: float = 30.0
    expired_grace_s: float = 30.0
    keepalive_s: float = 15.0
    ping_s: float = 30.0
    dead_s: float = 35.0
    load_s: float = 30.0
    loads_max: int = 16
    unload_s: float = 20.0
    compact_entries: int = 500
    compact_bytes: int = 1_048_576
    compact_ratio: float = 3.0
    compact_floor_bytes: int = 65_536
    raw_keep_s: float = 86_400.0
    raw_keep_max_bytes: int = 67_108_864
    rescues_max: int = 100
    rescues_max_bytes: int = 67_108_864
    waiting_max_bytes: int = 1_048_576
    refusal_max_s: float = 30.0
    deleted_s: float = 86_400.0
