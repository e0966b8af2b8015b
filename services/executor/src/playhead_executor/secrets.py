"""Secrets: read where a block runs, never written anywhere.

`secrets.NAME` is the environment variable `PLAYHEAD_SECRET_NAME` of the executor, or else the file `NAME` in its
directory of secrets, which is read when a block needs it, so that a changed secret counts from then on. In events it
stands as the reference `{{ secrets.NAME }}`; should a block echo the value in its outputs or errors, it is put back to
the reference there too.

A block's results are searched for the secrets that the block itself names, in upper and lower case, as they are and
encoded once: for URLs, JSON, Python or HTML, as base64 (also in the midst of a larger text, such as the header of basic
auth) and in hexadecimal. At the end of a text that was cut off, the beginning of a secret counts as well. Not found is
what was encoded twice, packed or hashed; and a value of less than four characters is not looked for, because it would
be found everywhere and what was taken out would tell it.
"""

import base64
import html
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

from playhead_contracts.events import Json
from playhead_engine.graph import Node
from playhead_executor.blocks.contract import CUT

PREFIX = "PLAYHEAD_SECRET_"

SHORTEST_REDACTED = 4

_WORD = re.compile(r"[A-Za-z0-9]+")
_BASE64 = "[A-Za-z0-9+/_-]"
_LONGEST_SPELLING = 12
"""Characters that one character may become, such as those of `%F0%9F%98%80`."""

log = logging.getLogger("playhead.executor.secrets")


class Secrets:
    """The secrets of this executor, by name."""

    def __init__(self, environ: Mapping[str, str], directory: Path | None = None):
        self._values = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
        self._directory = directory

    def used_by(self, node: Node) -> Mapping[str, str] | None:
        """The values of the secrets that a block's fields name, as far as there are any; None if it names none."""
        names = {reference.path[0] for reference in node.references if reference.root == "secrets"}
        if not names:
            return None
        values = {name: self.value(name) for name in sorted(names)}
        return {name: value for name, value in values.items() if value is not None}

    def value(self, name: str) -> str | None:
        """The value of one secret, as it is now; None if there is none. Of a name in both, the environment's.

        A file that cannot be read is none, and an operator is told in the log.
        """
        if name in self._values or self._directory is None:
            return self._values.get(name)
        path = self._directory / name
        try:
            # A name comes from a document: it must not lead out of the directory.
            if path.parent != self._directory or not path.is_file():
                return None
            return path.read_bytes().decode().rstrip("\r\n")
        except (OSError, ValueError) as unreadable:
            # Its text may show some of the value.
            log.error("secret cannot be read", extra={"secret": name, "reason": type(unreadable).__name__})
            return None


class _Trace(NamedTuple):
    """One way in which a secret may be seen in a text."""

    reference: str
    word: str
    """Letters and digits that stand in it in any case, in lower case: the quick look before the search."""
    pieces: tuple[str, ...]
    """The pattern of each of its characters."""
    pattern: re.Pattern[str]


def redacted(value: Json, secrets: Mapping[str, str] | None) -> Json:
    """`value` with every occurrence of a secret in its texts turned back into the reference."""
    if not secrets:
        return value
    return _redacted(value, [trace for name, secret in secrets.items() for trace in _traces(name, secret)])


def _redacted(value: Json, traces: Iterable[_Trace]) -> Json:
    match value:
        case str():
            return _without(value, traces)
        case list():
            return [_redacted(item, traces) for item in cast("list[Json]", value)]
        case dict():
            items = cast("dict[str, Json]", value).items()
            return {_without(key, traces): _redacted(item, traces) for key, item in items}
        case _:
            return value


def _without(text: str, traces: Iterable[_Trace]) -> str:
    # Secrets may overlap, or one may be part of another: all are looked for in the text as it was.
    found = sorted((start, -end, reference) for start, end, reference in _found(text, traces))
    parts: list[str] = []
    position = 0
    for start, minus_end, reference in found:
        if start >= position:
            parts += [text[position:start], reference]
        position = max(position, -minus_end)
    return "".join((*parts, text[position:]))


