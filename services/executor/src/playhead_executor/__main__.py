"""`python -m playhead_executor`: one executor until it is told to stop."""

import asyncio
import os
import sys

from playhead_executor.app import serve
from playhead_executor.settings import Settings
from playhead_runtime.service import run_service
from playhead_runtime.settings import read_settings


async def main(stop: asyncio.Event) -> None:
    """Read the settings and serve until stopped."""
    await serve(read_settings(Settings, os.environ), stop)


if __name__ == "__main__":
    sys.exit(run_service(main))
