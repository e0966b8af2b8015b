"""JSON values as people read them: texts, lists, definitions and tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from playhead_contracts.events import Json
from playhead_gateway.page.fields import ChoiceField, Field, GroupField, ListField, ManyField, named
from playhead_gateway.page.schemas import as_list, as_object, json_text

_SHORT_TEXT = 60
_MOST_COLUMNS = 6
_DEEPEST = 6


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One value. `nothing` has neither text nor parts."""

    kind: Literal["nothing", "text", "long", "number", "code", "list", "pairs", "table"]
    text: str = ""
    items: tuple["Shown", ...] = ()
    pairs: tuple[tuple[str, "Shown"], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple["Shown", ...], ...] = ()

    @property
    def is_short(self) -> bool:
        """Whether it finds room beside its label."""
        return self.kind in ("nothing", "text", "number") or (
            self.kind == "list" and all(item.is_short for item in self.items)
        )


NOTHING = Shown(kind="nothing")


def shown(value: Json, depth: int = 0) -> Shown:
    """The value as it is shown. What is nested too deeply to be read is shown as JSON."""
    if value is None or value in ("", [], {}):
        return NOTHING
    match value:
        case bool():
            return Shown(kind="text", text="Yes" if value else "No")
        case int() | float():
            return Shown(kind="number", text=json_text(value))
        case str():
            return Shown(kind="long" if "\n" in value or len(value) > _SHORT_TEXT else "text", text=value)
        case _ if depth >= _DEEPEST:
            return Shown(kind="code", text=msgspec.json.format(msgspec.json.encode(value)).decode())
        case dict():
            return Shown(kind="pairs", pairs=labelled(as_object(value) or {}, {}, (), depth + 1))
        case list():
            return _list(value, depth + 1)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return Shown(kind="text", text=str(value))


def labelled(
    values: Mapping[str, Json], labels: Mapping[str, str], order: Sequence[str], depth: int = 0
) -> tuple[tuple[str, Shown], ...]:
    """Named values in order; names without a label are made readable. Names that `order` does not have come last."""
    names = [
        *(name for name in dict.fromkeys(order) if name in values),
        *(name for name in values if name not in order),
    ]
    return tuple((labels.get(name) or named(name), shown(values[name], depth)) for name in names)


def filled_in(field: Field, value: Json) -> Shown:
    """The value of a field, in the words and in the order of the form."""
    match field:
        case GroupField() if inside := as_object(value):
            known = {each.key: each for each in field.fields}
            names = [*(name for name in known if name in inside), *(name for name in inside if name not in known)]
            pairs = ((name, known.get(name), inside[name]) for name in names)
            return Shown(
                kind="pairs",
                pairs=tuple(
                    (named(name), shown(each)) if part is None else (part.label, filled_in(part, each))
                    for name, part, each in pairs
                ),
            )
        case ListField() if value:
            return Shown(kind="list", items=tuple(filled_in(field.item, item) for item in as_list(value)))
        case ManyField() if value:
            return Shown(kind="list", items=tuple(_option(field, item) for item in as_list(value)))
        case ChoiceField():
            return _option(field, value)
        case _:
            return shown(value)


def _option(field: ChoiceField | ManyField, value: Json) -> Shown:
    text = json_text(value)
    return next((shown(each.label) for each in field.options if json_text(each.value) == text), shown(value))


def _list(items: list[Any], depth: int) -> Shown:
    objects = [as_object(item) for item in items]
    rows = [row for row in objects if row is not None]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    is_table = len(rows) == len(items) > 1 and 1 < len(columns) <= _MOST_COLUMNS
    is_flat = all(not isinstance(value, dict | list) for row in rows for value in row.values())
    if is_table and is_flat:
        cells = tuple(tuple(shown(row.get(name), depth) for name in columns) for row in rows)
        return Shown(kind="table", columns=tuple(named(name) for name in columns), rows=cells)
    return Shown(kind="list", items=tuple(shown(item, depth) for item in items))
