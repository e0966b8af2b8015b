"""When somebody must be acting on an execution."""

from datetime import UTC, datetime, timedelta

from playhead_contracts.events import Actor
from playhead_contracts.ids import ExecutionId, TenantId, WorkflowId
from playhead_engine.due import due_at
from playhead_engine.state import ENDED, ExecutionState, ExecutionStatus

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
UPDATED = CREATED + timedelta(minutes=1)
TIMER = CREATED + timedelta(days=1)


def state(status: ExecutionStatus, timer: datetime | None = None, unheeded: int = 0) -> ExecutionState:
    return ExecutionState(
        execution_id=ExecutionId("00000000-0000-7000-8000-000000000001"),
        tenant=TenantId("acme"),
        workflow_id=WorkflowId("w"),
        workflow_version=1,
        digest="d",
        status=status,
        version=3,
        created_at=CREATED,
        updated_at=UPDATED,
        created_by=Actor(kind="system", name="gateway"),
        mode="async",
        due_at=timer,
        unheeded=unheeded,
    )


def test_what_was_created_or_runs_is_due_from_its_last_event_on() -> None:
    assert due_at(state(ExecutionStatus.CREATED)) == UPDATED
    assert due_at(state(ExecutionStatus.RUNNING)) == UPDATED


def test_a_paused_execution_is_due_when_its_timer_is() -> None:
    assert due_at(state(ExecutionStatus.PAUSED, TIMER)) == TIMER


def test_a_paused_execution_that_waits_for_people_alone_is_never_due() -> None:
    assert due_at(state(ExecutionStatus.PAUSED)) is None


def test_an_answer_that_nobody_acted_on_is_due_at_once() -> None:
    assert due_at(state(ExecutionStatus.PAUSED, TIMER, unheeded=1)) == UPDATED


def test_what_has_ended_or_waits_for_an_operator_is_never_due() -> None:
    assert [due_at(state(status)) for status in sorted(ENDED)] == [None] * len(ENDED)
    given_up = state(ExecutionStatus.RUNNING)
    given_up.dead_lettered = "boom"
    assert due_at(given_up) is None
