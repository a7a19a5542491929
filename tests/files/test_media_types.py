"""File types, file names, and expiry of URLs."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.files.media_types import (
    actual_extension,
    corrected_extension,
    extension_for_mime_type,
    extensions_for_media,
    filename_stem,
    safe_filename,
    sniff_media_type,
    suggest_filename,
    url_expires_at,
)
from a2e_async.models import Output


@pytest.mark.parametrize(
    ("head", "name", "mime"),
    [
        (b"\x89PNG\r\n\x1a\n....", None, "image/png"),
        (b"\xff\xd8\xff\xe0", "x.png", "image/jpeg"),
        (b"GIF89a", None, "image/gif"),
        (b"RIFF....WEBPVP8 ", None, "image/webp"),
        (b"BM\x36\x00\x0c\x00\0\0\0\0\x36\0\0\0\x28\0\0\0", None, "image/bmp"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", None, "image/avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", None, "image/avif"),
        (b"\0\0\0\x1cftypheic", None, "image/heic"),
        (b"\0\0\0\x1cftypisom", None, "video/mp4"),
        (b"\0\0\0\x1cftypisom", "talk.M4A", "audio/mp4"),
        (b"\0\0\0\x1cftypM4A ", None, "audio/mp4"),
        (b"\0\0\0\x1cftypM4V ", None, "video/x-m4v"),
        (b"\0\0\0\x1cftypqt  ", None, "video/quicktime"),
        (b"\0\0\0\x1cftyp3gp5", None, "video/3gpp"),
        (b"\0\0\0\x08wide\0\0\0\x10mdat", None, "video/quicktime"),
        (b"\x1a\x45\xdf\xa3....B\x82\x84webm", None, "video/webm"),
        (b"\x1a\x45\xdf\xa3....B\x82\x84webm", "a.weba", "audio/webm"),
        (b"\x1a\x45\xdf\xa3....B\x82\x88matroska", None, "video/x-matroska"),
        (b"RIFF....AVI LIST", None, "video/x-msvideo"),
        (b"RIFF....WAVEfmt ", None, "audio/wav"),
        (b"ID3\x04\0", None, "audio/mpeg"),
        (b"\xff\xfb\x90\x64", None, "audio/mpeg"),
        (b"\xff\xf1\x50\x80", None, "audio/aac"),
        (b"fLaC\0\0\0\x22", None, "audio/flac"),
        (b"OggS\0\x02....OpusHead", None, "audio/ogg"),
        (b"OggS\0\x02....\x80theora", None, "video/ogg"),
        (b"\xff\xfeh\0e\0", None, "application/octet-stream"),
        (b"BMW is a maker of cars.", "a.txt", "text/plain"),
        (b"\xef\xbb\xbf \n<HTML lang=en>", "x.jpg", "text/html"),
        (b"anything", "x.mp3", "audio/mpeg"),
        (b"anything", "x.tar.unheard", "application/octet-stream"),
        (b"", ".mp3", "application/octet-stream"),
    ],
)
def test_sniff(head: bytes, name: str | None, mime: str) -> None:
    media, found = sniff_media_type(head, name)
    assert found == mime
    kind = mime.partition("/")[0]
    assert media == (kind if kind in ("video", "audio", "image") else "file")


@given(st.binary(max_size=600), st.none() | st.text(max_size=40))
def test_sniff_takes_anything(head: bytes, name: str | None) -> None:
    media, mime = sniff_media_type(head, name)
    assert media in ("video", "audio", "image", "file")
    assert mime.count("/") == 1
    assert media == "file" or extension_for_mime_type(mime)


def test_extensions() -> None:
    assert extension_for_mime_type("Audio/MPEG; charset=x") == "mp3"
    assert extension_for_mime_type("image/jpeg") == "jpg"
    assert extension_for_mime_type("application/octet-stream") is None
    assert "mp3" in extensions_for_media(["audio"])
    assert "mp4" not in extensions_for_media(["audio"])


def _is_safe(name: str) -> None:
    assert name
    assert len(name) <= 120
    assert len(os.fsencode(name)) <= 200
    assert not set(name) & set('<>:"/\\|?*\0\n\r\t')
    assert name.isprintable()
    assert name[0] not in ".- "
    assert name[-1] not in ". "
    stem = name.partition(".")[0].strip().upper()
    assert stem not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "CONIN$"}


@given(
    st.text(max_size=400)
    | st.lists(
        st.sampled_from(
            ["..", "/", "\\", "con", "NUL", ".", " ", "\u202e", "é", "\U0001d54f", "x.mp4", "-"]
        ),
        max_size=60,
    ).map("".join)
)
def test_safe_name(text: str) -> None:
    name = safe_filename(text)
    _is_safe(name)
    assert safe_filename(name) == name
    here = Path("/out")
    assert Path(os.path.normpath(here / name)).parent == here


@given(st.text(max_size=300), st.text(max_size=60), st.none() | st.text(max_size=60))
def test_suggested_names_are_safe(path: str, mime: str, disposition: str | None) -> None:
    encoded = "".join(c for c in path if c not in "?#[]")
    output = Output(url=f"https://h/{encoded}")
    _is_safe(
        suggest_filename(output, mime, disposition and f'attachment; filename="{disposition}"')
    )
    _is_safe(filename_stem(output))


@pytest.mark.parametrize(
    ("nasty", "name"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\x\\y.mp4", "C-x-y.mp4"),
        ("con.mp4", "_con.mp4"),
        ("..", "file"),
        ("CON/.0", "_CON.0"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("x" * 300 + ".mp4", "x" * 116 + ".mp4"),
    ],
)
def test_nasty_names(nasty: str, name: str) -> None:
    assert safe_filename(nasty) == name


@pytest.mark.parametrize(
    ("url", "ref", "index", "mime", "disposition", "name"),
    [
        ("https://h/a", "dubbing:66ea", 0, "audio/mpeg", None, "dubbing-66ea.mp3"),
        ("https://h/a.mp4?x=1", "dubbing:66ea", 2, None, None, "dubbing-66ea-2.mp4"),
        ("https://h/a.mp4", None, 0, "video/mp4", None, "a.mp4"),
        ("https://h/a.mp4", None, 0, None, 'attachment; filename="../b c.mov"', "b-c.mov"),
        ("https://h/a", None, 0, "video/mp4", "inline; filename*=UTF-8''%e2%82%ac", "€.mp4"),
        ("https://h/", None, 0, None, None, "result"),
        ("https://h/..%2F..%2Fx.mp4", None, 0, None, None, "x.mp4"),
    ],
)
def test_suggest_name(
    url: str, ref: str | None, index: int, mime: str | None, disposition: str | None, name: str
) -> None:
    output = Output(url=url, ref=ref, index=index)
    assert suggest_filename(output, mime, disposition) == name


def test_numbered_when_requested() -> None:
    output = Output(url="https://h/a.mp4", ref="dubbing:66ea")
    assert suggest_filename(output, None, numbered=True) == "dubbing-66ea-0.mp4"


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("Expires=1735689600&Signature=x", datetime(2025, 1, 1, tzinfo=UTC)),
        ("X-Amz-Date=20250101T000000Z&X-Amz-Expires=60", datetime(2025, 1, 1, 0, 1, tzinfo=UTC)),
        ("x-tos-date=20250101T000000Z&x-tos-expires=1", datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("sv=1&se=2025-01-01T00%3A00%3A00Z&sig=x", datetime(2025, 1, 1, tzinfo=UTC)),
        ("se=2025-01-01", datetime(2025, 1, 1, tzinfo=UTC)),
        ("Expires=never", None),
        ("Expires=99999999999999999999", None),
        ("X-Amz-Date=20250101T000000Z&X-Amz-Expires=99999999999999", None),
        ("X-Amz-Expires=60", None),
        ("", None),
    ],
)
def test_expires_at(query: str, moment: datetime | None) -> None:
    assert url_expires_at(f"https://h/a.mp4?{query}") == moment


@given(st.text(max_size=80))
def test_expires_at_takes_anything(query: str) -> None:
    url_expires_at(f"https://h/a?Expires={query}")


@pytest.mark.parametrize(
    ("name", "actual", "corrected"),
    [
        ("talk.wav", None, None),
        ("talk.mp3", "wav", None),
        ("talk.mp4", "wav", "wav"),
        ("talk.png", "wav", "wav"),
        ("talk.txt", None, None),
        ("talk", None, None),
    ],
)
def test_a_suffix_of_another_medium_is_corrected_and_one_of_another_format_kept(
    name: str, actual: str | None, corrected: str | None
) -> None:
    head = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(100)
    assert actual_extension(head, name) == actual
    assert corrected_extension(head, name) == corrected
