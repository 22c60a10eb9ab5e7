"""The application's hooks: one table of what can be hooked, and how a hook is called."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple

from roomful.model.disconnects import Disconnect
from roomful.model.errors import ConfigError, InternalError, RoomfulError
from roomful.model.event import (
    AwarenessEvent,
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    DocumentChangeEvent,
    DocumentCloseEvent,
    DocumentLoadEvent,
    DocumentLoadReply,
    DocumentOpenEvent,
    DocumentOpenReply,
    DocumentStoreEvent,
    DocumentUnloadEvent,
    ForeignHistoryEvent,
    MessageEvent,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RpcEvent,
    RpcReply,
    ServerRpcEvent,
    StatelessEvent,
    StatelessReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
    UnsubscribeEvent,
)
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.node.stats import Stats

log = logging.getLogger("roomful.hooks")

THREADS_MAX = 32
"""Calls of one plain function that run at once. Each has threads of its own: one that hangs in all of them holds up
nobody but itself."""

Hook = Callable[[Any], Any]


class Kind(NamedTuple):
    """What may answer an event (None: nothing), and the field that a hook may be narrowed by."""

    reply: type | None
    narrowed_by: str | None


HOOKS: dict[type, Kind] = {
    ConnectEvent: Kind(ConnectReply, None),
    SubscribeEvent: Kind(SubscribeReply, "channel"),
    PublishEvent: Kind(PublishReply, "channel"),
    RpcEvent: Kind(RpcReply, "method"),
    ServerRpcEvent: Kind(RpcReply, "method"),
    RefreshEvent: Kind(RefreshReply, None),
    SubRefreshEvent: Kind(SubRefreshReply, "channel"),
    MessageEvent: Kind(None, None),
    UnsubscribeEvent: Kind(None, "channel"),
    DisconnectEvent: Kind(None, None),
    DocumentOpenEvent: Kind(DocumentOpenReply, "document"),
    DocumentLoadEvent: Kind(DocumentLoadReply, "document"),
    DocumentChangeEvent: Kind(None, "document"),
    DocumentStoreEvent: Kind(None, "document"),
    AwarenessEvent: Kind(None, "document"),
    StatelessEvent: Kind(StatelessReply, "document"),
    ForeignHistoryEvent: Kind(None, "document"),
    DocumentCloseEvent: Kind(None, "document"),
    DocumentUnloadEvent: Kind(None, "document"),
}


class Pattern(NamedTuple):
    """A hook for the names that match; `*` stands for any text. More literal letters make it more specific."""

    text: str
    regex: re.Pattern[str]
    hook: Hook
    is_async: bool

    @property
    def specificity(self) -> tuple[bool, int, str]:
        """Sorts the most specific first: a plain name, then by letters, then by spelling to be definite."""
        return ("*" in self.text, -len(self.text.replace("*", "")), self.text)


class Hooks:
    """The hooks of one application. deadline_s: a call that takes longer fails."""

    def __init__(self, stats: Stats, deadline_s: float = 10.0) -> None:
        self._patterns: dict[type, list[Pattern]] = {}
        self._plain: dict[tuple[type, str], Pattern] = {}  # those without a `*`, which need no search
        self._stats = stats
        self.deadline_s = deadline_s
        self._threads: dict[int, ThreadPoolExecutor] = {}  # by id of the hook, which may not be hashable

    def add(self, event: type, pattern: str | None, hook: Hook) -> None:
        """Raises ConfigError for an event that can't be hooked, a narrowing it doesn't have, or a second equal hook."""
        kind = HOOKS.get(event)
        if kind is None:
            raise ConfigError(f"{event!r} is not an event; events are {', '.join(e.__name__ for e in HOOKS)}")
        if pattern is not None and kind.narrowed_by is None:
            raise ConfigError(f"a hook for {event.__name__} can't be narrowed by {pattern!r}")
        text = "*" if pattern is None else pattern
        known = self._patterns.setdefault(event, [])
        if any(other.text == text for other in known):
            raise ConfigError(f"there are two hooks for {event.__name__} and {text!r}; one of them would never run")
        regex = re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)
        is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__)
        added = Pattern(text, regex, hook, is_async)
        known.append(added)
        known.sort(key=lambda p: p.specificity)
        if "*" not in text:
            self._plain[event, text] = added

    def remove(self, hook: Hook) -> None:
        """Forgets a hook that was added; nothing happens if it wasn't."""
        for event, patterns in tuple(self._patterns.items()):
            left = [pattern for pattern in patterns if pattern.hook is not hook]
            if left:
                self._patterns[event] = left
            else:
                del self._patterns[event]
        self._plain = {key: pattern for key, pattern in self._plain.items() if pattern.hook is not hook}
        threads = self._threads.pop(id(hook), None)
        if threads is not None:
            threads.shutdown(wait=False)

    def has(self, event: type) -> bool:
        """Whether any hook listens to this event."""
        return event in self._patterns

    def find(self, event: type, name: str = "") -> Pattern | None:
        """The most specific hook for the name (a channel or a method), None if there is none."""
        plain = self._plain.get((event, name))
        if plain is not None:
            return plain
        for pattern in self._patterns.get(event, ()):
            if pattern.regex.fullmatch(name):
                return pattern
        return None

    async def call(self, event: Any, name: str = "") -> Any:
        """What the hook for the name replies; None without a hook or an opinion. Raises what `ask` does."""
        found = self.find(type(event), name)
        return None if found is None else await self.ask(found, event)

    async def ask(self, found: Pattern, event: Any) -> Any:
        """What this hook replies; None without an opinion.

        Raises what the hook refuses with (RoomfulError, Disconnect); InternalError for every other exception and for a
        hook that takes too long or answers something else than its reply type, which are logged with a traceback.
        """
        begun = perf_counter()
        running = self._start(found, event)
        if not isinstance(running, eager.Ended):
            await asyncio.wait((running,), timeout=self.deadline_s)
        self._stats.count_hook(type(event).__name__, perf_counter() - begun)
        if not (isinstance(running, eager.Ended) or running.done()):
            running.cancel()
            raise self._failure(event, found.hook, f"took longer than {self.deadline_s:g} s")
        if running.cancelled():
            raise self._failure(event, found.hook, "was cancelled")
        error = running.exception()
        if isinstance(error, (RoomfulError, Disconnect)):
            raise error
        if error is not None:
            raise self._failure(event, found.hook, "raised", error)
        reply = running.result()
        expected = HOOKS[type(event)].reply
        if reply is not None and (expected is None or not isinstance(reply, expected)):
            allowed = f"{expected.__name__} or None" if expected else "None"
            raise self._failure(event, found.hook, f"answered {type(reply).__name__}; it may answer {allowed}")
        return reply

    async def tell(self, event: Any, name: str = "") -> None:
        """Calls a hook whose answer nobody waits for; its errors are logged and go no further."""
        try:
            await self.call(event, name)
        except (RoomfulError, Disconnect) as refusal:
            about(log, event).warning("%s can't be refused, but its hook raised %r", type(event).__name__, refusal)

    def _failure(self, event: object, hook: Hook, what: str, error: BaseException | None = None) -> InternalError:
        self._stats.count_hook_error(type(event).__name__)
        about(log, event).error("hook %s for %s %s", _name(hook), type(event).__name__, what, exc_info=error)
        return InternalError()

    def _start(self, found: Pattern, event: object) -> asyncio.Future[Any] | eager.Ended:
        """A task of its own, or a thread for a plain function: a hook that blocks never stops the heartbeats."""
        if found.is_async:
            return eager.begin(_contained(found.hook, event))
        threads = self._threads.get(id(found.hook))
        if threads is None:
            threads = self._threads[id(found.hook)] = ThreadPoolExecutor(THREADS_MAX, "roomful-hook")
        return asyncio.get_running_loop().run_in_executor(threads, _contained_call, found.hook, event)


class HookExit(Exception):
    """A hook raised SystemExit, KeyboardInterrupt or the like, which must not end the server, or StopIteration, which
    no future can carry: its caller would wait for the deadline."""


async def _contained(hook: Hook, event: object) -> Any:
    try:
        return await hook(event)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise HookExit(repr(error)) from error


def _contained_call(hook: Hook, event: object) -> Any:
    try:
        return hook(event)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise HookExit(repr(error)) from error


def _name(hook: Hook) -> str:
    return getattr(hook, "__qualname__", repr(hook))
