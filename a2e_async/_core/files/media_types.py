"""Detect media types, choose file names, and read the expiry of signed URLs (pure)."""

import base64
import codecs
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from a2e_async.models import MediaType, Output

UNKNOWN_TYPE: Final[tuple[MediaType, str]] = ("file", "application/octet-stream")

SNIFF_BYTES: Final = 512
"""Leading bytes of a file that `sniff_media_type` needs."""

MAX_FILENAME_CHARS: Final = 120
_MAX_NAME_BYTES: Final = 200  # the usual limit of 255, less what the name of a .part file adds

_BY_EXTENSION: Final[dict[str, tuple[MediaType, str]]] = {
    "png": ("image", "image/png"),
    "jpg": ("image", "image/jpeg"),
    "jpeg": ("image", "image/jpeg"),
    "gif": ("image", "image/gif"),
    "webp": ("image", "image/webp"),
    "bmp": ("image", "image/bmp"),
    "tif": ("image", "image/tiff"),
    "tiff": ("image", "image/tiff"),
    "avif": ("image", "image/avif"),
    "heic": ("image", "image/heic"),
    "heif": ("image", "image/heic"),
    "mp4": ("video", "video/mp4"),
    "m4v": ("video", "video/x-m4v"),
    "mov": ("video", "video/quicktime"),
    "3gp": ("video", "video/3gpp"),
    "webm": ("video", "video/webm"),
    "mkv": ("video", "video/x-matroska"),
    "avi": ("video", "video/x-msvideo"),
    "ogv": ("video", "video/ogg"),
    "wav": ("audio", "audio/wav"),
    "mp3": ("audio", "audio/mpeg"),
    "flac": ("audio", "audio/flac"),
    "ogg": ("audio", "audio/ogg"),
    "opus": ("audio", "audio/ogg"),
    "oga": ("audio", "audio/ogg"),
    "aac": ("audio", "audio/aac"),
    "m4a": ("audio", "audio/mp4"),
    "m4b": ("audio", "audio/mp4"),
    "weba": ("audio", "audio/webm"),
    "mka": ("audio", "audio/x-matroska"),
    "aif": ("audio", "audio/aiff"),
    "aiff": ("audio", "audio/aiff"),
    "amr": ("audio", "audio/amr"),
    "html": ("file", "text/html"),
    "htm": ("file", "text/html"),
    "txt": ("file", "text/plain"),
    "srt": ("file", "application/x-subrip"),
    "vtt": ("file", "text/vtt"),
    "ass": ("file", "text/x-ssa"),
    "csv": ("file", "text/csv"),
    "md": ("file", "text/markdown"),
    "svg": ("file", "image/svg+xml"),
    "json": ("file", "application/json"),
    "xml": ("file", "application/xml"),
    "pdf": ("file", "application/pdf"),
    "zip": ("file", "application/zip"),
}

_EXTENSION_BY_MIME: Final[dict[str, str]] = {
    **{mime: ext for ext, (_, mime) in reversed(_BY_EXTENSION.items())},
    "audio/mp3": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/x-flac": "flac",
    "audio/x-m4a": "m4a",
    "audio/x-aac": "aac",
    "audio/opus": "opus",
    "application/ogg": "ogg",
    "audio/x-aiff": "aiff",
    "image/jpg": "jpg",
    "image/heif": "heic",
    "video/m4v": "m4v",
    "video/avi": "avi",
    "text/xml": "xml",
}

_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})
_BARE_QUICKTIME: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_FRAGMENT_BOXES: Final = frozenset({b"styp", b"moof", b"sidx"})

_TEXT_EXTENSIONS: Final = frozenset(
    {"html", "htm", "txt", "srt", "vtt", "ass", "csv", "md", "svg", "json", "xml"}
)
"""Extensions of text files."""

_NO_MAGIC_EXTENSIONS: Final = frozenset({"mp3", "aac"})
"""Audio extensions without a magic number; all other media files begin with one."""

# Containers that may hold audio only; the bytes do not tell, the extension does.
_AUDIO_ONLY_EXTENSIONS: Final = {
    "video/mp4": ("m4a", "m4b"),
    "video/webm": ("weba",),
    "video/x-matroska": ("mka",),
}


