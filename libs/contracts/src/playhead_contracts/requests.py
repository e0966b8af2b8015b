"""What clients ask for: the bodies that HTTP and the bus have in common, and the commands and answers of the bus.

A command on `playhead.cmd.<tenant>.<kind>` is the body of the HTTP call, with the ids that stand in the URL there, and
says where the answers go. They are, each as JSON: a `Receipt` once it is recorded, then a `Result`; or one `Refused`.
What is not known is refused, never ignored.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.events import Json, Mode, TriggeredBy
from playhead_contracts.ids import ExecutionId, PauseId, WorkflowId

IDEMPOTENCY_HEADER = "Idempotency-Key"
REPLY_TO_HEADER = "Playhead-Reply-To"

Wish = Literal["receipt", "result"]
"""Which answers are wanted: the receipt alone, or the result as well."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON object that a call takes."""


class RunBody(Body, frozen=True, kw_only=True):
    """What to start a workflow with. `timeout` is a duration, such as `30s`."""

    input: Json = None
    mode: Mode | None = None
    """How to answer over HTTP; without it the headers `Accept` and `Prefer` say, and without these it is `sync`.

    Over the bus it is only noted, for later calls over HTTP: there the answers go where `reply_to` says.
    """
    outputs: tuple[str, ...] | None = None
    variables: dict[str, Json] = {}
    version: int | None = None
    timeout: str | None = None
    max_concurrency: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ResumeBody(Body, frozen=True, kw_only=True):
    """An answer to a pause."""

    input: dict[str, Json] = {}
    action: str | None = None
    comment: str | None = None
    digest: str | None = None


class CancelBody(Body, frozen=True, kw_only=True):
    reason: str | None = None


class RerunBody(Body, frozen=True, kw_only=True):
    """What to run again: from these blocks or iterations, and what a changed input, variable or definition touches.

    `override` says what blocks give, in place of what they gave; `plan_digest` is that of the plan that was seen.
    """

    from_block: str | tuple[str, ...] = ()
    until_block: str | None = None
    input: Json | UnsetType = UNSET
    variables: dict[str, Json] | UnsetType = UNSET
    override: dict[str, Json] = {}
    at_version: int | None = None
    definition: Literal["same", "latest"] = "same"
    early_cutoff: bool = False
    dry_run: bool = False
    plan_digest: str | None = None
    mode: Mode | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.from_block,) if isinstance(self.from_block, str) else self.from_block


class RunRequest(RunBody, frozen=True, kw_only=True):
    """The command `run`. `id` makes a repeat the same execution; the header `Idempotency-Key` goes before it."""

    workflow_id: WorkflowId
    id: str | None = None
    reply_to: str | None = None
    reply: Wish = "result"


class ResumeRequest(ResumeBody, frozen=True, kw_only=True):
    """The command `resume`."""

    execution_id: ExecutionId
    pause_id: PauseId
    id: str | None = None
    reply_to: str | None = None
    reply: Wish = "result"


class CancelRequest(CancelBody, frozen=True, kw_only=True):
    """The command `cancel`. Its result comes when the execution has ended."""

    execution_id: ExecutionId
    id: str | None = None
    reply_to: str | None = None
    reply: Wish = "result"


class RerunRequest(RerunBody, frozen=True, kw_only=True):
    """The command `rerun`. A dry run has a result at once, and no receipt."""

    execution_id: ExecutionId
    id: str | None = None
    reply_to: str | None = None
    reply: Wish = "result"


class TriggeredRun(RunRequest, frozen=True, kw_only=True):
    """A `run` for an event that a trigger is for. Between our services: its subject is not one for clients."""

    trigger: TriggeredBy


AnyRequest = RunRequest | ResumeRequest | CancelRequest | RerunRequest | TriggeredRun

TRIGGERED = "triggered"
"""The kind of `TriggeredRun`."""
REQUESTS: dict[str, type[AnyRequest]] = {
    "run": RunRequest,
    "resume": ResumeRequest,
    "cancel": CancelRequest,
    "rerun": RerunRequest,
}
"""The commands of clients by their kind, which is the last token of the subject."""
ADMITTED: dict[str, type[AnyRequest]] = {**REQUESTS, TRIGGERED: TriggeredRun}
"""All that gateways admit."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag="receipt", tag_field="type"):
    """The command is recorded, and will be done. `status` and `body` are those of the HTTP call that does not wait.

    `repeated`: it had been recorded before, by this command when it was delivered once already, or by another one of
    the same idempotency key.
    """

    command_id: str
    status: int
    body: Json
    repeated: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True, tag="result", tag_field="type"):
    """What came of it: the execution has ended, or waits for people. As the HTTP call that waits answers.

    A result that is larger than a message of the bus comes with status 413 and the body of the receipt, whose links say
    where to get it.
    """

    command_id: str
    status: int
    body: Json


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", tag_field="type"):
    """Nothing was recorded; `problem` says why (RFC 9457). The command is kept with the dead letters."""

    command_id: str
    status: int
    problem: dict[str, Json]


Answer = Receipt | Result | Refused
