"""Executions as XES (IEEE 1849-2023): a trace for each, for process mining.

Activities are blocks, under the names that people gave them; what happened to them is told in the words of the
lifecycle extension. Blocks that are not on the way an execution took were no part of it, and are left out. A selection
by time or workflow is one of executions: whole traces of those that began in it, for half a trace would teach a wrong
process.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

import msgspec

from playhead_cli.exports.reading import EVENTS_A_PAGE, About, Meta, Part, about, meta_of
from playhead_contracts.ids import TenantId, WorkflowId, workflow_stream
from playhead_eventlog import EventLog, RawEvent, Trace
from playhead_projector.building import Progress

_LIFECYCLE = {
    "block.started": "start",
    "block.dispatched": "assign",
    "block.completed": "complete",
    "block.failed": "ate_abort",
    "block.retry_scheduled": "ate_abort",
    "block.overridden": "manualskip",
    "block.reused": "autoskip",
    "block.skipped": "autoskip",
    "container.reused": "autoskip",
    "pause.requested": "suspend",
    "pause.delegated": "reassign",
    "pause.escalated": "reassign",
    "pause.resolved": "resume",
    "pause.expired": "resume",
}
"""What an event means for its block. Other events are not told: they change nothing of which block runs."""

_STATUS = {
    "execution.paused": "paused",
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
    "execution.timed_out": "timed_out",
}

_HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="2.0" xes.features="" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<extension name="Lifecycle" prefix="lifecycle" uri="http://www.xes-standard.org/lifecycle.xesext"/>
<extension name="Organizational" prefix="org" uri="http://www.xes-standard.org/org.xesext"/>
<extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
<extension name="Identity" prefix="identity" uri="http://www.xes-standard.org/identity.xesext"/>
<global scope="trace"><string key="concept:name" value=""/></global>
<global scope="event"><string key="concept:name" value=""/><string key="lifecycle:transition" value="complete"/>\
<date key="time:timestamp" value="1970-01-01T00:00:00Z"/></global>
<classifier name="Block" keys="concept:name"/>
<classifier name="Block and what happened to it" keys="concept:name lifecycle:transition"/>
<string key="concept:name" value="Playhead"/>
<string key="lifecycle:model" value="standard"/>
"""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_DOCUMENTS = 100
"""Whose names of blocks are kept at hand."""


async def write(part: Part, file: BinaryIO) -> int:
    """Write a trace for each execution; gives how many events of the log these are."""
    count = 0
    names = _Names(part.log)
    file.write(_HEADER.encode())
    async for trace, pages in _traces(part):
        written: _Trace | None = None
        async for events in pages:
            if written is None:
                written = _Trace(await names.of(events[0]))
                file.write(_opening(trace, events[0]).encode())
            file.write("".join(written.events(events)).encode())
            count += len(events)
        file.write(b"</trace>\n")
    file.write(b"</log>\n")
    return count


async def _traces(part: Part) -> AsyncGenerator[tuple[Trace, AsyncGenerator[list[RawEvent]]]]:
    """The executions with their events, in pages. Short ones are read together, long ones bit by bit."""
    after = count = 0
    while after < part.until:
        found, after = await part.log.traces(part.selection, after, part.until, EVENTS_A_PAGE)
        for group in _groups(found):
            if len(group) == 1:
                yield group[0], _pages(part.log, group[0])
            else:
                whole: dict[str, list[RawEvent]] = {trace.stream_id: [] for trace in group}
                for event in await part.log.read_streams([(trace.stream_id, trace.version) for trace in group]):
                    whole[event.stream_id].append(event)
                for trace in group:
                    yield trace, _one(whole.pop(trace.stream_id))
            count += sum(trace.version for trace in group)
        part.told(Progress(count, after, part.until))


def _groups(traces: Iterable[Trace]) -> Iterable[list[Trace]]:
    """Neighbours that are one page together; one that is more than a page is alone."""
    group: list[Trace] = []
    for trace in traces:
        if group and sum(each.version for each in group) + trace.version > EVENTS_A_PAGE:
            yield group
            group = []
        group.append(trace)
    if group:
        yield group


async def _pages(log: EventLog, trace: Trace) -> AsyncGenerator[list[RawEvent]]:
    after = 0
    while after < trace.version:
        events = await log.read_raw(trace.stream_id, after, min(EVENTS_A_PAGE, trace.version - after))
        if not events:
            return
        yield events
        after = events[-1].version


async def _one(events: list[RawEvent]) -> AsyncGenerator[list[RawEvent]]:
    yield events


