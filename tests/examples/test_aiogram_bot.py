"""The Telegram bot against a fake Bot API: charged once, delivered once."""

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
    runner = Path(__file__).with_name("telegram_at.py")
    return program(runner, telegram.url, EXAMPLES / "aiogram_bot.py", BOT_TOKEN=TOKEN).start()


def test_killed_while_it_delivers(
    bot: Program, telegram: Telegram, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One message gives one result, although the bot is killed and gets the update twice.

    What cannot be dubbed is reported: for nothing spent, or for a task that failed.
    """
    message = telegram.send_voice("/dub es")
    wait_for(lambda: any(text.startswith("Dubbing") for text in telegram.edits))
    telegram.silent = True
    sandbox.advance(600)
    wait_for(lambda: "audio" in telegram.edits)
    bot.kill()  # which does not know that it has delivered
    telegram.silent = False
    telegram.deliver(message)  # as if the update had not been confirmed
    telegram.refusals.append((429, {"retry_after": 0}))
    bot.start()
    wait_for(lambda: telegram.edits.count("audio") == 2 and not telegram.pending)
    telegram.send_voice("/dub fr")  # and it goes on
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    telegram.voice = b"no sound"
    telegram.send_voice("/dub de")
    wait_for(lambda: any("was not started" in text for text in telegram.edits))
    telegram.voice = media.speech().read_bytes()
    sandbox.faults.fail("dubbing")
    telegram.send_voice("/dub ja")
    wait_for(lambda: len(sandbox.ledger.starts()) == 3)
    sandbox.advance(600)
    wait_for(lambda: "That did not work, sorry." in telegram.edits)
    wait_for(lambda: telegram.edits.count("audio") == 3)
    bot.stop()
    results = [b"".join(one.values()) for one in telegram.messages.values() if "audio" in one]
    assert [result[:4] for result in results] == [b"RIFF"] * 2
    assert len(telegram.messages) == 4
    starts = [charge.body["target_lang"] for charge in sandbox.ledger.starts()]
    assert starts == ["es", "fr", "ja"]
    assert open_languages(sandbox, tmp_path / "bot.db") == set()


def test_what_telegram_refuses_for_good(
    bot: Program, telegram: Telegram, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A refused file is announced with its link; a user who blocked the bot is given up on."""
    telegram.send_voice("/dub es")
    wait_for(lambda: len(sandbox.ledger.starts()) == 1)
    telegram.refusals.append((413, {}))
    sandbox.advance(600)
    wait_for(lambda: any("fit into a message: http" in text for text in telegram.edits))
    telegram.send_voice("/dub fr")
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    telegram.blocked = True
    sandbox.advance(600)
    wait_for(lambda: "cannot be delivered and is acknowledged" in bot.log.read_text())
    bot.stop()
    assert open_languages(sandbox, tmp_path / "bot.db") == set()
