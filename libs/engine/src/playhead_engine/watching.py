"""Events that `wait` blocks wait for: what can be waited for, what a filter reads, and whether an event matches.

Every event of a tenant's log can be waited for. What came from outside (`event.received`) and what a `publish` block
sent (`event.published`) are messages, and go by the type that their sender gave them. All others are our own and go by
`dev.playhead.<type>`, the type they have on the bus; a wait may leave out `dev.playhead.`. A wait that names no type
waits for messages alone: our own events must be asked for by name.

An execution does not wait for what happens in it, only for what it publishes itself.

A filter sees `event`: `type`, `source`, `id`, `subject`, `time`, `position` and `data`, and for messages from outside
their other attributes. The `data` of an event of ours is what is recorded of it, with `execution_id`, `workflow_id` and
`version` besides. Whatever else a filter reads is captured when its block begins.
"""

import re
from collections.abc import Iterable, Mapping
from typing import cast, get_args

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import (
    Data,
    Event,
    EventData,
    EventMatched,
    EventPublished,
    EventReceived,
    Json,
    MatchedEvent,
    Watch,
    WatchedEvent,
)
from playhead_contracts.ids import ExecutionId, TenantId
from playhead_engine.expressions import ExpressionFailed, ExpressionInvalid, compile_expression
from playhead_engine.expressions.references import Path, UnclearReference, find_paths
from playhead_engine.expressions.scope import Reference, Scope, read
from playhead_engine.state import BlockStatus, ExecutionState

OWN_PREFIX = "dev.playhead."
"""What the types of our own events begin with, wherever others see them."""

MESSAGES: frozenset[str] = frozenset((EventReceived.type_name(), EventPublished.type_name()))
"""The types, as in the log, of events that go by a type of their own."""

OWN_TYPES: frozenset[str] = frozenset(cast("type[Data]", kind).type_name() for kind in get_args(EventData)) - MESSAGES
"""All other types in the log."""

ABSENT = "absent"
"""Beside the roots in what is captured: the ids of blocks that gave nothing."""


class FilterFailed(PlayheadError):
    """A filter says neither yes nor no about an event, which is normal where events differ."""


class Key(msgspec.Struct, frozen=True):
    """Text that an event must have at a path for a filter to be true."""

    path: tuple[str | int, ...]
    text: str


# -- what a filter reads


def captured_of(references: Iterable[Reference], scope: Scope) -> dict[str, Json]:
    """What `references` read in `scope`, as nested objects by root, and the blocks of them that are `absent`.

    Evaluated over it, a filter gives what it gives in `scope`. Secrets are never captured.
    """
    captured: dict[str, Json] = {}
    absent: set[str] = set()
    # The longest first: what is read as a whole then takes the place of what is read in part.
    for reference in sorted(references, key=lambda each: -len(each.path)):
        if reference.root in ("event", "secrets"):
            continue
        if reference.root == "blocks":
            absent |= scope.absent & {reference.path[0]}
            whole: Json = scope.blocks
        else:
            whole = read(scope, Path(reference.root, ()))
        _capture(captured, (reference.root, *reference.path), whole)
    if absent:
        captured[ABSENT] = sorted(absent)
    return captured


def _capture(into: dict[str, Json], names: tuple[str, ...], value: Json) -> None:
    """Put what is at the end of the names where it belongs.

    If it is not there, the objects on the way are all the same, since a filter may ask whether it is.
    """
    name, *rest = names
    if not rest:
        into[name] = value
    elif isinstance(value, Mapping):
        inner: dict[str, Json] = into.setdefault(name, {})
        fields = cast("Mapping[str, Json]", value)
        if rest[0] in fields:
            _capture(inner, tuple(rest), fields[rest[0]])


def scope_of_filter(captured: Mapping[str, Json], event: Mapping[str, Json]) -> Scope:
    """What a filter sees when it looks at an event."""
    return Scope(
        input=captured.get("input"),
        variables=captured.get("vars") or {},
        execution=captured.get("execution") or {},
        blocks=captured.get("blocks") or {},
        absent=frozenset(captured.get(ABSENT) or ()),
        loop=captured.get("loop") or {},
        parallel=captured.get("parallel") or {},
        event=event,
    )


# -- what a filter sees of an event


def type_seen(event: Event) -> str:
    """The type of an event of the log as others see it."""
    data = event.data
    return data.event_type if isinstance(data, EventReceived | EventPublished) else own_type(data.type_name())


def as_matched(event: Event) -> MatchedEvent:
    """An event of the log, hydrated, as those see it who wait for it. `number` is 0 until it is known."""
    envelope, data = event.envelope, event.data
    source = source_of(envelope.tenant, envelope.stream_id)
    match data:
        case EventReceived():
            source, event_id, subject, content = data.source, data.event_id, data.subject, data.content
        case EventPublished():
            event_id, subject, content = data.event_id, data.subject, data.content
        case _:
            event_id, subject, content = str(envelope.id), str(envelope.stream_id), _content_of(event)
    return MatchedEvent(
        number=0,
        position=event.position,
        type=type_seen(event),
        source=source,
        id=event_id,
        subject=subject,
        time=(data.time if isinstance(data, EventReceived) else None) or envelope.recorded_at,
        data=content,
    )


def as_seen(event: Event, matched: MatchedEvent) -> dict[str, Json]:
    """What `event` is to a filter. All of its members are always there."""
    seen: dict[str, Json] = dict(event.data.attributes) if isinstance(event.data, EventReceived) else {}
    return seen | {
        "type": matched.type,
        "source": matched.source,
        "id": matched.id,
        "subject": matched.subject,
        "time": msgspec.to_builtins(matched.time),
        "position": matched.position,
        "data": matched.data,
    }


