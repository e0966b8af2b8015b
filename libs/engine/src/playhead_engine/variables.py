"""The types of variables: that of the default which the document declares."""

from collections.abc import Mapping

import msgspec

from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer


def kind_of(value: Json) -> str:
    """The JSON type of a value, in words: whole numbers and fractions are both `a number`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def fits(default: Json, value: Json) -> bool:
    """Whether a variable with this default may take the value. A default of null takes anything."""
    return default is None or kind_of(default) == kind_of(value)


def type_faults(declared: Mapping[str, Json], given: Mapping[str, Json]) -> tuple[Fault, ...]:
    """What is wrong with the variables of a run; those that the document does not declare may be anything."""
    return tuple(
        Fault(pointer("variables", name), f"should be {kind_of(declared[name])}, and is {kind_of(value)}")
        for name, value in given.items()
        if name in declared and not fits(declared[name], value)
    )


def from_text(default: Json, text: str) -> Json:
    """The value that a text stands for, for a variable with this default: text as it is, anything else as JSON.

    Raises ValueError that says what it should be.
    """
    if default is None or isinstance(default, str):
        return text
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = text
    if not fits(default, value):
        raise ValueError(f"should be {kind_of(default)}, written as JSON")
    return value
