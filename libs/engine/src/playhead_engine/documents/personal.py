"""Faults of what a document says of personal values: marks, whose they are, and what cannot be sealed."""

from collections.abc import Iterator
from typing import cast

from playhead_contracts.canonical import ordered_entries
from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.human import HumanBlock
from playhead_contracts.ids import BlockPath
from playhead_contracts.pointers import pointer
from playhead_engine.documents.outline import Outline, Place, mapping
from playhead_engine.expressions import ExpressionInvalid, compile_template
from playhead_engine.graph import Graph, Node
from playhead_engine.privacy.marks import KEYWORD
from playhead_engine.privacy.taint import reach

_HINT = 'say whose: `personal: {subject: "{{ input.customer_id }}"}` at the top of the document'
_VALUES = ("const", "enum", "default", "examples")
"""Keywords of JSON Schema that hold values, in which nothing is a keyword."""


def personal_faults(outline: Outline) -> Iterator[Fault]:
    """Marks that are none, marks of which nobody knows whose they are, and subjects that cannot be told."""
    is_told = isinstance(outline.raw.get("personal"), dict)
    for mark, place in _marks(outline):
        if not isinstance(mark, bool):
            yield Fault(pointer(*place), f"{KEYWORD} is true or false")
        elif mark and not is_told:
            yield Fault(pointer(*place), "is personal, and the document does not say whose it is", _HINT)
    if is_told:
        yield from _subject_faults(mapping(outline.raw.get("personal")).get("subject"))


def _subject_faults(subject: Json) -> Iterator[Fault]:
    if not isinstance(subject, str):
        return  # told as a fault of the structure
    where = pointer("personal", "subject")
    try:
        references = compile_template(subject).references
    except ExpressionInvalid as exc:
        yield Fault(where, f"in `{exc.source[:200]}`: {exc.detail}")
        return
    for reference in sorted(references, key=lambda each: (each.root, each.path)):
        if reference.root not in ("input", "vars"):
            detail = f"{reference.root} is not known yet when an execution begins"
            yield Fault(where, detail, "it can read `input` and `vars`")
    if not references:
        yield Fault(where, "is the same for everybody", _HINT)


def open_faults(graph: Graph) -> Iterator[Fault]:
    """Personal values in places that must stay readable, so that people and pauses come together."""
    reached = reach(graph)
    for node in graph.all_nodes():
        for index, written in enumerate(node.block.assignees if isinstance(node.block, HumanBlock) else ()):
            if reached.is_read(node.body, compile_template(written).references):
                where = pointer(*_place(node), "assignees", index)
                yield Fault(where, "reads something personal, and who may answer is not sealed", "name a group")


def _place(node: Node) -> Place:
    place: list[str | int] = []
    for part in BlockPath(node.path).split("/"):
        place += ["blocks", part]
    return tuple(place)


def _marks(outline: Outline) -> Iterator[tuple[Json, Place]]:
    yield from _marks_in(outline.raw.get("input"), ("input",))
    for body in outline.all():
        for block_id, block in body.blocks.items():
            if block.get("type") != "human":
                continue
            place = (*body.place, "blocks", block_id)
            yield from _marks_in(block.get("form"), (*place, "form"))
            for name, action in (ordered_entries(block.get("actions")) or {}).items():
                yield from _marks_in(mapping(action).get("form"), (*place, "actions", name, "form"))


def _marks_in(schema: Json, place: Place, *, is_named: bool = False) -> Iterator[tuple[Json, Place]]:
    """Every `x-personal` of a schema. `is_named`: the keys here are names of properties, and no keywords."""
    if isinstance(schema, list):
        for index, inner in enumerate(cast("list[Json]", schema)):
            yield from _marks_in(inner, (*place, index))
    if not isinstance(schema, dict):
        return
    for name, inner in cast("dict[str, Json]", schema).items():
        if name == KEYWORD and not is_named:
            yield inner, (*place, name)
        elif is_named or name not in _VALUES:
            names = not is_named and name in ("properties", "patternProperties", "$defs", "dependentSchemas")
            yield from _marks_in(inner, (*place, name), is_named=names)
