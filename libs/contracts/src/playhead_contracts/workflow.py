"""The workflow document (docs/workflows.md) as an author writes it: models that refuse what they do not know.

These models say what one block looks like by itself. What only the whole document can tell (edges that lead
nowhere, cycles, references, expressions) is checked by `playhead_engine.documents`. That is the door for
people's documents: it gives every fault at its place, where `model_validate` gives those that pydantic sees.

A *template* is any JSON value whose strings may hold `{{ expression }}`; an expression is CEL.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from playhead_contracts.durations import parse_duration
from playhead_contracts.events import Json
from playhead_contracts.ids import BLOCK_ID_PATTERN, TOKEN_PATTERN

ELSE = "else"
"""The handle of a condition's branch for when no case is true."""
NEXT = "next"
"""The handle of a plain edge."""
ERROR = "error"
"""The handle of the edges in `on_error`."""

_CASE_NAME = re.compile(BLOCK_ID_PATTERN)


def _as_targets(value: object) -> tuple[str, ...]:
    written: list[object] = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    targets = [target for target in written if isinstance(target, str)]
    if value is not None and len(targets) < len(written):
        raise ValueError("should be the id of a block, or a list of ids")
    return tuple(targets)


def _as_duration(value: object) -> timedelta | None:
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


def _as_duration_or_template(value: object) -> timedelta | str | None:
    return value if isinstance(value, str) and "{{" in value else _as_duration(value)


def _is_time_or_template(value: str) -> str:
    if "{{" in value:
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("should be an RFC 3339 time with an offset, such as 2030-01-31T09:00:00Z")
    return value


def _is_case_name(name: str) -> str:
    if not _CASE_NAME.fullmatch(name):
        raise ValueError("the name of a case is letters, digits and _, and starts with no digit")
    if name in (ELSE, ERROR):
        raise ValueError(f"a case cannot be named {name!r}: that branch exists already")
    return name


Targets = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_targets),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Where edges lead. Written as one block id or a list of them; always a tuple here, empty for none."""

_DURATION_SCHEMA = WithJsonSchema({"type": "string", "examples": ["30s", "15m", "2d", "PT1H"]})
Duration = Annotated[timedelta, BeforeValidator(_as_duration), _DURATION_SCHEMA]
"""A length of time. Written as `parse_duration` reads it."""

Text = Annotated[str, Field(min_length=1)]
CaseName = Annotated[str, AfterValidator(_is_case_name)]
BlockId = Annotated[str, Field(pattern=BLOCK_ID_PATTERN)]


class _Model(BaseModel, frozen=True, extra="forbid", strict=True):
    """What people write is taken as it stands: nothing is coerced, nothing unknown is ignored."""


class BaseBlock(_Model, frozen=True):
    """What every block has in common."""

    type: str
    display_name: str | None = None
    on_error: Targets = ()
    at_most_once: bool = False
    """After a crash in flight the block fails with `interrupted` in place of running twice."""

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        """Where the outgoing edges lead, by handle. A handle without edges is not in it."""
        return {ERROR: self.on_error} if self.on_error else {}


class LinearBlock(BaseBlock, frozen=True):
    """A block that does not choose: when it is done, all its `next` edges are active."""

    next: Targets = ()

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        return ({NEXT: self.next} if self.next else {}) | super().handles


class FunctionBlock(LinearBlock, frozen=True):
    """Python in a sandbox. Its outputs are what its last expression gives."""

    type: Literal["function"]
    code: Text
    inputs: dict[str, Json] = {}
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = timedelta(seconds=5)
    memory_mb: Annotated[int, Field(ge=1, le=512)] = 64


class HttpBlock(LinearBlock, frozen=True):
    """One HTTP request. Its outputs are `{status, headers, body}`."""

    type: Literal["http"]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "GET"
    url: Text
    headers: dict[str, str] = {}
    query: dict[str, Json] = {}
    body: Json | None = None
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = timedelta(seconds=30)


class ConditionBlock(BaseBlock, frozen=True):
    """Activates the edges of the first case that is true, in their order, or those of `else` when none is.

    `cases` is from a name to the CEL expression that decides it; the keys of `next` are such names or `else`.
    """

    type: Literal["condition"]
    cases: Annotated[dict[CaseName, Text], Field(min_length=1)]
    next: dict[str, Targets] = {}

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        return {name: targets for name, targets in self.next.items() if targets} | super().handles


class HumanBlock(LinearBlock, frozen=True):
    """Asks people and waits. Its outputs are `{answer: {...}}`; the answer fits `form`, a JSON Schema."""

    type: Literal["human"]
    message: Text
    form: dict[str, Json] | None = None
    show: dict[str, Json] = {}
    assignees: list[str] = []
    expires_in: Annotated[Duration, Field(gt=timedelta(0))] | None = None


class ResponseBlock(BaseBlock, frozen=True):
    """Fixes output and HTTP status of the execution. Nothing comes after it."""

    type: Literal["response"]
    status: Annotated[int, Field(ge=100, le=599)] = 200
    body: Json


class WaitBlock(LinearBlock, frozen=True):
    """Waits for a length of time, or until a moment: exactly one of the two.

    `for_` is written `for`. Text in it is a template that gives a duration; `until` gives an RFC 3339 time.
    """

    type: Literal["wait"]
    for_: Annotated[
        timedelta | str | None,
        BeforeValidator(_as_duration_or_template),
        Field(alias="for"),
        _DURATION_SCHEMA,
    ] = None
    until: Annotated[str, AfterValidator(_is_time_or_template)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "WaitBlock":
        if (self.for_ is None) == (self.until is None):
            raise ValueError("needs exactly one of `for` and `until`")
        return self


class CustomBlock(LinearBlock, frozen=True):
    """A block of a type that a package registers. What `config` may hold is for that type to say."""

    config: dict[str, Json] = {}


BLOCK_MODELS: Mapping[str, type[BaseBlock]] = {
    "function": FunctionBlock,
    "http": HttpBlock,
    "condition": ConditionBlock,
    "human": HumanBlock,
    "response": ResponseBlock,
    "wait": WaitBlock,
}
"""The block types that Playhead brings, and how each is written. Any other type is a `CustomBlock`."""


def _tag(value: object) -> str:
    if isinstance(value, BaseBlock):
        kind: object = value.type
    else:
        kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in BLOCK_MODELS else "custom"


Block = Annotated[
    Annotated[FunctionBlock, Tag("function")]
    | Annotated[HttpBlock, Tag("http")]
    | Annotated[ConditionBlock, Tag("condition")]
    | Annotated[HumanBlock, Tag("human")]
    | Annotated[ResponseBlock, Tag("response")]
    | Annotated[WaitBlock, Tag("wait")]
    | Annotated[CustomBlock, Tag("custom")],
    Discriminator(_tag),
]


class WorkflowDocument(_Model, frozen=True):
    """A whole workflow. `input` is a JSON Schema, `variables` are defaults of `vars`, `output` a template."""

    id: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    name: str | None = None
    description: str | None = None
    input: dict[str, Json] | None = None
    variables: dict[str, Json] = {}
    blocks: Annotated[dict[BlockId, Block], Field(min_length=1)]
    output: Json | None = None
