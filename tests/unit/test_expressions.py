"""Expressions and templates: what they read, what they give, and how they fail."""

import timeit
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead_engine.expressions import (
    MAX_SOURCE,
    ExpressionFailed,
    ExpressionInvalid,
    Reference,
    Scope,
    compile_expression,
    compile_template,
)

SCOPE = Scope(
    input={"amount": 12.5, "count": 3, "tier": "gold", "items": [{"name": "a"}, 2], "a b": 1, "huge": 2**70},
    variables={"limit": 50},
    execution={"id": "0198"},
    blocks={"score": {"risk": 60}, "pay": {"error": {"message": "no route"}}},
    absent=frozenset({"skipped", "pay"}),
    secrets={"token": "s3cr3t"},
)
TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(TEXT, max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def value_of(source: str) -> Any:
    return compile_expression(source).evaluate(SCOPE)


def render(template: Any) -> Any:
    return compile_template(template).evaluate(SCOPE)


def references_of(source: str) -> set[Reference]:
    return set(compile_expression(source).references)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("blocks.score.risk > vars.limit", True),
        ('blocks["score"].risk', 60),
        ("input.amount > 12", True),
        ("input.items[0].name + execution.id", "a0198"),
        ("input.items.map(item, item)", [{"name": "a"}, 2]),
        ("input['a b']", 1),
        ("input.tier.startsWith('go') ? blocks.score : {}", {"risk": 60}),
        ("{'list': [1, 2.5, null, 'text', true]}", {"list": [1, 2.5, None, "text", True]}),
        ("'it\\'s ' + input.tier", "it's gold"),
        ("input.tier // blocks.nobody\n == 'gold'", True),
        (".input.tier", "gold"),
        ("size('héllo')", 5),
    ],
)
def test_an_expression_gives_a_plain_json_value(source: str, expected: Any):
    assert value_of(source) == expected


def test_times_and_lengths_of_time_become_text():
    assert value_of("timestamp('2030-01-31T10:00:00+01:00')") == "2030-01-31T09:00:00Z"
    assert value_of("duration('1h30m')") == "5400s"


@pytest.mark.parametrize("source", ["b'abc'", "{1: 2}", "type(1)", "0.0 / 0.0"])
def test_a_result_that_json_cannot_hold_is_an_error_and_not_a_guess(source: str):
    with pytest.raises(ExpressionFailed):
        value_of(source)


@pytest.mark.parametrize(
    ("source", "place"),
    [("1 +", "line 1, column 4"), ("(\n1 +\n foo)", "line 3, column 2"), ("input.map(input, 1)", "line 1, column 11")],
)
def test_an_invalid_expression_is_refused_with_its_place(source: str, place: str):
    with pytest.raises(ExpressionInvalid, match=place):
        compile_expression(source)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(ExpressionInvalid, match=r"'inputs.*known are blocks, event, execution, input, loop"):
        compile_expression("inputs.amount")


@pytest.mark.parametrize(
    "source", ["blocks", "blocks[input.id]", "blocks.exists(id, true)", 'blocks["a" + "b"]', "blocks[0]", "secrets"]
)
def test_a_block_must_be_named_literally(source: str):
    with pytest.raises(ExpressionInvalid, match="say which"):
        compile_expression(source)


def test_a_source_that_is_too_long_is_refused():
    with pytest.raises(ExpressionInvalid, match=str(MAX_SOURCE)):
        compile_expression("1+" * MAX_SOURCE + "1")


def test_our_own_names_are_not_for_expressions():
    with pytest.raises(ExpressionInvalid, match="not for expressions"):
        compile_expression("[1].map(__playhead_0, __playhead_0 + input.count)")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("blocks.score.risk", {Reference("blocks", ("score", "risk"))}),
        ('blocks["score"]["risk"]', {Reference("blocks", ("score", "risk"))}),
        ("has(blocks.score.risk)", {Reference("blocks", ("score", "risk"))}),
        ("input.name.size()", {Reference("input", ("name",))}),
        ("input.items[vars.at].name", {Reference("input", ("items",)), Reference("vars", ("at",))}),
        ("input.items[0].name", {Reference("input", ("items",))}),
        ("""'input.x' + "blocks.y" + r'vars.z' + '''secrets.q'''""", set[Reference]()),
        ("blocks.score.input.vars", {Reference("blocks", ("score", "input", "vars"))}),
        ("input.list.map(block, block.input)", {Reference("input", ("list",))}),
        ("{'a': secrets.token}", {Reference("secrets", ("token",))}),
        ("input", {Reference("input", ())}),
    ],
)
def test_what_an_expression_reads_is_known_without_running_it(source: str, expected: set[Reference]):
    assert references_of(source) == expected


