"""Dead letters: what was given up, kept with the reason for an operator to look at (`playhead dlq`)."""

from collections.abc import Mapping

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import TenantId
from playhead_runtime.bus import Bus
from playhead_runtime.messages import NO_HEADERS

ERROR_HEADER = "playhead-error"
SUBJECT_HEADER = "playhead-subject"
PROBLEM_HEADER = "playhead-problem"
CALLER_HEADER = "playhead-caller"
"""Whose key came with it. The key itself is not kept, so that it cannot be sent again in their name."""

_MOST_OF_ERROR = 1000
_MOST_OF_PROBLEM = 8000


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. `kind` is the last token of its subject, `subject` is where the message came from.

    `msg_id` makes a repeat the same letter. `headers` are kept, too, so they must hold no secret.
    """

    tenant: TenantId
    kind: str
    data: bytes
    error: str
    msg_id: str
    subject: str = ""
    problem: bytes | None = None
    headers: Mapping[str, str] = NO_HEADERS


async def keep(bus: Bus, letter: Letter) -> None:
    """Keep a dead letter. When this returns it is stored. Errors as `Bus.send`."""
    headers = {**letter.headers, ERROR_HEADER: header_text(letter.error)[:_MOST_OF_ERROR]}
    if letter.subject:
        headers[SUBJECT_HEADER] = letter.subject
    if letter.problem is not None and len(letter.problem) <= _MOST_OF_PROBLEM:
        headers[PROBLEM_HEADER] = header_text(letter.problem.decode())
    await bus.send(subjects.dead_letter(letter.tenant, letter.kind), letter.data, letter.msg_id, headers)


def header_text(text: str) -> str:
    """Text as one line of ASCII."""
    return text.encode("ascii", "backslashreplace").decode().replace("\r", " ").replace("\n", " ")
