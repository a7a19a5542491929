"""``results.html``: a page that shows the results in a directory."""

import errno
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import quote

from attrs import define, field

from a2e_async._core.redact import redact
from a2e_async.cli.batch.validation import RESERVED_KEY_PREFIXES
from a2e_async.cli.formatting import format_coins
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Entry

FILE_NAME: Final = "results.html"

_MARK: Final = '<meta name="generator" content="a2e batch">'
"""Tells a page of an earlier run from another file of the user's."""

_MARK_WITHIN: Final = 512
"""Bytes of a page within which the mark is."""

_LABELS: Final = {
    "ok": "done",
    "earlier": "done before",
    "failed": "failed",
    "unknown": "unknown",
    "error": "error",
}

_MEMBERS: Final = ("line", "key", "kind", "ref", "status", "error", "paths", "coins")
"""The members of each line of the report."""

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --dim: #8881; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; font: 1rem/1.4 system-ui, sans-serif; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; }
main { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
article { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; min-width: 0; }
img, video { display: block; width: 100%; height: 12rem; object-fit: contain;
  background: var(--dim); }
audio { display: block; width: calc(100% - 1rem); margin: .5rem; }
h2 { font-size: 1rem; margin: .5rem .5rem 0; overflow-wrap: anywhere; }
p { margin: .2rem .5rem .5rem; overflow-wrap: anywhere; }
body > p { margin: .2rem 0; }
.failed, .unknown, .error { border-color: var(--bad); }
.why { color: var(--bad); white-space: pre-wrap; }
a { color: inherit; }
"""


@define(eq=False)
class ResultsPage:
    """The page of a directory: a card for each job, with its files, costs and failure.

    Created by the command, which adds each outcome. The cards are kept in a temporary file, so that
    memory does not grow with the batch; `write` puts the page in place in one step.
    """

    directory: Path
    _cards: IO[str]
    failed: OSError | None = None
    """Why a card could not be kept, as on a full disk; nothing more is kept then."""
    _seen: set[str] = field(factory=set[str], init=False)
    """The files of the jobs that were added."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a job by its line of the report."""
        if self.failed is not None:
            return
        self._seen.update(line["paths"])
        try:
            self._cards.write(_card(line, self.directory))
        except OSError as error:
            self.failed = error

    def add_saved(self, entry: "Entry") -> bool:
        """Add results that an earlier run has saved in the directory, unless their job was added.

        A run that is stopped has not come to all jobs, and the page replaces the earlier one.
        Return whether there were any.
        """
        paths = [path for path in entry.paths.values() if Path(path).parent == self.directory]
        if not paths or not self._seen.isdisjoint(paths):
            return False
        self.add(
            {
                "key": entry.key,
                "kind": entry.kind,
                "ref": entry.ref,
                "status": "failed" if entry.failed else "earlier",
                "error": redact(entry.failure) if entry.failure else None,
                "paths": paths,
                "coins": entry.coins,
            }
        )
        return True

    def write(self, title: str, summary: Sequence[str]) -> Path:
        """Write the page, complete or not at all, and return its path. Raises OSError."""
        if self.failed is not None:
            raise self.failed
        path = self.directory / FILE_NAME
        if not _may_replace(path):  # the batch may have run for days
            raise FileExistsError(errno.EEXIST, "another program has written a file of this name")
        part = self.directory / f".{FILE_NAME}.{os.getpid()}.part"
        try:
            with part.open("w", encoding="utf-8", errors="replace", newline="\n") as page:
                page.write(_head(title, summary))
                self._cards.seek(0)
                shutil.copyfileobj(self._cards, page)
                page.write("</main>\n</html>\n")
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        return path


@contextmanager
def open_results_page(directory: Path, *others: Path) -> Generator[ResultsPage]:
    """Yield the page of a directory, to be written. Raises like `check_results_page`."""
    check_results_page(directory, *others)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", newline="\n") as cards:
        yield ResultsPage(directory.absolute(), cards)


def check_results_page(directory: Path, *others: Path) -> None:
    """Raise `InvalidInput` if the page would overwrite another file.

    ``others`` are files that the batch itself writes, which may not exist yet.
    """
    path = directory / FILE_NAME
    if path.resolve() in {other.resolve() for other in others} or not _may_replace(path):
        raise InvalidInput(
            f"The page of results would overwrite {str(path)!r:.200}, which is not such a page; "
            "give another directory with --out. Nothing was started.",
            field="html",
        )


def _may_replace(path: Path) -> bool:
    """Return whether there is nothing at this path, or a page of an earlier run."""
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(_MARK_WITHIN)
    except (FileNotFoundError, NotADirectoryError):  # of a file as --out, saving tells it better
        return True
    except OSError:
        return False


def _head(title: str, summary: Sequence[str]) -> str:
    lines = "".join(f"<p>{escape(line)}</p>\n" for line in summary)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n{_MARK}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{lines}<main>\n"
    )


def _card(line: Mapping[str, Any], directory: Path) -> str:
    status = str(line["status"])
    key = line["key"]
    if key is not None and key.startswith(RESERVED_KEY_PREFIXES):  # says nothing to a reader
        key = None
    name = str(key or line["ref"] or f"line {line.get('line')}")
    facts = [str(line["kind"]), _LABELS[status]] if line["kind"] else [_LABELS[status]]
    if line["coins"] is not None:
        facts.append(format_coins(line["coins"]))
    parts = [_shown(Path(path), directory) for path in line["paths"]]
    parts.append(f"<h2>{escape(name)}</h2>\n<p>{escape(' · '.join(facts))}</p>\n")
    if line["ref"] and line["ref"] != name:
        parts.append(f"<p><small>{escape(line['ref'])}</small></p>\n")
    parts += [
        f"<p>{escape(f'{member}: {value}')}</p>\n"  # a result that is no file, such as an id
        for member, value in line.items()
        if member not in _MEMBERS
    ]
    if line["error"]:
        parts.append(f'<p class="why">{escape(line["error"])}</p>\n')
    return f'<article class="{status}">\n{"".join(parts)}</article>\n'


def _shown(path: Path, directory: Path) -> str:
    """Return a file as an element that shows or plays it, and a link to it."""
    try:
        link = quote(Path(os.path.relpath(path, directory)).as_posix())
    except ValueError:  # another drive
        link = path.as_uri()
    # "./": a name with a colon would be read as a scheme.
    address = escape(link if "://" in link else f"./{link}")
    media = mimetypes.guess_type(path.name)[0] or _OTHER_TYPES.get(path.suffix, "")
    element = media.partition("/")[0]
    if element == "image":
        image = f'<img loading="lazy" src="{address}" alt="{escape(path.name)}">'
        return f'<a href="{address}">{image}</a>\n'
    player = ""
    if element in ("video", "audio"):
        player = f'<{element} controls preload="metadata" src="{address}"></{element}>\n'
    return f'{player}<p><a href="{address}">{escape(path.name)}</a></p>\n'


_OTHER_TYPES: Final = {".webp": "image/webp", ".avif": "image/avif", ".m4a": "audio/mp4"}
"""Suffixes that some versions of Python and some systems do not know."""
