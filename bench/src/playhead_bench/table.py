"""Figures, and the table they are shown in."""

from collections.abc import Sequence
from statistics import median, quantiles

import msgspec
from rich.console import Console
from rich.table import Table


class Figure(msgspec.Struct, frozen=True):
    """One row: what was measured over several runs, in which unit, and the goal it has, if any."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    higher_is_better: bool = True
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def reaches_its_goal(self) -> bool | None:
        if self.goal is None:
            return None
        return self.median >= self.goal if self.higher_is_better else self.median <= self.goal


def show(figures: Sequence[Figure]) -> None:
    """Print the table."""
    table = Table("what", "median", "min", "max", "goal", "", "note", title="Playhead, every append fsynced")
    for figure in figures:
        goal = "" if figure.goal is None else f"{'≥' if figure.higher_is_better else '≤'} {_text(figure.goal)}"
        verdict = {None: "", True: "reached", False: "[bold]missed[/]"}[figure.reaches_its_goal]
        cells = (_text(figure.median), _text(min(figure.values)), _text(max(figure.values)))
        table.add_row(f"{figure.name}, {figure.unit}", *cells, goal, verdict, figure.note)
    Console(width=140).print(table)


def percentile_99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
