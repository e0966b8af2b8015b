"""Where a JSON Schema says `x-personal: true`.

A mark is a path of names of properties. What is marked inside of a list, or under names that the schema does not list,
marks the whole list or object: one of many cannot be named by a path.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast
from urllib.parse import unquote

from playhead_contracts.events import Json

KEYWORD = "x-personal"

Names = tuple[str, ...]
"""The names of properties that lead to a value; none at all is the value itself."""

_SAME_VALUE = ("if", "then", "else", "not", "$ref", "$dynamicRef")
"""Keywords with a schema of the very value."""
_SAME_VALUE_EACH = ("allOf", "anyOf", "oneOf")
_SAME_VALUE_NAMED = ("dependentSchemas",)
_SOME_OF_IT = ("items", "contains", "additionalProperties", "unevaluatedProperties", "unevaluatedItems")
"""Keywords with a schema of what is in the value, without a name."""
_SOME_OF_IT_EACH = ("prefixItems",)
_SOME_OF_IT_NAMED = ("patternProperties",)


def pointer_of(names: Names) -> str:
    """The path as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{escaped(name)}" for name in names)


def names_of(pointer: str) -> Names:
    """The inverse of `pointer_of`."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def escaped(name: str) -> str:
    """A name as it stands in a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def marked_in(schema: Json) -> tuple[Names, ...]:
    """The marks of a schema, shortest first, none inside of another."""
    return outermost(_marks(schema, (), schema, ()))


def outermost(marks: Iterable[Names]) -> tuple[Names, ...]:
    """Marks, shortest first, without those that are inside of another."""
    kept: list[Names] = []
    for names in sorted(set(marks), key=lambda names: (len(names), names)):
        if not any(names[: len(outer)] == outer for outer in kept):
            kept.append(names)
    return tuple(kept)


def _marks(schema: Json, at: Names, root: Json, through: tuple[str, ...]) -> Iterator[Names]:
    if not isinstance(schema, dict):
        return
    said = cast("dict[str, Json]", schema)
    if said.get(KEYWORD) is True:
        yield at
    for name, inner in _members(said.get("properties")):
        yield from _marks(inner, (*at, name), root, through)
    for keyword in _SAME_VALUE:
        inner: Json = said.get(keyword)
        if isinstance(inner, str):
            yield from _referred(inner, at, root, through)
        else:
            yield from _marks(inner, at, root, through)
    for inner in _inside(said, _SAME_VALUE_EACH, _SAME_VALUE_NAMED):
        yield from _marks(inner, at, root, through)
    parts = (*map(said.get, _SOME_OF_IT), *_inside(said, _SOME_OF_IT_EACH, _SOME_OF_IT_NAMED))
    if any(next(_marks(part, at, root, through), None) is not None for part in parts):
        yield at


def _inside(said: Mapping[str, Json], lists: tuple[str, ...], named: tuple[str, ...]) -> Iterator[Json]:
    for keyword in lists:
        each: Json = said.get(keyword)
        if isinstance(each, list):
            yield from cast("list[Json]", each)
    for keyword in named:
        yield from (inner for _, inner in _members(said.get(keyword)))


def _members(value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        yield from cast("dict[str, Json]", value).items()


def _referred(reference: str, at: Names, root: Json, through: tuple[str, ...]) -> Iterator[Names]:
    """The marks of what a `$ref` leads to. One that is not a JSON Pointer may lead to any mark there is."""
    if reference in through:
        # It contains itself. A value inside of a value of its own kind has no path of its own.
        if _says_mark(root):
            yield at
        return
    if reference == "#" or reference.startswith("#/"):
        target = root
        for part in reference[2:].split("/") if len(reference) > 1 else ():
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict):
                target = cast("dict[str, Json]", target).get(name)
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(cast("list[Json]", target)):
                target = cast("list[Json]", target)[int(name)]
            else:
                target = None
        if target is not None:
            yield from _marks(target, at, root, (*through, reference))
            return
    if _says_mark(root):
        yield at


def _says_mark(schema: Json) -> bool:
    """Whether there is a mark anywhere."""
    match schema:
        case dict():
            said = cast("dict[str, Json]", schema)
            return said.get(KEYWORD) is True or any(map(_says_mark, said.values()))
        case list():
            return any(map(_says_mark, cast("list[Json]", schema)))
        case _:
            return False
