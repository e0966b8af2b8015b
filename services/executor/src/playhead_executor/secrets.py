"""Secrets: read where a block runs, never written anywhere.

`secrets.NAME` is the environment variable `PLAYHEAD_SECRET_NAME` of the executor. In events it stands as the reference
`{{ secrets.NAME }}`; should a block echo the value in its outputs or errors, it is put back to the reference there too.
"""

from collections.abc import Mapping
from typing import cast

from playhead_contracts.events import Json
from playhead_engine.graph import Node

PREFIX = "PLAYHEAD_SECRET_"


class Secrets:
    """The secrets of this executor, by name."""

    def __init__(self, environ: Mapping[str, str]):
        self._values = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}

    def used_by(self, node: Node) -> Mapping[str, str] | None:
        """The values of the secrets that a block's fields name, as far as there are any; None if it names none."""
        names = {reference.path[0] for reference in node.references if reference.root == "secrets"}
        return {name: self._values[name] for name in names if name in self._values} if names else None


def redacted(value: Json, secrets: Mapping[str, str] | None) -> Json:
    """`value` with every occurrence of a secret in its texts turned back into the reference."""
    if not secrets:
        return value
    match value:
        case str():
            for name, secret in secrets.items():
                if secret:
                    value = value.replace(secret, "{{ secrets.%s }}" % name)
            return value
        case list():
            return [redacted(item, secrets) for item in cast("list[Json]", value)]
        case dict():
            items = cast("dict[str, Json]", value).items()
            return {redacted(key, secrets): redacted(item, secrets) for key, item in items}
        case _:
            return value
