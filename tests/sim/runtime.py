"""Additions to simloom's loop: task ownership, power cuts, and clean-up at the end."""

import asyncio
import contextlib
import gc
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

import simloom
from simloom._context import current_host


class OrderedTask(asyncio.Task[Any]):
    """A task whose hash is its number, not its address, so that set order is deterministic."""

    made = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        OrderedTask.made += 1
        self.number = OrderedTask.made
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self.number


def prepare_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Make tasks created in an empty context belong to the host of their creator.

    The client creates its internal tasks in `Context()`. Whatever those create (requests,
    connections, timers) would belong to no host and survive its crash.
    """
    OrderedTask.made = 0

    def factory(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        *,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        host = current_host.get()
        if context is not None and host is not None and context.get(current_host) is None:
            context.run(current_host.set, host)
        return OrderedTask(coro, loop=loop, context=context, **options)

    loop.set_task_factory(factory)

    def unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # aiohttp's server logs an error if the connection of a request is lost: ignore it.
        task: Any = context.get("future") or context.get("task")
        name = getattr(getattr(task, "get_coro", lambda: None)(), "__qualname__", "")
        if name != "RequestHandler.start":
            loop.default_exception_handler(context)

    loop.set_exception_handler(unhandled)


def cut_power(host: simloom.Host) -> None:
    """Crash a host. Its timers must not fire after its restart."""
    loop: Any = host._loop
    for handle in [*loop._ready, *(timer for _, _, timer in loop._scheduled)]:
        context = getattr(handle, "_context", None)
        if context is None or context.get(current_host) is not host:
            continue
        owner = getattr(getattr(handle, "_callback", None), "__self__", None)
        if not isinstance(owner, asyncio.Task):
            handle.cancel()
    # aiohttp creates some tasks directly (`asyncio.Task(eager_start=True)`), not by the factory.
    for task in asyncio.all_tasks(loop):
        if task.get_context().get(current_host) is host and task is not asyncio.current_task():
            host._register(task)
    host.crash()


def end_crashed_tasks(loop: Any) -> None:
    """End the tasks of crashed hosts at the end of a world.

    simloom would run their ``finally`` blocks on the loop, where they may wait for ever for
    connections or callbacks lost in the crash.
    """
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    loop.set_exception_handler(lambda *_: None)
    loop._revive_crashed = list

    def dead(_: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        # Anything that the ``finally`` blocks schedule must not run, either.
        task = OrderedTask(coro, loop=loop, **options)
        loop._crash_tasks([task])
        return task

    loop.set_task_factory(dead)
    closed = 0
    while closed < len(loop._crashed_tasks):
        for task in loop._crashed_tasks[closed:]:
            closed += 1
            task._log_destroy_pending = False
            for _ in range(50):
                _close_chain(task.get_coro())
                if getattr(task.get_coro(), "cr_frame", None) is None:
                    break
    loop.set_task_factory(None)
    gc.collect()
    sys.unraisablehook = hook


def _close_chain(inner: Any) -> None:
    chain = []
    while inner is not None and hasattr(inner, "close"):
        chain.append(inner)
        inner = next(
            (
                below
                for name in ("cr_await", "ag_await", "gi_yieldfrom")
                if (below := getattr(inner, name, None)) is not None
            ),
            None,
        )
    for one in reversed(chain):
        with contextlib.suppress(BaseException):
            one.close()  # it awaited something in a finally block: close again
