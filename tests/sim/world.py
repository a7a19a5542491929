"""One world: programs, their machines, the service, and injected failures."""

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from unittest.mock import patch

import simloom

from a2e_async._core.journal.protocol import Entry
from a2e_async._core.journal.sqlite import SqliteJournal

from . import laws
from .clocks import machine_clocks
from .disk import Disk, simulated_disks
from .draws import part, pick
from .jobs import draw_batch, draw_jobs
from .program import Program, start_on
from .runtime import cut_power, end_crashed_tasks, prepare_loop
from .service import SimulatedService, hosted, reset
from .story import Story

API_KEYS: Final = ("sk_first_secret_key", "sk_second_secret_key")
WEBHOOK_SECRET: Final = "secret-of-webhooks-0123456789-abcdefghijkl"
TROUBLES: Final = (
    "none",
    "crash",
    "crash",
    "partition",
    "reset",
    "service crash",
    "clog",
    "clock jump",
)
FAULTLESS_RUN_SECONDS: Final = 9000.0
"""Longest duration of the last run, without faults, in seconds."""

MAX_FAULTLESS_RUNS: Final = 3
"""How often programs are run again while the journal has tasks without results."""


class _LogCollector(logging.Handler):
    """Copies the package's log records to the story."""

    def __init__(self, story: Story) -> None:
        super().__init__(logging.DEBUG)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        cause = f" <- {record.exc_info[1]!r}" if record.exc_info else ""
        text = f"{record.name}: {record.getMessage()}{cause}"
        self._story.texts.append(text)
        if record.levelno >= logging.ERROR:
            self._story.say(f"LOG {text[:300]}")


@contextlib.contextmanager
def _collect_logs(story: Story) -> Iterator[None]:
    logger, handler = logging.getLogger("a2e_async"), _LogCollector(story)
    level, spread = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = spread


@dataclass
class WorldSetup:
    """The randomly chosen service, programs and disks of a world."""

    story: Story
    service: SimulatedService
    programs: list[Program]
    disks: dict[str, Disk]
    directory: Path
    offsets: dict[str, float]
    jumped: bool = field(default=False)


