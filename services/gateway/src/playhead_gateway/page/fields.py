"""The fields that people fill in, and what each of them can hold.

`typed` writes values into them, and `submitted` reads them back. What no field can stand for (alternatives of objects,
names that are free) is a field for JSON text, which can hold everything.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.events import Json

MOST_ROWS = 200
_MOST_RADIOS = 5

TextKind = Literal["text", "email", "url", "date", "time", "datetime-local", "multiline"]


class AnyField(msgspec.Struct, frozen=True, kw_only=True):
    """What all fields have. `key` is the name of the property; empty for the whole answer and for items of lists.

    A field that is left blank is null if null fits, else it is left out, or at fault when it is `required`.
    """

    key: str
    label: str
    help: str = ""
    is_required: bool = False
    is_nullable: bool = False
    default: Json | UnsetType = UNSET
    """What stands in the field at first."""


class TextField(AnyField, frozen=True, kw_only=True):
    kind: TextKind = "text"
    placeholder: str = ""


class NumberField(AnyField, frozen=True, kw_only=True):
    is_integer: bool = False
    minimum: Json = None
    maximum: Json = None
    step: Json = None
    placeholder: str = ""


class Option(msgspec.Struct, frozen=True):
    """One of several values. `token` is what stands for it in the form."""

    token: str
    value: Json
    label: str


class ChoiceField(AnyField, frozen=True, kw_only=True):
    """One of the options."""

    options: tuple[Option, ...]

    @property
    def is_short(self) -> bool:
        """Whether all options can be seen at once."""
        return len(self.options) <= _MOST_RADIOS


class ManyField(AnyField, frozen=True, kw_only=True):
    """A list of some of the options, in their order."""

    options: tuple[Option, ...]


class BooleanField(AnyField, frozen=True, kw_only=True):
    """A check box; or yes, no and neither, where saying nothing is something else than no."""

    is_three_state: bool = False


class ListField(AnyField, frozen=True, kw_only=True):
    """Rows of one field each."""

    item: "Field"
    min_items: int = 0
    max_items: int = MOST_ROWS


class GroupField(AnyField, frozen=True, kw_only=True):
    """An object. One that may be left out is, when nothing in it is filled in."""

    fields: "tuple[Field, ...]"


class JsonField(AnyField, frozen=True, kw_only=True):
    """Any value, as JSON text."""


class FixedField(AnyField, frozen=True, kw_only=True):
    """A value that is shown and cannot be changed: its default is part of the answer, whatever is sent."""


Field = (
    TextField | NumberField | ChoiceField | ManyField | BooleanField | ListField | GroupField | JsonField | FixedField
)


def named(key: str) -> str:
    """The name of a property as people read it: `refund_amount` is `Refund amount`."""
    spaced = "".join(
        f" {char}" if char.isupper() and i and key[i - 1].islower() else char for i, char in enumerate(key)
    )
    words = spaced.replace("_", " ").replace("-", " ").split()
    text = " ".join(word if word.isupper() else word.lower() for word in words)
    return text[:1].upper() + text[1:] if text else key
