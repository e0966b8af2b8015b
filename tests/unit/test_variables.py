"""The types of variables are those of their defaults."""

import pytest

from playhead_contracts.events import Json
from playhead_engine.variables import fits, from_text, type_faults

DEFAULTS: dict[str, Json] = {"text": "", "count": 1, "rate": 0.5, "on": False, "items": [], "options": {}, "any": None}


@pytest.mark.parametrize(
    ("name", "value", "is_right"),
    [
        ("text", "1", True),
        ("text", 1, False),
        ("text", None, False),
        ("count", 2, True),
        ("count", 2.5, True),
        ("count", True, False),
        ("count", "2", False),
        ("rate", 2, True),
        ("on", True, True),
        ("on", 1, False),
        ("items", [1, "a"], True),
        ("items", {}, False),
        ("options", {"a": [1]}, True),
        ("options", [], False),
        ("any", None, True),
        ("any", {"a": 1}, True),
        ("undeclared", 7, True),
    ],
)
def test_a_variable_takes_what_its_default_is(name: str, value: Json, is_right: bool) -> None:
    faults = type_faults(DEFAULTS, {name: value})
    assert [fault.pointer for fault in faults] == ([] if is_right else [f"#/variables/{name}"])
    assert name not in DEFAULTS or fits(DEFAULTS[name], value) == is_right


def test_every_variable_at_fault_is_told_of_with_what_it_should_be() -> None:
    faults = type_faults(DEFAULTS, {"count": "2", "text": "x", "items": {"a": 1}})
    assert [(fault.pointer, fault.detail) for fault in faults] == [
        ("#/variables/count", "should be a number, and is text"),
        ("#/variables/items", "should be a list, and is an object"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "12", "12"),
        ("text", "", ""),
        ("count", "12", 12),
        ("rate", "1.5e3", 1500.0),
        ("on", "true", True),
        ("items", '[1, "a"]', [1, "a"]),
        ("options", '{"a": {"b": null}}', {"a": {"b": None}}),
        ("any", "12", "12"),
    ],
)
def test_a_text_stands_for_a_value_of_the_variables_type(name: str, text: str, value: Json) -> None:
    assert from_text(DEFAULTS[name], text) == value


@pytest.mark.parametrize(
    ("name", "text", "should"),
    [
        ("count", "twelve", "a number"),
        ("count", "true", "a number"),
        ("count", "", "a number"),
        ("on", "yes", "true or false"),
        ("on", "1", "true or false"),
        ("items", "a,b", "a list"),
        ("options", "[" * 100_000, "an object"),
    ],
)
def test_a_text_that_stands_for_no_such_value_is_told_what_it_should_be(name: str, text: str, should: str) -> None:
    with pytest.raises(ValueError, match=f"should be {should}"):
        from_text(DEFAULTS[name], text)
