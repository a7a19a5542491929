"""Mutation testing of the modules that decide about charges and about the end of a wait.

``python tests/mutation.py`` changes one expression at a time (with mutmut) in a copy of the
checkout, runs the tests of the changed module, and fails if less than 92 % of the mutants are
killed. ``--sample N`` tries N random mutants of each module, for CI. Survivors are listed;
``--show`` prints their diffs. Needs the extras ``dev`` and ``mutation``.
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

MODULES: Final = {
    "a2e_async/_core/typeguards.py": ("tests/pure/test_typeguards.py",),
    "a2e_async/_core/http/error_classes.py": (
        "tests/pure/test_error_classes.py",
        "tests/http/test_retry.py",
    ),
    "a2e_async/_core/http/retry.py": ("tests/http/test_retry.py",),
    "a2e_async/_core/files/part_file.py": ("tests/pure/test_part_file.py",),
    "a2e_async/_core/submission/recovery_match.py": ("tests/pure/test_recovery.py",),
    "a2e_async/_core/submission/budget.py": ("tests/pure/test_budget.py",),
    "a2e_async/_core/submission/paid_request.py": ("tests/pure/test_paid_request.py",),
    "a2e_async/_core/journal/recorder.py": ("tests/pure/test_recorder.py",),
    "a2e_async/_core/journal/rules.py": ("tests/pure/test_journal_rules.py",),
    "a2e_async/_core/polling/schedule.py": ("tests/pure/test_schedule_steps.py",),
    "a2e_async/_core/tasks/parsing.py": (
        "tests/pure/test_start_answers.py",
        "tests/pure/test_odd_kinds.py",
        "tests/pure/test_parsing.py",
    ),
}
"""The mutated modules, each with its fast tests.

Only tests that run the module in their own process: subprocesses run the original code.
"""

SURVIVED: Final = 0
NO_TESTS: Final = 5, 33
"""Exit codes for a surviving mutant; all others mean that it was killed."""

CONFIG: Final = """
[tool.mutmut]
source_paths = ["a2e_async"]
only_mutate = [{module}]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-x"]
# Log messages do not affect behaviour.
do_not_mutate_patterns = ["logger\\\\."]
also_copy = ["README.md", "CHANGELOG.md", "docs", "benchmarks", "examples"]
"""


def copy_checkout(to: Path, module: str) -> None:
    """Copy the files tracked by git, and add mutmut's settings to pyproject.toml."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    settings = CONFIG.format(module=json.dumps(module), tests=json.dumps(MODULES[module]))
    with (to / "pyproject.toml").open("a") as file:
        file.write(settings)


def mutmut(at: Path, *arguments: str) -> str:
    """Run mutmut in the copy and return its output."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(at), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True)
    return run.stdout + run.stderr


def exit_codes(at: Path) -> dict[str, int | None]:
    """Return the exit code of each mutant's test run, by name; None if not run."""
    codes: dict[str, int | None] = {}
    for meta in sorted(at.glob("mutants/**/*.meta")):
        codes |= json.loads(meta.read_text())["exit_code_by_key"]
    return codes


def try_module(module: str, options: argparse.Namespace, rng: random.Random) -> tuple[int, int]:
    """Return how many mutants of a module were tried and how many were killed."""
    jobs = ("--max-children", str(options.jobs))
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory)
        copy_checkout(at, module)
        names: list[str] = []
        if options.sample:
            mutmut(at, "run", *jobs, "no mutant has this name")  # creates all mutants, runs none
            every = sorted(exit_codes(at))
            names = rng.sample(every, min(options.sample, len(every)))
        said = mutmut(at, "run", *jobs, *names)
        codes = {name: code for name, code in exit_codes(at).items() if code is not None}
        if not codes:
            raise SystemExit(said[-4000:])
        survivors = [name for name, code in codes.items() if code in (SURVIVED, *NO_TESTS)]
        for name in survivors:
            print(f"survived ({'no test' if codes[name] in NO_TESTS else 'tested'}): {name}")
            if options.show:
                print(mutmut(at, "show", name))
    return len(codes), len(codes) - len(survivors)


def main() -> int:
    """Run, print the survivors, and return 1 if too many mutants survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=0, help="try this many random mutants of each module"
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of the random sample")
    parser.add_argument("--min", type=float, default=92.0, help="percent that must be killed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print the diffs of the survivors")
    parser.add_argument("modules", nargs="*", help="only these files")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    if options.sample:
        print(f"--seed {seed}")
    rng = random.Random(seed)
    all_tried = all_killed = 0
    for module in options.modules or MODULES:
        tried, killed = try_module(module, options, rng)
        print(f"{module}: {killed} of {tried} killed, {100 * killed / tried:.1f} %", flush=True)
        all_tried, all_killed = all_tried + tried, all_killed + killed
    share = 100 * all_killed / all_tried
    print(f"{all_killed} of {all_tried} mutants killed: {share:.1f} %")
    return int(share < options.min)


if __name__ == "__main__":
    sys.exit(main())
