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
from playhead_contracts.ids import BLOCK_ID_PATTERN, EVENT_TYPE_PATTERN, TOKEN_PATTERN

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


def _is_route_name(name: str) -> str:
    return name if name == ELSE else _is_case_name(name)


Text = Annotated[str, Field(min_length=1)]
RouteName = Annotated[str, AfterValidator(_is_route_name)]
CaseName = Annotated[str, AfterValidator(_is_case_name)]
BlockId = Annotated[str, Field(pattern=BLOCK_ID_PATTERN)]


class _Model(BaseModel, frozen=True, extra="forbid", strict=True):
    """What people write is taken as it stands: nothing is coerced, nothing unknown is ignored."""


class Retry(_Model, frozen=True):
    """How often, and after how long, a block is tried again.

    `attempts` counts the first one, too. The n-th pause is `backoff` times `factor` to the power n - 1 (or `backoff`,
    if `constant`), at most `max_backoff`, shortened at random by up to the share `jitter` of it. An error that says how
    long to wait (Retry-After) is heeded. `errors` are the types of errors to try again after; without it, those that
    say of themselves that they may go away.
    """

    attempts: Annotated[int, Field(ge=1, le=100)]
    backoff: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))] = timedelta(seconds=1)
    strategy: Literal["exponential", "constant"] = "exponential"
    factor: Annotated[float, Field(ge=1, le=100, strict=False)] = 2.0
    max_backoff: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))] = timedelta(minutes=5)
    jitter: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.1
    errors: list[Text] | None = None


class BaseBlock(_Model, frozen=True):
    """What every block has in common."""

    type: str
    display_name: str | None = None
    on_error: Targets = ()
    enabled: bool = True
    """A disabled block does not run; what follows goes on as if it had completed with nothing as outputs."""
    at_most_once: bool = False
    """After a crash in flight the block fails with `interrupted` in place of running twice."""

    @property
    def continues_on_error(self) -> bool:
        """Whether the plain edges of the block are active also when it has failed."""
        return False

    @property
    def retries(self) -> Retry | None:
        return None

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        """Where the outgoing edges lead, by handle. A handle without edges is not in it."""
        return {ERROR: self.on_error} if self.on_error else {}


class LinearBlock(BaseBlock, frozen=True):
    """A block that does not choose: when it is done, all its `next` edges are active."""

    next: Targets = ()
    continue_on_error: bool = False
    """A failure is recorded and shown, and the plain edges are active all the same."""

    @property
    def handles(self) -> dict[str, tuple[str, ...]]:
        return ({NEXT: self.next} if self.next else {}) | super().handles

    @property
    def continues_on_error(self) -> bool:
        return self.continue_on_error


class WorkingBlock(LinearBlock, frozen=True):
    """A block that does something which may fail for a while."""

    retry: Retry | None = None

    @property
    def retries(self) -> Retry | None:
        return self.retry


class FunctionBlock(WorkingBlock, frozen=True):
    """Python in a sandbox. Its outputs are what its last expression gives."""

    type: Literal["function"]
    code: Text
    inputs: dict[str, Json] = {}
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = timedelta(seconds=5)
    memory_mb: Annotated[int, Field(ge=1, le=512)] = 64


class BasicAuth(_Model, frozen=True):
    """User and password (RFC 7617)."""

    type: Literal["basic"]
    user: Text
    password: Text


class BearerAuth(_Model, frozen=True):
    """A token (RFC 6750)."""

    type: Literal["bearer"]
    token: Text


class ApiKeyAuth(_Model, frozen=True):
    """A key in a header, or in the query."""

    type: Literal["api_key"]
    name: Text
    value: Text
    place: Literal["header", "query"] = "header"


HttpAuth = Annotated[BasicAuth | BearerAuth | ApiKeyAuth, Field(discriminator="type")]


class HttpBlock(WorkingBlock, frozen=True):
    """One HTTP request. Its outputs are `{status, headers, body}`."""

    type: Literal["http"]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "GET"
    url: Text
    headers: dict[str, str] = {}
    query: dict[str, Json] = {}
    auth: HttpAuth | None = None
    body: Json | None = None
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = timedelta(seconds=30)
    max_response_bytes: Annotated[int, Field(ge=1)] | None = None
    """A larger response fails the block; the operator's limit holds in any case."""


