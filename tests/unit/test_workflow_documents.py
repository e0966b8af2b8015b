"""Workflow documents: reading text, one digest, and every fault at its place."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.base_blocks import BaseBlock
from playhead_contracts.canonical import canonical_document
from playhead_contracts.errors import Fault, InvalidDocument
from playhead_contracts.events import WorkflowPublished, decode_data, encode_data
from playhead_contracts.human import HumanBlock
from playhead_contracts.pointers import pointer
from playhead_contracts.workflow import ConditionBlock, CustomBlock, WaitBlock, WorkflowDocument
from playhead_contracts.workflow_text import MAX_NODES, canonical_json, digest_of, read_document
from playhead_engine.documents.check import BlockTraits, check, parse
from playhead_engine.graph import build_graph
from playhead_engine.limits import DEFAULT_LIMITS

EXAMPLE = Path(__file__).parents[2] / "examples" / "refund-review.yaml"


def document(**blocks: dict[str, Any]) -> dict[str, Any]:
    return {"id": "a-workflow", "blocks": blocks}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "code": "1", **fields}


def faults_of(raw: dict[str, Any]) -> dict[str, Fault]:
    return {fault.pointer: fault for fault in check(raw).faults}


def refusal_of(text: str | bytes, media: Any = "yaml") -> tuple[Fault, ...]:
    with pytest.raises(InvalidDocument) as refused:
        read_document(text if isinstance(text, bytes) else text.encode(), media)
    return refused.value.errors


# Text


def test_yaml_is_read_by_its_core_schema_alone():
    text = b"a: no\nb: on\nc: 2030-01-31\nd: 1e3\ne: 0o17\nf: ~\ng: '1'\nh: 1_000\ni: 1:30\nj: 0x1F\nk: True\nl:"
    assert read_document(text, "yaml") == {
        "a": "no", "b": "on", "c": "2030-01-31", "d": 1000.0, "e": 15, "f": None,
        "g": "1", "h": "1_000", "i": "1:30", "j": 31, "k": True, "l": None,
    }  # fmt: skip


def test_an_alias_stands_for_its_anchor():
    assert read_document(b"a: &x {b: [1]}\nc: *x", "yaml") == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "media", "where", "detail"),
    [
        ("a:\n  b: [1", "yaml", "#", "line 3, column 1"),
        ('{"a": 1,\n "b" 2}', "json", "#", "line 2, column 6"),
        ("a:\n  b: 1\n  b: 2", "yaml", "#/a/b", "'b' stands twice: at line 2, column 3 and at line 3, column 3"),
        ('{"a": {"b/c": 1, "b/c": 2}}', "json", "#/a/b~1c", "'b/c' stands twice"),
        ("a: *nothing", "yaml", "#/a", "no anchor &nothing"),
        ("a: &x [*x]", "yaml", "#/a/0", "inside of what it names"),
        ("a: !!python/name:os.system x", "yaml", "#/a", "tags"),
        ("1: x", "yaml", "#", "the key 1 is no text"),
        ("? [a]\n: x", "yaml", "#", "a key is text"),
        ("a: 1\n---\nb: 2", "yaml", "#", "second document"),
        ("a: .inf", "yaml", "#/a", "finite"),
        ("a: 1e999", "yaml", "#/a", "finite"),
        ('{"a": 1e999}', "json", "#/a", "finite"),
        ('{"a": NaN}', "json", "#", "NaN is no JSON number"),
        ('{"a": 99999999999999999999}', "json", "#/a", "64 bits"),
        ("a: 18446744073709551615", "yaml", "#/a", "64 bits"),
        ("a: " + "9" * 5_000, "yaml", "#/a", "64 bits"),
        ('{"a": "\\ud800"}', "json", "#/a", "surrogate"),
        ("[1]", "json", "#", "a workflow document is a mapping"),
        ("", "yaml", "#", "a workflow document is a mapping"),
        ("[" * 100_000, "json", "#", "nested deeper"),
        (b"\xff", "yaml", "#", "not UTF-8"),
        ("a: \x01", "yaml", "#", "control characters"),
    ],
)
def test_text_that_is_no_document_is_refused_at_its_place(text: str | bytes, media: str, where: str, detail: str):
    faults = refusal_of(text, media)
    assert [fault.pointer for fault in faults] == [where]
    assert detail in faults[0].detail


def test_deeply_nested_yaml_is_refused_before_it_is_built():
    assert "nested deeper" in refusal_of("[" * 100_000)[0].detail


def test_aliases_that_would_expand_to_too_much_are_refused_before_they_do():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert str(MAX_NODES) in refusal_of("\n".join(lines))[0].detail


def test_every_fault_of_a_text_is_told():
    assert [fault.pointer for fault in refusal_of("a: 1\na: 2\nb: .nan")] == ["#/a", "#/b"]


class QuotingDumper(yaml.SafeDumper):
    """Writes text in quotes, since PyYAML would leave out those that only YAML 1.1 can do without."""


def _represent_text(_: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style='"')


QuotingDumper.add_representer(str, _represent_text)

json_documents = st.dictionaries(
    st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF, exclude_characters="\x7f"), max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=12),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc~/ é", max_size=4), inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)


@given(json_documents)
def test_a_document_has_one_digest_in_yaml_and_in_json(raw: dict[str, Any]):
    from_json = read_document(json.dumps(raw).encode(), "json")
    from_yaml = read_document(yaml.dump(raw, Dumper=QuotingDumper, sort_keys=False).encode(), "yaml")
    assert from_yaml == from_json == raw
    assert digest_of(from_yaml) == digest_of(from_json)


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})
    assert canonical_json({"b": "é", "a": 1.0}) == '{"a":1.0,"b":"é"}'.encode()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(text: bytes):
    for media in ("json", "yaml"):
        with suppress(InvalidDocument):
            assert digest_of(read_document(text, media)).startswith("sha256:")


# Blocks


def test_edges_are_told_by_handle():
    raw = document(
        gate={
            "type": "condition", "cases": {"high": "true"},
            "next": {"high": ["a", "b"], "else": None}, "on_error": "c",
        },
        a=function(next="c", on_error=["b"]), b=function(), c={"type": "response", "body": None},
    )  # fmt: skip
    blocks = {name: block for name, block in parse(raw).blocks.items() if isinstance(block, BaseBlock)}
    assert blocks["gate"].handles == {"high": ("a", "b"), "error": ("c",)}
    assert blocks["a"].handles == {"next": ("c",), "error": ("b",)}
    assert blocks["b"].handles == blocks["c"].handles == {}


def test_a_wait_needs_exactly_one_of_for_and_until():
    for fields in ({}, {"for": "1s", "until": "2030-01-31T09:00:00Z"}):
        fault = faults_of(document(w={"type": "wait", **fields}))["#/blocks/w"]
        assert fault.detail == "needs exactly one of `for`, `until` and `events`"
    block = parse(document(w={"type": "wait", "for": "{{ vars.delay }}"})).blocks["w"]
    assert isinstance(block, WaitBlock)
    assert block.for_ == "{{ vars.delay }}"


def test_a_registered_type_of_block_is_checked_by_its_schema_unless_it_has_templates():
    schema: dict[str, Any] = {"type": "object", "properties": {"channel": {"type": "string"}}}
    custom = {"slack": BlockTraits(effects=True, config_schema=schema)}

    def checked(channel: object) -> tuple[str, ...]:
        raw = document(say={"type": "slack", "config": {"channel": channel}})
        return tuple(fault.pointer for fault in check(raw, custom).faults)

    assert checked(3) == ("#/blocks/say/config/channel",)
    assert checked("#general") == checked("{{ input.channel }}") == ()
    assert isinstance(parse(document(say={"type": "slack"}), custom).blocks["say"], CustomBlock)


# Faults


def test_the_example_is_free_of_faults_and_warnings():
    raw = read_document(EXAMPLE.read_bytes(), "yaml")
    checked = check(raw)
    assert (checked.faults, checked.warnings) == ((), ())
    assert isinstance(checked.document, WorkflowDocument)
    assert isinstance(checked.document.blocks["approve"], HumanBlock)
    decided = checked.document.blocks["decided"]
    assert isinstance(decided, ConditionBlock)
    assert decided.handles == {"yes": ("pay",), "else": ("refused",)}


@pytest.mark.parametrize(
    ("raw", "where", "detail", "hint"),
    [
        (document(a={"type": "htp"}), "#/blocks/a/type", "no type of block 'htp'", "did you mean http?"),
        (document(a={}), "#/blocks/a/type", "should be the type", "types are condition"),
        (document(a=function(nxt="a")), "#/blocks/a/nxt", "no field 'nxt'", "did you mean next?"),
        (document(a={"type": "function"}), "#/blocks/a/code", "is required", None),
        (document(a=function(timeout=30)), "#/blocks/a/timeout", "say 30s", None),
        (document(a=function(timeout="61s")), "#/blocks/a/timeout", "less than or equal to 60s", None),
        (document(a=function(memory_mb=513)), "#/blocks/a/memory_mb", "512", None),
        (document(a=function(at_most_once="yes")), "#/blocks/a/at_most_once", "boolean", None),
        (document(**{"9": function()}), "#/blocks/9", "starts with no digit", None),
        (document(a=function(next="bee"), be=function()), "#/blocks/a/next", "no block", "did you mean be?"),
        (document(a=function(next=["b", "b"]), b=function()), "#/blocks/a/next/1", "second time", None),
        (document(a={"type": "response", "body": 1, "next": "b"}, b=function()), "#/blocks/a/next", "no `next`", None),
        (
            document(a={"type": "condition", "cases": {"else": "true"}, "next": {}}),
            "#/blocks/a/cases/else", "cannot be named 'else'", None,
        ),
        (
            document(a={"type": "condition", "cases": {"high": "true"}, "next": {"hihg": "b"}}, b=function()),
            "#/blocks/a/next/hihg", "no case of a", "did you mean high?",
        ),
        (
            document(a={"type": "condition", "cases": {"high": "1 +"}}),
            "#/blocks/a/cases/high", "in `1 +`: line 1, column 4", None,
        ),
        (
            document(a={"type": "http", "url": "u", "headers": {"X/~": "{{ input. }}"}}),
            "#/blocks/a/headers/X~1~0", "in `input.`: line 1", None,
        ),
        (
            document(score=function(), b=function(inputs={"x": ["{{ blocks.scor.x }}"]})),
            "#/blocks/b/inputs/x/0", "no such block", "did you mean score?",
        ),
        (
            document(a=function(), b=function(inputs={"x": "{{ blocks.a.x }}"})),
            "#/blocks/b/inputs/x", "depends on timing", "let an edge lead from a to b",
        ),
        (document(a=function(inputs={"x": "{{ blocks.a.x }}"})), "#/blocks/a/inputs/x", "reads itself", None),
        (document(a=function(inputs={"x": "{{ secrets.k }}"})), "#/blocks/a/inputs/x", "would be recorded", None),
        ({**document(a=function()), "output": "{{ secrets.k }}"}, "#/output", "would be recorded", None),
        ({**document(a=function()), "input": {"type": "objekt"}}, "#/input/type", "not JSON Schema", None),
        ({**document(a=function()), "input": {"$ref": "http://x.y/z"}}, "#/input", "not JSON Schema", None),
        (
            document(a={"type": "human", "message": "m", "form": {"type": "array"}}),
            "#/blocks/a/form/type", "`type: object`", None,
        ),
        ({"id": "a b", "blocks": {"a": function()}}, "#/id", "should be letters", None),
        ({"id": "a", "blocks": {}}, "#/blocks", "should not be empty", None),
        ({"id": "a", "blocks": [1]}, "#/blocks", "should be a mapping", None),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_its_place_with_what_may_be_meant(
    raw: dict[str, Any], where: str, detail: str, hint: str | None
):
    faults = faults_of(raw)
    assert list(faults) == [where]
    assert detail in faults[where].detail
    if hint is not None:
        assert hint in (faults[where].hint or "")


def test_a_cycle_is_one_fault_that_names_it():
    raw = document(start=function(next="a"), a=function(next="b"), b=function(on_error="a"))
    assert [(f.pointer, f.detail) for f in check(raw).faults] == [
        ("#/blocks/b/on_error", "closes a cycle: a -> b -> a")
    ]
    assert faults_of(document(a=function(next="a")))["#/blocks/a/next"].detail == "closes a cycle: a -> a"


def test_no_fault_hides_another():
    raw = document(
        broken={"type": "http", "ulr": "x", "headers": {"X": "{{ 1 + }}"}, "next": ["reader", "nowhere"]},
        reader=function(inputs={"x": "{{ blocks.broken.body }}", "y": "{{ blocks.gone }}"}, timeout="1y"),
        strange={"type": "strange", "next": "lost"},
    )
    raw["nme"] = 1
    assert set(faults_of(raw)) == {
        "#/nme", "#/blocks/broken/ulr", "#/blocks/broken/url", "#/blocks/broken/headers/X",
        "#/blocks/broken/next/1", "#/blocks/reader/inputs/y", "#/blocks/reader/timeout",
        "#/blocks/strange/type", "#/blocks/strange/next",
    }  # fmt: skip


def test_a_refused_document_brings_all_its_faults():
    with pytest.raises(InvalidDocument) as refused:
        parse(document(a=function(next="x", timeout=3)))
    assert [fault.pointer for fault in refused.value.errors] == ["#/blocks/a/timeout", "#/blocks/a/next"]


def test_secrets_are_allowed_in_everything_that_an_http_block_sends():
    secret = "{{ secrets.key }}"
    block: dict[str, Any] = {"type": "http", "url": secret, "headers": {"A": secret}, "query": {"q": secret}}
    assert check(document(a={**block, "body": [secret]})).faults == ()


def test_the_output_may_read_any_block():
    raw = {**document(a=function(), b=function()), "output": {"a": "{{ blocks.a }}", "b": "{{ blocks.b }}"}}
    assert check(raw).faults == ()


def test_what_is_probably_not_meant_is_a_warning_and_no_fault():
    raw = document(a={"type": "condition", "cases": {"x": "input.amont > 1 && vars.limit > 1"}})
    raw["input"] = {"type": "object", "properties": {"amount": {"type": "number"}}, "additionalProperties": False}
    checked = check(raw)
    assert checked.faults == ()
    assert checked.document is not None
    assert [(warning.pointer, warning.hint) for warning in checked.warnings] == [
        ("#/blocks/a/next", None),
        ("#/blocks/a/cases/x", None),
        ("#/blocks/a/cases/x", "did you mean amount?"),
        ("#/blocks/a/cases/x", None),
    ]


def test_a_document_of_too_many_blocks_is_refused_at_once():
    raw = document(**{f"b{number}": {"type": "?"} for number in range(DEFAULT_LIMITS.max_blocks + 1)})
    assert [fault.pointer for fault in check(raw).faults] == ["#/blocks"]


def test_a_pointer_is_escaped_as_a_uri_fragment():
    assert pointer() == "#"
    assert pointer("blocks", "a/b~c", 0, "x y%é") == "#/blocks/a~1b~0c/0/x%20y%25%C3%A9"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["a", "b", "{{ blocks.a }}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "next", "on_error", "cases", "inputs", "form", "x"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["id", "blocks", "input", "output", "variables", "x"]), json_values))
def test_a_check_of_anything_finds_a_document_or_faults(raw: dict[str, Any]):
    checked = check(raw)
    assert (checked.document is None) == bool(checked.faults)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values))
def test_a_check_of_any_blocks_finds_a_document_or_faults(blocks: dict[str, Any]):
    checked = check({"id": "any", "blocks": blocks})
    assert (checked.document is None) == bool(checked.faults)


NAMES = ("a", "b", "c")
PLAIN_KINDS = ["function", "http", "human", "note", "wait"]
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(lambda text: text.replace("{", ""))


@st.composite
def bodies(draw: st.DrawFn, prefix: str = "", depth: int = 2) -> dict[str, Any]:
    """Blocks as people write them, containers within containers, with texts of every kind."""
    blocks: dict[str, Any] = {}
    names = [prefix + name for name in NAMES[: draw(st.integers(1, 3))]]
    for index, name in enumerate(names):
        kind = draw(
            st.sampled_from(["function", "http", "human", "note", "wait"] + (["loop", "parallel"] if depth else []))
        )
        texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(
            lambda text: text.replace("{", "")
        )
        # The dumper writes YAML 1.1, where `0E0` is text that needs no quotes; in 1.2 it is a number.
        texts = texts.filter(lambda text: re.match(r"[-+.]*\d", text) is None)
        block: dict[str, Any] = {"type": kind}
        match kind:
            case "function":
                block |= {
                    "code": "1",
                    "inputs": draw(st.dictionaries(texts, st.one_of(texts, st.integers(-9, 9)), max_size=2)),
                }
            case "http":
                block |= {"url": "http://x", "body": draw(st.one_of(st.none(), st.booleans(), texts, st.lists(texts)))}
            case "human":
                block |= {"message": "?" + draw(texts)}
            case "note":
                block |= {"text": draw(texts)}
            case "wait":
                block |= {"for": "1m30s"}
            case "loop":
                block |= {"for": draw(st.integers(0, 5)), "blocks": draw(bodies(f"{name}_", depth - 1))}
            case _:
                items = draw(st.lists(texts, max_size=2))
                block |= {"collection": items, "blocks": draw(bodies(f"{name}_", depth - 1))}
        later = names[index + 1 :]
        if later and kind != "note":
            block["next"] = draw(st.sampled_from(later))
        blocks[name] = block
    for block in blocks.values():
        if "next" in block and blocks[block["next"]]["type"] == "note":
            del block["next"]
    return blocks


@given(bodies(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_document_survives_yaml_and_json_with_the_same_digest(blocks: dict[str, Any], flow: bool) -> None:
    raw = {"id": "w", "blocks": blocks}
    as_yaml = read_document(yaml.safe_dump(raw, allow_unicode=True, default_flow_style=flow).encode(), "yaml")
    as_json = read_document(canonical_json(as_yaml), "json")
    back = read_document(yaml.safe_dump(as_json, sort_keys=False).encode(), "yaml")
    assert digest_of(as_yaml) == digest_of(as_json) == digest_of(back) == digest_of(raw)
    document = parse(raw)
    assert parse(as_json) == document
    assert len(list(build_graph(document).all_nodes())) == str(raw).count("'type': ") - str(raw).count("'type': 'note'")


def test_the_order_of_cases_survives_the_log_and_another_order_is_another_version() -> None:
    def written(*cases: str) -> dict[str, Any]:
        gate = {"type": "condition", "cases": dict.fromkeys(cases, "true"), "next": {"a": "x", "else": "x"}}
        return canonical_document({"id": "w", "blocks": {"gate": gate, "x": {"type": "function", "code": "1"}}})

    for order in (("z", "a", "m"), ("a", "m", "z")):
        stored = encode_data(WorkflowPublished(workflow_version=1, digest="sha256:1", document=written(*order)))
        published = decode_data(stored)
        assert isinstance(published, WorkflowPublished)
        gate = parse(published.document).blocks["gate"]
        assert isinstance(gate, ConditionBlock)
        assert tuple(gate.cases) == order
    assert digest_of(written("z", "a")) != digest_of(written("a", "z"))
    as_list = {"type": "condition", "cases": [{"z": "true"}, {"a": "true"}], "next": {"a": "x", "else": "x"}}
    same = canonical_document({"id": "w", "blocks": {"gate": as_list, "x": {"type": "function", "code": "1"}}})
    assert digest_of(same) == digest_of(written("z", "a"))
