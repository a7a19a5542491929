"""Law 8: a budget is a limit. Reservations are not spending; jobs wait until they are settled."""

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, Output, Task
from a2e_async.cli import main
from a2e_async.errors import (
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    StartOutcomeUnknown,
)

from .money_server import DUB, KEY, TELL_NOTHING, Service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make searches for lost starts end quickly."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.01))


def client(service: Service, **options: Any) -> A2E:
    defaults: dict[str, Any] = {"rate": None, "poll_interval": 0.05, "trust_env": False}
    return A2E(KEY, base_url=service.base_url, **{**defaults, **options})


def sound(seed: int = 0) -> bytes:
    """Return a short WAV file whose bytes depend on the seed."""
    made = io.BytesIO()
    with wave.open(made, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8000)
        wav.writeframes(bytes([seed % 256, 1]) * 800)
    return made.getvalue()


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def run_all(a2e: A2E, jobs: list[Any], **options: Any) -> tuple[int, Exception | None]:
    """Return the number of successful jobs of a batch, and the error that ended it."""
    good = 0
    try:
        async with asyncio.timeout(60):
            async for outcome in a2e.batch(jobs, **options):
                good += outcome.ok
    except BudgetExceeded as error:
        return good, error
    return good, None


# -- jobs wait for reservations ------------------------------------------------------------------


async def test_a_batch_spends_its_whole_budget(service: Service, tmp_path: Path) -> None:
    """All rows fit, although their total reservations exceed the budget."""
    talk = sound()
    budget = Budget(61)
    async with client(service, journal=tmp_path / "j.db") as a2e:
        jobs = [a2e.dubbing.job(**{**DUB, "source_url": talk}, key=f"r{n}") for n in range(60)]
        good, error = await run_all(a2e, jobs, limit=50, budget=budget)
    assert (good, error) == (60, None)
    assert service.paid.count("upload") == 1
    assert (budget.spent, budget.reserved, budget.free) == (61, 0, 0)


@pytest.mark.parametrize("whose", ["client", "batch", "both"])
async def test_prices_below_their_quotes(service: Service, whose: str) -> None:
    """A quote is only a reservation: the final prices decide how many jobs fit."""
    service.quote, service.price = 10, 1
    budget, other = Budget(30), Budget(29)
    mine = {"client": budget, "batch": None, "both": other}[whose]
    async with client(service, budget=mine) as a2e:
        jobs = [a2e.dubbing.job(**DUB) for _ in range(20)]
        good, error = await run_all(
            a2e, jobs, limit=20, budget=None if whose == "client" else budget
        )
    assert (good, error) == (20, None)
    assert budget.spent == 20
    assert budget.reserved == 0


async def test_concurrent_starts_wait(service: Service) -> None:
    """Plain starts wait, too; one is refused only if no pending reservation can make room."""
    service.quote, service.price = 10, 4
    budget = Budget(30)
    async with client(service, budget=budget) as a2e:
        starts = (a2e.dubbing.start(**DUB) for _ in range(12))
        ended = await asyncio.gather(*starts, return_exceptions=True)
    refused = [error for error in ended if isinstance(error, BudgetExceeded)]
    assert service.starts() == 6  # 24 coins; 6 are left, and a start is quoted at 10
    assert len(refused) == 6
    assert "6 free, 0 reserved, 24 spent" in str(refused[0])


async def test_callers_wait_under_the_clients_budget(service: Service) -> None:
    """`for_caller` changes the order of starts, not the budget."""
    service.quote, service.price = 10, 1
    budget = Budget(15)
    async with client(service, budget=budget, max_unfinished=2) as a2e:
        users = [a2e.for_caller(f"u{n}", max_unfinished=1) for n in range(3)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(user.dubbing.run(**DUB) for user in users for _ in range(2)))
    assert (budget.spent, budget.reserved) == (6, 0)


async def test_speech_waits(service: Service) -> None:
    """A paid call without a task waits like a start."""
    service.gate, service.quote = asyncio.Event(), TELL_NOTHING
    budget = Budget(10, unknown_cost=10)
    async with client(service, budget=budget) as a2e:
        first = asyncio.create_task(a2e.speech.say("hello", tts_id=KEY_ID))
        await until(lambda: service.paid)
        second = asyncio.create_task(a2e.dubbing.start(**DUB))
        await asyncio.sleep(0.05)
        assert not second.done()
        service.gate.set()
        await first
        with pytest.raises(BudgetExceeded, match="0 free, 0 reserved, 10 spent"):
            await second


