"""Faults of what a document asks people: actions that are none, ends that never come, answers that do not fit."""

from collections.abc import Iterator, Mapping
from typing import cast

from playhead_contracts.canonical import ordered_entries
from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.fields import NEXT
from playhead_contracts.pointers import pointer
from playhead_engine.documents.outline import Outline, Place, mapping
from playhead_engine.documents.structure import closest
from playhead_engine.schemas import faults_of, with_defaults

_PLAIN = ("approve", "deny")
_KINDS = ("user", "group", "scope")


def pause_faults(outline: Outline) -> Iterator[Fault]:
    """Every fault of every `human` block that its fields do not have by themselves."""
    for body in outline.all():
        for block_id, block in body.blocks.items():
            if block.get("type") == "human":
                place = (*body.place, "blocks", block_id)
                yield from _branch_faults(block, place)
                yield from _people_faults(block, place)
                yield from _time_faults(block, place)
                yield from _label_faults(block, place)


def _actions_of(block: Mapping[str, Json]) -> dict[str, Json]:
    written = ordered_entries(block.get("actions"))
    if written:
        return written
    return dict.fromkeys(mapping(block.get("next")))


def _branch_faults(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    branches, written = mapping(block.get("next")), ordered_entries(block.get("actions"))
    for name in branches:
        where = pointer(*place, "next", name)
        if name == NEXT:
            yield Fault(where, "no action can be named `next`: a plain edge is written `next: block`")
        elif written and name not in written:
            hint = closest(name, written) or f"actions are {', '.join(written)}"
            yield Fault(where, f"{name!r} is none of the actions", hint)


def _people_faults(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    assignees: Json = block.get("assignees")
    names = cast("list[Json]", assignees) if isinstance(assignees, list) else []
    yield from _name_faults(names, (*place, "assignees"))
    people = {str(name).removeprefix("user:") for name in names}
    needed: Json = mapping(block.get("quorum")).get("needed")
    are_named = bool(names) and all(isinstance(name, str) and _is_person(name) for name in names)
    if isinstance(needed, int) and are_named and needed > len(people):
        where = pointer(*place, "quorum", "needed")
        yield Fault(where, f"{needed} people must agree, and there are {len(people)} who may answer")


def _name_faults(names: list[Json], place: Place) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if not isinstance(name, str) or "{{" in name:
            continue
        kind, is_kind, rest = name.partition(":")
        if is_kind and (kind not in _KINDS or not rest):
            hint = "write ann or user:ann for a person, group:finance, or scope:refunds:approve"
            yield Fault(pointer(*place, index), f"{name!r} is nobody who could answer", hint)


def _is_person(name: str) -> bool:
    return "{{" not in name and (":" not in name or name.startswith("user:"))


def _time_faults(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    ends = "expires_in" in block or "expires_at" in block
    for field in ("remind_before", "on_expiry"):
        if field in block and block[field] != "fail" and not ends:
            yield Fault(pointer(*place, field), "never happens: the pause has neither `expires_in` nor `expires_at`")
    yield from _expiry_faults(block, block.get("on_expiry"), (*place, "on_expiry"))


def _expiry_faults(block: Mapping[str, Json], expiry: Json, place: Place) -> Iterator[Fault]:
    if not isinstance(expiry, dict):
        return
    said = mapping(expiry)
    actions = _actions_of(block)
    known = tuple(actions) or _PLAIN
    action: Json = said.get("action")
    if isinstance(action, str) and action not in known:
        hint = closest(action, known) or f"actions are {', '.join(known)}"
        yield Fault(pointer(*place, "action"), f"{action!r} is none of the actions", hint)
    if "answer" in said and actions and action is None:
        yield Fault(pointer(*place), f"does not say which action it is: one of {', '.join(actions)}")
    yield from _answer_faults(block, said.get("answer"), place)
    escalate: Json = said.get("escalate")
    if isinstance(escalate, list):
        yield from _name_faults(cast("list[Json]", escalate), (*place, "escalate"))
        if said.get("on_expiry", "fail") != "fail" and "expires_in" not in said:
            yield Fault(pointer(*place, "on_expiry"), "never happens: the escalation has no `expires_in`")
        yield from _expiry_faults(block, said.get("on_expiry"), (*place, "on_expiry"))


def _answer_faults(block: Mapping[str, Json], answer: Json, place: Place) -> Iterator[Fault]:
    form: Json = block.get("form")
    if not isinstance(form, dict) or not isinstance(answer, dict):
        return
    schema = mapping(form)
    try:
        found = faults_of(schema, with_defaults(schema, mapping(answer)))
    except ValueError:
        return  # told as a fault of the form
    for fault in found:
        yield Fault(pointer(*place, "answer") + fault.pointer.removeprefix("#"), fault.detail)


def _label_faults(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    shown = ordered_entries(block.get("show")) or {}
    for name in mapping(block.get("labels")):
        if name not in shown:
            hint = closest(name, shown) or "labels are for what `show` has"
            yield Fault(pointer(*place, "labels", name), f"{name!r} is not shown", hint)
