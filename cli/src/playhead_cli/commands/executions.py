"""Executions: start one, see how it stands, how it came to that, what it was before, and run it again."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import DEFAULT_URL, AsJson, ExecutionId, JsonInput, Url

if TYPE_CHECKING:
    from playhead_cli.gateway import Answer, Gateway, Told

_EVENTS_A_PAGE = 500
_FAILED = frozenset({"failed", "cancelled", "timed_out"})
_DERIVED = frozenset({"output", "result", "paused"})
"""What a stream tells besides what happened."""

Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")]
Mode = Annotated[
    str, typer.Option("--mode", help="sync: wait for the result; stream: show events; async: do not wait.")
]


def register(app: typer.Typer) -> None:
    for command in (run, runs, show, events, watch, cancel, state, rerun, compare):
        app.command()(command)


def run(
    workflow: Annotated[str, typer.Argument(help="A published workflow.")],
    input_: JsonInput = None,
    mode: Mode = "sync",
    follow: Annotated[bool, typer.Option("--follow", help="Show its events as they happen, to the end.")] = False,
    version: Annotated[int | None, typer.Option("--version", help="Of the workflow; the newest if not given.")] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key again is the same execution.")
    ] = None,
    var: Annotated[
        list[str] | None, typer.Option("--var", help="NAME=VALUE: a variable, as the type that the workflow declares.")
    ] = None,
    variables: Annotated[
        str | None, typer.Option("--variables", help="Variables as a JSON object, @FILE, or - for standard input.")
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", help="A block whose output is wanted, in place of the last ones.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Stop if it takes longer, such as 30s or 2h.")
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option("--max-concurrency", min=1, help="At most so many blocks at once.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Run a workflow. Exit code 1 if it failed."""
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import read_json, read_object, variable_headers

    body = {
        "input": None if input_ is None else read_json("--input", input_),
        "version": version,
        "variables": None if variables is None else read_object("--variables", variables),
        "outputs": output or None,
        "timeout": timeout,
        "max_concurrency": max_concurrency,
    }
    headers = variable_headers(var or ())
    if key:
        headers["idempotency-key"] = key
    path = f"/v1/workflows/{workflow}/executions"
    with Gateway(url) as gateway:
        _start(gateway, path, body, headers, mode, follow=follow, as_json=as_json)


