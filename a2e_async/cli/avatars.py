"""``avatars`` and ``backgrounds``: the speakers and backgrounds of avatar videos."""

from typing import Final

from a2e_async._core.converter import unstructure
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_count
from a2e_async.cli.printer import columns
from a2e_async.cli.runner import run_command

AVATAR_COLUMNS: Final = ("ID", "TYPE", "OWNER", "NAME")
BACKGROUND_COLUMNS: Final = ("ID", "OWNER", "NAME")


def avatars(*, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """List the avatars that can speak in an avatar video, with their ids and types. Free."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            found = await a2e.avatars.list()
        rows = [
            (a.id, "" if a.anchor_type is None else str(a.anchor_type), a.kind or "", a.name or "")
            for a in found
        ]
        context.printer.out(columns([AVATAR_COLUMNS, *rows]))
        context.printer.note(
            f"{format_count(len(found), 'avatar')}. Create your own with: a2e start video_twin"
        )
        items = [
            {
                "id": a.id,
                "anchor_type": a.anchor_type,
                "kind": a.kind,
                "name": a.name,
                "cover": a.cover,
                "gender": a.gender,
                "extra": unstructure(a.extra),
            }
            for a in found
        ]
        context.printer.json({"avatars": items})
        return exit_codes.OK

    return run_command(flags, work)


def backgrounds(*, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """List the background images for avatar videos. Free."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            found = await a2e.backgrounds.all()
        rows = [(b.id, b.kind or "", b.name or "") for b in found]
        context.printer.out(columns([BACKGROUND_COLUMNS, *rows]))
        context.printer.note(format_count(len(found), "background"))
        items = [
            {
                "id": b.id,
                "kind": b.kind,
                "name": b.name,
                "url": b.url,
                "extra": unstructure(b.extra),
            }
            for b in found
        ]
        context.printer.json({"backgrounds": items})
        return exit_codes.OK

    return run_command(flags, work)
