"""Names on the bus. Execution ids stay out of stored subjects: their number must not grow with executions."""

from playhead_contracts.ids import ExecutionId, TenantId, WorkflowId

COMMANDS_STREAM = "PLAYHEAD_COMMANDS"
EVENTS_STREAM = "PLAYHEAD_EVENTS"
TASKS_STREAM = "PLAYHEAD_TASKS"
DEAD_LETTERS_STREAM = "PLAYHEAD_DLQ"
CHUNKS_STREAM = "PLAYHEAD_CHUNKS"
INBOX_STREAM = "PLAYHEAD_INBOX"

COMMANDS_FILTER = "playhead.cmd.>"
EXECUTION_COMMANDS_FILTER = "playhead.exec.>"
TASK_RESULTS_FILTER = "playhead.cmd.*.task_result"
TIMERS_FILTER = "playhead.timer.>"
EVENTS_FILTER = "playhead.evt.>"
TASKS_FILTER = "playhead.task.>"
DEAD_LETTERS_FILTER = "playhead.dlq.>"
CHUNKS_FILTER = "playhead.chunk.*.*"
INBOX_FILTER = "playhead.in.>"

EXECUTOR_CONSUMER = "executor"
ADMISSION_CONSUMER = "admission"
INBOX_CONSUMER = "inbox"

ANSWER_REQUESTS = "playhead.rpc.hitl.answer"
"""Core NATS request/reply: `AnswerPause` -> `PauseAnswered` or `Rejected`."""
EXTEND_REQUESTS = "playhead.rpc.hitl.extend"
"""Core NATS request/reply: `ExtendPause` -> `PauseChanged` or `Rejected`."""
DELEGATE_REQUESTS = "playhead.rpc.hitl.delegate"
"""Core NATS request/reply: `DelegatePause` -> `PauseChanged` or `Rejected`."""


def command(tenant: TenantId, kind: str) -> str:
    """What clients want: `run`, `resume`, `cancel`, `rerun` go to the gateways, `task_result` to the executors.

    `triggered`, for the gateways too, is what triggers want; clients may not publish there.
    """
    return f"playhead.cmd.{tenant}.{kind}"


def execution_command(tenant: TenantId, kind: str) -> str:
    """What our services tell the executors about an execution that is in the log (`commands.Command`)."""
    return f"playhead.exec.{tenant}.{kind}"


def inbox(tenant: TenantId, event_type: str) -> str:
    """Where anybody may hand in a CloudEvent, e.g. `playhead.in.acme.payment.settled`."""
    return f"playhead.in.{tenant}.{event_type}"


def timer(tenant: TenantId, timer_id: str) -> str:
    return f"playhead.timer.{tenant}.{timer_id}"


def event(tenant: TenantId, workflow_id: WorkflowId, event_type: str) -> str:
    """E.g. `playhead.evt.acme.refunds.block.completed`."""
    return f"playhead.evt.{tenant}.{workflow_id}.{event_type}"


def events_of_tenant(tenant: TenantId) -> str:
    """All events of a tenant that are on the bus."""
    return f"playhead.evt.{tenant}.>"


def task(tenant: TenantId, task_type: str) -> str:
    return f"playhead.task.{tenant}.{task_type}"


def published(tenant: TenantId, workflow_id: WorkflowId, event_type: str) -> str:
    """Where the events of `publish` blocks go, e.g. `playhead.evt.acme.refunds.published.refund.approved`."""
    return f"playhead.evt.{tenant}.{workflow_id}.published.{event_type}"


def received(tenant: TenantId, event_type: str) -> str:
    """Where events from outside go, e.g. `playhead.evt.acme.received.payment.settled`."""
    return f"playhead.evt.{tenant}.received.{event_type}"


def live(tenant: TenantId, execution_id: ExecutionId) -> str:
    """Core NATS, not stored: one message per commit, one event per line (`events.join`), lossy by design."""
    return f"playhead.live.{tenant}.{execution_id}"


def live_of_tenant(tenant: TenantId) -> str:
    """What is told live of all executions of a tenant."""
    return f"playhead.live.{tenant}.*"


def chunk(tenant: TenantId, execution_id: ExecutionId) -> str:
    """Where pieces of outputs on their way go: kept in memory for some minutes, and passed on to the live subject.

    The one stored subject with an execution in it, so that those of one can be found; the stream forgets them soon.
    """
    return f"playhead.chunk.{tenant}.{execution_id}"


def dead_letter(tenant: TenantId, kind: str) -> str:
    return f"playhead.dlq.{tenant}.{kind}"


def nudge(executor: str) -> str:
    """Core NATS request/reply to one executor: `Nudge` -> `NudgeReply`."""
    return f"playhead.rpc.executor.{executor}.nudge"
