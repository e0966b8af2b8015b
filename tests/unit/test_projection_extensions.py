"""What a read model of another package may look like, and what its rows depend on."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead_projector.extensions import BadProjection, check, installed
from playhead_projector.folding import Changes
from playhead_projector.projections import ALL, Projection, Row, Table

TABLE = Table(
    name="spend",
    columns={"tenant": "text not null", "day": "date not null", "cents": "bigint not null", "note": "text"},
    key=("tenant", "day"),
    added=frozenset({"cents"}),
)


def apply(changes: Changes) -> list[Row]:
    return []


def projection(**changed: Any) -> Projection:
    return Projection(table=msgspec.structs.replace(TABLE, **changed), follows="execution", apply=apply)


def test_a_projection_that_is_in_order_is_taken() -> None:
    check(projection(), ALL)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "executions"}, "taken"),
        ({"name": "checkpoints"}, "taken"),
        ({"name": "relay"}, "taken"),
        ({"name": "executions_due"}, "the name executions_due is taken"),
        ({"name": "execu", "indexes": {"pkey": "(day)"}}, None),
        ({"name": "pauses", "indexes": {}}, "taken"),
        ({"name": 'x"; drop schema read; --'}, "is no name"),
        ({"name": "Spend"}, "is no name"),
        ({"columns": {**TABLE.columns, "a b": "text"}}, "is no name"),
        ({"columns": {**TABLE.columns, "doc": "jsonb"}}, "none of"),
        ({"columns": {**TABLE.columns, "cents": "bigint"}}, "must be not null"),
        ({"columns": {**TABLE.columns, "cents": "float8 not null"}}, "integer, bigint or numeric"),
        ({"columns": {**TABLE.columns, "day": "date"}}, "must be not null"),
        ({"key": ()}, "key"),
        ({"key": ("tenant", "nothing")}, "must name columns"),
        ({"kept": frozenset({"cents"})}, "neither of the key nor kept"),
    ],
)
def test_a_table_that_cannot_be_or_takes_a_name_is_refused_with_the_reason(
    changed: dict[str, Any], reason: str | None
) -> None:
    if reason is None:
        check(projection(**changed), ALL)
        return
    with pytest.raises(BadProjection, match=reason):
        check(projection(**changed), ALL)


def test_what_is_no_projection_is_refused() -> None:
    with pytest.raises(BadProjection):
        check(TABLE, ALL)
    with pytest.raises(BadProjection, match="versions begin at 1"):
        check(msgspec.structs.replace(projection(), version=0), ALL)


def test_the_shape_says_everything_that_rows_depend_on_and_nothing_else() -> None:
    assert projection(indexes={"day": "(day)"}).table.shape == TABLE.shape
    changes: list[dict[str, Any]] = [
        {"columns": {**TABLE.columns, "more": "text"}},
        {"columns": {**TABLE.columns, "note": "json"}},
        {"columns": dict(reversed(TABLE.columns.items()))},
        {"key": ("day", "tenant")},
        {"added": frozenset[str]()},
        {"kept": frozenset({"note"})},
    ]
    shapes = {projection(**changed).table.shape for changed in changes}
    assert len(shapes | {TABLE.shape}) == len(changes) + 1


def test_entry_points_that_cannot_be_used_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_read_models.py").write_text(
        "from playhead_projector.projections import ALL\nTAKEN, NONE = ALL[0], 5\n"
    )
    info = tmp_path / "odd_read_models-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-read-models\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[playhead.projections]\ntaken = odd_read_models:TAKEN\nnone = odd_read_models:NONE\n"
        "gone = odd_read_models:GONE\naway = no_such_module:X\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = installed.__wrapped__()
    assert [each.name for each in found.projections] == ["spend_by_day"]
    assert found.faults.keys() == {"taken", "none", "gone", "away"}
    assert "is taken" in found.faults["taken"]
    assert found.faults["none"].startswith("odd_read_models:NONE: it is no")
    assert (
        found.faults["away"]
        == "no_such_module:X cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"
    )
