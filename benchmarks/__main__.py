"""Run the benchmarks: ``python -m benchmarks [--short | --update] [--docs] [--out DIR] [name …]``.

Print one table and write ``results.json``, and one more file for each benchmark with curves. The
exit code is 0 if all benchmarks ran: a missed goal is shown but is no failure, because machines
differ (``--strict`` makes it one). A benchmark that fails is reported at the end, and the results
of the others are kept. README and docs are written only from complete results: those of one run, or
(``--update``) of one in which the named benchmarks were measured again on the same machine.
"""

import argparse
import importlib
import json
import os
import platform
import time
import traceback
from pathlib import Path
from typing import Any

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
    "upload",
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
    parser.add_argument(
        "--update", action="store_true", help="keep the results of the benchmarks not named"
    )
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--readme", action="store_true", help="write the table of README.md")
    parser.add_argument(
        "--docs", action="store_true", help="write docs/benchmarks.md and its plots"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    complete = arguments.update or not arguments.names
    if (arguments.readme or arguments.docs) and (not complete or arguments.short):
        parser.error("--readme and --docs need all benchmarks in full: name none, or --update")
    machine = f"{platform.system()} {platform.machine()}, CPython {platform.python_version()}"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    head = {"machine": machine, "date": today, "short": arguments.short}
    kept: dict[str, Any] = {}
    if arguments.update:
        kept = json.loads((arguments.out / "results.json").read_text())
        if arguments.short or (kept["machine"], kept["short"]) != (machine, False):
            parser.error("--update needs full results of this machine and Python version")
    rows: list[Row] = []
    measured: dict[str, list[Row]] = {}
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
        measured[name] = found
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    cores = os.cpu_count()
    title = f"{machine}, {cores} cores, {today}{', short form' if arguments.short else ''}"
    print_table(title, rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    values = {**head, "rows": _merge(kept.get("rows", []), measured, today)}
    (arguments.out / "results.json").write_text(json.dumps(values, indent=1) + "\n")
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


def _merge(
    kept: list[dict[str, Any]], measured: dict[str, list[Row]], today: str
) -> list[dict[str, Any]]:
    """Return the rows of all benchmarks in their order, each with its benchmark and date."""
    merged: list[dict[str, Any]] = []
    for name in NAMES:
        if name in measured:
            merged += [{"benchmark": name, "date": today, **row} for row in to_json(measured[name])]
        else:
            merged += [row for row in kept if row["benchmark"] == name]
    return merged


if __name__ == "__main__":
    raise SystemExit(main())
