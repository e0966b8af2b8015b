"""The reference is what the code is."""

from pathlib import Path

import pytest

from playhead_cli.reference import filled

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.md")), ids=lambda path: path.name)
def test_the_generated_tables_of_the_reference_are_up_to_date(path: Path) -> None:
    text = path.read_text()
    assert filled(text) == text, "run: make docs"
