"""The main job, as `make demo` runs it."""

import asyncio
import os
import pty
import signal
from importlib.resources import files
from pathlib import Path

from tests.e2e.conftest import SCRIPT, Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "refund-review.yaml"


async def at_a_terminal(home: Home, approve: str, comment: str) -> tuple[int, str]:
    """Run the demo at a terminal, type a line whenever it asks; its exit code, and what was on the screen."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), "demo", cwd=home.folder, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = ""
    questions = ["Approve? [y/N]:", "Comment:"]
    lines = [approve, comment]
    try:
        async with asyncio.timeout(60):
            while chunk := await asyncio.to_thread(_read, ours):
                screen += chunk
                if lines and questions[-len(lines)] in screen:
                    os.write(ours, lines.pop(0).encode() + b"\n")
            return await process.wait(), screen
    finally:
        if process.returncode is None:
            # The reading thread is woken by its end.
            process.send_signal(signal.SIGTERM)
            await process.wait()
        os.close(ours)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # the other side has closed it
        return ""


def test_the_demo_runs_the_example_that_people_read() -> None:
    assert (files("playhead_cli.demo") / "refund-review.yaml").read_bytes() == EXAMPLE.read_bytes()


async def test_the_demo_does_what_it_says_and_checks_it_and_shows_its_traces(home: Home) -> None:
    ran = await home.run("demo", "--yes", "--trace")
    assert ran.code == 0, ran.out + ran.err
    for event in ("pause.requested", "execution.paused", "pause.resolved", "execution.resumed", "execution.completed"):
        assert event in ran.out
    assert "checks hold" in ran.out
    _, _, traces = ran.out.partition("The traces")
    lines = [line.strip(" │├└─") for line in traces.splitlines()]
    started = next(n for n, line in enumerate(lines) if "POST /v1/workflows/{workflow_id}/executions" in line)
    below = [
        "publish playhead.exec.{tenant}.run",
        "process playhead.exec.{tenant}.run",
        "invoke_workflow refund-review",
    ]
    assert [line.split("  ")[0] for line in lines[started + 1 : started + 4]] == below
    resumed = next(line for line in lines if "/resume  gateway" in line)
    assert f"→ {lines[started][:14]}" in resumed, "the answer points to where the execution began"
    assert home.left_behind() == []


async def test_without_a_person_at_the_prompt_the_demo_approves_nothing(home: Home) -> None:
    ran = await home.run("demo", stdin="")
    assert ran.code == 2, ran.out + ran.err
    assert "--yes" in ran.out + ran.err
    assert "execution.completed" not in ran.out


async def test_at_a_terminal_the_demo_asks_and_pays_what_was_approved(home: Home) -> None:
    code, screen = await at_a_terminal(home, "y", "looks fine")
    assert code == 0, screen
    assert "looks fine" in screen
    assert "checks hold" in screen


async def test_a_refund_that_is_not_approved_is_not_paid(home: Home) -> None:
    code, screen = await at_a_terminal(home, "n", "")
    assert code == 0, screen
    assert "nothing was paid" in screen
    assert "exactly one request, one payment" not in screen