class TaskBlock(WorkingBlock, frozen=True):
    """Work for a remote worker on the bus. Its outputs are what the worker answers."""

    type: Literal["task"]
    task: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    inputs: dict[str, Json] = {}
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(hours=1)
    """How long one attempt may take, with the time until a worker takes it."""


class WorkflowBlock(WorkingBlock, frozen=True):
    """A child execution. Its outputs are `{execution_id, status, output}`; without `wait`, just `{execution_id}`."""

    type: Literal["workflow"]
    workflow: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    version: Annotated[int, Field(ge=1)] | None = None
    """The newest at the moment when the block begins, if not set."""
    input: Json | None = None
    variables: dict[str, Json] = {}
    wait: bool = True
    timeout: Annotated[Duration, Field(gt=timedelta(0))] | None = None


class VariablesBlock(LinearBlock, frozen=True):
    """Sets variables, which `vars` reads. A value has the type of the default that the document declares."""

    type: Literal["variables"]
    set: Annotated[dict[str, Json], Field(min_length=1)]


class PublishBlock(LinearBlock, frozen=True):
    """Puts a CloudEvent on the bus, exactly once for each instance of the block. Its outputs are `{event_id}`."""

    type: Literal["publish"]
    event: Annotated[str, Field(pattern=EVENT_TYPE_PATTERN)]
    """The CloudEvent's type, e.g. `refund.approved`."""
    subject: str | None = None
    data: Json | None = None


class NoteBlock(_Model, frozen=True):
    """Words for the reader of the document. It takes no part in the execution, and nothing leads to it."""

    type: Literal["note"]
    text: str


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


class RouterBlock(BaseBlock, frozen=True):
    """Activates the edges that `route` names: a CEL expression that gives the name of a branch, or a list of them.

    A name that is no key of `next` takes the branch `else`, or fails the block if there is none.
    """

    type: Literal["router"]
    route: Text
    next: Annotated[dict[RouteName, Targets], Field(min_length=1)]

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


class AwaitedEvent(_Model, frozen=True):
    """An event to wait for: of a type, and such that the CEL expression `match` over `event` is true."""

    type: Text | None = None
    match: Text | None = None


class WaitBlock(LinearBlock, frozen=True):
    """Waits for a length of time, until a moment, or for events on the bus: exactly one of the three.

    `for_` is written `for`. Text in it is a template that gives a duration; `until` gives an RFC 3339 time. For events:
    `need` says whether the first of several is enough or all must come; `from_` (written `from`) is where in the log to
    begin: `start` of the execution (the default), the moment the block begins (`now`), or a position (a number, or a
    template that gives one). Outputs: `{until}`, or `{event, events}` with the last that came and all, in their order.
    """

    type: Literal["wait"]
    for_: Annotated[
        timedelta | str | None,
        BeforeValidator(_as_duration_or_template),
        Field(alias="for"),
        _DURATION_SCHEMA,
    ] = None
    until: Annotated[str, AfterValidator(_is_time_or_template)] | None = None
    events: Annotated[list[AwaitedEvent], Field(min_length=1, max_length=20)] | None = None
    need: Literal["any", "all"] = "any"
    from_: Annotated[int | str, Field(alias="from")] = "start"
    timeout: Annotated[Duration, Field(gt=timedelta(0))] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "WaitBlock":
        if [self.for_, self.until, self.events].count(None) != 2:
            raise ValueError("needs exactly one of `for`, `until` and `events`")
        return self


class ContainerBlock(LinearBlock, frozen=True):
    """A block with a body of blocks, which is a graph of its own and runs any number of times.

    `result` is what one run of the body gives, a template over its blocks; without it, the outputs of the one block
    that nothing follows, or those of all such blocks by id.
    """

    blocks: Annotated[dict[BlockId, "AnyBlock"], Field(min_length=1)]
    result: Json | None = None
    timeout: Annotated[Duration, Field(gt=timedelta(0))] | None = None


