"""What the command line refuses, limits and warns of before coins are spent."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.error_messages import describe_lost_start
from a2e_async.cli.input_flags import message_with_flags
from a2e_async.kinds.registry import kind_named
from a2e_async.models import Recovery
from a2e_async.sandbox import Sandbox, check_media

from .conftest import Invoke
from .test_batch import RUN, picture, write

SOUND = "https://example.com/a.wav"
DUB = ["dubbing", "--source-url", SOUND, "--target-lang", "es"]


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon", "1_0"])
def test_a_timeout_is_read_before_the_start(a2e: Invoke, sandbox: Sandbox, seconds: str) -> None:
    for words in (["run", *DUB], ["task", "wait", "dubbing:1"], ["task", "download", "dubbing:1"]):
        result = a2e(*words, f"--timeout={seconds}")
        assert result.code == exit_codes.USAGE
        assert "--timeout" in result.err
    assert sandbox.calls_total == 0


def test_a_download_with_nowhere_to_save_asks_nothing(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = a2e("task", "download", "dubbing:1", "-o", "file/x")
    assert result.code == exit_codes.USAGE
    assert sandbox.calls_total == 0


@pytest.mark.parametrize("number", ["1.5", "0x10", "1e1", "1_0", "²"])
def test_whole_numbers_are_plain(a2e: Invoke, sandbox: Sandbox, number: str) -> None:
    for words in (
        ["start", *DUB, "--num-speakers", number],
        ["list", "dubbing", "--page", number],
        ["batch", "jobs.jsonl", "--limit", number],
    ):
        result = a2e(*words)
        assert result.code == exit_codes.USAGE
        assert "must be a whole number" in result.err
    assert sandbox.calls_total == 0


def test_a_plain_whole_number_is_sent_as_it_is(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e("start", *DUB, "--num-speakers", "2").code == 0
    (charge,) = sandbox.ledger.charges
    assert charge.body["num_speakers"] == 2


def test_one_output_is_written_to_the_file_that_is_named(a2e: Invoke, tmp_path: Path) -> None:
    result = a2e("run", *DUB, "-o", "new/talk.wav")
    assert result.code == 0, result.err
    assert result.out == "new/talk.wav\n"
    assert check_media(tmp_path / "new" / "talk.wav").ok


def test_a_name_with_a_suffix_may_be_a_directory(a2e: Invoke, tmp_path: Path) -> None:
    (tmp_path / "v1.0").mkdir()
    for out in ("v1.0", "v2.0/"):
        path = Path(a2e("run", *DUB, "-o", out).out.strip())
        assert path.parent == Path(out)
        assert path.is_file()


def test_several_outputs_are_no_file(a2e: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    words = ["image_to_video", "--image-url", "https://example.com/a.png", "--prompt", "x"]
    words += ["--negative-prompt", "blurry"]
    words += ["--number-of-images", "2"]
    result = a2e("run", *words, "-o", "two.mp4")
    assert result.code == exit_codes.USAGE
    assert "there will be 2 results: give a directory" in result.err
    assert not sandbox.ledger.charges
    ref = a2e("start", *words).out.strip()
    result = a2e("task", "download", ref, "-o", "two.mp4")
    assert result.code == 0, result.err
    assert "There are 2 results, not one: they are saved in the directory two.mp4." in result.err
    assert len([*(tmp_path / "two.mp4").iterdir()]) == 2
    (tmp_path / "kept.mp4").write_text("mine")
    assert a2e("task", "download", ref, "-o", "kept.mp4").code == exit_codes.USAGE
    result = a2e("task", "download", ref, "-o", "kept.mp4", "--force")
    assert result.code == 0, result.err
    assert (tmp_path / "kept.mp4").read_text() == "mine"


def price(a2e: Invoke) -> int:
    found: int = a2e("quote", "text_to_image", "--prompt", "dog", "--json").document["coins"]
    return found


def test_a_budget_ends_a_batch_and_a_larger_one_goes_on(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    one = price(a2e)
    write(tmp_path / "jobs.jsonl", picture("a"), picture("b"))
    words = ["batch", "jobs.jsonl", *RUN, "--limit", "1", "--budget"]
    result = a2e(*words, str(one))
    assert result.code == exit_codes.COINS
    assert f"0 of {one} are left" in result.err
    assert f"1 started, 1 held back by the budget: 0 free, 0 reserved, {one} spent" in result.err
    assert "Raise --budget" in result.err
    assert f"--budget {one}" in result.err
    assert len(sandbox.ledger.starts()) == 1
    result = a2e(*words, str(2 * one), "--json")
    assert result.code == 0, result.err
    assert result.document["budget"] == {"coins": 2 * one, "spent": 2 * one, "reserved": 0}
    assert f"budget: {2 * one} of {2 * one} coins spent" in result.err
    assert len(sandbox.ledger.starts()) == 2


def test_a_dry_run_says_whether_the_budget_holds(a2e: Invoke, tmp_path: Path) -> None:
    one = price(a2e)
    write(tmp_path / "jobs.jsonl", picture("a"), picture("b"))
    for coins, fits, said in (
        (2 * one, True, "fits the"),
        (2 * one - 1, False, "exceeds the"),
    ):
        words = ["batch", "jobs.jsonl", "--dry-run", "--budget", str(coins)]
        assert f"{said} budget of {coins}: {2 * one} coins" in a2e(*words).out
        assert a2e(*words, "--json").document["fits"] is fits


def test_a_budget_that_is_none(a2e: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    write(tmp_path / "jobs.jsonl", picture("a"))
    for words in (["--budget=-1"], ["--unknown-cost", "3"], ["--budget", "1.5"]):
        assert a2e("batch", "jobs.jsonl", *RUN, *words).code == exit_codes.USAGE
    assert sandbox.calls_total == 0


def test_the_quote_of_a_local_file_is_about(a2e: Invoke, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    local = a2e("quote", "dubbing", "--source-url", "a.wav", "--target-lang", "es")
    if local.out.startswith("unknown"):
        pytest.fail(local.err)
    assert local.out.startswith("about ")
    assert local.out.endswith(" coins\n")
    assert "is not uploaded for a quote" in local.err
    assert not a2e("quote", *DUB).out.startswith("about")


def test_the_name_of_a_language_is_no_code(a2e: Invoke, sandbox: Sandbox) -> None:
    words = ["run", "dubbing", "--source-url", SOUND, "--target-lang"]
    for name, code in (("french", "fr"), ("Español", "es"), (" German ", "de")):
        result = a2e(*words, name)
        assert result.code == exit_codes.USAGE
        assert f"--target-lang takes the code of a language, not its name: give {code!r}" in (
            result.err
        )
    result = a2e(*words, "es", "--source-lang", "chinese")
    assert "--source-lang takes the code of a language" in result.err
    assert sandbox.calls_total == 0
    for code in ("pt-BR", "zh-Hans", "xx", "klingon"):  # the service may know more than we do
        assert a2e("quote", *words[1:], code).code == 0


def test_a_wrong_file_of_certificates_is_named(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    with Sandbox(tls=True) as secured:
        monkeypatch.setenv("A2E_BASE_URL", secured.base_url)
        for path, said in (("gone.pem", "does not exist"), ("none.pem", "is no file of cert")):
            monkeypatch.setenv("SSL_CERT_FILE", path)
            result = a2e("credits")
            assert result.code == exit_codes.SERVICE
            assert f"SSL_CERT_FILE names {path}, which {said}" in result.err


def test_bounds_are_written_in_full(a2e: Invoke) -> None:
    sheet = a2e("kinds", "avatar_video").out
    name = " ".join(sheet.partition("--name ")[2].partition("\n--")[0].split())
    assert "At most 40 characters." in name
    assert not [kind for kind in json.loads(a2e("kinds", "--json").out) if "e+" in str(kind)]
    assert "at least 1 times" not in a2e("kinds", "--json").out


def test_refusals_name_the_flag(a2e: Invoke) -> None:
    result = a2e("start", "dubbing", "--source-url", "ftp://x/a.wav", "--target-lang", "es")
    assert result.code == exit_codes.USAGE
    assert result.err.startswith("error: --source-url")
    dubbing = kind_named("dubbing")
    assert (
        message_with_flags(dubbing, "name must be a text; name it")
        == "--name must be a text; name it"
    )
    assert message_with_flags(dubbing, "see https://a/source_url") == "see https://a/source_url"


def test_messages_name_flags_and_nothing_of_python(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    wanted = "error: --source-url takes a URL or a local path; the URL must begin with http:// or"
    for words in (["run"], ["start"], ["quote"]):
        refused = a2e(*words, "dubbing", "--source-url", "ftp://host/a.wav", "--target-lang", "es")
        assert refused.err.startswith(wanted)
    write(tmp_path / "jobs.jsonl", {"kind": "dubbing", "input": {"source_url": 5}})
    refused = a2e("batch", "jobs.jsonl", *RUN)
    assert "source_url: must be a URL or a local path, got 5." in refused.err
    journaled = ["start", "dubbing", "--target-lang", "es", "--journal", "j.db", "--key", "k"]
    assert a2e(*journaled, "--source-url", SOUND).code == 0
    other = a2e(*journaled, "--source-url", "https://example.com/b.wav")
    assert "key 'k' was used before with another --source-url. The paid task is " in other.err
    assert len(sandbox.ledger.starts()) == 1


def test_a_lost_call_is_no_start() -> None:
    words = {
        kind: describe_lost_start(
            Recovery(
                kind=kind, path="/x", name=None, mark="m", digest="d", sent_at=datetime.now(UTC)
            )
        )
        for kind in ("speech", "dubbing")
    }
    assert words == {"speech": "A speech call", "dubbing": "A dubbing start"}


def test_a_name_with_another_format_is_reported(a2e: Invoke) -> None:
    voice = a2e("voices", "--json").document["voices"][0]["id"]
    result = a2e("say", "hello", "--voice", voice, "-o", "hi.mp3")
    assert result.out == "hi.mp3\n"
    assert "hi.mp3 is WAV" in result.err
    assert "despite" not in a2e("say", "hello", "--voice", voice, "-o", "ho.wav").err


def test_a_lost_response_is_reported_in_commands(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.malformed(role="action")
    voice = a2e("voices", "--json").document["voices"][0]["id"]
    result = a2e("say", "hello", "--voice", voice)
    assert result.code == exit_codes.UNKNOWN
    assert "it was not sent again.\n" in result.err
    assert "error.recovery" not in result.err
    assert "a2e.credits" not in result.err


def test_avatars_and_backgrounds(a2e: Invoke) -> None:
    for name in ("avatars", "backgrounds"):
        items = a2e(name, "--json").document[name]
        assert items
        lines = a2e(name).out.splitlines()
        assert [line.split()[0] for line in lines] == ["ID", *(item["id"] for item in items)]


def test_voices_find_a_region_by_themselves(a2e: Invoke) -> None:
    document = a2e("voices", "--country", "de", "--json").document
    assert document["region"] == "DE"
    assert document["voices"]


def test_an_empty_table_of_voices_explains_itself(a2e: Invoke) -> None:
    result = a2e("voices", "--country", "xx")
    assert result.code == 0
    assert "no voices for --country xx" in result.err
    assert "de" in result.err.partition("Languages:")[2]
