"""Channel name → options of its namespace, or why the name isn't one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from roomful.model.channel import (
    DEFAULT_NAMESPACE,
    NAMESPACE_NAME,
    RESERVED_NAMESPACES,
    ChannelOptions,
    namespace_of,
)
from roomful.model.errors import BadRequest, UnknownChannel
from roomful.model.facet import OPTIONS, Facet, facet_of


class Namespaces:
    """The namespaces of one node. Source: Centrifuge protocol, section 21.1.

    others: the options of every namespace that isn't configured (`--dev`); None refuses those.
    """

    __slots__ = ("_channel_max_bytes", "_options", "_others", "_patterns")

    def __init__(
        self, options: Mapping[str, ChannelOptions], channel_max_bytes: int, others: ChannelOptions | None = None
    ) -> None:
        self._options = dict(options)
        self._others = others
        self._channel_max_bytes = channel_max_bytes
        self._patterns = {name: re.compile(o.channel_regex) for name, o in options.items() if o.channel_regex}

    def limit(self, channel_max_bytes: int) -> None:
        """From now on a channel's name may be so long."""
        self._channel_max_bytes = channel_max_bytes

    def of(self, channel: str) -> ChannelOptions:
        """The channel's options. Raises BadRequest (107: too long, not the alphabet), UnknownChannel (102).

        A facet is a channel if its base is one.
        """
        if not channel or len(channel) > self._channel_max_bytes:
            raise BadRequest(f"a channel name has 1 to {self._channel_max_bytes} bytes")
        name = namespace_of(channel)
        options = self._options.get(name)
        if options is None:
            facet = facet_of(channel)
            if facet is not None:
                return self._facet(facet)
            options = self._unconfigured(name)
        pattern = self._patterns.get(name)
        if pattern is not None:
            self._check_pattern(channel, name, pattern)
        elif not channel.isascii():
            raise BadRequest("a channel name is ASCII unless its namespace has a channel_regex")
        return options

    def _facet(self, facet: Facet) -> ChannelOptions:
        if facet_of(facet.base) is not None:
            raise BadRequest("a facet has no facets")
        self.of(facet.base)
        options = OPTIONS.get(facet.kind)
        if options is None:
            raise UnknownChannel
        return options

    def _unconfigured(self, name: str) -> ChannelOptions:
        if self._others is None or name in RESERVED_NAMESPACES:
            raise UnknownChannel
        if name != DEFAULT_NAMESPACE and not NAMESPACE_NAME.fullmatch(name):
            raise UnknownChannel
        return self._others

    def _check_pattern(self, channel: str, name: str, pattern: re.Pattern[str]) -> None:
        rest = channel if name == DEFAULT_NAMESPACE else channel[channel.index(":") + 1 :]
        if not pattern.fullmatch(rest):
            raise BadRequest("the channel name doesn't match its namespace's channel_regex")
        if not channel.isascii() and len(channel.encode()) > self._channel_max_bytes:
            raise BadRequest(f"a channel name has at most {self._channel_max_bytes} bytes")
