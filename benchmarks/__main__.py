"""Run the benchmarks: ``python -m benchmarks [--short] [--docs] [--out DIR] [name …]``.

Print one table and write ``results.json``, and one more file for each benchmark with curves. The
exit code is 0 if all benchmarks ran: a missed goal is shown but is no failure, because machines
differ (``--strict`` makes it one). A benchmark that fails is reported at the end, and the results
of the others are kept. README and docs are written only from one complete run of all benchmarks.
"""

import argparse
import importlib
import json
import os
import platform
import time
import traceback
from pathlib import Path

from benchmarks import report
from benchmarks.common import DETAILS, Row, print_table, to_json

NAMES = (
    "per_call",
    "charges",
    "polling",
    "memory",
    "imports",
    "fairness",
    "download",
    "journal",
    "batch",
    "peers",
    "sse",
    "tick",
    "webhooks",
    "scale",
    "starts",
    "fleet",
)


def main() -> int:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], metavar="name", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--readme", action="store_true", help="write the table of README.md")
    parser.add_argument(
        "--docs", action="store_true", help="write docs/benchmarks.md and its plots"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    if (arguments.readme or arguments.docs) and (arguments.names or arguments.short):
        parser.error("--readme and --docs need a full run of all benchmarks")
    rows: list[Row] = []
    failed: list[str] = []
    for name in arguments.names or NAMES:
        began = time.monotonic()
        try:
            found = importlib.import_module(f"benchmarks.{name}").run(arguments.short)
        except Exception:
            failed.append(name)
            traceback.print_exc()
            continue
        rows += found
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    machine = f"{platform.system()} {platform.machine()}, CPython {platform.python_version()}"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    title = f"{machine}, {os.cpu_count()} cores, {today}{', short form' if arguments.short else ''}"
    print_table(title, rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine, "date": today, "short": arguments.short, "rows": to_json(rows)}
    (arguments.out / "results.json").write_text(json.dumps(values, indent=1) + "\n")
    head = {"machine": machine, "date": today, "short": arguments.short}
    for name, detail in DETAILS.items():
        text = json.dumps({**head, **detail}, indent=1)
        (arguments.out / f"{name}.json").write_text(text + "\n")
    if arguments.docs and not failed:
        report.write(arguments.out)
    if arguments.readme and not failed:
        report.write_readme(arguments.out)
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    return 1 if arguments.strict and not all(row.reached for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
