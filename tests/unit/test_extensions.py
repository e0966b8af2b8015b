"""What makes a function a block type, and what it promises of its config."""

import dataclasses
from typing import Any, TypedDict

import jsonschema_rs
import msgspec
import pytest

from playhead_blocks import BadBlock, BlockContext, block
from playhead_runtime.extensions import custom_block_types


class AsStruct(msgspec.Struct):
    n: int


@dataclasses.dataclass
class AsDataclass:
    n: int


class AsDict(TypedDict):
    n: int


async def takes_struct(config: AsStruct, context: BlockContext) -> int:
    return config.n


async def takes_dataclass(config: AsDataclass, context: BlockContext) -> int:
    return config.n


async def takes_dict(config: AsDict, context: BlockContext) -> int:
    return config["n"]


@pytest.mark.parametrize("function", [takes_struct, takes_dataclass, takes_dict])
def test_the_type_of_the_config_is_its_schema_and_what_the_function_gets(function: Any) -> None:
    kind = block()(function)
    assert kind.config_schema is not None
    assert jsonschema_rs.is_valid(kind.config_schema, {"n": 1})
    assert not jsonschema_rs.is_valid(kind.config_schema, {"n": "one"})
    assert kind.config_of({"n": 1}) in (AsStruct(1), AsDataclass(1), {"n": 1})
    with pytest.raises(ValueError, match=r"\$\.n"):
        kind.config_of({"n": "one"})


async def takes_anything(config: dict[str, Any], context: BlockContext) -> None:
    """A config that is just a dict."""


def test_a_plain_dict_takes_anything() -> None:
    kind = block()(takes_anything)
    assert kind.config_schema is None
    assert kind.config_of({"x": [1]}) == {"x": [1]}


def test_what_is_no_block_is_refused_with_what_it_should_be() -> None:
    def plain(config: AsStruct, context: BlockContext) -> int:
        return 1

    async def short(config: AsStruct) -> int:
        return 1

    async def untyped(config, context: BlockContext) -> int:  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
        return 1

    wrong: list[tuple[Any, str]] = [(plain, "async"), (short, "BlockContext"), (untyped, "type of its config")]  # pyright: ignore[reportUnknownVariableType]
    for function, said in wrong:
        with pytest.raises(BadBlock, match=said):
            block()(function)


def test_installed_packages_bring_their_block_types() -> None:
    kinds = custom_block_types()
    assert {"ship-order", "bench-pure", "bench-barrier"} <= kinds.keys()
    assert (kinds["ship-order"].effects, kinds["bench-pure"].effects) == (True, False)
