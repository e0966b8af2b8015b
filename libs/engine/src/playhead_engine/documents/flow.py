"""Faults of what leads where and what reads what: edges, cycles, expressions and their references."""

from collections.abc import Iterator, Mapping

from playhead_contracts.canonical import ordered_entries
from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.fields import ELSE
from playhead_contracts.pointers import pointer
from playhead_engine.documents.outline import Edge, Outline, Place, Text, mapping
from playhead_engine.documents.structure import closest
from playhead_engine.expressions import (
    ExpressionInvalid,
    Reference,
    compile_expression,
    compile_template,
)
from playhead_engine.variables import fits, kind_of

_SEEN_IN: Mapping[str, tuple[str, ...]] = {"loop": ("index", "item", "previous"), "parallel": ("index", "item")}
"""What a container shows to the blocks inside of it."""


def id_faults(outline: Outline) -> Iterator[Fault]:
    """Blocks inside of a container that are named like one around it: nobody could tell which is meant."""
    for body in outline.all():
        around: set[str] = set()
        outer = body.parent
        while outer is not None:
            around |= outer.ids
            outer = outer.parent
        for block_id in body.ids:
            if block_id in around:
                where = pointer(*body.place, "blocks", block_id)
                yield Fault(where, f"a block around this one is named {block_id!r}, too", "give one another name")


def edge_faults(outline: Outline) -> Iterator[Fault]:
    """Edges to nowhere, edges written twice, branches of a condition that are none of its cases."""
    for body in outline.all():
        seen: set[tuple[str, str, str]] = set()
        for edge in body.edges:
            yield from _target_faults(outline, body, edge)
            if (edge.source, edge.handle, edge.target) in seen:
                yield Fault(pointer(*edge.place), f"leads to {edge.target!r} a second time")
            seen.add((edge.source, edge.handle, edge.target))
        for block_id, block in body.blocks.items():
            place = (*body.place, "blocks", block_id)
            if block.get("type") == "condition":
                yield from _branch_faults(block_id, block, place)
            if block.get("continue_on_error") is True and block.get("on_error"):
                detail = "says what follows a failure, and so does `continue_on_error`: say one of the two"
                yield Fault(pointer(*place, "on_error"), detail)


def _target_faults(outline: Outline, body: Outline, edge: Edge) -> Iterator[Fault]:
    where = pointer(*edge.place)
    if edge.target not in body.ids:
        elsewhere = any(edge.target in other.ids for other in outline.all())
        hint = "edges stay inside of their container" if elsewhere else closest(edge.target, body.ids)
        what = "which is not in the same container" if elsewhere else "which is no block"
        yield Fault(where, f"leads to {edge.target!r}, {what}", hint)
    elif body.blocks.get(edge.target, {}).get("type") == "note":
        yield Fault(where, f"leads to {edge.target!r}, which is a note", "notes take no part in the execution")


