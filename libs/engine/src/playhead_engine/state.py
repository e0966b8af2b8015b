"""What an execution is at a version: the fold of its events. See `fold.py` for how it comes about."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from playhead_contracts.events import Actor, BlockError, BlockReference, ForkSource, Json, Mode
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
    WAITING = "waiting"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    """It was in flight when its executor was lost; whether it acted is not known."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


SETTLED = frozenset({BlockStatus.COMPLETED, BlockStatus.FAILED, BlockStatus.SKIPPED})


class BlockState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One block instance. It has no entry in the state until something is known of it."""

    path: BlockPath
    status: BlockStatus
    attempt: int = 1
    inputs: dict[str, Json] | None = None
    outputs: Json = None
    decision: tuple[str, ...] | None = None
    error: BlockError | None = None
    handled: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    until: datetime | None = None
    pause_id: PauseId | None = None
    reason: str | None = None
    reused_from: BlockReference | None = None
    version: int = 0
    """Version of the event that brought it to its status."""


PauseStatus = Literal["open", "answered", "closed", "expired"]


class PauseState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to people, and what became of it."""

    pause_id: PauseId
    path: BlockPath
    status: PauseStatus
    message: str
    digest: str
    requested_at: datetime
    form: dict[str, Json] | None = None
    show: dict[str, Json] = {}
    assignees: tuple[str, ...] = ()
    expires_at: datetime | None = None
    answer: dict[str, Json] | None = None
    resolved_by: Actor | None = None
    resolved_at: datetime | None = None
    resolved_version: int | None = None
    reason: str | None = None


class Stop(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why nothing new starts any more. The first cause stands; the end follows when nothing is in flight."""

    kind: Literal["response", "failure", "cancel"]
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
    outputs_asked: tuple[str, ...] | None = None
    source: ForkSource | None = None
    plan: Json = None
    fingerprint: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    epoch: int = 0
    owner: str | None = None
    """The executor of the newest claim, while it has not let go."""
    claim_command: str | None = None
    idle_claims: int = 0
    """Claims over lost executors since a block last settled: a poisoned execution shows here."""
    dead_lettered: str | None = None
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
    pauses: dict[PauseId, PauseState] = {}
    running: set[BlockPath] = set()
    settled: int = 0

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    def open_pauses(self) -> list[PauseState]:
        return [pause for pause in self.pauses.values() if pause.status == "open"]
