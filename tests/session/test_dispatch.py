"""The tables hold every command and every order."""

from __future__ import annotations

from typing import get_args

from roomful.model.command import Command, Pong, Unknown
from roomful.model.order import ConnectionOrder
from roomful.session.dispatch import HANDLERS, ORDERS


def test_each_command_has_a_handler() -> None:
    assert HANDLERS.keys() == set(get_args(Command)) - {Pong, Unknown}


def test_each_order_has_a_handler() -> None:
    assert ORDERS.keys() == set(get_args(ConnectionOrder))
