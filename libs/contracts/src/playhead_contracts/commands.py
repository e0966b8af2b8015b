"""Commands: what somebody wants. A command on the bus is a nudge; the log is the promise.

All of them end in the same question to an executor, "look at this execution", so that losing, repeating or
reordering them can not change what becomes true. `kind` is the last token of the subject.
"""

from typing import Literal

import msgspec

from playhead_contracts.events import Actor, BlockError, Json, Utc
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId, TenantId, WorkflowId


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every command says: whose execution is meant, and under which name the command is known."""

    id: str
    """Also the `Nats-Msg-Id`; claims name it, which tells a redelivery of a lease from any other command."""
    tenant: TenantId
    execution_id: ExecutionId
    traceparent: str | None = None
    failures: int = 0
    """How often handling it ended in an unexpected error. Deliveries are not counted: an outage is no failure."""

    @classmethod
    def kind(cls) -> str:
        return str(cls.__struct_config__.tag)


class Run(Command, frozen=True, kw_only=True, tag="run"):
    """Start a created execution. `created` may carry the stored bytes of `execution.created` (see `events.join`),
    which spares the executor a read; the log checks them by their hash when the executor claims."""

    created: str | None = None


class Resume(Command, frozen=True, kw_only=True, tag="resume"):
    """A pause was answered: go on."""

    pause_id: PauseId


class Cancel(Command, frozen=True, kw_only=True, tag="cancel"):
    """A cancel was recorded: stop."""


class Wake(Command, frozen=True, kw_only=True, tag="wake"):
    """A timer is due, or the reconciler found that something is due and nobody is at it."""

    timer: str | None = None


class TaskResult(Command, frozen=True, kw_only=True, tag="task_result"):
    """What a remote worker made of a task: `outputs`, or `error`. `path` and `task_id` are as in the task.

    `reply_to` is a subject to which a `TaskResultReply` is sent when the result has been taken or refused.
    """

    path: BlockPath
    task_id: str
    outputs: Json = None
    error: BlockError | None = None
    worker: str | None = None
    reply_to: str | None = None


AnyCommand = Run | Resume | Cancel | Wake | TaskResult


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Work for a remote worker, on `playhead.task.<tenant>.<task>`. Who takes it keeps it by in-progress acks."""

    task_id: str
    task: str
    tenant: TenantId
    execution_id: ExecutionId
    workflow_id: WorkflowId
    path: BlockPath
    attempt: int
    inputs: dict[str, Json]
    idempotency_key: str
    """The same for every attempt at this block, so that outside it is done once."""
    deadline: Utc | None = None
    traceparent: str | None = None


class TaskResultReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a worker's result was taken. `accepted` also for the very same result again; else `reason` says why."""

    accepted: bool
    reason: str | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of what a block is about to give, for who is listening; never in the log, and kept for some minutes.

    One JSON line on the execution's chunk subject, from where the bus passes it on to the live subject; there it is
    told from an event by `"chunk":true`. `index` counts from 0 in each attempt at a block.
    """

    execution_id: ExecutionId
    path: BlockPath
    attempt: int
    index: int
    content: Json
    chunk: Literal[True] = True


class AnswerPause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request to `hitl`: this person's answer to this pause."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    answer: dict[str, Json]
    actor: Actor
    action: str | None = None
    comment: str | None = None
    digest: str | None = None
    """Of the proposal that they saw."""
    key: str | None = None
    """Digest of their Idempotency-Key."""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    anonymous: bool = False
    """Nobody knows who they are: they hold a link that names no person."""
    traceparent: str | None = None


class ExtendPause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request to `hitl`: give people time until `expires_at`."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    expires_at: Utc
    actor: Actor
    is_operator: bool = False
    reason: str | None = None
    traceparent: str | None = None


class DelegatePause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request to `hitl`: let `to` answer in the place of the actor."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    to: str
    actor: Actor
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    reason: str | None = None
    traceparent: str | None = None


class PauseAnswered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply of `hitl` when the answer stands. `repeated` says that it already stood before.

    `missing` is how many more people must take the same action, when the answer is a vote that does not decide yet.
    """

    version: int
    repeated: bool
    answered_by: Actor
    answered_at: Utc
    action: str | None = None
    missing: int = 0


class PauseChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply of `hitl` to an extension or a delegation that holds."""

    version: int
    repeated: bool = False


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of a service that refused a request: a problem document (see `problems`), as JSON text."""

    problem: str
    status: int


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """To the executor that holds an execution: the log has something new for you."""

    execution_id: ExecutionId


class NudgeReply(msgspec.Struct, frozen=True, kw_only=True):
    """Of the executor that was nudged."""

    held: bool
    """False: this executor does not hold the execution (any more)."""
