"""Forms made from schemas: which fields there are, and that what is typed becomes the value that was meant."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from playhead_contracts.errors import Fault
from playhead_contracts.events import Json
from playhead_engine.schemas import faults_of
from playhead_gateway.page.building import form_of
from playhead_gateway.page.controls import control_of, flat
from playhead_gateway.page.fields import (
    AnyField,
    BooleanField,
    ChoiceField,
    Field,
    FixedField,
    GroupField,
    JsonField,
    ListField,
    ManyField,
    NumberField,
    TextField,
    named,
)
from playhead_gateway.page.schemas import as_list, as_object
from playhead_gateway.page.shown import filled_in, shown
from playhead_gateway.page.submitted import Submitted, read, read_number
from playhead_gateway.page.typed import MAIN, Typed, initial, parse_form, typed, with_row, without_row, written
from playhead_gateway.page.wording import fault_words
from playhead_gateway.problems import BadRequest

Schema = dict[str, Json]


def fields_of(**properties: Json) -> dict[str, Field]:
    """The fields of an object with these properties, by name."""
    form = form_of({"type": "object", "properties": properties})
    assert isinstance(form, GroupField)
    return {field.key: field for field in form.fields}


def only(schema: Json, *, required: bool = True) -> Field:
    """The field of one property."""
    form = form_of({"type": "object", "properties": {"x": schema}, "required": ["x"] if required else []})
    assert isinstance(form, GroupField)
    return form.fields[0]


def sent(schema: Schema, **texts: str | list[str]) -> Submitted:
    """What is read of a form whose controls say this; `f/` begins every name."""
    form = {f"{MAIN}/{name}": [text] if isinstance(text, str) else text for name, text in texts.items()}
    return read(form_of(schema), MAIN, form)


def object_of(required: list[str] | None = None, **properties: Json) -> Schema:
    return {"type": "object", "properties": properties, "required": required or []}


def through_a_browser(pairs: list[tuple[str, str]]) -> Typed:
    """What comes of it when a browser sends these pairs: newlines become CRLF, and everything is escaped."""
    return parse_form(urlencode([(name, text.replace("\n", "\r\n")) for name, text in pairs]).encode())


# Which fields there are


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "maxLength": 200}, "text"),
        ({"type": "string", "maxLength": 201}, "multiline"),
        ({"type": "string", "contentMediaType": "text/markdown"}, "multiline"),
        ({"type": "string", "x-multiline": True}, "multiline"),
        ({"type": "string", "default": "a\nb"}, "multiline"),
        ({"type": "string", "format": "email"}, "email"),
        ({"type": "string", "format": "uri"}, "url"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "time"}, "time"),
        ({"type": "string", "format": "date-time"}, "datetime-local"),
        ({"minLength": 1}, "text"),
    ],
)
def test_texts_get_the_control_that_fits_them(schema: Json, kind: str) -> None:
    field = only(schema)
    assert isinstance(field, TextField)
    assert field.kind == kind


KINDS: list[tuple[Json, type[AnyField]]] = [
    ({"type": "integer"}, NumberField),
    ({"type": "boolean"}, BooleanField),
    ({"const": True}, BooleanField),
    ({"enum": ["a", "b"]}, ChoiceField),
    ({"const": "only"}, ChoiceField),
    ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2}]}, ChoiceField),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, ManyField),
    ({"type": "array", "items": {"type": "string"}}, ListField),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, GroupField),
    ({"type": "string", "readOnly": True, "default": "fixed"}, FixedField),
    # What no set of fields can stand for.
    ({}, JsonField),
    (True, JsonField),
    ({"type": "object"}, JsonField),
    ({"type": "array"}, JsonField),
    ({"type": ["string", "number"]}, JsonField),
    ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, JsonField),
    ({"type": "object", "patternProperties": {"^a": {}}, "properties": {"a": {}}}, JsonField),
    ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}], "properties": {"c": {}}}, JsonField),
    ({"$ref": "https://example.com/schema"}, JsonField),
    ({"$ref": "#/$defs/nowhere"}, JsonField),
]


@pytest.mark.parametrize(("schema", "kind"), KINDS)
def test_every_schema_gets_a_field(schema: Json, kind: type[AnyField]) -> None:
    assert isinstance(only(schema), kind)


def test_a_few_options_can_all_be_seen_and_many_are_in_a_list_to_open() -> None:
    few, many = only({"enum": list("abcde")}), only({"enum": list("abcdef")})
    assert isinstance(few, ChoiceField)
    assert isinstance(many, ChoiceField)
    assert (few.is_short, many.is_short) == (True, False)
    assert control_of(few, "f/x", {}, {}).kind == "radios"
    assert control_of(many, "f/x", {}, {}).kind == "select"


def test_fields_stand_in_the_order_that_the_author_wrote() -> None:
    properties = {name: {"type": "string"} for name in ("a", "b", "c")}
    form = form_of({"type": "object", "properties": properties, "x-order": ["c", "a", "c", "gone"]})
    assert isinstance(form, GroupField)
    assert [field.key for field in form.fields] == ["c", "a", "b"]


def test_labels_are_titles_or_names_made_readable() -> None:
    fields = fields_of(
        refund_amount={}, customerName={}, IBAN={}, other={"title": "Anything else?", "description": "!"}
    )
    assert [field.label for field in fields.values()] == ["Refund amount", "Customer name", "IBAN", "Anything else?"]
    assert fields["other"].help == "!"
    assert named("") == ""


def test_definitions_are_followed_and_put_together() -> None:
    floor = {"properties": {"floor": {"type": "integer"}}}
    schema = object_of(
        ["home"],
        home={"$ref": "#/$defs/address", "title": "Home"},
        work={"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
        both={"allOf": [{"$ref": "#/$defs/address"}, floor]},
    )
    schema["$defs"] = {"address": object_of(["street"], street={"type": "string"})}
    form = form_of(schema)
    assert isinstance(form, GroupField)
    home, work, both = form.fields
    assert isinstance(home, GroupField)
    assert isinstance(work, GroupField)
    assert isinstance(both, GroupField)
    assert (home.label, home.fields[0].label, home.fields[0].is_required) == ("Home", "Street", True)
    assert (work.is_nullable, work.fields[0].key) == (True, "street")
    assert [field.key for field in both.fields] == ["street", "floor"]


def test_a_schema_that_holds_itself_ends_in_json() -> None:
    node = object_of(["name"], name={"type": "string"}, children={"type": "array", "items": {"$ref": "#/$defs/node"}})
    form = form_of({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert isinstance(form, GroupField)
    children = form.fields[1]
    assert isinstance(children, ListField)
    assert isinstance(children.item, JsonField)
    assert isinstance(form_of({"$ref": "#"}), JsonField)


def test_a_schema_that_unfolds_without_end_is_cut_off() -> None:
    defs: Schema = {
        f"d{n}": object_of(a={"$ref": f"#/$defs/d{n + 1}"}, b={"$ref": f"#/$defs/d{n + 1}"}) for n in range(30)
    }
    assert isinstance(form_of({"$ref": "#/$defs/d0", "$defs": defs | {"d30": {"type": "string"}}}), GroupField)


def test_saying_nothing_is_not_saying_no() -> None:
    optional, required = only({"type": "boolean"}, required=False), only({"type": "boolean"})
    given = only({"type": "boolean", "default": True}, required=False)
    assert isinstance(optional, BooleanField)
    assert isinstance(required, BooleanField)
    assert isinstance(given, BooleanField)
    assert (optional.is_three_state, required.is_three_state, given.is_three_state) == (True, False, False)


# What is read


def test_what_is_typed_becomes_values_of_the_right_types() -> None:
    cases: list[tuple[str, Schema, str | list[str], Json]] = [
        ("name", {"type": "string"}, " Ann ", " Ann "),
        ("count", {"type": "integer"}, "7", 7),
        ("rate", {"type": "number"}, "0.10", 0.1),
        ("agreed", {"type": "boolean"}, "true", True),
        ("size", {"enum": ["s", "m"]}, "m", "m"),
        ("level", {"enum": [1, 2]}, "2", 2),
        ("when", {"type": "string", "format": "date-time"}, "2026-03-01T09:30", "2026-03-01T09:30:00Z"),
        ("at", {"type": "string", "format": "time"}, "09:30", "09:30:00Z"),
        ("tags", {"type": "array", "items": {"enum": ["a", "b", "c"]}}, ["c", "a"], ["a", "c"]),
        ("raw", {}, '{"a": [1, 2.5]}', {"a": [1, 2.5]}),
    ]
    schema = object_of(["agreed", "count"], **{name: schema for name, schema, _, _ in cases})
    found = sent(schema, **{name: text for name, _, text, _ in cases})
    assert found.faults == ()
    assert found.value == {name: value for name, _, _, value in cases}
    assert faults_of(schema, found.value) == ()


def test_blank_is_left_out_or_null_or_a_fault() -> None:
    schema = object_of(
        ["must", "maybe"], must={"type": "string"}, maybe={"type": ["string", "null"]}, free={"type": "string"},
        number={"type": "integer"}, list={"type": "array", "items": {"type": "string"}},
        inner=object_of(["street"], street={"type": "string"}),
    )  # fmt: skip
    found = sent(schema, must="", maybe="", free="", number="", **{"inner/street": ""})
    assert found.value == {"maybe": None}
    assert found.faults == (Fault("#/must", "fill this in"),)


def test_a_default_that_was_taken_out_does_not_come_back() -> None:
    schema = object_of(
        note={"type": "string", "default": "n/a"},
        size={"enum": ["s", "m"], "default": "m"},
        gift={"type": "boolean", "default": True},
    )
    found = sent(schema, note="", size="s")
    assert found.value == {"note": "", "size": "s", "gift": False}
    control = control_of(form_of(schema), MAIN, typed(initial(form_of(schema), MAIN)), {})
    texts = {each.name: [choice.label for choice in each.choices] for each in control.inside}
    assert texts["f/size"] == ["s", "m"], "left out it would be m again, so there is no leaving it out"
    assert control.inside[0].text == "n/a"
    assert control.inside[2].is_ticked


def test_an_object_that_is_begun_must_be_finished() -> None:
    schema = object_of(inner=object_of(["street"], street={"type": "string"}, city={"type": "string"}))
    found = sent(schema, **{"inner/street": "", "inner/city": "Ulm"})
    assert [fault.pointer for fault in found.faults] == ["#/inner/street"]


@pytest.mark.parametrize(
    ("text", "is_integer", "value"),
    [
        ("7", True, 7),
        ("-0", True, 0),
        ("7.0", True, 7),
        ("1e3", True, 1000),
        ("12345678901234567890123", True, 12345678901234567890123),
        ("12345678901234567890123", False, 12345678901234567890123),
        ("0.1", False, 0.1),
        (".5", False, 0.5),
        ("1e-7", False, 1e-7),
        ("2.50", False, 2.5),
    ],
)
def test_numbers_are_exact(text: str, is_integer: bool, value: float) -> None:
    assert read_number(text, is_integer=is_integer) == value


@pytest.mark.parametrize(
    ("text", "is_integer"),
    [
        ("seven", True),
        ("7.5", True),
        ("1,5", False),
        ("NaN", False),
        ("Infinity", False),
        ("1_000", True),
        ("٣", True),
        ("1e999999999", True),
        ("1e400", False),
        ("0x10", True),
        ("9" * 500, True),
        ("0.12345678901234567890123", False),
    ],
)
def test_what_is_no_number_or_cannot_be_kept_is_refused(text: str, is_integer: bool) -> None:
    with pytest.raises(ValueError, match=r"number|digits"):
        read_number(text, is_integer=is_integer)


def test_a_time_keeps_the_zone_that_it_has() -> None:
    schema = object_of(when={"type": "string", "format": "date-time"})
    for text, value in {
        "2026-03-01T09:30": "2026-03-01T09:30:00Z",
        "2026-03-01 09:30": "2026-03-01T09:30:00Z",
        "2026-03-01T09:30:15.5": "2026-03-01T09:30:15.5Z",
        "2026-03-01T09:30:00+02:00": "2026-03-01T09:30:00+02:00",
    }.items():
        assert sent(schema, when=text).value == {"when": value}


def test_what_the_form_does_not_have_is_passed_over() -> None:
    schema = object_of(name={"type": "string"}, fixed={"type": "string", "readOnly": True, "default": "as it was"})
    found = sent(schema, name="ann", fixed="changed", other="x", **{"name/x": "y", "__proto__": "z"})
    assert found.value == {"name": "ann", "fixed": "as it was"}


def test_what_is_not_offered_is_refused() -> None:
    schema = object_of(
        one={"enum": ["a", "b"]}, some={"type": "array", "items": {"enum": ["a"]}}, yes={"type": "boolean"}
    )
    found = sent(schema, one="c", some=["a", "z"], yes="perhaps")
    assert [fault.pointer for fault in found.faults] == ["#/one", "#/some", "#/yes"]


def test_names_with_slashes_dots_and_signs_are_told_apart() -> None:
    names = [
        "a/b",
        "a",
        "b",
        "a-b",
        "a_b",
        "a_2d_b",
        "a.note",
        "a-note",
        "~",
        "#",
        "a.b",
        "digest",
        "action",
        "f",
        "%2F",
        "ü",
        " ",
        "",
    ]
    schema: Schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    value: Json = {name: f"value of {name!r}" for name in names}
    form = form_of(schema)
    assert read(form, MAIN, through_a_browser(list(written(form, MAIN, value)))).value == value
    ids = [control.id for _, control in flat(control_of(form, MAIN, {}, {}))]
    assert len(set(ids)) == len(ids) == len(names) + 1
    assert all(re.fullmatch(r"c-[A-Za-z0-9_-]+", each) for each in ids)


def test_faults_stand_at_the_fields_they_are_about() -> None:
    lines = {"type": "array", "items": object_of(["price"], price={"type": "number", "minimum": 0}, note={})}
    schema = object_of(["lines"], lines=lines) | {"dependentRequired": {"lines": ["gone"]}}
    form = {"f/lines#": ["4", "9"], "f/lines/4/price": ["-1"], "f/lines/9/price": ["1"], "f/lines/9/note": ['{"a": 1}']}
    found = read(form_of(schema), MAIN, form).checked(schema)
    assert found.value == {"lines": [{"price": -1}, {"price": 1, "note": {"a": 1}}]}
    places = {found.name_of(fault): fault_words(fault.detail) for fault in found.faults}
    assert places == {"f/lines/4/price": "must be at least 0", "f": "“Gone” is missing"}
    assert found.name_of(Fault("#/lines/1/note/a", "deep inside of JSON")) == "f/lines/9/note"
    assert found.name_of(Fault("#/elsewhere", "unknown")) == "f"


def test_one_mistake_is_told_once() -> None:
    schema = object_of(["count"], count={"type": "integer", "minimum": 3}, name={"type": "string", "minLength": 2})
    found = sent(schema, count="many", name="x").checked(schema)
    assert [(fault.pointer, fault_words(fault.detail)) for fault in found.faults] == [
        ("#/count", "is not a whole number"),
        ("#/name", "must have at least 2 characters"),
    ]


def test_faults_of_schemas_are_told_in_words() -> None:
    schema = object_of(
        ["gone"], s={"type": "string", "minLength": 2, "pattern": "^a"}, n={"exclusiveMaximum": 1, "multipleOf": 0.5},
        e={"type": "string", "format": "email"}, l={"minItems": 2, "uniqueItems": True}, c={"const": True},
    )  # fmt: skip
    value: Json = {"s": "b", "n": 1.2, "e": "x", "l": [1], "c": False}
    assert {fault_words(fault.detail) for fault in faults_of(schema, value)} == {
        "“Gone” is missing",
        "must have at least 2 characters",
        "does not have the form that is wanted (^a)",
        "must be less than 1",
        "must be a multiple of 0.5",
        "must be an e-mail address, such as name@example.com",
        "must have at least 2",
        "must be ticked",
    }


@pytest.mark.parametrize("body", [b"a=%FF", "a=ü".encode(), b"&".join([b"a=1"] * 5001)])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_form(body)


# Rows


LINES = object_of(
    ["lines"],
    lines={
        "type": "array", "minItems": 1, "maxItems": 3,
        "items": object_of(["name"], name={"type": "string"}, count={"type": "integer", "default": 1}),
    },
)  # fmt: skip


def test_rows_come_and_go_and_keep_what_is_typed() -> None:
    form = form_of(LINES)
    typed_now = typed(initial(form, MAIN))
    assert typed_now == {"f/lines#": ["0"], "f/lines/0/count": ["1"]}
    typed_now["f/lines/0/name"] = ["first"]
    typed_now = with_row(form, MAIN, typed_now, "f/lines")
    typed_now = with_row(form, MAIN, typed_now, "f/lines")
    assert (typed_now["f/lines#"], typed_now["f/lines/2/count"]) == (["0", "1", "2"], ["1"])
    assert with_row(form, MAIN, typed_now, "f/lines") == typed_now, "three are enough"
    typed_now = {**typed_now, "f/lines/1/name": ["second"], "f/lines/2/name": ["third"]}
    typed_now = without_row(typed_now, "f/lines/1")
    assert read(form, MAIN, typed_now).value == {
        "lines": [{"name": "first", "count": 1}, {"name": "third", "count": 1}]
    }


@pytest.mark.parametrize("wanted", ["", "f", "f/lines/0", "f/other", "f/lines/7/x", "digest", "f/lines#", "x/y"])
def test_there_are_no_rows_where_there_is_no_list(wanted: str) -> None:
    form = form_of(LINES)
    typed_now = {"f/lines#": ["0"], "f/lines/0/name": ["first"], "digest": ["d"]}
    assert with_row(form, MAIN, typed_now, wanted) == typed_now


# Any value that fits, written and sent, reads back as itself

_SINGLE_LINE = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=20)
_LINES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=40)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SINGLE_LINE, inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.text("ab/~#. ü", max_size=4)
Case = tuple[Schema, Any]


def _of(schema: Schema, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    return values.map(lambda value: (schema, value))


def _scalars() -> st.SearchStrategy[Case]:
    moments = st.datetimes().map(lambda at: at.isoformat() + "Z")
    return st.one_of(
        _of({"type": "string"}, _SINGLE_LINE),
        _of({"type": "string", "maxLength": 1000}, _LINES),
        _of({"type": "string", "format": "date"}, st.dates().map(str)),
        _of({"type": "string", "format": "date-time"}, moments),
        _of({"type": "string", "format": "date-time"}, st.just("2026-03-01T09:30:00+02:00")),
        _of({"type": "integer"}, st.integers()),
        _of({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
        _of({"type": "number"}, st.integers()),
        _of({"type": "boolean"}, st.booleans()),
        _of({"enum": ["a", "b", "other thing"]}, st.sampled_from(["a", "b", "other thing"])),
        _of(
            {"enum": [1, "1", True, False, [], {"a": 1}, ""]}, st.sampled_from([1, "1", True, False, [], {"a": 1}, ""])
        ),
        _of({"type": ["integer", "null"]}, st.integers() | st.none()),
        _of({"type": ["boolean", "null"]}, st.booleans() | st.none()),
        _of({}, _JSON),
    )


@st.composite
def _lists(draw: st.DrawFn, items: st.SearchStrategy[Case]) -> Case:
    schema, first = draw(items)
    others = [value for other, value in draw(st.lists(items, max_size=3)) if other == schema]
    if "enum" in schema:
        chosen = [value for value in schema["enum"] if draw(st.booleans())]
        return {"type": "array", "items": schema}, chosen
    return {"type": "array", "items": schema, "minItems": draw(st.integers(0, 1))}, [first, *others]


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    cases = draw(st.dictionaries(_NAMES, inner, min_size=1, max_size=4))
    schema = object_of(
        [name for name in cases if draw(st.booleans())], **{name: case[0] for name, case in cases.items()}
    )
    return schema, {name: case[1] for name, case in cases.items()}


def _says_nothing(value: Json, schema: Schema) -> bool:
    match schema.get("type"):
        case "array" if "enum" in schema["items"]:
            return not value
        case "array":
            return len(value) <= schema["minItems"] and all(_says_nothing(item, schema["items"]) for item in value)
        case "object":
            return all(_says_nothing(value[name], schema["properties"][name]) for name in value)
        case _:
            return value is None and schema != {}


def _without_nothings(value: Json, schema: Schema, *, required: bool = True) -> Json:
    """The value as a form can say it: an optional list or object in which nothing stands is left out."""
    match schema.get("type"):
        case "array" | "object" if not required and _says_nothing(value, schema):
            return UNSET
        case "array":
            return [_without_nothings(item, schema["items"]) for item in value]
        case "object":
            inside = {
                name: _without_nothings(value[name], inner, required=name in schema["required"])
                for name, inner in schema["properties"].items()
            }
            return {name: each for name, each in inside.items() if each is not UNSET}
        case _:
            return value


_CASES = st.recursive(_scalars(), lambda inner: _lists(inner) | _objects(inner), max_leaves=8)


@given(_objects(_CASES))
@settings(max_examples=400, deadline=None)
def test_what_fits_and_is_written_into_a_form_reads_back_as_itself(case: Case) -> None:
    schema, value = case
    value = _without_nothings(value, schema)
    form = form_of(schema)
    assert faults_of(schema, value) == ()
    found = read(form, MAIN, through_a_browser(list(written(form, MAIN, value))))
    assert found.faults == ()
    assert found.value == value
    assert _types(found.value) == _types(value)
    control_of(form, MAIN, typed(written(form, MAIN, value)), {})


@given(_objects(_CASES), st.dictionaries(st.text("fab/#01", max_size=8), st.lists(_LINES, max_size=3), max_size=8))
@settings(max_examples=200, deadline=None)
def test_whatever_is_sent_is_read_or_told_to_be_wrong(case: Case, form: dict[str, list[str]]) -> None:
    schema, _ = case
    found = read(form_of(schema), MAIN, form).checked(schema)
    assert all(found.name_of(fault) is not None for fault in found.faults)


def _types(value: Json) -> Json:
    """Booleans told from numbers, which are equal to them; 1 and 1.0 are the same number."""
    if (inside := as_object(value)) is not None:
        return {name: _types(inner) for name, inner in inside.items()}
    if isinstance(value, list):
        return [_types(inner) for inner in as_list(value)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


# Values that are only shown


def test_an_answer_is_told_in_the_words_and_the_order_of_the_form() -> None:
    schema = object_of(
        way={"oneOf": [{"const": 1, "title": "By rail"}, {"const": 2}], "title": "Which way?"},
        tags={"type": "array", "items": {"enum": ["a", True]}},
        lines={"type": "array", "items": object_of(sku={"type": "string", "title": "SKU"})},
    )
    schema["x-order"] = ["way", "lines", "tags"]
    value: Json = {"lines": [{"sku": "A-1"}], "tags": [True, "a"], "way": 1, "more": {"than": "asked"}}
    told = filled_in(form_of(schema), value).pairs
    assert [label for label, _ in told] == ["Which way?", "Lines", "Tags", "More"]
    way, lines, tags, _ = (each for _, each in told)
    assert way.text == "By rail"
    assert lines.items[0].pairs[0][0] == "SKU"
    assert [item.text for item in tags.items] == ["Yes", "a"]
    assert filled_in(form_of(schema), {"way": "unknown"}).pairs[0][1].text == "unknown"


def test_values_are_shown_as_texts_lists_pairs_and_tables() -> None:
    kinds = {"text": "short", "long": "two\nlines", "number": 5, "nothing": [], "pairs": {"a": 1}, "list": [1, 2]}
    assert {kind: shown(value).kind for kind, value in kinds.items()} == {kind: kind for kind in kinds}
    table = shown([{"name": "a", "price": 1}, {"name": "b"}])
    assert (table.kind, table.columns, table.rows[1][1].kind) == ("table", ("Name", "Price"), "nothing")
    deep: Json = "end"
    for _ in range(50):
        deep = {"in": deep}
    assert shown(deep).kind == "pairs"
    assert (shown(True).text, shown(False).text) == ("Yes", "No")
