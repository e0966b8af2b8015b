"""Keys as they are pressed, without waiting for the end of a line."""

import os
import re
import sys
import termios
import tty
from collections.abc import Generator, Iterator
from contextlib import contextmanager

_SEQUENCES = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*|[\x80-\xbf]")
_NAMES = {
    b"\x1b[C": "right",
    b"\x1bOC": "right",
    b"\x1b[D": "left",
    b"\x1bOD": "left",
    b"\x1b[H": "home",
    b"\x1bOH": "home",
    b"\x1b[1~": "home",
    b"\x1b[7~": "home",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b[8~": "end",
    b" ": "space",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x1b": "escape",
}


def named(pressed: bytes) -> list[str]:
    """What came from a terminal, key by key: a name, or the character itself."""
    return [_NAMES.get(each) or each.decode(errors="replace") for each in _SEQUENCES.findall(pressed)]


@contextmanager
def pressed_keys() -> Generator[Iterator[str]]:
    """The keys pressed from now on, until the terminal is closed. It is as it was afterwards."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield _keys(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _keys(terminal: int) -> Iterator[str]:
    while pressed := os.read(terminal, 64):
        yield from named(pressed)
