"""Where settings come from: a TOML file, then environment variables, then flags; each overrides the one before.

All that is wrong is told at once, a line each: the source, the key, the reason, and the key that was probably meant.
"""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import msgspec

from roomful.model.errors import ConfigError
from roomful.server.centrifuge_options import counterpart
from roomful.server.config import Config
from roomful.server.config_check import Problem, problems

FILE = Path("roomful.toml")
"""Read when no other is named, if it is there."""

DATA = Path("roomful-data")
"""Where relative paths lie, and everything that we write."""

PREFIX = "ROOMFUL_"
FILE_VARIABLE = "ROOMFUL_CONFIG"
DATA_VARIABLE = "ROOMFUL_DATA"

PATHS = (
    ("server", "uds"),
    ("server", "tls_cert"),
    ("server", "tls_key"),
    ("tokens", "public_key"),
    ("api", "key_files"),
)
"""The settings that name a file, or several."""

SQLITE = "sqlite:///"
"""Before the path in the address of a store."""

KeyPath = tuple[str, ...]


def load(
    file: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[KeyPath, object] = {},
    data: Path | None = None,
) -> Config:
    """The configuration, read and checked, with absolute paths.

    file, data: by default as `ROOMFUL_CONFIG` and `ROOMFUL_DATA` say, else `./roomful.toml` (if there is one) and
    `./roomful-data`. flags: by path, such as ("server", "port"). Raises ConfigError.
    """
    file = file_in_use(file, environ)
    reader = _Reader(str(file) if file else "configuration")
    raw = _read(file) if file else {}
    for path, value, name in _variables(environ):
        reader.override(raw, path, value, name)
    return reader.finish(raw, flags, data_directory(data, environ))


def overlay(
    config: Config,
    flags: Mapping[KeyPath, object],
    *,
    environ: Mapping[str, str] = os.environ,
    data: Path | None = None,
) -> Config:
    """A configuration made in Python with flags on top, checked, with absolute paths. Raises ConfigError.

    Such a one stands for file and environment, which aren't read.
    """
    return _Reader("Config").finish(msgspec.to_builtins(config), flags, data_directory(data, environ))


