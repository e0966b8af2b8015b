"""The command `playhead`: which commands there are, and what happens when one cannot do what it was asked.

Commands import what they need when they run: `playhead --help` should not wait for drivers and servers.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from playhead_cli.commands import (
    archiving,
    audit,
    bench,
    checkpoints,
    contracts,
    database,
    demo,
    dev,
    executions,
    exporting,
    forgetting,
    links,
    log,
    pauses,
    read_models,
    relaying,
    services,
    time_travel,
    triggers,
    webhooks,
    workflows,
)
from playhead_cli.options import JSON_WANTED
from playhead_contracts.errors import PlayheadError


class _Commands(TyperGroup):
    """All commands. What goes wrong on purpose is told in a sentence; a traceback means a bug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PlayheadError as error:
            from playhead_cli.screen import show_error

            show_error(error, as_json=ctx.meta.get(JSON_WANTED, False))
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


app = typer.Typer(
    cls=_Commands,
    help="Workflows whose every step is an event. Start with `playhead demo` or `playhead dev`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
_TO_USE = (demo, dev, services, workflows, executions, time_travel, pauses, links, triggers, webhooks)
_TO_OPERATE = (
    *(log, checkpoints, audit, exporting, archiving, forgetting),
    *(read_models, relaying, database, contracts, bench),
)
for module in (*_TO_USE, *_TO_OPERATE):
    module.register(app)


def main() -> None:
    """The entry point of the installed script."""
    app(prog_name="playhead")
