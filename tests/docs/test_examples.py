"""Every example is run as its user would run it, against the sandbox."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from a2e_async.sandbox import Sandbox, media

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_usage() -> None:
    """Without its arguments an example says which it takes."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "dub_folder.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")


def test_dub_folder(tmp_path: Path) -> None:
    """Each file is dubbed once and saved; a failure is reported and affects no other file.

    A second run continues: it pays for nothing and saves what is no longer there.
    """
    talks = tmp_path / "talks"
    talks.mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(media.speech(), talks / name)
    (talks / "empty.wav").touch()
    with Sandbox(speed=600) as sandbox:
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, EXAMPLES / "dub_folder.py", "talks", "es", "out"],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "A2E_API_KEY": sandbox.api_key,
                    "A2E_BASE_URL": sandbox.base_url,
                },
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 1, done.stderr
            assert "empty.wav" in done.stderr
            assert len(sandbox.ledger.starts("dubbing")) == 2
            assert len(list((tmp_path / "out").glob("dubbing-*"))) == 2
            next((tmp_path / "out").iterdir()).unlink()