KEY_ID = "66ea4dd87db10c73fa29b570"


async def test_uploads_wait(service: Service) -> None:
    """The second of two is refused only after the first has been charged."""
    service.upload_gate = asyncio.Event()
    budget = Budget(3, upload_cost=2)
    async with client(service, budget=budget) as a2e:
        first = asyncio.create_task(a2e.files.upload(sound(1)))
        await until(lambda: service.paid)
        second = asyncio.create_task(a2e.files.upload(sound(2)))
        await asyncio.sleep(0.05)
        assert not second.done()
        service.upload_gate.set()
        await first
        with pytest.raises(BudgetExceeded):
            await second
    assert (budget.spent, budget.reserved) == (2, 0)


async def test_an_upload_that_waits_ends_with_its_client(service: Service) -> None:
    """Also with a client that has only uploaded; the budget's other client is not held back."""
    service.upload_gate = asyncio.Event()
    budget = Budget(4, upload_cost=2)
    async with client(service, budget=budget) as other:
        first = [asyncio.create_task(other.files.upload(sound(n))) for n in (1, 2)]
        await until(lambda: budget.reserved == 4)
        async with client(service, budget=budget) as a2e:
            waiting = asyncio.create_task(a2e.files.upload(sound(3)))
            await until(lambda: budget.first_waiter is not None)
        with pytest.raises(ClientClosed, match="nothing was charged"):
            await asyncio.wait_for(waiting, 10)
        assert budget.first_waiter is None
        service.upload_gate.set()
        await asyncio.gather(*first)
    assert (budget.spent, budget.reserved) == (4, 0)


async def test_starts_that_need_uploads_never_block_each_other(service: Service) -> None:
    """Each has reserved its price and needs one more coin: one gives way, and both succeed."""
    service.quote, service.price = 10, 5
    budget = Budget(20, upload_cost=1)
    async with client(service, budget=budget) as a2e:
        starts = (a2e.dubbing.start(**{**DUB, "source_url": sound(n)}) for n in range(3))
        async with asyncio.timeout(20):
            ended = await asyncio.gather(*starts, return_exceptions=True)
    # 6 + 6 are paid; then 8 are left, and the third is quoted at 11.
    assert sum(isinstance(end, BudgetExceeded) for end in ended) == 1
    assert service.paid.count("upload") == service.starts() == 2
    assert (budget.spent, budget.reserved) == (12, 0)


async def test_a_start_that_waits_holds_no_slot(service: Service) -> None:
    """With one slot and a price that rises after the upload, the slot is released meanwhile."""
    service.quote = lambda body: 1 if "invalid" in body["source_url"] else 10
    service.price, service.gate = 6, asyncio.Event()
    budget = Budget(16, upload_cost=1)
    async with client(service, budget=budget, max_unfinished=1) as a2e:
        big = {**DUB, "source_url": sound()}
        starts = [asyncio.create_task(a2e.dubbing.start(**big)) for _ in range(2)]
        await until(lambda: service.starts() == 1)
        plain = asyncio.create_task(a2e.dubbing.start(**DUB))
        service.gate.set()
        async with asyncio.timeout(20):
            ended = await asyncio.gather(*starts, plain, return_exceptions=True)
    assert sum(not isinstance(end, BaseException) for end in ended) in (1, 2)
    assert budget.reserved == 0
    assert budget.spent == 1 + 6 * service.starts()


async def test_an_unknown_outcome_ends_the_wait(service: Service) -> None:
    """A lost start stays reserved; starts waiting for it are refused instead of hanging."""
    service.quote, service.lose, service.gate = 10, 1, asyncio.Event()
    budget = Budget(15)
    async with client(service, budget=budget) as a2e:
        lost = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.starts() == 1)
        waits = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.calls["quote"] == 2)
        service.gate.set()
        with pytest.raises(StartOutcomeUnknown):
            await lost
        async with asyncio.timeout(10):
            with pytest.raises(BudgetExceeded, match="5 free, 10 reserved, 0 spent"):
                await waits
    assert (budget.spent, budget.reserved, budget.free) == (0, 10, 5)


