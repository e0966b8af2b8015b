"""`python -m playhead_gateway`: the HTTP door, until SIGTERM."""

import asyncio
import os
import sys

from playhead_gateway.app import serve
from playhead_gateway.settings import Settings
from playhead_runtime.service import run_service
from playhead_runtime.settings import read_settings


async def main(stop: asyncio.Event) -> None:
    """Read the settings and serve until stopped."""
    await serve(read_settings(Settings, os.environ), stop)


if __name__ == "__main__":
    sys.exit(run_service(main))
