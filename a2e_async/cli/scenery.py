"""``avatars`` and ``backgrounds``: who can speak in an avatar video, and before what."""

from typing import Final

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.printer import columns
from a2e_async.cli.settings import Online
from a2e_async.cli.show import counted, plain

AVATARS: Final = ("ID", "TYPE", "WHOSE", "NAME")
BACKGROUNDS: Final = ("ID", "WHOSE", "NAME")


def avatars(*, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """List who can speak in an avatar video: ids and types for --anchor-id. Free."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            found = await a2e.avatars.list()
        rows = [
            (a.id, "" if a.anchor_type is None else str(a.anchor_type), a.kind or "", a.name or "")
            for a in found
        ]
        desk.printer.out(columns([AVATARS, *rows]))
        desk.printer.note(f"{counted(len(found), 'avatar')}. Your own are made by: video_twin")
        items = [
            {
                "id": a.id,
                "anchor_type": a.anchor_type,
                "kind": a.kind,
                "name": a.name,
                "cover": a.cover,
                "gender": a.gender,
                "extra": plain(a.extra),
            }
            for a in found
        ]
        desk.printer.json({"avatars": items})
        return exits.OK

    return conduct(settings, work)


def backgrounds(*, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """List the pictures that can stand behind an avatar. Free."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            found = await a2e.backgrounds.all()
        rows = [(b.id, b.kind or "", b.name or "") for b in found]
        desk.printer.out(columns([BACKGROUNDS, *rows]))
        desk.printer.note(counted(len(found), "background"))
        items = [
            {"id": b.id, "kind": b.kind, "name": b.name, "url": b.url, "extra": plain(b.extra)}
            for b in found
        ]
        desk.printer.json({"backgrounds": items})
        return exits.OK

    return conduct(settings, work)
