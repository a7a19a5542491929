"""The Discord bot against a fake Discord: charged once, delivered once.

Not covered: guilds, permissions, rate limits and resuming a gateway session; the library handles
them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox, media

from .discord_standin import Discord
from .programs import EXAMPLES, Program, open_languages, wait_for


@pytest.fixture
def discord() -> Iterator[Discord]:
    with Discord(media.speech().read_bytes()) as made:
        yield made


def test_killed_while_it_delivers(
    discord: Discord, sandbox: Sandbox, program: Callable[..., Program], tmp_path: Path
) -> None:
    """One message gives one result, although the bot is killed before it knows.

    A file that Discord refuses is announced with its link.
    """
    runner = Path(__file__).with_name("discord_at.py")
    bot = program(runner, discord.url, EXAMPLES / "discord_bot.py", BOT_TOKEN="stand-in").start()
    wait_for(lambda: discord.connected)
    assert [option["name"] for option in discord.commands[0]["options"]] == ["file", "language"]
    discord.use_command("es")
    wait_for(lambda: sandbox.ledger.starts())
    discord.silent = True
    sandbox.advance(600)
    wait_for(lambda: "file" in discord.edits)
    bot.kill()
    discord.silent = False
    wait_for(lambda: not discord.connected)
    bot.start()
    wait_for(lambda: discord.edits.count("file") == 2 and discord.connected)
    discord.use_command("fr")  # and it goes on
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    discord.recording = b"no sound"
    discord.use_command("de")
    wait_for(lambda: any("was not started" in text for text in discord.edits))
    discord.file_refusals = 1
    sandbox.advance(600)
    wait_for(lambda: any("fit into a message: http" in text for text in discord.edits))
    bot.stop()
    delivered = next(iter(discord.messages.values()))
    assert delivered["file"].startswith(b"RIFF")
    assert len(discord.messages) == 3
    assert [charge.body["target_lang"] for charge in sandbox.ledger.starts()] == ["es", "fr"]
    assert open_languages(sandbox, tmp_path / "bot.db") == set()
