"""What a CEL expression reads, found without running it.

The source is cut into tokens, so that text in string literals or comments is never taken for a name. A *path*
is a root and the selections after it that are written out: `blocks.score.risk`, `input["a b"]`, `vars.a[0]`.
It ends where something is computed (`vars.a[i]`), and before a method's name (`input.name.size()`).

Names are unambiguous because two things are refused: a comprehension variable that is named like a root, and
`blocks` or `secrets` without an id, which could be any of them.
"""

import re
from collections.abc import Sequence
from typing import Literal, cast

import msgspec

Root = Literal["input", "blocks", "vars", "secrets", "execution", "loop", "parallel", "event"]
ROOTS: frozenset[str] = frozenset(("input", "blocks", "vars", "secrets", "execution", "loop", "parallel", "event"))

RESERVED_PREFIX = "__playhead_"
"""Names of ours inside of expressions. Nobody else may use them."""

_RESERVED = {"loop": "l_op"}
"""https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax, as far as it is in our way."""

_NAMED = frozenset(("blocks", "secrets"))
"""Roots of which one must be named, since what is named decides when and where it may be read."""
_MACROS = frozenset(("all", "exists", "exists_one", "map", "filter"))
_TOKEN = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
    | (?P<raw>[bB]?[rR][bB]?(?:\'{3}.*?\'{3}|"{3}.*?"{3}|'[^'\n]*'|"[^"\n]*"))
    | (?P<text>[bB]?(?:\'{3}(?:\\.|[^\\])*?\'{3}|"{3}(?:\\.|[^\\])*?"{3}
        |'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    | (?P<quoted>`[^`\n]*`)
    | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?[uU]?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LITERAL = re.compile(r"""[rR]?('{3}|"{3}|'|")(.*)\1""", re.DOTALL)


class UnclearReference(ValueError):
    """What is read cannot be told from the source. `offset` is where, in characters."""

    def __init__(self, detail: str, offset: int):
        super().__init__(detail)
        self.offset = offset


class Path(msgspec.Struct, frozen=True):
    """A root and the steps from it. `asked` is for the argument of `has(...)`: not read, but looked for."""

    root: Root
    steps: tuple[str | int, ...]
    asked: bool = False

    def __str__(self) -> str:
        return self.root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps)


class Occurrence(msgspec.Struct, frozen=True):
    """A path and where it stands: `source[start:end]`, which for an asked one is all but its last step."""

    path: Path
    start: int
    end: int


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    start: int
    end: int


def without_reserved(source: str) -> str:
    """The source with names that CEL keeps for itself (`loop`) put in other words of the same length.

    Everything keeps its place, so that what CEL says of it holds for the original; `with_reserved` puts them back.
    """
    parts: list[str] = []
    for found in _TOKEN.finditer(source):
        text = found.group()
        parts.append(_RESERVED.get(text, text) if found.lastgroup == "name" else text)
    return "".join(parts)


def with_reserved(said: str) -> str:
    """The inverse, for texts in which CEL speaks of such a source."""
    for name, word in _RESERVED.items():
        said = said.replace(word, name)
    return said


def find_paths(source: str) -> tuple[Occurrence, ...]:
    """Every path in a CEL expression, in the order in which they stand. Raises UnclearReference."""
    tokens = [
        _Token(str(found.lastgroup), found.group(), found.start(), found.end())
        for found in _TOKEN.finditer(source)
        if found.lastgroup != "space"
    ]
    paths: list[Occurrence] = []
    for index, token in enumerate(tokens):
        if token.kind != "name" or _is_selected(tokens, index):
            continue
        if token.text.startswith(RESERVED_PREFIX):
            raise UnclearReference(f"names that start with {RESERVED_PREFIX} are not for expressions", token.start)
        if token.text in ROOTS:
            if _declares(tokens, index):
                raise UnclearReference(f"{token.text} cannot be the name of a variable in a macro", token.start)
            paths.append(_path_from(tokens, index))
    return tuple(paths)


def end_of_expression(text: str, start: int, limit: int) -> int | None:
    """Where the `}}` stands that ends the expression beginning at `start`; None if none does below `limit`.

    Braces inside of string literals and of CEL's own maps end nothing.
    """
    depth = 0
    position = start
    while found := _TOKEN.match(text, position, limit):
        if found.group() == "{":
            depth += 1
        elif found.group() == "}" and depth > 0:
            depth -= 1
        elif found.group() == "}" and text.startswith("}}", found.start()):
            return found.start()
        position = found.end()
    return None


def _path_from(tokens: Sequence[_Token], index: int) -> Occurrence:
    root = tokens[index]
    start = tokens[index - 1].start if index and tokens[index - 1].text == "." else root.start
    steps: list[str | int] = []
    ends = [root.end]
    at = index + 1
    while (step := _step_at(tokens, at)) is not None:
        value, width = step
        steps.append(value)
        at += width
        ends.append(tokens[at - 1].end)
    if root.text in _NAMED and not (steps and isinstance(steps[0], str)):
        detail = f'say which: {root.text}.<id> or {root.text}["<id>"], and nothing computed'
        raise UnclearReference(detail, root.start)
    asked = bool(steps) and _is_asked(tokens, index, at)
    path = Path(cast("Root", root.text), tuple(steps), asked)
    return Occurrence(path, start, ends[-2] if asked else ends[-1])


def _step_at(tokens: Sequence[_Token], at: int) -> tuple[str | int, int] | None:
    """The selection that begins at token `at`, and how many tokens it takes; None if there is none."""
    match [token.text for token in tokens[at : at + 3]]:
        case [".", name, *after] if tokens[at + 1].kind in ("name", "quoted") and after != ["("]:
            return name.strip("`"), 2
        case ["[", _, "]"] if tokens[at + 1].kind in ("text", "raw"):
            key = _literal(tokens[at + 1])
            return None if key is None else (key, 3)
        case ["[", number, "]"] if number.isdecimal():
            return int(number), 3
        case _:
            return None


def _literal(token: _Token) -> str | None:
    """The text of a string literal; None for bytes, and for escapes, which nobody needs in a key."""
    found = _LITERAL.fullmatch(token.text)
    if found is None or (token.kind == "text" and "\\" in token.text):
        return None
    return found.group(2)


def _is_selected(tokens: Sequence[_Token], index: int) -> bool:
    """Whether the name is selected from what stands before its dot. A dot after an operator starts a root."""
    if index == 0 or tokens[index - 1].text != ".":
        return False
    before = tokens[index - 2] if index > 1 else None
    if before is None or before.text == "in":
        return False
    return before.kind != "sign" or before.text in (")", "]", "}")


def _declares(tokens: Sequence[_Token], index: int) -> bool:
    """Whether the name is the variable of a macro: `.map(<name>, ...)`."""
    match [token.text for token in tokens[max(index - 3, 0) : index + 2]]:
        case [".", macro, "(", _, ","]:
            return macro in _MACROS
        case _:
            return False


def _is_asked(tokens: Sequence[_Token], index: int, after: int) -> bool:
    """Whether the path from `index` to before `after` is the argument of `has(...)`, and ends in `.name`."""
    before = index - 1
    while before >= 0 and tokens[before].text == "(":
        before -= 1
    return (
        0 <= before < index - 1
        and tokens[before].text == "has"
        and not _is_selected(tokens, before)
        and after < len(tokens)
        and tokens[after].text == ")"
        and tokens[after - 1].kind in ("name", "quoted")
    )
