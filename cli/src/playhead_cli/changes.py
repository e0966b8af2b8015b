"""What is different between two states of an execution, as people say it: blocks, pauses, variables, and the whole."""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import msgspec
from rich.table import Table
from rich.text import Text

from playhead_cli.facts import compact
from playhead_cli.screen import line, status_text, table
from playhead_contracts.events import Json

_OF_THE_WHOLE = ("status", "output", "error", "http_status", "stop", "failed_block", "due_at", "dead_lettered")
_NOT_OF_BLOCKS = frozenset({"path", "version", "started_at", "ended_at", "duration_ms", "pause_id"})
_OF_PAUSES = ("status", "message", "assignees", "expires_at", "votes", "delegations", "answer", "action", "comment")
_WIDTH = 60

State = Mapping[str, Json]


class Changed(msgspec.Struct, frozen=True):
    """One member of something in the state. None before or after: it was not there, or nothing."""

    kind: str
    name: str
    member: str
    before: Json
    after: Json


def changes_of(before: State, after: State) -> list[Changed]:
    """What changed from one state (empty: before the beginning) to another; how it is kept, such as counts, is not."""
    found = list(_members("execution", "", before, after, _OF_THE_WHOLE))
    for name, old, new in _pairs(before, after, "blocks"):
        found += _members("block", name, old, new, [each for each in {**old, **new} if each not in _NOT_OF_BLOCKS])
    for _, old, new in _pairs(before, after, "pauses"):
        found += _members("pause", str((new or old)["path"]), old, new, _OF_PAUSES)
    old, new = _object(before.get("variables")), _object(after.get("variables"))
    variables = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return found + [Changed("variable", name, "", old.get(name), new.get(name)) for name in variables]


def changes_table(changes: Iterable[Changed], title: str | None = None) -> Table:
    """Before and after, line by line."""
    made = table("what", "name", "member", "before", "after", title=title)
    for each in changes:
        made.add_row(each.kind, each.name, each.member, _cell(each, each.before), _cell(each, each.after))
    return made


def change_line(change: Changed) -> Text:
    """One change on a line of its own, beneath the event that made it."""
    where = " ".join(part for part in (change.kind, change.name, change.member) if part)
    before, after = compact(change.before, _WIDTH), compact(change.after, _WIDTH)
    return Text.assemble(("      ", ""), (where, "dim"), f": {before} → {after}")


def _cell(change: Changed, value: Json) -> Text:
    if value is None:
        return Text("-", "dim")
    return status_text(str(value)) if change.member == "status" else line(compact(value, _WIDTH))


def _members(kind: str, name: str, old: State, new: State, members: Iterable[str]) -> Iterator[Changed]:
    for member in members:
        if old.get(member) != new.get(member):
            yield Changed(kind, name, member, old.get(member), new.get(member))


def _pairs(before: State, after: State, member: str) -> Iterator[tuple[str, State, State]]:
    old, new = _object(before.get(member)), _object(after.get(member))
    for name in {**old, **new}:
        yield name, _object(old.get(name)), _object(new.get(name))


def _object(value: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}
