"""What a report of ``a2e verify`` says about the sandbox: ``python -m tests.contract.report FILE``.

Prints each difference between the responses in the report and those of the sandbox. Each is either
a mistake in the contract, which the sandbox shares with the tests of the kinds, or a new fact.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from a2e_async.cli import main as run_command
from a2e_async.cli.verify.report import Report, read_report
from a2e_async.cli.verify.shapes import differences
from a2e_async.client import A2E
from a2e_async.sandbox import Sandbox
from tests.samples import SAMPLES


async def fill(sandbox: Sandbox, times: int = 1) -> None:
    """Start tasks of every kind, and let them end."""
    async with A2E(sandbox.api_key, base_url=sandbox.base_url, rate=None) as client:
        for _ in range(times):
            for name, inputs in SAMPLES.items():
                await client.kind(name).start(**inputs)
            sandbox.advance(6 * 3600)  # some kinds refuse a second task while the first is running


def report_differences(recorded: Report, ours: Report) -> list[str]:
    """Return how recorded responses differ from ours, one line for each field."""
    own = {one.name: one for one in ours.observations}
    lines: list[str] = []
    for one in recorded.observations:
        twin = own.get(one.name)
        if twin is None:
            continue
        if one.status != twin.status:
            lines.append(f"{one.name}: status {one.status} instead of {twin.status}")
        elif one.body is not None and twin.body is not None:
            lines += [f"{one.name}: {text}" for text in differences(one.body, twin.body)]
    return lines


def sandbox_report() -> Report:
    """Return the report of a sandbox with tasks of every kind."""
    with tempfile.TemporaryDirectory() as directory, Sandbox(make_results="stdlib") as sandbox:
        asyncio.run(fill(sandbox))
        os.environ |= {"A2E_API_KEY": sandbox.api_key, "A2E_BASE_URL": sandbox.base_url}
        path = Path(directory) / "report.json"
        run_command(("verify", "--quiet", "-o", str(path)))
        return read_report(path.read_text("utf-8"), str(path))


def main(path: Path) -> int:
    """Print the differences; return 1 if there are any."""
    lines = report_differences(read_report(path.read_text("utf-8"), str(path)), sandbox_report())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
