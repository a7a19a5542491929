"""Fails if the installed package exports too many names, or too many of unknown type.

``python tests/typing/completeness.py VENV`` checks the package that is installed in a virtual
environment, as type checkers of its users see it. Lists the names whose type is not known.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

MAX_EXPORTED: Final = 3_000
"""Symbols that users can import, with the attributes of classes.

Those of the command line are not counted: it is a program, which nothing imports.
"""

MIN_KNOWN: Final = 0.995
"""Share of these whose type is known to every type checker."""


def verify_types(venv: Path) -> dict[str, Any]:
    """Return pyright's report on the types of the package that is installed in ``venv``."""
    pyright = shutil.which("pyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if pyright is None:
        raise SystemExit("pyright is not installed beside this Python")
    # It reads the environment whose Python comes first, and from the working directory.
    environment = {
        **os.environ,
        "PATH": f"{venv.resolve() / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as elsewhere:
        run = subprocess.run(
            [pyright, "--verifytypes", "a2e_async", "--ignoreexternal", "--outputjson"],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
        )
    report: dict[str, Any] = json.loads(run.stdout)["typeCompleteness"]
    return report


def main(venv: str) -> int:
    """Print the counts and the names of unknown type; return 1 if a limit is exceeded."""
    report = verify_types(Path(venv))
    for symbol in report["symbols"]:
        if symbol["isExported"] and not symbol["isTypeKnown"]:
            reasons = "; ".join(each["message"] for each in symbol["diagnostics"])
            print(f"{symbol['name']}: {' '.join(reasons.split())}")
    exported = sum(
        symbol["isExported"] and not symbol["name"].startswith("a2e_async.cli")
        for symbol in report["symbols"]
    )
    known = report["completenessScore"]
    print(f"{exported} exported symbols, the types of {100 * known:.2f} % are known")
    return int(not 0 < exported < MAX_EXPORTED or known < MIN_KNOWN)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