def _found(text: str, traces: Iterable[_Trace]) -> Iterator[tuple[int, int, str]]:
    lowered = text.lower()
    for trace in traces:
        if trace.word in lowered:
            for match in trace.pattern.finditer(text):
                yield match.start(), match.end(), trace.reference
        if text.endswith(CUT):
            start = _begun(text[: -len(CUT)], trace.pieces)
            if start is not None:
                yield start, len(text) - len(CUT), trace.reference


def _begun(text: str, pieces: tuple[str, ...]) -> int | None:
    """Where, at the end of a text, a secret begins of which the rest is cut off."""
    patterns = [re.compile(piece) for piece in pieces]
    last = len(text) - SHORTEST_REDACTED
    for start in range(max(0, len(text) - _LONGEST_SPELLING * len(pieces)), last + 1):
        position = start
        for pattern in patterns:
            match = pattern.match(text, position)
            if match is None:
                break
            position = match.end()
        rest = text[position:]
        # The cut may go through the midst of an escaped character.
        known = position - start >= SHORTEST_REDACTED
        if not rest or (known and rest[0] in "%\\&\ufffd" and len(rest) < _LONGEST_SPELLING):
            return start
    return None


@lru_cache(maxsize=256)
def _traces(name: str, secret: str) -> tuple[_Trace, ...]:
    if len(secret) < SHORTEST_REDACTED:
        return ()
    reference = "{{ secrets.%s }}" % name
    # What an operating system gives as a text may be any bytes.
    encoded = secret.encode(errors="surrogateescape")
    # The others are for what is sent back in UTF-8 and said to be something else.
    texts = dict.fromkeys((secret, *(encoded.decode(charset, errors="replace") for charset in ("latin-1", "cp1252"))))
    traces = [_trace(reference, text, escape) for text in texts for escape in (_in_url, _in_code, _in_html)]
    traces.append(_trace(reference, encoded.hex(), _as_it_is))
    for start in range(3):
        # Inside of a larger text, base64 shows it in one of three ways; its ends mix with what stands beside it.
        first, end = -(-start * 8 // 6), (start + len(encoded)) * 8 // 6
        sure = base64.b64encode(b"\0" * start + encoded).decode()[first:end]
        before = f"{_BASE64}?" if start else ""
        after = f"{_BASE64}?(?:=|%3[Dd])*" if (start + len(encoded)) % 3 else ""
        traces.append(_trace(reference, sure, _in_base64, before, after))
    return tuple({trace.pattern: trace for trace in traces}.values())


def _trace(
    reference: str, text: str, escape: Callable[[str], Iterable[str]], before: str = "", after: str = ""
) -> _Trace:
    pieces = tuple(_piece(escape, character) for character in text)
    word = max(_WORD.findall(text), key=len, default="").lower()
    return _Trace(reference, word, pieces, re.compile(before + "".join(pieces) + after))


def _piece(escape: Callable[[str], Iterable[str]], character: str) -> str:
    if character.isascii() and character.isalnum():
        return character if escape is _in_base64 else f"(?i:{character})"
    return f"(?i:{'|'.join(re.escape(each) for each in dict.fromkeys(escape(character)))})"


def _as_it_is(character: str) -> Iterable[str]:
    return (character,)


def _in_url(character: str) -> Iterable[str]:
    """Which characters are percent-encoded differs from one place in a URL to another, and between programs."""
    percent = "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogateescape"))
    return (percent, character, "+") if character == " " else (percent, character)


def _in_code(character: str) -> Iterable[str]:
    """In a string literal, as of JSON or Python. A backslash never stands alone there."""
    code = ord(character)
    escaped = (json.dumps(character)[1:-1], f"\\u{code:04x}", f"\\U{code:08x}", f"\\x{code:02x}")
    return escaped if character == "\\" else (*escaped, f"\\{character}", character)


def _in_html(character: str) -> Iterable[str]:
    code = ord(character)
    return (html.escape(character), f"&#{code};", f"&#x{code:x};", character)


def _in_base64(character: str) -> Iterable[str]:
    """Two characters of base64 differ where it is made for URLs (RFC 4648, 5)."""
    return (*_in_url(character), {"+": "-", "/": "_"}[character], f"\\{character}")
