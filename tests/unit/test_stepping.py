"""Stepping through an execution: keys, where they lead, and what is said to have changed."""

from typing import Any

import pytest

from playhead_cli.changes import Changed, changes_of
from playhead_cli.keys import named
from playhead_cli.stepping import Cursor


def test_keys_are_told_apart_also_when_several_come_at_once() -> None:
    assert named(b"\x1b[C\x1b[Dn p\x1bOH\x1b[4~12\rq") == [
        *("right", "left", "n", "space", "p", "home", "end", "1", "2", "enter", "q"),
    ]
    assert named("é\x1b".encode()) == ["é", "escape"]
    assert named(b"\xff\x80") == ["��"]


@pytest.mark.parametrize(
    ("begin", "keys", "end"),
    [
        (1, ["right", "n", "space"], 4),
        (1, ["left", "p"], 1),
        (9, ["right"], 9),
        (5, ["home"], 1),
        (5, ["end"], 9),
        (5, ["7", "enter"], 7),
        (5, ["9", "9", "enter"], 9),
        (5, ["1", "8", "backspace", "enter", "right"], 2),
        (5, ["8", "right"], 6),
        (5, ["enter", "x", "escape"], 5),
    ],
)
def test_keys_lead_to_versions(begin: int, keys: list[str], end: int) -> None:
    cursor = Cursor(begin, 9)
    for key in keys:
        cursor = cursor.after(key)
    assert (cursor.version, cursor.has_left) == (end, False)


def test_q_leaves() -> None:
    assert Cursor(3, 9).after("q").has_left


def test_changes_name_what_people_know_and_leave_out_how_it_is_kept() -> None:
    before: dict[str, Any] = {
        "status": "running",
        "version": 3,
        "running": ["a"],
        "blocks": {"a": {"path": "a", "status": "running", "version": 3}},
        "variables": {"n": 1},
    }
    after: dict[str, Any] = {
        "status": "paused",
        "version": 5,
        "waiting": ["b"],
        "blocks": {
            "a": {"path": "a", "status": "completed", "version": 4, "outputs": {"x": 1}},
            "b": {"path": "b", "status": "paused", "version": 5},
        },
        "pauses": {"p-1": {"pause_id": "p-1", "path": "b", "status": "open", "message": "Pay?"}},
        "variables": {"n": 2},
    }
    assert changes_of(before, after) == [
        Changed("execution", "", "status", "running", "paused"),
        Changed("block", "a", "status", "running", "completed"),
        Changed("block", "a", "outputs", None, {"x": 1}),
        Changed("block", "b", "status", None, "paused"),
        Changed("pause", "b", "status", None, "open"),
        Changed("pause", "b", "message", None, "Pay?"),
        Changed("variable", "n", "", 1, 2),
    ]
    assert changes_of(after, after) == []
