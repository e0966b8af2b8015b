"""Personal values in the core: what marks reach, and that nothing which holds one is left open."""

from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead_contracts.errors import InvalidDocument
from playhead_contracts.events import (
    BlockCompleted,
    BlockError,
    BlockFailed,
    ExecutionCreated,
    Json,
    PauseResolved,
    Personal,
    Seal,
    decode_data,
    encode_data,
)
from playhead_contracts.ids import BlockPath, TenantId
from playhead_engine.documents import parse
from playhead_engine.folding import evolve
from playhead_engine.graph import Graph, build_graph
from playhead_engine.privacy import (
    PersonalChild,
    SubjectUnknown,
    inherited,
    marked_in,
    personal_of,
    seal_of,
    subject_of,
)
from playhead_engine.rerun import RerunOrder
from playhead_eventlog.sealing import FORGOTTEN, FORGOTTEN_TEXT, BrokenSeal, Key, open_fields, open_value, seal_fields
from tests.unit.graphs import PERSON, TRAITS, Case, World

MARK = "Quastenflosser"
KEY_ID = "00000000-0000-4000-8000-000000000001"
KEY, TENANT = Key(b"k" * 32), TenantId("acme")

SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "x-personal": True},
        "plain": {"type": "string"},
        "deep": {"type": "object", "properties": {"name": {"x-personal": True}, "plain": {"type": "string"}}},
        "list": {"type": "array", "items": {"x-personal": True}},
    },
}
GIVEN: dict[str, Json] = {
    "name": MARK,
    "plain": "p",
    "deep": {"name": f"deep {MARK}", "plain": "q"},
    "list": ["a", f"{MARK} in a list"],
}
READS = (
    *("input.name", "input.plain", "input.deep", "input.deep.name", "input.deep.plain", "input.list", "input.list[1]"),
    *("input", "vars.v", "vars.w", "vars", "execution.id"),
)


class Telling(World):
    """Blocks give, and fail with, everything that they were given; people say something personal where asked for it."""

    def _finish_one(self) -> None:
        run = self.runs.pop(self.random.randrange(len(self.runs)))
        own: Any = {} if run.effects else {"started_at": run.started_at, "inputs": run.inputs}
        block = self.state.blocks[run.path]
        result: BlockCompleted | BlockFailed
        if self.graph.node(run.path).path in self.case.fails and block.retries < self.case.failures:
            error = BlockError(type="broken", message=f"cannot do {run.inputs}", details={"got": run.inputs})
            result = BlockFailed(path=run.path, attempt=run.attempt, error=error, **own)
        else:
            result = BlockCompleted(path=run.path, attempt=run.attempt, outputs={"got": run.inputs}, **own)
        self._append([self._finished(result)])
        self._step([run.path])

    def _finished(self, result: BlockCompleted | BlockFailed) -> Any:
        from playhead_engine.scheduling import finish

        return finish(self.graph, self.state, self._moment(), result)

    def _answer_one(self) -> None:
        pause = self.random.choice(self.state.open_pauses())
        says = MARK if pause.form is not None and marked_in(pause.form) else "yes"
        resolved = PauseResolved(
            pause_id=pause.pause_id,
            path=pause.path,
            resolution="answered",
            answer={"says": says},
            comment=f"{pause.message} {pause.show}: {says}",
            digest=pause.digest,
        )
        evolve(self.state, resolved, self.state.version + 1, self.now, PERSON)
        self._write([resolved], PERSON)
        self._step(None)


