"""``dub-video`` and ``speak-video``: results that take two paid steps."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import Force, ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_coins, output_json
from a2e_async.cli.input_flags import as_typed, errors_as_flags
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.output_paths import format_notice, prepare_file_destination
from a2e_async.cli.progress import progress_line, transfer_listener
from a2e_async.cli.runner import run_command
from a2e_async.cli.speech import (
    OwnVoice,
    PublicVoice,
    SpeechRate,
    SpokenCountry,
    SpokenRegion,
    SpokenText,
    speech_flags,
)
from a2e_async.cli.start_commands import (
    START_IN_PROGRESS,
    Journal,
    Key,
    journaled,
    saved_paths,
)
from a2e_async.errors import InvalidInput, KeyConflict
from a2e_async.events import Accepted, Event, Resumed, Update
from a2e_async.kinds.dubbing import DUBBING
from a2e_async.kinds.talking_video import TALKING_VIDEO
from a2e_async.models import Output
from a2e_async.recipes import NEGATIVE_PROMPT, PROMPT

if TYPE_CHECKING:
    from a2e_async._core.submission.budget import Budget
    from a2e_async.client import A2E

Out = Annotated[
    str,
    Parameter(name=("--out", "-o"), help="The video to write, such as out.mp4, or a directory."),
]
Coins = Annotated[
    int | None,
    Parameter(
        converter=WHOLE,
        help="Most coins that both steps may cost together; if their prices exceed it, nothing is "
        "started.",
    ),
]


_VIDEO_FLAG: Final = re.compile(r"--(?:video|source)-url\b")
"""The input of both steps that dub-video takes as its argument."""


class _Made(Protocol):
    """What a recipe returns."""

    @property
    def output(self) -> Output: ...


def dub_video(
    video: Annotated[str, Parameter(help="The video: a local path or a URL; at most 20 s.")],
    /,
    *,
    target_lang: Annotated[str, Parameter(help="Language of the result, such as en or es.")],
    source_lang: Annotated[
        str | None, Parameter(help="Language of the video; detected by default.")
    ] = None,
    num_speakers: Annotated[
        int | None, Parameter(help="Number of speakers in the video.", converter=WHOLE)
    ] = None,
    duration: Annotated[
        int | None,
        Parameter(
            help="Length of the result in seconds, 1 to 20; by default that of the video.",
            converter=WHOLE,
        ),
    ] = None,
    prompt: Annotated[str, Parameter(help="What the person in the video does.")] = PROMPT,
    negative_prompt: Annotated[
        str, Parameter(help="What the result must not show.")
    ] = NEGATIVE_PROMPT,
    out: Out = ".",
    force: Force = False,
    budget: Coins = None,
    journal: Journal = None,
    key: Key = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Dub a video into another language, lips included, and save it. Costs coins."""

    async def make(a2e: "A2E") -> _Made:
        with _video_as_argument(), errors_as_flags(TALKING_VIDEO), errors_as_flags(DUBBING):
            return await a2e.recipes.dub_video(
                video_url=as_typed(video),
                target_lang=target_lang,
                source_lang=source_lang,
                num_speakers=num_speakers,
                duration=duration,
                prompt=as_typed(prompt),
                negative_prompt=as_typed(negative_prompt),
                key=as_typed(key),
            )

    return run_command(
        flags,
        lambda context: _run(
            context, "dub-video", make, "sync", out, force, _budget(budget), journal, as_typed(key)
        ),
    )


def speak_video(
    text: SpokenText,
    /,
    *,
    avatar: Annotated[str, Parameter(help="Id of an avatar; a2e avatars lists them.")],
    own_avatar: Annotated[
        bool, Parameter(help="The avatar is one of the account.", negative="")
    ] = False,
    voice: PublicVoice = None,
    own_voice: OwnVoice = None,
    country: SpokenCountry = None,
    region: SpokenRegion = None,
    speech_rate: SpeechRate = None,
    resolution: Annotated[
        int | None,
        Parameter(help="Height of the video in pixels; 1080 by default.", converter=WHOLE),
    ] = None,
    out: Out = ".",
    force: Force = False,
    budget: Coins = None,
    unknown_cost: Annotated[
        int | None,
        Parameter(
            converter=WHOLE,
            help="Coins that the speech counts in the budget if the service quotes no price.",
        ),
    ] = None,
    journal: Journal = None,
    key: Key = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Make a video of an avatar that speaks a text, and save it. Costs coins."""

    async def make(a2e: "A2E") -> _Made:
        with speech_flags(anchor_id="--avatar"):
            return await a2e.recipes.speak_video(
                as_typed(text),
                anchor_id=avatar,
                anchor_type=int(own_avatar),
                tts_id=voice,
                user_voice_id=own_voice,
                country=country,
                region=region,
                speech_rate=speech_rate,
                resolution=resolution,
                key=as_typed(key),
            )

    return run_command(
        flags,
        lambda context: _run(
            context,
            "speak-video",
            make,
            "video",
            out,
            force,
            _budget(budget, unknown_cost),
            journal,
            as_typed(key),
        ),
    )


@contextmanager
def _video_as_argument() -> Generator[None]:
    """Raise `InvalidInput` and `KeyConflict` with VIDEO, which has no flag, in their texts."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(_VIDEO_FLAG.sub("VIDEO", str(error)), field=error.field) from error
    except KeyConflict as error:
        message = _VIDEO_FLAG.sub("VIDEO", str(error))
        raise KeyConflict(message, key=error.key, ref=error.ref) from error


def _budget(coins: int | None, unknown_cost: int | None = None) -> "Budget | None":
    from a2e_async._core.submission.budget import Budget

    return None if coins is None else Budget(coins, unknown_cost=unknown_cost)


async def _run(
    context: CommandContext,
    command: str,
    make: "Callable[[A2E], Awaitable[_Made]]",
    last_step: str,
    out: str,
    force: bool,
    budget: "Budget | None",
    journal: Path | None,
    key: str | None,
) -> int:
    """Run a recipe, save its video and print the path; an interruption prints how to continue."""
    printer, refs = context.printer, list[str]()
    if journal is not None and key is None:
        printer.note(
            "--journal without --key: after an interruption this command cannot continue with its "
            "second step, and would pay for the first again. Give it a name, such as --key clip-17."
        )
    async with journaled(context, journal, key, budget=budget) as a2e:
        own = await saved_paths(a2e, None if key is None else f"{key}/{last_step}")
        target = prepare_file_destination(out, f"a2e {command}", "video", force=force, own=own)
        with progress_line(printer, command) as show:

            def on_event(event: Event) -> None:
                if isinstance(event, Accepted | Resumed) and event.ref not in refs:
                    refs.append(event.ref)
                    context.track(a2e.attach(event.ref))
                    coins = (
                        format_coins(event.coins) if isinstance(event, Accepted) else "paid before"
                    )
                    printer.note(f"{event.ref} · {coins}")
                    show(f"{event.kind} started")
                elif isinstance(event, Update):
                    show(f"{event.kind} {event.status}")

            context.event_listeners += [transfer_listener(show), on_event]
            try:
                made = await make(a2e)
            except asyncio.CancelledError:
                printer.note(START_IN_PROGRESS)
                if journal is not None and key is not None:
                    printer.note("Run the same command again: it continues with what is paid.")
                raise
            path = await made.output.save(target)
        if (notice := format_notice(target, path)) is not None:
            printer.note(notice)
    printer.out(str(path))
    printer.json({"refs": refs, "path": str(path), **output_json(made.output)})
    return exit_codes.OK