class LoopBlock(ContainerBlock, frozen=True):
    """Runs its body again and again: exactly one of `for`, `for_each`, `while` and `do_while`.

    `for` is a count, `for_each` a list or an object (items are then `{key, value}`); text in either is a template or a
    CEL expression. `while` is a CEL expression looked at before each iteration, `do_while` after each, and `break_when`
    after each of any loop. Outputs are `{results, iterations}`.
    """

    type: Literal["loop"]
    for_: Annotated[int | str | None, Field(alias="for")] = None
    for_each: list[Json] | dict[str, Json] | str | None = None
    while_: Annotated[Text | None, Field(alias="while")] = None
    do_while: Text | None = None
    break_when: Text | None = None
    max_iterations: Annotated[int, Field(ge=1)] | None = None
    """The loop fails when it would need more. 1,000 for `while` and `do_while`, if not set."""

    @model_validator(mode="after")
    def _one_kind(self) -> "LoopBlock":
        if [self.for_, self.for_each, self.while_, self.do_while].count(None) != 3:
            raise ValueError("needs exactly one of `for`, `for_each`, `while` and `do_while`")
        return self


class ParallelBlock(ContainerBlock, frozen=True):
    """Runs its body in branches side by side: exactly one of `count` and `collection`.

    Text in either is a template or a CEL expression. Outputs are `{results}` in the order of the branches, and with
    `on_branch_error: collect` also `{errors}`, a list of `{index, error}`; the result of a failed branch is null.
    """

    type: Literal["parallel"]
    count: int | str | None = None
    collection: list[Json] | dict[str, Json] | str | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    on_branch_error: Literal["fail", "collect"] = "fail"

    @model_validator(mode="after")
    def _one_kind(self) -> "ParallelBlock":
        if (self.count is None) == (self.collection is None):
            raise ValueError("needs exactly one of `count` and `collection`")
        return self


class CustomBlock(WorkingBlock, frozen=True):
    """A block of a type that a package registers. What `config` may hold is for that type to say."""

    config: dict[str, Json] = {}
    timeout: Annotated[Duration, Field(gt=timedelta(0))] | None = None


BLOCK_MODELS: Mapping[str, type[BaseBlock | NoteBlock]] = {
    "function": FunctionBlock,
    "http": HttpBlock,
    "condition": ConditionBlock,
    "router": RouterBlock,
    "human": HumanBlock,
    "response": ResponseBlock,
    "wait": WaitBlock,
    "loop": LoopBlock,
    "parallel": ParallelBlock,
    "workflow": WorkflowBlock,
    "variables": VariablesBlock,
    "publish": PublishBlock,
    "task": TaskBlock,
    "note": NoteBlock,
}
"""The block types that Playhead brings, and how each is written. Any other type is a `CustomBlock`."""


def _tag(value: object) -> str:
    if isinstance(value, BaseBlock | NoteBlock):
        kind: object = value.type
    else:
        kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in BLOCK_MODELS else "custom"


Block = (
    FunctionBlock
    | HttpBlock
    | ConditionBlock
    | RouterBlock
    | HumanBlock
    | ResponseBlock
    | WaitBlock
    | LoopBlock
    | ParallelBlock
    | WorkflowBlock
    | VariablesBlock
    | PublishBlock
    | TaskBlock
    | CustomBlock
)
"""Every block that takes part in an execution."""

AnyBlock = Annotated[
    Annotated[FunctionBlock, Tag("function")]
    | Annotated[HttpBlock, Tag("http")]
    | Annotated[ConditionBlock, Tag("condition")]
    | Annotated[RouterBlock, Tag("router")]
    | Annotated[HumanBlock, Tag("human")]
    | Annotated[ResponseBlock, Tag("response")]
    | Annotated[WaitBlock, Tag("wait")]
    | Annotated[LoopBlock, Tag("loop")]
    | Annotated[ParallelBlock, Tag("parallel")]
    | Annotated[WorkflowBlock, Tag("workflow")]
    | Annotated[VariablesBlock, Tag("variables")]
    | Annotated[PublishBlock, Tag("publish")]
    | Annotated[TaskBlock, Tag("task")]
    | Annotated[NoteBlock, Tag("note")]
    | Annotated[CustomBlock, Tag("custom")],
    Discriminator(_tag),
]

for _container in (LoopBlock, ParallelBlock):
    _container.model_rebuild()


class WorkflowDocument(_Model, frozen=True):
    """A whole workflow. `input` is a JSON Schema, `variables` are defaults of `vars`, `output` a template.

    `timeout` is how long an execution may take, and `max_concurrency` how many of its blocks may be in flight at once;
    a caller can ask for less.
    """

    id: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    name: str | None = None
    description: str | None = None
    input: dict[str, Json] | None = None
    variables: dict[str, Json] = {}
    blocks: Annotated[dict[BlockId, AnyBlock], Field(min_length=1)]
    output: Json | None = None
    timeout: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
