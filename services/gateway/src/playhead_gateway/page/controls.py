"""A form as it is shown: fields, with what stands in them and what is wrong, as values that a template only prints."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, assert_never

import msgspec
from msgspec import UNSET

from playhead_contracts.events import Json
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
from playhead_gateway.page.shown import Shown, shown
from playhead_gateway.page.typed import TICKED, Typed, child, rows_of

_LOCAL_TIMES = {
    "time": re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,3})?)?"),
    "datetime-local": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
}
_ZONED = "In UTC, unless you write another zone, such as +02:00."
_UTC = "In UTC."
_SHORT_LINE = 24
_UNSAFE = re.compile(r"[^A-Za-z0-9]")

Kind = Literal["input", "multiline", "json", "checkbox", "radios", "checkboxes", "select", "list", "group", "fixed"]


class Choice(msgspec.Struct, frozen=True):
    """One of several things to choose from."""

    id: str
    token: str
    label: str
    is_chosen: bool


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One field as it is shown. What is not said of its kind is empty."""

    kind: Kind
    name: str
    id: str
    label: str
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    is_required: bool = False
    text: str = ""
    attributes: Mapping[str, str] = {}
    choices: tuple[Choice, ...] = ()
    is_ticked: bool = False
    inside: tuple["Control", ...] = ()
    fixed: Shown | None = None
    can_add: bool = False
    is_row: bool = False
    """It is an item of a list."""
    can_remove: bool = False
    """Rows may be taken out of it."""
    is_focused: bool = False

    @property
    def described_by(self) -> str:
        """The ids of what is said about it."""
        said = [f"{self.id}.note"] if self.notes else []
        return " ".join([*said, f"{self.id}.error"] if self.errors else said)

    @property
    def is_inline(self) -> bool:
        """Whether its choices find room in one line."""
        return sum(len(choice.label) for choice in self.choices) <= _SHORT_LINE

    @property
    def target(self) -> str:
        """The id of what gets the focus."""
        return self.choices[0].id if self.choices and self.kind != "select" else self.id


Errors = Mapping[str, Sequence[str]]
"""What is wrong, by the name of the control."""


def control_of(field: Field, name: str, form: Typed, errors: Errors, focus: str | None = None) -> Control:
    """How a field is shown. `focus` is the name of the control that the person is to go on with."""
    return _Shower(form, errors, focus).control(field, name)


def id_of(name: str) -> str:
    """An id in the page, one for each name; none has a dot, which sets apart the ids of what belongs to it."""
    return "c-" + _UNSAFE.sub(lambda found: "-" if found[0] == "/" else f"_{ord(found[0]):x}_", name)


def flat(control: Control, path: str = "") -> list[tuple[str, Control]]:
    """The control and all inside of it, as they stand in the page, each with what it is called in its place."""
    found = [(path, control)]
    for inner in control.inside:
        found += flat(inner, f"{path}, {inner.label}" if path else inner.label)
    return found


