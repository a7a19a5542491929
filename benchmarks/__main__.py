"""Run the benchmarks: ``python -m benchmarks [--short] [--docs] [--out DIR] [name …]``.

Prints one table and writes ``results.json``, and a file more for each that finds curves. The exit
code is 0 when the benchmarks ran: a missed goal is shown, not failed, because machines differ
(``--strict`` fails on it). One that fails is told at the end, and the others' figures are kept;
README and docs are written from one whole run of all of them, or not at all.
"""

import argparse
import importlib
import json
import os
import platform
import time
import traceback
from pathlib import Path

from benchmarks.common import DETAILS, Row, print_table, to_json, to_markdown

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

ELSEWHERE = frozenset({"peers", "sse", "tick", "webhooks", "scale"})
"""Whose rows the README leaves to the page of all figures."""


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], metavar="name", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--readme", action="store_true", help="put the main rows into README.md")
    parser.add_argument(
        "--docs", action="store_true", help="write docs/benchmarks.md and its plots"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    if (arguments.readme or arguments.docs) and (arguments.names or arguments.short):
        parser.error("--readme and --docs are for a run of everything in its full form")
    rows: list[Row] = []
    shown: list[Row] = []
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
        shown += [] if name in ELSEWHERE else found
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    machine = f"{platform.system()} {platform.machine()}, CPython {platform.python_version()}"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    title = f"{machine}, {os.cpu_count()} cores, {today}{', short form' if arguments.short else ''}"
    print_table(title, rows)
    if arguments.readme and not failed:
        readme = Path(__file__).parents[1] / "README.md"
        table = f"<!-- benchmarks -->\n{to_markdown(title, shown)}\n<!-- /benchmarks -->"
        text = readme.read_text()
        begin, end = text.index("<!-- benchmarks -->"), text.index("<!-- /benchmarks -->")
        readme.write_text(text[:begin] + table + text[end + len("<!-- /benchmarks -->") :])
    arguments.out.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine, "date": today, "short": arguments.short, "rows": to_json(rows)}
    (arguments.out / "results.json").write_text(json.dumps(values, indent=1) + "\n")
    head = {"machine": machine, "date": today, "short": arguments.short}
    for name, detail in DETAILS.items():
        text = json.dumps({**head, **detail}, indent=1)
        (arguments.out / f"{name}.json").write_text(text + "\n")
    if arguments.docs and not failed:
        importlib.import_module("benchmarks.report").write(arguments.out)
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    return 1 if arguments.strict and not all(row.reached for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