AUDIO_MIME_TYPES: Final = {
    "video/mp4": "audio/mp4",
    "video/x-m4v": "audio/mp4",
    "video/quicktime": "audio/mp4",
    "video/3gpp": "audio/mp4",
    "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska",
}
"""The MIME types of containers whose tracks have sound only, by that of the container."""

_UNSUPPORTED_MAGICS: Final = (
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (.wma, .wmv)"),
    (b"caff", "a Core Audio file (.caf)"),
    (b"FLV\x01", "a Flash video (.flv)"),
)
_UNSUPPORTED_EXTENSIONS: Final = {
    "wma": "a Windows Media file (.wma, .wmv)",
    "wmv": "a Windows Media file (.wma, .wmv)",
    "asf": "a Windows Media file (.wma, .wmv)",
    "caf": "a Core Audio file (.caf)",
    "flv": "a Flash video (.flv)",
    "ts": "an MPEG transport stream (.ts)",
    "m2ts": "an MPEG transport stream (.ts)",
    "mts": "an MPEG transport stream (.ts)",
}


def unsupported_format(head: bytes, name: str | None = None) -> str | None:
    """Return what a media file of a format is that is not accepted here; None for others."""
    for magic, what in _UNSUPPORTED_MAGICS:
        if head.startswith(magic):
            return what
    for packet, start in ((188, 0), (192, 4)):  # MPEG-TS has a sync byte in each packet
        if len(head) > 2 * packet and all(head[start + n * packet] == 0x47 for n in range(3)):
            return "an MPEG transport stream (.ts)"
    return _UNSUPPORTED_EXTENSIONS.get(_extension(name or ""))


def sniff_media_type(head: bytes, name: str | None) -> tuple[MediaType, str]:
    """Return media type and MIME type from the first bytes, else from the name's extension."""
    extension = _extension(name or "")
    mime = _mime_by_magic(bytes(head[:SNIFF_BYTES]), extension)
    if mime is None:
        return _BY_EXTENSION.get(extension, UNKNOWN_TYPE)
    if extension in _AUDIO_ONLY_EXTENSIONS.get(mime, ()):
        return _BY_EXTENSION[extension]
    return media_type_of(mime), mime


def matches_extension(data: bytes, name: str) -> bool:
    """Return False if ``data`` is not media although the extension of ``name`` says so.

    ``data`` is the beginning of the file, up to 64 KiB. True if the extension is not of media.
    """
    extension = _extension(name)
    media, _ = _BY_EXTENSION.get(extension, UNKNOWN_TYPE)
    if media == "file":
        return True
    if (found := _mime_by_magic(data[:SNIFF_BYTES], extension)) is not None:
        return media_type_of(found) != "file"
    return extension in _NO_MAGIC_EXTENSIONS and _FRAME_SYNC.search(data) is not None


def actual_extension(head: bytes, name: str) -> str | None:
    """Return the extension of a file's format, if that of ``name`` is of another format.

    ``head`` is its beginning. None if the extension fits, if it is not one of media, or if the
    bytes do not tell. Formats of one container family fit each other: MP4 data may be named .mov.
    """
    extension = _extension(name)
    claimed, expected = _BY_EXTENSION.get(extension, UNKNOWN_TYPE)
    if claimed == "file" or (mime := _mime_by_magic(head[:SNIFF_BYTES], extension)) is None:
        return None
    media, actual = sniff_media_type(head, name)
    if media == "file" or actual == expected:
        return None
    if any(actual in family and expected in family for family in _VIDEO_FAMILIES):
        return None
    return extension_for_mime_type(mime)


def corrected_extension(head: bytes, name: str) -> str | None:
    """Return the extension to save a file under instead of that of ``name``, which stays if None.

    Only another medium is corrected. Within one, programs detect the format by the bytes, and a
    program that saves WAV data as ``talk.mp3`` goes on to open ``talk.mp3``.
    """
    media, _ = sniff_media_type(head, name)
    claimed, _ = _BY_EXTENSION.get(_extension(name), UNKNOWN_TYPE)
    return None if media == claimed else actual_extension(head, name)


def contradicts_media(name: str, media: MediaType) -> str | None:
    """Return the media type that the extension of ``name`` claims, if results are of another."""
    claimed, _ = _BY_EXTENSION.get(_extension(name), UNKNOWN_TYPE)
    return None if "file" in (claimed, media) or claimed == media else claimed


