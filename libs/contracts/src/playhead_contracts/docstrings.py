"""What structs say of themselves and of their fields, for schemas and tables that are made from them.

The docstring under a field is kept by nobody at run time, so it is read from the source.
"""

import ast
import inspect
import re
import sys
from functools import cache

import msgspec


def said_of(kind: type[msgspec.Struct]) -> str | None:
    """What a class says of itself, as one line a paragraph; None if it says nothing."""
    said = kind.__dict__.get("__doc__")
    return _plain(said) if said else None


def fields_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What is said of the fields of a class and of those it inherits, by their names on the wire."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, msgspec.Struct) and each is not msgspec.Struct:
            found |= _own_fields(each)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    return {names[name]: said for name, said in found.items() if name in names}


def _own_fields(kind: type) -> dict[str, str]:
    definition = _definitions(kind.__module__)[kind.__name__]
    found: dict[str, str] = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = _plain(said)
            case _:
                pass
    return found


@cache
def _definitions(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module as they are written, by name: one reading of the source for all of them."""
    body = ast.parse(inspect.getsource(sys.modules[module])).body
    return {each.name: each for each in body if isinstance(each, ast.ClassDef)}


def _plain(said: str) -> str:
    """The text without the line breaks of the source, an empty line stays one; and as JSON calls things."""
    paragraphs = re.sub(r"\bNone\b", "null", inspect.cleandoc(said)).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
