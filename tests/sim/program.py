"""A program of a world: starts its jobs by their keys, waits, downloads and acknowledges.

After a crash the program is started again, does the same and processes `unfinished()`.
"""

import asyncio
from pathlib import Path
from typing import Any

import simloom

from a2e_async import A2E
from a2e_async import errors as e
from a2e_async._core.clock import wall_time
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async._core.tasks.task import Task
from tests.hostile import RemoteTask

from .disk import Disk
from .draws import chance, part, pick
from .hooks import serve_webhooks, webhook_url
from .jobs import Job
from .service import BASE_URL, SimulatedService
from .story import Story

SLACK = 16.0
"""Seconds by which a wait may exceed its timeout: the duration of one request."""


class Program:
    """A program on one machine, over all its restarts. ``journal`` is a path on a disk.

    Several programs may share a journal, like the processes of one machine or of a fleet.
    """

    def __init__(
        self,
        world: simloom.World,
        name: str,
        story: Story,
        service: SimulatedService,
        jobs: list[Job],
        batch: list[Job],
        *,
        journal: Path,
        disk: Disk,
        api_key: str,
    ) -> None:
        self.name, self.story, self.service = name, story, service
        self.jobs, self.batch = jobs, batch
        self.host = world.host(name)
        self.journal, self.disk, self.api_key = journal, disk, api_key
        self.life = 0
        self.ended = asyncio.Event()
        self.results = disk.directory / "results"
        self.drains = pick("program.drains", True, True, False)
        """Whether the program processes `unfinished()` at each start."""
        self.cancels = pick("program.cancels", 0, 0, 20)
        """Percentage of starts that are cancelled while in progress."""
        self.closes = pick("program.closes", None, None, 15.0, 60.0)
        """Seconds after which the program closes its client, whatever is in progress."""
        self.budget = pick("program.budget", None, None, 1000)
        self.batch_budget = pick("batch.budget", None, 24, 15)
        """Budget of the batch in coins, for all runs together."""
        self.batch_limit = pick("batch.limit", 3, 1, 10)
        self.speaks = pick("program.speaks", 0, 0, 2)
        """Speech calls of each run."""
        self.hooked = pick("program.webhooks", False, False, True)

    def client(self) -> A2E:
        """Return the client of this run."""
        clock = asyncio.get_running_loop().time
        journal = SqliteJournal(self.journal, clock=wall_time, host_clock=clock)
        return A2E(
            self.api_key,
            base_url=BASE_URL,
            journal=journal,
            start_timeout=20,
            request_timeout=15,
            trust_env=False,
            budget=self.budget,
            webhook_url=webhook_url(self.name) if self.hooked else None,
            on_event=lambda event: self.story.texts.append(repr(event)),
        )

    async def run(self) -> None:
        """Run once: start the jobs, process unfinished tasks, close."""
        story = self.story
        self.life += 1
        story.say(f"{self.name}: life {self.life} begins")
        self.ended.clear()
        hooks: asyncio.Task[None] | None = None
        async with self.client() as a2e:
            work = [
                asyncio.create_task(self.guard(self.do(a2e, job), job.key)) for job in self.jobs
            ]
            work += [
                asyncio.create_task(self.guard(self.speak(a2e, n), "speech"))
                for n in range(self.speaks)
            ]
            if self.batch:
                work.append(asyncio.create_task(self.guard(self.run_batch(a2e), "batch")))
            if self.hooked:
                hooks = asyncio.create_task(serve_webhooks(a2e, self.name))
            if self.drains or story.calm:
                work.append(asyncio.create_task(self.guard(self.drain(a2e), "unfinished()")))
            if self.closes and not story.calm:
                await asyncio.wait(work, timeout=self.closes)
            elif work:
                await asyncio.wait(work)
            if not all(one.done() for one in work):
                await self.close_early(a2e, work)
            for recovery in a2e.unknown():
                story.reported_unknown.update(
                    job.key for job in [*self.jobs, *self.batch] if job.kind == recovery.kind
                )
            if hooks is not None:
                hooks.cancel()
        story.say(f"{self.name}: life {self.life} ends")
        self.ended.set()

    async def close_early(self, a2e: A2E, work: list[asyncio.Task[None]]) -> None:
        """Close the client while jobs are in progress: all calls must end soon."""
        self.story.say(f"{self.name}: closes while jobs are under way")
        began = self.now()
        await a2e.aclose()
        if self.now() - began > 100:
            self.story.record_violation("7 close", f"aclose() took {self.now() - began:.0f} s")
        await asyncio.wait(work, timeout=60)
        for one in work:
            if not one.done():
                self.story.record_violation("7 close", "a call still waits 60 s after aclose()")
                one.cancel()

    def now(self) -> float:
        """Return the world's time in seconds."""
        return asyncio.get_running_loop().time()

    async def guard(self, work: Any, what: str) -> None:
        """Record any exception that is not the package's as a violation."""
        try:
            await work
        except e.A2EError as error:
            self.note(what, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            cause = f" <- {type(error.__cause__).__name__}" if error.__cause__ else ""
            text = f"{what}: {type(error).__name__}: {str(error)[:200]}{cause}"
            self.story.record_violation("foreign error", text)

    def note(self, what: str, error: Exception) -> None:
        """Record an error with everything that it shows."""
        self.story.texts += [repr(error), str(error), repr(vars(error))]
        self.story.say(f"{self.name}: {what}: {type(error).__name__}: {str(error)[:160]}")

    def note_unknown(self, key: str, error: e.StartOutcomeUnknown) -> None:
        """Record that a start's outcome is unknown, with its candidate tasks."""
        self.story.reported_unknown.add(key)
        self.story.candidates[key].update(record.id for record in error.candidates)

    # -- one job -----------------------------------------------------------------------------------

    async def do(self, a2e: A2E, job: Job) -> None:
        """Start or resume a job, up to its acknowledged results."""
        story = self.story
        if not story.calm:
            await asyncio.sleep(job.after)
        for _ in range(6 if story.calm else 2):
            try:
                task = await self.start(a2e, job)
            except e.StartOutcomeUnknown as error:
                self.note(job.key, error)
                self.note_unknown(job.key, error)
            except e.ClientClosed:
                raise
            except e.A2EError as error:
                self.note(job.key, error)
                if isinstance(error, e.KeyConflict):
                    story.record_violation("4 key", f"{job.key}: {error}")
            else:
                if task is not None:
                    story.say(f"{self.name}: {job.key} is {task.ref[-40:]}")
                    await self.finish(task, job.key, job.timeout, saves=job.saves)
                    return
            await asyncio.sleep(5)

    async def start(self, a2e: A2E, job: Job) -> Task[Any] | None:
        """Start a job; return None if the start was cancelled."""
        starting = asyncio.create_task(
            a2e.kind(job.kind).start(**job.inputs, key=job.key, meta={"key": job.key})
        )
        if not self.story.calm and chance("start.cancelled", self.cancels):
            await asyncio.wait([starting], timeout=part("start.cancelled_after", 8))
            starting.cancel()
            self.story.say(f"{self.name}: {job.key} start cancelled")
        try:
            return await starting
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return None

    async def speak(self, a2e: A2E, number: int) -> None:
        """Make a speech call; each must be charged at most once."""
        text = f"line {number} of {self.name} in life {self.life}."
        try:
            await a2e.speech.say(text, tts_id="66ea4dd87db10c73fa29b5aa")
        finally:
            paid = len(self.service.server.ledger.mentioning(text))
            if paid > 1:
                self.story.record_violation("1 paid twice", f"speech {text!r}: {paid} times")

    async def run_batch(self, a2e: A2E) -> None:
        """Run the batch; each run resumes where the previous one ended."""
        story, refused = self.story, 0
        outcomes = a2e.batch(
            [
                a2e.kind(job.kind).job(**job.inputs, key=job.key, meta={"key": job.key})
                for job in self.batch
            ],
            limit=self.batch_limit,
            budget=self.batch_budget,
            download_to=self.results / "batch",
        )
        try:
            async for outcome in outcomes:
                key = str(outcome.job.key)
                if outcome.ok:
                    story.say(f"{self.name}: {key} in the batch done")
                    # A job acknowledged elsewhere, without files, is done for the batch, too.
                    if outcome.task is not None and key not in story.acknowledged:
                        await self.check_saved(key, outcome.task, outcome.paths)
                elif isinstance(outcome.error, e.A2EError):
                    self.note(f"{key} in the batch", outcome.error)
                    refused += isinstance(outcome.error, e.BudgetExceeded)
                    if isinstance(outcome.error, e.StartOutcomeUnknown):
                        self.note_unknown(key, outcome.error)
                    if isinstance(outcome.error, e.TaskFailed):
                        story.failed.add(key)
                else:
                    story.record_violation(
                        "foreign error", f"{key} in the batch: {outcome.error!r}"
                    )
        except e.BudgetExceeded as error:  # no other start of the batch would fit into the budget
            self.note("batch", error)
            refused += 1
        await self.check_budget(a2e, refused)

    async def check_saved(self, key: str, task: Task[Any], paths: Any) -> None:
        """Check that a job of a batch has all its files."""
        saved = sorted(path.read_bytes() for path in paths)
        tasks = [self.service.server.tasks[id] for id in task.ids]
        if saved != sorted(one.content() for one in tasks if one.kind.media):
            self.story.record_violation(
                "6 batch", f"{key}: {len(saved)} files that are not its results"
            )
            return
        for one in tasks:
            self.story.results[key][f"{one.kind.kind}:{one.id}"] = one.content()
        self.story.acknowledged.add(key)

    async def check_budget(self, a2e: A2E, refused: int) -> None:
        """Check that the batch's budget was not exceeded, and no job was refused needlessly."""
        if self.batch_budget is None:
            return
        ledger = self.service.server.ledger
        spent = sum(start.coins for job in self.batch for start in ledger.mentioning(job.tag))
        if spent > self.batch_budget:
            text = f"{spent} coins spent by the batch, {self.batch_budget} allowed"
            self.story.record_violation("8 budget", text)
        price = self.service.server.behaviour.coins
        keys = {job.key for job in self.batch}
        unknown = self.story.reported_unknown & keys
        if a2e.journal is not None:  # a batch that ended early has not reported all of them
            entries, _ = await a2e.journal.entries(states=[State.INTENT])
            unknown |= {entry.key for entry in entries} & keys
        if refused and self.story.calm and not unknown and spent + price <= self.batch_budget:
            text = f"{refused} refused with {spent} of {self.batch_budget} coins spent"
            self.story.record_violation("8 unspent", text)

    async def drain(self, a2e: A2E) -> None:
        """Process the tasks that earlier runs left unfinished."""
        work = []
        async for task in a2e.unfinished():
            # Tasks of a start that were found later have its meta, but no key.
            key = str(task.key or (task.meta or {}).get("key"))
            self.story.say(f"{self.name}: unfinished() gives {key} {task.ref[-40:]}")
            self.check_own(task, key)
            work.append(
                asyncio.create_task(self.guard(self.finish(task, key, 900.0), f"unfinished {key}"))
            )
        if work:
            await asyncio.wait(work)

    def check_own(self, task: Task[Any], key: str) -> None:
        """Check that a task belongs to this program's account and to the job."""
        for id in task.ids:
            one = self.service.server.tasks.get(id)
            if one is not None and one.account != self.api_key:
                text = f"{key}: {id[-4:]} of {one.account} was given to {self.api_key}"
                self.story.record_violation("9 account", text)

    async def finish(
        self, task: Task[Any], key: str, timeout: float, *, saves: bool = False
    ) -> None:
        """Wait for a task, download its results and acknowledge it."""
        truth = [self.service.server.tasks.get(id) for id in task.ids]
        self.check_whose(task, key, truth)
        record = await self.wait(task, key, timeout, truth)
        if record is None:
            return
        running = [one.id[-4:] for one in truth if one and not one.ended(self.now())]
        if running:
            text = f"{key}: wait returned a {record.status} record while {running} run on"
            self.story.record_violation("7 early", text)
        good = await self.fetch(record, key, saves=saves)
        if good is None:
            return
        for ref, data in good.items():
            one = self.service.server.tasks.get(ref.partition(":")[2])
            if one is None or data != one.content():
                self.story.record_violation(
                    "6 content", f"{key}: {ref} has other content ({len(data)} B)"
                )
        lacking = [one.id[-4:] for one in truth if one and one.kind.media and not one.fails]
        if len(good) < len(lacking):
            text = f"{key}: {len(good)} results of {len(lacking)} tasks ({record.status})"
            self.story.record_violation("5 outputs", text)
            return
        self.story.results[key].update(good)
        self.story.acknowledged.add(key)  # a batch may see the closed entry before this continues
        await task.ack()
        self.story.say(f"{self.name}: {key} done")

    def check_whose(self, task: Task[Any], key: str, truth: list[RemoteTask | None]) -> None:
        """Check that a job gets only the tasks of its own start."""
        job = next((job for job in [*self.jobs, *self.batch] if job.key == key), None)
        for id, one in zip(task.ids, truth, strict=True):
            if one is None or (job is not None and job.tag not in str(one.body)):
                text = f"{key} was given {id[-4:]}, which is of {one and one.body}"
                self.story.record_violation("4 mixed", text)

    async def wait(
        self, task: Task[Any], key: str, timeout: float, truth: list[RemoteTask | None]
    ) -> Any:
        """Return the task's final record; None if it failed or its end was not observed."""
        story = self.story
        for _ in range(6 if story.calm else 3):
            began = self.now()
            limit = 2000.0 if story.calm else timeout
            try:
                return await task.wait(timeout=limit)
            except e.TaskFailed as error:
                self.note(key, error)
                if not any(one and one.fails and one.ended(self.now()) for one in truth):
                    story.record_violation(
                        "5 failed", f"{key}: TaskFailed, and the service failed nothing"
                    )
                story.failed.add(key)
                return None
            except e.TaskTimeout:
                story.say(f"{self.name}: {key} timed out")
            except e.TaskGone as error:
                self.note(key, error)
                if not any(one and one.hidden[1] > began for one in truth):
                    story.record_violation("5 gone", f"{key}: {str(error)[:150]}")
            except e.ClientClosed:
                raise
            except e.A2EError as error:
                self.note(f"{key} wait ended", error)
                if self.now() - began < min(limit, 290):
                    spent = self.now() - began
                    text = f"{key}: ended after {spent:.0f} s with {type(error).__name__}: {error}"
                    story.record_violation("7 wait", text[:300])
            finally:
                over = self.now() - began - limit
                if over > SLACK:
                    text = f"{key} ({task.kind.name}): timeout {limit:g} s, {over:.0f} s more"
                    story.record_violation("7 overrun", text)
        return None

    async def fetch(self, record: Any, key: str, *, saves: bool) -> dict[str, bytes] | None:
        """Return the record's results by ref; None if they could not be downloaded."""
        good: dict[str, bytes] = {}
        for _ in range(5):
            try:
                for output in record.outputs:
                    good[output.ref] = await self.fetch_one(output, key, saves=saves)
            except e.ClientClosed:
                raise
            except e.A2EError as error:
                self.note(f"{key} fetch", error)
                await asyncio.sleep(5)
            else:
                return good
        return None

    async def fetch_one(self, output: Any, key: str, *, saves: bool) -> bytes:
        """Read one result, or save it and read the file."""
        if not saves:
            content: bytes = await output.read()
            return content
        path = await output.save(self.results / key)
        return Path(path).read_bytes()


def start_on(host: simloom.Host, program: Program) -> None:
    """Run a program on its host."""
    host.spawn(program.run)
