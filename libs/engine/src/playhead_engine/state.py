"""What an execution is at a version: the fold of its events. See `folding` for how it comes about."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from playhead_contracts.events import (
    Actor,
    BlockError,
    BlockReference,
    ChildFork,
    Cutoff,
    Expiry,
    ForkSource,
    Json,
    MatchedEvent,
    Mode,
    Parent,
    PauseAction,
    Personal,
    Quorum,
    Watch,
)
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId, TenantId, WorkflowId


class ExecutionStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


ENDED = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)


class BlockStatus(StrEnum):
    RUNNING = "running"
    """In flight at its executor; or, for a container, at work on its iterations."""
    WAITING = "waiting"
    """For time, for an event, or for a child execution."""
    PAUSED = "paused"
    RETRYING = "retrying"
    """An attempt failed, and the next one follows when its time has come."""
    DISPATCHED = "dispatched"
    """A remote worker has it, or will take it."""
    INTERRUPTED = "interrupted"
    """It was in flight when its executor was lost; whether it acted is not known."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


SETTLED = frozenset({BlockStatus.COMPLETED, BlockStatus.FAILED, BlockStatus.SKIPPED})


class TaskState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Work that was given to a remote worker, and what came back."""

    task_id: str
    task: str
    """Its type, which workers subscribe to."""
    is_answered: bool = False
    outputs: Json = None
    error: BlockError | None = None
    worker: str | None = None


ChildStatus = Literal["starting", "running", "paused", "completed", "failed", "cancelled", "timed_out"]


class ChildState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The child execution of a `workflow` block, as far as its parent has been told."""

    execution_id: ExecutionId
    status: ChildStatus = "starting"
    pauses: tuple[PauseId, ...] = ()
    """The pauses of the child, and of its own children, that wait for people."""
    outputs: Json = None
    error: BlockError | None = None


class BlockState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One block instance. It has no entry in the state until something is known of it."""

    path: BlockPath
    status: BlockStatus
    attempt: int = 1
    retries: int = 0
    """How many attempts failed and were followed by another. A crash counts as an attempt, and not as a retry."""
    inputs: dict[str, Json] | None = None
    outputs: Json = None
    decision: tuple[str, ...] | None = None
    variables: dict[str, Json] | None = None
    error: BlockError | None = None
    handled: bool = False
    continues: bool = False
    """It did not complete, and its plain edges are active all the same."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    until: datetime | None = None
    """When a wait is over, or the next attempt begins."""
    deadline: datetime | None = None
    pause_id: PauseId | None = None
    task: TaskState | None = None
    child: ChildState | None = None
    watch: Watch | None = None
    matched: tuple[MatchedEvent, ...] = ()
    steps: dict[str, Json] = {}
    """What the durable steps inside the block gave, by name."""
    reason: str | None = None
    reused_from: BlockReference | None = None
    overridden: bool = False
    """What it gives was said by whoever made the fork."""
    version: int = 0
    """Version of the event that brought it to its status."""


class ContainerState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A loop or a parallel that has begun and not ended. Its items are in the inputs of its block."""

    kind: Literal["loop", "parallel"]
    count: int | None = None
    concurrency: int = 1
    begun: int = 0
    """How many iterations have had their turn to begin; they do so in order."""
    open: list[int] = []
    """The iterations that may be at work: begun, and not over."""
    results: list[Json] = []
    errors: dict[int, BlockError] = {}
    variables: dict[str, Json] = {}
    """What blocks inside have set, so that a fork which takes the container over has it, too."""
    closing: bool = False
    """No further iteration begins."""
    reused: list[int] = []
    """The iterations that a fork took over, which never begin."""

    def open_next(self) -> None:
        """Let the next iteration that was not taken over have its turn, if there is one."""
        while self.begun in self.reused:
            self.begun += 1
        if self.count is None or self.begun < self.count:
            self.open.append(self.begun)
            self.begun += 1


class IterationState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An open iteration of a container of which something is known."""

    settled: list[BlockPath] = []
    failed: BlockPath | None = None
    """The block whose failure nobody in the iteration handles: nothing new starts in it."""


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How many block instances have settled, by how."""

    run: int = 0
    reused: int = 0
    skipped: int = 0
    failed: int = 0


PauseStatus = Literal["open", "answered", "closed", "expired"]


class Vote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one of several people who must agree has said."""

    by: Actor
    at: datetime
    action: str | None = None
    answer: dict[str, Json] = {}
    comment: str | None = None
    on_behalf_of: str | None = None
    key: str | None = None


