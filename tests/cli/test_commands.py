"""Each command against the sandbox."""

import json
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.sandbox import Sandbox, check_media, media

from .conftest import KEY, Invoke

DUB = ["dubbing", "--source-url", str(media.speech()), "--target-lang", "es"]
IMAGE = ["image_to_video", "--image-url", str(media.portrait()), "--prompt", "smile"]
IMAGE += ["--negative-prompt", "blurry"]


def started(a2e: Invoke, *words: str) -> str:
    result = a2e("start", *(words or DUB))
    assert result.code == 0, result.err
    return result.out.strip()


def test_start_prints_the_ref_alone(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("start", *IMAGE, "--video-time", "10", "--meta", '{"row": 7}')
    assert result.code == 0
    (task,) = sandbox.tasks
    assert result.out == f"image_to_video:{task.id}\n"
    assert "60 coins" in result.err
    assert task.body["video_time"] == 10
    assert "row" not in task.body


def test_start_as_json_contains_meta(a2e: Invoke) -> None:
    document = a2e("start", *IMAGE, "--meta", '{"row": 7}', "--json").document
    assert document["ref"].startswith("image_to_video:")
    assert document["coins"] == 30
    assert document["meta"] == {"row": 7}


def test_run_saves_and_prints_the_path(a2e: Invoke, tmp_path: Path) -> None:
    result = a2e("run", *DUB, "-o", "results")
    assert result.code == 0
    path = tmp_path / result.out.strip()
    assert path.parent == tmp_path / "results"
    assert check_media(path).ok


def test_run_as_json(a2e: Invoke, sandbox: Sandbox) -> None:
    document = a2e("run", *IMAGE, "--number-of-images", "2", "--json", "--quiet").document
    assert document["status"] == "succeeded"
    assert document["coins"] == 60
    assert len(document["files"]) == len(document["ids"]) == 2
    assert document["ref"] == f"image_to_video:{'+'.join(document['ids'])}"
    assert all(check_media(entry["path"]).ok for entry in document["files"])
    assert len(sandbox.ledger.starts("image_to_video")) == 1


def test_quiet_says_nothing_but_the_result(a2e: Invoke) -> None:
    result = a2e("run", *DUB, "--quiet")
    assert result.code == 0
    assert result.err == ""


def test_the_way_of_a_task(a2e: Invoke) -> None:
    ref = started(a2e)
    waited = a2e("task", "wait", ref)
    assert waited.code == 0
    assert waited.out.startswith(f"{ref} · succeeded")
    shown = a2e("task", "show", ref)
    assert ref in shown.out
    assert "succeeded (completed)" in shown.out
    assert "http" not in shown.out
    assert a2e("task", "show", ref, "--json").document["outputs"][0]["media"] == "audio"
    fetched = a2e("task", "download", ref, "--out", "here")
    assert check_media(fetched.out.strip()).ok
    listed = a2e("list", "dubbing")
    assert ref in listed.out
    assert a2e("list", "dubbing", "--json").document["items"][0]["ref"] == ref
    assert a2e("task", "delete", ref, "--yes").code == 0
    gone = a2e("task", "show", ref)
    assert gone.code == exit_codes.FAILED
    assert gone.err.startswith("error: ")


def test_a_download_has_the_name_of_its_template(a2e: Invoke) -> None:
    ref = started(a2e)
    id = ref.partition(":")[2]
    words = ["task", "download", ref, "--name"]
    for template, more, said in (
        ("{key}{ext}", [], "only a journal knows a task's key"),
        ("talk", [], "must end with {ext}"),
        ("{id}{ext}", ["-o", "x.mp3"], "--name goes with a directory"),
    ):
        result = a2e(*words, template, *more)
        assert result.code == 2
        assert said in result.err
    result = a2e(*words, "talk-{id}-{index:02}{ext}", "-o", "out")
    assert result.code == 0, result.err
    (path,) = result.out.splitlines()
    assert Path(path).stem == f"talk-{id}-00"
    assert Path(path).is_file()


def test_delete_without_a_terminal_wants_yes(a2e: Invoke, sandbox: Sandbox) -> None:
    ref = started(a2e)
    result = a2e("task", "delete", ref)
    assert result.code == exit_codes.USAGE
    assert "--yes" in result.err
    assert sandbox.tasks


def test_list_pages(a2e: Invoke) -> None:
    refs = [started(a2e) for _ in range(3)]
    document = a2e("list", "dubbing", "--page", "2", "--page-size", "2", "--json").document
    assert [item["ref"] for item in document["items"]] == [refs[0]]
    assert document["page"] == 2


def test_credits(a2e: Invoke) -> None:
    started(a2e)
    left = a2e("credits", "--json").document["coins"]
    assert f"{left} coins" in a2e("credits").out
    document = a2e("credits", "--history", "--json").document
    assert sum(entry["coins"] for entry in document["history"]) == left
    assert "dubbing" in a2e("credits", "--history").out


def test_quote_starts_and_uploads_nothing(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("quote", *IMAGE)
    assert (result.code, result.out) == (0, "30 coins\n")
    assert a2e("quote", *IMAGE, "--json").document == {
        "kind": "image_to_video",
        "coins": 30,
        "about": False,
    }
    assert not sandbox.ledger.charges


def test_doctor_finds_a_well_account(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("doctor")
    assert result.code == 0, result.out
    for what in ("versions", "API key", "DNS", "TCP", "clock", "balance", "list dubbing", "quote"):
        assert what in result.out
    assert f"{len(KEY)} characters and begins with sk_" in result.out
    document = a2e("doctor", "--json").document
    assert document["ok"]
    assert {check["level"] for check in document["checks"]} <= {"ok", "warn"}
    assert not sandbox.ledger.charges


def test_doctor_reports_a_wrong_key(a2e: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_API_KEY", "foreign-0123456789")
    result = a2e("doctor")
    assert result.code == exit_codes.KEY
    assert "401:" in result.out
    assert "foreign-0" not in result.out + result.err


def test_doctor_reports_a_plan_without_access(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.http_error(403, role="coins", times=None)
    result = a2e("doctor")
    assert result.code == exit_codes.KEY
    assert "403:" in result.out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("A2E_API_KEY", "'quoted'", "quotes"),
        ("A2E_API_KEY", "", "not set"),
        ("A2E_BASE_URL", "https://api.a2e.ai", "documentation"),
        ("A2E_BASE_URL", "http://127.0.0.1:9", "TCP"),
        ("A2E_BASE_URL", "http://no-such-host.invalid.test", "DNS"),
    ],
)
def test_doctor_says_what_to_fix(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv(name, value)
    result = a2e("doctor")
    assert result.code != 0
    (line,) = [line for line in result.out.splitlines() if line.startswith("bad")]
    assert said in line
    assert " -> " in line


def test_doctor_hides_the_credentials_of_a_proxy(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A2E_BASE_URL", "http://a.test")
    monkeypatch.setenv("http_proxy", "http://someone:secret-word@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    result = a2e("doctor")
    assert "http://127.0.0.1:9" in result.out
    assert "secret-word" not in result.out + result.err


def test_the_key_can_come_from_another_variable(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.delenv("A2E_API_KEY")
    monkeypatch.setenv("OTHER_KEY", KEY)
    monkeypatch.delenv("A2E_BASE_URL")
    words = ["--base-url", sandbox.base_url, "--api-key-env", "OTHER_KEY"]
    assert a2e(*words, "credits").code == 0
    missing = a2e("credits", "--api-key-env", "NO_SUCH_KEY")
    assert missing.code == exit_codes.USAGE
    assert "NO_SUCH_KEY" in missing.err


def test_every_json_is_one_document(a2e: Invoke) -> None:
    ref = started(a2e)
    for words in (["task", "wait", ref], ["task", "show", ref], ["kinds"], ["credits"]):
        result = a2e(*words, "--json")
        assert result.out.count("\n") == 1
        json.loads(result.out)


def test_debug_prints_a_response_that_is_none_of_the_api(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.malformed(role="coins", times=None)
    result = a2e("credits")
    assert "--debug prints the response" in result.err
    assert "\nresponse: " in a2e("credits", "--debug").err