def runs(
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only with this status.")] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="Only children of this execution.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Created at this time or later (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Created before this time (RFC 3339).")] = None,
    limit: Limit = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a list ended.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""
    from playhead_cli.answers import Executions
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import executions_table, print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.get(
            "/v1/executions",
            workflow=workflow,
            status=status,
            parent=parent,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Executions), screen()
    console.print(executions_table(found.items) if found.items else "no executions")
    if found.next_cursor:
        console.print(f"[dim]more: --cursor {found.next_cursor}[/]", soft_wrap=True)


def show(execution_id: ExecutionId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show how an execution stands: status, output, open pauses."""
    from playhead_cli.gateway import Gateway

    with Gateway(url) as gateway:
        _show_result(gateway.get(f"/v1/executions/{execution_id}"), as_json=as_json)


def events(
    execution_id: ExecutionId,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events after this version.")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what happened, in order. With --json one event a line, byte for byte as it is stored."""
    from playhead_cli.facts import read_fact
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen, timeline

    with Gateway(url) as gateway:
        frames = read_frames(gateway, execution_id, after)
    if as_json:
        for frame in frames:
            print_json(frame)
        return
    screen().print(timeline(read_fact(frame) for frame in frames))


def watch(
    execution_id: ExecutionId,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events after this version.")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show how an execution goes on, block by block, to its result.

    With --json, with --after, or when the output is no terminal: its events, one a line, and pieces of outputs on their
    way. Survives a restart of the gateway.
    """
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import screen

    console = screen()
    with Gateway(url) as gateway:
        if as_json or after or not console.is_terminal:
            print_events(gateway.watch(execution_id, after), as_json=as_json)
            return
        from playhead_cli.progress import watch_board

        if watch_board(gateway, execution_id, console) in _FAILED:
            raise typer.Exit(1)


def cancel(
    execution_id: ExecutionId,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is recorded.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Ask an execution to stop."""
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import print_json, screen

    with Gateway(url) as gateway:
        answer = gateway.post(f"/v1/executions/{execution_id}/cancel", {"reason": reason})
    if as_json:
        print_json(answer.body)
    else:
        screen().print("cancel is recorded; the execution ends when what is in flight has ended")


def state(
    execution_id: ExecutionId,
    version: Annotated[int | None, typer.Option("--version", min=1, help="As it was after this event.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="As it was at this time (RFC 3339).")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the state of an execution, now or at any moment."""
    from playhead_cli.answers import State
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import pretty, print_json, screen, state_table, status_text

    with Gateway(url) as gateway:
        answer = gateway.get(f"/v1/executions/{execution_id}/state", version=version, at=at)
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(State), screen()
    console.print(status_text(found.status), f"at version {found.version}, {found.updated_at:%Y-%m-%d %H:%M:%S} UTC")
    console.print(state_table(found))
    for pause_id, pause in found.pauses.items():
        console.print("pause", pause_id, f"at {pause.path}:", status_text(pause.status))
    if found.output is not None:
        console.print(pretty(found.output), markup=False)


def rerun(
    execution_id: ExecutionId,
    from_block: Annotated[
        list[str] | None,
        typer.Option("--from", help="The block to begin with, or an iteration: pay, each[3], each[3]/pay. May repeat."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Run no further than this block.")] = None,
    input_: JsonInput = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", help="BLOCK=JSON: what a block gives, in place of what it gave.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run, and why.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even if something is done again outside.")] = False,
    early_cutoff: Annotated[
        bool, typer.Option("--early-cutoff", help="Take over what follows a block that gives the same again.")
    ] = False,
    at_version: Annotated[
        int | None, typer.Option("--version", min=1, help="Fork the execution as it was after this event.")
    ] = None,
    definition: Annotated[str, typer.Option("--definition", help="same or latest.")] = "same",
    mode: Mode = "sync",
    follow: Annotated[bool, typer.Option("--follow", help="Show its events as they happen, to the end.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Run an execution again from a block, as a new one that takes over what came before. Exit code 1 if it failed.

    Where something would be done again outside, the plan is shown and you are asked first.
    """
    import sys

    from playhead_cli.answers import Planned
    from playhead_cli.gateway import Gateway
    from playhead_cli.inputs import BadInput, read_assignments, read_json
    from playhead_cli.screen import plan_notes, plan_table, print_json, screen

    body: dict[str, object] = {
        "from_block": from_block or [],
        "until_block": until,
        "at_version": at_version,
        "definition": definition,
        "override": read_assignments("--override", override or []),
        "early_cutoff": early_cutoff,
    }
    if input_ is not None:
        body["input"] = read_json("--input", input_)
    path = f"/v1/executions/{execution_id}/rerun"
    with Gateway(url) as gateway:
        answer = gateway.post(path, {**body, "dry_run": True})
        plan = answer.as_(Planned).plan
        if dry_run and as_json:
            print_json(answer.body)
            return
        if dry_run or (plan.repeats and not yes):
            console = screen(to_stderr=not dry_run)
            console.print(plan_table(plan))
            for note in plan_notes(plan):
                console.print(note)
            if dry_run:
                return
            if not sys.stdin.isatty():
                raise BadInput(f"this does again outside: {', '.join(plan.repeats)}; say --yes if that is meant")
            typer.confirm("Run it?", abort=True, err=True)
        _start(gateway, path, {**body, "plan_digest": plan.digest}, {}, mode, follow=follow, as_json=as_json)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="An execution.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Hold two executions against each other, block by block."""
    from playhead_cli.answers import Comparison
    from playhead_cli.gateway import Gateway
    from playhead_cli.screen import comparison_table, print_json, saved_line, screen

    with Gateway(url) as gateway:
        answer = gateway.get("/v1/executions/compare", a=a, b=b)
    if as_json:
        print_json(answer.body)
        return
    found, console = answer.as_(Comparison), screen()
    console.print(comparison_table(found))
    console.print("same output" if found.same_output else "different output")
    if found.saved is not None and found.saved.blocks:
        console.print(saved_line(found.saved))


def read_frames(gateway: "Gateway", execution_id: str, after: int = 0) -> list[bytes]:
    """All events of an execution after a version, byte for byte."""
    from playhead_cli.answers import Frames

    frames: list[bytes] = []
    while True:
        page = gateway.get(f"/v1/executions/{execution_id}/events", after=after, limit=_EVENTS_A_PAGE).as_(Frames)
        frames += [bytes(item) for item in page.items]
        if page.next_after is None:
            return frames
        after = page.next_after


def _start(
    gateway: "Gateway",
    path: str,
    body: "Mapping[str, object]",
    headers: "Mapping[str, str]",
    mode: str,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    from playhead_cli.answers import Result

    if follow:
        started = gateway.post(path, {**body, "mode": "async"}, headers).as_(Result)
        print_events(gateway.watch(started.execution_id), as_json=as_json)
    elif mode == "stream":
        print_events(gateway.post_stream(path, {**body, "mode": mode}, headers), as_json=as_json)
    else:
        _show_result(gateway.post(path, {**body, "mode": mode}, headers), as_json=as_json, fail=True)


def print_events(told: "Iterable[Told]", *, as_json: bool) -> None:
    """Print events as they come. Exits with 1 when the last one is a failure."""
    from playhead_cli.facts import read_chunk, read_fact
    from playhead_cli.screen import chunk_line, fact_line, print_json, screen

    console = screen()
    for each in told:
        if each.event in _DERIVED:
            continue
        if as_json:
            print_json(each.data)
        elif each.event_id:
            console.print(fact_line(read_fact(each.data)), soft_wrap=True)
        else:
            console.print(chunk_line(read_chunk(each.data)), soft_wrap=True)
        if each.is_last and each.event.partition(".")[2] in _FAILED:
            raise typer.Exit(1)


def _show_result(answer: "Answer", *, as_json: bool, fail: bool = False) -> None:
    from playhead_cli.answers import Result
    from playhead_cli.screen import print_json, screen, show_result

    result = answer.as_(Result)
    if as_json:
        print_json(answer.body)
    else:
        show_result(screen(), result)
    if fail and result.status in _FAILED:
        raise typer.Exit(1)
