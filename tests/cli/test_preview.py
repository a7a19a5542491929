"""``--preview``: images in terminals that show them, and one line where there are none."""

import base64
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from a2e_async.cli import preview, printer
from a2e_async.cli.preview import image_protocol, show_images
from a2e_async.cli.printer import Printer
from a2e_async.sandbox import Sandbox, media

from .conftest import Invoke
from .test_commands import started

Image = pytest.importorskip("PIL.Image")

PICTURE = ("text_to_image", "--name", "x", "--prompt", "dog")


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM_PROGRAM": "WezTerm", "TERM": "xterm-256color"}, "iterm"),
        ({"LC_TERMINAL": "iTerm2"}, "iterm"),  # over ssh
        ({"KONSOLE_VERSION": "230800"}, "iterm"),
        ({"KONSOLE_VERSION": "210800"}, None),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "mlterm-256color"}, "sixel"),
        ({"WT_SESSION": "1", "TERM": "xterm-256color"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_the_terminal_is_known_by_its_environment(
    environment: dict[str, str], protocol: str | None
) -> None:
    assert image_protocol(environment) == protocol


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal of 80 columns, which no variable names."""
    for name in ("TERM_PROGRAM", "LC_TERMINAL", "KONSOLE_VERSION", "TMUX", "WT_SESSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setattr(preview, "is_terminal", lambda _: True)
    return monkeypatch


def test_kitty_gets_the_file_in_small_parts(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "xterm-kitty")
    image = tmp_path / "dog.png"
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (100).to_bytes(4, "big") + (400).to_bytes(4, "big")
    image.write_bytes(head + os.urandom(9000))
    assert show_images(Printer(), [image]) == [image]
    parts = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", capsys.readouterr().out)
    controls = [control for control, _ in parts]
    assert controls == ["a=T,f=100,q=2,r=24,m=1", *["m=1"] * (len(parts) - 2), "m=0"]
    assert all(len(data) <= 4096 for _, data in parts)
    assert base64.b64decode("".join(data for _, data in parts)) == image.read_bytes()
    image.write_bytes(head[:16] + head[20:] + head[16:20])  # wide, and of one part
    show_images(Printer(), [image])
    assert "a=T,f=100,q=2,c=80,m=0;" in capsys.readouterr().out


def test_iterm_gets_any_image(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM_PROGRAM", "iTerm.app")
    image = tmp_path / "dog.jpg"
    image.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    assert show_images(Printer(), [image]) == [image]
    text = base64.b64encode(image.read_bytes()).decode()
    box = "width=80;height=24;preserveAspectRatio=1"
    assert capsys.readouterr().out == f"\x1b]1337;File=inline=1;size=104;{box}:{text}\a\n"


def read_sixels(sequence: str) -> Any:
    """Return the image that a terminal draws, by the rules of the format."""
    found = re.fullmatch('\x1bP0;1q"1;1;(\\d+);(\\d+)(.*)\x1b\\\\', sequence)
    assert found is not None
    image = Image.new("RGBA", (int(found[1]), int(found[2])))
    colors: dict[int, tuple[int, ...]] = {}
    color, column, top = 0, 0, 0
    for token in re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|![0-9]+[?-~]|[?-~]|[-$]", found[3]):
        if token[0] == "#" and ";" in token:
            number, _, *parts = (int(part) for part in token[1:].split(";"))
            colors[number] = (*(round(part * 255 / 100) for part in parts), 255)
        elif token[0] == "#":
            color = int(token[1:])
        elif token in ("$", "-"):
            column, top = 0, top + 6 * (token == "-")
        else:
            end = column + int(token[1:-1] or 1)
            for line in range(6):
                if (ord(token[-1]) - ord("?")) >> line & 1:
                    image.paste(colors[color], (column, top + line, end, top + line + 1))
            column = end
    return image


def test_sixels_show_the_colors_of_the_file(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "foot")
    picture = tmp_path / "flag.png"
    flag = Image.new("RGB", (90, 31), (204, 0, 0))
    flag.paste((255, 255, 255), (30, 0, 60, 31))
    flag.paste((0, 51, 102), (60, 10, 90, 31))
    flag.save(picture)
    assert show_images(Printer(), [picture]) == [picture]
    shown = read_sixels(capsys.readouterr().out.rstrip("\n"))
    assert shown.convert("RGB").tobytes() == flag.tobytes()
    assert shown.getextrema()[3] == (255, 255), "each pixel is drawn"


def test_a_large_picture_is_scaled_to_the_terminal(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "foot")
    picture = tmp_path / "wall.jpg"
    Image.effect_noise((2000, 1000), 90).save(picture)
    show_images(Printer(), [picture])
    assert read_sixels(capsys.readouterr().out.rstrip("\n")).size == (640, 320)


def test_kitty_gets_a_png_of_what_else_an_image_is(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "xterm-kitty")
    picture = tmp_path / "dog.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6  # how phones store an upright picture
    Image.new("RGB", (40, 20), (0, 0, 200)).save(picture, exif=turned)
    assert show_images(Printer(), [picture]) == [picture]
    parts = re.findall("\x1b_G[^;]*;([^\x1b]*)\x1b\\\\", capsys.readouterr().out)
    with Image.open(io.BytesIO(base64.b64decode("".join(parts)))) as shown:
        assert (shown.format, shown.size) == ("PNG", (20, 40))


def test_kitty_gets_the_colors_of_a_print(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PNG has no CMYK."""
    terminal.setenv("TERM", "xterm-kitty")
    picture = tmp_path / "print.jpg"
    Image.new("CMYK", (40, 20), (0, 255, 255, 0)).save(picture)
    assert show_images(Printer(), [picture]) == [picture]
    parts = re.findall("\x1b_G[^;]*;([^\x1b]*)\x1b\\\\", capsys.readouterr().out)
    with Image.open(io.BytesIO(base64.b64decode("".join(parts)))) as shown:
        red, green, blue = shown.convert("RGB").getpixel((5, 5))
    assert red > 200 > 100 > max(green, blue)


@pytest.mark.parametrize("error", [SyntaxError, IndexError, MemoryError])
def test_whatever_a_decoder_raises_is_one_line(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    """The image is paid and saved: a command must not fail because it cannot be shown."""
    terminal.setenv("TERM", "foot")

    def fails(_: object) -> None:
        raise error("broken\nPNG file")

    terminal.setattr(Image, "open", fails)
    assert show_images(Printer(), [media.portrait()]) == []
    assert "it cannot be decoded: broken PNG file\n" in capsys.readouterr().err


def test_without_pillow_one_line_says_what_to_install(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "foot")
    terminal.setitem(sys.modules, "PIL", None)
    assert show_images(Printer(), [media.portrait()]) == []
    assert "pip install 'a2e-async[preview]'" in capsys.readouterr().err


def test_no_other_text_operates_the_terminal(
    terminal: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets the names of files as they are."""
    terminal.setenv("TERM", "xterm-kitty")
    odd = tmp_path / "\x1b]0;x\a.txt"
    odd.write_bytes(b"\xff\xd8\xff\xe0")
    terminal.setitem(sys.modules, "PIL", None)
    show_images(Printer(), [odd])
    Printer().out(str(odd))
    shown = capsys.readouterr()
    assert shown.out == f"{odd}\n"
    assert shown.err.startswith("no preview of \\x1b]0;x\\x07.txt: this terminal needs Pillow")
    terminal.setattr(printer, "is_terminal", lambda _: True)
    Printer().out(f"{odd.name}\tok\nok")
    assert capsys.readouterr().out == "\\x1b]0;x\\x07.txt\tok\nok\n"


def test_no_text_of_the_service_operates_the_terminal(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("text_to_image", message="bad \x1b[2J \x9b31m \r")
    result = a2e("run", *PICTURE, "--out", "out")
    assert "bad \\x1b[2J \\x9b31m" in result.err
    assert {*"\x1b\x9b\r"}.isdisjoint(result.err)


@pytest.mark.parametrize(
    ("variables", "file", "said"),
    [
        ({}, "portrait", "no preview: this terminal is not known to show images"),
        ({"TMUX": "1", "TERM": "xterm-kitty"}, "portrait", "no preview: tmux and screen do not"),
        ({"TERM": "foot"}, "broken", "no preview of broken.png: it cannot be decoded"),
        ({"TERM": "xterm-kitty"}, "clip", "it is a video, not an image"),
        ({"TERM": "xterm-kitty"}, "speech", "it is sound, not an image"),
    ],
)
def test_otherwise_one_line_says_why(
    terminal: pytest.MonkeyPatch,
    variables: dict[str, str],
    file: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        terminal.setenv(name, value)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99))
    path = tmp_path / "broken.png" if file == "broken" else Path(getattr(media, file)())
    assert show_images(Printer(), [path]) == []
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_a_pipe_gets_no_image(a2e: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = a2e("run", *PICTURE, "--out", "out", "--preview")
    assert result.code == 0, result.err
    (path,) = result.out.splitlines()
    assert Path(path).is_file()
    assert "no preview: stdout is not a terminal\n" in result.err
    ref = started(a2e, *PICTURE)
    result = a2e("open", ref, "--preview", "--print", "--out", "seen")
    assert result.code == 0, result.err
    assert "\x1b" not in result.out
    assert "no preview: stdout is not a terminal\n" in result.err


def test_open_shows_it_in_the_terminal_instead(
    a2e: Invoke, terminal: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal.setenv("TERM_PROGRAM", "WezTerm")
    terminal.delenv("DISPLAY", raising=False)
    terminal.delenv("WAYLAND_DISPLAY", raising=False)
    result = a2e("open", started(a2e, *PICTURE), "--preview", "--out", "seen")
    assert result.code == 0, result.err
    assert "\x1b]1337;File=inline=1;" in result.out
    assert "no program" not in result.err
