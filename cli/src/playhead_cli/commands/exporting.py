"""Take the log away: as its own bytes, or in the formats of others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson, Data

if TYPE_CHECKING:
    from playhead_cli.exports.writing import Format
    from playhead_contracts.ids import StreamId
    from playhead_eventlog import EventLog, Selection
    from playhead_projector.building import Told

OneId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="One execution, or a stream such as workflow:TENANT:ID; else all.")
]
FormatName = Annotated[
    str, typer.Option("--format", help="jsonl (as stored), cloudevents, ocel (OCEL 2.0 JSON), xes or parquet.")
]
Output = Annotated[
    Path | None, typer.Option("--output", help="A file, in place of standard output; .gz compresses it.")
]
Since = Annotated[str | None, typer.Option("--since", help="Only what was recorded at this time or later.")]
Until = Annotated[str | None, typer.Option("--until", help="Only what was recorded before this time.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", help="Only what belongs to this workflow.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only what belongs to this tenant.")]
OfExecutions = Annotated[list[str] | None, typer.Option("--execution", help="Only this execution; may be repeated.")]


def register(app: typer.Typer) -> None:
    app.command()(export)


def export(
    stream: OneId = None,
    format_: FormatName = "jsonl",
    output: Output = None,
    since: Since = None,
    until: Until = None,
    workflow: OfWorkflow = None,
    tenant: OfTenant = None,
    execution: OfExecutions = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write events of the log, in its order, for others to read.

    In the format jsonl they are byte for byte what is stored, with their position and hash: `playhead verify --offline`
    checks them. A large value that is stored apart is a line of its own, with the member "kind":"blob", before the
    first event that refers to it. That events were exported, and by whom, is an event of its own.
    """
    import asyncio

    from playhead_cli.counting import counting
    from playhead_cli.servers import archive_url, database_url

    known = _format(format_, output)
    selection = _selection(stream, execution or [], since, until, workflow, tenant)
    url = database_url(data)
    with counting("export", as_json=as_json or output is None) as told:
        count = asyncio.run(_export(url, archive_url(None, data), selection, known, output, told))
    if output is not None:
        _show(output, count, as_json=as_json)


async def _export(
    url: str, archive: str | None, selection: "Selection", format_: "Format", output: Path | None, told: "Told"
) -> int:
    from playhead_cli.archiving import nothing_is_archived
    from playhead_cli.exports.reading import Part
    from playhead_cli.exports.writing import destination, write
    from playhead_contracts.errors import NotFound
    from playhead_eventlog import open_log

    async with open_log(url, readers=1, archive_url=archive) as log, nothing_is_archived(url):
        until = await log.last_position()
        for stream_id in selection.streams:
            if not await log.read_raw(stream_id, 0, 1):
                raise NotFound(f"the log has no event of {stream_id}")
        with destination(output) as file:
            await _record(log, selection, until, format_, output)
            return await write(Part(log, selection, until, told), format_, file)


async def _record(log: "EventLog", selection: "Selection", until: int, format_: "Format", output: Path | None) -> None:
    """Tell every tenant whose events these are, before the first of them is written."""
    from datetime import UTC, datetime

    from playhead_cli.operator import operator
    from playhead_contracts.events import LogExported
    from playhead_contracts.ids import EventId, execution_of
    from playhead_eventlog.operations import record_operation
    from playhead_runtime.ids import new_id

    exported = LogExported(
        format=format_,
        to=None if output is None else output.name,
        since=selection.since,
        until=selection.until,
        workflow_id=selection.workflow_id,
        executions=tuple(found for stream in selection.streams if (found := execution_of(stream)) is not None),
    )
    actor = operator()
    for tenant in await log.tenants(selection, until):
        await record_operation(log, tenant, exported, actor, event_id=EventId(new_id()), at=datetime.now(UTC))


def _format(name: str, output: Path | None) -> "Format":
    import sys
    from typing import cast

    from playhead_cli.exports.writing import FORMATS
    from playhead_cli.inputs import BadInput

    if name not in FORMATS:
        raise BadInput(f"--format {name} is not known; there are {', '.join(FORMATS)}")
    if name == "parquet" and output is None and sys.stdout.isatty():
        raise BadInput("Parquet is nothing to look at; give --output FILE")
    if name == "parquet" and output is not None and output.suffix == ".gz":
        raise BadInput("a Parquet file is compressed already, and none that can be read when it is packed once more")
    return cast("Format", name)


def _selection(
    stream: str | None,
    executions: list[str],
    since: str | None,
    until: str | None,
    workflow: str | None,
    tenant: str | None,
) -> "Selection":
    from playhead_cli.inputs import read_moment
    from playhead_contracts.ids import TenantId, WorkflowId
    from playhead_eventlog import Selection

    named = dict.fromkeys(_stream_id(name) for name in [*([] if stream is None else [stream]), *executions])
    return Selection(
        tenant=None if tenant is None else TenantId(tenant),
        workflow_id=None if workflow is None else WorkflowId(workflow),
        streams=tuple(named),
        since=None if since is None else read_moment("--since", since),
        until=None if until is None else read_moment("--until", until),
    )


def _stream_id(text: str) -> "StreamId":
    from playhead_contracts.ids import ExecutionId, StreamId, execution_stream

    return StreamId(text) if ":" in text else execution_stream(ExecutionId(text.lower()))


def _show(output: Path, count: int, *, as_json: bool) -> None:
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json({"file": str(output), "events": count})
    else:
        screen().print(f"{count} events in {output}", markup=False)
