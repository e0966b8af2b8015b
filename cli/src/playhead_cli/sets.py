"""Sets of read models, and where they differ, for people."""

from collections.abc import Iterable
from datetime import UTC

from rich.console import Console
from rich.table import Table
from rich.text import Text

from playhead_cli.screen import line, screen, table
from playhead_projector.comparing import Comparison, ReadSet, TableDifference
from playhead_projector.rebuild import RebuildReport
from playhead_projector.verifying import ReadModelsReport

_VALUE_WIDTH = 200


def show_report(report: RebuildReport) -> None:
    """What a rebuild did."""
    console = screen()
    rate = report.events / report.seconds if report.seconds else 0.0
    console.print(f"{report.events} events in {report.seconds:.2f} s ({rate:,.0f}/s), up to position {report.position}")
    where = "now live" if report.is_live else f"set {report.set}, beside the live ones"
    console.print(f"{', '.join(report.tables)}: {where}", markup=False, soft_wrap=True)
    _show_failed(console, report.failed)


def sets_table(sets: Iterable[ReadSet]) -> Table:
    """The sets there are, and how far they have come."""
    made = table("set", "state", "position", "since (UTC)", "schema", "read models")
    for each in sets:
        positions = sorted(set(each.positions.values()))
        reached = "-" if not positions else str(positions[-1])
        if len(positions) > 1:
            reached = f"{positions[0]}..{positions[-1]}"
        at = "-" if each.at is None else each.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        made.add_row(each.name, each.state, reached, at, each.schema, line(", ".join(each.positions)))
    return made


def show_comparison(comparison: Comparison) -> None:
    """Where two sets differ: each table, the first rows, their columns."""
    console = screen()
    a, b = comparison.a.name, comparison.b.name
    for difference in comparison.tables:
        _show_difference(console, difference, f"only in {a}", f"only in {b}")
    same = f"{len(comparison.same_tables)} tables are the same"
    if comparison.same:
        console.print(Text.assemble(("same", "green"), f": {same}"))
    else:
        console.print(Text.assemble((f"{len(comparison.tables)} tables differ", "yellow"), f", {same}"))


def show_verified(report: ReadModelsReport) -> None:
    """Whether the read models are what the log says, and where they are not."""
    console = screen()
    for difference in report.tables:
        _show_difference(console, difference, "not in the log", "missing")
    _show_failed(console, report.unchecked)
    rate = report.events / report.seconds if report.seconds else 0.0
    read = f"{report.events} events in {report.seconds:.2f} s ({rate:,.0f}/s)"
    if report.intact:
        console.print(
            Text.assemble(("intact", "green"), f": {len(report.positions)} read models are what the log says, {read}")
        )
    else:
        wrong = len(report.tables) + len(report.unchecked)
        console.print(Text.assemble((f"{wrong} read models are not what the log says", "red"), f", {read}"))


def _show_difference(console: Console, found: TableDifference, only_a: str, only_b: str) -> None:
    counts = (f"{found.only_in_a} {only_a}", f"{found.only_in_b} {only_b}", f"{found.differing} differ")
    said = ", ".join(text for text in counts if not text.startswith("0 "))
    head = "; ".join(text for text in (found.shape, said) if text)
    console.print(Text.assemble((found.table, "bold"), f": {head}"), soft_wrap=True)
    for row in found.rows:
        key = ", ".join(f"{name}={value}" for name, value in row.key.items())
        if row.only_in is not None:
            console.print(Text(f"  {key}: {only_a if row.only_in == 'a' else only_b}"), soft_wrap=True)
        for name, (a, b) in row.columns.items():
            console.print(Text.assemble(f"  {key} ", (name, "cyan"), f": {_cut(a)} → {_cut(b)}"), soft_wrap=True)
    shown = found.only_in_a + found.only_in_b + found.differing - len(found.rows)
    if shown > 0:
        console.print(Text(f"  and {shown} more", "dim"))


def _show_failed(console: Console, failed: dict[str, str]) -> None:
    for name, reason in failed.items():
        console.print(Text.assemble((name, "bold red"), f": left out, {reason}"), soft_wrap=True)


def _cut(value: str | None) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]}…"
