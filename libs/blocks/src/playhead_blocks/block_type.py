"""What the decorator makes of a function: a block type, with the types of its config and result."""

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, get_origin, get_type_hints

import msgspec

from playhead_blocks.context import BlockContext, Json

Function = Callable[[Any, BlockContext], Awaitable[Any]]


class BadBlock(TypeError):
    """A function that cannot be a block type; the text says what it should be."""


@dataclasses.dataclass(frozen=True)
class BlockType:
    """A block type, to be named as an entry point. Made by `block`."""

    function: Function
    config_type: Any
    effects: bool
    heartbeat_seconds: float | None

    @property
    def config_schema(self) -> dict[str, Json] | None:
        """The JSON Schema (2020-12) of the config; None if anything goes."""
        if self.config_type in (Any, dict) or get_origin(self.config_type) in (dict, Mapping):
            return None
        if hasattr(self.config_type, "model_json_schema"):
            return self.config_type.model_json_schema()
        return msgspec.json.schema(self.config_type)

    def config_of(self, value: Json) -> Any:
        """The config as the function takes it. Raises ValueError that names what is wrong, and where."""
        if hasattr(self.config_type, "model_validate"):
            return self.config_type.model_validate(value)
        return msgspec.convert(value, self.config_type)


def block(*, effects: bool = True, heartbeat: timedelta | None = None) -> Callable[[Function], BlockType]:
    """Make an async function a block type.

    It takes its config (a msgspec Struct, dataclass, TypedDict, pydantic model or plain dict) and a `BlockContext`, and
    gives a result that is JSON or can be made JSON. With `effects` its start is in the log before it runs. Without, it
    must be pure and repeatable: it may run again after a crash, and nothing tells that it ran before. `heartbeat` is
    how long it may be silent. Raises BadBlock.
    """

    def made(function: Function) -> BlockType:
        if not inspect.iscoroutinefunction(function):
            raise BadBlock(f"{function.__name__} should be an async function")
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) != 2:
            raise BadBlock(f"{function.__name__} should take its config and a BlockContext")
        config_type = get_type_hints(function).get(parameters[0])
        if config_type is None:
            raise BadBlock(f"{function.__name__} should say the type of its config")
        kind = BlockType(function, config_type, effects, None if heartbeat is None else heartbeat.total_seconds())
        try:
            _ = kind.config_schema
        except TypeError as wrong:
            raise BadBlock(f"{function.__name__}: its config has no JSON Schema: {wrong}") from wrong
        return kind

    return made
