"""Where spans go in tests: a real collector over HTTP, and what a test asks it."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from playhead_cli.demo.receiver import SeenSpan, SpanReceiver
from tests.system import eventually


class Collector:
    """What has been exported so far."""

    def __init__(self, receiver: SpanReceiver):
        self._receiver = receiver

    @property
    def spans(self) -> list[SeenSpan]:
        return list(self._receiver.spans)

    @property
    def bodies(self) -> bytes:
        """Everything that came, as it came."""
        return b"".join(self._receiver.requests)

    @property
    def url(self) -> str:
        return self._receiver.url

    def named(self, name: str, **attributes: Any) -> list[SeenSpan]:
        """The spans with this name and these attributes, whose dots are written as underscores."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= span.attributes.items()]

    async def one(self, name: str, **attributes: Any) -> SeenSpan:
        """The one span of that kind, once it has come."""

        async def look() -> SeenSpan | None:
            found = self.named(name, **attributes)
            assert len(found) < 2, found
            return found[0] if found else None

        return await eventually(look, 20)

    def above(self, span: SeenSpan) -> list[str]:
        """The names of a span and of all above it, from the top."""
        by_id = {each.span_id: each for each in self.spans}
        names = [span.name]
        while (parent := by_id.get(span.parent_id)) is not None:
            names.insert(0, parent.name)
            span = parent
        return names


@contextmanager
def collector(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Generator[Collector]:
    """A collector that services, started within, export to."""
    with SpanReceiver() as receiver:
        for name, value in (receiver.environ() | variables).items():
            monkeypatch.setenv(name, value)
        yield Collector(receiver)


def place(where: SeenSpan | str | None) -> str:
    """A span, or a `traceparent`, as the trace and the span in it, without the flags."""
    return (where or "")[3:52] if isinstance(where, str | None) else f"{where.trace_id}-{where.span_id}"


def points_to(span: SeenSpan) -> list[str]:
    """The spans that this one is linked to, as `place` gives them."""
    return [f"{link.trace_id}-{link.span_id}" for link in span.links]
