"""Events: what is true. Each is immutable; old ones decode for ever.

An event is an `Envelope` (who, where, when) and its data, a tagged union on `type`. Both are encoded once, with
sorted keys, and those very bytes are stored, hashed, copied to the bus and shown to clients.
Change is additive only: a new field has a default; anything else is a new `schema_version` with an upcaster.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from playhead_contracts.ids import BlockPath, EventId, ExecutionId, PauseId, StreamId, TenantId, WorkflowId
from playhead_contracts.upcasting import UPCASTERS, DataDecoder

Utc = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone; RFC 3339 on the wire, in UTC."""

Json = Any
"""A JSON value as msgspec decodes it: None, bool, int, float, str, list or dict."""

Mode = Literal["sync", "async", "stream"]


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who made a fact true: a person, a key, or a part of the system."""

    kind: Literal["person", "key", "system"]
    """What it is."""
    name: str
    """Its name: of a person, of whom a key stands for, or of a part of the system."""
    channel: str | None = None
    """How it was done, e.g. `http`, `nats`, `link`."""


class BlockError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a block failed, for people and for `on_error` branches."""

    type: str
    """What kind of error it is, e.g. `http_status`: what `on_error` branches and retries look at."""
    message: str
    """What happened, in words."""
    retryable: bool = False
    """Whether another attempt may go well."""
    details: dict[str, Json] = {}
    """What else is known of it."""
    retry_after_seconds: float | None = None
    """How long the other side asked to be left alone."""


class ForkSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an execution made by run-from-block comes from: the fact at `version` was the last one seen."""

    execution_id: ExecutionId
    """The execution that was run again."""
    version: int
    """How much of it was seen."""
    from_block: str
    """The block, or the blocks with commas between them."""


class BlockReference(msgspec.Struct, frozen=True):
    """The event that holds what is reused: a `block.completed`, the `block.started` of a container, or an
    `iteration.completed`. Always the original, never a copy."""

    execution_id: ExecutionId
    """In the stream of which execution."""
    version: int
    """Which event of that stream."""


class Cutoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a fork may take over in place of running a block, once the blocks it depends on have given the same again.

    `after` has for each of these the digest of what it gave in the source.
    """

    reference: BlockReference
    """The event that holds what is taken over."""
    after: dict[BlockPath, str]
    """What the blocks it depends on gave in the source: a digest by block."""
    decision: tuple[str, ...] | None = None
    """The handles that were chosen."""
    variables: dict[str, Json] | None = None
    """The variables that were set."""


class ChildFork(msgspec.Struct, frozen=True):
    """A child execution that is not started anew by a fork, but run again from one of its own blocks."""

    execution_id: ExecutionId
    """The child as it was."""
    from_block: str
    """The block of it to begin from."""


class Parent(msgspec.Struct, frozen=True):
    """The `workflow` block that started a child execution."""

    execution_id: ExecutionId
    """The execution that waits."""
    path: BlockPath
    """Its block."""


class TriggeredBy(msgspec.Struct, frozen=True):
    """The trigger that started an execution, and the event it did so for. `depth` counts the triggers on the way here:
    1, or one more than that of the execution in which the event happened."""

    trigger_id: str
    """Which trigger it was."""
    event_id: EventId
    """As in our log."""
    position: int
    """Where that event is in the log."""
    depth: int = 1
    """How many triggers led here."""


