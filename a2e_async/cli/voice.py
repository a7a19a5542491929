"""``voices`` and ``say``: text spoken by a voice of the service or one's own."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.flags import as_typed
from a2e_async.cli.jobs import UNDER_WAY
from a2e_async.cli.numbers import NUMBER
from a2e_async.cli.places import make_file_ready
from a2e_async.cli.printer import columns
from a2e_async.cli.progress import progress, transfers
from a2e_async.cli.settings import Online
from a2e_async.cli.show import counted, output_json
from a2e_async.errors import InvalidInput
from a2e_async.models import Output
from a2e_async.transport.mediatype import HEAD_BYTES, extension_for, sniff

if TYPE_CHECKING:
    from a2e_async.client import A2E
    from a2e_async.resources.voices import Voice

HEAD = ("ID", "NAME", "GROUP", "RATE")

Country = Annotated[str, Parameter(help="Language of the voice, such as en or de.")]
Region = Annotated[
    str | None,
    Parameter(help="Region of that language, such as US; by default its first, or US for en."),
]


def voices(
    *,
    country: Country = "en",
    region: Region = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """List the service's voices of a language, for say. Free."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            where = region or await _region_of(a2e, country)
            found = await a2e.voices.public(country=country, region=where)
            if not found:
                desk.printer.note(await _what_there_is(a2e, country, where))
        desk.printer.out(columns([HEAD, *(_row(voice) for voice in found)]))
        desk.printer.note(f"{counted(len(found), 'voice')}. Your own: a2e list voice_clone")
        items = [
            {"id": v.id, "name": v.name, "group": v.group, "rate": v.rate, "extra": dict(v.extra)}
            for v in found
        ]
        desk.printer.json({"country": country, "region": where, "voices": items})
        return exits.OK

    return conduct(settings, work)


def say(
    text: Annotated[str, Parameter(help="What is said; at most 1000 characters.")],
    /,
    *,
    voice: Annotated[str | None, Parameter(help="Id of a voice; a2e voices names them.")] = None,
    own_voice: Annotated[
        str | None, Parameter(help="Id of a voice of your own; a2e list voice_clone names them.")
    ] = None,
    country: Annotated[
        str | None, Parameter(help="Language to speak, such as en; for --own-voice.")
    ] = None,
    region: Annotated[
        str | None, Parameter(help="Region of that language, such as US; for --own-voice.")
    ] = None,
    speech_rate: Annotated[
        float | None, Parameter(help="Speed, 0.5 to 2.", converter=NUMBER)
    ] = None,
    out: Annotated[
        str,
        Parameter(name=("--out", "-o"), help="The file to write, or a directory for it."),
    ] = ".",
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Turn a text into speech and save it. Costs coins; give --voice or --own-voice."""

    async def work(desk: Desk) -> int:
        place = make_file_ready(out)
        async with desk.client() as a2e:
            desk.collect = a2e.speech.unclaimed
            with progress(desk.printer, "speaking") as tell:
                desk.listeners.append(transfers(tell))
                output = await _spoken(
                    desk,
                    a2e.speech.say(
                        as_typed(text),
                        tts_id=voice,
                        user_voice_id=own_voice,
                        country=country,
                        region=region,
                        speech_rate=speech_rate,
                    ),
                )
                path = await output.save(place)
                desk.left.remove(output)
        if (said := _other_ending(path)) is not None:
            desk.printer.note(said)
        desk.printer.note("spoken and paid; a2e credits --history tells the price")
        desk.printer.out(str(path))
        desk.printer.json({"path": str(path), **output_json(output)})
        return exits.OK

    return conduct(settings, work)


async def _spoken(desk: Desk, answer: Awaitable[Output]) -> Output:
    """Return what was spoken, and note that it is not saved yet."""
    try:
        output = await answer
    except asyncio.CancelledError:
        desk.printer.note(UNDER_WAY)
        raise
    except InvalidInput as error:  # its words are those of Python
        said = str(error).replace("user_voice_id", "--own-voice").replace("tts_id", "--voice")
        raise InvalidInput(said, field=error.field) from None
    desk.left.append(output)
    return output


async def _region_of(a2e: "A2E", country: str) -> str:
    """Return the region whose voices are meant where none is named."""
    if country == "en":
        return "US"
    spoken = {language.value: language.regions for language in await a2e.voices.languages()}
    return spoken[country][0].value if spoken.get(country) else country.upper()


async def _what_there_is(a2e: "A2E", country: str, region: str) -> str:
    """Explain an empty table."""
    spoken = {language.value: language.regions for language in await a2e.voices.languages()}
    said = f"The service has no voices for --country {country} --region {region}."
    if regions := spoken.get(country):
        return f"{said} Regions of {country}: {', '.join(one.value for one in regions)}."
    return f"{said} Languages that it names: {', '.join(spoken) or 'none'}."


def _other_ending(path: Path) -> str | None:
    """Return what to say of a file whose name tells another format than it has."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    _, mime = sniff(head, None)
    ending = extension_for(mime)
    if ending is None or sniff(b"", path.name)[1] == mime:
        return None
    return f"{path} is {ending.upper()}, whatever its name says; the service makes no other format."


def _row(voice: "Voice") -> tuple[str, ...]:
    rate = "" if voice.rate is None else f"{voice.rate:g}"
    return voice.id, voice.name or "", voice.group or "", rate
