"""How large things may become. Each limit is an operator's to set, and each is named by the error that it leads to."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """There is none on the number of events of an execution."""

    max_document_bytes: int = 1024 * 1024
    """A workflow document as it is sent."""
    max_blocks: int = 1_000
    """Blocks of one document, those inside of containers included."""
    max_depth: int = 20
    """Containers within containers."""
    max_iterations: int = 100_000
    """Iterations of one loop, whatever it says of itself."""
    max_branches: int = 10_000
    """Branches of one parallel."""
    max_child_depth: int = 20
    """Child executions of child executions."""
    max_output_bytes: int = 8 * 1024 * 1024
    """What one block may give, as JSON."""
    max_items_bytes: int = 8 * 1024 * 1024
    """The collection of one container, as JSON."""


DEFAULT_LIMITS = Limits()
