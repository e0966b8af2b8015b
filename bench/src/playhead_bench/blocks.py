"""The block types that benchmarks run: as little work as a block can do, so that what is measured is Playhead."""

from playhead_contracts.events import Json
from playhead_runtime.extensions import BlockExtension


async def _count(config: dict[str, Json]) -> Json:
    return {"n": config["n"] + 1}


BARRIER = BlockExtension(run=_count, effects=True)
"""A block with effects: its start is committed before it runs, its completion before the next one starts."""

PURE = BlockExtension(run=_count, effects=False)
"""A block without: its completion goes into the log together with whatever follows it."""
