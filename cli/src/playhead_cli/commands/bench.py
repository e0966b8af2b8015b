"""`playhead bench`: another package's commands, loaded when they are asked for."""

from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperGroup

from playhead_contracts.errors import PlayheadError


class BenchMissing(PlayheadError):
    def __init__(self) -> None:
        super().__init__("the benchmarks are not installed: pip install playhead-bench")


class _Lazy(TyperGroup):
    """Stands for the commands of `playhead_bench.main`, which nobody loads who does not ask for them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return _commands().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _commands().get_command(ctx, cmd_name)


bench = typer.Typer(cls=_Lazy, help="Measure it: commands that print a table.", no_args_is_help=True)


@bench.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction] - without it there is no group
    """Measure it: commands that print a table."""


def register(app: typer.Typer) -> None:
    app.add_typer(bench, name="bench")


def _commands() -> TyperGroup:
    if find_spec("playhead_bench") is None or find_spec("playhead_bench.main") is None:
        raise BenchMissing
    from importlib import import_module

    found = typer.main.get_command(import_module("playhead_bench.main").app)
    assert isinstance(found, TyperGroup)
    return found
