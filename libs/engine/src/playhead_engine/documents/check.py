"""The door for workflow documents that people write: every fault at its place, never only the first."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice

import msgspec

from playhead_contracts.errors import Fault, InvalidDocument
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer
from playhead_contracts.workflow import WorkflowDocument
from playhead_engine.documents.flow import cycle_faults, edge_faults, id_faults, text_faults, variable_faults, warnings
from playhead_engine.documents.outline import Outline
from playhead_engine.documents.people import pause_faults
from playhead_engine.documents.personal import open_faults, personal_faults
from playhead_engine.documents.structure import build, schema_faults
from playhead_engine.graph import build_graph
from playhead_engine.limits import DEFAULT_LIMITS, Limits
from playhead_engine.traits import BUILTIN_TRAITS, BlockTraits

__all__ = ["BUILTIN_TRAITS", "BlockTraits", "Checked", "check", "parse"]

RESERVED_ID = "received"
"""On the bus, events from outside stand where others have their workflow."""
MAX_FAULTS = 200
"""Enough for any author; a document that is wrong everywhere costs no more than this."""


class Checked(msgspec.Struct, frozen=True):
    """What a check found. `document` is there exactly if there are no faults; warnings do not count."""

    document: WorkflowDocument | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()


def check(raw: Mapping[str, Json], custom: Mapping[str, BlockTraits] = {}, limits: Limits = DEFAULT_LIMITS) -> Checked:
    """Check a document as `read_document` gives it. `custom` are types of blocks that packages register."""
    traits = {**BUILTIN_TRAITS, **custom}
    outline = Outline(raw)
    if faults := tuple(_size_faults(outline, limits)):
        return Checked(None, faults)
    document, structure = build(outline, traits)
    found = chain(structure, _faults(outline, traits))
    faults = tuple(islice(found, MAX_FAULTS))
    if not faults and document is not None and document.personal is not None:
        faults = tuple(open_faults(build_graph(document, custom, limits)))
    return Checked(None if faults else document, faults, tuple(islice(warnings(outline), MAX_FAULTS)))


def _size_faults(outline: Outline, limits: Limits) -> Iterator[Fault]:
    count = 0
    for body in outline.all():
        count += len(body.ids)
        if count > limits.max_blocks:
            yield Fault(pointer("blocks"), f"there are more than {limits.max_blocks} blocks (max_blocks)")
            return
        if body.depth > limits.max_depth:
            detail = f"containers are nested more than {limits.max_depth} deep (max_depth)"
            yield Fault(pointer(*body.place), detail)
            return


def parse(
    raw: Mapping[str, Json], custom: Mapping[str, BlockTraits] = {}, limits: Limits = DEFAULT_LIMITS
) -> WorkflowDocument:
    """The document. Raises InvalidDocument with all of its faults."""
    checked = check(raw, custom, limits)
    if checked.document is None:
        count = len(checked.faults)
        detail = f"{count} fault{'s' if count > 1 else ''}; the first: {checked.faults[0].detail}"
        raise InvalidDocument(detail, errors=checked.faults)
    return checked.document


def _faults(outline: Outline, traits: Mapping[str, BlockTraits]) -> Iterator[Fault]:
    yield from schema_faults(outline, traits)
    if outline.raw.get("id") == RESERVED_ID:
        yield Fault(pointer("id"), f"a workflow cannot be named {RESERVED_ID!r}: events from outside have that name")
    yield from id_faults(outline)
    yield from edge_faults(outline)
    yield from cycle_faults(outline)
    yield from text_faults(outline)
    yield from variable_faults(outline)
    yield from pause_faults(outline)
    yield from personal_faults(outline)
