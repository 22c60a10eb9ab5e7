"""Which offers of permessage-deflate are taken. Source: RFC 7692 section 7.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from roomful.transports.extensions import choose_deflate

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WINDOW = f"{PLAIN}; server_max_window_bits=12"

BITS = st.integers(8, 15)


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ("", ""),
        ("permessage-deflate", PLAIN),
        ("permessage-deflate; client_max_window_bits", PLAIN),  # Chromium and ws
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", WINDOW),  # websockets
        ("permessage-deflate;server_max_window_bits=15", WINDOW),
        ('permessage-deflate; server_max_window_bits="15"', WINDOW),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", PLAIN),
        ("permessage-deflate; server_max_window_bits=11", ""),
        ("permessage-deflate; server_max_window_bits=11, permessage-deflate", PLAIN),
        ("x-webkit-deflate-frame, permessage-deflate", PLAIN),
        ("x-webkit-deflate-frame", ""),
        ("permessage-deflate; unheard_of", ""),
        ("permessage-deflate; unheard_of, permessage-deflate; client_max_window_bits", PLAIN),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=7", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=012", ""),
        ("permessage-deflate; client_max_window_bits=99", ""),
        ("permessage-deflate; server_no_context_takeover=1", ""),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", ""),
        ("permessage-deflate;", ""),
        (", ,;=,", ""),
    ],
)
def test_what_is_offered_and_answered(offered: str, answer: str) -> None:
    assert choose_deflate(offered) == answer


@given(st.booleans(), st.booleans(), st.none() | BITS, st.none() | st.just(True) | st.integers(9, 15))
def test_the_client_of_another_library_takes_every_answer(
    server_forgets: bool, client_forgets: bool, server_bits: int | None, client_bits: bool | int | None
) -> None:
    factory = ClientPerMessageDeflateFactory(server_forgets, client_forgets, server_bits, client_bits)
    answer = choose_deflate(build_extension([(factory.name, list(factory.get_request_params()))]))
    if server_bits is not None and server_bits < 12:
        assert answer == ""
        return
    ((name, parameters),) = parse_extension(answer)
    assert name == "permessage-deflate"
    extension = factory.process_response_params(parameters, [])
    assert (extension.remote_no_context_takeover, extension.local_no_context_takeover) == (True, True)


@given(st.text(max_size=80))
def test_whatever_is_offered_there_is_an_answer(offered: str) -> None:
    assert choose_deflate(offered) in ("", PLAIN, WINDOW)
    assert choose_deflate("permessage-deflate; " + offered) in ("", PLAIN, WINDOW)
