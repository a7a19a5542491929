"""Let an avatar speak a text: ``python speak_avatar.py "Welcome." welcome.mp4``."""

import asyncio
import sys
from pathlib import Path

from a2e_async import A2E, errors
from a2e_async.account import Avatar


async def choose_avatar(a2e: A2E) -> Avatar:
    for avatar in await a2e.avatars.list():
        if avatar.kind == "system":
            return avatar
    raise SystemExit("The service lists no avatar.")


async def speak(text: str, path: Path) -> int:
    """Save the video and return what the account has paid for it, in coins."""
    async with A2E(journal="avatar.db") as a2e:
        before = await a2e.credits.balance()
        avatar = await choose_avatar(a2e)
        assert avatar.anchor_type is not None
        voices = await a2e.voices.public(country="en", region="US")
        speech = await a2e.speech.say(text, tts_id=voices[0].id)
        await speech.save(path.with_suffix(".mp3"))
        try:
            record = await a2e.avatar_video.run(
                anchor_id=avatar.id,
                anchor_type=avatar.anchor_type,
                audio_src=speech,
                msg=text,
                name="Welcome",
                key=path.stem,
            )
        except errors.TaskFailed as error:
            raise SystemExit(f"The service failed: {error.record.failure}") from None
        await record.output.save(path)
        after = await a2e.credits.balance()
    return before.coins - after.coins


if __name__ == "__main__":
    video = Path(sys.argv[2])
    print(asyncio.run(speak(sys.argv[1], video)), "coins")
    assert video.stat().st_size > 1000
