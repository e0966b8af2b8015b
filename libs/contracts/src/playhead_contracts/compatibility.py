"""Whether one schema is an additive change of another: who was written for the old one is right with the new one, too.

Events, answers and tasks are said *by us*. Programs that know the old schema read what the new one describes, and we
read what the old one described. So nothing is removed, no field becomes required or stops being so, no type is another,
and no default, for that is what a field means that is not there. What may be added: fields that are not required, and
values of an enumeration, for readers pass over what they do not know.

Commands and documents are said *to us*: there a type may become wider, and a required field optional.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

import msgspec

Schema = Mapping[str, Any]
Direction = Literal["by us", "to us"]
Rule = Literal["gone", "removed", "narrowed", "widened", "required", "optional", "default", "constraint"]

_SAYS: dict[Rule, str] = {
    "gone": "there is no such contract any more",
    "removed": "the field is gone",
    "narrowed": "what it could be, it can be no longer",
    "widened": "it can be what it could not be before",
    "required": "it must be there, and need not have been",
    "optional": "it need not be there, and had to be",
    "default": "it means something else when it is not there",
    "constraint": "what its value must be like is another",
}
_HARMLESS: dict[Direction, frozenset[Rule]] = {"by us": frozenset(), "to us": frozenset(("widened", "optional"))}

_ANNOTATIONS = frozenset(("$id", "$comment", "title", "description", "examples", "deprecated"))
_STRUCTURE = frozenset(("$ref", "$defs", "type", "properties", "required", "enum", "const", "items", "default"))
_UNIONS = frozenset(("anyOf", "oneOf", "additionalProperties", "discriminator"))
_NO_CONSTRAINTS = _ANNOTATIONS | _STRUCTURE | _UNIONS | {"$schema"}
_ANY = "anything"


class Break(msgspec.Struct, frozen=True):
    """One change that is not additive. `field` is its place, such as `error.details` or `assignees[]`."""

    contract: str
    field: str
    rule: Rule
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.contract}, {self.field}" if self.field else self.contract
        return f"{place}: {_SAYS[self.rule]} ({self.rule}{': ' + self.detail if self.detail else ''})"


def breaks(contract: str, old: Schema, new: Schema, direction: Direction = "by us") -> list[Break]:
    """Everything that makes `new` no additive change of `old`."""
    comparison = _Comparison(old.get("$defs", {}), new.get("$defs", {}))
    found = dict.fromkeys(
        Break(contract, place, rule, detail)
        for place, rule, detail in comparison.of("", old, new)
        if rule not in _HARMLESS[direction]
    )
    return list(found)


def check_all(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[Break]:
    """Everything that is no additive change of a set of contracts, by their names (see `schemas.schemas`)."""
    found: list[Break] = []
    for name in sorted(old):
        direction = _direction(name)
        if direction is None:
            continue
        if name in new:
            found += breaks(name, old[name], new[name], direction)
        else:
            found.append(Break(name, "", "gone"))
    return found


def _direction(name: str) -> Direction | None:
    """None for what is no promise, or no schema."""
    match name.split("/"):
        case ["internal", *_] | ["asyncapi.json"] | ["openapi.json"]:
            return None
        case ["commands", _] | ["workflow.json"]:
            return "to us"
        case _:
            return "by us"


def is_same_form(old: Schema, new: Schema) -> bool:
    """Whether two schemas differ in nothing but what they say to people."""
    return _bare(old) == _bare(new)


class _Found(NamedTuple):
    place: str
    rule: Rule
    detail: str


class _Comparison:
    """Walks two schemas at once. `$ref` leads into the `$defs` of its own side."""

    def __init__(self, old_definitions: Mapping[str, Schema], new_definitions: Mapping[str, Schema]):
        self._old = old_definitions
        self._new = new_definitions
        self._seen: set[tuple[str, str]] = set()

    def of(self, place: str, old: Schema, new: Schema) -> Iterator[_Found]:
        was, now = _alternatives(old, self._old), _alternatives(new, self._new)
        if _ANY not in now:
            yield from (_Found(place, "narrowed", name) for name in was.keys() - now.keys())
        if _ANY not in was:
            yield from (_Found(place, "widened", name) for name in now.keys() - was.keys())
        for name in was.keys() & now.keys():
            yield from self._alternative(place, was[name], now[name])

    def _alternative(self, place: str, old: "_Alternative", new: "_Alternative") -> Iterator[_Found]:
        if old.ref and new.ref:  # a schema that holds itself
            if (old.ref, new.ref) in self._seen:
                return
            self._seen.add((old.ref, new.ref))
        yield from _values(place, old.schema, new.schema)
        yield from self._properties(place, old.schema, new.schema)
        for inside in ("items", "additionalProperties"):
            was, now = old.schema.get(inside, True), new.schema.get(inside, True)
            # Equal references may lead to schemas that are not.
            if (was, now) != (True, True):
                at = f"{place}[]" if inside == "items" else f"{place}.*" if place else "*"
                yield from self.of(at, _as_schema(was), _as_schema(now))
        for keyword in sorted((old.schema.keys() | new.schema.keys()) - _NO_CONSTRAINTS):
            if old.schema.get(keyword) != new.schema.get(keyword):
                yield _Found(place, "constraint", keyword)

    def _properties(self, place: str, old: Schema, new: Schema) -> Iterator[_Found]:
        was: Mapping[str, Schema] = old.get("properties", {})
        now: Mapping[str, Schema] = new.get("properties", {})
        had, has = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(was.keys() | now.keys()):
            at = f"{place}.{name}" if place else name
            if name not in now:
                yield _Found(at, "removed", "")
                continue
            if name in has and name not in had:
                yield _Found(at, "required", "")
            if name not in was:
                continue
            if name in had and name not in has:
                yield _Found(at, "optional", "")
            elif was[name].get("default") != now[name].get("default"):
                detail = f"{was[name].get('default')!r}, now {now[name].get('default')!r}"
                yield _Found(at, "default", detail)
            yield from self.of(at, was[name], now[name])


class _Alternative(NamedTuple):
    """One of the things that a value may be; `ref` is where its schema stands, if apart."""

    schema: Schema
    ref: str


def _alternatives(schema: Schema, definitions: Mapping[str, Schema], ref: str = "") -> dict[str, _Alternative]:
    """What a value may be, by a name that stays the same when what is inside changes."""
    found: dict[str, _Alternative] = {}
    for each in _spread(schema, definitions, ref):
        name = _name(each.schema)
        while name in found:
            name += "'"
        found[name] = each
    return found


def _spread(schema: Schema, definitions: Mapping[str, Schema], ref: str) -> Iterator[_Alternative]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        yield from _spread(definitions[name], definitions, name)
    elif isinstance(kinds := schema.get("type"), list):
        for kind in cast("list[str]", kinds):
            yield _Alternative({**schema, "type": kind}, ref)
    elif parts := schema.get("anyOf") or schema.get("oneOf"):
        for part in parts:
            yield from _spread(part, definitions, "")
    else:
        yield _Alternative(schema, ref)


def _name(schema: Schema) -> str:
    if schema.get("not") == {}:
        return "nothing"
    if schema.get("type") == "object" and (tag := _enumerated(schema.get("properties", {}).get("type", {}))):
        return f"object {tag[0]}"
    if "type" in schema:
        return schema["type"]
    return "value" if _enumerated(schema) else _ANY


def _enumerated(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _values(place: str, old: Schema, new: Schema) -> Iterator[_Found]:
    was, now = _enumerated(old), _enumerated(new)
    if was and not now:
        yield _Found(place, "widened", "any value")
    elif now and not was:
        yield _Found(place, "narrowed", "some values")
    else:
        yield from (_Found(place, "narrowed", f"value {value!r}") for value in was if value not in now)


def _as_schema(value: bool | Schema) -> Schema:
    return ({} if value else {"not": {}}) if isinstance(value, bool) else value


def _bare(part: object) -> object:
    match part:
        case dict():
            members = cast("dict[str, object]", part)
            # Fields may have the names of annotations, so that only texts are left out.
            return {
                name: _bare(value)
                for name, value in members.items()
                if not (name in _ANNOTATIONS and isinstance(value, str | list | bool))
            }
        case list():
            return [_bare(each) for each in cast("list[object]", part)]
        case _:
            return part