class Delegation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody passed their right to answer on."""

    by: Actor
    to: str
    at: datetime
    reason: str | None = None


class PauseState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to people, and what became of it. See `PauseRequested` for what is asked."""

    pause_id: PauseId
    path: BlockPath
    status: PauseStatus
    message: str
    digest: str
    requested_at: datetime
    form: dict[str, Json] | None = None
    show: dict[str, Json] = {}
    order: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    actions: tuple[PauseAction, ...] = ()
    assignees: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    quorum: Quorum | None = None
    expires_at: datetime | None = None
    remind_at: datetime | None = None
    """When people are to be reminded; None once they have been."""
    on_expiry: Expiry | None = None
    notify: tuple[str, ...] = ()
    votes: tuple[Vote, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    escalations: int = 0
    answer: dict[str, Json] | None = None
    action: str | None = None
    comment: str | None = None
    on_behalf_of: str | None = None
    key: str | None = None
    """Digest of the Idempotency-Key of the answer."""
    resolved_by: Actor | None = None
    resolved_at: datetime | None = None
    resolved_version: int | None = None
    reason: str | None = None


class Stop(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why nothing new starts any more. The first cause stands; the end follows when nothing is in flight."""

    kind: Literal["response", "failure", "cancel", "timeout"]
    path: BlockPath | None = None
    reason: str | None = None


class ExecutionState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The whole of one execution at `version`. Its JSON is what `GET .../state` and the read model show."""

    execution_id: ExecutionId
    tenant: TenantId
    workflow_id: WorkflowId
    workflow_version: int
    digest: str
    status: ExecutionStatus
    version: int
    created_at: datetime
    updated_at: datetime
    created_by: Actor
    mode: Mode
    input: Json = None
    variables: dict[str, Json] = {}
    """As they are now; `initial_variables` is what the execution began with."""
    initial_variables: dict[str, Json] = {}
    outputs_asked: tuple[str, ...] | None = None
    source: ForkSource | None = None
    plan: Json = None
    fingerprint: str | None = None
    deadline: datetime | None = None
    max_concurrency: int | None = None
    parent: Parent | None = None
    depth: int = 0
    cutoff: dict[BlockPath, Cutoff] = {}
    """The blocks that may be taken over after all: see `Cutoff`."""
    child_forks: dict[BlockPath, ChildFork] = {}
    personal: Personal | None = None
    """What of its facts is sealed: see `privacy`."""
    started_by: Actor | None = None
    """For a child: who started the execution that is above all others."""
    traceparent: str | None = None
    """Where in which trace it was created, if anybody traced that."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    epoch: int = 0
    owner: str | None = None
    """The executor of the newest claim, while it has not let go."""
    claim_command: str | None = None
    idle_claims: int = 0
    """Claims over lost executors since a block last settled: a poisoned execution shows here."""
    dead_lettered: str | None = None
    asked: bool = False
    """It is a child, and told its parent that people are asked; it has not gone on since."""
    due_at: datetime | None = None
    """While paused: when the earliest timer is due."""
    unheeded: int = 0
    """Facts of others (answers, a cancel) that no executor has acted on yet."""
    stop: Stop | None = None
    output: Json = None
    http_status: int | None = None
    error: BlockError | None = None
    failed_block: BlockPath | None = None
    blocks: dict[BlockPath, BlockState] = {}
    """All block instances, but for the oldest ones of iterations that are over: `KEPT_INSTANCES` of those stay."""
    pauses: dict[PauseId, PauseState] = {}
    containers: dict[BlockPath, ContainerState] = {}
    iterations: dict[str, IterationState] = {}
    """The open iterations by path, such as `each[2]`."""
    finished: list[BlockPath] = []
    """The instances of iterations that are over and still in `blocks`, oldest first."""
    forgotten: int = 0
    """How many instances of iterations that are over are no longer in `blocks`."""
    running: set[BlockPath] = set()
    """In flight at the executor. Containers are not: what is in them is."""
    waiting: set[BlockPath] = set()
    """Not in flight, and not settled: waiting for people, time, workers, events or children."""
    settled: int = 0
    """Blocks of the outermost graph that have settled."""
    counts: Counts = msgspec.field(default_factory=Counts)

    @property
    def starter(self) -> Actor:
        """The person or key that started it, or the execution that it is a part of."""
        return self.started_by or self.created_by

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    def open_pauses(self) -> list[PauseState]:
        """The questions of this execution itself that wait for an answer."""
        waiting = (self.blocks[path].pause_id for path in self.waiting)
        found = (self.pauses[pause_id] for pause_id in waiting if pause_id is not None)
        return sorted((pause for pause in found if pause.status == "open"), key=lambda pause: pause.pause_id)

    def asked_pauses(self) -> tuple[PauseId, ...]:
        """Every pause that somebody is asked to answer, those of child executions included."""
        own = tuple(pause.pause_id for pause in self.open_pauses())
        children = (self.blocks[path].child for path in sorted(self.waiting))
        return own + tuple(pause_id for child in children if child is not None for pause_id in child.pauses)


KEPT_INSTANCES = 500
"""How many block instances of iterations that are over stay in the state: a long loop must not make it grow.

The log has all of them, and so has the read model `block_states`.
"""


def scope_of_path(path: BlockPath) -> str:
    """The iteration that an instance is in, such as `each[2]`; empty for a block of the outermost graph."""
    end = path.rfind("/")
    return path[:end] if end > 0 else ""


def container_of_scope(scope: str) -> tuple[BlockPath, int]:
    """The container and the index of an iteration: `each[2]` is iteration 2 of `each`."""
    start = scope.rfind("[")
    return BlockPath(scope[:start]), int(scope[start + 1 : -1])
