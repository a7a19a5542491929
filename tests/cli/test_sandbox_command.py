"""``a2e sandbox``: its options reach the sandbox, and unusable ones are refused before it runs."""

import json
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from a2e_async.cli import exit_codes

from .conftest import Invoke, ended, environment, interrupt, popen


def test_faults_durations_tls_and_a_key(tmp_path: Path) -> None:
    pytest.importorskip("trustme")
    process = popen(
        *("sandbox", "--json", "--tls", "--speed", "1", "--api-key", "mine"),
        *("--duration", "face_swap=900", "--duration", "dubbing=5-6"),
        *("--fault", "http_error,status=503,role=coins", "--fault", "error_in_msg"),
        env=environment(),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    context = ssl.create_default_context(cafile=facts["ca_file"])

    def call(path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            facts["base_url"] + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer mine", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)

    try:
        assert facts["base_url"].startswith("https://")
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            call("/api/v1/user/remainingCoins")
        assert "msg" in json.load(caught.value)
        caught.value.close()
        assert call("/api/v1/user/remainingCoins")["code"] == 0
        urls = {"video_url": "https://media.example/a.mp4", "face_url": "https://media.example/b"}
        call("/api/v1/userFaceSwapTask/add", {"name": "swap", **urls})
        (task,) = call("/__sandbox__/tasks")["tasks"]
        assert task["ends_at"] - task["created_at"] == pytest.approx(900)
    finally:
        interrupt(process)
        assert ended(process).code == 0


def test_it_prints_what_to_set(tmp_path: Path) -> None:
    pytest.importorskip("trustme")
    process = popen(
        *("sandbox", "--tls", "--public-url", "https://a2e.example"),
        env=environment(),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    text = "".join(process.stdout.readline() for _ in range(6))
    interrupt(process)
    assert ended(process).code == 0
    assert "export A2E_BASE_URL=https://a2e.example\n" in text
    assert "export SSL_CERT_FILE=" in text
    assert "It listens on https://127.0.0.1:" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "stuk"], "no such fault: stuk"),
        (["--fault", "stuck,kind=dubing"], "no such kind: dubing"),
        (["--duration", "face_swap"], "write KIND=SECONDS"),
        (["--duration", "faceswap=1"], "no such kind to set a duration for: faceswap"),
        (["--duration", "dubbing=9-1"], "write KIND=SECONDS"),
        (["--public-url", "here"], "public URL must be"),
        (["--speed", "0"], "speed must be above 0"),
    ],
)
def test_unusable_options_are_refused(invoke: Invoke, words: list[str], said: str) -> None:
    result = invoke("sandbox", *words)
    assert (result.code, result.out) == (exit_codes.USAGE, "")
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", [("sandbox",), ("webhook", "listen")])
def test_a_port_in_use(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """The error names the flag to change."""
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", "of this test, long enough")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke(*command, "--port", str(port))
    assert result.code == exit_codes.SERVICE
    assert result.err == "error: Another program uses this port. Choose another with --port.\n"
