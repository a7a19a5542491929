"""Run the benchmarks: ``python -m benchmarks [--short] [--docs] [--out DIR] [name …]``.

Prints a table and writes ``results.json``, plus one file for each benchmark that has curves. The
exit code is 0 if the benchmarks ran: a missed goal is reported, but is not a failure, because
machines differ (``--strict`` makes it one). Failed benchmarks are listed at the end, and the other
results are kept. README and docs are only written from a complete run of all benchmarks.
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

DOCS_ONLY = frozenset({"peers", "sse", "tick", "webhooks", "scale"})
"""Benchmarks whose rows are only in the docs, not in the README."""


def main() -> int:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], metavar="name", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--readme", action="store_true", help="write the main rows to README.md")
    parser.add_argument(
        "--docs", action="store_true", help="write docs/benchmarks.md and its plots"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    if (arguments.readme or arguments.docs) and (arguments.names or arguments.short):
        parser.error("--readme and --docs need a full run of all benchmarks")
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
        shown += [] if name in DOCS_ONLY else found
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