class ContainerStart(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a loop or parallel runs. Its items, if it has any, are `inputs["items"]` of the same event.

    `count` is None when the number of iterations is not known beforehand; `concurrency` is how many are open at once.
    """

    kind: Literal["loop", "parallel"]
    """What it is."""
    count: int | None = None
    """How many iterations there are, if that is known."""
    concurrency: int = 1
    """How many of them are open at once."""


class WatchedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that is waited for: `type` as on the bus, and a CEL expression over `event` and `Watch.captured`."""

    type: str | None = None
    """The type of the event; any message's, if null."""
    match: str | None = None
    """What must be true of it, in CEL."""


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The events that a `wait` block waits for: those of the tenant's log from a place on, early ones included.

    That place is after `position`; or, if there is none, the beginning of the execution (`start`) or of the block
    (`now`).
    """

    events: tuple[WatchedEvent, ...]
    """Those that are waited for."""
    need: Literal["any", "all"]
    """Whether one is enough, or all must come."""
    since: Literal["start", "now"] = "start"
    """Where looking begins."""
    position: int | None = None
    """The place in the log after which to look."""
    captured: dict[str, Json] = {}
    """What the filters read of the execution when the block began, by root; `absent` are blocks that gave nothing."""


class MatchedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that a `wait` block waited for. `number` is its place in `Watch.events`."""

    number: int
    """Its place in `Watch.events`."""
    position: int
    """Its place in the log."""
    type: str
    """Its type."""
    source: str
    """Its source."""
    id: str
    """Its id."""
    subject: str | None = None
    """Its subject."""
    time: Utc | None = None
    """Its time."""
    data: Json = None
    """Its data."""


class PauseAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that people can decide about a pause."""

    name: str
    """What it is called in answers."""
    label: str | None = None
    """What people read on it."""
    denies: bool = False
    """It says no: it needs no answer to the form, and may veto a quorum."""
    form: dict[str, Json] | None = None
    """What is asked for this action, in place of the form of the pause."""


class Quorum(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many different people must take the same action before it counts."""

    needed: int
    """How many people."""
    deny_vetoes: bool = False
    """One of them who denies decides alone."""


class Expiry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What follows when nobody has answered in time: an answer, or others who may answer, too.

    `then` is what follows when these have not answered within `after_seconds` either; None: the block fails.
    """

    kind: Literal["answer", "escalate"]
    """Which of the two."""
    answer: dict[str, Json] = {}
    """The answer, if it is one."""
    action: str | None = None
    """The action that is taken with it."""
    assignees: tuple[str, ...] = ()
    """Who may answer then, too."""
    after_seconds: float | None = None
    """How long these have."""
    then: "Expiry | None" = None
    """What follows after that."""


class Streamed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a block told on its way to its outputs: how many pieces, and how their text begins if all were text."""

    chunks: int
    """How many pieces there were."""
    text: str | None = None
    """Their text, or its beginning."""


class BlobReference(msgspec.Struct, frozen=True):
    """A large value that the log keeps beside the event, under the sha256 of its JSON as it is stored."""

    digest: str
    """`sha256:` and the digest of its JSON as it is stored."""
    size_bytes: int
    """How large that is."""


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every kind of event data has in common: its `type` is the tag."""

    SCHEMA_VERSION: ClassVar[int] = 1
    """The form in which events of this type are written: see `upcasting.py`."""

    @classmethod
    def type_name(cls) -> str:
        return str(cls.__struct_config__.tag)


class WithBlobs(Data, frozen=True, kw_only=True):
    """Data of which large fields are stored apart: `blobs` has the reference of each such field, by its name.

    Readers of the log get the fields filled in, and `blobs` as well.
    """

    blobs: dict[str, BlobReference] = {}


class Personal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of an execution is about a person, and is sealed with their key: decided when it begins, from its document.

    Whoever appends a fact of the execution knows from this alone what of the fact to seal.
    """

    key_id: str
    """Names the key; whose it is, the log does not say."""
    input: tuple[str, ...] = ()
    """JSON Pointers (RFC 6901) of what is marked in the input; `""` for all of it."""
    variables: tuple[str, ...] = ()
    """The variables that may hold something personal."""
    blocks: tuple[BlockPath, ...] = ()
    """The blocks, by their path in the document, that read something personal or ask for it."""
    output: bool = False
    """Whether the output of the execution may hold something personal."""


class Seal(msgspec.Struct, frozen=True):
    """What of an event's data is sealed, as JSON Pointers (RFC 6901), and with which key."""

    key_id: str
    """Which key."""
    fields: tuple[str, ...]
    """The places of what is sealed."""


class ExecutionCreated(WithBlobs, frozen=True, kw_only=True, tag="execution.created"):
    """Somebody started a workflow, or ran an execution again from a block: it was checked and will be done."""

    workflow_id: WorkflowId
    """Which workflow it runs."""
    workflow_version: int
    """In which version of its definition."""
    digest: str
    input: Json = None
    """What it was started with, with the defaults filled in."""
    variables: dict[str, Json] = {}
    """Its variables at the beginning, with the defaults filled in."""
    mode: Mode = "async"
    """How whoever started it wanted to be answered."""
    outputs: tuple[str, ...] | None = None
    """The blocks whose outputs were asked for; None: the output of the workflow."""
    source: ForkSource | None = None
    """Set when it was made by run-from-block: where it comes from."""
    plan: Json = None
    """For a fork: what is taken over, and what runs again."""
    fingerprint: str | None = None
    """Digest of the request, when it came with an idempotency key: one key stands for one request."""
    deadline: Utc | None = None
    """When the execution is timed out, if it has not ended by then."""
    max_concurrency: int | None = None
    """How many of its blocks may be in flight at once."""
    parent: Parent | None = None
    depth: int = 0
    """How many parents there are above it."""
    started_by: Actor | None = None
    """For a child: who started the execution that is above all others."""
    cutoff: dict[BlockPath, Cutoff] = {}
    """For a fork with early cutoff: the blocks that may be taken over after all."""
    child_forks: dict[BlockPath, ChildFork] = {}
    """For a fork: the `workflow` blocks whose children are run again from within."""
    personal: Personal | None = None
    """What of it is sealed; None: nothing is."""
    trigger: TriggeredBy | None = None
    """Set when a trigger started it, for an event."""


class ExecutionStarted(Data, frozen=True, kw_only=True, tag="execution.started"):
    """The first claim. A claim is an event: its epoch is one higher than the last, and the log lets one win."""

    executor: str
    epoch: int
    command: str


class ExecutionResumed(Data, frozen=True, kw_only=True, tag="execution.resumed"):
    """A claim after a pause: somebody let go in good order, and this executor goes on."""

    executor: str
    epoch: int
    command: str
    parent: Parent | None = None
    """Set when the execution is a child and people were asked: its parent is told that it goes on."""


class ExecutionRecovered(Data, frozen=True, kw_only=True, tag="execution.recovered"):
    """A claim over an executor that lost its lease or is gone."""

    executor: str
    epoch: int
    command: str
    taken_from: str
    """The executor that had it."""


class ExecutionPaused(Data, frozen=True, kw_only=True, tag="execution.paused"):
    """The executor lets go: nothing can run until a pause is answered or a timer is due."""

    epoch: int
    pauses: tuple[PauseId, ...] = ()
    """What people are asked."""
    due_at: Utc | None = None
    """When the next timer is due: a wait, a retry, a deadline, an expiry."""
    parent: Parent | None = None
    """Set when the execution is a child and people are asked: its parent is told."""


class ExecutionCompleted(WithBlobs, frozen=True, kw_only=True, tag="execution.completed"):
    """The execution has ended: nothing is left to run."""

    output: Json = None
    """The output of the workflow, or of its first `response`."""
    http_status: int | None = None
    """The status that a `response` block chose."""
    parent: Parent | None = None


class ExecutionFailed(Data, frozen=True, kw_only=True, tag="execution.failed"):
    """The execution has ended: a block failed, and nothing handles that."""

    error: BlockError
    """Why the block failed."""
    block: BlockPath | None = None
    """Which block it was; None when it was none of them."""
    parent: Parent | None = None


class ExecutionCancelRequested(Data, frozen=True, kw_only=True, tag="execution.cancel_requested"):
    """Somebody (the actor) wants the execution to stop. It stops when its executor has seen this."""

    reason: str | None = None


class ExecutionCancelled(Data, frozen=True, kw_only=True, tag="execution.cancelled"):
    """The execution has ended: it was to stop, and nothing is in flight any more."""

    reason: str | None = None
    parent: Parent | None = None


class ExecutionTimedOut(Data, frozen=True, kw_only=True, tag="execution.timed_out"):
    """The execution has ended: its time was over."""

    deadline: Utc
    """When its time was over."""
    parent: Parent | None = None


class ExecutionDeadLettered(Data, frozen=True, kw_only=True, tag="execution.dead_lettered"):
    """Its command was given up after too many failures. Not an end: re-driving the dead letter goes on from here."""

    command: str
    failures: int
    """How often it was tried."""
    error: str
    """What went wrong the last time."""


class BlockStarted(WithBlobs, frozen=True, kw_only=True, tag="block.started"):
    """A block begins. Written before anything is done outside; a block without effects has none, only its end."""

    path: BlockPath
    attempt: int = 1
    inputs: dict[str, Json] = {}
    until: Utc | None = None
    """For a `wait` block: when it is over."""
    deadline: Utc | None = None
    """When a container, a child execution or a wait for events fails with `timeout`."""
    container: ContainerStart | None = None
    """Set when the block is a loop or a parallel."""
    watch: Watch | None = None
    """Set when the block waits for events: for which."""
    child: ExecutionId | None = None
    """For a `workflow` block: the execution that it starts. Told before it is created, so that none is lost."""


class BlockCompleted(WithBlobs, frozen=True, kw_only=True, tag="block.completed"):
    """A block is over, and does not run again in this execution."""

    path: BlockPath
    attempt: int = 1
    outputs: Json = None
    decision: tuple[str, ...] | None = None
    """The handles chosen, for a block that chooses; None activates the plain edge."""
    locks: bool = False
    """The first block to complete with this set (a `response`) fixes the output of the execution."""
    variables: dict[str, Json] | None = None
    """The variables that a `variables` block has set."""
    duration_ms: float = 0.0
    started_at: Utc | None = None
    inputs: dict[str, Json] | None = None
    """Set, with `started_at`, when the block has no `block.started` of its own (a block without effects)."""
    streamed: Streamed | None = None
    """Set when the executor ran the block and it told pieces of its outputs on the way."""


class BlockFailed(WithBlobs, frozen=True, kw_only=True, tag="block.failed"):
    """A block is over without outputs: its last attempt failed."""

    path: BlockPath
    error: BlockError
    attempt: int = 1
    handled: bool = False
    """The block has an error edge, which is now active, or it goes on in spite of errors (`continues`)."""
    continues: bool = False
    """Its plain edges are active as if it had completed, with nothing as outputs."""
    contained: bool = False
    """Not handled here, but by a container around it. Neither this nor `handled`: the execution fails."""
    duration_ms: float = 0.0
    started_at: Utc | None = None
    inputs: dict[str, Json] | None = None
    child: ExecutionId | None = None
    """The child execution that is no longer waited for, and is to be cancelled."""


class BlockRetryScheduled(WithBlobs, frozen=True, kw_only=True, tag="block.retry_scheduled"):
    """An attempt failed, and another one follows at `due_at`. `attempt` is the one that failed."""

    path: BlockPath
    attempt: int
    error: BlockError
    due_at: Utc
    """When the next attempt begins."""
    duration_ms: float = 0.0
    started_at: Utc | None = None
    inputs: dict[str, Json] | None = None
    child: ExecutionId | None = None
    """The child execution of the attempt that failed, which is no longer waited for, and is to be cancelled."""


class BlockSkipped(Data, frozen=True, kw_only=True, tag="block.skipped"):
    """A block does not run: no active path leads to it, it is disabled, or its execution ends."""

    path: BlockPath
    reason: str
    continues: bool = False
    """The block is disabled: what follows it goes on as if it had completed, with nothing as outputs."""
    child: ExecutionId | None = None
    """The child execution that is no longer waited for, and is to be cancelled."""


class BlockStepCompleted(WithBlobs, frozen=True, kw_only=True, tag="block.step_completed"):
    """A durable step inside a block: it does not run again, however often its block does."""

    path: BlockPath
    attempt: int
    name: str
    """The name of the step, unique in its block."""
    outputs: Json = None


class BlockDispatched(WithBlobs, frozen=True, kw_only=True, tag="block.dispatched"):
    """Work for a remote worker. `task_id` is what a result must name; it is new for each attempt."""

    path: BlockPath
    attempt: int
    task_id: str
    task: str
    """The type of the task: who takes it."""
    inputs: dict[str, Json] = {}
    deadline: Utc | None = None


class IterationCompleted(WithBlobs, frozen=True, kw_only=True, tag="iteration.completed"):
    """One iteration of a loop, or one branch of a parallel, is over: `outputs` is its result, or `error` why not."""

    path: BlockPath
    index: int
    """Which iteration it is, from 0."""
    outputs: Json = None
    error: BlockError | None = None
    last: bool = False
    """The loop decided that no other follows."""


class TaskAnswered(WithBlobs, frozen=True, kw_only=True, tag="task.answered"):
    """What a remote worker made of its task: `outputs`, or `error`."""

    path: BlockPath
    task_id: str
    """Which task it is, as in `block.dispatched`."""
    outputs: Json = None
    error: BlockError | None = None
    worker: str | None = None
    """How the worker calls itself."""


class EventMatched(WithBlobs, frozen=True, kw_only=True, tag="event.matched"):
    """An event came that a `wait` block of this execution waits for."""

    path: BlockPath
    event: MatchedEvent
    """The event that came."""


class EventPublished(Data, frozen=True, kw_only=True, tag="event.published"):
    """A CloudEvent that a `publish` block puts on the bus, where `event_type` is its type and `content` its data."""

    path: BlockPath
    event_id: str
    """The `id` of the CloudEvent."""
    event_type: str
    """Its `type`."""
    content: Json = None
    """Its `data`."""
    subject: str | None = None
    """Its `subject`."""


class EventReceived(Data, frozen=True, kw_only=True, tag="event.received"):
    """A CloudEvent from outside, taken into the log so that it has a place in the order of everything."""

    event_id: str
    """The `id` of the CloudEvent; unique together with `source`."""
    event_type: str
    """Its `type`."""
    source: str
    """Its `source`."""
    content: Json = None
    """Its `data`."""
    subject: str | None = None
    """Its `subject`."""
    time: Utc | None = None
    """Its `time`."""
    attributes: dict[str, str | int | bool] = {}
    """What else it says of itself: `dataschema`, and the extensions of CloudEvents."""


class ChildStarted(Data, frozen=True, kw_only=True, tag="child.started"):
    """The child execution of a `workflow` block is in the log, and is waited for."""

    path: BlockPath
    child: ExecutionId


class ChildPaused(Data, frozen=True, kw_only=True, tag="child.paused"):
    """A child execution waits for people: these are its open pauses."""

    path: BlockPath
    child: ExecutionId
    pauses: tuple[PauseId, ...]
    """What people are asked."""


class ChildResumed(Data, frozen=True, kw_only=True, tag="child.resumed"):
    """A child execution that waited for people goes on."""

    path: BlockPath
    child: ExecutionId


class ChildEnded(WithBlobs, frozen=True, kw_only=True, tag="child.ended"):
    """A child execution has ended: with `outputs`, or with `error`."""

    path: BlockPath
    child: ExecutionId
    status: Literal["completed", "failed", "cancelled", "timed_out"]
    """How it ended."""
    outputs: Json = None
    error: BlockError | None = None


class BlockReused(Data, frozen=True, kw_only=True, tag="block.reused"):
    """A completed block of the source of a fork, taken over by reference."""

    path: BlockPath
    reference: BlockReference
    """The event that holds what is reused."""
    decision: tuple[str, ...] | None = None
    """The handles that were chosen."""
    variables: dict[str, Json] | None = None
    """The variables that were set."""
    outputs: Json = None
    """Never stored: the log fills it in from `reference` when it reads (see `playhead_eventlog`)."""


class BlockOverridden(WithBlobs, frozen=True, kw_only=True, tag="block.overridden"):
    """Whoever made a fork said what this block gives, in place of letting it run."""

    path: BlockPath
    outputs: Json = None
    decision: tuple[str, ...] | None = None
    """The handles chosen, for a block that chooses."""


class ContainerReused(Data, frozen=True, kw_only=True, tag="container.reused"):
    """A container of the source of a fork, of which some iterations are taken over and the others run."""

    path: BlockPath
    reference: BlockReference
    """Of its `block.started`."""
    iterations: tuple[int, ...]
    """Those that are taken over; an `iteration.reused` follows for each."""
    deadline: Utc | None = None
    container: ContainerStart | None = None
    """Never stored, as `inputs`: the log fills both in from `reference` when it reads."""
    inputs: dict[str, Json] = {}


class IterationReused(Data, frozen=True, kw_only=True, tag="iteration.reused"):
    """An iteration of the source of a fork, taken over by reference."""

    path: BlockPath
    index: int
    """Which iteration it is, from 0."""
    reference: BlockReference
    """Its `iteration.completed`."""
    variables: dict[str, Json] | None = None
    """What blocks inside of it had set."""
    outputs: Json = None
    """Never stored, as `error`: the log fills both in from `reference` when it reads."""
    error: BlockError | None = None


class PauseRequested(Data, frozen=True, kw_only=True, tag="pause.requested"):
    """People are asked, and the block waits for their answer."""

    pause_id: PauseId
    path: BlockPath
    message: str
    """What people read first."""
    digest: str
    """sha256 of the canonical JSON of what is shown and asked, so that an answer can be bound to it."""
    form: dict[str, Json] | None = None
    """The JSON Schema of the answer."""
    show: dict[str, Json] = {}
    """What they are shown, by name."""
    order: tuple[str, ...] = ()
    """The names in `show`, as they are to be read; in the order of the names, if not said."""
    labels: dict[str, str] = {}
    """What people read in place of a name in `show`."""
    actions: tuple[PauseAction, ...] = ()
    """What can be decided; without any it is `approve` and `deny`."""
    assignees: tuple[str, ...] = ()
    """Who may answer: `ann` or `user:ann`, `group:finance`, `scope:refunds:approve`. Nobody named: whoever may answer
    pauses at all."""
    barred: tuple[str, ...] = ()
    """Names of people who may not answer, whoever else they are."""
    quorum: Quorum | None = None
    """How many people must agree, if more than one."""
    expires_at: Utc | None = None
    remind_at: Utc | None = None
    on_expiry: Expiry | None = None
    """What follows when the time is over. None: the block fails."""
    notify: tuple[str, ...] = ()
    """The webhooks that are told; all that want to know, if there are none."""


class PauseVoted(Data, frozen=True, kw_only=True, tag="pause.voted"):
    """One of several people who must agree has said what they think; the actor is who."""

    pause_id: PauseId
    path: BlockPath
    action: str | None = None
    answer: dict[str, Json] = {}
    comment: str | None = None
    digest: str | None = None
    key: str | None = None
    """Digest of the Idempotency-Key that came with it."""
    on_behalf_of: str | None = None
    """Who had passed their right to answer on to the actor."""


class PauseResolved(Data, frozen=True, kw_only=True, tag="pause.resolved"):
    """A pause is over: answered by somebody (the actor), or closed because its execution ended."""

    pause_id: PauseId
    path: BlockPath
    resolution: Literal["answered", "closed"]
    """`answered` by somebody, or `closed` because nobody needs to answer any more."""
    answer: dict[str, Json] | None = None
    action: str | None = None
    comment: str | None = None
    digest: str | None = None
    """Of the proposal that the decision is about."""
    reason: str | None = None
    key: str | None = None
    on_behalf_of: str | None = None
    """Who had passed their right to answer on to the actor."""


class PauseExpired(Data, frozen=True, kw_only=True, tag="pause.expired"):
    """The time for an answer is over: the block fails, or what was said beforehand is the answer."""

    pause_id: PauseId
    path: BlockPath
    expired_at: Utc
    """When the time was over."""
    outcome: Literal["failed", "answered"] = "failed"
    """Whether the block fails, or what was said beforehand is the answer."""
    answer: dict[str, Json] | None = None
    action: str | None = None


class PauseEscalated(Data, frozen=True, kw_only=True, tag="pause.escalated"):
    """Nobody has answered in time, and `assignees` may answer, too, until `expires_at`."""

    pause_id: PauseId
    path: BlockPath
    assignees: tuple[str, ...]
    """Who may answer from now on, too."""
    expires_at: Utc | None = None
    on_expiry: Expiry | None = None
    """What follows when they have not answered either."""


class PauseReminded(Data, frozen=True, kw_only=True, tag="pause.reminded"):
    """The time for an answer is nearly over."""

    pause_id: PauseId
    path: BlockPath
    expires_at: Utc


class PauseExtended(Data, frozen=True, kw_only=True, tag="pause.extended"):
    """Somebody (the actor) gave people more time."""

    pause_id: PauseId
    path: BlockPath
    expires_at: Utc
    remind_at: Utc | None = None
    reason: str | None = None


class PauseDelegated(Data, frozen=True, kw_only=True, tag="pause.delegated"):
    """Somebody (the actor) passed their right to answer on to `to`."""

    pause_id: PauseId
    path: BlockPath
    to: str
    """Who may answer in their place."""
    reason: str | None = None


class PauseNotified(Data, frozen=True, kw_only=True, tag="pause.notified"):
    """What became of telling a webhook about a pause; `about` is the type of the event that it was told of."""

    pause_id: PauseId
    path: BlockPath
    delivery_id: str
    """The `webhook-id` of the delivery."""
    webhook: str
    """The name of the webhook."""
    about: str
    """The type of the event that it was told of."""
    outcome: Literal["delivered", "failed"]
    """Whether it took the message, or was given up."""
    attempts: int = 1
    """How often it was tried."""
    status: int | None = None
    """The HTTP status of its last answer."""
    error: str | None = None
    """Why it was given up."""


class WorkflowPublished(Data, frozen=True, kw_only=True, tag="workflow.published"):
    """A workflow has a new definition. Executions keep the version that they began with."""

    workflow_version: int
    """The number of the definition, from 1."""
    digest: str
    document: dict[str, Json]


class TriggerPublished(Data, frozen=True, kw_only=True, tag="trigger.published"):
    """From here on a trigger starts a workflow for the events that its document names; it takes the place of the one of
    the same id."""

    trigger_id: str
    """Which trigger it is."""
    trigger_version: int
    """The number of its document, from 1."""
    digest: str
    document: dict[str, Json]


class TriggerRemoved(Data, frozen=True, kw_only=True, tag="trigger.removed"):
    """The trigger starts nothing any more."""

    trigger_id: str
    """Which trigger it was."""


class KeyCreated(Data, frozen=True, kw_only=True, tag="key.created"):
    """An API key is about to be made by the actor. The key itself is written nowhere."""

    key_id: str
    name: str
    """Who the key stands for: the name of the actor of what is done with it."""
    scopes: tuple[str, ...]
    """What may be done with it."""
    groups: tuple[str, ...] = ()
    """In which groups its holder is."""


class KeyRevoked(Data, frozen=True, kw_only=True, tag="key.revoked"):
    """An API key is about to be ended for good by the actor."""

    key_id: str
    name: str
    """Who the key stood for."""


class WebhookCreated(Data, frozen=True, kw_only=True, tag="webhook.created"):
    """A webhook is about to be told of pauses, at a URL that the actor named."""

    name: str
    """The name of the webhook."""
    host: str
    """Where it is told, without the path: that may be a secret."""
    events: tuple[str, ...]
    """Of what it is told."""
    workflows: tuple[str, ...] | None = None
    """Of which workflows alone; of all, if None."""


class WebhookChanged(Data, frozen=True, kw_only=True, tag="webhook.changed"):
    """A webhook is about to be changed by the actor."""

    name: str
    """The name of the webhook."""
    change: Literal["removed", "secret_rotated", "enabled", "resent"]
    """What is done to it."""
    delivery_id: str | None = None
    """What is sent once more, if that is the change."""


class SubjectForgotten(Data, frozen=True, kw_only=True, tag="subject.forgotten"):
    """The keys of a person are about to be destroyed by the actor: what they sealed can never be read again."""

    key_ids: tuple[str, ...]
    """The keys: facts name them in place of the person."""
    executions: int = 0
    """In how many executions they were used."""


class LogExported(Data, frozen=True, kw_only=True, tag="log.exported"):
    """Events of the tenant are about to be written out of the system by the actor."""

    format: str
    """`jsonl`, `ocel` and so on."""
    to: str | None = None
    """The name of the file, without its folder; None for standard output."""
    since: Utc | None = None
    """Only events recorded at this time or later."""
    until: Utc | None = None
    """Only events recorded before this time."""
    workflow_id: WorkflowId | None = None
    """Only events of this workflow."""
    executions: tuple[ExecutionId, ...] = ()
    """Those alone that were asked for; all, if none was named."""


class ExecutionArchived(Data, frozen=True, kw_only=True, tag="execution.archived"):
    """The events of ended executions are about to be moved out of the log, into a signed file that was written and read
    back. Read models forget them; the log keeps their hashes."""

    file: str
    """Its name in the archive."""
    executions: tuple[ExecutionId, ...]
    """Those that are moved."""
    events: int
    """How many they have together."""
    digest: str
    """sha256 of the file's lines before its last one, hexadecimal."""


EventData = (
    ExecutionCreated
    | ExecutionStarted
    | ExecutionResumed
    | ExecutionRecovered
    | ExecutionPaused
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelRequested
    | ExecutionCancelled
    | ExecutionTimedOut
    | ExecutionDeadLettered
    | BlockStarted
    | BlockCompleted
    | BlockFailed
    | BlockRetryScheduled
    | BlockSkipped
    | BlockStepCompleted
    | BlockDispatched
    | BlockReused
    | BlockOverridden
    | ContainerReused
    | IterationReused
    | IterationCompleted
    | TaskAnswered
    | EventMatched
    | EventPublished
    | EventReceived
    | ChildStarted
    | ChildPaused
    | ChildResumed
    | ChildEnded
    | PauseRequested
    | PauseVoted
    | PauseResolved
    | PauseExpired
    | PauseEscalated
    | PauseReminded
    | PauseExtended
    | PauseDelegated
    | PauseNotified
    | WorkflowPublished
    | TriggerPublished
    | TriggerRemoved
    | KeyCreated
    | KeyRevoked
    | WebhookCreated
    | WebhookChanged
    | LogExported
    | ExecutionArchived
    | SubjectForgotten
)

PAUSE_FACTS = (
    PauseRequested,
    PauseVoted,
    PauseResolved,
    PauseExpired,
    PauseEscalated,
    PauseReminded,
    PauseExtended,
    PauseDelegated,
)
"""Facts that change what is known of a pause; each has its `pause_id`."""
TERMINAL = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled, ExecutionTimedOut)
CLAIMS = (ExecutionStarted, ExecutionResumed, ExecutionRecovered)


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact that is to be appended. `id` makes a repeat of the same append harmless."""

    id: EventId
    data: EventData
    tenant: TenantId
    workflow_id: WorkflowId | None
    execution_id: ExecutionId | None
    actor: Actor
    recorded_at: Utc
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    seal: Seal | None = None
    """What of `data` is about a person: see `playhead_engine.privacy`."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything about an event but its data. Stored, as JSON with sorted keys, in the log's `meta` column."""

    id: EventId
    """What to deduplicate by."""
    type: str
    """The type of the event, which is in its data, too."""
    schema_version: int
    """The version in which the data was written."""
    tenant: TenantId
    """Whose it is."""
    stream_id: StreamId
    """The stream that it stands in."""
    version: int
    """Its place in that stream, from 1."""
    recorded_at: Utc
    """When it was appended, UTC."""
    actor: Actor
    """Who made it true."""
    workflow_id: WorkflowId | None = None
    """The workflow it belongs to."""
    execution_id: ExecutionId | None = None
    """The execution it belongs to."""
    causation_id: str | None = None
    """The id of the command or event that led to it."""
    correlation_id: str | None = None
    """What all that follows from one cause has in common."""
    traceparent: str | None = None
    """W3C Trace Context: in which trace it was appended."""
    seal: Seal | None = None
    """Which fields of the data are sealed, and with which key. Nothing else in it is, whatever it looks like."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded fact: its envelope, its data, and its place in the whole log.

    `position` is 0 for an event that was taken from the live bus, where the place in the log is not told.
    """

    envelope: Envelope
    data: EventData
    position: int = 0

    @property
    def version(self) -> int:
        return self.envelope.version

    @property
    def recorded_at(self) -> datetime:
        return self.envelope.recorded_at


