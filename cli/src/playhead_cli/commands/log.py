"""The log itself: is it what was written, and take it away."""

import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.chains import Chains
    from playhead_contracts.ids import StreamId
    from playhead_eventlog import EventLog, RawEvent
    from playhead_projector.building import Told

_EVENTS_A_READ = 5000

OneId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="One execution, or a stream such as workflow:TENANT:ID; else all.")
]


def register(app: typer.Typer) -> None:
    app.command()(verify)
    app.command()(export)


def verify(
    stream: OneId = None,
    read_models: Annotated[
        bool,
        typer.Option("--read-models", help="Check the read models instead: whether each row is what the log says."),
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the hash chain of one or all streams from the stored bytes, and the digests of the large values that
    they refer to. Exit code 1 if one is broken.
    """
    import asyncio

    from playhead_cli.chains import Chains
    from playhead_cli.counting import counting
    from playhead_cli.servers import database_url

    if read_models:
        _verify_read_models(stream, data, as_json=as_json)
        return
    chains = Chains()
    with counting("verify", as_json=as_json) as told:
        asyncio.run(_check(database_url(data), stream, chains, told))
    _show_chains(chains, as_json=as_json)
    if chains.faults:
        raise typer.Exit(1)


def export(
    stream: OneId = None,
    format_: Annotated[str, typer.Option("--format", help="jsonl: one event a line, as stored.")] = "jsonl",
    output: Annotated[Path | None, typer.Option("--output", help="A file, in place of standard output.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write the events of one or all streams, in the order of the log, byte for byte as they are stored.

    A large value that is stored apart is a line of its own, with the member "kind":"blob", before the first event that
    refers to it.
    """
    import asyncio

    from playhead_cli.inputs import BadInput
    from playhead_cli.servers import database_url

    if format_ == "ocel":
        raise BadInput("--format ocel is not there yet; it comes later. --format jsonl is")
    if format_ != "jsonl":
        raise BadInput(f"--format {format_} is not known; there is jsonl, and ocel comes later")
    url = database_url(data)
    if output is None:
        asyncio.run(_write(url, stream, sys.stdout.buffer))
        return
    with output.open("wb") as file:
        count = asyncio.run(_write(url, stream, file))
    _show_export(output, count, as_json=as_json)


def _verify_read_models(stream: str | None, data: Path | None, *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.counting import counting
    from playhead_cli.inputs import BadInput
    from playhead_cli.screen import print_json
    from playhead_cli.servers import database_url
    from playhead_cli.sets import show_verified
    from playhead_projector.settings import Settings
    from playhead_projector.verifying import verify_read_models

    if stream is not None:
        raise BadInput("--read-models checks all of them; leave the stream out")
    with counting("verify", as_json=as_json) as told:
        report = asyncio.run(verify_read_models(Settings(database_url=database_url(data), nats_url=""), told))
    if as_json:
        print_json(report)
    else:
        show_verified(report)
    if not report.intact:
        raise typer.Exit(1)


async def _check(url: str, stream: str | None, chains: "Chains", told: "Told") -> None:
    from playhead_eventlog import open_log
    from playhead_projector.building import Progress

    async with open_log(url, readers=1) as log:
        heads = await log.heads(None if stream is None else _stream_id(stream))
        until = sum(head.version for head in heads.values())
        async for events in _read(log, stream):
            chains.check(events)
            for event in events:
                unseen = chains.unseen_blobs(event)
                chains.check_blobs(event, await log.blobs(unseen))
            told(Progress(chains.events, chains.events, until))
    chains.end(heads)


async def _write(url: str, stream: str | None, file: BinaryIO) -> int:
    from playhead_cli.exported import Export
    from playhead_eventlog import open_log

    count = 0
    async with open_log(url, readers=1) as log:
        exported = Export(log)
        async for events in _read(log, stream):
            async for line in exported.lines(events):
                file.write(line)
            count += len(events)
    file.flush()
    return count


async def _read(log: "EventLog", stream: str | None) -> "AsyncGenerator[list[RawEvent]]":
    """The events of a stream in order, or those of all of them in the order of the log. Raises NoSuchStream."""
    after = 0
    stream_id = None if stream is None else _stream_id(stream)
    while True:
        if stream_id is None:
            events = await log.read_log(after, _EVENTS_A_READ)
        else:
            events = await log.read_raw(stream_id, after, _EVENTS_A_READ)
        if not events:
            break
        yield events
        after = events[-1].position if stream_id is None else events[-1].version
    if stream_id is not None and after == 0:
        from playhead_contracts.errors import NotFound

        raise NotFound(f"the log has no event of {stream_id}")


def _stream_id(text: str) -> "StreamId":
    from playhead_contracts.ids import ExecutionId, StreamId, execution_stream

    return StreamId(text) if ":" in text else execution_stream(ExecutionId(text.lower()))


def _show_chains(chains: "Chains", *, as_json: bool) -> None:
    from rich.markup import escape

    from playhead_cli.screen import print_json, screen

    if as_json:
        counted = {"streams": chains.streams, "events": chains.events, "blobs": chains.blobs}
        print_json({**counted, "intact": not chains.faults, "breaks": chains.faults})
        return
    console = screen()
    for broken in chains.faults:
        where = f"{broken.stream_id} version {broken.version} (position {broken.position})"
        console.print(f"[red]broken[/] at {escape(where)}: {escape(broken.reason)}", soft_wrap=True)
    counts = f"{chains.events} events in {chains.streams} streams"
    if chains.blobs:
        counts += f", {chains.blobs} large values"
    if chains.faults:
        blobs = f" and {len(chains.broken_blobs)} broken values" if chains.broken_blobs else ""
        console.print(f"[red]{len(chains.breaks)} broken chains{blobs}[/], {counts}")
    else:
        console.print(f"[green]intact[/]: {counts}, every hash recomputed")


def _show_export(output: Path, count: int, *, as_json: bool) -> None:
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json({"file": str(output), "events": count})
    else:
        screen().print(f"{count} events in {output}", markup=False)
