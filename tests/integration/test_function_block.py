"""The `function` block in its real sandbox."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from playhead_contracts.events import BlockError
from playhead_contracts.workflow import FunctionBlock
from playhead_executor.blocks.contract import BlockCall, BlockFailure
from playhead_executor.blocks.function import Allowance, FunctionRunner

STARTED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDLESS = "while True:\n    pass"


def call(
    code: str,
    inputs: dict[str, Any] | None = None,
    *,
    seconds: float = 5.0,
    memory_mb: int = 64,
    key: str = "k",
) -> BlockCall:
    return BlockCall(
        execution_id="execution-1",
        path="score",
        attempt=1,
        config=FunctionBlock(type="function", code=code, timeout=timedelta(seconds=seconds), memory_mb=memory_mb),
        inputs=inputs or {},
        idempotency_key=key,
        started_at=STARTED_AT,
        log=logging.LoggerAdapter(logging.getLogger(__name__)),
    )


@pytest.fixture
async def runner() -> AsyncIterator[FunctionRunner]:
    async with FunctionRunner(workers=2) as runner:
        yield runner


async def failure(runner: FunctionRunner, called: BlockCall) -> BlockError:
    with pytest.raises(BlockFailure) as caught:
        await runner.run(called)
    return caught.value.error


async def busy(worker: psutil.Process) -> None:
    """Until the worker computes."""
    while worker.cpu_times().user < 0.05:
        await asyncio.sleep(0.01)


async def test_the_value_of_the_last_expression_is_the_output(runner: FunctionRunner) -> None:
    code = "risk = min(100, inputs['amount'] / 10)\n{'risk': risk}"
    outcome = await runner.run(call(code, {"amount": 250}))
    assert outcome.outputs == {"risk": 25.0}
    assert outcome.decision is None


@pytest.mark.parametrize(
    ("code", "value"), [("1 + 1", 2), ("x = 1", None), ("[1, 'a', None, True]", [1, "a", None, True])]
)
async def test_an_output_that_is_not_a_dict_is_wrapped(runner: FunctionRunner, code: str, value: Any) -> None:
    assert (await runner.run(call(code))).outputs == {"result": value}


async def test_tuples_come_out_as_the_lists_they_are_in_json(runner: FunctionRunner) -> None:
    assert (await runner.run(call("{'pair': (1, (2, 3))}"))).outputs == {"pair": [1, [2, 3]]}


async def test_code_cannot_change_the_inputs_of_its_caller(runner: FunctionRunner) -> None:
    inputs = {"list": [1]}
    await runner.run(call("inputs['list'].append(2)\ninputs['more'] = 3", inputs))
    assert inputs == {"list": [1]}


@pytest.mark.parametrize(
    ("code", "pointer"),
    [
        ("{1, 2}", "#"),
        ("{'a': [0, float('nan')]}", "#/a/1"),
        ("float('inf')", "#"),
        ("{'b/c': b'bytes'}", "#/b~1c"),
        ("{1: 'one'}", "#"),
        ("import datetime\n{'at': datetime.datetime.now()}", "#/at"),
        ("10 ** 400", "#"),
    ],
)
async def test_an_output_that_json_cannot_say_fails_and_names_its_place(
    runner: FunctionRunner, code: str, pointer: str
) -> None:
    error = await failure(runner, call(code))
    assert error.type == "output_not_json"
    assert error.details == {"pointer": pointer}
    assert not error.retryable


async def test_an_output_nested_too_deep_to_be_written_again_fails(runner: FunctionRunner) -> None:
    nested = "a = []\nfor _ in range({depth}):\n    a = [a]\na"
    assert (await runner.run(call(nested.format(depth=90)))).outputs
    error = await failure(runner, call(nested.format(depth=150)))
    assert error.type == "output_not_json"


@pytest.mark.parametrize(
    "code",
    ["'a' * 2_000_000", "a = [0] * 1000\nb = [a] * 1000\n[b] * 1000"],
    ids=["long text", "small in memory and endless as text"],
)
async def test_an_output_that_is_too_large_fails(runner: FunctionRunner, code: str) -> None:
    assert (await failure(runner, call(code))).type == "output_too_large"


async def test_a_large_output_below_the_limit_comes_out_whole(runner: FunctionRunner) -> None:
    outcome = await runner.run(call("list(range(50_000))"))
    assert outcome.outputs == {"result": list(range(50_000))}


@pytest.mark.parametrize("code", ["x = 1\ny = = 2", "x = 1\nyield x"])
async def test_code_that_cannot_be_read_is_a_syntax_error_with_its_line(runner: FunctionRunner, code: str) -> None:
    error = await failure(runner, call(code))
    assert error.type == "syntax_error"
    assert error.details["line"] == 2


async def test_an_exception_is_told_with_type_message_and_line(runner: FunctionRunner) -> None:
    error = await failure(runner, call("def check(x):\n    raise ValueError('too much')\n\ncheck(1)"))
    assert error.type == "code_error"
    assert error.message == "ValueError: too much"
    assert error.details == {"exception": "ValueError", "message": "too much", "line": 2}
    assert not error.retryable


async def test_the_message_of_an_exception_is_cut_short(runner: FunctionRunner) -> None:
    error = await failure(runner, call("raise ValueError('a' * 1_000_000)"))
    assert len(error.message) < 3_000


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "open('/tmp/escaped', 'w').write('x')",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "import os\nos.listdir('/')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH').lower()",
        "import os\nos.system('id')",
        "import os\nos.urandom(8)",
        "import socket",
        "import subprocess",
        "import ctypes",
        "import urllib.request",
        "import sys\nsys.modules['os']",
        "__import__('os').system('id')",
        "eval('__import__(\"os\")')",
        "exec('import socket')",
        "().__class__.__base__.__subclasses__()",
        "object.__subclasses__()",
        "getattr((), '__class__')",
        "'{0.__class__.__mro__}'.format(1)",
        "(lambda: 0).__globals__",
        "[].append.__self__.__class__",
        "try:\n    1 / 0\nexcept Exception as error:\n    error.__traceback__.tb_frame.f_globals",
        "globals()['__builtins__']",
        "print.__module__.__class__.__subclasses__()",
    ],
)
async def test_an_attempt_to_reach_outside_the_sandbox_is_an_error_of_the_code(
    runner: FunctionRunner, code: str
) -> None:
    assert (await failure(runner, call(code))).type == "code_error"


async def test_code_that_runs_too_long_is_stopped_at_its_limit(runner: FunctionRunner) -> None:
    begun = time.monotonic()
    error = await failure(runner, call(ENDLESS, seconds=0.3))
    assert error.type == "timeout"
    assert not error.retryable
    assert 0.3 <= time.monotonic() - begun < 1.3


async def test_the_time_limit_cannot_be_caught(runner: FunctionRunner) -> None:
    code = "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass"
    assert (await failure(runner, call(code, seconds=0.2))).type == "timeout"


async def test_a_single_operation_that_takes_too_long_is_stopped_too(runner: FunctionRunner) -> None:
    code = "x = 10 ** 20_000_000\nlen([x * x * x * x * x])"
    error = await failure(runner, call(code, seconds=0.3, memory_mb=512))
    assert error.type == "timeout"


async def test_printing_without_end_is_stopped_at_the_time_limit(runner: FunctionRunner) -> None:
    error = await failure(runner, call("while True:\n    print('a' * 1000)", seconds=0.3))
    assert error.type == "timeout"


async def test_printed_text_does_not_reach_our_output(
    runner: FunctionRunner, capfd: pytest.CaptureFixture[str]
) -> None:
    await runner.run(call("print('secret')"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "code",
    ["[0] * 10 ** 9", "9 ** 9 ** 9", "x = []\nwhile True:\n    x.append('a' * 1000)", "'a' * 60_000_000"],
)
async def test_code_that_needs_too_much_memory_is_stopped(runner: FunctionRunner, code: str) -> None:
    error = await failure(runner, call(code, memory_mb=32))
    assert error.type == "memory"
    assert not error.retryable
    assert (await runner.run(call("1"))).outputs == {"result": 1}


async def test_no_block_is_given_more_than_the_operator_allows() -> None:
    most = Allowance(seconds=0.2, memory_mb=16, output_bytes=1024)
    async with FunctionRunner(workers=1, most=most) as strict:
        late = await failure(strict, call(ENDLESS, seconds=60))
        large = await failure(strict, call("'a' * 30_000_000", memory_mb=512))
        wordy = await failure(strict, call("'a' * 1024"))
        assert (await strict.run(call("'a' * 1000"))).outputs == {"result": "a" * 1000}
    assert [error.type for error in (late, large, wordy)] == ["timeout", "memory", "output_too_large"]
    settings = ("SECONDS", "MEMORY_MB", "OUTPUT_BYTES")
    for error, setting in zip((late, large, wordy), settings, strict=True):
        assert f"PLAYHEAD_FUNCTION_MAX_{setting}" in error.message


@pytest.mark.parametrize("exception", ["TimeoutError", "MemoryError", "NotImplementedError"])
async def test_limits_that_code_raises_itself_are_errors_of_the_code(runner: FunctionRunner, exception: str) -> None:
    assert (await failure(runner, call(f"raise {exception}('mine')"))).type == "code_error"


async def test_endless_recursion_is_an_error_of_the_code(runner: FunctionRunner) -> None:
    error = await failure(runner, call("def f():\n    return f()\nf()"))
    assert error.details["exception"] == "RecursionError"


async def test_sleeping_takes_no_time(runner: FunctionRunner) -> None:
    begun = time.monotonic()
    outcome = await runner.run(call("import time\ntime.sleep(3600)\n'awake'", seconds=1))
    assert outcome.outputs == {"result": "awake"}
    assert time.monotonic() - begun < 1


async def test_nothing_of_one_call_is_seen_by_the_next() -> None:
    leave = "import json, os\nleft = inputs\njson.left = 1\ndef trace():\n    return left\nos.chdir('/left')"
    look = [
        ("left", "NameError"),
        ("trace()", "NameError"),
        ("import json\njson.left", "AttributeError"),
    ]
    async with FunctionRunner(workers=1) as runner:
        for attempt in ("left = inputs\ndef trace():\n    return left", "import json\njson.left = 1", leave):
            await asyncio.gather(runner.run(call(attempt, {"secret": 1})), return_exceptions=True)
            for code, exception in look:
                assert (await failure(runner, call(code))).details["exception"] == exception
            assert (await runner.run(call("import os\nos.getcwd()"))).outputs == {"result": "/"}


async def test_an_endless_call_leaves_nothing_to_the_next() -> None:
    async with FunctionRunner(workers=1) as runner:
        assert (await failure(runner, call(f"left = 1\n{ENDLESS}", seconds=0.1))).type == "timeout"
        assert (await failure(runner, call("left"))).details["exception"] == "NameError"


PURE = """
import random, time
from datetime import datetime
{
    'random': [random.random(), random.randint(0, 10 ** 9), random.Random().random()],
    'time': [time.time(), datetime.now().isoformat()],
    'order': list({'a', 'b', 'c', 'dd', 'ee', 'ff', 'ggg'}),
    'hash': hash('abc'),
}
"""


async def test_the_same_call_gives_the_same_outputs_in_another_process() -> None:
    outputs: list[Any] = []
    for _ in range(3):
        async with FunctionRunner(workers=1) as runner:
            outputs.append((await runner.run(call(PURE, key="execution-1"))).outputs)
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0]["time"] == [STARTED_AT.timestamp(), "2026-03-01T12:00:00"]


async def test_another_idempotency_key_gives_other_random_numbers(runner: FunctionRunner) -> None:
    code = "import random\nrandom.random()"
    one, two = [await runner.run(call(code, key=key)) for key in ("execution-1", "execution-2")]
    assert one.outputs != two.outputs


async def test_two_hundred_calls_at_once_each_get_their_own_answer(runner: FunctionRunner) -> None:
    code = "total = 0\nfor i in range(inputs['n']):\n    total += i\n{'n': inputs['n'], 'total': total}"
    outcomes = await asyncio.gather(*(runner.run(call(code, {"n": n})) for n in range(200)))
    assert [outcome.outputs for outcome in outcomes] == [{"n": n, "total": n * (n - 1) // 2} for n in range(200)]


async def test_calls_get_a_worker_in_the_order_in_which_they_came() -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        await runner.run(call("1"))
        done.append(number)

    async with FunctionRunner(workers=1) as runner:
        await asyncio.gather(*(one(number) for number in range(50)))
    assert done == list(range(50))


async def test_an_endless_snippet_does_not_hold_up_the_others(runner: FunctionRunner) -> None:
    endless = asyncio.create_task(failure(runner, call(ENDLESS, seconds=1.5)))
    await asyncio.sleep(0)
    await asyncio.gather(*(runner.run(call("inputs['n']", {"n": n})) for n in range(100)))
    assert not endless.done()
    assert (await endless).type == "timeout"


async def test_endless_snippets_on_every_worker_hold_up_the_others_for_their_timeout_only(
    runner: FunctionRunner,
) -> None:
    endless = [asyncio.create_task(failure(runner, call(ENDLESS, seconds=0.5))) for _ in range(2)]
    await asyncio.sleep(0)
    begun = time.monotonic()
    await runner.run(call("1", seconds=0.2))
    assert time.monotonic() - begun < 2
    assert {error.type for error in await asyncio.gather(*endless)} == {"timeout"}


async def test_the_event_loop_goes_on_while_snippets_compute(runner: FunctionRunner) -> None:
    endless = [asyncio.create_task(failure(runner, call(ENDLESS, seconds=0.5))) for _ in range(4)]
    turns = 0
    while not all(task.done() for task in endless):
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 20


async def test_a_cancelled_call_frees_its_worker() -> None:
    before = set(psutil.Process().children())
    async with FunctionRunner(workers=1) as runner:
        (worker,) = set(psutil.Process().children()) - before
        endless = asyncio.create_task(runner.run(call(ENDLESS, seconds=60)))
        await busy(worker)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
        async with asyncio.timeout(5):
            assert (await runner.run(call("1"))).outputs == {"result": 1}


async def test_a_worker_that_dies_fails_its_call_as_retryable_and_is_replaced() -> None:
    before = set(psutil.Process().children())
    async with FunctionRunner(workers=1) as runner:
        (worker,) = set(psutil.Process().children()) - before
        endless = asyncio.create_task(failure(runner, call(ENDLESS, seconds=60)))
        await busy(worker)
        worker.kill()
        error = await endless
        assert error.type == "sandbox_crashed"
        assert error.retryable
        assert (await runner.run(call("1"))).outputs == {"result": 1}


async def test_no_worker_is_left_when_the_runner_is_closed() -> None:
    before = set(psutil.Process().children())
    async with FunctionRunner(workers=3) as runner:
        await runner.run(call("1"))
        workers = set(psutil.Process().children()) - before
    assert workers
    assert not psutil.wait_procs(workers, timeout=5)[1]
