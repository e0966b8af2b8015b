"""Commands: what somebody wants. A command on the bus is a nudge; the log is the promise.

All of them end in the same question to an executor, "look at this execution", so that losing, repeating or
reordering them can not change what becomes true. `kind` is the last token of the subject.
"""

import msgspec

from playhead_contracts.events import Actor, Json, Utc
from playhead_contracts.ids import ExecutionId, PauseId, TenantId


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


AnyCommand = Run | Resume | Cancel | Wake


class AnswerPause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request to `hitl`: this person's answer to this pause."""

    tenant: TenantId
    execution_id: ExecutionId
    pause_id: PauseId
    answer: dict[str, Json]
    actor: Actor
    digest: str | None = None


class PauseAnswered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply of `hitl` when the answer stands. `repeated` says that it already stood before."""

    version: int
    repeated: bool
    answered_by: Actor
    answered_at: Utc


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of a service that refused a request: a problem document (see `problems`), as JSON text."""

    problem: str
    status: int


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """To the executor that holds an execution: the log has something new for you."""

    execution_id: ExecutionId


class NudgeReply(msgspec.Struct, frozen=True, kw_only=True):
    held: bool
    """False: this executor does not hold the execution (any more)."""
