"""The app of the page on web apps: as short as it says, and it works when it is restarted."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from a2e_async.sandbox import Sandbox, media

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "web-app.md"


def test_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started twice with the same key, restarted, refused: one charge, one result."""
    found = re.search(
        r"^```python\n# app\.py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    code = found[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    monkeypatch.chdir(tmp_path)
    files = {"file": ("talk.wav", media.speech().read_bytes())}
    job = "/jobs/talk-17?target_lang=es"
    with Sandbox(speed=6000, make_results="stdlib") as sandbox:
        monkeypatch.setenv("A2E_API_KEY", sandbox.api_key)
        monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)
        for _ in range(2):
            names: dict[str, object] = {}
            exec(compile(code, "app.py", "exec"), names)
            with TestClient(names["app"]) as http:  # type: ignore[arg-type]  # made by the line above
                assert http.put(job, files=files).status_code == 202
                while (result := http.get("/jobs/talk-17/result")).status_code == 404:
                    assert result.json() == {"detail": "Not ready yet."}
                assert result.content.startswith(b"RIFF")
                refused = http.put(job, files={"file": ("x.wav", b"no media")})
                assert (refused.status_code, refused.json()["error"]) == (422, "invalid_input")
        assert len(sandbox.ledger.starts()) == 1
