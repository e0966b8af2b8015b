"""What people give on the command line: JSON in place, in a file, or piped in."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json

_VARIABLE = re.compile(r"\w+", re.ASCII)


class BadInput(PlayheadError):
    """An argument is not what the command takes."""

    exit_code = 2


def read_json(option: str, text: str) -> Json:
    """The value of an option: JSON, `@FILE` with JSON or YAML, or `-` for standard input. Raises BadInput."""
    match text:
        case "-":
            return _parse(option, sys.stdin.read())
        case _ if text.startswith("@"):
            return _read_file(option, Path(text[1:]))
        case _:
            return _parse(option, text)


def read_object(option: str, text: str) -> dict[str, Json]:
    """As `read_json`, for what must be an object. Raises BadInput."""
    value = read_json(option, text)
    if not isinstance(value, dict):
        raise BadInput(f"{option} takes a JSON object, such as '{{\"approved\": true}}'")
    return value  # pyright: ignore[reportUnknownVariableType]


def read_assignments(option: str, settings: Iterable[str]) -> dict[str, Json]:
    """Values by name, of `NAME=JSON` each. Raises BadInput."""
    found: dict[str, Json] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not name:
            raise BadInput(f"{option} takes NAME=JSON, and not {setting!r}")
        found[name] = read_json(f"{option} {name}", value)
    return found


def variable_headers(settings: Iterable[str]) -> dict[str, str]:
    """Headers for `NAME=VALUE` each: the gateway knows what types the variables have. Raises BadInput."""
    headers: dict[str, str] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not _VARIABLE.fullmatch(name):
            raise BadInput(f"--var takes NAME=VALUE, and not {setting!r}")
        if not value.isprintable() or value != value.strip():
            raise BadInput(f"--var {name}: a value of several lines, or with space around it, goes into --variables")
        headers[f"x-playhead-var-{name.replace('_', '-')}"] = value
    return headers


def moment_from_now(option: str, duration: str) -> str:
    """The moment that is a duration such as `2d` away, RFC 3339. Raises BadInput."""
    from playhead_contracts.durations import parse_duration

    try:
        return (datetime.now(UTC) + parse_duration(duration)).isoformat()
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{option}: {error}") from error


def read_moment(option: str, text: str) -> datetime:
    """A moment as RFC 3339 or a date; in UTC, if nothing else is said. Raises BadInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{option} takes a time such as 2026-03-01T12:00:00Z, or a date, and not {text!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises BadInput."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _read_file(option: str, path: Path) -> Json:
    content = read_file(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from playhead_contracts.workflow_text import read_document

        return read_document(content, "yaml")
    return _parse(f"{option} ({path})", content.decode(errors="replace"))


def _parse(option: str, text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"{option} is not valid JSON: {error}") from error
