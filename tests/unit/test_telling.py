"""What a block tells on its way, and what its completion keeps of that."""

from collections.abc import Mapping

import pytest

from playhead_contracts.events import Json, Streamed
from playhead_executor.telling import KEPT_TEXT_BYTES, Telling

SECRETS = {"TOKEN": "s3cret-value"}


class Heard:
    """Remembers what was passed on."""

    def __init__(self) -> None:
        self.chunks: list[Json] = []
        self.steps: Mapping[str, Json] = {}

    async def step_completed(self, name: str, outputs: Json) -> None:
        self.steps = {**self.steps, name: outputs}

    async def chunk(self, content: Json) -> None:
        self.chunks.append(content)


async def told(*contents: Json, secrets: Mapping[str, str] | None = None) -> tuple[Heard, Streamed | None]:
    heard = Heard()
    telling = Telling(heard, secrets)
    for content in contents:
        await telling.chunk(content)
    return heard, telling.summary()


async def test_who_tells_nothing_has_no_summary() -> None:
    assert (await told())[1] is None


async def test_texts_are_joined_and_anything_else_is_counted() -> None:
    assert (await told("Hel", "lo"))[1] == Streamed(2, "Hello")
    assert (await told("Hel", {"n": 1}, "lo"))[1] == Streamed(3, None)


@pytest.mark.parametrize("letter", ["x", "é", "🦉"])
async def test_a_long_text_is_cut(letter: str) -> None:
    heard, summary = await told(*[letter * 1000] * 100)
    assert summary is not None
    assert summary.text is not None
    assert len(heard.chunks) == summary.chunks == 100
    assert summary.text.endswith("…")
    assert KEPT_TEXT_BYTES - 4 <= len(summary.text.removesuffix("…").encode()) <= KEPT_TEXT_BYTES


async def test_secrets_are_put_back_in_pieces_steps_and_over_the_seam_of_pieces() -> None:
    heard, summary = await told("is s3cret-value.", "s3cret", "-value", secrets=SECRETS)
    assert heard.chunks[0] == "is {{ secrets.TOKEN }}."
    assert summary == Streamed(3, "is {{ secrets.TOKEN }}.{{ secrets.TOKEN }}")
    await Telling(heard, SECRETS).step_completed("login", {"token": "s3cret-value"})
    assert heard.steps == {"login": {"token": "{{ secrets.TOKEN }}"}}
