"""HOT The dialects of the rooms' protocol: one codec and one framing each, so that one encoding serves many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from roomful.model.command import Command
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.wire.centrifuge_json import CentrifugeJSON
from roomful.wire.centrifuge_protobuf import CentrifugeProtobuf
from roomful.wire.centrifuge_uni import CentrifugeUni
from roomful.wire.framing import deflated_frame, line, sse_event, websocket_frame

JSON_SUBPROTOCOL = "centrifuge-json"
PROTOBUF_SUBPROTOCOL = "centrifuge-protobuf"
SUBPROTOCOLS = (JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL)
"""What the server offers in the WebSocket handshake."""

Codec: TypeAlias = CentrifugeJSON | CentrifugeProtobuf | CentrifugeUni


class Framed:
    """A codec's documents, each in a frame of its own; frames are simply strung together.

    frame: what makes a frame of a document; its second argument says whether the codec is binary.
    """

    __slots__ = ("_codec", "_frame", "_ping", "binary", "joins", "json", "name", "unidirectional")

    def __init__(self, codec: Codec, frame: Callable[[bytes, bool], bytes]) -> None:
        self.name = codec.name
        self.binary = codec.binary
        self.json = codec.json
        self.unidirectional = codec.unidirectional
        self.joins = True
        self._codec = codec
        self._frame = frame
        self._ping = frame(codec.ping(), codec.binary)

    def decode(self, data: bytes) -> list[Command]:
        return self._codec.decode(data)

    def reply(self, id: int, result: Result | Failure) -> bytes:
        return self._frame(self._codec.reply(id, result), self.binary)

    def push(self, push: Push) -> bytes:
        return self._frame(self._codec.push(push), self.binary)

    def ping(self) -> bytes:
        return self._ping

    def join(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)


# One of each for all connections: a hub encodes once for all subscribers whose dialect is the same object.
JSON_BARE = CentrifugeJSON()
PROTOBUF_BARE = CentrifugeProtobuf()
JSON_FRAMED = Framed(JSON_BARE, websocket_frame)
PROTOBUF_FRAMED = Framed(PROTOBUF_BARE, websocket_frame)
JSON_DEFLATED = Framed(JSON_BARE, deflated_frame)
PROTOBUF_DEFLATED = Framed(PROTOBUF_BARE, deflated_frame)
JSON_EVENTS = Framed(JSON_BARE, sse_event)
JSON_LINES = Framed(JSON_BARE, line)
UNI_BARE = CentrifugeUni()
UNI_FRAMED = Framed(UNI_BARE, websocket_frame)
UNI_EVENTS = Framed(UNI_BARE, sse_event)
UNI_LINES = Framed(UNI_BARE, line)


def choose(query: dict[str, str], subprotocol: str, framed: bool, deflate: bool = False) -> Codec | Framed:
    """The dialect of a WebSocket connection. Source: Centrifuge protocol, section 2.1.

    query: of the request. subprotocol: the negotiated one, "" for none. framed: see `seams.transport.Transport`.
    deflate: frames may be compressed, see `seams.transport.Request`.
    """
    protobuf = (
        query.get("format") == "protobuf"
        or query.get("cf_protocol") == "protobuf"
        or subprotocol == PROTOBUF_SUBPROTOCOL
    )
    if deflate:
        return PROTOBUF_DEFLATED if protobuf else JSON_DEFLATED
    if framed:
        return PROTOBUF_FRAMED if protobuf else JSON_FRAMED
    return PROTOBUF_BARE if protobuf else JSON_BARE
