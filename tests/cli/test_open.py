"""``a2e open``: results are downloaded, then shown by a program of the system."""

import os
import sys
from pathlib import Path

import pytest

from a2e_async.sandbox import check_media

from .conftest import Invoke
from .test_commands import started

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other programs")


@linux
def test_a_result_is_shown(a2e: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    result = a2e("open", started(a2e), "--out", "seen")
    assert result.code == 0
    (path,) = result.out.splitlines()
    assert Path(path).parent == Path("seen")
    assert check_media(Path(path)).ok
    assert (tmp_path / "shown").read_text() == f"{Path(path).absolute()}\n"
    assert "no program" not in result.err
    program.write_text("#!/bin/sh\nexit 3\n")
    assert "There is no program to show them" in a2e("open", started(a2e), "--out", "seen").err


@linux
def test_without_a_display_the_paths_are_printed(
    a2e: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ref = started(a2e)
    for words, noted in (([], True), (["--print"], False)):
        result = a2e("open", ref, *words)
        assert result.code == 0
        (path,) = result.out.splitlines()
        assert Path(path).parent.parent == tmp_path
        assert Path(path).is_file()
        assert ("no display" in result.err) == noted
