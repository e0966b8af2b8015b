"""What commands print: tables for people, JSON for programs, and errors as sentences on standard error."""

import json
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from playhead_cli.answers import (
    Comparison,
    ExecutionLine,
    Fault,
    InboxPause,
    OpenPause,
    PauseCounts,
    Plan,
    PlannedBlock,
    PlanReason,
    ProblemDocument,
    Result,
    Saved,
    State,
)
from playhead_cli.facts import Fact, compact
from playhead_contracts.canonical import ORDER_KEYWORD
from playhead_contracts.commands import Chunk
from playhead_contracts.errors import PlayheadError, Refused
from playhead_contracts.events import Json

_WIDTH_WHEN_PIPED = 140

_COLOURS = {
    "completed": "green",
    "reused": "cyan",
    "reuse": "cyan",
    "same": "green",
    "changed": "yellow",
    "run": "yellow",
    "paused": "yellow",
    "open": "yellow",
    "answered": "green",
    "running": "blue",
    "failed": "red",
    "cancelled": "red",
    "timed_out": "red",
    "skipped": "bright_black",
    "decide": "bright_black",
}


def screen(*, to_stderr: bool = False) -> Console:
    """A console that is as wide as the terminal, and wide enough for our tables when there is none."""
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else shutil.get_terminal_size((_WIDTH_WHEN_PIPED, 25)).columns
    return Console(stderr=to_stderr, width=width, highlight=False)


def print_json(body: bytes | object) -> None:
    """Print a JSON answer as it came, or a value as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    sys.stdout.write(content.decode() + "\n")
    sys.stdout.flush()


def show_error(error: PlayheadError, *, as_json: bool) -> None:
    """Say on standard error what is wrong, and what can be done about it."""
    from playhead_cli.gateway import ProblemAnswered

    if as_json:
        body = error.body if isinstance(error, ProblemAnswered) else _problem_json(error)
        sys.stderr.write(body.decode() + "\n")
        return
    console = screen(to_stderr=True)
    match error:
        case ProblemAnswered():
            show_problem(console, error.problem)
        case Refused():
            faults = tuple(Fault(fault.pointer, fault.detail, fault.hint) for fault in error.errors)
            show_problem(console, ProblemDocument(error.title, error.status, error.detail, errors=faults))
        case _:
            console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)


def show_problem(console: Console, problem: ProblemDocument) -> None:
    """Title, detail, and every fault with its place."""
    console.print(Text.assemble(("error: ", "bold red"), (problem.title, "bold")), soft_wrap=True)
    if problem.detail and problem.detail != problem.title:
        console.print(Text(f"  {problem.detail}"), soft_wrap=True)
    show_faults(console, problem.errors)


def show_faults(console: Console, faults: Iterable[Fault]) -> None:
    """One line per fault: where, what, and a hint if there is one."""
    for fault in faults:
        hint = f" ({fault.hint})" if fault.hint else ""
        console.print(Text.assemble("  ", (fault.pointer or "#", "cyan"), f"  {fault.detail}{hint}"), soft_wrap=True)


def status_text(status: str | None) -> Text:
    """A status or verdict in its colour."""
    return Text(status or "-", _COLOURS.get(status or "", ""))


def short_time(at: datetime) -> str:
    """The time of day to the millisecond, UTC."""
    return at.astimezone(UTC).strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}"


def table(*headers: str, title: str | None = None) -> Table:
    """An empty table in our style. The last column takes what is left."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for header in headers[:-1]:
        made.add_column(header, no_wrap=True)
    made.add_column(headers[-1])
    return made


