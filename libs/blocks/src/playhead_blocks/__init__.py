"""Write block types for Playhead: an async function with a typed config and a typed result.

    @block(effects=True)
    async def charge(config: ChargeConfig, context: BlockContext) -> Receipt: ...

A package offers `charge` through the entry point group `playhead.blocks`; the name of the entry point is the type as it
stands in documents, `{type: charge, config: {...}}`. This package depends on msgspec alone, so that a package of blocks
does not bring servers with it.
"""

from playhead_blocks.block_type import BadBlock, BlockType, block
from playhead_blocks.context import BlockContext, BlockFailed, Json

__all__ = ["BadBlock", "BlockContext", "BlockFailed", "BlockType", "Json", "block"]