_VIDEO_FAMILIES: Final = (
    frozenset({"video/mp4", "video/x-m4v", "video/quicktime", "video/3gpp"}),
    frozenset({"video/webm", "video/x-matroska"}),
)
"""Containers of one structure, which players do not tell apart by the extension."""


def detect_document(head: bytes, mime: str = "") -> str | None:
    """Return what kind of text document a body is, such as "a web page"; None if it is not text.

    ``head`` is its first `SNIFF_BYTES`, or all of it; ``mime`` is its Content-Type. Text without
    words or structure counts only if the Content-Type says text, if it is blank, names an error or
    is a media file in Base64, or if it has non-ASCII letters, which the bytes of a media file do
    not form by chance.
    """
    for mark, coding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            text = head[len(mark) :].decode(coding, "ignore")
            break
    else:
        if head.startswith(b"#EXTM3U") or not _is_text(head):
            return None
        text = head.decode("utf-8", "replace")
    spelled = text.lstrip()
    text = spelled.lower()
    if text.startswith(("<!doctype html", "<html", "<head", "<body", "<title", "<h1")):
        return "a web page"
    if text.startswith("<"):
        return None if _SVG.match(text) else "an XML document"
    if text.startswith(("{", "[")):
        return "a JSON document"
    if not text or is_text_mime_type(mime) or _WORDS.search(text):
        return "a text"
    if text.isascii() and (_ERROR_WORD.search(text) or _is_encoded_media(spelled)):
        return "a text"
    return "a text" if any(char.isalpha() and not char.isascii() for char in text) else None


def _is_encoded_media(text: str) -> bool:
    """Return whether ASCII text is a data URL, or Base64 of a file of a known media type."""
    if _DATA_URL.match(text):
        return True
    try:
        return is_known_media(base64.b64decode(text[:64], validate=True))
    except ValueError:
        return False


def is_known_media(head: bytes) -> bool:
    """Return whether ``head`` begins a file of a known media type."""
    return sniff_media_type(head, None)[0] != "file"


def _is_text(head: bytes) -> bool:
    if not head or head.translate(None, _TEXT_BYTES):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # Perhaps a legacy text encoding; a few such bytes could as well be binary data.
        mostly_ascii = 4 * len(head.translate(None, _HIGH_BYTES)) >= 3 * len(head)
        return mostly_ascii or len(head) >= 64 or head.lstrip()[:1] in (b"<", b"{", b"[")
    return True


_TEXT_BYTES: Final = bytes({9, 10, 11, 12, 13, 27, *range(32, 127), *range(128, 256)})
_HIGH_BYTES: Final = bytes(range(128, 256))
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WORDS: Final = re.compile(
    r"\w[.,:;!?)'\"]*\s+['\"(]*\w"
    r"|^\W*(\w*(forbidden|unauthori[sz]ed|denied|error|gateway|request|expired|unavailable|found"
    r"|gone|time_?out)|null|none|nil|undefined|true|false|ok)\W*$"
)
_DATA_URL: Final = re.compile(r"(?i)data:[\w.+-]+/[\w.+-]+[;,]")
_ERROR_WORD: Final = re.compile(r"error|denied|expired|forbidden|not_?found|unauthori[sz]ed")
_SVG: Final = re.compile(r"(?s)(?:<\?xml[^>]*>|<!--.*?-->|<!doctype svg[^>]*>|\s+)*<svg[\s>]")
_FRAME_SYNC: Final = re.compile(rb"\xff[\xe2-\xff]")


def is_text_mime_type(mime: str) -> bool:
    """Return whether a Content-Type means text, such as the error document of an object store."""
    kind = mime.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind.endswith(("json", "xml", "html"))


def output_may_be_text(output: Output, target: str | None, content_type: str | None) -> bool:
    """Return whether ``output`` may be a text file; ``target`` is the name of the local file.

    Results of a task are media, unless an extension or the Content-Type says otherwise.
    """
    if output.media != "file":
        return False
    for name in (filename_from_url(output.url), target or ""):
        extension = _extension(name)
        if extension in _TEXT_EXTENSIONS:
            return True
        if extension in _BY_EXTENSION:
            return False
    if output.ref is None:
        return True
    extension = extension_for_mime_type(content_type or "") or ""
    return extension in _TEXT_EXTENSIONS - {"html", "htm", "txt", "json", "xml"}