def own_type(log_type: str) -> str:
    """The type that an event of ours has for others."""
    return OWN_PREFIX + log_type


def source_of(tenant: TenantId, stream_id: str) -> str:
    """The CloudEvents source of what happens in a stream."""
    return f"/playhead/{tenant}/{stream_id}"


def _content_of(event: Event) -> dict[str, Json]:
    content: dict[str, Json] = msgspec.to_builtins(event.data)
    content.pop("type", None)
    content.pop("blobs", None)
    envelope = event.envelope
    return content | {
        "execution_id": envelope.execution_id,
        "workflow_id": envelope.workflow_id,
        "version": envelope.version,
    }


# -- whether an event matches


def awaited_type(watched: WatchedEvent) -> str | None:
    """The type that events must have, as others see it; None for every message."""
    kind = watched.type
    return own_type(kind) if kind in OWN_TYPES else kind


def log_types(awaited: str | None) -> frozenset[str]:
    """The types, as in the log, that events of an awaited type have."""
    if awaited is not None and awaited.startswith(OWN_PREFIX):
        return frozenset((awaited.removeprefix(OWN_PREFIX),))
    return MESSAGES


def goes_by(event: Event, awaited: str | None) -> bool:
    """Whether an event has an awaited type."""
    return event.envelope.type in MESSAGES if awaited is None else awaited == type_seen(event)


def may_match(execution_id: ExecutionId, event: Event) -> bool:
    """Whether an execution can wait for this event at all: what happens in itself it knows."""
    return event.envelope.execution_id != execution_id or isinstance(event.data, EventPublished)


def matches(watched: WatchedEvent, captured: Mapping[str, Json], event: Mapping[str, Json]) -> bool:
    """Whether an event (`as_seen`) is what is waited for. Raises FilterFailed when its filter has no answer."""
    awaited = awaited_type(watched)
    if awaited is not None and awaited != event["type"]:
        return False
    if watched.match is None:
        return True
    try:
        answer = compile_expression(watched.match).evaluate(scope_of_filter(captured, event))
    except (ExpressionFailed, ExpressionInvalid) as exc:
        raise FilterFailed(str(exc)) from exc
    if not isinstance(answer, bool):
        raise FilterFailed(f"{watched.match}: gives neither true nor false")
    return answer


_TEXT = re.compile(r"""\s*(?:"([^"\\]*)"|'([^'\\]*)')""")
_EQUALS = re.compile(r"\s*==")
_AND = re.compile(r"\s*(?:&&|$)")


def key_of(watched: WatchedEvent, captured: Mapping[str, Json]) -> Key | None:
    """What can be told of the events that match without looking at each: for `event.data.order == input.order && ...`
    the text that an event has to have at `data.order`. None if the filter is of another form.

    Only said where it surely holds: the comparison stands by itself, and nothing offers another way to be true.
    """
    source = watched.match or ""
    if "||" in source or "?" in source:
        return None
    literal: Key | None = None
    scope = scope_of_filter(captured, {})
    for one, other in _comparisons(source):
        for path, value in ((one, other), (other, one)):
            if not isinstance(path, Path) or path.root != "event" or not path.steps:
                continue
            if isinstance(value, str):
                literal = literal or Key(path.steps, value)
            elif value.root != "event" and isinstance(text := read(scope, value), str):
                # Better than a literal, which is the same for every execution of a workflow.
                return Key(path.steps, text)
    return literal


def text_at(path: tuple[str | int, ...], event: Mapping[str, Json]) -> str | None:
    """The text that an event (`as_seen`) has at the path of a key."""
    found = read(Scope(None, {}, {}, {}, frozenset(), event=event), Path("event", path))
    return found if isinstance(found, str) else None


_Operand = Path | str


def _comparisons(source: str) -> Iterable[tuple[_Operand, _Operand]]:
    """The comparisons of paths and plain text that a conjunction begins with."""
    try:
        paths = {each.start: each for each in find_paths(source)}
    except UnclearReference:
        return

    def operand(at: int) -> tuple[_Operand, int] | None:
        if found := _TEXT.match(source, at):
            return found[1] if found[1] is not None else found[2], found.end()
        at += len(source[at:]) - len(source[at:].lstrip())
        path = paths.get(at)
        return None if path is None or path.path.asked else (path.path, path.end)

    at = 0
    while at < len(source):
        one = operand(at)
        equals = None if one is None else _EQUALS.match(source, one[1])
        other = None if equals is None else operand(equals.end())
        end = None if other is None else _AND.match(source, other[1])
        if one is None or other is None or end is None:
            return
        yield one[0], other[0]
        at = end.end()


# -- what a waiting block takes


def decide_match(state: ExecutionState, matched: EventMatched, block_version: int) -> list[EventMatched]:
    """The fact that an event came for a block, whose wait began at `block_version`; nothing if it is not waited for.

    It is not when the block has settled or begun anew, when one like it came before, or when any one was enough.
    """
    block = None if state.is_ended else state.blocks.get(matched.path)
    if block is None or block.status is not BlockStatus.WAITING or block.watch is None:
        return []
    if block.version != block_version or (block.matched and block.watch.need == "any"):
        return []
    return [] if any(each.number == matched.event.number for each in block.matched) else [matched]


def start_of(watch: Watch, position: int) -> int | None:
    """The position after which events count for a wait that began at `position`; None: from its execution's start."""
    if watch.position is not None:
        return watch.position
    return position if watch.since == "now" else None
