"""One service alone, and the schema: what production runs."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from playhead_cli.options import AsJson, Data


class Service(StrEnum):
    GATEWAY = "gateway"
    EXECUTOR = "executor"
    HITL = "hitl"
    PROJECTOR = "projector"


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(migrate)


def serve(
    service: Annotated[Service, typer.Argument(help="Which service.")],
    as_json: AsJson = False,
) -> None:
    """Run one service until it is told to stop, with settings from PLAYHEAD_* variables."""
    from importlib import import_module

    from playhead_runtime.service import run_service
    from playhead_runtime.settings import read_settings

    package = f"playhead_{service}"
    settings = read_settings(import_module(f"{package}.settings").Settings, os.environ)
    app = import_module(f"{package}.app")
    raise typer.Exit(run_service(lambda stop: app.serve(settings, stop)))


def migrate(
    service_login: Annotated[
        str | None, typer.Option("--service-login", help="A login that is made a member of the services' role.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the newest schema, as the owner at PLAYHEAD_DATABASE_OWNER_URL (or PLAYHEAD_DATABASE_URL).

    Safe to run twice, and from two processes at once.
    """
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import owner_database_url
    from playhead_eventlog import migrate as bring_up_to_date

    applied = asyncio.run(bring_up_to_date(owner_database_url(data), service_login))
    if as_json:
        print_json({"applied": applied})
    else:
        screen().print("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is the newest")