class _Trace:
    """The events of one execution as elements."""

    def __init__(self, names: dict[str, str]):
        self._names = names
        self._decided: dict[str, str] = {}
        """Who decided, by block: what a person did is the work of that person, though the executor says it is done."""

    def events(self, events: Iterable[RawEvent]) -> Iterable[str]:
        for event in events:
            transition = _LIFECYCLE.get(event.type)
            if transition is None:
                continue
            what = about(event)
            if what.path is None or (event.type == "block.skipped" and not what.continues):
                continue
            yield self._event(event, meta_of(event), what, transition, what.path)

    def _event(self, event: RawEvent, meta: Meta, what: About, transition: str, path: str) -> str:
        resource = what.worker
        if event.type == "pause.resolved" and what.resolution == "answered":
            resource = self._decided[path] = meta.actor.name
        elif event.type in ("block.completed", "block.failed"):
            resource = self._decided.pop(path, None)
        elif meta.actor.kind != "system":
            resource = meta.actor.name
        attributes = [
            _string("concept:name", self._name(path)),
            _string("lifecycle:transition", transition),
            f'<date key="time:timestamp" value="{meta.recorded_at}"/>',
            f'<id key="identity:id" value="{meta.id}"/>',
            _string("playhead:type", event.type),
            _string("playhead:path", path),
            _int("playhead:position", event.position),
        ]
        if resource is not None:
            attributes.append(_string("org:resource", resource))
        if what.attempt is not None:
            attributes.append(_int("playhead:attempt", what.attempt))
        if what.action is not None:
            attributes.append(_string("playhead:action", what.action))
        return f"<event>{''.join(attributes)}</event>\n"

    def _name(self, path: str) -> str:
        block_id = path.rsplit("/", 1)[-1].partition("[")[0]
        return self._names.get(block_id, block_id)


def _opening(trace: Trace, created: RawEvent) -> str:
    meta, what = meta_of(created), about(created)
    attributes = [
        _string("concept:name", meta.execution_id or trace.stream_id),
        _string("playhead:tenant", meta.tenant),
        _string("playhead:workflow", meta.workflow_id or ""),
        _int("playhead:workflow_version", what.workflow_version or 0),
        _string("playhead:status", _STATUS.get(trace.last_type, "running")),
    ]
    if what.source is not None:
        attributes.append(_string("playhead:forked_from", what.source.execution_id))
    if what.parent is not None:
        attributes.append(_string("playhead:parent", what.parent.execution_id))
    return f"<trace>{''.join(attributes)}\n"


def _string(key: str, value: str) -> str:
    return f'<string key="{key}" value={quoteattr(_NOT_XML.sub("�", value))}/>'


def _int(key: str, value: int) -> str:
    return f'<int key="{key}" value="{value}"/>'


class _Block(msgspec.Struct):
    display_name: str | None = None
    blocks: "dict[str, _Block]" = {}


class _Document(msgspec.Struct):
    blocks: dict[str, _Block] = {}


class _Published(msgspec.Struct):
    workflow_version: int
    document: _Document


class _Names:
    """What the blocks of a workflow are called, by version. Two that have the same name are told apart by their ids."""

    def __init__(self, log: EventLog):
        self._log = log
        self._kept: dict[tuple[TenantId, WorkflowId | None, int | None], dict[str, str]] = {}

    async def of(self, created: RawEvent) -> dict[str, str]:
        """The names for an execution, by id of the block."""
        meta, version = meta_of(created), about(created).workflow_version
        key = (meta.tenant, meta.workflow_id, version)
        if key not in self._kept:
            if len(self._kept) >= _DOCUMENTS:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (
                {} if meta.workflow_id is None else await self._read(meta.tenant, meta.workflow_id, version)
            )
        return self._kept[key]

    async def _read(self, tenant: TenantId, workflow_id: WorkflowId, version: int | None) -> dict[str, str]:
        if not version:
            return {}
        for event in await self._log.read_raw(workflow_stream(tenant, workflow_id), version - 1, 1):
            published = msgspec.json.decode(event.data, type=_Published)
            if published.workflow_version == version:
                return _told_apart(published.document.blocks)
        return {}


def _told_apart(blocks: dict[str, _Block]) -> dict[str, str]:
    named = dict(_named(blocks))
    told = list(named.values())
    return {block: name if told.count(name) == 1 else f"{name} ({block})" for block, name in named.items()}


def _named(blocks: dict[str, _Block]) -> Iterable[tuple[str, str]]:
    for block_id, block in blocks.items():
        yield block_id, block.display_name or block_id
        yield from _named(block.blocks)
