"""``dub-video`` and ``speak-video``, and what ``--out`` may name."""

import shutil
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.sandbox import Sandbox, check_media, media

from .conftest import Invoke

DUB = ("dub-video", "talk.mp4", "--target-lang", "es")
KEYED = ("--journal", "jobs.db", "--key", "talk")
RUN = ("run", "dubbing", "--source-url", "https://media.example/a.wav", "--target-lang", "es")
STEPS = ["dubbing", "talking_video"]


@pytest.fixture(autouse=True)
def _video(quiet_env: Path) -> None:
    shutil.copy(media.clip(), quiet_env / "talk.mp4")


def paid(sandbox: Sandbox) -> list[str]:
    return [charge.kind for charge in sandbox.ledger.charges if charge.kind != "presign"]


def test_dub_video_is_paid_once(a2e: Invoke, sandbox: Sandbox) -> None:
    """Each step once, and a later run saves the video again, also to another place."""
    for out in ("es.mp4", "es.mp4", "other/es.mp4"):
        result = a2e(*DUB, *KEYED, "-o", out)
        assert result.code == exit_codes.OK, result.err
        assert result.out.strip() == out
        assert check_media(Path(out)).ok
        assert paid(sandbox) == STEPS
    assert "paid before" in result.err
    # The clip has 2.5 s, and the service reports 2: the speech must not be cut off.
    assert sandbox.ledger.starts("talking_video")[0].body["duration"] == 3


def test_a_journal_without_a_key_is_warned_of(a2e: Invoke) -> None:
    result = a2e(*DUB, "--journal", "jobs.db")
    assert result.code == exit_codes.OK
    (warning,) = [line for line in result.err.splitlines() if "--key" in line]
    assert warning.startswith("--journal without --key: after an interruption")
    assert "--key" not in a2e(*DUB, *KEYED).err


def test_a_language_is_given_by_its_code(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("dub-video", "talk.mp4", "--target-lang", "french")
    assert result.code == exit_codes.USAGE
    assert "--target-lang takes the code of a language, not its name: give 'fr'" in result.err
    assert sandbox.ledger.charges == ()


def test_json(a2e: Invoke) -> None:
    document = a2e(*DUB, "--json").document
    assert [ref.partition(":")[0] for ref in document["refs"]] == STEPS
    assert document["media"] == "video"
    assert check_media(Path(document["path"])).ok


@pytest.mark.parametrize(
    "words", [("--out", "es.mp3"), ("--out", "talk.mp4"), ("--duration", "21")]
)
def test_nothing_is_started_for_a_wrong_flag(
    a2e: Invoke, sandbox: Sandbox, words: tuple[str, str]
) -> None:
    result = a2e(*DUB, *words)
    assert result.code == exit_codes.USAGE
    assert words[0] in result.err
    assert sandbox.ledger.charges == ()


@pytest.mark.parametrize(("name", "reason"), [("none.mp4", "No such file"), ("a.wav", "is audio")])
def test_the_video_is_named_as_the_argument_that_it_is(
    a2e: Invoke, sandbox: Sandbox, name: str, reason: str
) -> None:
    """Sound would do for the first step, which must not be paid for it."""
    shutil.copy(media.speech(), "a.wav")
    result = a2e("dub-video", name, "--target-lang", "es")
    assert result.code == exit_codes.USAGE
    assert result.err.startswith(f"error: VIDEO: {name} ")
    assert reason in result.err
    assert sandbox.ledger.charges == ()


def test_a_budget_covers_both_steps(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e(*DUB, "--budget", "5").code == exit_codes.COINS
    assert sandbox.ledger.charges == ()


def test_speak_video(a2e: Invoke, sandbox: Sandbox) -> None:
    avatar = a2e("avatars", "--json").document["avatars"][0]["id"]
    voice = a2e("voices", "--json").document["voices"][0]["id"]
    words = ("speak-video", "Good day.", "--avatar", avatar, "--voice", voice, *KEYED)
    for _ in range(2):
        result = a2e(*words, "-o", "day.mp4")
        assert result.code == exit_codes.OK, result.err
        assert check_media(Path("day.mp4")).ok
    assert paid(sandbox) == ["speech", "avatar_video"]
    refused = a2e("speak-video", "Hi", "--avatar", "?", "--voice", voice)
    assert refused.code == exit_codes.USAGE
    assert "--avatar" in refused.err


# -- --out of run, say and task download ----------------------------------------------------


@pytest.mark.parametrize("name", ["dubbed.mp4", "dubbed.MOV", "dubbed.png"])
def test_a_suffix_of_other_media_is_refused_before_the_start(
    a2e: Invoke, sandbox: Sandbox, name: str
) -> None:
    result = a2e(*RUN, "-o", name)
    assert result.code == exit_codes.USAGE
    assert "dubbing makes audio" in result.err
    assert sandbox.ledger.charges == ()


def test_another_format_of_the_same_medium_keeps_its_name(a2e: Invoke) -> None:
    """The sandbox makes WAV. A script that asked for this name goes on to open it."""
    result = a2e(*RUN, "-o", "dubbed.flac")
    assert result.code == exit_codes.OK, result.err
    assert result.out.split() == ["dubbed.flac"]
    assert "dubbed.flac is WAV despite its name" in result.err


def test_an_existing_file_is_kept_without_force(a2e: Invoke, sandbox: Sandbox) -> None:
    Path("mine.wav").write_text("mine")
    refused = a2e(*RUN, "-o", "mine.wav")
    assert refused.code == exit_codes.USAGE
    assert "--force" in refused.err
    assert sandbox.ledger.charges == ()
    assert Path("mine.wav").read_text() == "mine"
    result = a2e(*RUN, "-o", "mine.wav", "--force", "--json")
    assert check_media(Path("mine.wav")).ok
    ref = result.document["ref"]
    assert a2e("task", "download", ref, "-o", "mine.wav").code == exit_codes.USAGE
    assert a2e("task", "download", ref, "-o", "mine.wav", "--force").code == exit_codes.OK


def test_a_second_run_may_replace_its_own_file(a2e: Invoke, sandbox: Sandbox) -> None:
    for out in ("a.wav", "a.wav", "b.wav"):
        result = a2e(*RUN, *KEYED, "-o", out)
        assert result.code == exit_codes.OK, result.err
        assert check_media(Path(out)).ok
    assert f"saved the result: {Path('a.wav').absolute()}" in result.err
    assert paid(sandbox) == ["dubbing"]
