"""Expressions (CEL) and templates.

Every path that an expression reads (see `references`) is looked up here and given to CEL as its own variable.
A large input costs nothing that is not read; a block that was skipped reads as null however deep the path
goes; what is missing is named by its path. A missing path is a missing variable to CEL, and an error only if
it is needed: `has(input.tier) && input.tier == "gold"` is false without `tier`.

An expression that is nothing but a path is the value itself, untouched by CEL.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import cast

import msgspec

from playhead_contracts.errors import PlayheadError, Refused
from playhead_contracts.events import Json
from playhead_engine.expressions.cel_programs import (
    CelFailed,
    CelInvalid,
    Program,
    check_source,
    compile_program,
    variable,
)
from playhead_engine.expressions.references import Occurrence, UnclearReference, end_of_expression, find_paths
from playhead_engine.expressions.scope import MISSING, Reference, Scope, read, reference_of, why_missing

__all__ = [
    "MAX_SOURCE",
    "Expression",
    "ExpressionFailed",
    "ExpressionInvalid",
    "Reference",
    "Scope",
    "Template",
    "compile_expression",
    "compile_template",
]

MAX_SOURCE = 4_000
"""Characters of one expression."""


class ExpressionInvalid(Refused):
    """The source is no expression. `detail` has the place, in lines and columns of the expression."""

    problem, title, status = "invalid-expression", "The expression is not valid", 422

    def __init__(self, source: str, detail: str):
        super().__init__(detail)
        self.source = source


class ExpressionFailed(PlayheadError):
    """An expression has no value for what it was given. The text names the expression and holds no secret."""

    def __init__(self, source: str, reason: str):
        super().__init__(f"{source if len(source) <= 200 else source[:197] + '...'}: {reason}")
        self.source = source
        self.reason = reason


class Expression:
    """A compiled expression. Immutable, and safe to share between threads. Made by `compile_expression`."""

    def __init__(self, source: str, occurrences: Sequence[Occurrence]):
        self.source = source
        self.references = frozenset(reference_of(each.path) for each in occurrences)
        self._paths = {
            variable(number): path for number, path in enumerate(dict.fromkeys(each.path for each in occurrences))
        }
        rewritten = self._rewritten(occurrences)
        self._is_path = rewritten in self._paths
        self._program: Program = compile_program(rewritten, len(self._paths))

    def evaluate(self, scope: Scope) -> Json:
        """The value, as plain JSON. Raises ExpressionFailed."""
        values: dict[str, Json] = {}
        for name, path in self._paths.items():
            value = read(scope, path)
            if value is not MISSING:
                values[name] = value
        if self._is_path and values:
            return values[variable(0)]
        try:
            return self._program.run(values)
        except CelFailed as failed:
            raise ExpressionFailed(self.source, self._reason(failed, scope)) from failed

    def _rewritten(self, occurrences: Sequence[Occurrence]) -> str:
        """The source with its variable in place of each path."""
        names = {path: name for name, path in self._paths.items()}
        parts: list[str] = []
        position = 0
        for each in occurrences:
            parts += [self.source[position : each.start], names[each.path]]
            position = each.end
        return "".join((*parts, self.source[position:])).strip()

    def _reason(self, failed: CelFailed, scope: Scope) -> str:
        """Why there is no value, in words of the document."""
        if failed.missing is not None:
            return why_missing(scope, self._paths[failed.missing])
        reason = str(failed)
        for name in reversed(self._paths):  # so that the tenth is not taken for the first
            reason = reason.replace(name, str(self._paths[name]))
        for secret in sorted(scope.secrets.values(), key=len, reverse=True):
            reason = reason.replace(secret, "***") if secret else reason
        read_blocks = {str(path.steps[0]) for path in self._paths.values() if path.root == "blocks"}
        absent = sorted(read_blocks & scope.absent)
        return "; ".join((reason, *(f"blocks.{block_id} gave nothing and reads as null" for block_id in absent)))


@lru_cache(maxsize=4096)
def compile_expression(source: str) -> Expression:
    """Raises ExpressionInvalid, whose detail has the line and column in `source`."""
    if len(source) > MAX_SOURCE:
        raise ExpressionInvalid(source, f"longer than {MAX_SOURCE} characters")
    try:
        check_source(source)
        return Expression(source, find_paths(source))
    except CelInvalid as exc:
        raise ExpressionInvalid(source, str(exc)) from exc
    except UnclearReference as exc:
        line = source.count("\n", 0, exc.offset) + 1
        column = exc.offset - source.rfind("\n", 0, exc.offset)
        raise ExpressionInvalid(source, f"line {line}, column {column}: {exc}") from exc


class Template:
    """A compiled template: a JSON value whose strings may hold expressions. Made by `compile_template`."""

    def __init__(self, value: Json):
        self._node = _parse(value)
        self.references = frozenset(_references_in(self._node))
        self.is_constant = isinstance(self._node, _Constant)

    def evaluate(self, scope: Scope) -> Json:
        """The value with every expression in it evaluated. Raises ExpressionFailed."""
        return _render(self._node, scope)


def compile_template(value: Json) -> Template:
    """Compile any JSON value. Keys of objects are literal. Raises ExpressionInvalid.

    A string that is one `{{ expression }}` and nothing else takes the value's own type. In any other string
    the expressions become text: strings as they are, null as nothing, all else as JSON. `{{ "{{" }}` is `{{`.
    """
    return Template(value)


class _Constant(msgspec.Struct, frozen=True):
    value: Json


class _Joined(msgspec.Struct, frozen=True):
    parts: tuple[str | Expression, ...]


class _Items(msgspec.Struct, frozen=True):
    items: tuple["_Node", ...]


class _Fields(msgspec.Struct, frozen=True):
    fields: dict[str, "_Node"]


_Node = _Constant | Expression | _Joined | _Items | _Fields


def _parse(value: Json) -> _Node:
    match value:
        case str():
            return _parse_text(value)
        case list():
            items = tuple(_parse(item) for item in cast("list[Json]", value))
            return _Constant(value) if all(isinstance(item, _Constant) for item in items) else _Items(items)
        case dict():
            fields = {name: _parse(field) for name, field in cast("dict[str, Json]", value).items()}
            is_constant = all(isinstance(field, _Constant) for field in fields.values())
            return _Constant(value) if is_constant else _Fields(fields)
        case _:
            return _Constant(value)


@lru_cache(maxsize=4096)
def _parse_text(text: str) -> _Node:
    parts: list[str | Expression] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        end = end_of_expression(text, start + 2, limit=start + MAX_SOURCE + 4)
        if end is None:
            raise ExpressionInvalid(text[start:], f"character {start + 1}: this {{{{ is not closed by }}}}")
        if start > position:
            parts.append(text[position:start])
        parts.append(compile_expression(text[start + 2 : end].strip()))
        position = end + 2
    if position < len(text):
        parts.append(text[position:])
    match parts:
        case [] | [str()]:
            return _Constant(text)
        case [Expression() as only]:
            return only
        case _:
            return _Joined(tuple(parts))


def _references_in(node: _Node) -> AbstractSet[Reference]:
    match node:
        case _Constant():
            return frozenset()
        case Expression():
            return node.references
        case _Joined(parts):
            nodes: Sequence[_Node] = [part for part in parts if isinstance(part, Expression)]
        case _Items(items):
            nodes = items
        case _Fields(fields):
            nodes = list(fields.values())
    return frozenset(reference for each in nodes for reference in _references_in(each))


def _render(node: _Node, scope: Scope) -> Json:
    match node:
        case _Constant(value):
            return value
        case Expression():
            return node.evaluate(scope)
        case _Joined(parts):
            return "".join(part if isinstance(part, str) else _as_text(part.evaluate(scope)) for part in parts)
        case _Items(items):
            return [_render(item, scope) for item in items]
        case _Fields(fields):
            return {name: _render(field, scope) for name, field in fields.items()}


def _as_text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
