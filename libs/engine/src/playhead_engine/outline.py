"""A workflow document in outline: its blocks, edges and texts, as far as they can be told apart.

It is read from the raw document and forgives everything, so that a block which is wrong by itself still takes
part in what is said about the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from functools import cached_property
from typing import cast

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.workflow import ERROR, NEXT

Place = tuple[str | int, ...]
"""Where something stands in the document: keys and indexes from its top."""

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "function": ("inputs",),
    "http": ("url", "headers", "query", "body"),
    "condition": ("cases",),
    "human": ("message", "show"),
    "response": ("body",),
    "wait": ("for", "until"),
}
"""The fields of each type of block that hold expressions; `config` for any other type."""


class Edge(msgspec.Struct, frozen=True):
    """One edge, and where it is written."""

    source: str
    handle: str
    target: str
    place: Place


class Text(msgspec.Struct, frozen=True):
    """A string that may hold expressions. `block` is None for the output of the whole workflow."""

    block: str | None
    source: str
    place: Place
    is_expression: bool
    """Whether the string is an expression as it stands, and not a template."""
    may_hold_secrets: bool


class Outline:
    """What `raw` has of blocks, edges and texts. Blocks that are no mappings are left out."""

    def __init__(self, raw: Mapping[str, Json]):
        self.raw = raw
        self.blocks = {
            block_id: cast("dict[str, Json]", block)
            for block_id, block in mapping(raw.get("blocks")).items()
            if isinstance(block, dict)
        }

    @cached_property
    def ids(self) -> KeysView[str]:
        """Every id, also of blocks that are no mappings."""
        return mapping(self.raw.get("blocks")).keys()

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(edge for block_id, block in self.blocks.items() for edge in _edges_of(block_id, block))

    @cached_property
    def followers(self) -> Mapping[str, tuple[Edge, ...]]:
        """The edges of each block that lead to a block."""
        return {
            block_id: tuple(edge for edge in edges if edge.target in self.blocks)
            for block_id, edges in _grouped((edge.source, edge) for edge in self.edges).items()
        }

    @cached_property
    def texts(self) -> tuple[Text, ...]:
        own = [text for block_id, block in self.blocks.items() for text in _texts_of(block_id, block)]
        return (*own, *_strings(None, self.raw.get("output"), ("output",)))

    def upstream_of(self, block_id: str) -> frozenset[str]:
        """Every block from which edges lead to this one, directly or not."""
        found: set[str] = set()
        rest = [block_id]
        while rest:
            sources = {edge.source for edge in self._leading_to.get(rest.pop(), ())} - found
            found |= sources
            rest += sources
        return frozenset(found)

    @cached_property
    def _leading_to(self) -> Mapping[str, list[Edge]]:
        return _grouped((edge.target, edge) for edge in self.edges)


def mapping(value: Json) -> dict[str, Json]:
    """The value if it is an object, or an empty one."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _grouped(pairs: Iterable[tuple[str, Edge]]) -> Mapping[str, list[Edge]]:
    groups: defaultdict[str, list[Edge]] = defaultdict(list)
    for name, edge in pairs:
        groups[name].append(edge)
    return groups


def _edges_of(block_id: str, block: dict[str, Json]) -> Iterator[Edge]:
    place = ("blocks", block_id)
    following: Json = block.get("next")
    if isinstance(following, dict):
        for handle, targets in cast("dict[str, Json]", following).items():
            yield from _targets(block_id, handle, targets, (*place, "next", handle))
    else:
        yield from _targets(block_id, NEXT, following, (*place, "next"))
    yield from _targets(block_id, ERROR, block.get("on_error"), (*place, "on_error"))


def _targets(source: str, handle: str, targets: Json, place: Place) -> Iterator[Edge]:
    if isinstance(targets, str):
        yield Edge(source, handle, targets, place)
    elif isinstance(targets, list):
        for index, target in enumerate(cast("list[Json]", targets)):
            if isinstance(target, str):
                yield Edge(source, handle, target, (*place, index))


def _texts_of(block_id: str, block: dict[str, Json]) -> Iterator[Text]:
    kind: Json = block.get("type")
    for field in _TEXTS.get(kind, ("config",)) if isinstance(kind, str) else ():
        place = ("blocks", block_id, field)
        is_expression, may_hold_secrets = kind == "condition", kind == "http"
        yield from _strings(block_id, block.get(field), place, is_expression, may_hold_secrets)


def _strings(
    block: str | None, value: Json, place: Place, is_expression: bool = False, may_hold_secrets: bool = False
) -> Iterator[Text]:
    match value:
        case str():
            yield Text(block, value, place, is_expression, may_hold_secrets)
        case list():
            for index, item in enumerate(cast("list[Json]", value)):
                yield from _strings(block, item, (*place, index), is_expression, may_hold_secrets)
        case dict():
            for name, field in cast("dict[str, Json]", value).items():
                yield from _strings(block, field, (*place, name), is_expression, may_hold_secrets)
        case _:
            pass
