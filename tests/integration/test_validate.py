"""`playhead validate`, as its user runs it: each broken document is told where it is wrong, and what would be right."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from playhead_cli.main import app
from tests.conftest import Database
from tests.door import gateway
from tests.system import System

ROOT = Path(__file__).parents[2]
BROKEN = sorted((ROOT / "tests" / "golden" / "broken").glob("*.yaml"))
TRIGGERS = ROOT / "examples" / "triggers"
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("**/*.yaml") if path.parent != TRIGGERS)


@pytest.fixture(scope="module")
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "500", "NO_COLOR": "1"})


async def validated(runner: CliRunner, url: str, path: Path) -> tuple[int, str]:
    """The exit code, and what is printed."""
    result = await asyncio.to_thread(runner.invoke, app, ["validate", str(path), "--url", url])
    return result.exit_code, result.output


async def test_each_broken_document_is_told_exactly_where_and_why(
    database: Database, nats_url: str, client: System, runner: CliRunner
) -> None:
    assert len(BROKEN) >= 40
    async with gateway(database.service_url, nats_url) as http:
        for path in BROKEN:
            code, said = await validated(runner, str(http.base_url), path)
            assert (code, said) == (1, path.with_suffix(".txt").read_text()), path.name


async def test_the_examples_are_valid(database: Database, nats_url: str, client: System, runner: CliRunner) -> None:
    assert len(EXAMPLES) >= 3
    async with gateway(database.service_url, nats_url) as http:
        for path in EXAMPLES:
            assert await validated(runner, str(http.base_url), path) == (0, "valid\n"), path.name