def _memory_directory() -> str | None:
    """Return a directory in memory, if there is one: fsync is fast there."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def live(
    world: simloom.World, *, focus: str | None = None, story: Story | None = None
) -> Story:
    """Run one world; raise `AssertionError` if an invariant was violated.

    ``focus`` makes every failure one of this type. ``story`` is filled even if this raises.
    """
    story = Story() if story is None else story
    loop = asyncio.get_running_loop()
    prepare_loop(loop)
    disks: dict[str, Disk] = {}
    with (
        tempfile.TemporaryDirectory(dir=_memory_directory(), prefix="a2e-sim-") as directory,
        machine_clocks() as offsets,
        simulated_disks(disks),
        _collect_logs(story),
        patch("tests.hostile.reply.reset", reset),
        patch.dict(os.environ, A2E_WEBHOOK_SECRET=WEBHOOK_SECRET),
    ):
        setting = _draw(world, story, Path(directory), disks, offsets)
        for program in setting.programs:
            start_on(program.host, program)
        there = hosted(world, setting.service)
        await _inject_failures(world, setting, there, focus)
        await _run_without_faults(world, setting)
        await _check(world, setting)
        story.over = True
        for program in setting.programs:
            _crash(program)
        setting.service.stopped.set()
        await world.sleep(1)
        end_crashed_tasks(loop)
    assert not story.violations, "; ".join(map(str, story.violations[:4]))
    return story


def _draw(
    world: simloom.World,
    story: Story,
    directory: Path,
    disks: dict[str, Disk],
    offsets: dict[str, float],
) -> WorldSetup:
    world.net.set_latency(0.001, pick("net.latency", 0.002, 0.05, 0.8))
    service = SimulatedService(story)
    crowd = pick("world.programs", "one", "one", "two", "two accounts")
    programs: list[Program] = []
    for number in range(1 if crowd == "one" else 2):
        name = f"machine-{number + 1}"
        disk = disks[name] = Disk(directory / name)
        disk.directory.mkdir()
        disk.delay = pick("disk.delay", 0.0, 0.002, 0.05, 1.0)
        disk.shared = crowd != "one"
        disk.breaks = pick("disk.breaks", 0, 0, 0, 4)
        account = number if crowd == "two accounts" else 0
        mine = f"account-{account}-{number}"
        jobs = draw_jobs(1 + simloom.draw("jobs", 3), account=mine, directory=disk.directory)
        batch = draw_batch(pick("batch.rows", 0, 0, 0, 4), account=mine)
        if programs and crowd == "two" and pick("jobs.shared", False, True):
            jobs += programs[0].jobs[:2]
        programs.append(
            Program(
                world,
                name,
                story,
                service,
                jobs,
                batch,
                journal=directory / "jobs.db",
                disk=disk,
                api_key=API_KEYS[account],
            )
        )
        offsets[name] = float(pick("clock.offset", 0, 0, 0, -45, 3600))
    story.say(f"world: {crowd}, rate {service.rate}, {service.spelling}, offsets {offsets}")
    story.say(f"world: {service.server.behaviour}")
    for program in programs:
        for job in (*program.jobs, *program.batch):
            story.say(f"world: {program.name} {job}")
    jumped = any(offsets.values())
    return WorldSetup(story, service, programs, disks, directory, offsets, jumped)


def _crash(program: Program) -> None:
    cut_power(program.host)
    program.disk.cut_power()


async def _inject_failures(
    world: simloom.World, setting: WorldSetup, there: simloom.Host, focus: str | None
) -> None:
    """Inject a few failures, mostly early, while starts are in progress."""
    story = setting.story
    for _ in range(simloom.draw("troubles", 4) + (3 if focus else 0)):
        when = pick("trouble.when", 0.5, 0.01, 0.1, 2.0, 10.0, 45.0)
        await world.sleep(when * (1 + part("trouble.part", 10)))
        program = setting.programs[simloom.draw("trouble.whom", len(setting.programs))]
        here = program.host
        trouble = focus or pick("trouble", *TROUBLES)
        story.say(f"world: {trouble} ({program.name})")
        if trouble == "crash":
            _crash(program)
            await world.sleep(pick("trouble.down", 1, 0.1, 20, 100))
            here.restart()
        elif trouble == "partition":
            world.net.partition([here], [there])
            await world.sleep(pick("trouble.cut", 1, 10, 60))
            world.net.heal()
        elif trouble == "reset":
            world.net.reset_connections(here, there)
        elif trouble == "service crash":
            cut_power(there)
            await world.sleep(pick("trouble.down", 1, 5, 40))
            there.restart()
        elif trouble == "clog":
            world.net.clog_node_in(there, latency=(0.5, 4.0))
            await world.sleep(10)
            world.net.clog_node_in(there, latency=(0.001, 0.01))
        elif trouble == "clock jump":
            setting.jumped = True
            setting.offsets[here.name] += pick("clock.jump", 60.0, -60.0, 7200.0, -7200.0)


async def _run_without_faults(world: simloom.World, setting: WorldSetup) -> None:
    """Run all programs once more, without faults: now all paid results must arrive."""
    programs, story = setting.programs, setting.story
    with contextlib.suppress(TimeoutError):
        await _all_ended(programs, within=pick("quiet.after", 300, 60))
    for life in range(MAX_FAULTLESS_RUNS):
        for program in programs:
            _crash(program)
        await world.sleep(100)  # leases expire, delayed starts arrive
        story.calm = True
        setting.service.stop_misbehaving()
        story.say("world: a last life, no faults")
        for program in programs:
            program.disk.breaks = 0
            program.ended.clear()
            program.host.restart()
        try:
            await _all_ended(programs, within=FAULTLESS_RUN_SECONDS)
        except TimeoutError:
            story.record_violation(
                "7 hang", f"quiet life {life} did not end within {FAULTLESS_RUN_SECONDS:.0f} s"
            )
            return
        if not any(entry.ids and entry.open for entry in await _entries(setting)):
            return


async def _all_ended(programs: Sequence[Program], *, within: float) -> None:
    async with asyncio.timeout(within):
        for program in programs:
            await program.ended.wait()


async def _entries(setting: WorldSetup) -> Sequence[Entry]:
    loop = asyncio.get_running_loop()
    journal = SqliteJournal(setting.directory / "jobs.db", host_clock=loop.time)
    entries, _ = await journal.entries()
    await journal.aclose()
    return entries


async def _check(world: simloom.World, setting: WorldSetup) -> None:
    every = (job for program in setting.programs for job in (*program.jobs, *program.batch))
    jobs = list({job.key: job for job in every}.values())
    ending = laws.FinalState(
        story=setting.story,
        service=setting.service,
        jobs=jobs,
        entries=await _entries(setting),
        api_keys=(*API_KEYS, WEBHOOK_SECRET),
        directory=setting.directory,
        clocks_jumped=setting.jumped,
    )
    laws.check(ending)