async def test_a_refused_start_makes_room(service: Service) -> None:
    """The reservation of a refused start is available to waiting starts."""
    service.quote, service.refuse, service.price = 10, 1, 10
    budget = Budget(10)
    async with client(service, budget=budget) as a2e:
        ended = await asyncio.gather(
            a2e.dubbing.start(**DUB), a2e.dubbing.start(**DUB), return_exceptions=True
        )
    assert sorted(type(end).__name__ for end in ended) == [InvalidRequest.__name__, "Task"]
    assert (budget.spent, budget.reserved) == (10, 0)


async def test_a_price_that_is_just_being_learned(service: Service) -> None:
    """Starts of a kind without quotes wait until the first one reports its price."""
    quotes = [7]
    service.quote = lambda _: quotes.pop() if quotes else TELL_NOTHING
    service.gate, service.price = asyncio.Event(), 3
    budget = Budget(10)
    async with client(service, budget=budget) as a2e:
        first = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.starts() == 1)
        second = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.calls["quote"] == 2)
        service.gate.set()
        await asyncio.gather(first, second)
    assert budget.spent == 6


async def test_closing_ends_the_wait(service: Service) -> None:
    """`aclose` ends a start that waits for budget; it was not sent."""
    service.gate = asyncio.Event()
    budget = Budget(1)
    a2e = client(service, budget=budget)
    first = asyncio.create_task(a2e.dubbing.start(**DUB))
    await until(lambda: service.starts() == 1)
    waits = [
        asyncio.create_task(a2e.dubbing.start(**DUB)),
        asyncio.create_task(a2e.speech.say("hello", tts_id=KEY_ID)),
        asyncio.create_task(a2e.files.upload(sound())),
        asyncio.create_task(a2e.request("POST", "/api/v1/other", json={"text": "x"}, charged=True)),
    ]
    await until(lambda: service.calls["quote"] >= 2)
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(a2e.aclose())
    await asyncio.sleep(0)
    for wait in (waits[0], waits[2]):
        async with asyncio.timeout(5):
            with pytest.raises(ClientClosed):
                await wait
    service.gate.set()
    await closing
    await first
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert not [end for end in ended if not isinstance(end, ClientClosed | BudgetExceeded)]
    assert service.paid == ["start"]
    assert (budget.spent, budget.reserved) == (1, 0)


async def test_a_cancelled_wait_leaves_the_queue(service: Service) -> None:
    """The starts behind it in the queue get their turn."""
    service.gate, service.quote = asyncio.Event(), 6
    budget = Budget(10)
    async with client(service, budget=budget) as a2e:
        first = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.starts() == 1)
        gone = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.calls["quote"] == 2)
        last = asyncio.create_task(a2e.dubbing.start(**DUB))
        await until(lambda: service.calls["quote"] == 3)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        service.gate.set()
        await asyncio.gather(first, last)
    assert (budget.spent, budget.reserved) == (2, 0)


@pytest.mark.parametrize("seconds", [0, 0.05])
async def test_a_caller_bounds_its_wait(service: Service, seconds: float) -> None:
    """``max_wait`` applies to budgets, too; the error says which reservations are pending."""
    service.gate = asyncio.Event()
    budget = Budget(1)
    async with client(service, budget=budget) as a2e:
        user = a2e.for_caller("u", max_wait=seconds)
        first = asyncio.create_task(user.dubbing.start(**DUB))
        await until(lambda: service.starts() == 1)
        with pytest.raises(BudgetExceeded, match="0 free, 1 reserved, 0 spent") as caught:
            await user.dubbing.start(**DUB)
        assert caught.value.pending
        service.gate.set()
        await first
        with pytest.raises(BudgetExceeded) as caught:
            await user.dubbing.start(**DUB)
        assert not caught.value.pending
    assert service.starts() == 1


async def test_two_clients_on_one_budget(service: Service) -> None:
    """A settled start of one client makes room for a start of the other."""
    service.quote, service.price = 10, 1
    budget = Budget(15)
    async with client(service, budget=budget) as one, client(service, budget=budget) as two:
        await asyncio.gather(*(a2e.dubbing.start(**DUB) for a2e in (one, two) for _ in range(3)))
    assert (budget.spent, budget.reserved) == (6, 0)


