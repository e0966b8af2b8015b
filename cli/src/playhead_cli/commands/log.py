"""The log itself: is it what was written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.bus_check import BusReport
    from playhead_eventlog import EventLog
    from playhead_projector.verifying import ReadModelsReport

OneId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="One execution, or a stream such as workflow:TENANT:ID; else all.")
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoints",
        envvar="PLAYHEAD_CHECKPOINT_DIR",
        help="A folder of signed checkpoints. Several times: the first is where they are written, the others are "
        "copies of it.",
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key",
        # Where the projector runs, the private key is known, and the public one with it.
        envvar=["PLAYHEAD_PUBLIC_KEY", "PLAYHEAD_SIGNING_KEY"],
        help="The file of the public key that checkpoints are signed for. Several times after a change of keys.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    stream: OneId = None,
    checkpoints: Folders = None,
    public_key: Keys = None,
    bus: Annotated[
        bool, typer.Option("--bus", help="Also the copy on the bus: each message against its event.")
    ] = False,
    read_models: Annotated[
        bool,
        typer.Option("--read-models", help="Check the read models instead: whether each row is what the log says."),
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="The log, its archive, the copy on the bus, and the read models.")
    ] = False,
    offline: Annotated[
        Path | None,
        typer.Option("--offline", help="Check a file that `playhead export` wrote, without any server."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="The file is a part of the log: what is not in it is no fault.")
    ] = False,
    archive: Annotated[
        str | None,
        typer.Option("--archive", help="Also the files of archived executions, which are there: a folder, or a URL."),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check that the log is what was written: every hash chain from the stored bytes, the columns beside them, the
    heads of streams, the large values, and the signed checkpoints if there are any. Names the first event that is not
    what was written. Exit code 1 if anything is not as it should be.
    """
    import asyncio

    from playhead_cli.inputs import BadInput

    if offline is not None:
        if stream or bus or read_models or all_ or len(checkpoints or ()) > 1:
            raise BadInput("--offline checks a file alone; only --checkpoints (once) and --public-key go with it")
        _verify_offline(offline, checkpoints or [], public_key or [], partial=partial, as_json=as_json)
        return
    if stream is not None and (bus or read_models or all_):
        raise BadInput("--bus, --read-models and --all check all of it; leave the stream out")
    if partial:
        raise BadInput("--partial goes with --offline")
    if read_models and not bus and not all_:
        _verify_read_models(data, as_json=as_json)
        return
    asyncio.run(
        _verify(
            stream,
            checkpoints or [],
            public_key or [],
            data,
            archive,
            files=all_ or archive is not None,
            bus=bus or all_,
            rows=read_models or all_,
            as_json=as_json,
        )
    )


def _verify_read_models(data: Path | None, *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.screen import print_json
    from playhead_cli.sets import show_verified

    report = asyncio.run(_read_models(data, as_json=as_json))
    if as_json:
        print_json(report)
    else:
        show_verified(report)
    if not report.intact:
        raise typer.Exit(1)


async def _verify(
    stream: str | None,
    folders: list[Path],
    keys: list[str],
    data: Path | None,
    archive: str | None,
    *,
    files: bool,
    bus: bool,
    rows: bool,
    as_json: bool,
) -> None:
    from msgspec.structs import replace

    from playhead_cli.archiving import nothing_is_archived
    from playhead_cli.counting import counting
    from playhead_cli.servers import archive_url, database_url, witnesses_of
    from playhead_cli.verdict import Verdict, show, show_json
    from playhead_cli.verifying import stream_named, verify_log, verify_stream
    from playhead_eventlog import open_log
    from playhead_eventlog.archive_files import ArchiveFiles

    witnesses = None if stream is not None else witnesses_of(folders, keys, data)
    archive = archive_url(archive, data)
    url = database_url(data)
    async with open_log(url, readers=2, archive_url=archive) as log, nothing_is_archived(url):
        with counting("verify", as_json=as_json) as told:
            if stream is not None:
                found = await verify_stream(log, stream_named(stream), told)
            else:
                archived = ArchiveFiles(archive) if files and archive is not None else None
                found = await verify_log(log, witnesses, told, archived)
        verdict = Verdict(log=found)
        if bus:
            verdict = replace(verdict, bus=await _bus(log, data, as_json=as_json))
    if rows:
        verdict = replace(verdict, read_models=await _read_models(data, as_json=as_json))
    (show_json if as_json else show)(verdict)
    if not verdict.intact:
        raise typer.Exit(1)


async def _bus(log: "EventLog", data: Path | None, *, as_json: bool) -> "BusReport":
    from playhead_cli.bus_check import verify_bus
    from playhead_cli.counting import counting
    from playhead_cli.servers import nats_url
    from playhead_runtime.bus import connect_bus

    with counting("verify bus", as_json=as_json) as told:
        async with connect_bus(nats_url(data), "playhead verify", wait_seconds=5) as bus:
            return await verify_bus(log, bus, told)


async def _read_models(data: Path | None, *, as_json: bool) -> "ReadModelsReport":
    from playhead_cli.counting import counting
    from playhead_cli.servers import archive_url, database_url
    from playhead_projector.settings import Settings
    from playhead_projector.verifying import verify_read_models

    with counting("verify read models", as_json=as_json) as told:
        settings = Settings(database_url=database_url(data), nats_url="", archive_url=archive_url(None, data))
        return await verify_read_models(settings, told)


def _verify_offline(file: Path, folders: list[Path], keys: list[str], *, partial: bool, as_json: bool) -> None:
    import zlib

    from playhead_cli import offline
    from playhead_cli.inputs import BadInput
    from playhead_cli.screen import print_json, screen

    if bool(folders) != bool(keys):
        raise BadInput("--checkpoints and --public-key go together")
    try:
        report = offline.verify(file, folders[0] if folders else None, keys, partial=partial)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadInput(f"{file}: {error}") from error
    if as_json:
        print_json(report.as_json())
    else:
        for line in report.lines():
            screen().print(line, markup=False, soft_wrap=True)
    if report.faults:
        raise typer.Exit(1)
