"""Progress notifications of one wait."""

import asyncio
from typing import Any, Final

from mcp.server.mcpserver import Context

from a2e_async._core.tasks.task import Task

PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two reports on a task whose progress the service does not report."""


class ProgressReports:
    """Reports the progress of one wait to the agent's host, if that has asked for it.

    A progress that the service reports is given as it is, of 1. For other kinds the seconds that
    have passed are reported, without a total. MCP requires that the numbers increase.
    """

    def __init__(self, context: "Context[Any, Any]", task: Task[Any]) -> None:
        self._context = context
        self._task = task
        self._last = -1.0

    async def report(self) -> None:
        """Report the progress now, unless it is the same as before."""
        task, record = self._task, self._task.record
        total = 1.0 if task.kind.statuses.progress_field else None
        if total is None:
            progress = round(task.elapsed, 1)
        else:
            progress = record.progress or 0.0 if record is not None else 0.0
        if progress > self._last:
            self._last = progress
            word = record.raw_status if record is not None else None
            await self._context.report_progress(progress, total, word)

    async def repeat(self) -> None:
        """Report now and then, so that the host sees that the wait goes on."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            await self.report()
