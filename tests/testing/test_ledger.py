"""The ledger finds every fault, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.testing.ledger import BookError, Ledger, Reader

Story = Callable[[Ledger, Reader], None]


def writes(ledger: Ledger, count: int) -> None:
    for _ in range(count):
        ledger.write("c")


def reads(reader: Reader, *numbers: int) -> None:
    for number in numbers:
        reader.read("c", number)


def everything(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 3)
    reads(ann, 1, 2, 3)


def late(ledger: Ledger, ann: Reader) -> None:
    writes(ledger, 3)
    ann.subscribed("c")
    writes(ledger, 1)
    reads(ann, 4)


def late_but_what_was_under_way_still_came(ledger: Ledger, ann: Reader) -> None:
    writes(ledger, 3)
    ann.subscribed("c")
    reads(ann, 2, 3)


def told(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 5)
    reads(ann, 1)
    ann.gap("c")
    writes(ledger, 1)
    reads(ann, 6)


def recovered(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 1)
    reads(ann, 1)
    ann.unsubscribed("c")
    writes(ledger, 2)
    ann.subscribed("c", recovered=True)
    reads(ann, 2, 3)


def unsubscribed(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    ann.unsubscribed("c")
    writes(ledger, 3)


def hidden(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 3)
    ann.hidden("c", 2)
    reads(ann, 1, 3)


def two_writers(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    for writer in "xyx":
        ledger.write("c", writer)
    for writer, number in (("x", 1), ("x", 2), ("y", 1)):
        ann.read("c", number, writer)


@pytest.mark.parametrize(
    "story",
    [
        everything,
        late,
        late_but_what_was_under_way_still_came,
        told,
        recovered,
        unsubscribed,
        hidden,
        two_writers,
    ],
)
def test_these_books_balance(story: Story) -> None:
    ledger = Ledger()
    story(ledger, ledger.reader("ann"))
    ledger.check()


def doubled(ledger: Ledger, ann: Reader) -> None:
    everything(ledger, ann)
    reads(ann, 3)


def out_of_order(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 2)
    reads(ann, 2, 1)


def hole(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 3)
    reads(ann, 1, 3)


def hole_after_a_notice(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 1)
    ann.gap("c")
    writes(ledger, 2)
    reads(ann, 3)


def recovery_that_pretends(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    ann.unsubscribed("c")
    writes(ledger, 2)
    ann.subscribed("c", recovered=True)
    reads(ann, 2)


def without_a_subscription(ledger: Ledger, ann: Reader) -> None:
    writes(ledger, 1)
    reads(ann, 1)


def not_meant_for_it(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    writes(ledger, 1)
    ann.hidden("c", 1)
    reads(ann, 1)


def never_written(ledger: Ledger, ann: Reader) -> None:
    ann.subscribed("c")
    reads(ann, 1)


@pytest.mark.parametrize(
    ("story", "fault"),
    [
        (doubled, "ann: c 3 came after 3"),
        (out_of_order, "ann: c 1 came after 2"),
        (hole, "ann: c 3 came, but 2 didn't"),
        (hole_after_a_notice, "ann: c 3 came, but 2 didn't"),
        (recovery_that_pretends, "ann: c 2 came, but 1 didn't"),
        (without_a_subscription, "ann: c 1 came without a subscription"),
        (not_meant_for_it, "ann: c 1 was not meant for it"),
        (never_written, "ann: c 1 was never written"),
    ],
)
def test_these_dont(story: Story, fault: str) -> None:
    ledger = Ledger()
    story(ledger, ledger.reader("ann"))
    with pytest.raises(BookError) as raised:
        ledger.check(at_rest=False)
    assert fault in str(raised.value).splitlines()


def test_what_never_came_is_a_fault_only_at_rest() -> None:
    ledger = Ledger()
    ann = ledger.reader("ann")
    ann.subscribed("c")
    writes(ledger, 2)
    reads(ann, 1)
    ledger.check(at_rest=False)
    with pytest.raises(BookError, match="ann: c 2 never came"):
        ledger.check()


def test_every_fault_is_named() -> None:
    ledger = Ledger()
    for name in ("ann", "bob"):
        ledger.reader(name).subscribed("c")
    writes(ledger, 2)
    with pytest.raises(BookError) as raised:
        ledger.check()
    assert str(raised.value).splitlines() == [f"{name}: c {n} never came" for name in ("ann", "bob") for n in (1, 2)]


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 20))
def test_any_single_loss_is_found_unless_it_was_told(lost: list[bool], told_at: int) -> None:
    """Each publication is read, or lost; the notice comes after so many of them."""
    ledger = Ledger()
    ann = ledger.reader("ann")
    ann.subscribed("c")
    for index, gone in enumerate(lost):
        number = ledger.write("c")
        if not gone:
            ann.read("c", number)
        if index + 1 == told_at:
            ann.gap("c")
    told = range(told_at if told_at <= len(lost) else 0)
    # A notice covers what is missing before it; by then, nothing newer may have been read.
    silent = any(gone and not (index in told and all(lost[index:told_at])) for index, gone in enumerate(lost))
    if silent:
        with pytest.raises(BookError):
            ledger.check()
    else:
        ledger.check()


def test_what_its_publisher_is_unsure_of_may_come_or_not() -> None:
    ledger = Ledger()
    ann, bob = ledger.reader("ann"), ledger.reader("bob")
    for reader in (ann, bob):
        reader.subscribed("a")
    for _ in range(4):
        ledger.write("a")
    ledger.unsure("a", 2)
    ledger.unsure("a", 4)
    for number in (1, 2, 3, 4):
        ann.read("a", number)
    for number in (1, 3):
        bob.read("a", number)
    ledger.check()
    bob.read("a", 2)
    with pytest.raises(BookError, match="bob: a 2 came after 3"):
        ledger.check()
