"""Whatever is lost, cancelled, delayed or restarted: each key is paid once, nothing is lost."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from a2e_async import A2E
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox

KEY = "Qz7-topsecret-0123456789"
KEYS = st.sampled_from([f"k{n}" for n in range(4)])


class BillingStateMachine(RuleBasedStateMachine):
    """A client with a journal, its service, and events that may happen between them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.005, 0.01))
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.held: dict[str, str] = {}
        """The ref of the task of each key, once known."""

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        async def enter() -> None:
            self.sandbox = Sandbox(speed=600, seed=7, api_key=KEY, make_results="stdlib")
            await self.sandbox.__aenter__()

        self.run(enter())
        self.client = self.make()

    def make(self) -> A2E:
        return A2E(
            KEY,
            base_url=self.sandbox.base_url,
            rate=None,
            poll_interval=0.02,
            journal=Path(self.directory.name) / "jobs.db",
        )

    async def start(self, key: str) -> None:
        try:
            task = await self.client.talking_video.start(
                video_url=f"https://m.example/{key}.mp4",
                prompt="p",
                negative_prompt="n",
                key=key,
            )
        except StartOutcomeUnknown:
            return
        except A2EError:
            return
        assert self.held.setdefault(key, task.ref) == task.ref

    @rule(key=KEYS)
    def starts(self, key: str) -> None:
        """Start a new key or one that has a task."""
        self.run(self.start(key))

    @rule(keys=st.lists(KEYS, min_size=2, max_size=4))
    def starts_many(self, keys: list[str]) -> None:
        """Start several tasks at once, with keys that may be equal."""

        async def at_once() -> None:
            await asyncio.gather(*(self.start(key) for key in keys))

        self.run(at_once())

    @rule(
        fault=st.sampled_from(
            ["drop_before", "drop_after", "503", "malformed", "400", "429", "lag", "null"]
        )
    )
    def trouble(self, fault: str) -> None:
        """Inject a fault into the next start."""
        faults = self.sandbox.faults
        {
            "drop_before": lambda: faults.drop_before_accept(),
            "drop_after": lambda: faults.drop_after_accept(),
            "503": lambda: faults.http_error(503, role="start", accepted=True),
            "malformed": lambda: faults.malformed("start"),
            "400": lambda: faults.http_error(400, role="start"),
            "429": lambda: faults.http_error(429, role="start", retry_after=0.01),
            "lag": lambda: faults.list_lag(60),
            "null": lambda: faults.empty_start(shape="null"),
        }[fault]()

    @rule(key=KEYS, turns=st.integers(0, 12))
    def cancels(self, key: str, turns: int) -> None:
        """Cancel a caller during a start."""

        async def cancel() -> None:
            starting = asyncio.create_task(self.start(key))
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])

        self.run(cancel())

    @rule()
    def restarts(self) -> None:
        """Close the client; another one resumes its unfinished tasks."""

        async def again() -> None:
            await self.client.aclose()
            self.client = self.make()
            async for task in self.client.unfinished():
                if task.key is not None:
                    assert self.held.setdefault(task.key, task.ref) == task.ref

        self.run(again())

    @rule()
    def time_goes_by(self) -> None:
        """Lists show delayed records; tasks end."""
        self.sandbox.advance(120)

    @invariant()
    def no_key_is_paid_twice(self) -> None:
        """Each key is charged at most once, and the task of each key was charged."""
        if not hasattr(self, "sandbox"):
            return
        charges = self.sandbox.ledger.starts()
        media = [charge.body["video_url"] for charge in charges]
        assert len(media) == len(set(media))
        paid = {f"talking_video:{'+'.join(charge.ids)}" for charge in charges}
        assert set(self.held.values()) <= paid

    def teardown(self) -> None:
        """At the end, everything charged is in the journal or can be found from it."""
        if not hasattr(self, "sandbox"):
            self.runner.close()
            return

        async def settle() -> None:
            self.sandbox.faults.clear()
            self.sandbox.advance(600)
            await self.client.aclose()
            last = self.make()
            found = {task.ref async for task in last.unfinished()}
            await last.aclose()
            charged = {f"talking_video:{'+'.join(c.ids)}" for c in self.sandbox.ledger.starts()}
            db = sqlite3.connect(Path(self.directory.name) / "jobs.db")
            known = {f"talking_video:{row[0]}" for row in db.execute("SELECT ids FROM jobs")}
            db.close()
            assert charged <= found | known
            await self.sandbox.__aexit__(None, None, None)

        try:
            self.run(settle())
        finally:
            self.runner.close()
            self.directory.cleanup()
            self.patch.undo()


BillingStateMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestBilling = BillingStateMachine.TestCase