def media_type_of(mime: str) -> MediaType:
    """Return the media type of a MIME type; "file" for all that is not video, audio or image."""
    match mime.partition("/")[0].strip().lower():
        case "video":
            return "video"
        case "audio":
            return "audio"
        case "image":
            return "image"
        case _:
            return "file"


def extension_for_mime_type(mime: str) -> str | None:
    """Return the usual file extension (without dot) of a MIME type, or None."""
    return _EXTENSION_BY_MIME.get(mime.partition(";")[0].strip().lower())


def extensions_for_media(media: Iterable[MediaType]) -> tuple[str, ...]:
    """Return the known file extensions of these media types, for messages."""
    wanted = frozenset(media)
    return tuple(ext for ext, (kind, _) in _BY_EXTENSION.items() if kind in wanted)


def _extension(name: str) -> str:
    stem, dot, ext = name.rpartition(".")
    return ext.lower() if dot and stem else ""


def _mime_by_magic(head: bytes, extension: str) -> str | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"WEBP": "image/webp"}.get(
            head[8:12]
        )
    if head[4:8] == b"ftyp":
        return _mime_by_brand(head)
    for magic, mime in _MAGICS:
        if head.startswith(magic):
            return mime
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head or extension == "ogv" else "audio/ogg"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if len(head) >= 12 and head[4:8] in _BARE_QUICKTIME:
        return "video/quicktime"
    if len(head) >= 12 and head[4:8] in _FRAGMENT_BOXES:
        return "video/mp4"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if start.startswith(b"<?xml"):
        return "application/xml"
    return _mime_by_frame(head)


_MAGICS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"riff\x2e\x91\xcf\x11", "audio/wav"),  # Wave64
    (b"ADIF", "audio/aac"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)


def _mime_by_brand(head: bytes) -> str:
    brand = head[8:12]
    if brand in (b"avif", b"avis") or (brand in _HEIF_BRANDS and b"avif" in head[16:64]):
        return "image/avif"
    if brand in _HEIF_BRANDS:
        return "image/heic"
    if brand in (b"M4A ", b"M4B ", b"F4A "):
        return "audio/mp4"
    if brand.startswith(b"3g"):
        return "video/3gpp"
    return {b"qt  ": "video/quicktime", b"M4V ": "video/x-m4v"}.get(brand, "video/mp4")


def _mime_by_frame(head: bytes) -> str | None:
    """Detect raw MPEG audio and AAC (ADTS) by a frame's sync word, and BMP by its header."""
    if len(head) >= 4 and head[0] == 0xFF:
        if head[1] & 0xF6 == 0xF0:
            return "audio/aac"
        # Layers III and II only: with layer I, a UTF-16 byte order mark would match.
        if head[1] & 0xE0 == 0xE0 and head[1] >> 1 & 3 in (1, 2):
            known = head[1] >> 3 & 3 != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
            return "audio/mpeg" if known else None
    # "BM" alone would match any text that begins with it.
    if head.startswith(b"BM") and len(head) >= 18 and head[6:10] == bytes(4):
        return "image/bmp"
    return None


# -- names -----------------------------------------------------------------------------------

_UNSAFE: Final = re.compile(r'[<>:"/\\|?*\s]+')
_WINDOWS_DEVICES: Final = re.compile(
    r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)"
)


def safe_filename(text: str, default: str = "file") -> str:
    """Return ``text`` as a file name that is valid on every system and cannot leave its directory.

    Removes separators, control and invisible characters, leading dots and reserved Windows names;
    at most 120 characters, keeping the extension. Returns ``default`` if nothing is left.
    """
    text = unicodedata.normalize("NFC", text)
    text = _UNSAFE.sub("-", "".join(c for c in text if unicodedata.category(c)[0] != "C"))
    text = text.strip(".- ")
    stem, dot, ext = text.rpartition(".")
    tail = f".{ext}" if dot and len(ext) <= 10 else ""
    name = _shorten(stem if tail else text, tail)
    if _WINDOWS_DEVICES.match(name):
        name = _shorten("_" + name.removesuffix(tail), tail)
    return name or default