class _Shower:
    def __init__(self, form: Typed, errors: Errors, focus: str | None):
        self._form = form
        self._errors = errors
        self._focus = focus

    def control(self, field: Field, name: str, label: str = "", *, is_row: bool = False) -> Control:
        made = self._made(field, name)
        return msgspec.structs.replace(
            made,
            label=label or field.label,
            notes=(*((field.help,) if field.help else ()), *made.notes),
            errors=tuple(self._errors.get(name, ())),
            is_required=field.is_required and not field.is_nullable and not is_row,
            is_row=is_row,
            is_focused=name == self._focus,
        )

    def _made(self, field: Field, name: str) -> Control:
        match field:
            case TextField():
                return self._text(field, name)
            case NumberField():
                wanted = {"min": field.minimum, "max": field.maximum, "step": field.step or "any"}
                attributes = {key: str(value) for key, value in wanted.items() if value is not None}
                mode = "numeric" if field.is_integer and _at_least(field.minimum, 0) else "decimal"
                attributes |= {"type": "number", "inputmode": mode} | _placeholder(field.placeholder)
                return self._input("input", name, attributes)
            case JsonField():
                note = "Write JSON."
                return msgspec.structs.replace(self._input("json", name, {"spellcheck": "false"}), notes=(note,))
            case BooleanField(is_three_state=False):
                is_ticked = TICKED in self._form.get(name, ())
                return Control(kind="checkbox", name=name, id=id_of(name), label="", is_ticked=is_ticked)
            case BooleanField():
                offered = [(TICKED, "Yes"), ("false", "No")]
                return self._choices("radios", name, [*offered, *_neither(field, "No answer")])
            case ChoiceField():
                offered = [(option.token, option.label) for option in field.options]
                if field.is_short:
                    return self._choices("radios", name, [*offered, *_neither(field, "No answer")])
                if field.is_required and field.default is UNSET:
                    offered = [("", "Choose…"), *offered]
                return self._choices("select", name, [*_neither(field, "—"), *offered])
            case ManyField():
                return self._choices("checkboxes", name, [(option.token, option.label) for option in field.options])
            case ListField():
                return self._list(field, name)
            case GroupField():
                inside = tuple(self.control(each, child(name, each.key)) for each in field.fields)
                return Control(kind="group", name=name, id=id_of(name), label="", inside=inside)
            case FixedField():
                fixed = shown(None if field.default is UNSET else field.default)
                return Control(kind="fixed", name=name, id=id_of(name), label="", fixed=fixed)
            case _:
                assert_never(field)

    def _text(self, field: TextField, name: str) -> Control:
        text = self._said(name)
        attributes = _placeholder(field.placeholder)
        if field.kind == "multiline":
            return self._input("multiline", name, attributes)
        pattern = _LOCAL_TIMES.get(field.kind)
        is_native = pattern is None or not text or pattern.fullmatch(text) is not None
        # What the browser's own control could not show would be lost in it.
        attributes |= {"type": field.kind if is_native else "text"}
        if pattern is not None and text.count(":") > 1:
            attributes |= {"step": "any"}
        made = self._input("input", name, attributes)
        match field.kind:
            case "time" | "datetime-local":
                return msgspec.structs.replace(made, notes=(_UTC if is_native else _ZONED,))
            case "text" | "email" | "url" | "date":
                return made
            case _:
                assert_never(field.kind)

    def _input(self, kind: Kind, name: str, attributes: Mapping[str, str]) -> Control:
        return Control(kind=kind, name=name, id=id_of(name), label="", text=self._said(name), attributes=attributes)

    def _said(self, name: str) -> str:
        return [*self._form.get(name, ()), ""][0]

    def _choices(self, kind: Kind, name: str, offered: Sequence[tuple[str, str]]) -> Control:
        chosen, own = set(self._form.get(name, ())), id_of(name)
        choices = tuple(
            # The one that stands for no answer is chosen when nothing is.
            Choice(f"{own}.{at}", token, label, token in chosen or (not token and not any(chosen)))
            for at, (token, label) in enumerate(offered)
        )
        return Control(kind=kind, name=name, id=own, label="", choices=choices)

    def _list(self, field: ListField, name: str) -> Control:
        rows = rows_of(self._form, name)
        one = field.item.label
        inside = tuple(
            self.control(field.item, child(name, row), f"{one} {number}", is_row=True)
            for number, row in enumerate(rows, 1)
        )
        return Control(
            kind="list",
            name=name,
            id=id_of(name),
            label="",
            inside=inside,
            can_add=len(rows) < field.max_items,
            can_remove=len(rows) > field.min_items,
        )


def _neither(field: BooleanField | ChoiceField, words: str) -> list[tuple[str, str]]:
    """What is chosen to say nothing, if that can be: left out, a value with a default would be that again."""
    can_be_blank = field.is_nullable or (not field.is_required and field.default is UNSET)
    return [("", words)] if can_be_blank else []


def _placeholder(text: str) -> dict[str, str]:
    return {"placeholder": text} if text else {}


def _at_least(value: Json, least: int) -> bool:
    return isinstance(value, int | float) and value >= least
