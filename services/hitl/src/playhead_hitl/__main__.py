"""`python -m playhead_hitl`: one hitl service until it is told to stop."""

import os
import sys

from playhead_hitl.app import serve
from playhead_hitl.settings import Settings
from playhead_runtime.service import run_service
from playhead_runtime.settings import read_settings

if __name__ == "__main__":
    settings = read_settings(Settings, os.environ)
    sys.exit(run_service(lambda stop: serve(settings, stop)))
