"""What was found when a log was verified, for people and as JSON."""

from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from playhead_cli.archives import ArchiveVerdict
from playhead_cli.bus_check import BusReport
from playhead_cli.screen import print_json, screen
from playhead_cli.sets import show_verified
from playhead_cli.verifying import LogReport
from playhead_eventlog.proving import Proof
from playhead_projector.verifying import ReadModelsReport

_MOST_SHOWN = 20


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """All that was checked; None was not."""

    log: LogReport
    bus: BusReport | None = None
    read_models: ReadModelsReport | None = None

    @property
    def intact(self) -> bool:
        derived = (self.bus is None or self.bus.intact) and (self.read_models is None or self.read_models.intact)
        return self.log.intact and derived


def show_json(verdict: Verdict) -> None:
    """All of it, and only what was checked. The first of `breaks` is the first in the log."""
    log = verdict.log
    told: dict[str, Any] = {
        "streams": log.chains.streams,
        "events": log.chains.events,
        "blobs": log.chains.blobs,
        "intact": verdict.intact,
        "breaks": log.chains.faults,
    }
    if log.missing_guards:
        told["missing_guards"] = log.missing_guards
    if log.checkpoints:
        told["checkpoints"] = log.checkpoints
    if _has_archive(log):
        told["archive"] = log.archive
    if verdict.bus is not None:
        told["bus"] = verdict.bus
    if verdict.read_models is not None:
        told["read_models"] = verdict.read_models
    print_json(told)


def show(verdict: Verdict) -> None:
    """The first broken event, the others, and what holds."""
    console = screen()
    _show_chains(console, verdict.log)
    for guard in verdict.log.missing_guards:
        console.print(f"[red]open[/]: the database has no {escape(guard)}, which refuses changes", soft_wrap=True)
    for report in verdict.log.checkpoints:
        _show_proof(console, report.folder, report.proof)
    if verdict.log.archive is not None and _has_archive(verdict.log):
        _show_archive(console, verdict.log.archive)
    if verdict.bus is not None:
        _show_bus(console, verdict.bus)
    if verdict.read_models is not None:
        show_verified(verdict.read_models)


def _show_chains(console: Console, log: LogReport) -> None:
    chains = log.chains
    for number, broken in enumerate(chains.faults[:_MOST_SHOWN]):
        first = "first broken" if number == 0 else "broken"
        where = f"{broken.stream_id} version {broken.version} (position {broken.position})"
        console.print(f"[red]{first}[/] at {escape(where)}: {broken.kind}: {escape(broken.reason)}", soft_wrap=True)
    _show_others(console, len(chains.faults))
    counts = f"{chains.events} events in {chains.streams} streams"
    if chains.blobs:
        counts += f", {chains.blobs} large values"
    if not chains.faults:
        console.print(f"[green]intact[/]: {counts}, every hash recomputed")
        return
    blobs = f" and {len(chains.broken_blobs)} broken values" if chains.broken_blobs else ""
    console.print(f"[red]{len(chains.breaks)} broken chains{blobs}[/], {counts}")


def _has_archive(log: LogReport) -> bool:
    return log.archive is not None and bool(log.archive.executions or log.archive.unreferred)


def _show_archive(console: Console, archive: ArchiveVerdict) -> None:
    for fault in archive.faults[:_MOST_SHOWN]:
        console.print(f"[red]archive[/]: {escape(fault.where)}: {escape(fault.reason)}", soft_wrap=True)
    _show_others(console, len(archive.faults))
    for name in archive.unreferred:
        console.print(f"[yellow]archive[/]: nothing refers to {escape(name)}; it can be deleted", soft_wrap=True)
    told = f"{archive.executions} executions with {archive.events} events are in the archive"
    how = f"all of {archive.files} files read" if archive.files else "their hashes stand in the log; no file was read"
    verdict = "[green]intact[/]" if archive.intact else f"[red]{len(archive.faults)} faults[/]"
    console.print(f"{verdict}: {told}, {how}", soft_wrap=True)


def _show_proof(console: Console, folder: str, proof: Proof) -> None:
    for fault in proof.faults[:_MOST_SHOWN]:
        between = f"between positions {fault.after} and {fault.until}: " if fault.until > fault.after else ""
        console.print(f"[red]not as signed[/]: {between}{fault.kind}: {escape(fault.reason)}", soft_wrap=True)
    _show_others(console, len(proof.faults))
    if not proof.checkpoints:
        console.print(f"[yellow]unsigned[/]: there are no checkpoints in {escape(folder)}", soft_wrap=True)
        return
    until = "" if proof.last_signed_at is None else f", the last at {proof.last_signed_at:%Y-%m-%d %H:%M:%S} UTC"
    told = f"{proof.checkpoints} checkpoints with key {', '.join(proof.keys)}{until}"
    if proof.faults:
        console.print(f"[red]{len(proof.faults)} faults[/], {told}", soft_wrap=True)
        return
    rest = f"; {proof.unsigned} since then not signed yet" if proof.unsigned else ""
    console.print(f"[green]as signed[/]: {proof.events} events, {told}{rest}", soft_wrap=True)


def _show_bus(console: Console, report: BusReport) -> None:
    for fault in report.faults[:_MOST_SHOWN]:
        where = f"sequence {fault.sequence} (position {fault.position})"
        console.print(f"[red]bus[/] at {where}: {fault.kind}: {escape(fault.reason)}", soft_wrap=True)
    _show_others(console, len(report.faults))
    held = f"{report.messages} messages, positions {report.first_position} to {report.last_position}"
    behind = f"; {report.behind} not copied yet" if report.behind else ""
    if report.intact:
        console.print(f"[green]intact[/]: the bus copy is the log, {held}{behind}", soft_wrap=True)
    else:
        console.print(f"[red]{len(report.faults)} faults on the bus[/], {held}{behind}", soft_wrap=True)


def _show_others(console: Console, count: int) -> None:
    if count > _MOST_SHOWN:
        console.print(f"and {count - _MOST_SHOWN} more; --json names them all")
