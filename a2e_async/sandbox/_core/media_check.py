"""Checks that a media file is complete: by decoding all of it, or else by its structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs

from .media_structure import BrokenMedia, MediaStructure, read_media_structure


@attrs.frozen(slots=True)
class MediaCheck:
    """The result of ``check_media``."""

    ok: bool
    kind: str
    """``image``, ``audio`` or ``video``; ``unknown`` when it is none of them."""

    seconds: float | None
    """The length in seconds; None for an image or a broken file."""

    how: Literal["pyav", "structure"]
    """Whether every frame was decoded or only the structure was read."""

    detail: str
    """One readable line: what the file is, or what is wrong with it."""


def check_media(path: str | Path) -> MediaCheck:
    """Return whether the file at this path is complete media.

    With PyAV every frame is decoded. Without it, the structure is read: checksums of a PNG, sizes
    of a WAV, every frame header of an MP3, boxes and sample sizes of an MP4. Blocks while it
    reads. A broken file is a result with ``ok=False``, not an exception.

    Raises:
        OSError: the file cannot be read.
    """
    file = Path(path)
    try:
        found = read_media_structure(file)
    except BrokenMedia as error:
        if (decoded := _decode_all_frames(file)) is not None and not _has_structure_check(file):
            return decoded
        return MediaCheck(False, "unknown", None, "structure", str(error))
    return _decode_all_frames(file, found) or MediaCheck(
        True, found.kind, found.seconds, "structure", found.detail
    )


def _has_structure_check(file: Path) -> bool:
    """Return whether the structure check knows the format: decoders forgive more damage."""
    with file.open("rb") as stream:
        head = stream.read(12)
    return head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"ID3")) or head[4:8] == b"ftyp"


def _decode_all_frames(file: Path, found: MediaStructure | None = None) -> MediaCheck | None:
    """Decode every frame and return what was found; None without PyAV."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        return None
    frames: dict[str, int] = {"video": 0, "audio": 0}
    seconds = 0.0
    try:
        with av.open(str(file)) as container:
            streams = [item for item in container.streams if item.type in frames]
            for packet in container.demux(streams):
                for frame in packet.decode():
                    frames[packet.stream.type] += 1
                    seconds = max(seconds, _frame_end(frame))
    except (FFmpegError, ValueError, EOFError) as error:
        kind = found.kind if found else "unknown"
        return MediaCheck(False, kind, None, "pyav", f"cannot be decoded: {error}")
    if not any(frames.values()):
        return MediaCheck(False, "unknown", None, "pyav", "no frame could be decoded")
    kind = found.kind if found else ("video" if frames["video"] else "audio")
    length = None if kind == "image" else (found and found.seconds) or seconds
    detail = ", ".join(f"{count} {name} frames" for name, count in frames.items() if count)
    return MediaCheck(True, kind, length, "pyav", detail)


def _frame_end(frame: Any) -> float:
    length = frame.samples / frame.sample_rate if hasattr(frame, "samples") else 0.0
    return float(frame.time or 0.0) + length
