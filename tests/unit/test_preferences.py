"""How callers say in which way they want to be answered."""

import pytest

from playhead_contracts.events import Mode
from playhead_gateway.preferences import Manner, manner_wanted, mode_wanted


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (None, {}, Manner("sync")),
        (None, {"accept": "*/*"}, Manner("sync")),
        (None, {"accept": "text/event-stream"}, Manner("stream")),
        (None, {"accept": "application/json;q=0.9, Text/Event-Stream ; q=0.5"}, Manner("stream")),
        (None, {"accept": "text/event-stream;q=0"}, Manner("sync")),
        (None, {"accept": "text/event-stream; q=0.000"}, Manner("sync")),
        (None, {"accept": "text/event-stream-not"}, Manner("sync")),
        (None, {"prefer": "respond-async"}, Manner("async", None, "respond-async")),
        (None, {"prefer": 'foo; bar="x, y", RESPOND-ASYNC'}, Manner("async", None, "respond-async")),
        (None, {"prefer": "wait=10"}, Manner("sync", 10, "wait=10")),
        (None, {"prefer": 'wait="7"'}, Manner("sync", 7, "wait=7")),
        (None, {"prefer": "wait=0"}, Manner("sync", 0, "wait=0")),
        (None, {"prefer": "wait=3, wait=9"}, Manner("sync", 3, "wait=3")),
        (None, {"prefer": "respond-async, wait=10"}, Manner("sync", 10, "respond-async, wait=10")),
        (None, {"prefer": "respond-async, wait=0"}, Manner("async", None, "respond-async")),
        (None, {"prefer": "wait=-1"}, Manner("sync")),
        (None, {"prefer": "wait=soon"}, Manner("sync")),
        (None, {"prefer": "wait=١"}, Manner("sync")),
        (None, {"accept": "text/event-stream", "prefer": "respond-async"}, Manner("stream")),
        ("sync", {"accept": "text/event-stream", "prefer": "respond-async"}, Manner("sync")),
        ("sync", {"prefer": "respond-async, wait=2"}, Manner("sync", 2, "wait=2")),
        ("async", {"accept": "text/event-stream"}, Manner("async")),
        ("stream", {"prefer": "respond-async"}, Manner("stream")),
    ],
)
def test_the_body_goes_before_accept_and_accept_before_prefer(
    body: Mode | None, headers: dict[str, str], expected: Manner
) -> None:
    assert manner_wanted(body, headers, "sync") == expected


@pytest.mark.parametrize("usual", ["sync", "async", "stream"])
def test_without_a_wish_it_is_as_usual(usual: Mode) -> None:
    assert mode_wanted(None, {"accept": "application/json"}, usual) == usual


def test_nobody_waits_longer_than_the_gateway_does() -> None:
    assert manner_wanted(None, {"prefer": "wait=99999999999"}, "sync").wait_at_most(60) == 60
    assert manner_wanted(None, {"prefer": "wait=5"}, "sync").wait_at_most(60) == 5
    assert manner_wanted(None, {}, "sync").wait_at_most(60) == 60
