"""`python -m playhead_gateway`: the HTTP door, until SIGTERM."""

import os
import sys

from playhead_gateway.app import serve
from playhead_gateway.settings import Settings
from playhead_runtime.service import run_service
from playhead_runtime.settings import read_settings


def main() -> int:
    """Run the gateway; returns the exit code of the process."""
    return run_service(lambda stop: serve(read_settings(Settings, os.environ), stop))


if __name__ == "__main__":
    sys.exit(main())
