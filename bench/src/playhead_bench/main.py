"""`playhead bench ...`: one command per row of the table of figures."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
import uvloop

from playhead_bench.scenarios.archiving import measure_archive
from playhead_bench.scenarios.commands import measure_commands
from playhead_bench.scenarios.containers import measure_fibonacci, measure_loop, measure_parallel
from playhead_bench.scenarios.exporting import measure_export
from playhead_bench.scenarios.following import measure_catch_up, measure_delay
from playhead_bench.scenarios.honest import measure_honest
from playhead_bench.scenarios.latency import measure_latency, measure_rerun, measure_resume
from playhead_bench.scenarios.loading import measure_load
from playhead_bench.scenarios.log import measure_append
from playhead_bench.scenarios.planning import measure_cutoff, measure_plan
from playhead_bench.scenarios.projections import measure_rebuild, measure_relay
from playhead_bench.scenarios.sealing import measure_sealing
from playhead_bench.scenarios.streams import measure_streams
from playhead_bench.scenarios.throughput import measure_chain10, measure_sequence
from playhead_bench.scenarios.verifying import measure_verify
from playhead_bench.table import Figure, show

app = typer.Typer(help="Measure Playhead on this machine: real servers, every append fsynced.", no_args_is_help=True)

Runs = Annotated[int, typer.Option(min=1, max=50, help="How often each figure is measured; the median counts.")]


def _print(measure: Callable[[], Awaitable[list[Figure]]]) -> None:
    async def measured() -> list[Figure]:
        return await measure()

    show(uvloop.run(measured()))


@app.command()
def append(runs: Runs = 5) -> None:
    """The raw append limit of the log."""
    _print(lambda: measure_append(runs))


@app.command()
def chain10(runs: Runs = 5, pure: bool = False) -> None:
    """10-block chains, 100 executions in flight, one executor."""
    _print(lambda: measure_chain10(runs, pure))


@app.command()
def latency(runs: Runs = 5) -> None:
    """One block, one execution at a time, HTTP sync."""
    _print(lambda: measure_latency(runs))


@app.command()
def resume(runs: Runs = 5) -> None:
    """From an answer to the final result."""
    _print(lambda: measure_resume(runs))


@app.command()
def commands(runs: Runs = 3) -> None:
    """Commands and events over NATS: admitted, answered, and turned into executions by a trigger."""
    _print(lambda: measure_commands(runs))


@app.command()
def streams(runs: Runs = 5) -> None:
    """Server-sent events: the first one after a start, and the way of facts from commit to client."""
    _print(lambda: measure_streams(runs))


@app.command()
def sequence(runs: Runs = 5) -> None:
    """One execution of 400 blocks in a row, a barrier at each."""
    _print(lambda: measure_sequence(runs))


@app.command()
def parallel(runs: Runs = 5) -> None:
    """100 branches of 10 blocks in one execution."""
    _print(lambda: measure_parallel(runs))


@app.command()
def fibonacci(runs: Runs = 5) -> None:
    """400 sandboxed functions in a row, each computing fibo(10)."""
    _print(lambda: measure_fibonacci(runs))


@app.command()
def loop(runs: Runs = 3) -> None:
    """A loop of 20,000 iterations."""
    _print(lambda: measure_loop(runs))


@app.command()
def load(runs: Runs = 5) -> None:
    """The state of an execution of 100,000 events, at the head and in the middle."""
    _print(lambda: measure_load(runs))


@app.command()
def rerun(runs: Runs = 5) -> None:
    """Run from block 5 of 10 to completion."""
    _print(lambda: measure_rerun(runs))


@app.command()
def plan(runs: Runs = 9) -> None:
    """The plan of a rerun: 1,000 blocks, 10,000 instances."""
    _print(lambda: measure_plan(runs))


@app.command()
def cutoff(runs: Runs = 3) -> None:
    """Blocks run in a rerun with early cutoff, and without."""
    _print(lambda: measure_cutoff(runs))


@app.command()
def relay(runs: Runs = 3) -> None:
    """The bus copy, from an empty stream to the head of the log."""
    _print(lambda: measure_relay(runs))


@app.command()
def busdelay(runs: Runs = 3) -> None:
    """From commit to a consumer on the bus, at 1,000 events/s."""
    _print(lambda: measure_delay(runs))


@app.command()
def catchup(
    events: Annotated[int, typer.Option(min=1000, help="How many the consumer was away for.")] = 100_000,
) -> None:
    """A consumer that was away for long, while projector, nats-server and itself are killed."""
    _print(lambda: measure_catch_up(events))


@app.command()
def rebuild(runs: Runs = 3) -> None:
    """All read models, from position 0 to the head."""
    _print(lambda: measure_rebuild(runs))


@app.command()
def export(
    runs: Runs = 3, events: Annotated[int, typer.Option(min=1000, help="How many are in the log.")] = 100_000
) -> None:
    """The log into a file, in each format: events a second, and the most memory."""
    _print(lambda: measure_export(runs, events))


@app.command()
def verify(
    runs: Runs = 3, events: Annotated[int, typer.Option(min=1000, help="How many are in the log.")] = 100_000
) -> None:
    """Verifying a log, with and without its servers; and what the hash chain costs."""
    _print(lambda: measure_verify(runs, events))


@app.command()
def honest(executions: Annotated[int, typer.Option(min=1, help="How many.")] = 1000) -> None:
    """Executions while every part is killed in turn, and whether `verify --all` raises an alarm."""
    _print(lambda: measure_honest(executions))


@app.command()
def sealing(runs: Runs = 3) -> None:
    """What it costs that values about people are sealed."""
    _print(lambda: measure_sealing(runs))


@app.command()
def archive(events: Annotated[int, typer.Option(min=10_000, help="How many are in the log.")] = 100_000) -> None:
    """Moving all executions out of the log, and reading them where they are then."""
    _print(lambda: measure_archive(events))


@app.command("all")
def everything(runs: Runs = 5) -> None:
    """Every figure, one after the other."""
    few = min(runs, 3)
    measures: list[Callable[[], Awaitable[list[Figure]]]] = [
        lambda: measure_append(runs),
        lambda: measure_chain10(runs, pure=False),
        lambda: measure_chain10(runs, pure=True),
        lambda: measure_latency(runs),
        lambda: measure_resume(runs),
        lambda: measure_commands(few),
        lambda: measure_streams(few),
        lambda: measure_sequence(runs),
        lambda: measure_parallel(runs),
        lambda: measure_fibonacci(runs),
        lambda: measure_loop(few),
        lambda: measure_load(few),
        lambda: measure_rerun(runs),
        lambda: measure_plan(runs),
        lambda: measure_cutoff(few),
        lambda: measure_sealing(few),
        lambda: measure_relay(few),
        lambda: measure_rebuild(few),
        lambda: measure_delay(few),
        lambda: measure_catch_up(100_000),
        lambda: measure_export(1, 100_000),
        lambda: measure_verify(1, 100_000),
    ]

    async def measured() -> list[Figure]:
        return [figure for measure in measures for figure in await measure()]

    show(uvloop.run(measured()))


if __name__ == "__main__":
    app()
