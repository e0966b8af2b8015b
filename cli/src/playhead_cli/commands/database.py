"""Past the gateway, at the servers themselves: keys, dead letters."""

from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.dead_letters import Kept

Tenant = Annotated[str, typer.Option("--tenant", help="Whose keys.")]

keys = typer.Typer(help="API keys: made, listed and revoked in the database itself.", no_args_is_help=True)
dlq = typer.Typer(
    help="Commands and events that were refused, or kept failing and were given up.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")
    app.add_typer(dlq, name="dlq")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who it stands for; the log names it as the one who did something.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it allows; several times for several. Else admin.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group that they belong to; several times for several.")
    ] = None,
    tenant: Tenant = "default",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once, now."""
    import asyncio

    from playhead_cli.operator import operator
    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_gateway import access

    scopes = scope or [access.ADMIN]
    made = asyncio.run(access.create_key(database_url(data), tenant, name, scopes, group or [], by=operator()))
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
    made = table("key", "name", "created (UTC)", "revoked (UTC)", "scopes", "groups")
    for key in found:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "-"
        created, scopes, groups = f"{key.created_at:%Y-%m-%d %H:%M}", ", ".join(key.scopes), ", ".join(key.groups)
        made.add_row(key.key_id, key.name, created, revoked, scopes, groups)
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

    from playhead_cli.operator import operator
    from playhead_cli.screen import print_json, screen
    from playhead_cli.servers import database_url
    from playhead_contracts.errors import NotFound
    from playhead_gateway import access

    if not asyncio.run(access.revoke_key(database_url(data), tenant, key_id, by=operator())):
        raise NotFound(f"{tenant} has no key {key_id}; `playhead keys list` shows their ids")
    if as_json:
        print_json({"key_id": key_id, "revoked": True})
    else:
        screen().print(f"revoked; gateways may let it in for {access.REMEMBER_SECONDS:g} s more")


@dlq.command("list")
def list_dead_letters(data: Data = None, as_json: AsJson = False) -> None:
    """List the dead letters, oldest first."""
    import asyncio
    from datetime import UTC, datetime

    from playhead_cli.screen import line, print_json, screen, table
    from playhead_cli.servers import nats_url

    found = [kept.letter for kept in asyncio.run(_find(nats_url(data), []))]
    if as_json:
        print_json({"items": found})
        return
    made = table("number", "age", "command", "execution", "failures", "error")
    for letter in found:
        age = str(datetime.now(UTC) - letter.failed_at).partition(".")[0]
        cells = (letter.kind, letter.execution_id or "", str(letter.failures))
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


async def _find(url: str, numbers: list[int]) -> "list[Kept]":
    from playhead_cli.dead_letters import find_letters
    from playhead_runtime.bus import connect_bus

    async with connect_bus(url, "playhead dlq", wait_seconds=5) as bus:
        return await find_letters(bus, numbers)


async def _redrive(url: str, numbers: list[int]) -> list[str]:
    from playhead_cli.dead_letters import find_letters, redrive
    from playhead_runtime.bus import connect_bus

    async with connect_bus(url, "playhead dlq", wait_seconds=5) as bus:
        return [await redrive(bus, kept) for kept in await find_letters(bus, numbers)]
