"""Events for people: one line each, with what matters about it."""

import json
from collections.abc import Callable
from datetime import datetime

import msgspec

from playhead_contracts.commands import Chunk
from playhead_contracts.events import Actor, Json

TERMINAL = frozenset({"execution.completed", "execution.failed", "execution.cancelled", "execution.timed_out"})
PAUSED = "execution.paused"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the gateway tells it. Not decoded by type: a newer gateway may know more of them."""

    type: str
    version: int
    recorded_at: datetime
    actor: Actor
    data: dict[str, Json]

    @property
    def block(self) -> str:
        return str(self.data.get("path") or "")

    @property
    def detail(self) -> str:
        """What matters about it, on one line."""
        tell = _DETAILS.get(self.type)
        return "" if tell is None else tell(self)


def read_fact(frame: bytes | msgspec.Raw) -> Fact:
    """A fact from its stored bytes."""
    return msgspec.json.decode(frame, type=Fact)


def read_chunk(frame: bytes) -> Chunk:
    """A piece of what a block is about to give."""
    return msgspec.json.decode(frame, type=Chunk)


def compact(value: Json, limit: int = 90) -> str:
    """A JSON value on one line, cut off at `limit` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _created(fact: Fact) -> str:
    source = fact.data.get("source")
    if source:
        return f"fork of {source['execution_id']} at version {source['version']}, from {source['from_block']}"
    return compact(fact.data.get("input"))


def _claimed(fact: Fact) -> str:
    return f"by {fact.data['executor']}"


def _paused(fact: Fact) -> str:
    due_at = fact.data.get("due_at")
    waits_for = ["an answer"] if fact.data.get("pauses") else []
    waits_for += [str(due_at)] if due_at else []
    return "waits for " + (" or ".join(waits_for) or "a worker, an event or a child")


def _completed(fact: Fact) -> str:
    decision = fact.data.get("decision")
    return "→ " + ", ".join(decision) if decision else compact(fact.data.get("outputs"))


def _failed(fact: Fact) -> str:
    error = fact.data["error"]
    return f"{error['type']}: {error['message']}"


def _reused(fact: Fact) -> str:
    reference = fact.data["reference"]
    return f"version {reference['version']} of {reference['execution_id']}"


def _resolved(fact: Fact) -> str:
    if fact.data["resolution"] == "closed":
        return f"closed: {fact.data.get('reason') or ''}"
    return f"{fact.actor.name}: {compact(fact.data.get('answer'))}"


def _attempt(fact: Fact) -> str:
    attempt = fact.data.get("attempt", 1)
    return "" if attempt == 1 else f"attempt {attempt}"


def _started(fact: Fact) -> str:
    container, watch = fact.data.get("container"), fact.data.get("watch")
    if container:
        count = container.get("count")
        return "until its condition ends it" if count is None else f"{count} times"
    if watch:
        types = [str(event.get("type") or "an event") for event in watch["events"]]
        return "waits for " + (" and " if watch["need"] == "all" else " or ").join(types)
    return f"child {fact.data['child']}" if fact.data.get("child") else _attempt(fact)


def _iteration(fact: Fact) -> str:
    error = fact.data.get("error")
    told = f"{error['type']}: {error['message']}" if error else compact(fact.data.get("outputs"))
    return f"[{fact.data['index']}] {told}" + (" (the last)" if fact.data.get("last") else "")


def _answered(fact: Fact) -> str:
    return _failed(fact) if fact.data.get("error") else compact(fact.data.get("outputs"))


def _notified(fact: Fact) -> str:
    error = f": {fact.data['error']}" if fact.data.get("error") else ""
    return f"{fact.data['webhook']} of {fact.data['about']}, {fact.data['outcome']}{error}"


def _matched(fact: Fact) -> str:
    event = fact.data["event"]
    return f"{event['type']} {event['id']} at position {event['position']}"


_DETAILS: dict[str, Callable[[Fact], str]] = {
    "execution.created": _created,
    "execution.started": _claimed,
    "execution.resumed": _claimed,
    "execution.recovered": _claimed,
    "execution.paused": _paused,
    "execution.completed": lambda fact: compact(fact.data.get("output")),
    "execution.failed": _failed,
    "execution.cancelled": lambda fact: str(fact.data.get("reason") or ""),
    "execution.cancel_requested": lambda fact: str(fact.data.get("reason") or ""),
    "execution.dead_lettered": lambda fact: str(fact.data["error"]),
    "block.started": _started,
    "block.retry_scheduled": lambda fact: f"{_failed(fact)}; again at {fact.data['due_at']}",
    "block.step_completed": lambda fact: f"{fact.data['name']}: {compact(fact.data.get('outputs'))}",
    "block.dispatched": lambda fact: f"{fact.data['task']}, task {fact.data['task_id']}",
    "task.answered": _answered,
    "iteration.completed": _iteration,
    "event.matched": _matched,
    "event.published": lambda fact: f"{fact.data['event_type']} {compact(fact.data.get('content'))}",
    "child.started": lambda fact: str(fact.data["child"]),
    "child.paused": lambda fact: f"{len(fact.data['pauses'])} open",
    "child.ended": lambda fact: f"{fact.data['status']} {_answered(fact)}",
    "block.completed": _completed,
    "block.failed": _failed,
    "block.skipped": lambda fact: str(fact.data["reason"]),
    "block.reused": _reused,
    "pause.requested": lambda fact: str(fact.data["message"]),
    "pause.resolved": _resolved,
    "pause.expired": lambda fact: f"at {fact.data['expired_at']}",
    "pause.notified": _notified,
}
