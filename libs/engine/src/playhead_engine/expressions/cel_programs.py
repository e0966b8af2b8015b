"""The CEL library, and the one place that knows it (cel-expr-python: Google's own, in C++).

An expression is checked as its author wrote it, so that faults have the author's places. What runs knows no
roots, only numbered variables. Values and results are plain JSON values.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import cast

import msgspec
from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]

from playhead_contracts.events import Json
from playhead_engine.expressions.references import RESERVED_PREFIX, ROOTS, with_reserved, without_reserved

_PLACE = re.compile(r"<input>:(-?\d+):(-?\d+): ([^\n]*)")
_COPIES = re.compile(r"\.\s*(?:map|filter)\s*\(")

MOST_COPIED = 2_000
"""Items that map and filter take: they copy what they have so far for each (cel-expr-python 0.1.3), which is 57 ms for
2,000 and 1.7 s for 9,000, while everything else on the executor's event loop waits."""
_BUDGET = "Iteration budget exceeded"

_NO_VARIABLE = re.compile(r'No value with name "(\w+)" found')
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_NO_OVERLOAD = re.compile(r"No matching overloads found : (.*)")


class CelInvalid(ValueError):
    """CEL refuses the source. The text begins with line and column, if CEL tells them."""


class CelFailed(ValueError):
    """A program has no value for what it was given. `missing` is the variable that it needed in vain."""

    def __init__(self, reason: str, missing: str | None = None):
        super().__init__(reason)
        self.missing = missing


class Program:
    """A compiled program. Immutable, and safe to share between threads."""

    def __init__(self, expression: cel.Expression, is_copying: bool):
        self._expression = expression
        self._is_copying = is_copying

    def run(self, values: Mapping[str, Json]) -> Json:
        """The result for these variables. One may be missing if it is not needed. Raises CelFailed."""
        for name, value in values.items():
            _check_value(name, value)
            if self._is_copying and isinstance(value, list) and len(cast("list[Json]", value)) > MOST_COPIED:
                raise CelFailed(
                    f"{name} has more than {MOST_COPIED:,} items, and map and filter take no more in an expression; "
                    "do it in a function block, or in a loop"
                )
        try:
            result = self._expression.eval(data=values)
        except RuntimeError as exc:  # such as a budget of iterations that is used up
            raise _failure(str(exc)) from exc
        if result.type() == cel.Type.ERROR:
            # A runtime error is a value in this library, and its plain value would be the text of the error.
            raise _failure(str(result.value()))
        return _as_json(result.plain_value())


def variable(number: int) -> str:
    """The name of a variable in a program."""
    return f"{RESERVED_PREFIX}{number}"


def check_source(source: str) -> None:
    """Raises CelInvalid if this is no expression over the roots."""
    if "\0" in source:  # to the library the source would end here
        raise CelInvalid("the character U+0000 has no place in an expression")
    _compiled(_root_names(), without_reserved(source))


def compile_program(source: str, variables: int) -> Program:
    """Compile an expression over the variables from 0 up to `variables`. Raises CelInvalid."""
    # Sizes are rounded up, so that there are few environments and not one per number of variables.
    expression = _compiled(_variable_names(max(8, 1 << variables.bit_length())), source)
    return Program(expression, _COPIES.search(source) is not None)


@lru_cache(maxsize=16)
def _variable_names(count: int) -> cel.Env:
    return cel.NewEnv(variables={variable(number): cel.Type.DYN for number in range(count)})


@lru_cache(maxsize=1)
def _root_names() -> cel.Env:
    return cel.NewEnv(variables=dict.fromkeys(map(without_reserved, ROOTS), cel.Type.DYN))


def _compiled(environment: cel.Env, source: str) -> cel.Expression:
    try:
        return environment.compile(source)
    except RuntimeError as exc:
        raise CelInvalid(with_reserved(_invalid(str(exc)))) from exc


def _invalid(said: str) -> str:
    found = _PLACE.search(said)
    if found is None:
        return _STATUS.sub("", said)
    line, column, detail = found.groups()
    detail = re.sub(r" expecting \{.*|\s*\(in container ''\)", "", detail)
    if "undeclared reference" in detail:
        detail = f"{detail}; known are {', '.join(sorted(ROOTS))}"
    return detail if line.startswith("-") else f"line {line}, column {column}: {detail}"


def _check_value(name: str, value: Json) -> None:
    """Refuse what the library would change on its way in.

    It ends text at U+0000 (cel-expr-python 0.1.3), so that "admin\\0 not" would be equal to "admin".
    """
    if isinstance(value, str):
        holds_nul = "\0" in value
    elif isinstance(value, dict | list):
        holds_nul = _holds_nul(cast("Json", value))
    elif type(value) is int and not -(2**63) <= value < 2**63:
        raise CelFailed(f"{name} is a whole number of more than 64 bits")
    else:
        holds_nul = False
    if holds_nul:
        raise CelFailed(f"{name} holds the character U+0000, which expressions cannot take")


def _holds_nul(value: Json) -> bool:
    try:
        encoded = msgspec.json.encode(value)
    except (ValueError, OverflowError, TypeError):
        return False  # no JSON: the library refuses it, too, and says where
    if b"\\u0000" not in encoded:
        return False
    # Either the character, or a backslash before the text "u0000".
    return b"\\u0000" in encoded.replace(b"\\\\", b"")


def _failure(said: str) -> CelFailed:
    if found := _NO_VARIABLE.search(said):
        return CelFailed(said, missing=found.group(1))
    reason = _STATUS.sub("", said)
    if _BUDGET in reason:
        # Fixed in the library, and not for us to set.
        reason = "it takes more than 10,000 steps, which is the limit on the cost of an expression"
    if found := _NO_OVERLOAD.search(reason):
        reason = f"these kinds of values do not go together: {found.group(1)}{_hint(found.group(1))}"
    return CelFailed(reason)


def _hint(overload: str) -> str:
    if "double" in overload and "int64" in overload:
        return "; whole numbers and fractions do not mix, so say double(...) around the whole one"
    if "string" in overload and overload.startswith("_+_"):
        return "; only text is added to text, so say string(...) around the rest"
    return ""


def _as_json(value: object) -> Json:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise CelFailed("the result is not a finite number")
            return value
        case list():
            return [_as_json(item) for item in cast("list[object]", value)]
        case dict():
            fields = cast("dict[object, object]", value)
            if not all(isinstance(key, str) for key in fields):
                raise CelFailed("the keys of an object are text, so say string(...) around them")
            return {str(key): _as_json(field) for key, field in fields.items()}
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"
        case bytes() | bytearray():
            raise CelFailed("the result is bytes, which JSON has no form for: say string(...)")
        case _:
            raise CelFailed("the result is a type, which JSON has no form for: say string(...)")