@st.composite
def bodies(draw: st.DrawFn, prefix: str, depth: int, readable: tuple[str, ...], able: list[str]) -> dict[str, Json]:
    """A chain of blocks, each of which may read what marks may have reached."""
    size = draw(st.integers(1, 5 if depth == 2 else 3))
    names = [f"{'bcd'[2 - depth]}{index}" for index in range(size)]
    blocks: dict[str, Json] = {}
    reads = list(readable)
    for index, name in enumerate(names):

        def text(reads: list[str] = reads) -> str:
            return "{{ " + draw(st.sampled_from(reads)) + " }}"

        kinds = ["act", "pure", "variables", "human", "publish", "router", "condition", "response", "wait"]
        kind = draw(st.sampled_from(kinds + (["loop", "parallel"] if depth else [])))
        block: dict[str, Json] = {"type": kind}
        following = names[index + 1 : index + 2]
        match kind:
            case "act" | "pure":
                block |= {"config": {"x": text(), "y": f"a {text()} b"}, "continue_on_error": True}
                able.append(prefix + name)
            case "variables":
                block["set"] = {draw(st.sampled_from(["v", "w"])): f"{text()}!"}
            case "human":
                block |= {"message": f"? {text()}", "show": {"it": text()}}
                block["form"] = {"type": "object", "properties": {"says": {"x-personal": draw(st.booleans())}}}
            case "publish":
                block |= {"event": "done", "data": text(), "subject": f"s {text()}"}
            case "router":
                block["route"] = f"string({draw(st.sampled_from(reads))})"
                block["next"] = {"else": following}
            case "condition":
                block["cases"] = {"first": f"string({draw(st.sampled_from(reads))}) == 'q'"}
                block["next"] = {"first": following, "else": following}
            case "response":
                block["body"] = text()
                following = []
            case "wait":
                block |= {"for": f"5s{text()}" if draw(st.booleans()) else "5s"}
            case _:
                root = "loop" if kind == "loop" else "parallel"
                inside = (*reads, f"{root}.item", f"{root}.index", f"blocks.{name}.item")
                inside += (f"{root}.previous",) if kind == "loop" else ()
                block["blocks"] = draw(bodies(f"{prefix}{name}/", depth - 1, inside, able))
                items: Json = draw(st.sampled_from(["input.list", ["x", text()], ["x"]]))
                block |= {"for_each" if kind == "loop" else "collection": items}
                if draw(st.booleans()):
                    block["result"] = text(list(inside))
                block["continue_on_error"] = True
        if kind not in ("router", "condition", "response"):
            block["next"] = following
        blocks[name] = block
        if kind == "response":
            break
        reads = [*reads, f"blocks.{name}"]
    return blocks


@st.composite
def documents(draw: st.DrawFn) -> tuple[Case, dict[str, Json]]:
    able: list[str] = []
    document: dict[str, Json] = {
        "id": "random",
        "personal": {"subject": "{{ input.plain }}"},
        "input": SCHEMA,
        "variables": {"v": "", "w": ""},
        "blocks": draw(bodies("", 2, READS, able)),
    }
    if draw(st.booleans()):
        ends = [f"blocks.{name}" for name in cast("dict[str, Json]", document["blocks"])]
        document["output"] = "{{ " + draw(st.sampled_from([*READS, *ends])) + " }}"
    fails = frozenset(draw(st.sets(st.sampled_from(able), max_size=2))) if able else frozenset[str]()
    return Case(document, fails, 1), document


def left_open(world: World, personal: Personal) -> list[str]:
    """The facts that still hold what is personal when they are sealed as they say; and the sealed ones must decode."""
    found: list[str] = []
    for event in world.stream:
        data = event.data
        if isinstance(data, ExecutionCreated):
            data = msgspec.structs.replace(data, personal=personal)
        seal = seal_of(personal, data)
        content = encode_data(data)
        stored, done = (content, None) if seal is None else seal_fields(content, seal, KEY, TENANT)
        if MARK.encode() in stored:
            found.append(f"{stored!r} {seal}")
        assert decode_data(stored).type_name() == data.type_name()
        if done is not None:
            assert open_fields(stored, done, {KEY_ID: KEY}, TENANT) == content
            assert MARK.encode() not in open_fields(stored, done, {KEY_ID: None}, TENANT)
            decode_data(open_fields(stored, done, {KEY_ID: None}, TENANT))
    return found


@given(documents(), st.integers(0, 2**32), st.data())
@settings(max_examples=250, deadline=None)
def test_nothing_personal_is_left_open_in_any_fact_of_any_workflow_or_of_its_fork(
    made: tuple[Case, dict[str, Json]], seed: int, data: st.DataObject
) -> None:
    case, _ = made
    world = Telling(case, seed, given=GIVEN)
    world.run_to_the_end()
    personal = personal_of(world.graph, KEY_ID)
    assert left_open(world, personal) == []
    start = data.draw(st.sampled_from(list(world.graph.nodes)))
    plan, fork = world.rerun(RerunOrder(targets=(start,), input=GIVEN, variables={"v": "", "w": ""}))
    fork.__class__ = Telling
    fork.run_to_the_end()
    assert plan.blocks
    assert left_open(fork, personal_of(fork.graph, KEY_ID, personal)) == []


