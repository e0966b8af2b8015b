"""New ids, and ids that follow from what they stand for."""

from uuid import UUID, uuid5

import uuid_utils

_NAMESPACE = UUID("6f0c4f1e-3f0b-5d0e-9b7a-8a1f5b0d2c47")
"""Ours. Never change it: ids of executions made with an idempotency key follow from it."""


def new_id() -> str:
    """A new UUIDv7 as text: ids made later sort later (to the millisecond between processes)."""
    return str(uuid_utils.uuid7())


def derived_id(*parts: str) -> str:
    """The UUIDv5 of `parts`, as text: the same parts give the same id in every process, for ever."""
    # Netstrings, so that ("a", "bc") and ("ab", "c") are not the same.
    return str(uuid5(_NAMESPACE, "".join(f"{len(part)}:{part}," for part in parts)))
