"""Block types that other packages bring, found through the entry point group `playhead.blocks`.

The name of the entry point is the type as it stands in documents; its value is what `playhead_blocks.block` makes.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points

from playhead_blocks import BlockType
from playhead_contracts.errors import PlayheadError

GROUP = "playhead.blocks"


class BadExtension(PlayheadError):
    """An installed package registers something that is no block type."""


@lru_cache(maxsize=1)
def custom_block_types() -> Mapping[str, BlockType]:
    """Every installed block type, by name. Raises BadExtension."""
    found: dict[str, BlockType] = {}
    for entry in entry_points(group=GROUP):
        extension = entry.load()
        if not isinstance(extension, BlockType):
            brought_by = entry.dist.name if entry.dist is not None else "a package"
            raise BadExtension(f"{entry.value} of {brought_by} is no block type; see playhead_blocks.block")
        found[entry.name] = extension
    return found
