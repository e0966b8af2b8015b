"""How far a command has come that reads the whole log: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from playhead_cli.screen import screen
from playhead_projector.building import Progress, Told, tell_nobody

LINE_SECONDS = 5.0


class Rate:
    """Events a second since the beginning, and how long the rest takes at that rate."""

    def __init__(self, clock: Callable[[], float] = monotonic):
        self._clock = clock
        self._started = clock()

    def told(self, progress: Progress) -> str:
        """`12,000 events/s, 0:01:05 left`."""
        seconds = self._clock() - self._started
        rate = progress.events / seconds if seconds > 0 else 0.0
        if rate == 0:
            return ""
        left = timedelta(seconds=round(max(progress.until - progress.position, 0) / rate))
        return f"{rate:,.0f} events/s, {left} left"


class Lines:
    """A line every few seconds: for logs and pipes."""

    def __init__(self, what: str, out: TextIO, clock: Callable[[], float] = monotonic):
        self._what = what
        self._out = out
        self._clock = clock
        self._rate = Rate(clock)
        self._next = clock() + LINE_SECONDS

    def __call__(self, progress: Progress) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + LINE_SECONDS
        done = f"position {progress.position:,} of {progress.until:,}"
        self._out.write(f"{self._what}: {done}, {self._rate.told(progress)}\n")
        self._out.flush()


@contextmanager
def counting(what: str, *, as_json: bool) -> Generator[Told]:
    """What to call with every step of the way. It is shown on standard error; with `as_json`, nowhere."""
    if as_json:
        yield tell_nobody
    elif not sys.stderr.isatty():
        yield Lines(what, sys.stderr)
    else:
        columns = (
            TextColumn(what),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
        )
        rate = Rate()
        with Bar(*columns, console=screen(to_stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None, told="")

            def show(progress: Progress) -> None:
                bar.update(task, completed=progress.position, total=progress.until, told=rate.told(progress))

            yield show
