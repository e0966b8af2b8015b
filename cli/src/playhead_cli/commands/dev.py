"""`playhead dev`: the whole system in one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead_cli.options import DEFAULT_DATA, AsJson

if TYPE_CHECKING:
    from playhead_cli.local.system import Address, LocalSystem

_EXAMPLE_INPUT = '{"request_id": "r-1", "amount": 900, "currency": "EUR", "payment_url": "http://127.0.0.1:9"}'


def register(app: typer.Typer) -> None:
    app.command()(dev)


def dev(
    data: Annotated[Path, typer.Option("--data", help="Everything is kept in here.")] = DEFAULT_DATA,
    host: Annotated[str, typer.Option("--host", help="Beyond this machine an API key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the gateway.")] = 8088,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this machine, on embedded NATS and PostgreSQL, until Ctrl-C.

    What was running when it stopped goes on when it starts again, however it was stopped.
    """
    import asyncio

    from playhead_cli.local.system import Address

    asyncio.run(_run(data, Address(host, port), as_json=as_json))


async def _run(data: Path, address: "Address", *, as_json: bool) -> None:
    import asyncio

    from playhead_cli.local.system import local_system
    from playhead_cli.screen import screen

    console = screen(to_stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    _stop_on_signals()
    try:
        async with local_system(data, address, say) as system:
            _announce(system, address, as_json=as_json)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("stopped; `playhead dev` on the same data goes on from here")


def _stop_on_signals() -> None:
    """The first signal ends the task that calls this, in order. A second one ends us, and the system ends with us."""
    import asyncio
    import os
    import signal
    import sys

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    seen: list[signal.Signals] = []

    def on_signal(sign: signal.Signals) -> None:
        seen.append(sign)
        if len(seen) > 1:
            sys.stderr.flush()
            os._exit(128 + sign)
        sys.stderr.write("stopping\n")
        task.cancel()

    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, on_signal, sign)


def _announce(system: "LocalSystem", address: "Address", *, as_json: bool) -> None:
    import os

    from rich.markup import escape

    from playhead_cli.options import DEFAULT_URL
    from playhead_cli.screen import print_json, screen

    if as_json:
        print_json(
            {"url": system.url, "nats_url": system.nats_url, "data": str(system.data), "pid": os.getpid()}
            | ({"api_key": system.new_key} if system.new_key else {})
        )
        return
    console, data = screen(), escape(str(system.data))
    console.print(f"[bold green]ready[/] at [bold]{system.url}[/]  [dim]data and logs in {data}[/]", soft_wrap=True)
    if system.new_key:
        console.print(
            f"API key, shown this once: [bold]{system.new_key}[/]  (export PLAYHEAD_API_KEY=...)", soft_wrap=True
        )
    elif not address.is_open:
        console.print(f"an API key is needed: `playhead keys create NAME --data {data}` makes one", soft_wrap=True)
    lines = [
        *([f"export PLAYHEAD_URL={system.url}"] if system.url != DEFAULT_URL else []),
        "playhead publish examples/refund-review.yaml",
        f"playhead run refund-review --input '{_EXAMPLE_INPUT}'",
        "playhead pauses",
        "playhead verify" if system.data == DEFAULT_DATA else f"playhead verify --data {system.data}",
    ]
    console.print(f"workers and consumers: [bold]PLAYHEAD_NATS_URL={escape(system.nats_url)}[/]", soft_wrap=True)
    console.print("in another terminal, for example:")
    for line in lines:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print("[dim]Ctrl-C stops everything[/]")