def line(text: str) -> Text:
    """A last cell: one line, cut off where the table ends. It alone gives way when there is little room."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def show_result(console: Console, result: Result) -> None:
    """An execution: how it stands, what came out, and what it waits for."""
    took = result.metadata.duration_ms
    console.print(
        Text.assemble(
            status_text(result.status),
            "  ",
            (result.execution_id, "bold"),
            f"  {result.workflow_id} version {result.version}" if result.workflow_id else "",
            "" if took is None else f"  {took:.0f} ms",
        )
    )
    if result.error is not None:
        where = f" at {result.error.block}" if result.error.block else ""
        console.print(Text(f"  {result.error.type}{where}: {result.error.message}", "red"))
    if result.output is not None:
        console.print(Text(pretty(result.output)))
    for pause in result.pauses:
        show_pause(console, pause, pause.execution_id)


def show_pause(console: Console, pause: OpenPause, execution_id: str) -> None:
    """A question, what it shows, and how to answer it."""
    console.print(Text.assemble(("? ", "bold yellow"), (pause.message, "bold"), f"  ({pause.path})"))
    shown = pause.show or {}
    for name in pause.order or sorted(shown):
        value = shown[name]
        said = value if isinstance(value, str) else compact(value)
        console.print(Text(f"    {pause.labels.get(name, name)}: {said}"))
    for field in form_lines(pause.form):
        console.print(Text(f"    [{field}]", "dim"))
    how = f"--input '{example_answer(pause.form)}'" if pause.form is not None else ""
    names = [action.name for action in pause.actions]
    if names and names != ["approve", "deny"]:
        how = f"--action {'|'.join(names)} {how}".rstrip()
    console.print(Text(f"  playhead resume {execution_id} {pause.pause_id} {how}".rstrip(), "dim"), soft_wrap=True)


def form_lines(form: dict[str, Json] | None) -> list[str]:
    """The fields of a form: name, type, and whether they must be filled in."""
    schema = form or {}
    required: list[str] = schema.get("required", [])
    properties: dict[str, dict[str, Json]] = schema.get("properties", {})
    order: list[str] = schema.get(ORDER_KEYWORD, list(properties))
    return [
        f"{name}: {field.get('type', 'anything')}{', required' if name in required else ''}"
        + (f" - {field['title']}" if "title" in field else "")
        for name, field in ((name, properties[name]) for name in order if name in properties)
    ]


def example_answer(form: dict[str, Json] | None) -> str:
    """An answer with the fields that a form requires, to be edited."""
    examples: dict[str, Json] = {"boolean": True, "number": 0, "integer": 0, "string": "...", "array": [], "object": {}}
    schema = form or {}
    properties: dict[str, dict[str, Json]] = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    wanted = required or list(properties)[:1]
    return json.dumps({name: examples.get(str(properties.get(name, {}).get("type")), "...") for name in wanted})


def pretty(value: Json) -> str:
    """JSON over several lines, or a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def timeline(facts: Iterable[Fact], title: str | None = None) -> Table:
    """The events of an execution."""
    made = table("version", "time (UTC)", "event", "block", "detail", title=title)
    made.columns[0].justify = "right"
    for fact in facts:
        made.add_row(*timeline_row(fact))
    return made


def timeline_row(fact: Fact) -> tuple[str, str, Text, str, Text]:
    """One event as cells."""
    status = fact.type.rpartition(".")[2]
    return (
        str(fact.version),
        short_time(fact.recorded_at),
        Text(fact.type, _COLOURS.get(status, "")),
        fact.block,
        line(fact.detail),
    )


def fact_line(fact: Fact) -> Text:
    """One event as a line, for those who watch."""
    version, at, kind, block, _ = timeline_row(fact)
    return Text.assemble((f"{version:>4}  {at}  ", "dim"), kind, f"  {block}  " if block else "  ", fact.detail)


def chunk_line(chunk: Chunk) -> Text:
    """A piece of what a block is about to give, beneath the events."""
    return Text.assemble((f"{'':>4}  {'':>12}  ", "dim"), "block.chunk", f"  {chunk.path}  ", compact(chunk.content))


def executions_table(executions: Iterable[ExecutionLine]) -> Table:
    """Executions, newest first."""
    made = table("execution", "workflow", "status", "created (UTC)", "blocks run", "open pauses")
    for execution in executions:
        at = execution.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        workflow = f"{execution.workflow_id} v{execution.version}"
        made.add_row(
            execution.execution_id,
            workflow,
            status_text(execution.status),
            at,
            str(execution.blocks.run),
            str(execution.open_pauses),
        )
    return made


def inbox_table(pauses: Iterable[InboxPause]) -> Table:
    """Questions to people: for whom, until when, and how many have agreed."""
    made = table("execution", "pause", "workflow", "status", "for", "due (UTC)", "message")
    for pause in pauses:
        status = status_text(pause.status)
        if pause.votes_needed is not None and pause.status == "open":
            status = Text.assemble(status, f" {pause.votes} of {pause.votes_needed}")
        made.add_row(
            pause.execution_id,
            pause.pause_id,
            pause.workflow_id,
            status,
            ", ".join(pause.assignees) or "anybody",
            "-" if pause.expires_at is None else pause.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
            line(pause.message),
        )
    return made


