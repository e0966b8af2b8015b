"""Names on the bus. Execution ids stay out of stored subjects: their number must not grow with executions."""

from playhead_contracts.ids import ExecutionId, TenantId, WorkflowId

COMMANDS_STREAM = "PLAYHEAD_COMMANDS"
EVENTS_STREAM = "PLAYHEAD_EVENTS"
TASKS_STREAM = "PLAYHEAD_TASKS"
DEAD_LETTERS_STREAM = "PLAYHEAD_DLQ"

COMMANDS_FILTER = "playhead.cmd.>"
TIMERS_FILTER = "playhead.timer.>"
EVENTS_FILTER = "playhead.evt.>"
TASKS_FILTER = "playhead.task.>"
DEAD_LETTERS_FILTER = "playhead.dlq.>"

EXECUTOR_CONSUMER = "executor"

ANSWER_REQUESTS = "playhead.rpc.hitl.answer"
"""Core NATS request/reply: `AnswerPause` -> `PauseAnswered` or `Rejected`."""


def command(tenant: TenantId, kind: str) -> str:
    return f"playhead.cmd.{tenant}.{kind}"


def timer(tenant: TenantId, timer_id: str) -> str:
    return f"playhead.timer.{tenant}.{timer_id}"


def event(tenant: TenantId, workflow_id: WorkflowId, event_type: str) -> str:
    """E.g. `playhead.evt.acme.refunds.block.completed`."""
    return f"playhead.evt.{tenant}.{workflow_id}.{event_type}"


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


def dead_letter(tenant: TenantId, kind: str) -> str:
    return f"playhead.dlq.{tenant}.{kind}"


def nudge(executor: str) -> str:
    """Core NATS request/reply to one executor: `Nudge` -> `NudgeReply`."""
    return f"playhead.rpc.executor.{executor}.nudge"
