"""``voices`` and ``say``: speech by a public voice of the service or by a cloned voice."""

import asyncio
import re
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import Force, ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_count, output_json
from a2e_async.cli.input_flags import as_typed
from a2e_async.cli.number_parsing import NUMBER
from a2e_async.cli.output_paths import format_notice, prepare_file_destination
from a2e_async.cli.printer import columns
from a2e_async.cli.progress import progress_line, transfer_listener
from a2e_async.cli.runner import run_command
from a2e_async.cli.start_commands import START_IN_PROGRESS
from a2e_async.errors import InvalidInput
from a2e_async.models import Output

if TYPE_CHECKING:
    from a2e_async.account.voices import Voice
    from a2e_async.client import A2E

COLUMNS = ("ID", "NAME", "GROUP", "RATE")

_FLAGS: Final = {
    "user_voice_id": "--own-voice",
    "tts_id": "--voice",
    "speech_rate": "--speech-rate",
}
"""Parameters of the package whose flag has another name or spelling."""

Country = Annotated[str, Parameter(help="Language of the voice, such as en or de.")]
Region = Annotated[
    str | None,
    Parameter(help="Region of the language, such as US; default: its first, or US for en."),
]

# The flags of all commands that speak a text.
SpokenText = Annotated[str, Parameter(help="The text to speak; at most 1000 characters.")]
PublicVoice = Annotated[str | None, Parameter(help="Id of a public voice; a2e voices lists them.")]
OwnVoice = Annotated[
    str | None, Parameter(help="Id of a voice of your own; a2e list voice_clone lists them.")
]
SpokenCountry = Annotated[
    str | None, Parameter(help="Language to speak, such as en; for --own-voice.")
]
SpokenRegion = Annotated[
    str | None, Parameter(help="Region of the language, such as US; for --own-voice.")
]
SpeechRate = Annotated[float | None, Parameter(help="Speed, 0.5 to 2.", converter=NUMBER)]


def voices(
    *,
    country: Country = "en",
    region: Region = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """List the service's voices of a language, for a2e say. Free."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            chosen = region or await _default_region(a2e, country)
            found = await a2e.voices.public(country=country, region=chosen)
            if not found:
                context.printer.note(await _available_regions(a2e, country, chosen))
        context.printer.out(columns([COLUMNS, *(_row(voice) for voice in found)]))
        context.printer.note(
            f"{format_count(len(found), 'voice')}. Your own voices: a2e list voice_clone"
        )
        items = [
            {"id": v.id, "name": v.name, "group": v.group, "rate": v.rate, "extra": dict(v.extra)}
            for v in found
        ]
        context.printer.json({"country": country, "region": chosen, "voices": items})
        return exit_codes.OK

    return run_command(flags, work)


def say(
    text: SpokenText,
    /,
    *,
    voice: PublicVoice = None,
    own_voice: OwnVoice = None,
    country: SpokenCountry = None,
    region: SpokenRegion = None,
    speech_rate: SpeechRate = None,
    out: Annotated[
        str,
        Parameter(name=("--out", "-o"), help="The file to write, or a directory for it."),
    ] = ".",
    force: Force = False,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Turn a text into speech and save it. Costs coins; give --voice or --own-voice."""

    async def work(context: CommandContext) -> int:
        destination = prepare_file_destination(out, "a2e say", "audio", force=force)
        async with context.client() as a2e:
            context.collect_unsaved = a2e.speech.unclaimed
            with progress_line(context.printer, "speaking") as show:
                context.event_listeners.append(transfer_listener(show))
                output = await _speak(
                    context,
                    a2e.speech.say(
                        as_typed(text),
                        tts_id=voice,
                        user_voice_id=own_voice,
                        country=country,
                        region=region,
                        speech_rate=speech_rate,
                    ),
                )
                path = await output.save(destination)
                context.unsaved_outputs.remove(output)
        if (notice := format_notice(destination, path)) is not None:
            context.printer.note(notice)
        context.printer.note("spoken and charged; a2e credits --history shows the price")
        context.printer.out(str(path))
        context.printer.json({"path": str(path), **output_json(output)})
        return exit_codes.OK

    return run_command(flags, work)


async def _speak(context: CommandContext, call: Awaitable[Output]) -> Output:
    """Return the speech, and remember that it is not saved yet."""
    try:
        with speech_flags():
            output = await call
    except asyncio.CancelledError:
        context.printer.note(START_IN_PROGRESS)
        raise
    context.unsaved_outputs.append(output)
    return output


@contextmanager
def speech_flags(**more: str) -> Generator[None]:
    """Raise `InvalidInput` with flags instead of parameters of the package."""
    try:
        yield
    except InvalidInput as error:
        message = str(error)
        for name, flag in {**_FLAGS, **more}.items():
            message = re.sub(rf"\b{name}\b", flag, message)
        # The text is an argument, and has no flag.
        raise InvalidInput(re.sub(r"^text\b", "TEXT", message), field=error.field) from None


async def _default_region(a2e: "A2E", country: str) -> str:
    """Return the region to use without --region."""
    if country == "en":
        return "US"
    regions_by_language = {
        language.value: language.regions for language in await a2e.voices.languages()
    }
    regions = regions_by_language.get(country)
    return regions[0].value if regions else country.upper()


async def _available_regions(a2e: "A2E", country: str, region: str) -> str:
    """Return why there are no voices, and which regions or languages have some."""
    regions_by_language = {
        language.value: language.regions for language in await a2e.voices.languages()
    }
    text = f"The service has no voices for --country {country} --region {region}."
    if regions := regions_by_language.get(country):
        return f"{text} Regions of {country}: {', '.join(one.value for one in regions)}."
    return f"{text} Languages: {', '.join(regions_by_language) or 'none'}."


def _row(voice: "Voice") -> tuple[str, ...]:
    rate = "" if voice.rate is None else f"{voice.rate:g}"
    return voice.id, voice.name or "", voice.group or "", rate
