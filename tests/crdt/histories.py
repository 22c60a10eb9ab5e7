"""Histories: what several replicas do, as scripts that Python and TypeScript both run (`js/crdt/test/play.ts`).

A script is a list of steps over named objects, which are replicas, deltas and copies alike:

    ["new", name, type, replica]
    ["do", name, object, path, method, arguments]   the delta gets the name; path: [[key, type], …] into nested maps
    ["merge", object, other]
    ["since", name, object, other]                  what `other` lacks
    ["collect", object, [name, …]]                  what all the named have seen is stable
    ["copy", name, object, replica, form]           through "json" or "msgpack"
    ["now", ms]                                     moves the clock of all

A step on an object that an earlier error left unmade does nothing. Indices into lists are taken modulo their length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from operator import and_
from typing import Any, TypeAlias

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from roomful.crdt import (
    HLC,
    KINDS,
    CRDTError,
    Fugue,
    ORMap,
    Replicated,
    from_json,
    from_msgpack,
    to_json,
    to_msgpack,
)
from roomful.crdt.value import freeze, written
from tests.wire.fuzz import MUTANTS, mutants

Step: TypeAlias = list[Any]

REPLICAS = ["a", "b", "\U0001f600", "\uffee"]
"""In the order of code points the last comes before the third, in the order of UTF-16 it doesn't."""


class Play:
    """Runs a script. objects: by name. errors: [step, name of the error], for those that raised."""

    def __init__(self, script: list[Step] | None = None) -> None:
        self.objects: dict[str, Replicated] = {}
        self.errors: list[list[Any]] = []
        self.now_ms = 1_000
        for at, step in enumerate(script or []):
            try:
                self.step(*step)
            except CRDTError as error:
                self.errors.append([at, type(error).__name__])

    def step(self, what: str, *rest: Any) -> None:
        getattr(self, f"_{what}")(*rest)

    def _new(self, name: str, kind: str, replica: str) -> None:
        self.objects[name] = KINDS[kind](replica, clock=self.clock())

    def _do(self, name: str, target: str, path: list[list[str]], method: str, args: list[Any]) -> None:
        if target in self.objects:
            delta = do(self.objects[target], path, method, args)
            self.objects[name] = delta

    def _merge(self, target: str, other: str) -> None:
        if target in self.objects and other in self.objects:
            self.objects[target].merge(self.objects[other])

    def _since(self, name: str, target: str, other: str) -> None:
        if target in self.objects and other in self.objects:
            self.objects[name] = self.objects[target].delta_since(self.objects[other].context)

    def _collect(self, target: str, others: list[str]) -> None:
        contexts = [self.objects[name].context for name in others]
        self.objects[target].collect(reduce(and_, contexts))

    def _copy(self, name: str, target: str, replica: str, form: str) -> None:
        if target in self.objects:
            self.objects[name] = copy(self.objects[target], form, replica=replica, clock=self.clock())

    def _now(self, ms: int) -> None:
        self.now_ms = ms

    def clock(self) -> HLC:
        return HLC(now=lambda: self.now_ms)


def do(target: Replicated, path: list[list[str]], method: str, args: list[Any]) -> Any:
    """Calls a mutator, inside nested maps if there is a path."""
    if path:
        assert isinstance(target, ORMap)
        (key, kind), *rest = path
        return target.update(key, KINDS[kind], lambda nested: do(nested, rest, method, args))
    if isinstance(target, Fugue):
        args = _fit(len(target), method, args)
    return getattr(target, method)(*args)


def _fit(length: int, method: str, args: list[Any]) -> list[Any]:
    if method == "insert":
        return [args[0] % (length + 1), *args[1:]]
    if method == "delete":
        index = args[0] % length if length else 0
        return [index, min(args[1], length - index)]
    return args


def copy(state: Replicated, form: str = "msgpack", **options: Any) -> Any:
    if form == "json":
        return from_json(to_json(state), type(state), **options)
    return from_msgpack(to_msgpack(state), type(state), **options)


ELEMENTS = st.sampled_from(["x", "y", "", "é", "\U0001f600", "\uffee", 0, 1, -1.5, 1e21, ["x", 1], []])
VALUES = st.sampled_from(
    [None, True, False, 0, 1, -7, 0.1, 1e300, "", "x", [1, "x"], {"b": [], "a": {"10": 1, "9": 2}}]
)
KEYS = st.sampled_from(["k", "l", "10", "9", "__proto__", "\U0001f600", "\uffee"])
AMOUNTS = st.integers(1, 9)
INDICES = st.integers(0, 50)

Call: TypeAlias = tuple[list[list[str]], str, list[Any]]


def _call(method: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just([]), st.just(method), st.tuples(*args).map(list))


