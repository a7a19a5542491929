"""The pytest fixtures and markers, in the tests of a user: run in this process."""

from __future__ import annotations

import inspect
import os

import pytest

from a2e_async import A2E

pytest_plugins = "pytester"

RUN = (
    *("-q", "-p", "no:cacheprovider", "--disable-plugin-autoload"),
    *("-p", "anyio.pytest_plugin", "-p", "a2e_async.sandbox.pytest_plugin"),
)
STRICT = (*RUN, "-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""A run in this process cannot rewrite the assertions of what is imported already."""

APP = """
from a2e_async import A2E, blocking

TALK = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}

async def dub(folder):
    async with A2E() as a2e:
        assert a2e.stats().poll_interval == 0.02
        task = await a2e.dubbing.start(**TALK)
        return await task.download(folder)

def dub_now(folder):
    with blocking() as a2e:
        return a2e.dubbing.start(**TALK).download(folder)
"""

EVERY_KIND_OF_TEST = """
import os
import pytest
from app import dub, dub_now

@pytest.fixture
def anyio_backend():
    return "asyncio"

def test_plain(a2e_sandbox, tmp_path):
    assert os.environ["A2E_BASE_URL"] == a2e_sandbox.base_url
    assert dub_now(tmp_path)
    assert len(a2e_sandbox.ledger.starts("dubbing")) == 1

@pytest.mark.anyio
async def test_anyio(a2e_sandbox, tmp_path):
    assert await dub(tmp_path)
    assert len(a2e_sandbox.ledger.starts("dubbing")) == 1

class TestShared:
    def test_first(self, module_a2e_sandbox, session_a2e_sandbox, tmp_path):
        dub_now(tmp_path)

    @pytest.mark.anyio
    async def test_second(self, module_a2e_sandbox, session_a2e_sandbox, tmp_path):
        await dub(tmp_path)
        # The narrowest of the sandboxes in use is the one that clients reach.
        assert len(module_a2e_sandbox.ledger.starts()) == 2
        assert not session_a2e_sandbox.ledger.starts()

    def test_a_new_one_for_one_test(self, module_a2e_sandbox, a2e_sandbox, tmp_path):
        dub_now(tmp_path)
        assert len(a2e_sandbox.ledger.starts()) == 1
        assert len(module_a2e_sandbox.ledger.starts()) == 2

def test_the_longer_lived_one_is_reached_again(module_a2e_sandbox):
    assert os.environ["A2E_BASE_URL"] == module_a2e_sandbox.base_url
"""


def test_every_kind_of_test_and_every_lifetime(pytester: pytest.Pytester) -> None:
    init = inspect.unwrap(A2E.__init__)
    before = os.environ.get("A2E_BASE_URL"), dict(init.__kwdefaults__ or {})
    pytester.makepyfile(app=APP, test_app=EVERY_KIND_OF_TEST)
    done = pytester.runpytest_inprocess(*STRICT)
    done.assert_outcomes(passed=6)
    assert (os.environ.get("A2E_BASE_URL"), init.__kwdefaults__) == before


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_with_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    pytester.makepyfile(
        app=APP,
        test_app=f"""
        import pytest
        from app import dub

        {mark}
        async def test_once(a2e_sandbox, tmp_path):
            assert await dub(tmp_path)
            assert len(a2e_sandbox.ledger.starts("dubbing")) == 1

        {mark}
        async def test_shared(session_a2e_sandbox, tmp_path):
            assert await dub(tmp_path)
        """,
    )
    done = pytester.runpytest_inprocess(
        *(*STRICT, "-p", "pytest_asyncio.plugin"),
        *("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"),
    )
    done.assert_outcomes(passed=2)


MISTAKES = {
    "@pytest.mark.a2e_sandbox(sped=9)": "Sandbox has no option sped. Did you mean speed? There",
    "@pytest.mark.a2e_sandbox(9)": "a2e_sandbox(9): options are given by name",
    "@pytest.mark.a2e_sandbox(speed=0)": "a2e_sandbox(speed=0): speed must be above 0.",
    "@pytest.mark.a2e_sandbox(durations={'dubing': 1})": "no such kind to set a duration for",
    "@pytest.mark.a2e_fault('stuk')": "there is no fault stuk. Did you mean stuck? There are:",
    "@pytest.mark.a2e_fault(kind='dubbing')": "give the name of one fault",
    "@pytest.mark.a2e_fault('stuck', color=1)": "stuck has no option color; options: kind, times",
    "@pytest.mark.a2e_fault('slow')": "slow needs the option seconds",
    "@pytest.mark.a2e_fault('http_error', status='x')": "status takes a whole number",
    "@pytest.mark.a2e_fault('stuck', times='1')": "times takes a whole number or None",
    "@pytest.mark.a2e_fault('detail_refused', status=500)": "status takes 400 or 404 or 405",
    "@pytest.mark.a2e_fault('stuck', kind='dubing')": "no such kind: dubing; kinds: ",
    "@pytest.mark.a2e_fault('html', role='strat')": "no such role: strat; roles: ",
}


def test_mistakes_in_markers_are_explained(pytester: pytest.Pytester) -> None:
    tests = [
        f"{marker}\ndef test_{number}(a2e_sandbox): ..." for number, marker in enumerate(MISTAKES)
    ]
    tests += [
        "@pytest.mark.a2e_fault('stuck')\ndef test_without(): ...",
        "@pytest.mark.a2e_sandbox(balance=1)\ndef test_shared(module_a2e_sandbox): ...",
    ]
    pytester.makepyfile("\n".join(["import pytest", *tests]))
    done = pytester.runpytest_inprocess(*RUN)
    done.assert_outcomes(errors=len(tests))
    said = done.stdout.str()
    for reason in (
        *MISTAKES.values(),
        "a2e_fault('stuck') has no effect: this test does not use the fixture a2e_sandbox.",
        "a2e_sandbox(balance=1) has no effect: this test uses module_a2e_sandbox",
    ):
        assert reason in said
    assert "Traceback" not in said


def test_options_and_faults_arrive_in_order(pytester: pytest.Pytester) -> None:
    """Those of all sandboxes, then of the module, then of the test."""
    pytester.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def a2e_sandbox_options():
            return {"balance": 1, "seed": 7}
    """)
    pytester.makepyfile("""
        import pytest

        pytestmark = [pytest.mark.a2e_sandbox(balance=2), pytest.mark.a2e_fault("stuck")]

        def test_of_the_module(a2e_sandbox, module_a2e_sandbox, session_a2e_sandbox):
            sandboxes = (a2e_sandbox, module_a2e_sandbox, session_a2e_sandbox)
            assert [one.balance for one in sandboxes] == [2, 2, 1]
            assert {one.seed for one in sandboxes} == {7}
            assert a2e_sandbox.faults.pending == ("stuck",)
            assert not session_a2e_sandbox.faults.pending

        @pytest.mark.a2e_fault("html", role="detail", times=None)
        @pytest.mark.a2e_fault("slow", seconds=1)
        @pytest.mark.a2e_sandbox(balance=3)
        def test_of_its_own(a2e_sandbox):
            assert a2e_sandbox.balance == 3
            assert a2e_sandbox.faults.pending == ("stuck", "html", "slow")

        def test_that_needs_no_sandbox():
            pass
    """)
    done = pytester.runpytest_inprocess(*STRICT)
    done.assert_outcomes(passed=3)
