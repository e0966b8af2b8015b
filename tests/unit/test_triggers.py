"""Triggers: what a document may say, which events are meant, and what they start."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from playhead_contracts.events import (
    Actor,
    BlockError,
    Envelope,
    Event,
    EventData,
    EventPublished,
    EventReceived,
    ExecutionCompleted,
    ExecutionFailed,
    KeyRevoked,
    encode_data,
    encode_envelope,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_contracts.workflow_text import read_document
from playhead_engine.triggers import InvalidTrigger, TriggerFailed, compile_trigger, fits, parse_trigger, subject_tail
from playhead_eventlog import RawEvent
from playhead_projector.bus_copy import bus_message

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRIGGER: dict[str, Any] = {
    "id": "on-paid",
    "workflow": "ship",
    "on": {"subject": "received.payment.*", "match": "event.data.amount > 100.0"},
    "input": {"order": "{{ event.data.order }}", "from": "{{ event.source }}"},
}
PAID = EventReceived(
    event_id="p-1", event_type="payment.settled", source="/bank", content={"order": "o-1", "amount": 200.5}
)


def test_the_example_is_valid() -> None:
    example = Path(__file__).parents[2] / "examples" / "triggers" / "refund-on-chargeback.yaml"
    parsed = parse_trigger(read_document(example.read_bytes(), "yaml"))
    assert parsed.id == "refund-on-chargeback"


def event(data: EventData, stream: str = "event:acme:e-1", workflow: str | None = None) -> Event:
    envelope = Envelope(
        id=EventId("e-1"),
        type=data.type_name(),
        schema_version=1,
        tenant=TenantId("acme"),
        stream_id=StreamId(stream),
        version=3,
        recorded_at=AT,
        actor=Actor(kind="system", name="test"),
        workflow_id=None if workflow is None else WorkflowId(workflow),
        execution_id=ExecutionId("x-1") if workflow else None,
    )
    return Event(envelope=envelope, data=data, position=70)


def trigger(**changes: Any) -> dict[str, Any]:
    return TRIGGER | changes


EVENTS = [
    event(PAID),
    event(EventReceived(event_id="p", event_type="no type", source="/s")),
    event(EventPublished(path=BlockPath("p"), event_id="e", event_type="refund.paid"), "execution:x-1", "refunds"),
    event(ExecutionCompleted(output=1), "execution:x-1", "refunds"),
    event(KeyRevoked(key_id="k", name="ann"), "operations:acme"),
]


@pytest.mark.parametrize("given", EVENTS, ids=lambda given: given.envelope.type)
def test_the_subject_that_triggers_see_is_the_one_on_the_bus(given: Event) -> None:
    raw = RawEvent(
        given.position,
        given.envelope.stream_id,
        given.version,
        given.envelope.type,
        encode_data(given.data),
        encode_envelope(given.envelope),
        b"",
        b"",
    )
    assert bus_message(raw, 1 << 20).subject == f"playhead.evt.acme.{subject_tail(given)}"


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b.>", "a.b.c", True),
        (">", "a", True),
        ("a.b", "a", False),
        ("a", "a.b", False),
    ],
)
def test_wildcards_are_those_of_nats(pattern: str, subject: str, expected: bool) -> None:
    assert fits(tuple(pattern.split(".")), tuple(subject.split("."))) is expected


def test_an_event_that_fits_starts_the_workflow_with_the_mapped_input() -> None:
    compiled = compile_trigger(TRIGGER)
    assert compiled.may_want("event.received")
    assert not compiled.may_want("block.completed")
    firing = compiled.fire(event(PAID))
    assert firing is not None
    assert (firing.key, firing.workflow, firing.input) == ("e-1", "ship", {"order": "o-1", "from": "/bank"})
    small = EventReceived(event_id="p", event_type="payment.settled", source="/bank", content={"amount": 1.0})
    assert compiled.fire(event(small)) is None
    other = EventReceived(event_id="p", event_type="order.settled", source="/bank", content={"amount": 900.0})
    assert compiled.fire(event(other)) is None


@pytest.mark.parametrize(
    ("pattern", "log_type", "expected"),
    [
        ("refunds.execution.completed", "execution.completed", True),
        ("*.execution.*", "execution.completed", True),
        ("*.execution.*", "block.completed", False),
        ("received.>", "event.received", True),
        ("received.>", "event.published", False),
        ("refunds.published.paid", "event.published", True),
        ("*.*.paid", "event.published", True),
        ("*.*.paid", "event.received", True),
        (">", "block.started", True),
    ],
)
def test_types_that_cannot_be_meant_are_told_without_looking_at_the_event(
    pattern: str, log_type: str, expected: bool
) -> None:
    compiled = compile_trigger(trigger(on={"subject": pattern}))
    assert compiled.may_want(log_type) is expected
    assert not compile_trigger(trigger(on={"subject": pattern}, enabled=False)).may_want(log_type)


def test_an_expression_without_a_value_is_told_and_not_taken_for_no() -> None:
    bare = event(EventReceived(event_id="p", event_type="payment.settled", source="/bank", content={}))
    with pytest.raises(TriggerFailed, match=r"event\.data\.amount > 100\.0: there is no event\.data\.amount"):
        compile_trigger(TRIGGER).fire(bare)
    with pytest.raises(TriggerFailed, match="neither true nor false"):
        compile_trigger(trigger(on={"subject": "received.>", "match": "event.data.order"})).fire(event(PAID))
    with pytest.raises(TriggerFailed, match="a key is text"):
        compile_trigger(trigger(deduplicate_by="event.data")).fire(event(PAID))


def test_events_of_one_key_are_one_and_long_keys_are_shortened() -> None:
    by_order = compile_trigger(trigger(deduplicate_by="event.data.order")).fire(event(PAID))
    assert by_order is not None
    assert by_order.key == "o-1"
    long = compile_trigger(trigger(deduplicate_by="event.data.order + '" + "x" * 200 + "'")).fire(event(PAID))
    assert long is not None
    assert long.key.startswith("sha256:")


def test_events_of_ours_show_what_is_recorded_of_them() -> None:
    document = {
        "id": "t",
        "workflow": "alert",
        "on": {"subject": "*.execution.failed", "match": "event.data.error.type == 'timeout'"},
        "input": {"of": "{{ event.data.execution_id }}", "why": "{{ event.type }} {{ event.data.error.message }}"},
    }
    failed = ExecutionFailed(error=BlockError(type="timeout", message="too slow"))
    firing = compile_trigger(document).fire(event(failed, "execution:x-1", "refunds"))
    assert firing is not None
    assert firing.input == {"of": "x-1", "why": "dev.playhead.execution.failed too slow"}


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"workflw": "x"}, "#/workflw", "there is no field"),
        ({"id": "a b"}, "#/id", "letters, digits"),
        ({"on": {}}, "#/on/subject", "is required"),
        ({"on": {"subject": "playhead.evt.acme.received.x"}}, "#/on/subject", "relative"),
        ({"on": {"subject": "received.>.x"}}, "#/on/subject", "at the end only"),
        ({"on": {"subject": "received..x"}}, "#/on/subject", "words with dots"),
        ({"on": {"subject": "ship.>"}}, "#/on/subject", "every event of ship itself"),
        ({"on": {"subject": ">"}}, "#/on/subject", "every event of ship itself"),
        ({"on": {"subject": "received.x", "match": "event.data.a >"}}, "#/on/match", "line 1"),
        ({"on": {"subject": "received.x", "match": "input.a"}}, "#/on/match", "there is no input here"),
        ({"input": {"a": ["{{ blocks.x }}"]}}, "#/input/a/0", "there is no blocks here"),
        ({"variables": {"v": "{{ event.data. }}"}}, "#/variables/v", "line 1"),
        ({"deduplicate_by": "event.id +"}, "#/deduplicate_by", "line 1"),
    ],
)
def test_every_fault_of_a_document_is_told_at_its_place(changes: dict[str, Any], where: str, said: str) -> None:
    with pytest.raises(InvalidTrigger) as refused:
        parse_trigger(trigger(**changes))
    found = {fault.pointer: fault.detail for fault in refused.value.errors}
    assert said in found[where]


def test_without_an_input_the_workflow_gets_the_data_of_the_event() -> None:
    document = {name: value for name, value in TRIGGER.items() if name != "input"}
    firing = compile_trigger(document).fire(event(PAID))
    assert firing is not None
    assert firing.input == {"order": "o-1", "amount": 200.5}
