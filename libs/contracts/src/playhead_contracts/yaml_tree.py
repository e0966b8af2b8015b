"""A YAML document as plain JSON values, built from libyaml's events (YAML 1.2, core schema).

PyYAML's own loaders resolve YAML 1.1 and expand aliases before anybody can count. Here an alias costs what it
stands for the moment it is met, so a document that would expand beyond its limit stops before it does;
recursion is bounded by a depth. What can be passed by (a key that stands twice or is no text) is collected.
"""

import re
from collections.abc import Iterator
from typing import NoReturn

import msgspec
import yaml

from playhead_contracts.errors import Fault, InvalidDocument
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_INTEGER = 20


class _Anchored(msgspec.Struct, frozen=True):
    value: Json
    nodes: int


class YamlTree:
    """One reading of one text. `faults` are those that did not stop it."""

    def __init__(self, text: str, *, max_nodes: int, max_depth: int):
        self.faults: list[Fault] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._max_nodes = max_nodes
        self._max_depth = max_depth
        self._nodes = 0
        self._anchors: dict[str, _Anchored | None] = {}

    def read(self) -> Json:
        """The value of the only document in the text, None if there is none. Raises InvalidDocument."""
        try:
            return self._document()
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            problem = ", ".join(part for part in (exc.context, exc.problem) if part)
            at = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
            raise _broken("#", f"not valid YAML{at}: {problem}") from exc
        except yaml.YAMLError as exc:
            raise _broken("#", f"not valid YAML: {str(exc).splitlines()[0]}") from exc

    def _document(self) -> Json:
        value: Json = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop((), event, "a second document starts: a text holds one workflow")
                value = self._node(next(self._events), ())
        return value

    def _node(self, event: yaml.Event, path: tuple[str | int, ...]) -> Json:
        self._count(1, path, event)
        if len(path) > self._max_depth:
            self._stop(path[:8], event, f"nested deeper than {self._max_depth} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, path)
        anchor: str | None = getattr(event, "anchor", None)
        before = self._nodes
        if anchor is not None:
            self._anchors[anchor] = None
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._stop(path, event, f"tags such as {tag} are not taken")
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._scalar(event, path)
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, self._nodes - before)
        return value

    def _aliased(self, event: yaml.AliasEvent, path: tuple[str | int, ...]) -> Json:
        if event.anchor not in self._anchors:
            self._stop(path, event, f"there is no anchor &{event.anchor} before this alias")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._stop(path, event, f"the alias *{event.anchor} stands inside of what it names")
        self._count(anchored.nodes, path, event)
        return anchored.value

    def _sequence(self, path: tuple[str | int, ...]) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Json]:
        fields: dict[str, Json] = {}
        places: dict[str, str] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                self._stop(path, event, "a key is text, and not a list or a mapping")
            key = self._node(event, path)
            if not isinstance(key, str):
                written = event.value if isinstance(event, yaml.ScalarEvent) else f"*{event.anchor}"
                self._fault(path, f"the key {written} is no text ({place})", hint=f'put it in quotes: "{written}"')
                key = str(written)
            value = self._node(next(self._events), (*path, key))
            if key in fields:
                self._fault((*path, key), f"the key {key!r} stands twice: at {places[key]} and at {place}")
            fields[key] = value
            places[key] = place
        return fields

    def _scalar(self, event: yaml.Event, path: tuple[str | int, ...]) -> Json:
        assert isinstance(event, yaml.ScalarEvent)
        text = str(event.value)
        if not event.implicit[0]:  # quoted, or a block of text: never anything but text
            return text
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
            return int(text)
        if _OCTAL_OR_HEX.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
            return int(text, 8 if text[1] == "o" else 16)
        if _INTEGER.fullmatch(text) or _OCTAL_OR_HEX.fullmatch(text):
            self._fault(path, f"a whole number of more than 64 bits ({_place(event)})", hint="write it as text")
            return None
        if _FLOAT.fullmatch(text):
            return float(text)  # too large a one is infinite, which the caller refuses in JSON, too
        if _NOT_FINITE.fullmatch(text):
            return float(text.replace(".", ""))
        return text

    def _count(self, nodes: int, path: tuple[str | int, ...], event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > self._max_nodes:
            self._stop(path, event, f"more than {self._max_nodes} values, aliases expanded")

    def _fault(self, path: tuple[str | int, ...], detail: str, hint: str | None = None) -> None:
        self.faults.append(Fault(pointer(*path), detail, hint))

    def _stop(self, path: tuple[str | int, ...], event: yaml.Event, detail: str) -> NoReturn:
        raise _broken(pointer(*path), f"{detail} ({_place(event)})")


def _place(event: yaml.Event) -> str:
    mark = event.start_mark
    assert mark is not None  # libyaml marks every event
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _broken(where: str, detail: str) -> InvalidDocument:
    return InvalidDocument(detail, errors=[Fault(where, detail)])
