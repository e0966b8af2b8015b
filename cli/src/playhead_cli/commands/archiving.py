"""Retention: move what ended long ago out of the database, into files that can be read and verified."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.archiving import ArchiveReport
    from playhead_eventlog.signing import SigningKey


def register(app: typer.Typer) -> None:
    app.command()(archive)


def archive(
    before: Annotated[str, typer.Option("--before", help="Only executions that ended before this time.")],
    to: Annotated[
        str | None,
        typer.Option("--to", envvar="PLAYHEAD_ARCHIVE_URL", help="A folder, or a URL such as s3://bucket/folder."),
    ] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only executions of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only executions of this tenant.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be moved.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Do not compress the files.")] = False,
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--signing-key", envvar="PLAYHEAD_SIGNING_KEY", help="The file of the key that files are signed with."
        ),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Move whole ended executions out of the log, into signed files. They can be read, verified and forked as before,
    by whoever is told with PLAYHEAD_ARCHIVE_URL where the files are; lists do not show them any more. An execution
    stays as long as something has to do with it that stays: a fork of it, its parent, a child.
    """
    import asyncio

    from playhead_cli.archiving import Order, Place
    from playhead_cli.archiving import archive as move
    from playhead_cli.counting import counting
    from playhead_cli.inputs import BadInput, read_moment
    from playhead_cli.screen import print_json
    from playhead_cli.servers import archive_url, data_of, database_url, owner_database_url
    from playhead_contracts.ids import TenantId
    from playhead_eventlog.archive_files import ArchiveFiles

    to = archive_url(to, data)
    if to is None:
        raise BadInput("say where to with --to or PLAYHEAD_ARCHIVE_URL; the services need the same")
    order = Order(
        before=read_moment("--before", before),
        tenant=None if tenant is None else TenantId(tenant),
        workflow=workflow,
        dry_run=dry_run,
        compress=not plain,
    )
    place = Place(database_url(data), owner_database_url(data))
    with counting("archive", as_json=as_json) as told:
        report = asyncio.run(move(order, place, ArchiveFiles(to), _key(signing_key, data_of(data)), told))
    if as_json:
        print_json(report)
    else:
        _show(report, dry_run=dry_run)


def _key(given: str | None, dev: Path | None) -> "SigningKey":
    from playhead_cli.inputs import BadInput
    from playhead_cli.servers import CHECKPOINTS, SIGNING_KEY
    from playhead_eventlog.signing import SigningKey

    if given is None and dev is not None:
        given = str(dev / CHECKPOINTS / SIGNING_KEY)
    if given is None:
        raise BadInput("files are signed: set PLAYHEAD_SIGNING_KEY; `playhead checkpoints keygen DIR` makes a key")
    return SigningKey.read(given)


def _show(report: "ArchiveReport", *, dry_run: bool) -> None:
    from playhead_cli.screen import screen

    console = screen()
    for name in report.finished:
        console.print(f"finished what an earlier run began: {name}", markup=False, soft_wrap=True)
    for name in report.files:
        console.print(name, markup=False, soft_wrap=True)
    would = "would be moved" if dry_run else "moved"
    console.print(f"{report.executions} executions with {report.events} events {would}", markup=False)
    if report.kept:
        console.print(f"{report.kept} stay: something that stays has to do with them", markup=False)
    if report.not_yet:
        console.print(f"{report.not_yet} are left for the next time: {report.waits_for}", markup=False)
