"""What stands in a form: names and texts, as browsers send them.

A control's name is `f`, or `a.<action>` for what is asked for one action alone, and then the keys that lead to its
value: `f/lines/0/price`. Our own names begin otherwise, so no field of an author can take one. A list says which rows
it has in `f/lines#`, once for each row; rows keep their numbers when others are taken out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET

from playhead_contracts.events import Json
from playhead_gateway.page.fields import (
    MOST_ROWS,
    BooleanField,
    ChoiceField,
    Field,
    FixedField,
    GroupField,
    JsonField,
    ListField,
    ManyField,
    NumberField,
    TextField,
)
from playhead_gateway.page.schemas import as_list, as_object
from playhead_gateway.problems import BadRequest

Typed = Mapping[str, Sequence[str]]
"""What stands in the form: the texts of each control, by its name."""

Pairs = Iterable[tuple[str, str]]

MAIN = "f"
"""The form of the pause itself."""

TICKED = "true"
ROWS = "#"
_MOST_CONTROLS = 5000


def of_action(action: str) -> str:
    """The name that fields begin with which are asked for this action alone."""
    return f"a.{escaped(action)}"


def child(name: str, key: str | int) -> str:
    """The name of a part of what `name` stands for."""
    return f"{name}/{escaped(str(key))}"


def escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1").replace(ROWS, "~2")


def parse_form(body: bytes) -> dict[str, list[str]]:
    """A body of type `application/x-www-form-urlencoded`. Raises BadRequest for one that is not."""
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_CONTROLS)
    except ValueError as exc:
        raise BadRequest("the form cannot be read: it is not text, or has too many fields") from exc
    for name, text in pairs:
        found.setdefault(name, []).append(text)
    return found


def typed(pairs: Pairs) -> dict[str, list[str]]:
    """Pairs by their names."""
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(text)
    return found


def initial(field: Field, name: str) -> Pairs:
    """What stands in a field before anybody has typed: its default, and the rows that there must be."""
    if field.default is not UNSET:
        yield from written(field, name, field.default)
    elif isinstance(field, GroupField):
        for each in field.fields:
            yield from initial(each, child(name, each.key))
    elif isinstance(field, ListField):
        for row in range(field.min_items):
            yield name + ROWS, str(row)
            yield from initial(field.item, child(name, row))


def written(field: Field, name: str, value: Json) -> Pairs:
    """What stands in a field that has this value: `read` reads it back. What cannot be its value leaves it blank."""
    match field:
        case GroupField():
            inside = as_object(value) or {}
            for each in field.fields:
                if each.key in inside:
                    yield from written(each, child(name, each.key), inside[each.key])
        case ListField():
            for row, item in enumerate(as_list(value)):
                yield name + ROWS, str(row)
                yield from written(field.item, child(name, row), item)
        case ManyField():
            for option in field.options:
                if any(_same(option.value, item) for item in as_list(value)):
                    yield name, option.token
        case ChoiceField():
            for option in field.options:
                if _same(option.value, value):
                    yield name, option.token
        case BooleanField() if isinstance(value, bool) and field.is_three_state:
            yield name, TICKED if value else "false"
        case BooleanField() if value is True:
            yield name, TICKED
        case NumberField() if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, repr(value)
        case TextField() if isinstance(value, str):
            is_local = field.kind in ("time", "datetime-local") and value.endswith("Z")
            yield name, value.removesuffix("Z") if is_local else value
        case JsonField():
            yield name, json.dumps(value, indent=2, ensure_ascii=False)
        case _:
            pass


def with_row(field: Field, name: str, form: Typed, wanted: str) -> dict[str, list[str]]:
    """The form with one row more in the list `wanted`, if `field` has such a list and it may have one more."""
    found = {key: list(texts) for key, texts in form.items()}
    inside = _list_named(field, name, form, wanted)
    rows = rows_of(form, wanted)
    if inside is None or len(rows) >= inside.max_items:
        return found
    row = max((int(row) for row in rows), default=-1) + 1
    found.setdefault(wanted + ROWS, []).append(str(row))
    for key, text in initial(inside.item, child(wanted, row)):
        found.setdefault(key, []).append(text)
    return found


def without_row(form: Typed, wanted: str) -> dict[str, list[str]]:
    """The form without the row `wanted`, such as `f/lines/2`."""
    name, _, row = wanted.rpartition("/")
    marker = name + ROWS
    found = {
        key: list(texts)
        for key, texts in form.items()
        if key not in (wanted, wanted + ROWS) and not key.startswith(wanted + "/")
    }
    if marker in found:
        found[marker] = [text for text in found[marker] if text != row]
    return found


def rows_of(form: Typed, name: str) -> list[str]:
    """The numbers of the rows of a list, in order."""
    found = (text for text in form.get(name + ROWS, ()) if text.isascii() and text.isdigit() and len(text) < 6)
    return list(dict.fromkeys(str(int(text)) for text in found))[:MOST_ROWS]


def is_blank(field: Field, name: str, form: Typed) -> bool:
    """Whether nothing is said in a field, nor in any inside of it."""
    match field:
        case GroupField():
            return all(is_blank(each, child(name, each.key), form) for each in field.fields)
        case ListField():
            rows = rows_of(form, name)
            return len(rows) <= field.min_items and all(is_blank(field.item, child(name, row), form) for row in rows)
        case FixedField():
            return True
        case _:
            return not any(form.get(name, ()))


def _list_named(field: Field, name: str, form: Typed, wanted: str) -> ListField | None:
    if isinstance(field, ListField) and name == wanted:
        return field
    if not wanted.startswith(name + "/"):
        return None
    inside: list[tuple[Field, str]] = []
    if isinstance(field, GroupField):
        inside = [(each, child(name, each.key)) for each in field.fields]
    elif isinstance(field, ListField):
        inside = [(field.item, child(name, row)) for row in rows_of(form, name)]
    found = (_list_named(each, below, form, wanted) for each, below in inside)
    return next((each for each in found if each is not None), None)


def _same(one: Json, other: Json) -> bool:
    """Equal as JSON: true is not 1."""
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
