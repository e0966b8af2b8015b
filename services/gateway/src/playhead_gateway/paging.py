"""Pages of lists: an opaque cursor says where the last one ended."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from playhead_gateway.problems import BadRequest
from playhead_gateway.read_models import Place

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list. `next_cursor` asks for the rest; null at the end."""

    items: Sequence[T]
    next_cursor: str | None = None


def page_of(rows: Sequence[T], limit: int, place: Callable[[T], Place | str | int]) -> Page[T]:
    """A page of at most `limit` out of rows that were asked for with one more than that."""
    shown = rows[:limit]
    return Page(shown, _encode(place(shown[-1])) if len(rows) > limit else None)


def cursor_at(number: int) -> str:
    """The cursor that `read_number` reads."""
    return _encode(number)


def read_place(cursor: str | None) -> Place | None:
    """Where a list by time goes on. Raises BadRequest."""
    return None if cursor is None else _decode(cursor, tuple[datetime, str])


def read_name(cursor: str | None) -> str:
    """Where a list by name goes on; empty for its beginning. Raises BadRequest."""
    return "" if cursor is None else _decode(cursor, str)


def read_number(cursor: str | None) -> int:
    """Where a list by number goes on; 0 for its beginning. Raises BadRequest."""
    return 0 if cursor is None else _decode(cursor, int)


def read_moment(name: str, text: str | None) -> datetime | None:
    """An RFC 3339 time with an offset, of query parameter `name`, as UTC. Raises BadRequest."""
    if text is None:
        return None
    try:
        # In a query "+" reads as a space: the commonest way of writing an offset wrong.
        moment = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadRequest(f"{name}: {text[:64]!r} is no RFC 3339 time with an offset, such as 2030-01-31T09:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise BadRequest(f"{name}: {text[:64]!r} is out of range") from exc


def _encode(place: Place | str | int) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode(cursor: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (ValueError, msgspec.DecodeError) as exc:
        raise BadRequest("cursor: take the next_cursor of the page before, unchanged") from exc
