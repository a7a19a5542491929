"""The notebook, executed as Jupyter does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from a2e_async.sandbox import Sandbox, media

from .programs import EXAMPLES


def run(directory: Path, sandbox: Sandbox) -> str:
    """Execute the notebook in a fresh kernel; return what its cells printed."""
    done = subprocess.run(
        [Path(sys.executable).with_name("jupyter-execute"), "notebook.ipynb", "--inplace"],
        cwd=directory,
        env={
            **os.environ,
            "A2E_API_KEY": sandbox.api_key,
            "A2E_BASE_URL": sandbox.base_url,
            "IPYTHONDIR": str(directory / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((directory / "notebook.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [one for one in outputs if one.get("name") == "stderr"], outputs
    assert any("text/html" in one.get("data", {}) for one in outputs)  # the player
    return "".join("".join(one.get("text", "")) for one in outputs)


def test_run_twice(tmp_path: Path) -> None:
    """Every cell works; running the notebook again charges nothing."""
    shutil.copy(EXAMPLES / "notebook.ipynb", tmp_path)
    shutil.copy(media.speech(), tmp_path / "talk.wav")
    with Sandbox(speed=600, make_results="stdlib") as sandbox:
        assert "succeeded" in run(tmp_path, sandbox)
        run(tmp_path, sandbox)
        assert len(sandbox.ledger.starts()) == 3
    assert len(list((tmp_path / "results").iterdir())) == 3


def test_it_is_kept_without_outputs() -> None:
    """What a run of it leaves in the file is not for the repository."""
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
