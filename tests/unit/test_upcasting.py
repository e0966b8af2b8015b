"""Old events are read for ever, in the form that their type has now; newer ones than this process knows are told."""

from typing import Any, ClassVar

import msgspec
import pytest

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import Data, decode_event, encode_envelope, join
from playhead_contracts.ids import StreamId
from playhead_contracts.upcasting import DataDecoder, EventTooNew, UnknownEventType, Upcasters
from playhead_eventlog import RawEvent
from tests.unit.test_contracts import ENVELOPE


class Paid(Data, frozen=True, kw_only=True, tag="paid"):
    """A payment. It had `amount` in euros, then in cents; and `to` was a name, and is now several."""

    SCHEMA_VERSION: ClassVar[int] = 3

    cents: int
    to: tuple[str, ...]
    note: str | None = None


class Opened(Data, frozen=True, kw_only=True, tag="opened"):
    at: str


def in_cents(old: dict[str, Any]) -> dict[str, Any]:
    amount = old.pop("amount")
    return {**old, "cents": round(amount * 100)}


def to_several(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "to": [old["to"]]}


STEPS: Upcasters = {("paid", 1): in_cents, ("paid", 2): to_several}
DECODER: DataDecoder[Paid | Opened] = DataDecoder(Paid | Opened, STEPS)
NOW = Paid(cents=1250, to=("ann",), note="n")


@pytest.mark.parametrize(
    ("version", "written"),
    [
        (1, b'{"amount":12.5,"note":"n","to":"ann","type":"paid"}'),
        (2, b'{"cents":1250,"note":"n","to":"ann","type":"paid"}'),
        (3, b'{"cents":1250,"note":"n","to":["ann"],"type":"paid"}'),
    ],
)
def test_an_event_is_read_in_its_present_form_whichever_version_it_was_written_in(version: int, written: bytes) -> None:
    assert DECODER.decode("paid", version, written) == NOW


def test_what_is_written_now_is_read_as_it_is() -> None:
    assert DECODER.decode_present(msgspec.json.encode(NOW)) == NOW
    assert DECODER.decode("opened", 1, b'{"at":"t","type":"opened"}') == Opened(at="t")


@pytest.mark.parametrize("version", [4, 0, -1])
def test_a_version_that_is_not_known_is_told_with_its_numbers(version: int) -> None:
    with pytest.raises(EventTooNew, match=f"paid has schema version {version}, and this process knows 1 to 3"):
        DECODER.decode("paid", version, b"{}")


@pytest.mark.parametrize(
    "steps",
    [
        {("paid", 1): in_cents},
        STEPS | {("paid", 3): to_several},
        STEPS | {("opened", 1): to_several},
        STEPS | {("closed", 1): to_several},
    ],
    ids=["one missing", "beyond the present", "of a type with one version", "of a type that is not there"],
)
def test_an_upcaster_that_is_missing_or_leads_nowhere_is_told_at_start(steps: Upcasters) -> None:
    with pytest.raises(ValueError, match="upcasters"):
        DataDecoder(Paid | Opened, steps)


def stored(**changes: Any) -> RawEvent:
    """An event of the log as a newer Playhead might have written it."""
    meta = encode_envelope(msgspec.structs.replace(ENVELOPE, **changes))
    data = b'{"path":"pay","reason":"r","type":"block.skipped"}'
    return RawEvent(7, StreamId("execution:x-1"), 4, "block.skipped", data, meta, b"", b"")


def test_the_log_reads_what_it_knows_and_says_of_the_rest_that_it_is_newer() -> None:
    assert stored().decode().data.type_name() == "block.skipped"
    with pytest.raises(EventTooNew, match=r"block\.skipped has schema version 2") as too_new:
        stored(schema_version=2).decode()
    assert isinstance(too_new.value, Corrupt)
    with pytest.raises(UnknownEventType, match=r"block\.teleported"):
        stored(type="block.teleported").decode()
    newer = stored(schema_version=2)
    with pytest.raises(EventTooNew):
        decode_event(newer.meta, newer.data)
    assert join(newer.meta, newer.data) == newer.frame()
