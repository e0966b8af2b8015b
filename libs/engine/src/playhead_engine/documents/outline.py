"""A workflow document in outline: its bodies, blocks, edges and texts, as far as they can be told apart.

It is read from the raw document and forgives everything, so that a block which is wrong by itself still takes
part in what is said about the others. An outline is of one body: that of the document, or that of a container.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from functools import cached_property
from typing import Literal, cast

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.fields import ERROR, NEXT

Place = tuple[str | int, ...]
"""Where something stands in the document: keys and indexes from its top."""

CONTAINERS = ("loop", "parallel")

_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "function": ("inputs",),
    "http": ("url", "headers", "query", "body", "auth"),
    "human": ("message", "show", "assignees", "expires_at"),
    "response": ("body",),
    "wait": ("for", "until", "from"),
    "task": ("inputs",),
    "workflow": ("input", "variables"),
    "variables": ("set",),
    "publish": ("data", "subject"),
    "condition": (),
    "router": (),
    "loop": (),
    "parallel": (),
    "note": (),
}
"""The fields of each type of block that hold templates; `config` for any other type."""

_EXPRESSIONS: Mapping[str, tuple[str, ...]] = {"condition": ("cases",), "router": ("route",), "loop": ("while",)}
"""The fields that are expressions as they stand, and see what their block sees."""

_EITHER: Mapping[str, tuple[str, ...]] = {"loop": ("for", "for_each"), "parallel": ("count", "collection")}
"""The fields in which text is an expression, unless it is a template."""


_NOTE: Mapping[str, Json] = {"type": "note"}


class Edge(msgspec.Struct, frozen=True):
    """One edge, and where it is written."""

    source: str
    handle: str
    target: str
    place: Place


class Text(msgspec.Struct, frozen=True):
    """A string that may hold expressions. `block` is None for what is looked at when the whole body is done."""

    block: str | None
    source: str
    place: Place
    is_expression: bool = False
    """Whether the string is an expression as it stands, and not a template."""
    may_hold_secrets: bool = False
    looks_at: Literal["", "event", "loop"] = ""
    """What it sees beyond the scope of its block: the event of a filter, the loop that it belongs to."""


class Outline:
    """What one body has of blocks, edges and texts. Blocks that are no mappings are left out."""

    def __init__(
        self, raw: Mapping[str, Json], place: Place = (), parent: "Outline | None" = None, owner: str | None = None
    ):
        self.raw = raw
        """The document, or the container."""
        self.place = place
        self.parent = parent
        self.owner = owner
        """The id of the container in `parent`."""
        self.blocks = {
            block_id: cast("dict[str, Json]", block)
            for block_id, block in mapping(raw.get("blocks")).items()
            if isinstance(block, dict)
        }

    @property
    def owner_kind(self) -> Json:
        return self.raw.get("type") if self.parent is not None else None

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    @cached_property
    def ids(self) -> KeysView[str]:
        """Every id, also of blocks that are no mappings."""
        return mapping(self.raw.get("blocks")).keys()

    @cached_property
    def inner(self) -> Mapping[str, "Outline"]:
        """The bodies of the containers in this one."""
        return {
            block_id: Outline(block, (*self.place, "blocks", block_id), self, block_id)
            for block_id, block in self.blocks.items()
            if block.get("type") in CONTAINERS
        }

    def all(self) -> Iterator["Outline"]:
        """This body and those in it, outer ones first."""
        todo: list[Outline] = [self]
        while todo:
            outline = todo.pop()
            yield outline
            todo += reversed(list(outline.inner.values()))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(edge for block_id, block in self.blocks.items() for edge in self._edges_of(block_id, block))

    @cached_property
    def followers(self) -> Mapping[str, tuple[Edge, ...]]:
        """The edges of each block that lead to a block."""
        return {
            block_id: tuple(edge for edge in edges if self.blocks.get(edge.target, _NOTE).get("type") != "note")
            for block_id, edges in _grouped((edge.source, edge) for edge in self.edges).items()
        }

    @cached_property
    def texts(self) -> tuple[Text, ...]:
        """The texts that see this body: those of its blocks, and those that look at it when it is done."""
        own = [text for block_id, block in self.blocks.items() for text in self._texts_of(block_id, block)]
        if self.parent is None:
            return (*own, *_strings(Text(None, "", ("output",)), self.raw.get("output")))
        at_the_end = [
            text
            for field in ("do_while", "break_when")
            for text in _strings(Text(None, "", (*self.place, field), is_expression=True), self.raw.get(field))
        ]
        return (*own, *at_the_end, *_strings(Text(None, "", (*self.place, "result")), self.raw.get("result")))

    def upstream_of(self, block_id: str) -> frozenset[str]:
        """Every block of this body from which edges lead to this one, directly or not."""
        known = self._upstream.get(block_id)
        if known is None:
            found: set[str] = set()
            rest = [block_id]
            while rest:
                sources = {edge.source for edge in self._leading_to.get(rest.pop(), ())} - found
                found |= sources
                rest += sources
            known = self._upstream[block_id] = frozenset(found)
        return known

    @cached_property
    def _upstream(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def _leading_to(self) -> Mapping[str, list[Edge]]:
        return _grouped((edge.target, edge) for edge in self.edges)

    def _edges_of(self, block_id: str, block: dict[str, Json]) -> Iterator[Edge]:
        place = (*self.place, "blocks", block_id)
        following: Json = block.get("next")
        if isinstance(following, dict):
            for handle, targets in cast("dict[str, Json]", following).items():
                yield from _targets(block_id, handle, targets, (*place, "next", handle))
        else:
            yield from _targets(block_id, NEXT, following, (*place, "next"))
        yield from _targets(block_id, ERROR, block.get("on_error"), (*place, "on_error"))

    def _texts_of(self, block_id: str, block: dict[str, Json]) -> Iterator[Text]:
        kind: Json = block.get("type")
        if not isinstance(kind, str):
            return
        for field in _TEMPLATES.get(kind, ("config",)):
            text = Text(block_id, "", (*self.place, "blocks", block_id, field), may_hold_secrets=kind == "http")
            yield from _strings(text, block.get(field))
        for field in _EXPRESSIONS.get(kind, ()):
            looks_at = "loop" if field == "while" else ""
            place = (*self.place, "blocks", block_id, field)
            yield from _strings(Text(block_id, "", place, is_expression=True, looks_at=looks_at), block.get(field))
        for field in _EITHER.get(kind, ()):
            value: Json = block.get(field)
            is_expression = isinstance(value, str) and "{{" not in value
            yield from _strings(
                Text(block_id, "", (*self.place, "blocks", block_id, field), is_expression=is_expression), value
            )
        events: Json = block.get("events") if kind == "wait" else None
        for index, event in enumerate(cast("list[Json]", events) if isinstance(events, list) else ()):
            place = (*self.place, "blocks", block_id, "events", index, "match")
            text = Text(block_id, "", place, is_expression=True, looks_at="event")
            yield from _strings(text, mapping(event).get("match"))


def mapping(value: Json) -> dict[str, Json]:
    """The value if it is an object, or an empty one."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _grouped(pairs: Iterable[tuple[str, Edge]]) -> Mapping[str, list[Edge]]:
    groups: defaultdict[str, list[Edge]] = defaultdict(list)
    for name, edge in pairs:
        groups[name].append(edge)
    return groups


def _targets(source: str, handle: str, targets: Json, place: Place) -> Iterator[Edge]:
    if isinstance(targets, str):
        yield Edge(source, handle, targets, place)
    elif isinstance(targets, list):
        for index, target in enumerate(cast("list[Json]", targets)):
            if isinstance(target, str):
                yield Edge(source, handle, target, (*place, index))


def _strings(text: Text, value: Json) -> Iterator[Text]:
    """Every string of a value as a text like this one, at its place below it."""
    match value:
        case str():
            yield msgspec.structs.replace(text, source=value)
        case list():
            for index, item in enumerate(cast("list[Json]", value)):
                yield from _strings(msgspec.structs.replace(text, place=(*text.place, index)), item)
        case dict():
            for name, field in cast("dict[str, Json]", value).items():
                yield from _strings(msgspec.structs.replace(text, place=(*text.place, name)), field)
        case _:
            pass
