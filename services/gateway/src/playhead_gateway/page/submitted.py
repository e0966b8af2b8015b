"""The JSON value that a form says, and what is wrong with it."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from math import isinf
from typing import assert_never

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer
from playhead_engine.schemas import faults_of
from playhead_gateway.page.fields import (
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
from playhead_gateway.page.typed import TICKED, Typed, child, is_blank, rows_of

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST_NUMBER = 400
_LARGEST_EXPONENT = 330
_MISSING = re.compile(r'("(?:[^"\\]|\\.)*") is a required property')
_LOCAL_TIME = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d(?P<seconds>:\d\d(?:\.\d+)?)?")


class Submitted(msgspec.Struct, frozen=True):
    """A value as it was sent (UNSET: left out), what is wrong with it, and where in the form its parts stand."""

    value: Json | UnsetType
    faults: tuple[Fault, ...]
    places: Mapping[str, str]
    """JSON Pointer -> the name of its control."""

    def name_of(self, fault: Fault) -> str | None:
        """The control that a fault belongs to: that of its place, or of the nearest place around it."""
        at = self._place(fault)
        return None if at is None else self.places[at]

    def at_fault(self, detail: str) -> "Submitted":
        """With a fault of the whole."""
        return msgspec.structs.replace(self, faults=(*self.faults, Fault("#", detail)))

    def checked(self, schema: dict[str, Json]) -> "Submitted":
        """With what the whole schema finds wrong, besides what is known to be wrong already."""
        if self.value is UNSET:
            return self
        known = {fault.pointer for fault in self.faults}
        found = (fault for fault in faults_of(schema, self.value) if not known.intersection(self._places(fault)))
        return msgspec.structs.replace(self, faults=(*self.faults, *found))

    def _places(self, fault: Fault) -> list[str]:
        """All places that a fault stands at or inside of."""
        at = self._place(fault)
        found = [] if at is None else [at]
        while found and found[-1] != "#":
            found.append(found[-1].rpartition("/")[0])
        return found

    def _place(self, fault: Fault) -> str | None:
        at = fault.pointer
        if missing := _MISSING.fullmatch(fault.detail):
            inside = f"{at}{pointer(json.loads(missing[1]))[1:]}"
            at = inside if inside in self.places else at
        while at not in self.places:
            at, slash, _ = at.rpartition("/")
            if not slash:
                return None
        return at


def read(field: Field, name: str, form: Typed) -> Submitted:
    """The value that the controls of `field` say. Controls that it does not have are passed over."""
    reader = _Reader(form)
    value = reader.value(field, name, ())
    return Submitted(value, tuple(reader.faults), reader.places)


class _Reader:
    """Reads one form, and notes what is wrong and where everything stands."""

    def __init__(self, form: Typed):
        self._form = form
        self.faults: list[Fault] = []
        self.places: dict[str, str] = {}

    def value(self, field: Field, name: str, at: tuple[str | int, ...]) -> Json | UnsetType:
        """The value of one field, UNSET if it is left out or cannot be told."""
        self.places[pointer(*at)] = name
        match field:
            case FixedField():
                return field.default
            case GroupField():
                return self._group(field, name, at)
            case ListField():
                return self._list(field, name, at)
            case ManyField():
                return self._many(field, name, at)
            case BooleanField() if not field.is_three_state:
                return TICKED in self._form.get(name, ())
            case BooleanField() | ChoiceField() | NumberField() | TextField() | JsonField():
                text = self._text(name, at)
                if text is None or not text:
                    return UNSET if text is None else self._nothing(field, at)
                try:
                    return _scalar(field, text)
                except ValueError as exc:
                    return self._fault(at, str(exc))
            case _:
                assert_never(field)

    def _group(self, field: GroupField, name: str, at: tuple[str | int, ...]) -> Json | UnsetType:
        may_be_left_out = not field.is_required or field.is_nullable
        if may_be_left_out and is_blank(field, name, self._form):
            return None if field.is_nullable else UNSET
        found = {each.key: self.value(each, child(name, each.key), (*at, each.key)) for each in field.fields}
        return {key: value for key, value in found.items() if value is not UNSET}

    def _list(self, field: ListField, name: str, at: tuple[str | int, ...]) -> Json | UnsetType:
        rows = rows_of(self._form, name)
        if (field.is_nullable or not field.is_required) and is_blank(field, name, self._form):
            return None if field.is_nullable else UNSET
        found = [self.value(field.item, child(name, row), (*at, index)) for index, row in enumerate(rows)]
        # An item that cannot be told is at fault already, and keeps its place so that faults of others stand at theirs.
        return [None if value is UNSET else value for value in found]

    def _many(self, field: ManyField, name: str, at: tuple[str | int, ...]) -> Json | UnsetType:
        chosen = [text for text in self._form.get(name, ()) if text]
        if not chosen and (field.is_nullable or not field.is_required):
            return None if field.is_nullable else UNSET
        if not {option.token for option in field.options}.issuperset(chosen):
            return self._fault(at, "choose from what is offered")
        return [option.value for option in field.options if option.token in chosen]

    def _nothing(self, field: Field, at: tuple[str | int, ...]) -> Json | UnsetType:
        if field.is_nullable:
            return None
        if not field.is_required:
            # Left out, it would be the default again, which somebody has just taken out.
            is_cleared = isinstance(field, TextField) and field.kind in ("text", "multiline") and field.default
            return "" if is_cleared else UNSET
        is_choice = isinstance(field, ChoiceField | BooleanField)
        return self._fault(at, "choose one" if is_choice else "fill this in")

    def _text(self, name: str, at: tuple[str | int, ...]) -> str | None:
        text = [*self._form.get(name, ()), ""][0].replace("\r\n", "\n")
        if "\0" in text:
            self._fault(at, "has a character that is no text")
            return None
        return text

    def _fault(self, at: tuple[str | int, ...], detail: str) -> UnsetType:
        self.faults.append(Fault(pointer(*at), detail))
        return UNSET


def _scalar(field: BooleanField | ChoiceField | NumberField | TextField | JsonField, text: str) -> Json:
    """What a text that is not empty means. Raises ValueError with what is wrong with it."""
    match field:
        case BooleanField():
            if text not in (TICKED, "false"):
                raise ValueError("choose one")
            return text == TICKED
        case ChoiceField():
            found = [option for option in field.options if option.token == text]
            if not found:
                raise ValueError("choose one of those offered")
            return found[0].value
        case NumberField():
            return read_number(text.strip(), is_integer=field.is_integer)
        case TextField(kind="text" | "multiline"):
            return text
        case TextField(kind="time" | "datetime-local"):
            return _with_zone(text.strip())
        case TextField():
            return text.strip()
        case JsonField():
            try:
                return msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
                raise ValueError(f"is not valid JSON: {str(exc).removeprefix('JSON is malformed: ')}") from exc
        case _:
            assert_never(field)


def read_number(text: str, *, is_integer: bool) -> int | float:
    """The number that a text is, exactly. Raises ValueError with what is wrong with it."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("is not a number" if not is_integer else "is not a whole number")
    exact = Decimal(text)
    if abs(exact.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError("is too large or too small a number")
    if is_integer or re.fullmatch(r"[+-]?\d+", text):
        if exact != exact.to_integral_value():
            raise ValueError("is not a whole number")
        return int(exact)
    number = float(text)
    if isinf(number):
        raise ValueError("is too large or too small a number")
    if Decimal(repr(number)) != exact:
        raise ValueError("has more digits than can be kept exactly")
    return number


def _with_zone(text: str) -> str:
    """A time as RFC 3339 has it: browsers leave out the seconds and the zone, which is UTC here."""
    found = _LOCAL_TIME.fullmatch(text.replace(" ", "T", 1))
    if found is None:
        return text
    return f"{found[0]}{'' if found['seconds'] else ':00'}Z"