CALLS: dict[str, st.SearchStrategy[Call]] = {
    "gcounter": _call("increment", AMOUNTS),
    "pncounter": _call("increment", AMOUNTS) | _call("decrement", AMOUNTS),
    "lww": _call("set", VALUES),
    "mv": _call("set", VALUES),
    "gset": _call("add", ELEMENTS),
    "2pset": _call("add", ELEMENTS) | _call("remove", ELEMENTS),
    "lwwset": _call("add", ELEMENTS) | _call("remove", ELEMENTS),
    "orset": _call("add", ELEMENTS) | _call("remove", ELEMENTS) | _call("clear"),
    "lwwmap": _call("set", KEYS, VALUES) | _call("delete", KEYS),
    "ewflag": _call("enable") | _call("disable"),
    "dwflag": _call("enable") | _call("disable"),
    "fugue": st.tuples(st.just([]), st.just("insert"), st.tuples(INDICES, VALUES, VALUES).map(list))
    | _call("insert", INDICES, VALUES)
    | _call("delete", INDICES, st.integers(1, 3)),
}
"""What can be done to an object of each type."""


@st.composite
def _nested(draw: st.DrawFn, calls: st.SearchStrategy[tuple[str, Call]]) -> Call:
    kind, (path, method, args) = draw(calls)
    return [[draw(KEYS), kind], *path], method, args


_LEAVES = st.sampled_from(sorted(CALLS)).flatmap(lambda kind: st.tuples(st.just(kind), CALLS[kind]))
_REMOVALS = _call("remove", KEYS) | _call("clear")
_MAPS = _nested(_LEAVES) | _REMOVALS
CALLS["ormap"] = _MAPS | _nested(st.tuples(st.just("ormap"), _MAPS))


@st.composite
def histories(draw: st.DrawFn, kind: str, replicas: int = 3, most: int = 14, wild: bool = False) -> list[Step]:
    """Replicas named "0", "1", …, their deltas "d0", "d1", …, with exchanges of states and deltas in between.

    wild: also copies, collections at any time, and a clock that leaves what it had seen in the future."""
    names = [str(n) for n in range(replicas)]
    script: list[Step] = [["new", name, kind, REPLICAS[n]] for n, name in enumerate(names)]
    someone = st.sampled_from(names)
    deltas = 0
    for _ in range(draw(st.integers(1, most))):
        steps = ["do", "do", "do", "merge", "delta", "since", "now", *(["collect", "copy", "leap"] if wild else [])]
        match draw(st.sampled_from(steps)):
            case "do":
                script.append(["do", f"d{deltas}", draw(someone), *draw(CALLS[kind])])
                deltas += 1
            case "merge":
                script.append(["merge", draw(someone), draw(someone)])
            case "delta" if deltas:
                script.append(["merge", draw(someone), f"d{draw(st.integers(0, deltas - 1))}"])
            case "since":
                source, target = draw(someone), draw(someone)
                script += [["since", "s", source, target], ["merge", target, "s"]]
            case "now":
                script.append(["now", draw(st.integers(0, 5_000))])
            case "leap":
                script.append(["now", draw(st.sampled_from([0, 60_000, 120_000]))])
            case "collect":
                script.append(["collect", draw(someone), draw(st.lists(someone, min_size=1, max_size=3))])
            case "copy":
                form = draw(st.sampled_from(["json", "msgpack"]))
                script.append(["copy", draw(someone), draw(someone), f"{REPLICAS[3]}/{len(script)}", form])
    return script


def drawn(strategy: st.SearchStrategy[Any], count: int, start: int = 1) -> list[Any]:
    """So many examples, the same ones in each run."""
    found: list[Any] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found[:count]


SECONDS = float(os.environ.get("ROOMFUL_FUZZ_SECONDS", "0"))
"""About how long the tests of this folder look for surprises together, when their usual few examples are too few. A
long run needs a longer limit for each: `ROOMFUL_FUZZ_SECONDS=600 pytest -o timeout=900 tests/crdt`."""


def examples(usual: int, **options: Any) -> settings:
    """How many examples a property gets: a few, or in proportion to ROOMFUL_FUZZ_SECONDS, which all of them share."""
    return settings(max_examples=usual * max(1, round(SECONDS / 15)), deadline=None, **options)


def broken(seeds: list[bytes]) -> Iterator[bytes]:
    """Mutants of encoded states."""
    return islice(mutants(seeds), MUTANTS + round(100 * SECONDS))


def shown(state: Replicated) -> Any:
    """The value as both languages can write it: sets become the sorted JSON of their elements."""
    if isinstance(state, ORMap):
        return {key: shown(nested) for key, nested in state.items()}
    if state.kind.endswith("set"):
        return sorted(written(freeze(element)).decode() for element in state.value)
    return state.value


def deltas_of(play: Play) -> list[Replicated]:
    return [state for name, state in play.objects.items() if name.startswith("d")]


def replicas_of(play: Play) -> list[Replicated]:
    return [state for name, state in play.objects.items() if name.isdigit()]
