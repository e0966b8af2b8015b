"""Faults of what leads where and what reads what: edges, cycles, expressions and their references."""

from collections.abc import Iterator, Mapping

from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer
from playhead_contracts.workflow import ELSE
from playhead_engine.document_structure import closest
from playhead_engine.expressions import (
    ExpressionInvalid,
    Reference,
    compile_expression,
    compile_template,
)
from playhead_engine.outline import Edge, Outline, Text, mapping


def edge_faults(outline: Outline) -> Iterator[Fault]:
    """Edges to nowhere, edges written twice, branches of a condition that are none of its cases."""
    seen: set[tuple[str, str, str]] = set()
    for edge in outline.edges:
        if edge.target not in outline.ids:
            hint = closest(edge.target, outline.ids)
            yield Fault(pointer(*edge.place), f"leads to {edge.target!r}, which is no block", hint)
        if (edge.source, edge.handle, edge.target) in seen:
            yield Fault(pointer(*edge.place), f"leads to {edge.target!r} a second time")
        seen.add((edge.source, edge.handle, edge.target))
    for block_id, block in _conditions(outline):
        known = (*mapping(block.get("cases")), ELSE)
        for name in mapping(block.get("next")):
            if name not in known:
                hint = closest(name, known) or f"cases are {', '.join(known)}"
                yield Fault(pointer("blocks", block_id, "next", name), f"{name!r} is no case of {block_id}", hint)


def cycle_faults(outline: Outline) -> Iterator[Fault]:
    """One fault for each cycle that a walk along the edges meets, at the edge that closes it."""
    done: set[str] = set()
    for start in outline.blocks:
        if start in done:
            continue
        path: dict[str, None] = {start: None}
        rest = [iter(outline.followers.get(start, ()))]
        while rest:
            edge = next(rest[-1], None)
            if edge is None:
                done.add(path.popitem()[0])
                rest.pop()
            elif edge.target in path:
                yield _cycle(list(path), edge)
            elif edge.target not in done:
                path[edge.target] = None
                rest.append(iter(outline.followers.get(edge.target, ())))


def text_faults(outline: Outline) -> Iterator[Fault]:
    """Expressions that are none, and references to what is not there or not allowed there."""
    upstream: dict[str, frozenset[str]] = {}
    for text in outline.texts:
        try:
            references = _references_of(text)
        except ExpressionInvalid as exc:
            yield Fault(pointer(*text.place), f"in `{_shortened(exc.source)}`: {exc.detail}")
            continue
        if text.block is not None and text.block not in upstream:
            upstream[text.block] = outline.upstream_of(text.block)
        for reference in sorted(references, key=lambda each: (each.root, each.path)):
            if reference.root == "secrets" and not text.may_hold_secrets:
                detail = "a secret would be recorded here: use it in url, headers, query or body of an http block"
                yield Fault(pointer(*text.place), detail)
            if reference.root == "blocks":
                yield from _block_faults(outline, text, reference.path[0], upstream)


def warnings(outline: Outline) -> Iterator[Fault]:
    """What is allowed and probably not meant."""
    for block_id, block in _conditions(outline):
        branches = mapping(block.get("next"))
        if ELSE not in branches:
            where = pointer("blocks", block_id, "next")
            yield Fault(where, "has no `else`: when no case is true, nothing after this block runs")
        for name in mapping(block.get("cases")):
            if not branches.get(name):
                yield Fault(pointer("blocks", block_id, "cases", name), f"the case {name!r} leads nowhere")
    declared = _declared_input(outline)
    variables = mapping(outline.raw.get("variables"))
    for text in outline.texts:
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


def _conditions(outline: Outline) -> Iterator[tuple[str, dict[str, Json]]]:
    return ((name, block) for name, block in outline.blocks.items() if block.get("type") == "condition")


def _cycle(path: list[str], closing: Edge) -> Fault:
    around = " -> ".join((*path[path.index(closing.target) :], closing.target))
    return Fault(pointer(*closing.place), f"closes a cycle: {around}", "a workflow only leads forward")


def _references_of(text: Text) -> frozenset[Reference]:
    if text.is_expression:
        return compile_expression(text.source).references
    return compile_template(text.source).references


def _block_faults(
    outline: Outline, text: Text, block_id: str, upstream: Mapping[str, frozenset[str]]
) -> Iterator[Fault]:
    where = pointer(*text.place)
    if block_id not in outline.ids:
        yield Fault(where, f"blocks.{block_id}: there is no such block", closest(block_id, outline.ids))
    elif text.block is not None and block_id not in upstream[text.block]:
        detail = f"blocks.{block_id} does not lead to {text.block}, so whether it has a value depends on timing"
        yield Fault(where, detail, f"let an edge lead from {block_id} to {text.block}, directly or not")


def _declared_input(outline: Outline) -> frozenset[str] | None:
    """The fields of the input, if its schema says for certain which there are."""
    schema = mapping(outline.raw.get("input"))
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return None
    return frozenset(mapping(schema.get("properties")))


def _shortened(source: str) -> str:
    return source if len(source) <= 80 else source[:77] + "..."