def _shorten(stem: str, tail: str) -> str:
    stem = stem[: MAX_FILENAME_CHARS - len(tail)]
    max_bytes = _MAX_NAME_BYTES - len(tail.encode())
    return stem.encode()[:max_bytes].decode("utf-8", "ignore").rstrip(".- ") + tail


def filename_stem(output: Output, *, numbered: bool = False) -> str:
    """Return an output's file name without extension, which is known before the download.

    ``numbered`` adds the index even for the first output.
    """
    if output.ref:
        number = f"-{output.index}" if output.index or numbered else ""
        ref = output.ref.replace(":", "-", 1)
        name = safe_filename(ref[: MAX_FILENAME_CHARS - 16].strip())
        if name != ref:  # removing characters could make the names of two refs equal
            name = f"{name}-{hashlib.sha256(output.ref.encode('utf-8', 'replace')).hexdigest()[:8]}"
        return safe_filename(name + number)
    name = filename_from_url(output.url)
    stem, dot, ext = name.rpartition(".")
    return stem if dot and ext.lower() in _BY_EXTENSION else name


def suggest_filename(
    output: Output,
    content_type: str | None,
    content_disposition: str | None = None,
    *,
    head: bytes = b"",
    numbered: bool = False,
    stem: str | None = None,
) -> str:
    """Return a safe file name for ``output``: ``{kind}-{id}[-{n}].{ext}``, or ``{stem}.{ext}``.

    The extension comes from the Content-Type, unless the first bytes (``head``) are of another
    media type; else from the URL's path; else from those bytes. Without a ref, the file name of
    the Content-Disposition header or the last segment of the URL is used.
    """
    media, mime = sniff_media_type(head, filename_from_url(output.url)) if head else UNKNOWN_TYPE
    extension = extension_for_mime_type(content_type or "")
    if detect_document(head) is None and _mime_by_magic(head[:SNIFF_BYTES], "") is not None:
        labelled = media_type_of(content_type or "")
        if media not in ("file", labelled) and {media, labelled} != {"audio", "video"}:
            extension = extension_for_mime_type(mime)
    if extension is None:
        ending = _extension(filename_from_url(output.url))
        extension = ending if ending in _BY_EXTENSION else None
    if extension is None:
        extension = extension_for_mime_type(sniff_media_type(head, None)[1])
    if stem is not None:
        return f"{stem}.{extension}" if extension else stem
    stem = filename_stem(output, numbered=numbered)
    if not output.ref and (header_name := _disposition_name(content_disposition)):
        if _extension(header_name) in _BY_EXTENSION:
            return header_name
        stem = header_name
    return safe_filename(f"{stem}.{extension}" if extension else stem)


def filename_from_url(url: str) -> str:
    """Return the last segment of a URL's path as a safe file name."""
    path = re.split(r"[?#]", url.partition("://")[2], maxsplit=1)[0].partition("/")[2]
    return safe_filename(unquote(path.rstrip("/").rpartition("/")[2]), "result")


def _disposition_name(header: str | None) -> str | None:
    if not header:
        return None
    if found := re.search(r"(?i)filename\*\s*=\s*[\w-]*'[^']*'([^;\s]+)", header):
        name = unquote(found[1])
    elif found := re.search(r'(?i)filename\s*=\s*(?:"([^"]*)"|([^;\s]+))', header):
        name = found[1] or found[2] or ""
    else:
        return None
    return safe_filename(re.split(r"[/\\]", name)[-1], "") or None


# -- expiry ----------------------------------------------------------------------------------


def url_expires_at(url: str) -> datetime | None:
    """Return when a signed URL expires; None if its query does not say.

    Reads ``Expires`` (epoch seconds), ``X-Amz-Date`` with ``X-Amz-Expires`` (and their
    equivalents of other stores) and ``se`` (ISO time).
    """
    try:
        query = {k.lower(): v for k, v in parse_qsl(urlsplit(url).query)}
        for store in ("x-amz", "x-goog", "x-oss", "x-tos"):
            if f"{store}-date" in query and f"{store}-expires" in query:
                start = datetime.strptime(query[f"{store}-date"], "%Y%m%dT%H%M%S%z")
                return start + timedelta(seconds=int(query[f"{store}-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), UTC)
        if "se" in query:
            moment = datetime.fromisoformat(query["se"])
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
