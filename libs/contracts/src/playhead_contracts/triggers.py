"""The trigger document (docs/triggers.md) as somebody writes it: for which events which workflow is started.

These models refuse what they do not know. What expressions say is checked by `playhead_engine.triggers`.
"""

from typing import Annotated

from pydantic import Field

from playhead_contracts.events import Json
from playhead_contracts.fields import Text, Written
from playhead_contracts.ids import TOKEN_PATTERN

WHOLE_DATA = "{{ event.data }}"


class TriggerOn(Written, frozen=True):
    """The events: `subject` is relative to `playhead.evt.<tenant>.`, with the wildcards of NATS; `match` is CEL over
    `event`, and must give true or false."""

    subject: Annotated[str, Field(min_length=1, max_length=255)]
    match: Text | None = None


class TriggerDocument(Written, frozen=True):
    """A trigger. `input` and `variables` are templates over `event`; the input is the event's data, if not said.

    Of several events of the same key one starts the workflow. The key is what `deduplicate_by` gives; without it that
    is the event's id, so that each event starts it once.
    """

    id: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    name: str | None = None
    description: str | None = None
    workflow: Annotated[str, Field(pattern=TOKEN_PATTERN)]
    version: Annotated[int, Field(ge=1)] | None = None
    """The newest when the event comes, if not set."""
    on: TriggerOn
    input: Json = WHOLE_DATA
    variables: dict[str, Json] = Field(default_factory=dict[str, Json])
    deduplicate_by: Text | None = None
    enabled: bool = True
