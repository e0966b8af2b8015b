"""Events: what is true. Each is immutable; old ones decode for ever.

An event is an `Envelope` (who, where, when) and its data, a tagged union on `type`. Both are encoded once, with
sorted keys, and those very bytes are stored, hashed, copied to the bus and shown to clients.
Change is additive only: a new field has a default; anything else is a new `schema_version` with an upcaster.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from playhead_contracts.ids import BlockPath, EventId, ExecutionId, PauseId, StreamId, TenantId, WorkflowId

Utc = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone; RFC 3339 on the wire, in UTC."""

Json = Any
"""A JSON value as msgspec decodes it: None, bool, int, float, str, list or dict."""

Mode = Literal["sync", "async", "stream"]


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who made a fact true: a person, a key, or a part of the system."""

    kind: Literal["person", "key", "system"]
    name: str
    channel: str | None = None


class BlockError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a block failed, for people and for `on_error` branches."""

    type: str
    message: str
    retryable: bool = False
    details: dict[str, Json] = {}
    retry_after_seconds: float | None = None
    """How long the other side asked to be left alone."""


class ForkSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an execution made by run-from-block comes from: the fact at `version` was the last one seen."""

    execution_id: ExecutionId
    version: int
    from_block: str
    """The block, or the blocks with commas between them."""


class BlockReference(msgspec.Struct, frozen=True):
    """The event that holds what is reused: a `block.completed`, the `block.started` of a container, or an
    `iteration.completed`. Always the original, never a copy."""

    execution_id: ExecutionId
    version: int


class Cutoff(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a fork may take over in place of running a block, once the blocks it depends on have given the same again.

    `after` has for each of these the digest of what it gave in the source.
    """

    reference: BlockReference
    after: dict[BlockPath, str]
    decision: tuple[str, ...] | None = None
    variables: dict[str, Json] | None = None


class ChildFork(msgspec.Struct, frozen=True):
    """A child execution that is not started anew by a fork, but run again from one of its own blocks."""

    execution_id: ExecutionId
    """The child as it was."""
    from_block: str


class Parent(msgspec.Struct, frozen=True):
    """The `workflow` block that started a child execution."""

    execution_id: ExecutionId
    path: BlockPath


