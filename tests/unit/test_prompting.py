"""Asking for an answer at the terminal."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from playhead_cli.answers import ActionShown, PauseShown
from playhead_cli.prompting import Prompted, prompt_for

FORM: dict[str, Any] = {
    "type": "object",
    "x-order": ["size", "amount"],
    "required": ["amount", "address"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1},
        "size": {"enum": ["s", "m"], "default": "s"},
        "urgent": {"type": "boolean"},
        "address": {"$ref": "#/$defs/address"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "$defs": {
        "address": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
    },
}


def prompted(typed: list[str], form: dict[str, Any] | None = FORM, **more: Any) -> tuple[Prompted, str, list[str]]:
    pause = PauseShown(
        pause_id="p",
        execution_id="x",
        status="open",
        message="Pay?",
        digest="sha256:1",
        form=form,
        show={"to": "ACME"},
        labels={"to": "Payee"},
        actions=(ActionShown("approve"), ActionShown("reject", denies=True)),
    )
    shown = StringIO()
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return typed.pop(0)

    said = prompt_for(pause, Console(width=100, file=shown), ask, **more)
    return said, shown.getvalue(), asked


def test_the_fields_are_asked_in_their_order_and_told_apart_by_type() -> None:
    said, shown, asked = prompted(["1", "m", "5", "y", "Bonn", "a", "b", "", "fine"])
    assert said == Prompted(
        "approve",
        {"size": "m", "amount": 5, "urgent": True, "address": {"city": "Bonn"}, "tags": ["a", "b"]},
        "fine",
    )
    assert "Payee: ACME" in shown
    assert [prompt.split(" ")[0] for prompt in asked[1:4]] == ["size", "amount", "urgent"]


def test_what_does_not_fit_is_told_and_asked_again() -> None:
    said, shown, _ = prompted(["no such", "approve", "", "zero", "0", "", "7", "", "Bonn", "", ""])
    assert said.values == {"size": "s", "amount": 7, "address": {"city": "Bonn"}, "tags": []}
    assert "is required" in shown
    assert "minimum" in shown


def test_who_says_no_is_asked_for_nothing_more() -> None:
    assert prompted(["2", ""])[0] == Prompted("reject", {}, None)
    assert prompted([""], action="reject")[0].action == "reject"


def test_nothing_more_to_read_is_no_answer() -> None:
    with pytest.raises(IndexError):
        prompted(["1"])