async def test_clients_that_start_at_once_keep_the_budget_of_their_journal(
    service: Service, tmp_path: Path
) -> None:
    """Each sees room for its start; an intent that passes the budget is withdrawn."""
    service.quote = service.price = 10
    clients = [
        client(service, journal=tmp_path / "j.db", budget=Budget(25, whole_journal=True))
        for _ in range(4)
    ]
    for _ in range(3):
        starts = (a2e.dubbing.start(**DUB) for a2e in clients)
        ended = await asyncio.gather(*starts, return_exceptions=True)
        assert all(isinstance(one, BudgetExceeded | Task) for one in ended)
        assert service.starts() <= 2
    for a2e in clients:  # one after the other: nothing of the refused ones is left
        with suppress(BudgetExceeded):
            await a2e.dubbing.start(**DUB)
    assert service.starts() == 2
    assert clients[0].journal is not None
    spent = await clients[0].journal.spent()
    assert [(day.coins, day.reserved, day.starts) for day in spent] == [(20, 0, 2)]
    for a2e in clients:
        await a2e.aclose()


async def test_a_budget_of_a_journal_needs_one(service: Service) -> None:
    async with client(service, budget=Budget(25, whole_journal=True)) as a2e:
        with pytest.raises(ConfigurationError, match="needs a client with a journal"):
            await a2e.dubbing.start(**DUB)
    assert not service.paid


async def test_uploads_of_earlier_runs_count(service: Service, tmp_path: Path) -> None:
    """A batch's budget covers all runs that share the journal, including their uploads."""
    for _ in range(2):
        budget = Budget(100)
        async with client(service, journal=tmp_path / "j.db") as a2e:
            jobs = [
                a2e.dubbing.job(**{**DUB, "source_url": sound(n % 3)}, key=f"k{n}")
                for n in range(6)
            ]
            assert await run_all(a2e, jobs, limit=2, budget=budget) == (6, None)
            paid = service.starts() + service.paid.count("upload")
            assert (paid, budget.spent, budget.reserved) == (9, 9, 0)
            # Again in the same process: nothing is counted twice.
            assert await run_all(a2e, jobs, limit=2, budget=budget) == (6, None)
            assert budget.spent == 9


@pytest.mark.parametrize("first", ["done", "failed", "unknown"])
@pytest.mark.parametrize("keyed", [True, False])
async def test_later_rows_of_earlier_runs_count_first(
    service: Service, tmp_path: Path, first: str, keyed: bool
) -> None:
    """A row is not started with coins that later rows of the batch have already spent."""
    service.lose = first == "unknown"
    failed = {"current_status": "failed", "failed_message": "no"}
    service.finish_later = failed if first == "failed" else None
    budget = Budget(2)
    async with client(service, journal=tmp_path / "j.db") as a2e:

        def jobs(*numbers: int) -> list[Any]:
            url = "https://media.example/{}.wav"
            return [
                a2e.dubbing.job(
                    **{**DUB, "source_url": url.format(n)}, key=f"r{n}" if keyed else None
                )
                for n in numbers
            ]

        await run_all(a2e, jobs(2, 3), limit=1, budget=2)
        service.finish_later = None
        assert service.starts() == 2
        planned = [one async for one in a2e.batch(jobs(1), budget=2, dry_run=True)]
        assert planned[0].ok
        planned = [one async for one in a2e.batch(jobs(1, 2, 3), limit=1, budget=2, dry_run=True)]
        assert isinstance(planned[0].error, BudgetExceeded)
        good, error = await run_all(a2e, jobs(1, 2, 3), limit=1, budget=budget)
        paid = {"done": 2, "failed": 0, "unknown": 1}[first]  # these rows end all the same
        assert (good, type(error), service.starts()) == (paid, BudgetExceeded, 2)
        unknown = first == "unknown"
        assert (budget.spent, budget.reserved) == ((1, 1) if unknown else (2, 0))
        # Counted once: with room for one more, the first row is started.
        larger = Budget(3)
        good, error = await run_all(a2e, jobs(1, 2, 3), limit=1, budget=larger)
        assert (service.starts(), error) == (3, None)
        assert (larger.spent, larger.reserved) == ((2, 1) if unknown else (3, 0))


