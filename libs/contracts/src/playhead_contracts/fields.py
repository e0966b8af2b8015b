"""The values in a workflow document that are written in more than one way, and what all of its models share."""

import re
from datetime import datetime, timedelta
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema

from playhead_contracts.canonical import ordered_entries
from playhead_contracts.durations import parse_duration
from playhead_contracts.events import Json
from playhead_contracts.ids import BLOCK_ID_PATTERN

ELSE = "else"
"""The handle of a condition's branch for when no case is true."""
NEXT = "next"
"""The handle of a plain edge."""
ERROR = "error"
"""The handle of the edges in `on_error`."""

_CASE_NAME = re.compile(BLOCK_ID_PATTERN)


def as_targets(value: object) -> tuple[str, ...]:
    written: list[object] = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    targets = [target for target in written if isinstance(target, str)]
    if value is not None and len(targets) < len(written):
        raise ValueError("should be the id of a block, or a list of ids")
    return tuple(targets)


def as_duration(value: object) -> timedelta | None:
    match value:
        case None | timedelta():
            return value
        case bool():
            raise ValueError("should be a duration such as 30s")
        case int() | float():
            raise ValueError(f"a duration needs a unit: say {value}s")
        case str():
            return parse_duration(value)
        case _:
            raise ValueError("should be a duration such as 30s")


def as_duration_or_template(value: object) -> timedelta | str | None:
    return value if isinstance(value, str) and "{{" in value else as_duration(value)


def is_time_or_template(value: str) -> str:
    if "{{" in value:
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("should be an RFC 3339 time with an offset, such as 2030-01-31T09:00:00Z")
    return value


def _as_ordered(value: object) -> object:
    entries = ordered_entries(value)
    return value if entries is None else entries


def is_case_name(name: str) -> str:
    if not _CASE_NAME.fullmatch(name):
        raise ValueError("the name of a case is letters, digits and _, and starts with no digit")
    if name in (ELSE, ERROR):
        raise ValueError(f"a case cannot be named {name!r}: that branch exists already")
    return name


TARGETS_SCHEMA: dict[str, Json] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Targets = Annotated[
    tuple[str, ...],
    BeforeValidator(as_targets),
    WithJsonSchema(TARGETS_SCHEMA),
]
"""Where edges lead. Written as one block id or a list of them; always a tuple here, empty for none."""

DURATION_SCHEMA = WithJsonSchema({"type": "string", "examples": ["30s", "15m", "2d", "PT1H"]})
Duration = Annotated[timedelta, BeforeValidator(as_duration), DURATION_SCHEMA]
"""A length of time. Written as `parse_duration` reads it."""


def _is_route_name(name: str) -> str:
    return name if name == ELSE else is_case_name(name)


Ordered = BeforeValidator(_as_ordered)
"""For a mapping that is read in the order in which it is written: also taken as a list of one-entry mappings."""

Text = Annotated[str, Field(min_length=1)]
RouteName = Annotated[str, AfterValidator(_is_route_name)]
CaseName = Annotated[str, AfterValidator(is_case_name)]
BlockId = Annotated[str, Field(pattern=BLOCK_ID_PATTERN)]


class Written(BaseModel, frozen=True, extra="forbid", strict=True):
    """What people write is taken as it stands: nothing is coerced, nothing unknown is ignored."""
