"""Events as OCEL 2.0 JSON: an object-centric event log, for process mining over more than one kind of thing.

Objects are executions, versions of workflows, block instances, pauses and people; every event says which of them it is
about, and as what. The objects of a long log do not fit into memory, and the format wants each once, with all that is
known of it: so they are kept in a file beside the export while its events are written, and come after these.
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Literal, NamedTuple, get_args

import msgspec

from playhead_cli.exports.reading import About, Meta, Part, about, meta_of
from playhead_contracts.events import EventData
from playhead_eventlog import RawEvent

_ALWAYS = "1970-01-01T00:00:00Z"
"""What the format says as the time of an attribute that does not change."""

_EVENT_ATTRIBUTES = {
    "position": "integer",
    "version": "integer",
    "actor": "string",
    "attempt": "integer",
    "action": "string",
    "duration_ms": "float",
}
_OBJECT_TYPES = {
    "execution": {"tenant": "string", "workflow": "string", "mode": "string", "status": "string"},
    "workflow": {"tenant": "string", "workflow": "string", "version": "integer"},
    "block": {"block": "string", "path": "string", "status": "string"},
    "pause": {"status": "string"},
    "person": {"tenant": "string", "name": "string", "kind": "string"},
}

_STATUS = {
    "execution.created": "created",
    "execution.started": "running",
    "execution.resumed": "running",
    "execution.recovered": "running",
    "execution.paused": "paused",
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
    "execution.timed_out": "timed_out",
    "block.started": "running",
    "block.dispatched": "running",
    "container.reused": "running",
    "block.retry_scheduled": "waiting",
    "block.completed": "completed",
    "block.overridden": "completed",
    "block.failed": "failed",
    "block.skipped": "skipped",
    "block.reused": "reused",
    "pause.requested": "open",
    "pause.expired": "expired",
}
"""What an event makes of the thing that its type begins with."""


class _Link(NamedTuple):
    """A thing that an event or another thing has to do with, and as what."""

    object_id: str
    type: str
    qualifier: str


_Value = str | int | float


async def write(part: Part, file: BinaryIO) -> int:
    """Write the events and their objects; gives how many events."""
    count = 0
    with _objects() as objects:
        file.write(b'{"objectTypes":' + _types(_OBJECT_TYPES))
        kinds = sorted(kind.__struct_config__.tag for kind in get_args(EventData))
        file.write(b',"eventTypes":' + _types(dict.fromkeys(map(str, kinds), _EVENT_ATTRIBUTES)))
        file.write(b',"events":[')
        async for events in part.pages():
            lines = [_event(event, objects) for event in events]
            file.write((b",\n" if count else b"\n") + b",\n".join(lines))
            objects.keep()
            count += len(events)
        file.write(b'\n],"objects":[')
        for number, line in enumerate(objects.lines()):
            file.write((b",\n" if number else b"\n") + line)
        file.write(b"\n]}\n")
    return count


def _event(event: RawEvent, objects: "_Objects") -> bytes:
    meta, what = meta_of(event), about(event)
    links = list(_links(event, meta, what, objects))
    values: dict[str, _Value | None] = {
        "position": event.position,
        "version": event.version,
        "actor": f"{meta.actor.kind}:{meta.actor.name}",
        "attempt": what.attempt,
        "action": what.action,
        "duration_ms": what.duration_ms,
    }
    for link in links:
        objects.see(link)
    return msgspec.json.encode(
        {
            "id": meta.id,
            "type": event.type,
            "time": meta.recorded_at,
            "attributes": [{"name": name, "value": value} for name, value in values.items() if value is not None],
            "relationships": [{"objectId": link.object_id, "qualifier": link.qualifier} for link in links],
        }
    )


def _links(event: RawEvent, meta: Meta, what: About, objects: "_Objects") -> Iterator[_Link]:
    """What an event is about. What it says of these is kept with them."""
    status = _STATUS.get(event.type)
    if meta.actor.kind != "system":
        yield _person(meta, meta.actor.kind, meta.actor.name, "by", objects)
    if event.type == "workflow.published" and meta.workflow_id is not None:
        yield _workflow(meta, _published_version(event), "published", objects)
    if meta.execution_id is None:
        return
    execution = _execution(meta.execution_id, "in")
    yield execution
    if event.type.startswith("execution.") and status is not None:
        objects.says(execution, "status", status, meta.recorded_at)
    if event.type == "execution.created":
        yield from _created(execution, meta, what, objects)
    if what.path is None:
        return
    block = _Link(f"block:{meta.execution_id}/{what.path}", "block", "of")
    yield block
    objects.relate(block, execution)
    objects.says(block, "block", what.path.rsplit("/", 1)[-1].partition("[")[0])
    objects.says(block, "path", what.path)
    if event.type.startswith(("block.", "container.")) and status is not None:
        objects.says(block, "status", status, meta.recorded_at)
    if what.child is not None:
        child = _execution(what.child, "child")
        yield child
        objects.see(child)
        objects.relate(child, block._replace(qualifier="started by"))
    if what.pause_id is not None:
        yield from _about_pause(event, meta, what, block, objects)


def _created(execution: _Link, meta: Meta, what: About, objects: "_Objects") -> Iterator[_Link]:
    workflow = _workflow(meta, what.workflow_version or 0, "of", objects)
    yield workflow
    objects.relate(execution, workflow)
    objects.says(execution, "tenant", meta.tenant)
    objects.says(execution, "workflow", meta.workflow_id or "")
    if what.mode is not None:
        objects.says(execution, "mode", what.mode)
    if what.source is not None:
        source = _execution(what.source.execution_id, "forked from")
        yield source
        objects.relate(execution, source)
    if what.parent is not None:
        parent = _execution(what.parent.execution_id, "child of")
        yield parent
        objects.relate(execution, parent)


def _about_pause(event: RawEvent, meta: Meta, what: About, block: _Link, objects: "_Objects") -> Iterator[_Link]:
    pause = _Link(f"pause:{what.pause_id}", "pause", "of")
    yield pause
    objects.relate(pause, block._replace(qualifier="asked by"))
    status = what.resolution if event.type == "pause.resolved" else _STATUS.get(event.type)
    if status is not None:
        objects.says(pause, "status", status, meta.recorded_at)
    if what.on_behalf_of is not None:
        yield _person(meta, "person", what.on_behalf_of, "on behalf of", objects)
    if what.to is not None:
        yield _person(meta, "person", what.to, "to", objects)


def _execution(execution_id: str, qualifier: str) -> _Link:
    return _Link(f"execution:{execution_id}", "execution", qualifier)


def _workflow(meta: Meta, version: int, qualifier: str, objects: "_Objects") -> _Link:
    link = _Link(f"workflow:{meta.tenant}:{meta.workflow_id}@{version}", "workflow", qualifier)
    objects.says(link, "tenant", meta.tenant)
    objects.says(link, "workflow", meta.workflow_id or "")
    objects.says(link, "version", version)
    return link


def _person(meta: Meta, kind: Literal["person", "key"], name: str, qualifier: str, objects: "_Objects") -> _Link:
    link = _Link(f"{kind}:{meta.tenant}:{name}", "person", qualifier)
    objects.says(link, "tenant", meta.tenant)
    objects.says(link, "name", name)
    objects.says(link, "kind", kind)
    return link


class _Published(msgspec.Struct):
    workflow_version: int


def _published_version(event: RawEvent) -> int:
    return msgspec.json.decode(event.data, type=_Published).workflow_version


def _types(types: dict[str, dict[str, str]]) -> bytes:
    named = [
        {"name": name, "attributes": [{"name": each, "type": kind} for each, kind in attributes.items()]}
        for name, attributes in types.items()
    ]
    return msgspec.json.encode(named)


_SCHEMA = """
pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -16000; pragma locking_mode = exclusive;
create table objects (id text primary key, type text not null) without rowid;
create table attributes (id text, name text, time text, value, primary key (id, name, time, value)) without rowid;
create table relations (id text, other text, qualifier text, primary key (id, other, qualifier)) without rowid;
"""


@contextmanager
def _objects() -> "Generator[_Objects]":
    # On disk where temporary files are: one object takes about 300 bytes.
    with (
        TemporaryDirectory(prefix="playhead-export-") as folder,
        closing(sqlite3.connect(Path(folder) / "objects", isolation_level=None)) as database,
    ):
        database.executescript(_SCHEMA)
        yield _Objects(database)


class _Objects:
    """All things that were met, each once, in a file."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database
        self._objects: set[tuple[str, str]] = set()
        self._attributes: set[tuple[str, str, str, _Value]] = set()
        self._relations: set[tuple[str, str, str]] = set()

    def see(self, link: _Link) -> None:
        """There is this thing."""
        self._objects.add((link.object_id, link.type))

    def says(self, link: _Link, name: str, value: _Value, time: str = _ALWAYS) -> None:
        """An attribute of a thing, since a time."""
        self._attributes.add((link.object_id, name, time, value))

    def relate(self, link: _Link, other: _Link) -> None:
        """A thing has to do with another."""
        self._relations.add((link.object_id, other.object_id, other.qualifier))

    def keep(self) -> None:
        """Put into the file what was told since the last time."""
        execute = self._database.executemany
        self._database.execute("begin")
        # In the order of the tables: the pages of a tree are then met one after the other.
        execute("insert or ignore into objects values (?, ?)", sorted(self._objects))
        execute("insert or ignore into attributes values (?, ?, ?, ?)", self._attributes)
        execute("insert or ignore into relations values (?, ?, ?)", sorted(self._relations))
        self._database.execute("commit")
        self._objects.clear()
        self._attributes.clear()
        self._relations.clear()

    def lines(self) -> Iterator[bytes]:
        """Each thing as an object of OCEL, in the order of their ids."""
        query = self._database.execute
        attributes = _Grouped(query("select id, name, time, value from attributes order by id, name, time"))
        relations = _Grouped(query("select id, other, qualifier from relations order by id, other"))
        for object_id, kind in query("select id, type from objects order by id"):
            told = attributes.of(object_id)
            others = relations.of(object_id)
            yield msgspec.json.encode(
                {
                    "id": object_id,
                    "type": kind,
                    "attributes": [{"name": name, "time": time, "value": value} for _, name, time, value in told],
                    "relationships": [{"objectId": other, "qualifier": qualifier} for _, other, qualifier in others],
                }
            )


class _Grouped:
    """Rows in the order of their first column, asked for in that order."""

    def __init__(self, rows: Iterator[tuple[str, ...]]):
        self._groups = groupby(rows, key=lambda row: row[0])
        self._next = next(self._groups, None)

    def of(self, key: str) -> list[tuple[str, ...]]:
        while self._next is not None and self._next[0] < key:
            self._next = next(self._groups, None)
        return list(self._next[1]) if self._next is not None and self._next[0] == key else []