async def test_the_command_counts_later_rows_first(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a2e batch` with a budget, after new rows were inserted before charged ones."""
    monkeypatch.setenv("A2E_API_KEY", KEY)
    monkeypatch.setenv("A2E_BASE_URL", service.base_url)
    rows = [
        {
            "kind": "dubbing",
            "key": f"r{n}",
            "input": {**DUB, "source_url": f"https://media.example/{n}.wav"},
        }
        for n in range(3)
    ]

    async def batch(*chosen: dict[str, Any]) -> int:
        jobs = tmp_path / "jobs.jsonl"
        jobs.write_text("\n".join(map(json.dumps, chosen)))
        command = ["batch", str(jobs), "-o", str(tmp_path), "--journal", str(tmp_path / "j.db")]
        options = ["--budget", "2", "--limit", "1"]
        return await asyncio.to_thread(main, [*command, *options])

    await batch(*rows[1:])
    assert service.starts() == 2
    assert await batch(*rows) != 0
    assert service.starts() == 2


async def test_a_row_with_other_inputs_does_not_count(service: Service, tmp_path: Path) -> None:
    """The charge of a key counts for a row only if the start has the row's inputs."""
    async with client(service, journal=tmp_path / "j.db") as a2e:
        await (await a2e.dubbing.start(**DUB, key="taken")).wait()
        other = {**DUB, "source_url": "https://media.example/other.wav"}
        jobs = [a2e.dubbing.job(**DUB, key="new"), a2e.dubbing.job(**other, key="taken")]
        good, error = await run_all(a2e, jobs, limit=1, budget=1)
    assert (good, error) == (1, None)


async def test_a_lost_start_that_is_found_counts_once(service: Service) -> None:
    """A lost start is reserved while unknown, and spent once `recover` has found it."""
    service.lose, service.quote = 1, 3
    budget = Budget(100)
    async with client(service, budget=budget) as a2e:
        with pytest.raises(StartOutcomeUnknown) as caught:
            await a2e.dubbing.start(**DUB)
        assert (budget.spent, budget.reserved) == (0, 3)
        service.show_lost()
        await a2e.recover(caught.value.recovery)
        assert (budget.spent, budget.reserved) == (1, 0)


@pytest.mark.parametrize("short_of", ["budget", "coins"])
async def test_jobs_that_are_paid_end_although_no_coins_are_left(
    service: Service, tmp_path: Path, short_of: str
) -> None:
    """A job that cannot be paid for does not keep the results of jobs behind it."""
    async with client(service, journal=tmp_path / "j.db") as a2e:
        jobs = [a2e.dubbing.job(**DUB, key=f"k{n}", name=f"n{n}") for n in range(5)]
        for n in (2, 4):  # started by a run that was killed
            await a2e.dubbing.start(**DUB, key=f"k{n}", name=f"n{n}")
    service.no_coins = short_of == "coins"
    ended = dict[str | None, bool]()
    async with client(service, journal=tmp_path / "j.db") as a2e:

        async def run() -> None:
            budget = 2 if short_of == "budget" else None
            async for outcome in a2e.batch(
                jobs, limit=1, budget=budget, download_to=tmp_path / "out"
            ):
                ended[outcome.job.key] = bool(outcome.paths)

        with pytest.raises(BudgetExceeded if short_of == "budget" else InsufficientCredits):
            await run()
    assert ended == {"k0": False, "k2": True, "k4": True}
    assert service.starts() == 2


@pytest.mark.parametrize("budget", [None, 100, 1])
async def test_a_row_whose_input_cannot_be_renewed_is_an_outcome(
    service: Service, tmp_path: Path, budget: int | None
) -> None:
    """It ends neither the batch nor the rows behind it, and hides no error that does."""
    gone = Output(
        url="https://media.example/gone.wav",
        media="audio",
        expires_at=datetime(2020, 1, 1, tzinfo=UTC),
        ref=f"dubbing:{KEY_ID}",
    )
    async with client(service, journal=tmp_path / "j.db") as a2e:
        jobs = [
            a2e.dubbing.job(**{**DUB, "source_url": source}, name=f"n{n}")
            for n, source in enumerate([DUB["source_url"], gone, DUB["source_url"], gone])
        ]
        ended: dict[str | None, Exception | None] = {}
        error: Exception | None = None
        try:
            async for outcome in a2e.batch(jobs, limit=1, budget=budget):
                ended[outcome.job.input.name] = outcome.error
        except BudgetExceeded as end:
            error = end
    good = ["n0"] if budget == 1 else ["n0", "n2"]
    assert [name for name, end in ended.items() if end is None] == good
    assert isinstance(ended["n1"], NotFound)
    assert (error is not None) is (budget == 1)
    assert service.starts() == len(good)
