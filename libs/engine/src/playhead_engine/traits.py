"""What the engine must know of a type of block, beyond how it is written."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from playhead_contracts.events import Json
from playhead_contracts.workflow import BLOCK_MODELS


class BlockTraits(msgspec.Struct, frozen=True):
    """A block with `effects` acts outside: its start is in the log before it acts.

    `config_schema` is the JSON Schema of a custom block's `config`; None if anything goes.
    """

    effects: bool
    config_schema: dict[str, Json] | None = None


BUILTIN_TRAITS: Mapping[str, BlockTraits] = MappingProxyType(
    {kind: BlockTraits(effects=kind in ("http", "task", "workflow")) for kind in BLOCK_MODELS if kind != "note"}
)