def counts_line(counts: PauseCounts) -> Text:
    """How many pauses there are, and how soon the first is due."""
    parts = [f"{counts.open} open"]
    if counts.due_within_a_day:
        parts.append(f"{counts.due_within_a_day} of them due within a day")
    if counts.next_due is not None:
        parts.append(f"the first at {counts.next_due.astimezone(UTC):%Y-%m-%d %H:%M}")
    parts.append(f"{counts.answered} answered, {counts.expired} expired, {counts.closed} closed")
    return Text("; ".join(parts), "dim")


def state_table(state: State, title: str | None = None) -> Table:
    """The blocks of an execution at a moment."""
    made = table("block", "status", "outputs", title=title)
    for path, block in state.blocks.items():
        made.add_row(path, status_text(block.status), line(compact(block.outputs)))
    return made


def plan_table(plan: Plan, title: str | None = None) -> Table:
    """What a rerun would do with every block, and why."""
    made = table("block", "action", "outside", "reasons", title=title)
    _add_planned(made, plan.blocks, "")
    return made


def _add_planned(made: Table, blocks: Iterable[PlannedBlock], indent: str) -> None:
    for block in blocks:
        reasons = "; ".join(_reason_text(reason) for reason in block.reasons)
        if block.iterations_reused:
            reasons += f"; {len(block.iterations_reused)} iterations reused"
        if block.may_be_cut_off:
            reasons += "; may be cut off"
        if block.asks:
            reasons += "; asks people"
        outside = Text("" if block.effects == "none" else block.effects, "red" if block.effects == "external" else "")
        made.add_row(indent + block.path, status_text(block.action.replace("_", " ")), outside, line(reasons))
        _add_planned(made, block.blocks, indent + "  ")


def _reason_text(reason: PlanReason) -> str:
    words = reason.why.replace("_", " ")
    named = f"{words} {reason.of}" if reason.of else words
    return f"{named} ({reason.detail})" if reason.detail else named


def plan_notes(plan: Plan) -> list[Text]:
    """What a person should know before a rerun: what is done once more, who is asked again, what cannot be reused."""
    notes = [Text(note, "yellow") for note in plan.notes]
    if plan.asks_again:
        notes.append(Text(f"asked again: {', '.join(plan.asks_again)}", "yellow"))
    if plan.repeats:
        notes.append(Text(f"done again outside: {', '.join(plan.repeats)}", "red"))
    return notes


def comparison_table(comparison: Comparison, title: str | None = None) -> Table:
    """Two executions, block by block. Of changed outputs, what has changed."""
    made = table("block", "verdict", "a", "b", "outputs", title=title)
    for block in comparison.blocks:
        changes = ", ".join(differences(block.a_outputs, block.b_outputs))
        outputs = changes if block.verdict == "changed" else compact(block.b_outputs) if block.b_outputs else ""
        cells = status_text(block.verdict), status_text(block.a_status), status_text(block.b_status)
        made.add_row(block.path, *cells, line(outputs))
    return made


def saved_line(saved: Saved) -> Text:
    """What the second of two executions did not have to do again."""
    took = f"{saved.duration_ms:.0f} ms" if saved.duration_ms < 10_000 else f"{saved.duration_ms / 1000:.0f} s"
    blocks = "1 block" if saved.blocks == 1 else f"{saved.blocks} blocks"
    acting = f", {saved.external} of which act outside" if saved.external else ""
    return Text(f"b took over {blocks} from a that ran for {took} there{acting}", "dim")


def differences(a: Json, b: Json, place: str = "") -> list[str]:
    """Where two JSON values differ, member by member: `body.id: 1 → 2`."""
    if a == b:
        return []
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [f"{place or 'value'}: {compact(a, 40)} → {compact(b, 40)}"]
    members: list[str] = list(dict.fromkeys([*a, *b]))  # pyright: ignore[reportUnknownArgumentType]
    return [
        found
        for name in members
        for found in differences(a.get(name), b.get(name), f"{place}.{name}" if place else name)  # pyright: ignore[reportUnknownMemberType]
    ]


def _problem_json(error: PlayheadError) -> bytes:
    from playhead_contracts.problems import problem_of

    if isinstance(error, Refused):
        return problem_of(error).encode()
    return msgspec.json.encode({"type": "about:blank", "title": type(error).__name__, "detail": str(error)})
