"""Mutation testing of the modules that decide about money and ends: can the tests fail?

``python tests/mutation.py`` changes one expression at a time (library mutmut) in a copy of the
checkout, runs the tests that reach it, and fails if fewer than 92 % of the changes are noticed.
``--sample N`` tries N mutants drawn at random, for CI. Survivors are listed; ``--show`` prints
their differences. Needs the extras ``dev`` and ``mutation``.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent

MODULES: Final = (
    "a2e_async/transport/retry.py",
    "a2e_async/transport/classify.py",
    "a2e_async/transport/partfile.py",
    "a2e_async/tasks/recovery.py",
    "a2e_async/tasks/budget.py",
    "a2e_async/tasks/book.py",
    "a2e_async/tasks/journal_rules.py",
    "a2e_async/tasks/schedule.py",
    "a2e_async/tasks/status.py",
)
"""What decides whether something is paid again, and when a wait or an entry ends."""

TESTS: Final = (
    "tests/pure",
    "tests/transport",
    "tests/transfer",
    "tests/journal",
    "tests/laws",
    "tests/client/test_keys.py",
    "tests/client/test_recovery.py",
    "tests/client/test_money.py",
    "tests/client/test_wait.py",
    "tests/batch/test_budget.py",
    "tests/batch/test_journaled.py",
)
"""The tests that reach these modules quickly; processes they start run the original code."""

SURVIVED: Final = 0
NO_TESTS: Final = 5, 33
"""Exit codes of an unnoticed mutant's test run; any other is a failure, crash or timeout."""

CONFIG: Final = """
[tool.mutmut]
source_paths = ["a2e_async"]
only_mutate = {modules}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-x"]
# The texts of log messages decide nothing.
do_not_mutate_patterns = ["logger\\\\."]
also_copy = ["README.md", "CHANGELOG.md", "docs", "benchmarks", "examples"]
"""


def copy_checkout(to: Path, modules: tuple[str, ...]) -> None:
    """Copy the files that git knows, with mutmut's settings added to pyproject.toml."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    tests = [name for name in TESTS if (ROOT / name).exists()]
    with (to / "pyproject.toml").open("a") as file:
        file.write(CONFIG.format(modules=json.dumps(modules), tests=json.dumps(tests)))


def mutmut(at: Path, *arguments: str) -> str:
    """Run mutmut in the copy and return what it printed."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(at), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True)
    return run.stdout + run.stderr


def exit_codes(at: Path) -> dict[str, int | None]:
    """Return the exit code of each mutant's test run by its name; None for one not run."""
    codes: dict[str, int | None] = {}
    for meta in sorted(at.glob("mutants/**/*.meta")):
        codes |= json.loads(meta.read_text())["exit_code_by_key"]
    return codes


def main() -> int:
    """Run, print the survivors, and return 1 if too many mutants survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="try that many, drawn at random")
    parser.add_argument("--seed", type=int, default=None, help="of the drawing")
    parser.add_argument("--min", type=float, default=92.0, help="percent that must be killed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print the survivors' differences")
    parser.add_argument("modules", nargs="*", help="only these files")
    options = parser.parse_args()
    modules = tuple(options.modules) or MODULES
    jobs = ("--max-children", str(options.jobs))
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory)
        copy_checkout(at, modules)
        names: list[str] = []
        if options.sample:
            mutmut(at, "run", *jobs, "no mutant has this name")  # makes them, runs none
            every = sorted(exit_codes(at))
            seed = random.randrange(10**6) if options.seed is None else options.seed
            names = random.Random(seed).sample(every, min(options.sample, len(every)))
            print(f"{len(names)} of {len(every)} mutants, --seed {seed}")
        said = mutmut(at, "run", *jobs, *names)
        codes = {name: code for name, code in exit_codes(at).items() if code is not None}
        if not codes:
            print(said[-4000:])
            return 1
        survivors = [name for name, code in codes.items() if code in (SURVIVED, *NO_TESTS)]
        for name in survivors:
            print(f"survived ({'no test' if codes[name] in NO_TESTS else 'tested'}): {name}")
            if options.show:
                print(mutmut(at, "show", name))
    share = 100 * (len(codes) - len(survivors)) / len(codes)
    print(f"{len(codes) - len(survivors)} of {len(codes)} mutants killed: {share:.1f} %")
    return int(share < options.min)


if __name__ == "__main__":
    sys.exit(main())
