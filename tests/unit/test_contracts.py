"""What is said on the wire: stable bytes, for ever decodable, described by generated schemas."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import jsonschema_rs
import msgspec
import pytest

from playhead_contracts.commands import AnyCommand, Cancel, Resume, Run, Wake
from playhead_contracts.events import (
    Actor,
    BlobReference,
    BlockCompleted,
    BlockDispatched,
    BlockError,
    BlockFailed,
    BlockOverridden,
    BlockReference,
    BlockRetryScheduled,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    BlockStepCompleted,
    ChildEnded,
    ChildPaused,
    ChildResumed,
    ChildStarted,
    ContainerReused,
    ContainerStart,
    Cutoff,
    Envelope,
    EventData,
    EventMatched,
    EventPublished,
    EventReceived,
    ExecutionArchived,
    ExecutionCancelled,
    ExecutionCancelRequested,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionDeadLettered,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionTimedOut,
    Expiry,
    ForkSource,
    IterationCompleted,
    IterationReused,
    KeyCreated,
    KeyRevoked,
    LogExported,
    MatchedEvent,
    Parent,
    PauseAction,
    PauseDelegated,
    PauseEscalated,
    PauseExpired,
    PauseExtended,
    PauseNotified,
    PauseReminded,
    PauseRequested,
    PauseResolved,
    PauseVoted,
    Personal,
    Quorum,
    Streamed,
    SubjectForgotten,
    TaskAnswered,
    TriggeredBy,
    TriggerPublished,
    TriggerRemoved,
    Watch,
    WatchedEvent,
    WebhookChanged,
    WebhookCreated,
    WorkflowPublished,
    decode_data,
    decode_joined,
    encode_data,
    encode_envelope,
    join,
    split,
)
from playhead_contracts.ids import (
    BlockPath,
    EventId,
    ExecutionId,
    PauseId,
    StreamId,
    TenantId,
    WorkflowId,
    event_schema,
)
from playhead_contracts.schemas import schemas

GOLDEN = Path(__file__).parent.parent / "golden" / "events"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PATH, PAUSE, EXECUTION = BlockPath("pay"), PauseId("p-1"), ExecutionId("x-1")
ERROR = BlockError(type="http_status", message="POST gave 503", retryable=True, details={"status": 503})

SAMPLES: list[EventData] = [
    ExecutionCreated(
        workflow_id=WorkflowId("refunds"),
        workflow_version=3,
        digest="sha256:ab",
        input={"amount": 1.5},
        variables={"limit": 50},
        mode="sync",
        outputs=("pay",),
        source=ForkSource(execution_id=EXECUTION, version=7, from_block="pay"),
        plan={"scope": ["pay"]},
        fingerprint="ff",
    ),
    ExecutionStarted(executor="e-1", epoch=1, command="run:x-1"),
    ExecutionResumed(executor="e-1", epoch=2, command="resume:p-1"),
    ExecutionRecovered(executor="e-2", epoch=3, command="run:x-1", taken_from="e-1"),
    ExecutionPaused(epoch=3, pauses=(PAUSE,), due_at=AT),
    ExecutionCompleted(output={"paid": True}, http_status=200),
    ExecutionFailed(error=ERROR, block=PATH),
    ExecutionCancelRequested(reason="changed my mind"),
    ExecutionCancelled(reason="changed my mind"),
    ExecutionTimedOut(deadline=AT),
    ExecutionDeadLettered(command="run:x-1", failures=5, error="KeyError: 'x'"),
    BlockStarted(path=PATH, attempt=2, inputs={"url": "https://x"}, until=AT),
    BlockCompleted(
        path=PATH,
        attempt=2,
        outputs={"status": 201},
        decision=("yes",),
        locks=True,
        duration_ms=12.5,
        started_at=AT,
        inputs={"n": 1},
    ),
    BlockFailed(path=PATH, error=ERROR, attempt=2, handled=True, duration_ms=12.5, started_at=AT, inputs={"n": 1}),
    BlockSkipped(path=PATH, reason="no active path leads here"),
    BlockReused(path=PATH, reference=BlockReference(execution_id=EXECUTION, version=5), decision=("yes",)),
    PauseRequested(
        pause_id=PAUSE,
        path=PATH,
        message="Pay?",
        digest="sha256:cd",
        form={"type": "object"},
        show={"risk": 60},
        assignees=("ann",),
        expires_at=AT,
    ),
    PauseResolved(
        pause_id=PAUSE, path=PATH, resolution="answered", answer={"ok": True}, digest="sha256:cd", reason="because"
    ),
    BlockOverridden(path=PATH, outputs={"n": 1}, decision=("high",)),
    ContainerReused(
        path=PATH, reference=BlockReference(execution_id=EXECUTION, version=3), iterations=(0, 1), deadline=AT
    ),
    IterationReused(
        path=PATH, index=1, reference=BlockReference(execution_id=EXECUTION, version=9), variables={"n": 1}
    ),
    PauseExpired(pause_id=PAUSE, path=PATH, expired_at=AT),
    PauseVoted(pause_id=PAUSE, path=PATH, action="approve", answer={"ok": True}, comment="fine", digest="sha256:1"),
    PauseEscalated(
        pause_id=PAUSE,
        path=PATH,
        assignees=("group:leads",),
        expires_at=AT,
        on_expiry=Expiry("answer", answer={"ok": False}, action="reject"),
    ),
    PauseReminded(pause_id=PAUSE, path=PATH, expires_at=AT),
    PauseExtended(pause_id=PAUSE, path=PATH, expires_at=AT, remind_at=AT, reason="holidays"),
    PauseDelegated(pause_id=PAUSE, path=PATH, to="bob", reason="away"),
    PauseNotified(
        pause_id=PAUSE,
        path=PATH,
        delivery_id="d-1",
        webhook="desk",
        about="pause.requested",
        outcome="failed",
        attempts=3,
        status=500,
        error="it answered 500",
    ),
    WorkflowPublished(workflow_version=3, digest="sha256:ab", document={"id": "refunds", "blocks": {}}),
    BlockRetryScheduled(path=PATH, attempt=1, error=ERROR, due_at=AT, duration_ms=12.5, started_at=AT, inputs={"n": 1}),
    BlockStepCompleted(path=PATH, attempt=2, name="charge", outputs={"id": "ch-1"}),
    BlockDispatched(path=PATH, attempt=1, task_id="t-1", task="resize", inputs={"n": 1}, deadline=AT),
    IterationCompleted(path=BlockPath("each"), index=2, outputs={"n": 1}, error=ERROR, last=True),
    TaskAnswered(path=PATH, task_id="t-1", outputs={"n": 1}, error=ERROR, worker="node-1"),
    EventMatched(
        path=PATH,
        event=MatchedEvent(number=1, position=70, type="paid", source="/bank", id="e-1", subject="s", time=AT, data=1),
    ),
    EventPublished(path=PATH, event_id="e-1", event_type="refund.approved", content={"n": 1}, subject="r-1"),
    EventReceived(event_id="e-1", event_type="paid", source="/bank", content={"n": 1}, subject="s", time=AT),
    ChildStarted(path=PATH, child=EXECUTION),
    ChildPaused(path=PATH, child=EXECUTION, pauses=(PAUSE,)),
    ChildResumed(path=PATH, child=EXECUTION),
    ChildEnded(path=PATH, child=EXECUTION, status="failed", outputs={"n": 1}, error=ERROR),
    TriggerPublished(
        trigger_id="on-paid", trigger_version=2, digest="sha256:ab", document={"id": "on-paid", "workflow": "refunds"}
    ),
    TriggerRemoved(trigger_id="on-paid"),
    KeyCreated(key_id="k-1", name="ann", scopes=("executions:read",), groups=("finance",)),
    KeyRevoked(key_id="k-1", name="ann"),
    WebhookCreated(name="desk", host="desk.example", events=("pause.requested",), workflows=("refunds",)),
    WebhookChanged(name="desk", change="resent", delivery_id="d-1"),
    ExecutionArchived(file="acme/1-9-ab.jsonl.gz", executions=(EXECUTION,), events=9, digest="ab"),
    SubjectForgotten(key_ids=("k-1",), executions=2),
    LogExported(
        format="jsonl",
        to="june.jsonl.gz",
        since=AT,
        until=AT,
        workflow_id=WorkflowId("refunds"),
        executions=(EXECUTION,),
    ),
]

BLOB = BlobReference(digest="sha256:ef", size_bytes=300_000)
PARENT = Parent(execution_id=EXECUTION, path=PATH)

LATER: dict[str, EventData] = {
    "block.completed.streamed": BlockCompleted(
        path=PATH, outputs={"text": "Hello"}, streamed=Streamed(chunks=2, text="Hello")
    ),
    "execution.created.child": ExecutionCreated(
        workflow_id=WorkflowId("refunds"),
        workflow_version=3,
        digest="sha256:ab",
        deadline=AT,
        max_concurrency=4,
        parent=PARENT,
        depth=1,
    ),
    "execution.resumed.child": ExecutionResumed(executor="e-1", epoch=2, command="resume:p-1", parent=PARENT),
    "execution.created.started_by": ExecutionCreated(
        workflow_id=WorkflowId("w"),
        workflow_version=1,
        digest="sha256:1",
        parent=PARENT,
        depth=1,
        started_by=Actor(kind="key", name="ann", channel="http"),
    ),
    "execution.created.personal": ExecutionCreated(
        workflow_id=WorkflowId("w"),
        workflow_version=1,
        digest="sha256:1",
        input={"name": {"$sealed": "AAAA", "key": "k-1"}},
        personal=Personal(
            key_id="k-1", input=("/name",), variables=("last",), blocks=(BlockPath("each/tag"),), output=True
        ),
    ),
    "execution.created.trigger": ExecutionCreated(
        workflow_id=WorkflowId("w"),
        workflow_version=1,
        digest="sha256:1",
        trigger=TriggeredBy(trigger_id="on-paid", event_id=EventId("e-1"), position=70, depth=2),
    ),
    "execution.created.cutoff": ExecutionCreated(
        workflow_id=WorkflowId("w"),
        workflow_version=1,
        digest="sha256:1",
        source=ForkSource(execution_id=EXECUTION, version=9, from_block="pay"),
        cutoff={
            PATH: Cutoff(reference=BlockReference(execution_id=EXECUTION, version=4), after={BlockPath("score"): "abc"})
        },
    ),
    "pause.requested.full": PauseRequested(
        pause_id=PAUSE,
        path=PATH,
        message="Pay?",
        digest="sha256:1",
        show={"amount": 5, "to": "ACME"},
        order=("to", "amount"),
        labels={"to": "Payee"},
        actions=(
            PauseAction("approve", label="Pay it"),
            PauseAction("reject", denies=True, form={"type": "object"}),
        ),
        assignees=("user:ann", "group:finance"),
        barred=("joe",),
        quorum=Quorum(2, deny_vetoes=True),
        expires_at=AT,
        remind_at=AT,
        on_expiry=Expiry(
            "escalate",
            assignees=("group:leads",),
            after_seconds=60.0,
            then=Expiry("answer", answer={}, action="reject"),
        ),
        notify=("desk",),
    ),
    "pause.resolved.action": PauseResolved(
        pause_id=PAUSE,
        path=PATH,
        resolution="answered",
        answer={},
        action="approve",
        comment="fine",
        digest="sha256:1",
        key="sha256:2",
        on_behalf_of="ann",
    ),
    "pause.expired.answered": PauseExpired(
        pause_id=PAUSE, path=PATH, expired_at=AT, outcome="answered", answer={"ok": False}, action="reject"
    ),
    "execution.paused.child": ExecutionPaused(epoch=3, pauses=(PAUSE,), parent=PARENT),
    "execution.completed.child": ExecutionCompleted(output=1, parent=PARENT),
    "execution.failed.child": ExecutionFailed(error=ERROR, block=PATH, parent=PARENT),
    "execution.cancelled.child": ExecutionCancelled(parent=PARENT),
    "execution.timed_out.child": ExecutionTimedOut(deadline=AT, parent=PARENT),
    "block.started.container": BlockStarted(
        path=BlockPath("each"),
        inputs={"items": [1, 2]},
        deadline=AT,
        container=ContainerStart(kind="parallel", count=2, concurrency=2),
    ),
    "block.started.watch": BlockStarted(
        path=PATH,
        watch=Watch(
            events=(WatchedEvent(type="paid", match="event.data.n == input.n"),),
            need="any",
            since="now",
            position=70,
            captured={"input": {"n": 1}},
        ),
    ),
    "block.started.child": BlockStarted(path=PATH, child=EXECUTION),
    "block.completed.variables": BlockCompleted(path=PATH, outputs={"limit": 7}, variables={"limit": 7}),
    "block.completed.blobs": BlockCompleted(path=PATH, inputs={"n": 1}, blobs={"outputs": BLOB}),
    "block.failed.contained": BlockFailed(path=PATH, error=ERROR, contained=True, child=EXECUTION),
    "block.failed.continues": BlockFailed(
        path=PATH,
        error=msgspec.structs.replace(ERROR, retry_after_seconds=1.5),
        handled=True,
        continues=True,
    ),
    "block.failed.blobs": BlockFailed(
        path=PATH, error=BlockError(type="http_status", message="m"), blobs={"error.details": BLOB, "inputs": BLOB}
    ),
    "block.skipped.disabled": BlockSkipped(path=PATH, reason="it is disabled", continues=True, child=EXECUTION),
    "block.reused.variables": BlockReused(
        path=PATH, reference=BlockReference(execution_id=EXECUTION, version=5), variables={"limit": 7}
    ),
    "event.matched.blobs": EventMatched(
        path=PATH,
        event=MatchedEvent(number=0, position=70, type="paid", source="/bank", id="e-1"),
        blobs={"event.data": BLOB},
    ),
}
"""Forms of events that came later, by the name of their golden file."""

GOLDENS = {**{sample.type_name(): sample for sample in SAMPLES}, **LATER}

ENVELOPE = Envelope(
    id=EventId("e-1"),
    type="block.skipped",
    schema_version=1,
    tenant=TenantId("acme"),
    stream_id=StreamId("execution:x-1"),
    version=4,
    recorded_at=AT,
    actor=Actor(kind="person", name="ann", channel="http"),
    workflow_id=WorkflowId("refunds"),
    execution_id=EXECUTION,
    causation_id="run:x-1",
    correlation_id="c-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


def name_of(data: EventData) -> str:
    return data.type_name()


def test_there_is_a_sample_of_every_event_type() -> None:
    assert {type(sample) for sample in SAMPLES} == set(get_args(EventData))


@pytest.mark.parametrize(("name", "sample"), GOLDENS.items(), ids=GOLDENS)
def test_an_event_is_encoded_to_the_golden_bytes_and_the_golden_bytes_decode(name: str, sample: EventData) -> None:
    """These files are old recorded events. They are only ever added to: what was written must decode for ever."""
    golden = (GOLDEN / f"{name}.v{sample.SCHEMA_VERSION}.json").read_bytes().rstrip(b"\n")
    assert decode_data(golden) == sample
    assert encode_data(sample) == golden


def test_there_is_no_golden_file_that_is_not_looked_at() -> None:
    present = {f"{name}.v{sample.SCHEMA_VERSION}.json" for name, sample in GOLDENS.items()}
    older = {f"{name}.v{old}.json" for name, sample in GOLDENS.items() for old in range(1, sample.SCHEMA_VERSION)}
    assert present <= {path.name for path in GOLDEN.iterdir()} <= present | older


@pytest.mark.parametrize("sample", GOLDENS.values(), ids=GOLDENS)
def test_an_event_fits_its_generated_schema(sample: EventData) -> None:
    schema = schemas()[event_schema(sample.type_name(), sample.SCHEMA_VERSION)]
    jsonschema_rs.validate(schema, msgspec.json.decode(encode_data(sample)), validate_formats=True)


@pytest.mark.parametrize("name", schemas())
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema_rs.meta.validate(schemas()[name])


def test_a_later_field_that_this_version_does_not_know_is_passed_over() -> None:
    later = b'{"path":"pay","reason":"r","since_version_9":{"a":1},"type":"block.skipped"}'
    assert decode_data(later) == BlockSkipped(path=PATH, reason="r")


def test_an_event_type_that_is_unknown_is_an_error_and_never_passed_over() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_data(b'{"type":"block.teleported"}')


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_a_joined_event_comes_apart_into_the_very_bytes_it_was_made_of(sample: EventData) -> None:
    tricky = msgspec.structs.replace(ENVELOPE, actor=Actor(kind="person", name='","data":{"x":1}'))
    meta, data = encode_envelope(tricky), encode_data(sample)
    assert split(join(meta, data)) == (meta, data)
    assert decode_joined(join(meta, data)).data == sample
    assert msgspec.json.decode(join(meta, data))["data"] == msgspec.json.decode(data)


@pytest.mark.parametrize(
    "command",
    [
        Run(id="run:x-1", tenant=TenantId("acme"), execution_id=EXECUTION, created="{}"),
        Resume(id="resume:p-1", tenant=TenantId("acme"), execution_id=EXECUTION, pause_id=PAUSE),
        Cancel(id="cancel:x-1", tenant=TenantId("acme"), execution_id=EXECUTION, failures=2),
        Wake(id="w", tenant=TenantId("acme"), execution_id=EXECUTION, timer="t"),
    ],
    ids=lambda command: command.kind(),
)
def test_a_command_survives_the_wire_and_fits_its_schema(command: AnyCommand) -> None:
    data = msgspec.json.encode(command)
    assert msgspec.json.decode(data, type=AnyCommand) == command
    jsonschema_rs.validate(schemas()[f"internal/exec.{command.kind()}.json"], msgspec.json.decode(data))
