"""Texts from outside, as they are shown on terminals and in logs."""

import json

import pytest

from icsd.core.text import (
    as_block,
    as_code,
    as_text,
    one_line,
    plain_line,
    printable,
    shown_address,
    with_shown_addresses,
)

HOSTILE = "a dog\x1b[2J\x9b31m\u202ered\u2066\r\x07\ufeff\ud800"


def test_controls_of_terminals_and_of_direction_are_escaped() -> None:
    shown = printable(f"caf\u00e9\t{HOSTILE}\n\u72d7")
    assert shown == "caf\u00e9\ta dog\\u001b[2J\\u009b31m\\u202ered\\u2066\\u000d\\u0007\\ufeff\\ud800\n\u72d7"
    shown.encode()
    assert one_line("a\nb") == "a\\nb"


def test_json_means_the_same_afterwards() -> None:
    text = json.dumps({"caption": HOSTILE}, ensure_ascii=False)
    assert json.loads(printable(text)) == {"caption": HOSTILE}


@pytest.mark.parametrize("control", ["\u061c", "\u200e", "\u200f", "\u202e", "\ud800", "\ufeff", "\x1b", "\x9b"])
def test_no_control_is_left_in_markdown_or_on_a_line(control: str) -> None:
    text = f"a{control}b\t c"
    assert plain_line(text) == "a\ufffdb c"
    assert (as_text(text), as_code(text)) == ("a\ufffdb c", "`a\ufffdb c`")
    assert as_block(text).splitlines()[1] == "a\ufffdb\t c"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://a.org/x/y.zip", "https://a.org/x/y.zip"),
        ("https://user:secret@a.org:80/x.zip?token=secret#secret", "https://a.org:80/x.zip?\u2026"),
        ("https://secret@a.org/", "https://a.org/"),
        ("https://[::1/secret", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_secrets(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_addresses_in_a_message_are_shown_without_secrets() -> None:
    message = "403 for 'HTTPS://a:secret@b.org/x?token=secret' (of socks5://me:it's%20secret@c.org:80/), see b.org/y?z"
    assert with_shown_addresses(message) == "403 for 'https://b.org/x?\u2026 (of socks5://c.org:80/), see b.org/y?z"