class ContainerStart(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a loop or parallel runs. Its items, if it has any, are `inputs["items"]` of the same event.

    `count` is None when the number of iterations is not known beforehand; `concurrency` is how many are open at once.
    """

    kind: Literal["loop", "parallel"]
    count: int | None = None
    concurrency: int = 1


class WatchedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that is waited for: `type` as on the bus, and a CEL expression over `event` and `Watch.captured`."""

    type: str | None = None
    match: str | None = None


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The events that a `wait` block waits for: those of the tenant's log from a place on, early ones included.

    That place is after `position`; or, if there is none, the beginning of the execution (`start`) or of the block
    (`now`).
    """

    events: tuple[WatchedEvent, ...]
    need: Literal["any", "all"]
    since: Literal["start", "now"] = "start"
    position: int | None = None
    captured: dict[str, Json] = {}
    """What the filters read of the execution when the block began, by root; `absent` are blocks that gave nothing."""


class MatchedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that a `wait` block waited for. `number` is its place in `Watch.events`."""

    number: int
    position: int
    type: str
    source: str
    id: str
    subject: str | None = None
    time: Utc | None = None
    data: Json = None


class PauseAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that people can decide about a pause."""

    name: str
    label: str | None = None
    denies: bool = False
    """It says no: it needs no answer to the form, and may veto a quorum."""
    form: dict[str, Json] | None = None
    """What is asked for this action, in place of the form of the pause."""


class Quorum(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many different people must take the same action before it counts."""

    needed: int
    deny_vetoes: bool = False


class Expiry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What follows when nobody has answered in time: an answer, or others who may answer, too.

    `then` is what follows when these have not answered within `after_seconds` either; None: the block fails.
    """

    kind: Literal["answer", "escalate"]
    answer: dict[str, Json] = {}
    action: str | None = None
    assignees: tuple[str, ...] = ()
    after_seconds: float | None = None
    then: "Expiry | None" = None


class Streamed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a block told on its way to its outputs: how many pieces, and how their text begins if all were text."""

    chunks: int
    text: str | None = None


class BlobReference(msgspec.Struct, frozen=True):
    """A large value that the log keeps beside the event, under the sha256 of its JSON as it is stored."""

    digest: str
    size_bytes: int


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every kind of event data has in common: its `type` is the tag."""

    @classmethod
    def type_name(cls) -> str:
        return str(cls.__struct_config__.tag)


class WithBlobs(Data, frozen=True, kw_only=True):
    """Data of which large fields are stored apart: `blobs` has the reference of each such field, by its name.

    Readers of the log get the fields filled in, and `blobs` as well.
    """

    blobs: dict[str, BlobReference] = {}


class ExecutionCreated(WithBlobs, frozen=True, kw_only=True, tag="execution.created"):
    workflow_id: WorkflowId
    workflow_version: int
    digest: str
    input: Json = None
    variables: dict[str, Json] = {}
    mode: Mode = "async"
    outputs: tuple[str, ...] | None = None
    source: ForkSource | None = None
    plan: Json = None
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


class ExecutionPaused(Data, frozen=True, kw_only=True, tag="execution.paused"):
    """The executor lets go: nothing can run until a pause is answered or a timer is due."""

    epoch: int
    pauses: tuple[PauseId, ...] = ()
    due_at: Utc | None = None
    parent: Parent | None = None
    """Set when the execution is a child and people are asked: its parent is told."""


class ExecutionCompleted(WithBlobs, frozen=True, kw_only=True, tag="execution.completed"):
    output: Json = None
    http_status: int | None = None
    parent: Parent | None = None


class ExecutionFailed(Data, frozen=True, kw_only=True, tag="execution.failed"):
    error: BlockError
    block: BlockPath | None = None
    parent: Parent | None = None


class ExecutionCancelRequested(Data, frozen=True, kw_only=True, tag="execution.cancel_requested"):
    reason: str | None = None


class ExecutionCancelled(Data, frozen=True, kw_only=True, tag="execution.cancelled"):
    reason: str | None = None
    parent: Parent | None = None


class ExecutionTimedOut(Data, frozen=True, kw_only=True, tag="execution.timed_out"):
    deadline: Utc
    parent: Parent | None = None


class ExecutionDeadLettered(Data, frozen=True, kw_only=True, tag="execution.dead_lettered"):
    """Its command was given up after too many failures. Not an end: re-driving the dead letter goes on from here."""

    command: str
    failures: int
    error: str


class BlockStarted(WithBlobs, frozen=True, kw_only=True, tag="block.started"):
    path: BlockPath
    attempt: int = 1
    inputs: dict[str, Json] = {}
    until: Utc | None = None
    """For a `wait` block: when it is over."""
    deadline: Utc | None = None
    """When a container, a child execution or a wait for events fails with `timeout`."""
    container: ContainerStart | None = None
    watch: Watch | None = None
    child: ExecutionId | None = None
    """For a `workflow` block: the execution that it starts. Told before it is created, so that none is lost."""


class BlockCompleted(WithBlobs, frozen=True, kw_only=True, tag="block.completed"):
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
    duration_ms: float = 0.0
    started_at: Utc | None = None
    inputs: dict[str, Json] | None = None
    child: ExecutionId | None = None
    """The child execution of the attempt that failed, which is no longer waited for, and is to be cancelled."""


class BlockSkipped(Data, frozen=True, kw_only=True, tag="block.skipped"):
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
    outputs: Json = None


class BlockDispatched(WithBlobs, frozen=True, kw_only=True, tag="block.dispatched"):
    """Work for a remote worker. `task_id` is what a result must name; it is new for each attempt."""

    path: BlockPath
    attempt: int
    task_id: str
    task: str
    inputs: dict[str, Json] = {}
    deadline: Utc | None = None


class IterationCompleted(WithBlobs, frozen=True, kw_only=True, tag="iteration.completed"):
    """One iteration of a loop, or one branch of a parallel, is over: `outputs` is its result, or `error` why not."""

    path: BlockPath
    index: int
    outputs: Json = None
    error: BlockError | None = None
    last: bool = False
    """The loop decided that no other follows."""


class TaskAnswered(WithBlobs, frozen=True, kw_only=True, tag="task.answered"):
    """What a remote worker made of its task: `outputs`, or `error`."""

    path: BlockPath
    task_id: str
    outputs: Json = None
    error: BlockError | None = None
    worker: str | None = None


class EventMatched(WithBlobs, frozen=True, kw_only=True, tag="event.matched"):
    """An event came that a `wait` block of this execution waits for."""

    path: BlockPath
    event: MatchedEvent


class EventPublished(Data, frozen=True, kw_only=True, tag="event.published"):
    """A CloudEvent that a `publish` block puts on the bus, where `event_type` is its type and `content` its data."""

    path: BlockPath
    event_id: str
    event_type: str
    content: Json = None
    subject: str | None = None


class EventReceived(Data, frozen=True, kw_only=True, tag="event.received"):
    """A CloudEvent from outside, taken into the log so that it has a place in the order of everything."""

    event_id: str
    event_type: str
    source: str
    content: Json = None
    subject: str | None = None
    time: Utc | None = None
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


class ChildResumed(Data, frozen=True, kw_only=True, tag="child.resumed"):
    """A child execution that waited for people goes on."""

    path: BlockPath
    child: ExecutionId


class ChildEnded(WithBlobs, frozen=True, kw_only=True, tag="child.ended"):
    """A child execution has ended: with `outputs`, or with `error`."""

    path: BlockPath
    child: ExecutionId
    status: Literal["completed", "failed", "cancelled", "timed_out"]
    outputs: Json = None
    error: BlockError | None = None


class BlockReused(Data, frozen=True, kw_only=True, tag="block.reused"):
    """A completed block of the source of a fork, taken over by reference."""

    path: BlockPath
    reference: BlockReference
    decision: tuple[str, ...] | None = None
    variables: dict[str, Json] | None = None
    outputs: Json = None
    """Never stored: the log fills it in from `reference` when it reads (see `playhead_eventlog`)."""


class BlockOverridden(WithBlobs, frozen=True, kw_only=True, tag="block.overridden"):
    """Whoever made a fork said what this block gives, in place of letting it run."""

    path: BlockPath
    outputs: Json = None
    decision: tuple[str, ...] | None = None


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
    reference: BlockReference
    variables: dict[str, Json] | None = None
    """What blocks inside of it had set."""
    outputs: Json = None
    """Never stored, as `error`: the log fills both in from `reference` when it reads."""
    error: BlockError | None = None


class PauseRequested(Data, frozen=True, kw_only=True, tag="pause.requested"):
    pause_id: PauseId
    path: BlockPath
    message: str
    digest: str
    """sha256 of the canonical JSON of what is shown and asked, so that an answer can be bound to it."""
    form: dict[str, Json] | None = None
    show: dict[str, Json] = {}
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
    answer: dict[str, Json] | None = None
    action: str | None = None
    comment: str | None = None
    digest: str | None = None
    """Of the proposal that the decision is about."""
    reason: str | None = None
    key: str | None = None
    on_behalf_of: str | None = None


class PauseExpired(Data, frozen=True, kw_only=True, tag="pause.expired"):
    """The time for an answer is over: the block fails, or what was said beforehand is the answer."""

    pause_id: PauseId
    path: BlockPath
    expired_at: Utc
    outcome: Literal["failed", "answered"] = "failed"
    answer: dict[str, Json] | None = None
    action: str | None = None


class PauseEscalated(Data, frozen=True, kw_only=True, tag="pause.escalated"):
    """Nobody has answered in time, and `assignees` may answer, too, until `expires_at`."""

    pause_id: PauseId
    path: BlockPath
    assignees: tuple[str, ...]
    expires_at: Utc | None = None
    on_expiry: Expiry | None = None


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
    reason: str | None = None


class PauseNotified(Data, frozen=True, kw_only=True, tag="pause.notified"):
    """What became of telling a webhook about a pause; `about` is the type of the event that it was told of."""

    pause_id: PauseId
    path: BlockPath
    delivery_id: str
    webhook: str
    about: str
    outcome: Literal["delivered", "failed"]
    attempts: int = 1
    status: int | None = None
    error: str | None = None


class WorkflowPublished(Data, frozen=True, kw_only=True, tag="workflow.published"):
    workflow_version: int
    digest: str
    document: dict[str, Json]


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


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything about an event but its data. Stored, as JSON with sorted keys, in the log's `meta` column."""

    id: EventId
    type: str
    schema_version: int
    tenant: TenantId
    stream_id: StreamId
    version: int
    recorded_at: Utc
    actor: Actor
    workflow_id: WorkflowId | None = None
    execution_id: ExecutionId | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None


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
_data_decoder: msgspec.json.Decoder[EventData] = msgspec.json.Decoder(EventData)
_envelope_decoder = msgspec.json.Decoder(Envelope)


def encode_data(data: EventData) -> bytes:
    """The bytes of an event's data that are stored and hashed: JSON with sorted keys."""
    return _encoder.encode(data)


def decode_data(data: bytes | str) -> EventData:
    """The inverse of `encode_data`. Raises msgspec.ValidationError for a type this version does not know."""
    return _data_decoder.decode(data)


def encode_envelope(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode_envelope(meta: bytes | str) -> Envelope:
    return _envelope_decoder.decode(meta)


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
    """The inverse of `join`, for listeners on the live bus."""
    meta, data = split(whole)
    return Event(envelope=decode_envelope(meta), data=decode_data(data))
