"""Settings from `PLAYHEAD_*` variables: read once at start, frozen, and refused with a reason when they are
wrong.

A settings class is a frozen dataclass, which takes the shared fields by inheritance, `Settings(BusSettings,
DatabaseSettings)`; a frozen `msgspec.Struct` will do, too, but can not inherit from two. The field `nats_url`
is read from `PLAYHEAD_NATS_URL`. A field without a default must be set. Limits stand in the type,
`Annotated[int, msgspec.Meta(ge=1)]`, and so does what must not be shown: `Annotated[str, SECRET]`.
"""

import binascii
import dataclasses
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from playhead_contracts.errors import PlayheadError

T = TypeVar("T")

PREFIX = "PLAYHEAD_"


class _Secret:
    """The type of `SECRET`."""


SECRET: Final = _Secret()
"""Marks a field whose value must not stand in logs and errors."""


class BadSetting(PlayheadError):
    """A setting is missing or wrong. The text names the variable, the value unless it is secret, and what
    is right.
    """

    def __init__(self, variable: str, value: str | None, expected: str):
        found = "is not set" if value is None else f"is {value}"
        super().__init__(f"{variable} {found}; {expected}")
        self.variable = variable


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    """Where the bus is. User and password may also stand in the URL."""

    nats_url: Annotated[str, SECRET] = field(repr=False)
    nats_user: str | None = None
    nats_password: Annotated[str | None, SECRET] = field(default=None, repr=False)
    nats_inbox_prefix: str | None = None
    """What the subjects of answers begin with, such as `_INBOX_gateway`: all that a user may listen on."""
    stream_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """On how many servers of a cluster each stream is kept."""


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where the log is: a libpq URL of the services' role, which can neither update nor delete an event."""

    database_url: Annotated[str, SECRET] = field(repr=False)
    master_key: Annotated[str | None, SECRET] = field(default=None, repr=False)
    """32 bytes in base64, the same for all services: what the keys of people are wrapped with in the database."""
    archive_url: str | None = None
    """Where executions are that were archived: a folder, or a URL that fsspec knows. Without it they cannot be read."""

    @property
    def vault_key(self) -> bytes | None:
        """The master key. Raises BadSetting for what is none."""
        if self.master_key is None:
            return None
        try:
            key = b64decode(self.master_key, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise BadSetting("PLAYHEAD_MASTER_KEY", "not shown, for it is secret", "set it to 32 bytes in base64")
        return key


def read_settings(cls: type[T], environ: Mapping[str, str]) -> T:
    """Build `cls` from the variables named after its fields. An empty variable is one that is not set.

    Understands what msgspec converts from text (str, int, float, bool, enums, literals, optionals, limits),
    `Path`, and tuples of str, which are separated by commas. Raises BadSetting for the first field that is
    wrong.
    """
    required = _required_fields(cls)
    values: dict[str, object] = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        variable = PREFIX + name.upper()
        text = environ.get(variable, "")
        if text:
            values[name] = _convert(variable, text, hint)
        elif name in required:
            raise BadSetting(variable, None, f"set it to {_describe(hint)}")
    return cls(**values)


def _required_fields(cls: type[object]) -> set[str]:
    if issubclass(cls, msgspec.Struct):
        return {field.name for field in msgspec.structs.fields(cls) if field.required}
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        fields = dataclasses.fields(cls)
        return {f.name for f in fields if f.default is missing and f.default_factory is missing}
    raise TypeError(f"{cls.__name__} is neither a msgspec.Struct nor a dataclass")


def _convert(variable: str, text: str, hint: Any) -> object:
    shown = "not shown, for it is secret" if _is_secret(hint) else repr(text)
    kinds = _kinds(hint)
    if Path in kinds:
        return Path(text).expanduser()
    if any(get_origin(kind) is tuple for kind in kinds):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as exc:
        # The reason names the value of an enum or a literal that does not exist, so a secret gets the type
        # alone.
        reason = "" if _is_secret(hint) else f" ({exc})"
        raise BadSetting(variable, shown, f"set it to {_describe(hint)}{reason}") from None


def _is_secret(hint: Any) -> bool:
    return get_origin(hint) is Annotated and SECRET in get_args(hint)[1:]


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The plain types that a value may have: `Annotated[int | None, ...]` -> `(int,)`."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) is None or get_origin(hint) is tuple:
        return (hint,)
    inner = tuple(part for part in get_args(hint) if part is not type(None))
    return tuple(kind for part in inner for kind in _kinds(part)) if type(None) in get_args(hint) else (hint,)


_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def _describe(hint: Any) -> str:
    kind = _kinds(hint)[0]
    if get_origin(kind) is tuple:
        return "texts separated by commas"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    return _WORDS.get(kind, f"a value of {kind}")
