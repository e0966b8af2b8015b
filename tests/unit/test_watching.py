"""Waiting for events: what a filter reads and sees, and which events match."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead_contracts.events import (
    Actor,
    BlockCompleted,
    BlockStarted,
    Envelope,
    Event,
    EventData,
    EventMatched,
    EventPublished,
    EventReceived,
    ExecutionCreated,
    ExecutionStarted,
    Watch,
    WatchedEvent,
)
from playhead_contracts.ids import BlockPath, EventId, ExecutionId, StreamId, TenantId, WorkflowId
from playhead_engine.expressions import ExpressionFailed, compile_expression
from playhead_engine.expressions.scope import Scope
from playhead_engine.folding import fold
from playhead_engine.state import ExecutionState
from playhead_engine.watching import (
    MESSAGES,
    OWN_TYPES,
    FilterFailed,
    Key,
    as_matched,
    as_seen,
    awaited_type,
    captured_of,
    decide_match,
    goes_by,
    key_of,
    log_types,
    matches,
    may_match,
    scope_of_filter,
    text_at,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ME = ExecutionId("01980000-0000-7000-8000-000000000001")
OTHER = ExecutionId("01980000-0000-7000-8000-000000000002")


def event_of(data: EventData, execution_id: ExecutionId | None = OTHER, version: int = 1, position: int = 7) -> Event:
    stream = StreamId("event:acme:1" if execution_id is None else f"execution:{execution_id}")
    envelope = Envelope(
        id=EventId(f"id-{position}"),
        type=data.type_name(),
        schema_version=1,
        tenant=TenantId("acme"),
        stream_id=stream,
        version=version,
        recorded_at=AT,
        actor=Actor(kind="system", name="test"),
        workflow_id=None if execution_id is None else WorkflowId("refunds"),
        execution_id=execution_id,
    )
    return Event(envelope=envelope, data=data, position=position)


def received(content: Any = None, kind: str = "payment.settled", **more: Any) -> Event:
    data = EventReceived(event_id="p-1", event_type=kind, source="/bank", content=content, **more)
    return event_of(data, execution_id=None)


def seen(event: Event) -> dict[str, Any]:
    return as_seen(event, as_matched(event))


def is_match(watched: WatchedEvent, event: Event, captured: dict[str, Any] | None = None) -> bool:
    return matches(watched, captured or {}, seen(event))


def test_a_message_from_outside_is_seen_as_its_sender_described_it() -> None:
    event = received({"order": "o-1"}, subject="orders/o-1", time=datetime(2026, 1, 1, tzinfo=UTC))
    assert seen(event) == {
        "type": "payment.settled",
        "source": "/bank",
        "id": "p-1",
        "subject": "orders/o-1",
        "time": "2026-01-01T00:00:00Z",
        "position": 7,
        "data": {"order": "o-1"},
    }


def test_a_message_without_a_time_is_of_when_it_came_and_its_other_attributes_are_seen() -> None:
    event = received(attributes={"partitionkey": "k", "position": 99})
    assert seen(event)["time"] == "2026-03-01T12:00:00Z"
    assert seen(event)["partitionkey"] == "k"
    assert seen(event)["position"] == 7
    assert seen(event)["subject"] is None


def test_a_published_event_has_its_own_type_and_the_source_of_its_execution() -> None:
    event = event_of(EventPublished(path=BlockPath("tell"), event_id="e-1", event_type="refund.approved", content=[1]))
    assert seen(event) | {"time": None} == {
        "type": "refund.approved",
        "source": f"/playhead/acme/execution:{OTHER}",
        "id": "e-1",
        "subject": None,
        "time": None,
        "position": 7,
        "data": [1],
    }


def test_our_own_events_have_their_data_with_where_it_happened() -> None:
    event = event_of(BlockCompleted(path=BlockPath("pay"), outputs={"paid": True}), version=4)
    found = seen(event)
    assert found["type"] == "dev.playhead.block.completed"
    assert found["id"] == "id-7"
    assert found["subject"] == f"execution:{OTHER}"
    assert found["data"] == {
        "path": "pay",
        "outputs": {"paid": True},
        "execution_id": OTHER,
        "workflow_id": "refunds",
        "version": 4,
    }


def test_our_own_types_may_be_named_with_and_without_their_prefix() -> None:
    event = event_of(BlockCompleted(path=BlockPath("pay")))
    for name in ("block.completed", "dev.playhead.block.completed"):
        assert is_match(WatchedEvent(type=name), event)
        assert log_types(awaited_type(WatchedEvent(type=name))) == {"block.completed"}
    assert not is_match(WatchedEvent(type="block.failed"), event)


def test_a_wait_without_a_type_is_for_messages_alone() -> None:
    everything = WatchedEvent(match="true")
    assert log_types(awaited_type(everything)) == MESSAGES
    assert goes_by(received(), None)
    assert not goes_by(event_of(BlockCompleted(path=BlockPath("pay"))), None)
    assert MESSAGES.isdisjoint(OWN_TYPES)


def test_an_execution_can_wait_for_what_it_publishes_and_for_nothing_else_of_its_own() -> None:
    published = EventPublished(path=BlockPath("tell"), event_id="e-1", event_type="x")
    assert may_match(ME, event_of(published, ME))
    assert may_match(ME, event_of(BlockCompleted(path=BlockPath("pay")), OTHER))
    assert may_match(ME, received())
    assert not may_match(ME, event_of(BlockCompleted(path=BlockPath("pay")), ME))


def test_a_filter_compares_the_event_with_what_was_captured() -> None:
    watched = WatchedEvent(type="payment.settled", match="event.data.order == input.order && event.data.amount > 10")
    captured = {"input": {"order": "o-1"}}
    assert is_match(watched, received({"order": "o-1", "amount": 11}), captured)
    assert not is_match(watched, received({"order": "o-2", "amount": 11}), captured)
    assert not is_match(watched, received({"order": "o-1", "amount": 11}, kind="payment.failed"), captured)


@pytest.mark.parametrize("source", ["event.data.missing == 1", "event.data.order", "event.data.order + 1 > 2", "1 +"])
def test_a_filter_without_an_answer_says_so(source: str) -> None:
    with pytest.raises(FilterFailed):
        is_match(WatchedEvent(match=source), received({"order": "o-1"}))


SCOPE = Scope(
    input={"order": {"id": "o-1", "lines": [1, 2]}, "tier": "gold"},
    variables={"limit": 5, "other": 6},
    execution={"id": ME},
    blocks={"score": {"risk": 3, "large": "x" * 9}, "pay": {"error": {"type": "timeout"}}},
    absent=frozenset({"pay", "skipped"}),
    secrets={"token": "s3cr3t"},
    loop={"index": 2, "item": {"sku": "a"}},
)

READS = [
    "input",
    "input.order.id",
    "input.order.lines[1]",
    "input.order",
    "input.nothing.at.all",
    "has(input.tier)",
    "has(input.order.missing)",
    "has(input.nothing.deep)",
    "vars.limit + 1",
    "execution.id",
    "blocks.score.risk > 2",
    "blocks.score",
    "blocks.pay.error.type",
    "blocks.pay.amount",
    "has(blocks.pay.amount)",
    "has(blocks.pay.error)",
    "blocks.skipped.a.b == null",
    "blocks.skipped",
    "loop.item.sku",
    "loop.index",
    "parallel.index",
]


def outcome(source: str, scope: Scope) -> Any:
    try:
        return compile_expression(source).evaluate(scope)
    except ExpressionFailed:
        return ExpressionFailed


@pytest.mark.parametrize("source", READS)
def test_a_filter_gives_over_what_was_captured_what_it_gives_in_the_execution(source: str) -> None:
    captured = captured_of(compile_expression(source).references, SCOPE)
    assert outcome(source, scope_of_filter(captured, {})) == outcome(source, SCOPE)


@given(st.lists(st.sampled_from(READS), min_size=1, max_size=6))
def test_filters_that_are_captured_together_do_not_disturb_each_other(sources: list[str]) -> None:
    references = [each for source in sources for each in compile_expression(source).references]
    scope = scope_of_filter(captured_of(references, SCOPE), {})
    assert [outcome(source, scope) for source in sources] == [outcome(source, SCOPE) for source in sources]


def test_only_what_is_read_is_captured_and_never_a_secret() -> None:
    references = compile_expression("event.id == input.tier || secrets.token == vars.limit").references
    assert captured_of(references, SCOPE) == {"input": {"tier": "gold"}, "vars": {"limit": 5}}


CAPTURED = {"input": {"order": "o-1", "amount": 5}, "blocks": {"pay": {"id": "p-9"}}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("event.data.order == input.order", Key(("data", "order"), "o-1")),
        ("input.order==event.data.order", Key(("data", "order"), "o-1")),
        ("event.data.lines[0].id == blocks.pay.id && x > 1", Key(("data", "lines", 0, "id"), "p-9")),
        ("event.subject == 'a' && event.data.order == input.order && true", Key(("data", "order"), "o-1")),
        ('event.data["the order"] == "b"', Key(("data", "the order"), "b")),
        ("event.data.amount == input.amount", None),
        ("event.data.order == input.order || true", None),
        ("event.data.order == input.order ? true : true", None),
        ("(event.data.order == input.order)", None),
        ("!(event.data.order == input.order)", None),
        ("event.data.order == input.order == true", None),
        ("event.data.order == input.order + 'x'", None),
        ("event.data.order != input.order", None),
        ("event.data.lines[vars.i] == 'a'", None),
        ("event.data.order.size() == input.order", None),
        ("event.data.order == 'a\\n'", None),
        ("event.data.order == event.data.other", None),
        ("event.data.order == input.missing", None),
        ("has(event.data.order)", None),
    ],
)
def test_a_key_is_told_only_where_it_surely_holds(source: str, expected: Key | None) -> None:
    assert key_of(WatchedEvent(match=source), CAPTURED) == expected


ORDERS = st.sampled_from(["o-1", "o-2", "a", 1, None, ["o-1"]])
COMPARISONS = st.sampled_from(
    ["event.data.order == input.order", "event.data.kind == 'a'", "input.amount == event.data.n", "event.data.n > 1"]
)


@given(
    st.lists(COMPARISONS, min_size=1, max_size=3),
    st.sampled_from([" && ", " || "]),
    st.fixed_dictionaries({}, optional={"order": ORDERS, "kind": ORDERS, "n": st.integers(0, 6)}),
)
def test_what_does_not_have_the_key_does_not_match(parts: list[str], joint: str, content: dict[str, Any]) -> None:
    watched = WatchedEvent(match=joint.join(parts))
    event = received(content)
    key = key_of(watched, CAPTURED)
    try:
        is_matching = is_match(watched, event, CAPTURED)
    except FilterFailed:
        is_matching = False
    if is_matching and key is not None:
        assert text_at(key.path, seen(event)) == key.text


def waiting(need: Any = "any", *later: EventData) -> ExecutionState:
    """An execution whose block `pay` waits for two events, since version 3."""
    watch = Watch(events=(WatchedEvent(type="a"), WatchedEvent(type="b")), need=need)
    history: list[EventData] = [
        ExecutionCreated(workflow_id=WorkflowId("refunds"), workflow_version=1, digest="d"),
        ExecutionStarted(executor="e", epoch=1, command="c"),
        BlockStarted(path=BlockPath("pay"), watch=watch),
        *later,
    ]
    state = fold(event_of(data, ME, number, number) for number, data in enumerate(history, 1))
    assert state is not None
    return state


def matched(number: int = 0) -> EventMatched:
    return EventMatched(path=BlockPath("pay"), event=msgspec.structs.replace(as_matched(received()), number=number))


def test_any_one_event_is_enough_or_each_of_them_once() -> None:
    assert decide_match(waiting(), matched(1), 3) == [matched(1)]
    assert decide_match(waiting("any", matched(0)), matched(1), 3) == []
    assert decide_match(waiting("all", matched(0)), matched(1), 3) == [matched(1)]
    assert decide_match(waiting("all", matched(0)), matched(0), 3) == []


def test_a_block_that_settled_or_began_anew_takes_no_event_of_its_earlier_wait() -> None:
    assert decide_match(waiting("any", BlockCompleted(path=BlockPath("pay"))), matched(), 3) == []
    again = BlockStarted(path=BlockPath("pay"), attempt=2, watch=Watch(events=(WatchedEvent(type="a"),), need="any"))
    assert decide_match(waiting("any", again), matched(), 3) == []
    assert decide_match(waiting("any", again), matched(), 4) == [matched()]
