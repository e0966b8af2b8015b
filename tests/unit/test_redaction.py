"""Taking secrets out of what a block gives, however they are spelled there."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote, urlencode

import httpx
import pytest

from playhead_executor.blocks.contract import CUT
from playhead_executor.secrets import redacted

AWKWARD = "tök\"en/+=  <9f3\\c1&77>\n'Z"


def test_a_secret_inside_of_a_larger_base64_text_is_found_wherever_it_begins() -> None:
    for before in range(6):
        text = base64.b64encode(b"x" * before + b"the-secret-value" + b"yz").decode()
        assert "{{ secrets.S }}" in redacted(text, {"S": "the-secret-value"})


@pytest.mark.parametrize(
    "spelled",
    [
        AWKWARD,
        AWKWARD.upper(),
        quote(AWKWARD),
        quote(AWKWARD, safe="").lower(),
        quote_plus(AWKWARD),
        urlencode({"a": AWKWARD}, safe="/+<>")[2:],
        str(httpx.QueryParams({"a": AWKWARD}))[2:],
        json.dumps(AWKWARD)[1:-1],
        json.dumps(AWKWARD, ensure_ascii=False)[1:-1],
        json.dumps(AWKWARD).replace("/", "\\/").replace("<", "\\u003C")[1:-1],
        repr(AWKWARD)[1:-1],
        ascii(AWKWARD)[1:-1],
        html.escape(AWKWARD),
        html.escape(AWKWARD).replace("+", "&#43;").replace("ö", "&#xF6;"),
        AWKWARD.encode().hex(),
        AWKWARD.encode().hex().upper(),
        AWKWARD.encode().decode("latin-1"),
        AWKWARD.encode().decode("cp1252"),
    ],
)
def test_a_secret_is_found_in_every_spelling(spelled: str) -> None:
    assert redacted(f"<{spelled}>", {"S": AWKWARD}) == "<{{ secrets.S }}>"
    assert redacted({spelled: [spelled]}, {"S": AWKWARD}) == {"{{ secrets.S }}": ["{{ secrets.S }}"]}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_what_is_left_of_a_larger_base64_text_tells_nothing(encode: Callable[[bytes], bytes]) -> None:
    for before in range(4):
        for after in range(4):
            whole = encode(b"x" * before + AWKWARD.encode() + b"z" * after).decode()
            for text in (whole, quote(whole, safe="")):
                left, _, right = redacted(text, {"S": AWKWARD}).partition("{{ secrets.S }}")
                # As many characters as those bits fill that are not the secret's.
                assert len(left) <= 8 * before // 6
                assert len(unquote(right).rstrip("=")) <= -(-8 * after // 6)


def test_one_secret_inside_of_another_leaves_nothing_of_it() -> None:
    secrets = {"A": "abcd", "B": "xabcdefgh", "C": "secrets.", "D": "ghij"}
    assert redacted("-xabcdefgh-abcd-", secrets) == "-{{ secrets.B }}-{{ secrets.A }}-"
    assert redacted("-xabcdefghij-", secrets) == "-{{ secrets.B }}-"


@pytest.mark.parametrize(
    "spelled", [AWKWARD, quote(AWKWARD, safe=""), json.dumps(AWKWARD)[1:-1], AWKWARD.encode().hex()]
)
def test_of_a_text_that_was_cut_off_no_beginning_of_a_secret_is_left(spelled: str) -> None:
    for length in range(12, len(spelled)):
        assert redacted(f"body: {spelled[:length]}{CUT}", {"S": AWKWARD}) == "body: {{ secrets.S }}" + CUT
    assert redacted(f"body: {spelled[:-1]}", {"S": "other-secret"}) == f"body: {spelled[:-1]}"
    assert redacted(f"the key{CUT}", {"S": "the key"}) == "{{ secrets.S }}" + CUT


def test_a_large_value_with_nothing_in_it_stays_as_it_is() -> None:
    value = {"a": [1, None, True, "x" * 1_000_000], "\\" * 100_000: 1.5}
    assert redacted(value, {"S": "\\" * 50 + "x", "T": AWKWARD}) == value


def test_a_value_that_is_no_unicode_is_found_as_well() -> None:
    secret = b"pa\xff55-word".decode(errors="surrogateescape")
    packed = base64.b64encode(b"pa\xff55-word").decode()
    assert redacted(f"{packed} pa%FF55-word", {"S": secret}) == "{{ secrets.S }} {{ secrets.S }}"


def test_a_secret_of_a_few_characters_is_not_looked_for() -> None:
    assert redacted({"a": "abc"}, {"S": "abc"}) == {"a": "abc"}