@pytest.mark.parametrize(
    "source",
    ["blocks.skipped", "blocks.skipped.answer.approved", "blocks.skipped.list[0].name", "blocks.pay.status"],
)
def test_a_block_that_gave_nothing_reads_as_null_however_deep(source: str):
    assert value_of(source) is None


def test_what_there_is_of_an_absent_block_can_be_read():
    assert value_of("blocks.pay.error.message") == "no route"
    assert value_of("blocks.pay") == {"error": {"message": "no route"}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("has(blocks.skipped.answer)", False),
        ("has(blocks.skipped)", False),
        ("has(blocks.pay.error)", True),
        ("has((blocks.score.risk))", True),
        ("has(input.nothing)", False),
        ("blocks.skipped == null || blocks.skipped.answer.approved", True),
        ("has(input.nothing) && input.nothing.more > 1", False),
        ("input.tier == 'gold' ? 1 : input.nothing", 1),
    ],
)
def test_one_can_ask_whether_something_is_there_and_what_is_not_needed_may_be_missing(source: str, expected: Any):
    assert value_of(source) is expected or value_of(source) == expected


def test_a_missing_field_of_what_is_there_is_an_error_that_names_expression_and_place():
    with pytest.raises(ExpressionFailed) as failed:
        value_of("input.amont > 10.0")
    assert str(failed.value) == (
        "input.amont > 10.0: there is no input.amont: input has a b, amount, count, huge, items, tier"
    )


def test_a_null_that_comes_from_a_skipped_block_is_explained_when_it_does_not_fit():
    with pytest.raises(ExpressionFailed, match=r"blocks\.skipped gave nothing and reads as null"):
        value_of("blocks.skipped.risk > 5")


@pytest.mark.parametrize("source", ["input.amount * 2", "input.count * 1.5"])
def test_mixing_whole_numbers_and_fractions_fails_with_what_to_write(source: str):
    with pytest.raises(ExpressionFailed, match=r"double\(\.\.\.\)"):
        value_of(source)


def test_whole_numbers_and_fractions_compare():
    assert value_of("input.amount > 12 && input.count < 3.5") is True


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "divide by zero"),
        ("input.items[7].name", r"no input\.items\[7\]: input\.items is a list of 2"),
        ("input.count.more", r"input\.count is a number"),
        ("9223372036854775807 + input.count", "overflow"),
        ("input.huge + 1", r"input\.huge is a whole number of more than 64 bits"),
        ("[input] == []", r"out of range for 'input\['huge'\]"),
    ],
)
def test_a_failure_says_why(source: str, reason: str):
    with pytest.raises(ExpressionFailed, match=reason):
        value_of(source)


def test_nested_loops_run_into_the_budget_and_not_on_for_ever():
    source = "1"
    for depth in range(5):
        source = f"[1,2,3,4,5,6,7,8,9,10].map(v{depth}, {source})"
    with pytest.raises(ExpressionFailed, match="10,000 steps"):
        value_of(source)


def test_a_secret_never_stands_in_a_failure():
    with pytest.raises(ExpressionFailed) as failed:
        value_of("int(secrets.token) + timestamp(secrets.token).getSeconds()")
    assert "s3cr3t" not in str(failed.value)


def test_a_template_that_is_one_expression_keeps_the_type_of_the_value():
    assert render("{{ blocks.score }}") == {"risk": 60}
    assert render("{{ input.huge }}") == 2**70
    assert render("{{ blocks.skipped.answer }}") is None


