"""What a block in flight tells of itself, without its secrets, and what of that goes into its completion."""

from collections.abc import Mapping

from playhead_contracts.events import Json, Streamed
from playhead_executor.blocks.contract import CUT, Progress
from playhead_executor.secrets import redacted

KEPT_TEXT_BYTES = 16 * 1024


class Telling:
    """Passes on what one attempt at a block tells (a `Progress` itself), and remembers the beginning of it."""

    def __init__(self, progress: Progress, secrets: Mapping[str, str] | None):
        self._progress = progress
        self._secrets = secrets
        self._count = 0
        self._texts: list[str] | None = []
        self._size_bytes = 0

    @property
    def steps(self) -> Mapping[str, Json]:
        return self._progress.steps

    async def step_completed(self, name: str, outputs: Json) -> None:
        await self._progress.step_completed(name, redacted(outputs, self._secrets))

    async def chunk(self, content: Json) -> None:
        self._count += 1
        if not isinstance(content, str):
            self._texts = None
        elif self._texts is not None and self._size_bytes <= KEPT_TEXT_BYTES:
            self._texts.append(content)
            self._size_bytes += len(content.encode(errors="replace"))
        await self._progress.chunk(redacted(content, self._secrets))

    def summary(self) -> Streamed | None:
        """What was told, for the block's completion; None if nothing was."""
        if not self._count:
            return None
        return Streamed(self._count, None if self._texts is None else self._kept("".join(self._texts)))

    def _kept(self, text: str) -> str:
        # Searched as a whole: a secret may lie over the seam of two pieces. What is cut off ends in CUT, so that the
        # beginning of one counts as well.
        if self._size_bytes > KEPT_TEXT_BYTES:
            text = text.encode(errors="replace")[:KEPT_TEXT_BYTES].decode(errors="ignore") + CUT
        return redacted(text, self._secrets)
