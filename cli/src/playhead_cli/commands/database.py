"""Past the gateway, at the servers themselves: keys, read models, dead letters."""

from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.dead_letters import DeadLetter
    from playhead_projector.rebuild import RebuildReport

Tenant = Annotated[str, typer.Option("--tenant", help="Whose keys.")]

keys = typer.Typer(help="API keys: made, listed and revoked in the database itself.", no_args_is_help=True)
dlq = typer.Typer(help="Commands that kept failing and were given up.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command()(rebuild)
    app.add_typer(keys, name="keys")
    app.add_typer(dlq, name="dlq")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who it stands for; the log names it as the one who did something.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it allows; several times for several. Else admin.")
    ] = None,
    tenant: Tenant = "default",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once, now."""
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_gateway import access

    made = asyncio.run(access.create_key(database_url(data), tenant, name, scope or [access.ADMIN]))
    if as_json:
        print_json(made)
        return
    console = screen()
    console.print(made.key, markup=False, soft_wrap=True)
    scopes = ", ".join(made.scopes)
    screen(to_stderr=True).print(f"[dim]key {made.key_id} of {tenant}, {scopes}; it is not stored: keep it[/]")


@keys.command("list")
def list_keys(tenant: Tenant = "default", data: Data = None, as_json: AsJson = False) -> None:
    """List the keys of a tenant, revoked ones too."""
    import asyncio

    from playhead_cli.screen import print_json, screen, table
    from playhead_cli.servers import database_url
    from playhead_gateway import access

    found = asyncio.run(access.list_keys(database_url(data), tenant))
    if as_json:
        print_json({"items": found})
        return
    made = table("key", "name", "created (UTC)", "revoked (UTC)", "scopes")
    for key in found:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "-"
        made.add_row(key.key_id, key.name, f"{key.created_at:%Y-%m-%d %H:%M}", revoked, ", ".join(key.scopes))
    screen().print(made if found else f"{tenant} has no keys")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The id of the key, not the key itself.")],
    tenant: Tenant = "default",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """End a key for good."""
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_contracts.errors import NotFound
    from playhead_gateway import access

    if not asyncio.run(access.revoke_key(database_url(data), tenant, key_id)):
        raise NotFound(f"{tenant} has no key {key_id}; `playhead keys list` shows their ids")
    if as_json:
        print_json({"key_id": key_id, "revoked": True})
    else:
        screen().print(f"revoked; gateways may let it in for {access.REMEMBER_SECONDS:g} s more")


def rebuild(
    projection: Annotated[str | None, typer.Argument(help="One read model; all of them if not given.")] = None,
    to: Annotated[
        int | None, typer.Option("--to", min=0, help="As at this position, in tables beside the live ones.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Build read models anew from the log, beside the live ones, and swap them in."""
    import asyncio

    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_projector import rebuild as projector
    from playhead_projector.settings import Settings

    # A rebuild reads the log and nothing else; the bus is not asked.
    settings = Settings(database_url=database_url(data), nats_url="")
    names = None if projection is None else [projection]
    report: RebuildReport = asyncio.run(projector.rebuild(settings, names, to))
    if as_json:
        print_json(report)
        return
    rate = report.events / report.seconds if report.seconds else 0.0
    where = "now live" if report.is_live else "beside the live ones"
    screen().print(
        f"{report.events} events in {report.seconds:.2f} s ({rate:,.0f}/s), up to position {report.position}"
    )
    screen().print(f"{', '.join(report.tables)}: {where}", markup=False)


@dlq.command("list")
def list_dead_letters(data: Data = None, as_json: AsJson = False) -> None:
    """List the dead letters, oldest first."""
    import asyncio
    from datetime import UTC, datetime

    from playhead_cli.screen import line, print_json, screen, table
    from playhead_cli.servers import nats_url

    found = asyncio.run(_find(nats_url(data), []))
    if as_json:
        print_json({"items": found})
        return
    made = table("number", "age", "command", "execution", "failures", "error")
    for letter in found:
        age = str(datetime.now(UTC) - letter.failed_at).partition(".")[0]
        command = letter.command
        cells = (
            ("?", "?", "?") if command is None else (command.kind(), command.execution_id, str(command.failures + 1))
        )
        made.add_row(str(letter.number), age, *cells, line(letter.error))
    screen().print(made if found else "no dead letters")


@dlq.command("redrive")
def redrive_dead_letters(
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="Which ones.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Send commands again to where they failed, with a clean slate, and remove their dead letters."""
    import asyncio

    from playhead_cli.inputs import BadInput
    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import nats_url

    if bool(numbers) == all_:
        raise BadInput("say which: the numbers that `playhead dlq list` shows, or --all")
    sent = asyncio.run(_redrive(nats_url(data), numbers or []))
    if as_json:
        print_json({"sent": sent})
    else:
        screen().print(f"{len(sent)} sent again")


async def _find(url: str, numbers: list[int]) -> "list[DeadLetter]":
    from playhead_cli.dead_letters import find_letters
    from playhead_runtime.bus import connect_bus

    async with connect_bus(url, "playhead dlq", wait_seconds=5) as bus:
        return await find_letters(bus, numbers)


async def _redrive(url: str, numbers: list[int]) -> list[str]:
    from playhead_cli.dead_letters import find_letters, redrive
    from playhead_runtime.bus import connect_bus

    async with connect_bus(url, "playhead dlq", wait_seconds=5) as bus:
        return [await redrive(bus, letter) for letter in await find_letters(bus, numbers)]
