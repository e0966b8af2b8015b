"""Secrets: read where a block runs, never written anywhere.

`secrets.NAME` is the environment variable `PLAYHEAD_SECRET_NAME` of the executor, or else the file `NAME` in its
directory of secrets, which is read when a block needs it, so that a changed secret counts from then on. In events it
stands as the reference `{{ secrets.NAME }}`; should a block echo the value in its outputs or errors, it is put back to
the reference there too, also where it has been encoded on the way (base64, percent-encoding, JSON). A value of less
than four characters is not looked for: it would be found everywhere.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import quote, quote_plus

from playhead_contracts.events import Json
from playhead_engine.graph import Node

PREFIX = "PLAYHEAD_SECRET_"

SHORTEST_REDACTED = 4


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
        """The value of one secret, as it is now; None if there is none."""
        if name in self._values or self._directory is None:
            return self._values.get(name)
        path = self._directory / name
        # A name comes from a document: it must not lead out of the directory.
        if path.parent != self._directory or not path.is_file():
            return None
        return path.read_text().rstrip("\r\n")


def _forms(secret: str) -> Iterator[str]:
    """The secret as it may be found in what a block gives, longest forms first."""
    encoded = secret.encode()
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    found |= {json.dumps(secret, ensure_ascii=False)[1:-1]}
    for start in range(3):
        # Inside of a larger text, base64 shows it in one of three ways; its ends mix with what stands beside it.
        packed = base64.b64encode(b"\0" * start + encoded).decode()
        sure = packed[-(-start * 8 // 6) : (start + len(encoded)) * 8 // 6]
        found |= {sure, sure.replace("+", "-").replace("/", "_")}
    return iter(sorted((form for form in found if len(form) >= SHORTEST_REDACTED), key=len, reverse=True))


def redacted(value: Json, secrets: Mapping[str, str] | None) -> Json:
    """`value` with every occurrence of a secret in its texts turned back into the reference."""
    if not secrets:
        return value
    match value:
        case str():
            for name, secret in secrets.items():
                if len(secret) >= SHORTEST_REDACTED:
                    for form in _forms(secret):
                        value = value.replace(form, "{{ secrets.%s }}" % name)
            return value
        case list():
            return [redacted(item, secrets) for item in cast("list[Json]", value)]
        case dict():
            items = cast("dict[str, Json]", value).items()
            return {redacted(key, secrets): redacted(item, secrets) for key, item in items}
        case _:
            return value
