"""The books of a test: what was published, what each subscriber read, and what it was told that it may have missed.

    ledger = Ledger()
    ann = ledger.reader("ann")

    ann.subscribed("chat:1")                                 # when the subscribe reply has come
    await app.publish("chat:1", {"n": ledger.write("chat:1")})
    ann.read("chat:1", push["pub"]["data"]["n"])             # for each publication that comes
    ledger.check()                                           # everything once, in order, or told

A publisher numbers what it publishes in a channel: 1, 2, 3 … Several publishers at once each number their own
(`writer`), because between them there is no order. The rule that `check` looks for: what a reader reads of one writer
only ever grows, nothing comes twice, and every number that is missing was covered by a notice.
"""

from __future__ import annotations

from collections.abc import Iterator


class BookError(AssertionError):
    """The books don't balance: one line for each thing that was doubled, out of order, or silently lost."""


class Ledger:
    """All writers and readers of one test."""

    def __init__(self) -> None:
        self._written: dict[str, dict[str, int]] = {}
        self._unsure: set[tuple[str, str, int]] = set()
        self._readers: list[Reader] = []

    def write(self, channel: str, writer: str = "") -> int:
        """The number of what this writer publishes next; ask for it right before."""
        pages = self._written.setdefault(channel, {})
        pages[writer] = pages.get(writer, 0) + 1
        return pages[writer]

    def written(self, channel: str, writer: str = "") -> int:
        """How many numbers this writer has used."""
        return self._written.get(channel, {}).get(writer, 0)

    def unsure(self, channel: str, number: int, writer: str = "") -> None:
        """Its publisher was told an error, so it may come (once, in its place) or not."""
        self._unsure.add((channel, writer, number))

    def is_unsure(self, channel: str, number: int, writer: str = "") -> bool:
        return (channel, writer, number) in self._unsure

    def writers(self, channel: str) -> list[str]:
        return list(self._written.get(channel, ()))

    def reader(self, name: str) -> Reader:
        """A subscriber's page; it goes on through all its connections."""
        reader = Reader(self, name)
        self._readers.append(reader)
        return reader

    def check(self, *, at_rest: bool = True) -> None:
        """Raises BookError unless everything was read once, in order, or told.

        at_rest: nothing is under way any more, so whoever is subscribed must have read everything that was written.
        """
        faults = [fault for reader in self._readers for fault in reader.faults]
        if at_rest:
            faults += [fault for reader in self._readers for fault in reader.lacks()]
        if faults:
            raise BookError("\n".join(faults))


class _Line:
    """What one reader knows of one writer. expects: the next number. excused: numbers up to this one may be missing."""

    __slots__ = ("excused", "expects", "hidden")

    def __init__(self) -> None:
        self.expects = 1
        self.excused = 0
        self.hidden: set[int] = set()


class Reader:
    """One subscriber. faults: what went against the rule so far."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.name = name
        self.faults: list[str] = []
        self._ledger = ledger
        self._lines: dict[str, dict[str, _Line]] = {}
        self._present: set[str] = set()

    def subscribed(self, channel: str, *, recovered: bool = False) -> None:
        """It is subscribed from now on. recovered: the server says that nothing is missing since it last was."""
        self._present.add(channel)
        if not recovered:
            self.gap(channel)

    def unsubscribed(self, channel: str) -> None:
        """It isn't any more, and knows it: the client unsubscribed, was unsubscribed, or lost its connection."""
        self._present.discard(channel)

    def gap(self, channel: str) -> None:
        """It was told that something may be missing of what has been written up to now."""
        for writer in self._ledger.writers(channel):
            line = self._line(channel, writer)
            line.excused = self._ledger.written(channel, writer)

    def hidden(self, channel: str, number: int, writer: str = "") -> None:
        """This one isn't meant for it (`exclude`, a filter)."""
        self._line(channel, writer).hidden.add(number)

    def read(self, channel: str, number: int, writer: str = "") -> None:
        """This one has come."""
        line = self._line(channel, writer)
        what = f"{self.name}: {channel} {writer} {number}".replace("  ", " ")
        if channel not in self._present:
            self.faults.append(f"{what} came without a subscription")
        if number in line.hidden:
            self.faults.append(f"{what} was not meant for it")
        if number > self._ledger.written(channel, writer):
            self.faults.append(f"{what} was never written")
        if number < line.expects:
            self.faults.append(f"{what} came after {line.expects - 1}")
            return
        self.faults += [
            f"{what} came, but {missed} didn't"
            for missed in _missed(line, number)
            if not self._ledger.is_unsure(channel, missed, writer)
        ]
        line.expects = number + 1

    def lacks(self) -> list[str]:
        """What should have come by now, if nothing is under way."""
        return [
            f"{self.name}: {channel} {writer} {missed} never came".replace("  ", " ")
            for channel in sorted(self._present)
            for writer in self._ledger.writers(channel)
            for missed in _missed(self._line(channel, writer), self._ledger.written(channel, writer) + 1)
            if not self._ledger.is_unsure(channel, missed, writer)
        ]

    def _line(self, channel: str, writer: str) -> _Line:
        return self._lines.setdefault(channel, {}).setdefault(writer, _Line())


def _missed(line: _Line, end: int) -> Iterator[int]:
    """Numbers before `end` that have to be there and aren't."""
    return (n for n in range(max(line.expects, line.excused + 1), end) if n not in line.hidden)