def file_in_use(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `load` reads with these arguments; None if it reads none."""
    named = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    return named or (FILE if FILE.exists() else None)


def data_directory(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where relative paths lie."""
    return (data or Path(environ.get(DATA_VARIABLE) or DATA)).absolute()


def variables_in_use(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the environment variables that `load` reads settings from."""
    return [name for _, _, name in _variables(environ)]


def stray_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Warnings about variables that look like settings but aren't, such as `ROOMFUL_SERVER_PORT`.

    No errors, because an orchestrator makes such names too: for a service "roomful-server", Kubernetes does.
    """
    beginnings = tuple(f"{PREFIX}{table.upper()}_" for table in Config.__struct_fields__)
    strays = sorted(name for name in environ if name.startswith(beginnings) and "__" not in name)
    return [f"{name} is not read: table and key are parted by two underscores" for name in strays]


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8: byte {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[KeyPath, object, str]]:
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and "__" in name:
            yield tuple(name.removeprefix(PREFIX).lower().split("__")), _value(text), name


def _value(text: str) -> object:
    """A variable's value: lists, tables and quoted strings as in TOML, all else as text, converted to what is wanted.

    So a secret may be all digits, and nobody has to quote a host.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = parsed.pop("value")
    return value if isinstance(value, list | dict | str) and not parsed else text


def _with_absolute_paths(config: Config, data: Path) -> Config:
    for table, key in PATHS:
        options = getattr(config, table)
        given = getattr(options, key)
        absolute = (
            tuple(_absolute(path, data) for path in given) if isinstance(given, tuple) else _absolute(given, data)
        )
        options = msgspec.structs.replace(options, **{key: absolute})
        config = msgspec.structs.replace(config, **{table: options})
    store = absolute_store(config.documents.store, data)
    return msgspec.structs.replace(config, documents=msgspec.structs.replace(config.documents, store=store))


def absolute_store(url: str, data: Path) -> str:
    """The address of a store, with the path of an SQLite file under the data directory unless it is absolute."""
    return f"{SQLITE}{data / url.removeprefix(SQLITE)}" if url.startswith(SQLITE) and url != SQLITE else url


def _absolute(path: str | None, data: Path) -> str | None:
    return str(data / path) if path and "-----BEGIN" not in path else path


class _Reader:
    """Raw values to Options, noting what doesn't fit instead of stopping at the first of it."""

    __slots__ = ("_base", "_sources", "found")

    def __init__(self, base: str) -> None:
        self._base = base
        self._sources: dict[KeyPath, str] = {}
        self.found: list[Problem] = []

    def override(self, raw: dict[str, Any], path: KeyPath, value: object, source: str) -> None:
        """Puts a value into the tree. Names in variables are lower case; an existing namespace keeps its spelling."""
        table = raw
        for depth, key in enumerate(path[:-1]):
            spelling = next((known for known in table if known.lower() == key), key)
            path = (*path[:depth], spelling, *path[depth + 1 :])
            table = table.setdefault(spelling, {})
            if not isinstance(table, dict):
                return  # what stands there is no table, which will be told
        table[path[-1]] = value
        self._sources[path] = source

    def finish(self, raw: dict[str, Any], flags: Mapping[KeyPath, object], data: Path) -> Config:
        """The tree with flags on top, as a checked configuration. Raises ConfigError with all that was found."""
        for path, value in flags.items():
            self.override(raw, path, value, f"--{path[-1].replace('_', '-')}")
        config: Config = self._table(Config, raw, ())
        self._complain()
        config = _with_absolute_paths(config, data)
        self.found += problems(config)
        self._complain()
        return config

    def _complain(self) -> None:
        if self.found:
            raise ConfigError("\n".join(f"{self._source(problem.path)}: {problem}" for problem in self.found))

    def _source(self, path: KeyPath) -> str:
        """Where a key was set; for a table, where any of its keys was."""
        near = (source for key, source in self._sources.items() if key[: len(path)] == path)
        return next(near, self._base)

    def _table(self, kind: Any, raw: object, path: KeyPath) -> Any:
        if not isinstance(raw, dict):
            self.found.append(Problem(path, "has to be a table"))
            return kind()
        known = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self.found += [Problem((*path, key), _unknown(key, known, path)) for key in raw if key not in known]
        read = {key: self._read_value(known[key], value, (*path, key)) for key, value in raw.items() if key in known}
        return kind(**{key: value for key, value in read.items() if value is not msgspec.UNSET})

    def _read_value(self, kind: Any, raw: object, path: KeyPath) -> Any:
        """The value, or UNSET when it doesn't fit."""
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._table(kind, raw, path)
        if get_origin(kind) is dict and isinstance(raw, dict):
            return {name: self._table(get_args(kind)[1], table, (*path, name)) for name, table in raw.items()}
        try:
            return msgspec.convert(raw, kind, strict=False)
        except msgspec.ValidationError as error:
            self.found.append(Problem(path, _mismatch(kind, str(error))))
            return msgspec.UNSET


def _unknown(key: str, known: Mapping[str, Any], path: KeyPath) -> str:
    ours = counterpart(key)
    if ours:
        return f"unknown key; here it is {ours}" if ours.keys else f"unknown key; {ours}"
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    elsewhere = [".".join((*table, key)) for table, keys in _tables() if key in keys and table != path]
    if elsewhere:
        return f"unknown key; did you mean {elsewhere[0]}?"
    return f"unknown key; known are {', '.join(known)}"


def _tables() -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    for field in msgspec.structs.fields(Config):
        if get_origin(field.type) is dict:
            yield (field.name, "*"), get_args(field.type)[1].__struct_fields__
        else:
            yield (field.name,), field.type.__struct_fields__


def _mismatch(kind: Any, complaint: str) -> str:
    several = get_origin(kind) is tuple
    choices = list(_choices(get_args(kind)[0] if several else kind))
    if choices:
        return f"has to be {'a list of' if several else 'one of'} {', '.join(choices)}"
    return complaint[0].lower() + complaint[1:].replace("`", "").replace(" - at $", " at ")


def _choices(kind: Any) -> Iterator[str]:
    """The values of a kind that has only a few, as they are written in TOML."""
    if get_origin(kind) is Literal:
        yield from (f'"{value}"' for value in get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        yield from (f'"{member.value}"' for member in kind)
    elif kind is bool:
        yield from ("true", "false")
    else:
        members = [list(_choices(member)) for member in get_args(kind) if member is not NoneType]
        if all(members):
            yield from itertools.chain.from_iterable(members)
