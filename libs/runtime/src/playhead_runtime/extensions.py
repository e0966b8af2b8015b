"""Block types that other packages bring, found through the entry point group `playhead.blocks`.

The name of the entry point is the type as it stands in documents; its value is a `BlockExtension`.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

import msgspec

from playhead_contracts.errors import PlayheadError
from playhead_contracts.events import Json

GROUP = "playhead.blocks"


class BadExtension(PlayheadError):
    """An installed package registers something that is no block type."""


class BlockExtension(msgspec.Struct, frozen=True):
    """A block type in Python: `run` takes the resolved `config` and gives the outputs.

    With `effects` (the default) its start is in the log before it runs; without, it must be pure and
    repeatable. `config_schema` is the JSON Schema (2020-12) of `config`.
    """

    run: Callable[[dict[str, Json]], Awaitable[Json]]
    effects: bool = True
    config_schema: dict[str, Any] | None = None


@lru_cache(maxsize=1)
def custom_block_types() -> Mapping[str, BlockExtension]:
    """Every installed block type, by name. Raises BadExtension."""
    found: dict[str, BlockExtension] = {}
    for entry in entry_points(group=GROUP):
        extension = entry.load()
        if not isinstance(extension, BlockExtension):
            raise BadExtension(f"{entry.value} of {entry.dist and entry.dist.name} is not a BlockExtension")
        found[entry.name] = extension
    return found
