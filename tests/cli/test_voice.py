"""``voices`` and ``say`` against the sandbox: output, files, charges, and interruption."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.sandbox import Sandbox

from .conftest import Invoke, ended, environment, interrupt, popen
from .test_interrupt import until

ID = "66ea4dd87db10c73fa29b570"


@pytest.fixture
def voice(a2e: Invoke) -> str:
    found: str = a2e("voices", "--json").document["voices"][0]["id"]
    return found


def spoken(sandbox: Sandbox) -> int:
    """Return how many times speech was charged."""
    return sum(charge.kind == "speech" for charge in sandbox.ledger.charges)


def test_voices(a2e: Invoke) -> None:
    document = a2e("voices", "--json").document
    assert (document["country"], document["region"]) == ("en", "US")
    plain = a2e("voices").out.splitlines()
    assert plain[0].split() == ["ID", "NAME", "GROUP", "RATE"]
    assert len(plain) == 1 + len(document["voices"]) > 1
    for line, voice in zip(plain[1:], document["voices"], strict=True):
        cells = re.split(" {2,}", line)  # a name may have spaces
        assert cells[:3] == [voice["id"], voice["name"], voice["group"]]


def test_voices_of_another_language(a2e: Invoke) -> None:
    ids = {
        country: {v["id"] for v in a2e("voices", *words, "--json").document["voices"]}
        for country, words in (("en", []), ("de", ["--country", "de", "--region", "DE"]))
    }
    assert ids["de"]
    assert not ids["en"] & ids["de"]


def test_say_saves_the_file_that_is_named(
    a2e: Invoke, sandbox: Sandbox, voice: str, tmp_path: Path
) -> None:
    result = a2e("say", "Good day.", "--voice", voice, "--speech-rate", "2", "--out", "new/day.wav")
    assert result.code == 0, result.err
    assert result.out == "new/day.wav\n"
    assert (tmp_path / "new" / "day.wav").read_bytes().startswith(b"RIFF")
    assert "a2e credits --history" in result.err
    (charge,) = sandbox.ledger.charges
    assert charge.body == {"msg": "Good day.", "tts_id": voice, "speechRate": 2.0}


def test_what_is_said_is_what_was_typed(sandbox: Sandbox, voice: str, tmp_path: Path) -> None:
    """In a locale without UTF-8 Python leaves the bytes of a text escaped."""
    env = environment(sandbox, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    result = ended(popen("say", "día ☀", "--voice", voice, env=env, cwd=tmp_path))
    assert result.code == 0, result.err
    assert sandbox.ledger.charges[-1].body["msg"] == "día ☀"


def test_say_saves_into_a_directory(a2e: Invoke, voice: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for words, parent in (([], "."), (["-o", "there"], "there"), (["-o", "made/"], "made")):
        document = a2e("say", "Good day.", "--voice", voice, *words, "--json").document
        path = Path(document["path"])
        assert path.parent == Path(parent)
        assert path.is_file()
        assert document["media"] == "audio"
        assert document["url"].startswith("http")


def test_say_with_a_voice_of_ones_own(a2e: Invoke, sandbox: Sandbox) -> None:
    own = a2e("run", "voice_clone", "--voice-urls", "https://example.com/a.wav").out.strip()
    words = ["--own-voice", own, "--country", "de", "--region", "DE"]
    result = a2e("say", "Guten Tag.", *words)
    assert result.code == 0, result.err
    body = sandbox.ledger.charges[-1].body
    assert body == {"msg": "Guten Tag.", "user_voice_id": own, "country": "de", "region": "DE"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hello"], "Give exactly one of --voice and --own-voice"),
        (
            ["hello", "--voice", ID, "--own-voice", ID],
            "Give exactly one of --voice and --own-voice",
        ),
        (["hello", "--voice", "a/b"], "--voice must be an id"),
        (["hello", "--own-voice", "a/b"], "--own-voice must be an id"),
        (["hello", "--voice", ID, "--country", "en"], "--country requires --own-voice"),
        (["hello", "--voice", ID, "--speech-rate", "3"], "--speech-rate must be a number from"),
        ([" ", "--voice", ID], "TEXT must be non-blank text"),
        (["x" * 1001, "--voice", ID], "at most 1000 characters"),
        (["hello", "--voice", ID, "--out", "file/x.wav"], "Results cannot be saved in file"),
        ([], "TEXT"),
    ],
)
def test_what_is_refused_costs_nothing(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "file").touch()
    result = a2e("say", *words)
    assert result.code == exit_codes.USAGE
    assert said in result.err
    assert not result.out
    assert not spoken(sandbox)
    assert not sandbox.calls["action", "avatar_video"]


def test_a_voice_that_the_service_does_not_know(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e("say", "hello", "--voice", ID).code == exit_codes.USAGE
    assert not spoken(sandbox)


def test_a_lost_answer_is_not_sent_again(a2e: Invoke, sandbox: Sandbox, voice: str) -> None:
    sandbox.faults.malformed(role="action")
    result = a2e("say", "hello", "--voice", voice, "--json")
    assert result.code == exit_codes.UNKNOWN
    assert "Search for it with: a2e credits --history" in result.err
    assert "a2e list" not in result.err
    assert result.document["error"]["recovery"]["kind"] == "speech"
    assert spoken(sandbox) == 1


def test_what_is_paid_and_not_saved_is_reported(a2e: Invoke, sandbox: Sandbox, voice: str) -> None:
    sandbox.faults.http_error(404, role="result", times=None)
    result = a2e("say", "hello", "--voice", voice, "--json")
    assert result.code == exit_codes.SERVICE
    (output,) = result.document["error"]["outputs"]
    assert f"expires: {output['url']}" in result.err
    assert spoken(sandbox) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")
def test_speech_in_flight_is_awaited_and_reported(
    a2e: Invoke, sandbox: Sandbox, voice: str, tmp_path: Path
) -> None:
    sandbox.faults.slow(1.5, role="action", accepted=True)
    words = ["say", "hello", "--voice", voice, "--json"]
    process = popen(*words, env=environment(sandbox), cwd=tmp_path)
    until(lambda: spoken(sandbox))
    interrupt(process, signal.SIGINT)
    result = ended(process)
    assert result.code == exit_codes.INTERRUPTED
    assert "waiting for its response" in result.err
    (output,) = json.loads(result.out)["error"]["outputs"]
    assert f"expires: {output['url']}" in result.err
    assert spoken(sandbox) == 1
