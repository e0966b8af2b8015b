"""How far something has come, in words."""

import io

from playhead_cli.counting import LINE_SECONDS, Lines, Rate
from playhead_projector.building import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_counts_events_and_the_time_left_counts_positions() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.told(Progress(0, 0, 9000)) == ""
    clock.now += 2
    assert rate.told(Progress(3000, 3000, 9000)) == "1,500 events/s, 0:00:04 left"
    assert rate.told(Progress(9000, 9000, 9000)).endswith("0:00:00 left")


def test_without_a_terminal_there_is_a_line_every_few_seconds_and_none_for_what_is_quick() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines("rebuild", out, clock)
    lines(Progress(1000, 1000, 9000))
    assert out.getvalue() == ""
    clock.now += LINE_SECONDS
    lines(Progress(5000, 5000, 10000))
    lines(Progress(5001, 5001, 10000))
    assert out.getvalue() == "rebuild: position 5,000 of 10,000, 1,000 events/s, 0:00:05 left\n"
