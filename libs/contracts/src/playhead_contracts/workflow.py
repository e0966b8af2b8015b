"""The workflow document (docs/workflows.md) as an author writes it: models that refuse what they do not know.

These models say what one block looks like by itself. What only the whole document can tell (edges that lead
nowhere, cycles, references, expressions) is checked by `playhead_engine.documents`. That is the door for
people's documents: it gives every fault at its place, where `model_validate` gives those that pydantic sees.

A *template* is any JSON value whose strings may hold `{{ expression }}`; an expression is CEL.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from playhead_contracts.base_blocks import BaseBlock, LinearBlock, WorkingBlock
from playhead_contracts.events import Json
from playhead_contracts.fields import (
    DURATION_SCHEMA,
    BlockId,
    CaseName,
    Duration,
    Ordered,
    RouteName,
    Targets,
    Text,
    Written,
    as_duration_or_template,
    is_time_or_template,
)
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import EVENT_TYPE_PATTERN, TOKEN_PATTERN


class FunctionBlock(WorkingBlock, frozen=True):
    """Python in a sandbox. Its outputs are what its last expression gives."""

    type: Literal["function"]
    code: Text
    inputs: dict[str, Json] = {}
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = timedelta(seconds=5)
    memory_mb: Annotated[int, Field(ge=1, le=512)] = 64


class BasicAuth(Written, frozen=True):
    """User and password (RFC 7617)."""

    type: Literal["basic"]
    user: Text
    password: Text


class BearerAuth(Written, frozen=True):
    """A token (RFC 6750)."""

    type: Literal["bearer"]
    token: Text


class ApiKeyAuth(Written, frozen=True):
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


class NoteBlock(Written, frozen=True):
    """Words for the reader of the document. It takes no part in the execution, and nothing leads to it."""

    type: Literal["note"]
    text: str


class ConditionBlock(BaseBlock, frozen=True):
    """Activates the edges of the first case that is true, in their order, or those of `else` when none is.

    `cases` is from a name to the CEL expression that decides it; the keys of `next` are such names or `else`.
    """

    type: Literal["condition"]
    cases: Annotated[dict[CaseName, Text], Field(min_length=1), Ordered]
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


class ResponseBlock(BaseBlock, frozen=True):
    """Fixes output and HTTP status of the execution. Nothing comes after it."""

    type: Literal["response"]
    status: Annotated[int, Field(ge=100, le=599)] = 200
    body: Json


class AwaitedEvent(Written, frozen=True):
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
        BeforeValidator(as_duration_or_template),
        Field(alias="for"),
        DURATION_SCHEMA,
    ] = None
    until: Annotated[str, AfterValidator(is_time_or_template)] | None = None
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


class PersonalData(Written, frozen=True):
    """Whose values those are that are marked `x-personal: true`: a template over `input` and `vars` that gives a name,
    the same for all that is about one person.
    """

    subject: Text


class WorkflowDocument(Written, frozen=True):
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
    personal: PersonalData | None = None
