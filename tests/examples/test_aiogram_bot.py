"""The Telegram bot, against a stand-in of the Bot API: paid once, delivered once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox, media

from .programs import EXAMPLES, Program, open_languages, wait_for
from .telegram import TOKEN, Telegram


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    with Telegram(media.speech().read_bytes()) as made:
        yield made


@pytest.fixture
def bot(telegram: Telegram, program: Callable[..., Program]) -> Program:
    return program(EXAMPLES / "aiogram_bot.py", BOT_TOKEN=TOKEN, BOT_API=telegram.url).start()


def test_killed_while_it_delivers(
    bot: Program, telegram: Telegram, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One status message becomes the result, once, although the bot dies and hears twice."""
    message = telegram.send_voice("/dub es")
    wait_for(lambda: "Dubbing…" in telegram.edits)
    telegram.silent = True
    sandbox.advance(600)
    wait_for(lambda: "audio" in telegram.edits)
    bot.kill()  # which does not know that it has delivered
    telegram.silent = False
    telegram.tell(message)  # as if the update had not been confirmed
    telegram.refusals.append((429, {"retry_after": 0}))
    bot.start()
    wait_for(lambda: telegram.edits.count("audio") == 2 and not telegram.pending)
    telegram.send_voice("/dub fr")  # and it goes on
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    bot.stop()
    delivered, running = telegram.messages.values()
    assert delivered["audio"].startswith(b"RIFF")
    assert running["text"].endswith("…")
    assert [charge.body["target_lang"] for charge in sandbox.ledger.starts()] == ["es", "fr"]
    assert open_languages(sandbox, tmp_path / "bot.db") == {"fr"}


def test_what_cannot_be_dubbed(bot: Program, telegram: Telegram, sandbox: Sandbox) -> None:
    """The user is told, for nothing spent; of a task that failed, too."""
    telegram.voice = b"no sound"
    telegram.send_voice("/dub es")
    wait_for(lambda: any("cost nothing" in text for text in telegram.edits))
    assert not sandbox.ledger.charges
    telegram.voice = media.speech().read_bytes()
    sandbox.faults.fail("dubbing")
    telegram.send_voice("/dub es")
    wait_for(lambda: sandbox.ledger.starts())
    sandbox.advance(600)
    wait_for(lambda: "That did not work, sorry." in telegram.edits)
    bot.stop()
