"""The bus copy past the gateway: published again."""

from typing import Annotated

import typer

from playhead_cli.options import AsJson, Data


def register(app: typer.Typer) -> None:
    app.command()(relay)


def relay(
    from_: Annotated[
        int, typer.Option("--from", min=1, metavar="POSITION", help="The first position that is published again.")
    ],
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, metavar="POSITION", help="How far to wait; else to where the log ends now."),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Empty the bus copy and publish the log again from a position on. Consumers get those events once more.

    The projector that relays does it, and goes on to the end of the log whether this command waits or not.
    """
    import asyncio

    from playhead_cli.counting import counting
    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_projector.relaying import relay_from
    from playhead_projector.settings import Settings

    settings = Settings(database_url=database_url(data), nats_url="")
    with counting("relay", as_json=as_json) as told:
        report = asyncio.run(relay_from(settings, from_, to, told))
    if as_json:
        print_json(report)
        return
    rate = report.positions / report.seconds if report.seconds else 0.0
    screen().print(
        f"positions {report.from_position} to {report.to_position} are on the bus again, "
        f"{report.seconds:.1f} s, {rate:,.0f} a second"
    )
