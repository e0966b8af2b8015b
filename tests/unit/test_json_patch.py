"""JSON Patch: applied to the one value it gives the other, judged by another implementation; and it is no longer than
it must be.
"""

from copy import deepcopy
from typing import Any

import jsonpatch  # pyright: ignore[reportMissingTypeStubs]
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.events import Json
from playhead_engine.folding import fold, state_json
from playhead_engine.json_patch import found_at, json_patch
from tests.unit.graphs import Case, World, cases

NAMES = st.sampled_from(["a", "b", "c", "a/b", "~0", "", "é"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5]) | st.text(max_size=3)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


def applied(a: Json, b: Json) -> Any:
    """What somebody else's implementation makes of our patch."""
    patch = msgspec.to_builtins(json_patch(a, b))
    return jsonpatch.apply_patch(deepcopy(a), patch)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def text(value: Json) -> bytes:
    return msgspec.json.encode(value, order="sorted")


@given(VALUES, VALUES)
@settings(max_examples=300, deadline=None)
def test_a_patch_makes_the_other_value_of_the_one(a: Json, b: Json) -> None:
    assert text(applied(a, b)) == text(b)


@given(VALUES)
def test_the_same_value_needs_no_operation(value: Json) -> None:
    assert json_patch(value, deepcopy(value)) == []


@given(VALUES, VALUES)
@settings(max_examples=300, deadline=None)
def test_a_patch_is_never_larger_than_saying_the_whole_value(a: Json, b: Json) -> None:
    inside = json_patch({"v": a}, {"v": b})
    assert len(msgspec.json.encode(inside)) <= len(msgspec.json.encode([{"op": "replace", "path": "/v", "value": b}]))


@pytest.mark.parametrize(
    ("a", "b", "operations"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("replace", "/b", 3)]),
        ({"a": 1}, {}, [("remove", "/a", None)]),
        ({}, {"a/b": None}, [("add", "/a~1b", None)]),
        ([1, 2, 3], [1, 2, 3, 4], [("add", "/3", 4)]),
        ([1, 2, 3], [2, 3], [("remove", "/0", None)]),
        ([1, 2, 3], [1, 9, 3], [("replace", "/1", 9)]),
        (list("abcdef"), list("xabcef"), [("remove", "/3", None), ("add", "/0", "x")]),
        ({"a": True}, {"a": 1}, [("replace", "/a", 1)]),
        ({"a": [0, False]}, {"a": [False, False]}, [("replace", "/a/0", False)]),
        (1, 2, [("replace", "", 2)]),
    ],
)
def test_patches_are_minimal(a: Json, b: Json, operations: list[tuple[str, str, Json]]) -> None:
    found = [(each.kind, each.path, None if each.value is msgspec.UNSET else each.value) for each in json_patch(a, b)]
    assert found == operations


def test_long_arrays_take_no_long_time() -> None:
    a = list(range(5000))
    b = [*range(1, 2500), "new", *range(2501, 5001)]
    assert applied(a, b) == b


@given(cases(), st.integers(0, 2**32), st.data())
@settings(max_examples=100, deadline=None)
def test_a_patch_between_any_two_versions_of_an_execution_leads_from_one_to_the_other(
    case: Case, seed: int, data: st.DataObject
) -> None:
    world = World(case, seed)
    world.run_to_the_end()
    ends = st.integers(1, len(world.stream))
    states = [fold(world.stream[: data.draw(ends)]) for _ in range(2)]
    a, b = (state_json(state) for state in states if state is not None)
    assert text(applied(a, b)) == text(b)


def test_a_place_in_a_value_is_found() -> None:
    value = {"a/b": [{"c": 1}], "~": 2}
    assert found_at(value, "/a~1b/0/c") == 1
    assert found_at(value, "/~0") == 2
    assert found_at(value, "/a~1b/7") is None
    assert found_at(value, "") == value