def _branch_faults(block_id: str, block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    known = (*(ordered_entries(block.get("cases")) or ()), ELSE)
    for name in mapping(block.get("next")):
        if name not in known:
            hint = closest(name, known) or f"cases are {', '.join(known)}"
            yield Fault(pointer(*place, "next", name), f"{name!r} is no case of {block_id}", hint)


def cycle_faults(outline: Outline) -> Iterator[Fault]:
    """One fault for each cycle that a walk along the edges meets, at the edge that closes it."""
    for body in outline.all():
        done: set[str] = set()
        for start in body.blocks:
            if start in done:
                continue
            path: dict[str, None] = {start: None}
            rest = [iter(body.followers.get(start, ()))]
            while rest:
                edge = next(rest[-1], None)
                if edge is None:
                    done.add(path.popitem()[0])
                    rest.pop()
                elif edge.target in path:
                    yield _cycle(list(path), edge)
                elif edge.target not in done:
                    path[edge.target] = None
                    rest.append(iter(body.followers.get(edge.target, ())))


def text_faults(outline: Outline) -> Iterator[Fault]:
    """Expressions that are none, and references to what is not there or not allowed there."""
    for body in outline.all():
        for text in body.texts:
            try:
                references = _references_of(text)
            except ExpressionInvalid as exc:
                yield Fault(pointer(*text.place), f"in `{_shortened(exc.source)}`: {exc.detail}")
                continue
            for reference in sorted(references, key=lambda each: (each.root, each.path)):
                yield from _reference_faults(body, text, reference)


def _reference_faults(body: Outline, text: Text, reference: Reference) -> Iterator[Fault]:
    where = pointer(*text.place)
    match reference.root:
        case "secrets" if not text.may_hold_secrets:
            yield Fault(where, "a secret would be recorded here: use it in url, headers, query, body or auth of http")
        case "blocks":
            yield from _block_faults(body, text, reference)
        case "loop" | "parallel" as kind:
            kinds = [each.owner_kind for each in _bodies_around(body)]
            if kind not in kinds and text.looks_at != kind:
                yield Fault(where, f"there is no {kind} around this, so {kind}.{_name(reference)} is nothing")
            else:
                yield from _field_faults(where, kind, kind, reference.path)
        case "event" if text.looks_at != "event":
            yield Fault(where, "`event` is there only in `match` of a wait for events")
        case _:
            pass


def _name(reference: Reference) -> str:
    return reference.path[0] if reference.path else "..."


def _bodies_around(body: Outline | None) -> Iterator[Outline]:
    while body is not None:
        yield body
        body = body.parent


def _field_faults(where: str, what: str, kind: str, path: tuple[str, ...]) -> Iterator[Fault]:
    known = _SEEN_IN[kind]
    if path and path[0] not in known:
        hint = closest(path[0], known) or f"there are {', '.join(known)}"
        yield Fault(where, f"{what} has no {path[0]!r} inside of it", hint)


def _block_faults(body: Outline, text: Text, reference: Reference) -> Iterator[Fault]:
    where, block_id = pointer(*text.place), reference.path[0]
    reader = text.block
    for around in _bodies_around(body):
        if block_id in around.ids:
            if around.blocks.get(block_id, {}).get("type") == "note":
                yield Fault(where, f"blocks.{block_id} is a note, and notes give nothing")
            elif reader == block_id:
                yield Fault(where, f"{block_id} reads itself, and has no value before it is done")
            elif reader is not None and block_id not in around.upstream_of(reader):
                detail = f"blocks.{block_id} does not lead to {reader}, so whether it has a value depends on timing"
                yield Fault(where, detail, f"let an edge lead from {block_id} to {reader}, directly or not")
            return
        if around.owner == block_id:
            yield from _field_faults(where, f"blocks.{block_id}", str(around.owner_kind), reference.path[1:])
            return
        reader = around.owner
    container = _container_with(body, block_id)
    if container is not None:
        hint = f"read blocks.{container}.results, which has what each run of its body gave"
        yield Fault(where, f"blocks.{block_id} is inside of {container}, and there may be many of it", hint)
    else:
        known = [name for around in _bodies_around(body) for name in around.ids]
        yield Fault(where, f"blocks.{block_id}: there is no such block", closest(block_id, known))


def _container_with(body: Outline, block_id: str) -> str | None:
    """The container, in a body around, that has this block somewhere inside."""
    for around in _bodies_around(body):
        for name, inner in around.inner.items():
            if any(block_id in each.ids for each in inner.all()):
                return name
    return None


def warnings(outline: Outline) -> Iterator[Fault]:
    """What is allowed and probably not meant."""
    declared = _declared_input(outline)
    variables = mapping(outline.raw.get("variables"))
    for body in outline.all():
        for block_id, block in body.blocks.items():
            place = (*body.place, "blocks", block_id)
            if block.get("type") == "condition":
                yield from _condition_warnings(block, place)
            if block.get("type") == "variables":
                yield from _undeclared(block, place, variables)
        for text in body.texts:
            try:
                references = _references_of(text)
            except ExpressionInvalid:
                continue
            for root, name in sorted({(each.root, each.path[0]) for each in references if each.path}):
                if root == "input" and declared is not None and name not in declared:
                    detail = f"the schema of the input has no {name!r} and allows nothing else"
                    yield Fault(pointer(*text.place), detail, closest(name, declared))
                if root == "vars" and name not in variables:
                    detail = f"vars.{name} has no default in `variables`"
                    yield Fault(pointer(*text.place), detail, closest(name, variables))


def variable_faults(outline: Outline) -> Iterator[Fault]:
    """Values that are written out, and are not of their variable's type."""
    declared = mapping(outline.raw.get("variables"))
    for body in outline.all():
        for block_id, block in body.blocks.items():
            if block.get("type") != "variables":
                continue
            for name, value in mapping(block.get("set")).items():
                is_computed = isinstance(value, str) and "{{" in value
                if name in declared and not is_computed and not fits(declared[name], value):
                    where = pointer(*body.place, "blocks", block_id, "set", name)
                    yield Fault(where, f"vars.{name} is {kind_of(declared[name])}, and this is {kind_of(value)}")


def _undeclared(block: Mapping[str, Json], place: Place, variables: Mapping[str, Json]) -> Iterator[Fault]:
    for name in mapping(block.get("set")):
        if name not in variables:
            where = pointer(*place, "set", name)
            yield Fault(where, f"vars.{name} has no default in `variables`", closest(name, variables))


def _condition_warnings(block: Mapping[str, Json], place: Place) -> Iterator[Fault]:
    branches = mapping(block.get("next"))
    if ELSE not in branches:
        yield Fault(pointer(*place, "next"), "has no `else`: when no case is true, nothing after this block runs")
    for name in ordered_entries(block.get("cases")) or ():
        if not branches.get(name):
            yield Fault(pointer(*place, "cases", name), f"the case {name!r} leads nowhere")


def _cycle(path: list[str], closing: Edge) -> Fault:
    around = " -> ".join((*path[path.index(closing.target) :], closing.target))
    hint = "a workflow only leads forward; to do something again and again, put it into a loop"
    return Fault(pointer(*closing.place), f"closes a cycle: {around}", hint)


def _references_of(text: Text) -> frozenset[Reference]:
    if text.is_expression:
        return compile_expression(text.source).references
    return compile_template(text.source).references


def _declared_input(outline: Outline) -> frozenset[str] | None:
    """The fields of the input, if its schema says for certain which there are."""
    schema = mapping(outline.raw.get("input"))
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return None
    return frozenset(mapping(schema.get("properties")))


def _shortened(source: str) -> str:
    return source if len(source) <= 80 else source[:77] + "..."
