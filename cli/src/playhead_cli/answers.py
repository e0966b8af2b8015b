"""What the gateway answers, as far as the command line reads it. Members it does not know are passed over."""

from datetime import datetime

import msgspec

from playhead_contracts.events import Actor, BlockReference, Json


class Fault(msgspec.Struct, frozen=True):
    pointer: str = ""
    detail: str = ""
    hint: str | None = None


class ProblemDocument(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """An RFC 9457 problem."""

    title: str = "The gateway refused"
    status: int = 0
    detail: str | None = None
    kind: str = "about:blank"
    errors: tuple[Fault, ...] = ()


class Forgotten(msgspec.Struct, frozen=True):
    key_ids: tuple[str, ...]
    executions: int
    cancelled: tuple[str, ...] = ()


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did."""

    position: int
    at: datetime
    operation: str
    actor: Actor
    workflow_id: str | None = None
    execution_id: str | None = None
    details: dict[str, Json] = {}


class AuditPage(msgspec.Struct, frozen=True):
    items: tuple[Audited, ...]
    next_cursor: str | None = None


class Published(msgspec.Struct, frozen=True):
    workflow_id: str
    version: int
    digest: str


class PublishedTrigger(msgspec.Struct, frozen=True):
    trigger_id: str
    version: int
    digest: str
    warnings: tuple[Fault, ...] = ()


class TriggerCounts(msgspec.Struct, frozen=True):
    matched: int
    started: int
    refused: int
    due: int
    repeated: int
    failed: int
    last_position: int | None = None
    last_error: str | None = None


class TriggerInfo(msgspec.Struct, frozen=True):
    trigger_id: str
    version: int
    workflow_id: str
    subject: str
    enabled: bool
    counts: TriggerCounts


class Triggers(msgspec.Struct, frozen=True):
    items: list[TriggerInfo]


class Validation(msgspec.Struct, frozen=True):
    valid: bool
    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


class ActionShown(msgspec.Struct, frozen=True):
    name: str
    label: str | None = None
    denies: bool = False
    form: dict[str, Json] | None = None


class OpenPause(msgspec.Struct, frozen=True, kw_only=True):
    """A question. `execution_id` is that of a child execution, if that is who asks."""

    pause_id: str
    execution_id: str
    path: str
    message: str
    form: dict[str, Json] | None = None
    show: dict[str, Json] | None = None
    order: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    actions: tuple[ActionShown, ...] = ()
    assignees: tuple[str, ...] = ()
    expires_at: datetime | None = None


class InboxPause(OpenPause, frozen=True, kw_only=True):
    workflow_id: str
    status: str
    votes: int = 0
    votes_needed: int | None = None


class PauseCounts(msgspec.Struct, frozen=True, kw_only=True):
    open: int = 0
    answered: int = 0
    closed: int = 0
    expired: int = 0
    due_within_a_day: int = 0
    next_due: datetime | None = None


class PauseShown(msgspec.Struct, frozen=True, kw_only=True):
    """A pause with everything that a person needs to answer it."""

    pause_id: str
    execution_id: str
    status: str
    message: str
    digest: str
    form: dict[str, Json] | None = None
    show: dict[str, Json] = {}
    order: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    actions: tuple[ActionShown, ...] = ()


class IssuedLink(msgspec.Struct, frozen=True, kw_only=True, rename={"subject": "for"}):
    url: str
    subject: str | None
    expires_at: datetime


class Counts(msgspec.Struct, frozen=True):
    run: int = 0
    reused: int = 0
    skipped: int = 0
    failed: int = 0


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    blocks: Counts = Counts()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message: str
    block: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """An execution. With mode `async` only the ids and the status are known."""

    execution_id: str
    workflow_id: str = ""
    version: int = 0
    status: str
    output: Json = None
    error: Failure | None = None
    pauses: tuple[OpenPause, ...] = ()
    metadata: Metadata = Metadata()


class ExecutionLine(msgspec.Struct, frozen=True, kw_only=True):
    execution_id: str
    workflow_id: str
    version: int
    status: str
    created_at: datetime
    open_pauses: int = 0
    blocks: Counts = Counts()


class Executions(msgspec.Struct, frozen=True):
    items: tuple[ExecutionLine, ...]
    next_cursor: str | None = None


class Inbox(msgspec.Struct, frozen=True):
    items: tuple[InboxPause, ...]
    counts: PauseCounts = PauseCounts()
    next_cursor: str | None = None


class Frames(msgspec.Struct, frozen=True):
    """A page of events, byte for byte. `next_after` is the version to ask on from; None at the end."""

    items: tuple[msgspec.Raw, ...]
    next_after: int | None = None


class BlockNow(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    attempt: int = 1
    outputs: Json = None
    reused_from: BlockReference | None = None


class PauseNow(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    path: str
    answer: dict[str, Json] | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """An execution at a version."""

    execution_id: str
    status: str
    version: int
    updated_at: datetime
    output: Json = None
    blocks: dict[str, BlockNow] = {}
    pauses: dict[str, PauseNow] = {}


class PlanReason(msgspec.Struct, frozen=True, kw_only=True):
    why: str
    of: str | None = None
    detail: str | None = None


class PlannedBlock(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    action: str
    reasons: tuple[PlanReason, ...] = ()
    effects: str = "none"
    asks: bool = False
    may_be_cut_off: bool = False
    iterations_reused: tuple[int, ...] = ()
    blocks: tuple["PlannedBlock", ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    from_block: str
    digest: str
    scope: tuple[str, ...]
    reused: tuple[str, ...]
    repeats: tuple[str, ...] = ()
    asks_again: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    blocks: tuple[PlannedBlock, ...]


class Planned(msgspec.Struct, frozen=True):
    """The answer to a dry run."""

    plan: Plan


class ComparedBlock(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    verdict: str
    a_status: str | None = None
    b_status: str | None = None
    a_outputs: Json = None
    b_outputs: Json = None


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What b took over from a."""

    blocks: int
    duration_ms: float
    external: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    a: str
    b: str
    same_output: bool
    blocks: tuple[ComparedBlock, ...]
    saved: Saved | None = None


class ForkPoint(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    from_block: str


class LineageNode(msgspec.Struct, frozen=True, kw_only=True):
    execution_id: str
    status: str
    created_at: datetime
    source: ForkPoint | None = None
    forks: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """The tree of forks that an execution is in."""

    execution_id: str
    root: str
    executions: tuple[LineageNode, ...]
    truncated: bool = False


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    url: str
    events: tuple[str, ...]
    workflows: tuple[str, ...] | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


class Webhooks(msgspec.Struct, frozen=True):
    items: tuple[Webhook, ...]


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that was made or has a new secret."""

    name: str
    secret: str
    old_secret_until: datetime | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook; `attempts` has one entry for each time it was sent."""

    delivery_id: str
    webhook: str
    event: str
    status: str
    attempts: tuple[Json, ...]
    error: str | None = None
    next_attempt_at: datetime | None = None
    created_at: datetime


class Deliveries(msgspec.Struct, frozen=True):
    items: tuple[Delivery, ...]
    next_cursor: str | None = None
