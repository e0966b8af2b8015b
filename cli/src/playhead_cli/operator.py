"""Who runs a command that goes past the gateway, straight to the servers."""

import getpass
import os

from playhead_contracts.events import Actor

CHANNEL = "operator"
"""Tells what was done with the servers' own credentials from what a key was used for."""


def operator() -> Actor:
    """The login of whoever runs this command, as the actor of what it does.

    It is what the machine says, and whoever has the credentials of the servers can make it say anything: it names the
    honest, and does not hold off the others (signed checkpoints do).
    """
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"  # a container without a line for this user in its passwd
    return Actor(kind="person", name=name, channel=CHANNEL)
