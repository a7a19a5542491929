"""Shows images in terminals that can: by kitty's protocol, iTerm2's inline images, or sixels."""

import os
import shutil
import struct
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from a2e_async._core.files.media_types import SNIFF_BYTES, sniff_media_type
from a2e_async.cli.common_flags import switch
from a2e_async.cli.printer import Printer, one_line
from a2e_async.cli.sixel import sixels
from a2e_async.cli.streams import is_terminal

if TYPE_CHECKING:
    from PIL.Image import Image

Preview = Annotated[
    bool,
    switch(
        "Show images in the terminal: in kitty, Ghostty, iTerm2, WezTerm, Konsole, mintty, foot, "
        "mlterm, Contour, Windows Terminal."
    ),
]

MAX_BYTES: Final = 20_000_000
"""The largest image that is sent to a terminal."""

MAX_COLUMNS: Final = 80
MAX_LINES: Final = 24

_CHUNK: Final = 4096
"""The most characters that one command of kitty's protocol may carry."""

_CELL_RATIO: Final = 2
"""Height of a character, in widths; close enough in all fonts."""

_CELL_SIZE: Final = (8, 16)
"""Width and height of a character, in pixels, in a terminal that does not say it."""

_NO_PILLOW: Final = "this terminal needs Pillow for it: pip install 'a2e-async[preview]'"

Protocol = Literal["kitty", "iterm", "sixel"]


def show_images(printer: Printer, paths: Iterable[Path]) -> list[Path]:
    """Show the images among these files, and return them; print why the others are not shown."""
    protocol = image_protocol(os.environ)
    why = None
    if printer.as_json or not is_terminal(sys.stdout):
        why = "stdout is not a terminal"
    elif "TMUX" in os.environ or os.environ.get("TERM", "").startswith(("screen", "tmux")):
        why = "tmux and screen do not pass images on"
    elif protocol is None:
        why = "this terminal is not known to show images"
    if why is not None or protocol is None:
        printer.note(f"no preview: {why}")
        return []
    shown: list[Path] = []
    for path in paths:
        found = _sequence(protocol, path)
        if found.startswith("\x1b"):
            printer.image(found)
            shown.append(path)
        else:
            printer.note(f"no preview of {path.name}: {found}")
    return shown


def image_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """Return the protocol for images that the terminal of an environment knows."""
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    konsole = environment.get("KONSOLE_VERSION", "")
    if (
        program in ("iTerm.app", "WezTerm", "mintty")
        or environment.get("LC_TERMINAL") == "iTerm2"
        or (konsole.isdecimal() and int(konsole) >= 220400)
    ):
        return "iterm"
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if term.startswith(("foot", "mlterm", "contour")) or "WT_SESSION" in environment:
        return "sixel"
    return None


def _sequence(protocol: Protocol, path: Path) -> str:
    """Return what shows a file, or why it cannot be shown."""
    with path.open("rb") as file:
        media, mime = sniff_media_type(file.read(SNIFF_BYTES), path.name)
    if media != "image":
        return f"it is {'sound' if media == 'audio' else f'a {media}'}, not an image"
    if path.stat().st_size > MAX_BYTES:
        return f"it is larger than {MAX_BYTES // 10**6} MB"
    size = shutil.get_terminal_size()
    columns, lines = min(size.columns, MAX_COLUMNS), max(1, min(size.lines - 2, MAX_LINES))
    data = path.read_bytes()
    if protocol == "iterm":
        box = f"width={columns};height={lines};preserveAspectRatio=1"
        text = b64encode(data).decode()
        return f"\x1b]1337;File=inline=1;size={len(data)};{box}:{text}\a"
    if protocol == "kitty" and mime == "image/png":
        return _kitty(data, columns, lines)
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return _NO_PILLOW
    try:
        with Image.open(path) as image:
            return _decoded(protocol, image, columns, lines)
    except Exception as error:  # the image is saved; decoders raise almost anything for a bad one
        return f"it cannot be decoded: {one_line(str(error))}"


def _kitty(png: bytes, columns: int, lines: int) -> str:
    # One side of the box: with both, the image would be stretched to it.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    too_high = height * columns > lines * _CELL_RATIO * width
    side = f"r={lines}" if too_high else f"c={columns}"
    text = b64encode(png).decode()
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    # q=2: the terminal reports nothing back, which would appear as typed text.
    controls = [f"a=T,f=100,q=2,{side},m=1", *["m=1"] * (len(chunks) - 1)]
    controls[-1] = controls[-1].replace("m=1", "m=0")
    return "".join(
        f"\x1b_G{control};{chunk}\x1b\\" for control, chunk in zip(controls, chunks, strict=True)
    )


def _decoded(protocol: Protocol, image: "Image", columns: int, lines: int) -> str:
    """Return what shows an image that this process has to decode, scaled to the box."""
    from PIL import ImageOps

    width, height = _cell_size()
    upright = ImageOps.exif_transpose(image)
    # An enlarged image would only be blurred, and be more to write.
    upright.thumbnail((columns * width, lines * height))
    if protocol == "kitty":
        png = BytesIO()
        upright.convert("RGBA").save(png, "PNG")  # PNG has no CMYK, for one
        return _kitty(png.getvalue(), columns, lines)
    few = upright.convert("RGB").quantize(256)
    palette = few.getpalette() or []
    colors = list(zip(palette[::3], palette[1::3], palette[2::3], strict=True))
    return sixels(few.width, few.tobytes(), colors)


def _cell_size() -> tuple[int, int]:
    """Return width and height of a character of the terminal, in pixels."""
    try:
        import fcntl
        import termios

        found = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError):  # Windows has no such call, and not every stream a number
        return _CELL_SIZE
    lines, columns, width, height = struct.unpack("HHHH", found)
    if not (columns and lines and width >= columns and height >= lines):
        return _CELL_SIZE
    return width // columns, height // lines
