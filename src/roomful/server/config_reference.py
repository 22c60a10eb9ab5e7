"""`docs/configuration.md`, made from the options themselves, so that it can't say anything else than the code.

`python -m roomful.server.config_reference > docs/configuration.md` writes it; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import msgspec

from roomful.model.channel import ChannelOptions
from roomful.node.rate_options import ConnectionRates, RateOptions, RoomRates, VisitorRates
from roomful.server.centrifuge_options import CLIENT_OPTIONS, LIMITS, NAMESPACE_OPTIONS, Ours
from roomful.server.config import Config
from roomful.session.options import LimitOptions

INTRODUCTION = """\
# Configuration

<!-- Made by `python -m roomful.server.config_reference`; a change belongs to the options in the source. -->

Settings come from three places; each overrides the one before:

1. a TOML file: `--config`, else `ROOMFUL_CONFIG`, else `./roomful.toml` if there is one;
2. environment variables: `ROOMFUL_`, then the keys in capitals, parted by two underscores:
   `ROOMFUL_SERVER__PORT=9000`, `ROOMFUL_NAMESPACES__CHAT__HISTORY_SIZE=100`,
   `ROOMFUL_API__KEYS='["…"]'` (lists as in TOML);
3. flags of `roomful serve`.

`roomful check` reads them like the server does, and says what is open to whom. A key that doesn't exist is an error.
Relative paths lie under `--data` (else `ROOMFUL_DATA`, else `./roomful-data`).

```toml
[server]
allowed_origins = ["https://example.com"]

[tokens]
hmac_secret = "…"

[namespaces.chat]
history_size = 100
history_ttl_s = 300
recover = true
presence = true
subscribe = "user"
publish = "subscriber"
```

In Python the same tree is an object: `Roomful(Config(namespaces={"chat": ChannelOptions(presence=True)}))`. It stands
for file and environment, which then aren't read; flags still override it.

Units stand in the names: `_s` are seconds, `_bytes` bytes. Times may have fractions.
"""

RIGHTS = """\
The namespace of a channel is the text between an optional leading `$` and the first `:`; channels without one belong to
`[namespaces.default]`. A channel whose namespace isn't configured doesn't exist. `typing`, `people` and `state` are
reserved.

Rights: `"nobody"`: only a token or a hook grants it; `"subscriber"`: whoever is subscribed; `"user"`: every client with
a user id; `"client"`: also anonymous clients.
"""

RATES = """\
### `[limits.rates.…]`

How often, by whom: `[limits.rates.connection]`, `[limits.rates.user]`, `[limits.rates.address]`, `[limits.rates.room]`.
Each option takes a rate: `"20/s burst 40"` is 20 a second and 40 at once; `"6/min"`, `"100/h"`, `"0.5/s"`: without
`burst` as many at once as the number before the stroke. What isn't written isn't limited. What they mean, and what
happens beyond: [security](security.md#how-often).

```toml
[limits.rates.user]
publish = "10/s burst 30"
connect = "20/min"

[limits.rates.room]
publish = "200/s"
```
"""

APPENDIX = """\
## For those who come from Centrifugo

Clients speak the same protocol. What its options are called here:
"""

_SECTIONS = (
    ("Of a namespace", NAMESPACE_OPTIONS),
    ("Of the whole server", CLIENT_OPTIONS),
    ("Limits and times", LIMITS),
)


def reference() -> str:
    """The whole page, in Markdown."""
    lines = [INTRODUCTION]
    for field in msgspec.structs.fields(Config):
        named = get_origin(field.type) is dict
        kind = get_args(field.type)[1] if named else field.type
        heading = f"## `[{field.name}{'.<name>' if named else ''}]`\n"
        if kind is ChannelOptions:
            heading += f"\n{RIGHTS}"
        lines += [heading, *_table(kind), ""]
        if kind is LimitOptions:
            lines += [RATES, *_rates(), ""]
    lines.append(APPENDIX)
    for title, options in _SECTIONS:
        lines += [f"### {title}", "", *_counterparts(options), ""]
    return "\n".join(lines).rstrip() + "\n"


def descriptions(kind: type[msgspec.Struct], names: Collection[str] | None = None) -> dict[tuple[str, ...], str]:
    """What the docstring of an Options struct says about its fields: names that are described together → text.

    A paragraph of the docstring is prose, or a row of `name: text` and `name, name: text`. A field without a text of
    its own stands with the first one whose text mentions it.
    """
    of = kind.__struct_fields__ if names is None else names
    fields = "|".join(of)
    entry = re.compile(rf"(?:^ *|(?<=[.)] ))((?:{fields})(?:, (?:{fields}))*):\s", re.MULTILINE)
    found: dict[tuple[str, ...], str] = {}
    for paragraph in (kind.__doc__ or "").split("\n\n"):
        _, *parts = entry.split(paragraph)
        rows = zip(parts[::2], parts[1::2], strict=True)
        found |= {tuple(names.split(", ")): " ".join(text.split()) for names, text in rows}
    for name in set(of).difference(*found):
        host = next(names for names, text in found.items() if name in text.split())
        found = {(*names, name) if names == host else names: text for names, text in found.items()}
    return found


def _table(kind: type[msgspec.Struct]) -> Iterator[str]:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    yield "| option | values | default | meaning |"
    yield "|---|---|---|---|"
    for names, text in descriptions(kind).items():
        values = dict.fromkeys(_values(fields[name].type) for name in names)
        defaults = [_toml(fields[name].default) for name in names]
        shown = defaults[:1] if len(set(defaults)) == 1 else defaults
        cells = (_codes(names), "; ".join(values), ", ".join(shown), text)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _rates() -> Iterator[str]:
    """Which command can be limited by whom."""
    scopes = {field.name: field.type.__struct_fields__ for field in msgspec.structs.fields(RateOptions)}
    yield f"| option | {' | '.join(f'`{by}`' for by in scopes)} | counts |"
    yield f"|---|{'---|' * len(scopes)}---|"
    texts = {name: text for kind in (RoomRates, ConnectionRates, VisitorRates) for name, text in _own(kind)}
    for name, text in texts.items():
        marks = ("x" if name in names else "" for names in scopes.values())
        yield f"| `{name}` | {' | '.join(marks)} | {text} |"


def _own(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Fields that the docstring of the class itself describes, and how."""
    for (name,), text in sorted(descriptions(kind, kind.__annotations__).items()):
        yield name, text


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _values(kind: Any) -> str:
    """What may be written, in words."""
    members: list[Any] = [member for member in get_args(kind) if member is not NoneType]
    if get_origin(kind) is Literal:
        return ", ".join(_toml(value) for value in members)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(_toml(member.value) for member in kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "tables"
    if get_origin(kind) is tuple:
        return f"list of {_values(members[0])}"
    if members:
        return ", ".join(_values(member) for member in members)
    return {int: "integer", float: "number", str: "text", bool: "`true`, `false`"}[kind]


def _toml(value: Any) -> str:
    """A default as it would be written; a dash for what can only be left out."""
    if value is None or isinstance(value, msgspec.Struct):
        return "–"
    if isinstance(value, tuple):
        return "`[]`" if not value else f"`{list(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:.15g}`"


def _counterparts(options: Mapping[str, Ours]) -> Iterator[str]:
    yield "| there | here |"
    yield "|---|---|"
    for name, ours in options.items():
        yield f"| {name if ' ' in name else f'`{name}`'} | {ours} |"


if __name__ == "__main__":
    print(reference(), end="")