_encoder = msgspec.json.Encoder(order="sorted")
_data_decoder: DataDecoder[EventData] = DataDecoder(EventData, UPCASTERS)
_envelope_decoder = msgspec.json.Decoder(Envelope)


def encode_data(data: EventData) -> bytes:
    """The bytes of an event's data that are stored and hashed: JSON with sorted keys."""
    return _encoder.encode(data)


def decode_data(data: bytes | str) -> EventData:
    """The inverse of `encode_data`, for data in its present form; stored events are read by `decode_event`.

    Raises msgspec.ValidationError for a type this version does not know.
    """
    return _data_decoder.decode_present(data)


def encode_envelope(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode_envelope(meta: bytes | str) -> Envelope:
    return _envelope_decoder.decode(meta)


def decode_event(meta: bytes, data: bytes, position: int = 0) -> Event:
    """A stored event, in whichever version it was written.

    Raises UnknownEventType and EventTooNew for what a newer process wrote, msgspec.DecodeError for what is no event.
    """
    envelope = decode_envelope(meta)
    return Event(
        envelope=envelope,
        data=_data_decoder.decode(envelope.type, envelope.schema_version, data),
        position=position,
    )


def join(meta: bytes, data: bytes) -> bytes:
    """One event as one JSON object, from the stored bytes and without re-encoding: the envelope with member `data`."""
    return meta[:-1] + b',"data":' + data + b"}"


def split(whole: bytes) -> tuple[bytes, bytes]:
    """The stored envelope and data of a joined event, byte for byte.

    The envelope has no member `data`, and inside JSON strings quotes are escaped, so the first match is the seam.
    """
    meta, _, rest = whole.partition(b',"data":')
    return meta + b"}", rest[:-1]


def decode_joined(whole: bytes) -> Event:
    """The inverse of `join`, for listeners on the live bus. Errors as `decode_event`."""
    return decode_event(*split(whole))