def test_in_other_text_values_are_written_out():
    template = "{{ input.tier }}, {{ blocks.skipped.x }}, {{ true }}, {{ input.items }}, {{ input.amount }}"
    assert render(template) == 'gold, , true, [{"name":"a"},2], 12.5'
    assert render(" {{ input.count }}") == " 3"


def test_braces_and_quotes_inside_of_an_expression_do_not_end_it():
    assert render("{{ {'a': {'b': 1}}.a.b }}") == 1
    assert render("{{ '}}' }}!") == "}}!"
    assert render("{{ 'a\\'}}' }}") == "a'}}"
    assert render('{{ "{{" }}') == "{{"


@pytest.mark.parametrize("text", ["{{ input.count", "a {{ 'b }} c' ", "{{"])
def test_an_expression_that_is_never_closed_is_refused(text: str):
    with pytest.raises(ExpressionInvalid, match="not closed"):
        compile_template(text)


def test_templates_are_found_in_values_and_not_in_keys():
    template = compile_template({"{{ key }}": ["{{ input.count }}", {"deep": "{{ vars.limit }}%"}, 1]})
    assert template.evaluate(SCOPE) == {"{{ key }}": [3, {"deep": "50%"}, 1]}
    assert template.references == {Reference("input", ("count",)), Reference("vars", ("limit",))}
    assert not template.is_constant


def without_braces(value: Any) -> bool:
    match value:
        case str():
            return "{{" not in value
        case list():
            return all(without_braces(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return all(without_braces(item) for item in value.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return True


@given(json_values.filter(without_braces))
def test_a_template_without_braces_renders_to_itself(value: Any):
    template = compile_template(value)
    assert template.is_constant
    assert template.references == frozenset()
    assert template.evaluate(SCOPE) == value


@pytest.mark.parametrize("name", ["gold\0", ["gold\0"], {"gold\0": 1}])
def test_text_with_a_zero_in_it_is_refused_and_never_cut_short(name: Any):
    scope = Scope(input={"name": name}, variables={}, execution={}, blocks={}, absent=frozenset())
    assert compile_expression("input.name").evaluate(scope) == name
    with pytest.raises(ExpressionFailed, match=r"input\.name holds the character U\+0000"):
        compile_expression("input.name == 'gold'").evaluate(scope)
    with pytest.raises(ExpressionInvalid, match=r"U\+0000"):
        compile_expression("true\0 && false")


@given(json_values)
def test_a_value_that_is_read_comes_out_as_it_went_in(value: Any):
    scope = Scope(input={"value": value}, variables={}, execution={}, blocks={}, absent=frozenset())
    assert compile_expression("input.value").evaluate(scope) == value
    assert compile_expression("[input.value][0]").evaluate(scope) == value  # the way through CEL


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused(text: str):
    with suppress(ExpressionInvalid):
        compile_expression(text)
    with suppress(ExpressionInvalid):
        compile_template("{{" + text)


def test_evaluating_costs_microseconds_however_large_the_scope():
    blocks: dict[str, Any] = {f"block_{number}": {"rows": list(range(1_000))} for number in range(10)}
    scope = Scope({"big": ["x"] * 10_000}, {}, {}, {**blocks, "score": {"risk": 60}}, frozenset())
    expression = compile_expression("blocks.score.risk > 50")
    best = min(timeit.repeat(lambda: expression.evaluate(scope), number=1_000, repeat=5)) / 1_000
    assert best < 30e-6


def test_an_expression_that_costs_too_much_is_a_failure_that_names_the_limit():
    scope = Scope(input=list(range(200)), variables={}, execution={}, blocks={}, absent=frozenset())
    with pytest.raises(ExpressionFailed, match="10,000 steps"):
        compile_expression("input.all(a, input.all(b, a + b >= 0))").evaluate(scope)
    long = Scope(input=list(range(2001)), variables={}, execution={}, blocks={}, absent=frozenset())
    with pytest.raises(ExpressionFailed, match=r"input has more than 2,000 items"):
        compile_expression("input.map(x, x + 1)").evaluate(long)
    assert compile_expression("size(input)").evaluate(long) == 2001
