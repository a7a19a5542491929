"""Where results are saved. Directories are created and tested before anything is paid."""

import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from attrs import frozen
from cyclopts import Parameter

from a2e_async._core.files.media_types import SNIFF_BYTES, actual_extension, contradicts_media
from a2e_async._core.paths import expand_home
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType

if TYPE_CHECKING:
    from a2e_async._core.files.name_template import NameTemplate
    from a2e_async._core.tasks.kind import TaskKind


Name = Annotated[
    str | None,
    Parameter(
        help="Template for the names of the files in --out, such as '{key}-{index}{ext}'; with "
        "{key}, {kind}, {id}, {index}, and {ext} at the end. Characters that file names cannot "
        "have are replaced.",
    ),
]


def check_name(name: str | None, *, many_tasks: bool) -> "NameTemplate | None":
    """Return the template of file names that the flag gives.

    Raises `InvalidInput` for a wrong one, in the words of the flag.
    """
    from a2e_async._core.files.name_template import NameTemplate

    try:
        return None if name is None else NameTemplate.parse(name, many_tasks=many_tasks)
    except InvalidInput as error:
        raise InvalidInput(f"--{error} Nothing was started.", field="name") from None


@frozen
class Destination:
    """Where a task's results go: a directory, or a file for a single result."""

    path: Path
    is_file: bool

    def target(self, count: int) -> tuple[str, str | None]:
        """Return the argument of `Output.save` for one of ``count`` results, and a notice."""
        if self.is_file and count == 1:
            return str(self.path), None
        if not self.is_file or count == 0:
            return f"{self.path}/", None
        # The task is paid by now, so the results are saved next to a file of that name.
        directory = self.path.parent if self.path.is_file() else self.path
        notice = f"There are {count} results, not one: they are saved in the directory {directory}."
        return f"{directory}/", notice

    def holds(self, paths: Collection[str]) -> bool:
        """Whether all these absolute paths are the file, or in the directory."""
        here = self.path.resolve()
        return all(here in (Path(path).resolve(), Path(path).parent.resolve()) for path in paths)

    def check_media(self, makes: str, media: MediaType | None) -> None:
        """Raise `InvalidInput` if the file's suffix is of other media than the results.

        ``makes`` names what makes them; ``media`` is None if that is not known before.
        """
        claimed = contradicts_media(self.path.name, media or "file") if self.is_file else None
        if claimed is None:
            return
        article = "an" if claimed[0] in "ai" else "a"
        instead = " For a video with the dubbed sound: a2e dub-video." if makes == "dubbing" else ""
        better = self.path.with_suffix(_EXAMPLES[media or "file"])
        raise InvalidInput(
            f"--out {self.path} names {article} {claimed} file, but {makes} makes {media}: give a "
            f"name such as {better}, or a directory.{instead} Nothing was started.",
            field="out",
        )

    def check_free(self, *, force: bool, own: Collection[str] = ()) -> None:
        """Raise `InvalidInput` if the file exists, unless ``force``.

        ``own`` are paths at which earlier runs have saved the same result.
        """
        exists = self.is_file and os.path.lexists(self.path)
        if force or not exists or self.path.resolve() in {Path(path).resolve() for path in own}:
            return
        raise InvalidInput(
            f"--out {self.path} exists already, and is not known as this task's result: give "
            "another name, or --force to overwrite it. Nothing was started.",
            field="out",
        )


_EXAMPLES = {"audio": ".mp3", "video": ".mp4", "image": ".png", "file": ""}


def media_of(kind: "TaskKind[..., Any]") -> MediaType | None:
    """Return the media type of a kind's results, None if it is not the same for all."""
    media: MediaType | None = None
    for output in kind.outputs:
        if media not in (None, output.media):
            return None
        media = output.media
    return media


def format_notice(target: str, saved: Path) -> str | None:
    """Return what to tell if a result's name does not fit its format, or was corrected."""
    path = Path(expand_home(target))
    if target.endswith(("/", os.sep)) or path.is_dir():
        return None
    if saved.name != path.name and saved.parent == path.parent:
        return f"The result is not {path.suffix.lstrip('.').upper()}: it is saved as {saved}."
    with saved.open("rb") as file:
        extension = actual_extension(file.read(SNIFF_BYTES), saved.name)
    if extension is None:
        return None
    return f"{saved} is {extension.upper()} despite its name; the service made no other format."


def prepare_destination(out: str, count: int = 1) -> Destination:
    """Return where results are saved, and create its directory. Raises like `prepare_directory`.

    ``out`` is a file if it has a suffix, does not end with a slash and is not a directory.
    ``count`` is the least number of results to expect: a file is refused for more than one.
    """
    path = Path(expand_home(out))
    is_file = bool(path.suffix) and not out.endswith(("/", os.sep)) and not path.is_dir()
    if is_file and count > 1:
        raise InvalidInput(
            f"--out {out} names a file, but there will be {count} results: give a directory, "
            f"such as {path.stem}/. Nothing was started.",
            field="out",
        )
    prepare_directory(path.parent if is_file else path)
    return Destination(path, is_file)


def prepare_file_destination(
    out: str, makes: str, media: MediaType, *, force: bool, own: Collection[str] = ()
) -> str:
    """Create the directory for one file and return the argument of `Output.save`.

    ``out`` is a directory if it is one already, ends with a slash, or has no suffix and does not
    exist. Raises like `prepare_directory`, `Destination.check_media` and `Destination.check_free`.
    """
    out = expand_home(out)
    path = Path(out)
    new = not path.suffix and not os.path.lexists(path)
    if out.endswith(("/", os.sep)) or path.is_dir() or new:
        prepare_directory(Path(out))
        return f"{out}/"
    file = Destination(path, is_file=True)
    file.check_media(makes, media)
    file.check_free(force=force, own=own)
    prepare_directory(path.parent)
    return out


def prepare_directory(directory: Path) -> None:
    """Create the directory if needed and check that a file can be written in it.

    Raises `InvalidInput` if results could not be saved there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".a2e-probe-", dir=directory) as probe:
            probe.write(b"a2e")
            probe.flush()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if directory.exists() and not directory.is_dir():
            reason = "it is a file, not a directory"
        else:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInput(
            f"Results cannot be saved in {directory}: {reason}. Nothing was started; give another "
            "directory with --out.",
            field="out",
        ) from error