def graph_of(**document: Any) -> Graph:
    whole = {"id": "w", "input": SCHEMA, "personal": {"subject": "{{ input.plain }}"}, **document}
    return build_graph(parse(whole, TRAITS), TRAITS)


def test_what_reads_nothing_marked_stays_readable() -> None:
    graph = graph_of(
        variables={"v": "", "w": ""},
        blocks={
            "a": {"type": "pure", "config": {"x": "{{ input.plain }}"}, "next": "b"},
            "b": {"type": "pure", "config": {"x": "{{ input.deep.plain }} {{ blocks.a }}"}, "next": "c"},
            "c": {"type": "variables", "set": {"v": "{{ input.name }}"}, "next": "d"},
            "d": {"type": "pure", "config": {"x": "{{ vars.w }}"}, "next": "e"},
            "e": {"type": "pure", "config": {"x": "{{ vars.v }}"}},
        },
        output={"x": "{{ blocks.d }}"},
    )
    personal = personal_of(graph, KEY_ID)
    assert personal == Personal(
        key_id=KEY_ID,
        input=("/list", "/name", "/deep/name"),
        variables=("v",),
        blocks=(BlockPath("c"), BlockPath("e")),
        output=False,
    )


@pytest.mark.parametrize(
    ("schema", "marks"),
    [
        ({"x-personal": True}, ((),)),
        ({"properties": {"a": {"x-personal": False}}}, ()),
        ({"allOf": [{"properties": {"a": {"x-personal": True}}}], "if": {}, "then": {}}, (("a",),)),
        ({"properties": {"a": {"additionalProperties": {"x-personal": True}}}}, (("a",),)),
        ({"properties": {"a": {"prefixItems": [{}, {"properties": {"b": {"x-personal": True}}}]}}}, (("a",),)),
        ({"properties": {"p": {"$ref": "#/$defs/p"}}, "$defs": {"p": {"properties": {"n": {"x-personal": True}}}}},
         (("p", "n"),)),
        ({"properties": {"p": {"$ref": "#p"}}, "$defs": {"p": {"$anchor": "p", "x-personal": True}}}, (("p",),)),
        ({"$defs": {"t": {"properties": {"n": {"x-personal": True}, "t": {"$ref": "#/$defs/t"}}}}, "$ref": "#/$defs/t"},
         (("n",), ("t",))),
        ({"properties": {"x-personal": {"type": "string"}}}, ()),
    ],
)  # fmt: skip
def test_marks_are_found_wherever_a_schema_may_say_them(schema: Json, marks: Any) -> None:
    assert marked_in(schema) == marks


def faults_of(**document: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDocument) as refused:
        parse({"id": "w", "blocks": {"a": {"type": "pure"}}, **document}, TRAITS)
    return [(fault.pointer, fault.hint or "") for fault in refused.value.errors]


def test_a_mark_needs_somebody_whose_it_is_and_every_fault_has_its_place() -> None:
    [(where, hint)] = faults_of(input={"properties": {"a": {"x-personal": True}}})
    assert where == "#/input/properties/a/x-personal"
    assert "personal: {subject" in hint
    form = {"type": "object", "properties": {"a": {"x-personal": "yes"}}}
    human = {"type": "human", "message": "?", "actions": {"go": {"form": form}}}
    assert [where for where, _ in faults_of(blocks={"h": human})] == [
        "#/blocks/h/actions/go/form/properties/a/x-personal"
    ]
    for subject in ("{{ blocks.a.x }}", "{{ input. }}", "always the same"):
        assert [where for where, _ in faults_of(personal={"subject": subject})] == ["#/personal/subject"]
    assert [where for where, _ in faults_of(personal={})] == ["#/personal/subject"]


def test_who_may_answer_cannot_be_personal() -> None:
    asks = {"type": "human", "message": "?", "assignees": ["group:a", "{{ input.name }}"]}
    found = faults_of(input=SCHEMA, personal={"subject": "{{ input.plain }}"}, blocks={"h": asks})
    assert [where for where, _ in found] == ["#/blocks/h/assignees/1"]


