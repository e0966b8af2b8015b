"""Telling values that survive the way into an event and back from those that do not."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, cast

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.pointers import pointer

MAX_DEPTH = 100
"""Levels of nesting. msgspec encodes by recursion and gives up below 1,000, how far depends on its caller."""

_MAX_INTEGER_BITS = 1024  # as far as doubles go, which is what most other readers of JSON have


class NotJson(Exception):
    """A value that JSON cannot say. `pointer` is its place (`playhead_contracts.pointers`)."""

    def __init__(self, reason: str, keys: tuple[str | int, ...] = ()):
        self.reason = reason
        self.keys = keys
        self.pointer = pointer(*keys)
        super().__init__(f"the value at {self.pointer} is {reason}")

    def under(self, key: str | int) -> "NotJson":
        """The same, seen from the container that holds the value under `key`. Long keys are cut short."""
        return NotJson(self.reason, (key if isinstance(key, int) else key[:64], *self.keys))


class TooLarge(Exception):
    """The value is larger, as JSON text, than what was asked for."""


class _Copy:
    """A walk that gives up as soon as its budget of bytes is used up, however much is left.

    The budget also ends values that are small in memory and endless as text: a list that holds one list a
    thousand times, three levels deep.
    """

    def __init__(self, max_bytes: int):
        self._left = max_bytes

    def copy(self, value: object, depth: int = 0) -> Json:
        self._spend(2)  # the least that any value takes: one character and a comma
        match value:
            case None | bool():
                return value
            case str():
                self._spend(len(value))
                return value
            case int() if value.bit_length() > _MAX_INTEGER_BITS:
                raise NotJson(f"an integer of more than {_MAX_INTEGER_BITS} bits")
            case int():
                self._spend(value.bit_length() // 4)
                return value
            case float() if not isfinite(value):
                raise NotJson(f"the number {value}, which JSON cannot say")
            case float():
                return value
            case dict() | list() | tuple() if depth == MAX_DEPTH:
                raise NotJson(f"nested more than {MAX_DEPTH} levels deep")
            case dict():
                return self._copy_dict(cast(dict[object, object], value), depth)
            case list() | tuple():
                return self._copy_list(cast(Iterable[object], value), depth)
            case _:
                raise NotJson(f"of type {type(value).__name__}")

    def _copy_dict(self, value: dict[object, object], depth: int) -> Json:
        copied: dict[str, Json] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotJson(f"a dict with a key of type {type(key).__name__}; keys must be strings")
            self._spend(len(key))
            try:
                copied[key] = self.copy(item, depth + 1)
            except NotJson as error:
                raise error.under(key) from None
        return copied

    def _copy_list(self, value: Iterable[object], depth: int) -> Json:
        copied: list[Json] = []
        for index, item in enumerate(value):
            try:
                copied.append(self.copy(item, depth + 1))
            except NotJson as error:
                raise error.under(index) from None
        return copied

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge


def json_copy(value: object, max_bytes: int) -> Json:
    """The value as it would come back from JSON: tuples become lists, everything else stays as it is.

    Raises NotJson for what JSON cannot say, and TooLarge, after work in proportion to `max_bytes`, when the
    text is sure to be longer. What is counted is a lower bound of its length: no escapes, one byte per
    character.
    """
    return _Copy(max_bytes).copy(value)


def parse_json(text: bytes) -> Json:
    """The value of a JSON text in UTF-8, with or without a byte order mark.

    Raises NotJson for anything else, and for nesting deeper than MAX_DEPTH, which could be read but perhaps
    not be written again.
    """
    try:
        value: Any = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson("not JSON") from error
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise NotJson(f"nested more than {MAX_DEPTH} levels deep")


def _children(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return cast(dict[str, Any], value).values()
        case list():
            return cast(list[Any], value)
        case _:
            return ()
