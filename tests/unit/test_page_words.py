"""What the page says, and that it can be read."""

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from playhead_contracts.events import Actor, PauseAction
from playhead_contracts.ids import BlockPath, PauseId
from playhead_engine.state import PauseState
from playhead_gateway.page.wording import decided, fault_words, left, moment, names, who

NOW = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)
ANN = Actor("person", "ann", "link")


def pause(*actions: PauseAction) -> PauseState:
    return PauseState(
        pause_id=PauseId("p"), path=BlockPath("ask"), status="open", message="?", digest="d", requested_at=NOW,
        actions=actions,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lasts", "words"),
    [
        (timedelta(days=10), "in 10 days"),
        (timedelta(hours=47), "in 47 hours"),
        (timedelta(minutes=119), "in 119 minutes"),
        (timedelta(minutes=1), "in 1 minute"),
        (timedelta(seconds=59), "in less than a minute"),
        (timedelta(0), "now"),
        (timedelta(days=-1), "now"),
    ],
)
def test_how_much_time_is_left_is_told_roughly(lasts: timedelta, words: str) -> None:
    assert left(NOW + lasts, NOW) == words


def test_moments_are_told_in_utc() -> None:
    assert moment(datetime.fromisoformat("2026-03-01T10:05:59+01:00")) == "1 March 2026, 09:05 UTC"


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        (ANN, "You"),
        (Actor("person", "ben"), "ben"),
        (Actor("person", "link:01234567", "link"), "Somebody with a link"),
        (Actor("key", "nightly"), "nightly"),
        (Actor("system", "executor"), "Playhead"),
        (None, "Somebody"),
    ],
)
def test_people_are_told_who_decided(actor: Actor | None, words: str) -> None:
    assert who(actor, ANN) == words


def test_decisions_are_told_by_what_stood_on_the_button() -> None:
    assert decided(pause(), "approve") == "approved this"
    assert decided(pause(), "deny") == "denied this"
    assert decided(pause(), None) == "answered this"
    assert decided(pause(PauseAction("approve", label="Send it")), "approve") == "chose “Send it”"
    assert decided(pause(PauseAction("send_on")), "send_on") == "chose “Send on”"


def test_those_who_are_asked_are_named() -> None:
    assert names(["user:ann"]) == "ann"
    assert names(["ann", "group:finance", "scope:refunds:approve"]) == (
        "ann, everybody in finance and everybody who has refunds:approve"
    )


def test_a_fault_that_quotes_half_the_answer_is_cut_short() -> None:
    assert fault_words('"' + "x" * 1000 + '" is strange') == "does not fit"
    assert fault_words("is strange") == "is strange"


INK_ON_PAPER = [("ink", "paper"), ("ink", "card"), ("quiet", "paper"), ("quiet", "card"), ("accent", "card"),
                ("accent", "paper"), ("on-accent", "accent"), ("bad", "card"), ("bad", "bad-paper"),
                ("ink", "bad-paper"), ("ink", "good-paper"), ("quiet", "good-paper")]  # fmt: skip


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_everything_stands_out_enough_to_be_read(scheme: int) -> None:
    """The contrast that WCAG 2.2 asks for at level AA: 4.5 for text, 3 for the edges of controls and the focus."""
    style = files("playhead_gateway.page").joinpath("templates/page.css").read_text()
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", style.split(":root {")[scheme + 1]))
    for ink, paper in INK_ON_PAPER:
        assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for ink, paper in (("edge", "card"), ("edge", "paper"), ("focus", "card"), ("focus", "paper")):
        assert contrast(colours[ink], colours[paper]) >= 3, (ink, paper)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
