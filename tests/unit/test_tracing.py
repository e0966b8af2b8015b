"""What is a `traceparent`, when spans are made, and that nothing is made of nothing."""

import asyncio
import logging
import os
import sys

import pytest

from playhead_runtime import spans
from playhead_runtime.service import LineFormatter
from playhead_runtime.settings import BadSetting
from playhead_runtime.tracing import OFF, current_traceparent, here, tracing, valid_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CAME = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (CAME, CAME),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", CAME),
        (f"cc-{TRACE}-{SPAN}-01", CAME),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"cc-{TRACE}-{SPAN}-01.more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"{CAME}\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(text: str | None, means: str | None) -> None:
    assert valid_traceparent(text) == means


def test_subjects_become_templates() -> None:
    assert spans.template_of("playhead.exec.acme.run") == "playhead.exec.{tenant}.run"
    assert spans.template_of("playhead.task.acme.word-count") == "playhead.task.{tenant}.word-count"
    assert spans.template_of("playhead.in.acme.payment.settled") == "playhead.in.{tenant}.{type}"
    assert spans.template_of("playhead.rpc.hitl.answer") == "playhead.rpc.hitl.answer"


async def test_where_nobody_wants_spans_the_callers_place_is_passed_on_to_tasks_and_none_is_made_up() -> None:
    assert here() is None
    with OFF.carry(CAME), spans.block_attempt("e", "b", "http", 1) as block:
        assert block is None
        assert await asyncio.create_task(_seen()) == CAME
    with OFF.carry("nonsense"), spans.publishing("playhead.exec.acme.run", "1"):
        assert current_traceparent() is None
    assert here() is None


def test_a_log_line_says_to_which_trace_it_belongs() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "pause resolved", "version": 3})
    assert "trace_id" not in LineFormatter().format(record)
    with OFF.carry(CAME):
        assert LineFormatter().format(record).endswith(f" pause resolved version=3 trace_id={TRACE}")


async def _seen() -> str | None:
    return current_traceparent()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
async def test_without_a_place_to_send_them_there_are_no_spans(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with tracing("executor") as tracer:
        assert not tracer.is_on


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_TRACES_EXPORTER", "jaeger"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
)
async def test_what_we_cannot_do_is_refused_at_the_start(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting, match=variable):
        async with tracing("executor"):
            pass


async def test_services_without_spans_do_not_even_import_the_sdk() -> None:
    program = "import sys, playhead_executor.app, playhead_gateway.app; print('opentelemetry.sdk' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.strip() == b"False"
