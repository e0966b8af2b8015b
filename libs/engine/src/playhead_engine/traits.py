"""What the engine must know of a type of block, beyond how it is written."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from playhead_contracts.events import Json


class BlockTraits(msgspec.Struct, frozen=True):
    """A block with `effects` acts outside: its start is in the log before it acts.

    `config_schema` is the JSON Schema of a custom block's `config`; None if anything goes.
    """

    effects: bool
    config_schema: dict[str, Json] | None = None


BUILTIN_TRAITS: Mapping[str, BlockTraits] = MappingProxyType(
    {
        "function": BlockTraits(effects=False),
        "http": BlockTraits(effects=True),
        "condition": BlockTraits(effects=False),
        "human": BlockTraits(effects=False),
        "response": BlockTraits(effects=False),
        "wait": BlockTraits(effects=False),
    }
)
