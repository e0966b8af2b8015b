"""A rebuild that kills itself (SIGKILL) in the middle: `python -m tests.dying_rebuild`, with the position to build
up to in PLAYHEAD_REBUILD_TO, empty for the head.
"""

import asyncio
import os
import signal

from playhead_projector.building import Progress
from playhead_projector.rebuild import rebuild
from playhead_projector.settings import Settings
from playhead_runtime.settings import read_settings


def die(progress: Progress) -> None:
    """After the first batch."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    to = os.environ["PLAYHEAD_REBUILD_TO"]
    asyncio.run(rebuild(read_settings(Settings, os.environ), None, int(to) if to else None, told=die))
