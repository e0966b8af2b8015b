"""The main job, as `make demo` runs it."""

from tests.e2e.conftest import Home


async def test_the_demo_does_what_it_says_and_checks_it(home: Home) -> None:
    ran = await home.run("demo", "--yes")
    assert ran.code == 0, ran.out + ran.err
    for event in ("pause.requested", "execution.paused", "pause.resolved", "execution.resumed", "execution.completed"):
        assert event in ran.out
    assert "checks hold" in ran.out
    assert home.left_behind() == []


async def test_without_a_person_at_the_prompt_the_demo_approves_nothing(home: Home) -> None:
    ran = await home.run("demo", stdin="")
    assert ran.code == 2, ran.out + ran.err
    assert "--yes" in ran.out + ran.err
    assert "execution.completed" not in ran.out