def created(given: Json) -> ExecutionCreated:
    return ExecutionCreated(workflow_id="w", workflow_version=1, digest="d", input=given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "given", [{}, {"plain": ""}, {"plain": "  "}, {"plain": None}, {"plain": "x" * 501}, {"plain": "a\0"}, None]
)
def test_a_subject_that_cannot_be_told_is_refused(given: Json) -> None:
    graph = graph_of(blocks={"a": {"type": "pure"}})
    with pytest.raises(SubjectUnknown) as refused:
        subject_of(graph, created(given))
    assert refused.value.errors[0].pointer == "#/input"
    assert subject_of(graph, created({"plain": 7})) == "7"


def test_a_child_of_a_reached_block_seals_all_that_it_is_given_and_one_of_another_is_refused() -> None:
    child = build_graph(
        parse({"id": "c", "blocks": {"a": {"type": "pure", "config": {"x": "{{ input.x }}"}}}}, TRAITS), TRAITS
    )
    parent = Personal(KEY_ID, blocks=(BlockPath("each/start"),))
    its = inherited(child, parent, BlockPath("each[3]/start"), created({"x": 1}))
    assert its == Personal(KEY_ID, input=("",), blocks=(BlockPath("a"),), output=True)
    assert inherited(child, parent, BlockPath("other"), created({})) is None
    assert inherited(child, None, BlockPath("other"), created({})) is None
    with pytest.raises(PersonalChild):
        inherited(graph_of(blocks={"a": {"type": "pure"}}), None, BlockPath("start"), created({}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    JSON_VALUES,
    st.lists(st.sampled_from(["/a", "/a/b", "/b", "/a~1b", "/n/x/y", "/none", "/a/b/key"]), max_size=4, unique=True),
)
def test_what_is_sealed_opens_to_the_very_bytes_it_was(value: Json, fields: list[str]) -> None:
    document = {"a": value, "b": [value], "a/b": {"c": value}, "n": {"x": value}}
    data = msgspec.json.encode(document, order="sorted")
    sealed, seal = seal_fields(data, Seal(KEY_ID, tuple(fields)), KEY, TENANT)
    if seal is None:
        assert sealed == data
        return
    assert open_fields(sealed, seal, {KEY_ID: KEY}, TENANT) == data
    # What is open already stays so.
    assert open_fields(data, seal, {KEY_ID: KEY}, TENANT) == data


def test_a_seal_is_bound_to_its_tenant_its_key_and_every_bit() -> None:
    data = b'{"a":{"b":"secret"},"t":"text"}'
    sealed, seal = seal_fields(data, Seal(KEY_ID, ("/a", "/t")), KEY, TENANT)
    assert seal is not None
    with pytest.raises(BrokenSeal):
        open_fields(sealed, seal, {KEY_ID: KEY}, TenantId("other"))
    with pytest.raises(BrokenSeal):
        open_fields(sealed, seal, {KEY_ID: Key(b"x" * 32)}, TENANT)
    forgotten = msgspec.json.decode(open_fields(sealed, seal, {KEY_ID: None}, TENANT))
    assert forgotten == {"a": FORGOTTEN, "t": FORGOTTEN_TEXT}
    shown = msgspec.json.decode(sealed)
    assert open_value(shown, {"another": KEY}, TENANT) == shown
    assert open_value(shown, {KEY_ID: KEY}, TENANT) == msgspec.json.decode(data)
    # The same value twice is not the same text twice.
    assert seal_fields(data, Seal(KEY_ID, ("/a",)), KEY, TENANT) != seal_fields(
        data, Seal(KEY_ID, ("/a",)), KEY, TENANT
    )


def test_a_value_that_looks_sealed_and_is_not_listed_stays_what_it_is() -> None:
    sealed, seal = seal_fields(b'{"a":"x"}', Seal(KEY_ID, ("/a",)), KEY, TENANT)
    stolen = sealed.replace(b'{"a":', b'{"b":')
    assert seal is not None
    assert open_fields(stolen, seal, {KEY_ID: KEY}, TENANT) == stolen
