"""`playhead demo`: the main job, on real input, with every claim checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from playhead_cli.demo.story import Decide


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="Keep the data here; else it is thrown away.")] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Have all services make spans, and show the traces at the end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a real workflow through pause, answer, time travel and rerun, and check that each of it really happened.

    Exit code 0 only if it did.
    """
    import sys

    from playhead_cli.inputs import BadInput

    if not yes and not sys.stdin.isatty():
        raise BadInput("the demo asks for an approval, and there is no terminal to ask at: add --yes")

    import tempfile
    from contextlib import ExitStack

    with ExitStack() as stack:
        # Short: a unix socket stands in it.
        where = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playhead-demo-")))
        if trace:
            _run_traced(where, yes=yes, keeps=data is not None, as_json=as_json)
        else:
            _run(where, yes=yes, keeps=data is not None, as_json=as_json)


def _run_traced(data: Path, *, yes: bool, keeps: bool, as_json: bool) -> None:
    import os

    from playhead_cli.demo.receiver import SpanReceiver
    from playhead_cli.demo.trace_tree import print_traces
    from playhead_cli.screen import screen

    with SpanReceiver() as receiver:
        # The services take over what a shell may have set.
        os.environ.update(receiver.environ())
        _run(data, yes=yes, keeps=keeps, as_json=as_json)
        # The services have stopped, so the last spans are here.
        console = screen(to_stderr=as_json)
        console.print("\n[bold]The traces: one for each call, and where they lead[/]")
        print_traces(console, receiver.spans)


def _run(data: Path, *, yes: bool, keeps: bool, as_json: bool) -> None:
    import signal

    from playhead_cli.demo.payments import PaymentServer
    from playhead_cli.demo.story import Story
    from playhead_cli.gateway import Gateway
    from playhead_cli.local.background import in_background
    from playhead_cli.local.system import Address, local_system
    from playhead_cli.screen import print_json, screen
    from playhead_runtime.embedded_nats import free_port

    console = screen()
    console.quiet = as_json
    signal.signal(signal.SIGTERM, _leave)
    console.print("starting NATS, PostgreSQL, gateway, executor, hitl and projector ...", style="dim")
    address = Address("127.0.0.1", free_port())
    with (
        PaymentServer() as payments,
        in_background(local_system(data, address, lambda line: console.print(line, markup=False))) as system,
        Gateway(system.url) as gateway,
    ):
        story = Story(gateway, payments, console, _decide(console, yes=yes))
        story.tell()
    if as_json:
        print_json({"ok": True, "execution_id": story.execution_id, "fork_id": story.fork_id, "checks": story.checks})
    elif keeps:
        console.print(f"\nthe data stays: `playhead dev --data {data}` goes on with it", markup=False)


def _leave(sign: int, _frame: object) -> None:
    # As Ctrl-C does: every `with` is left in order.
    raise SystemExit(128 + sign)


def _decide(console: "Console", *, yes: bool) -> "Decide":
    def decide() -> tuple[bool, str]:
        if yes:
            console.print("\n  Approve? [bold]yes[/]  [dim](--yes)[/]")
            return True, "Approved by playhead demo --yes"
        typer.echo()
        approved = typer.confirm("  Approve?", default=False)
        return approved, typer.prompt("  Comment", default="", show_default=False)

    return decide
