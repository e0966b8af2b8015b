"""The block types that benchmarks run: as little work as a block can do, so that what is measured is Playhead."""

from playhead_blocks import BlockContext, Json, block


async def _count(config: dict[str, Json], _: BlockContext) -> Json:
    return {"n": config["n"] + 1}


BARRIER = block(effects=True)(_count)
"""A block with effects: its start is committed before it runs, its completion before the next one starts."""

PURE = block(effects=False)(_count)
"""A block without: its completion goes into the log together with whatever follows it."""
