"""Result files made from the real inputs with PyAV. Everything here blocks: call it in a thread."""

# PyAV's stubs leave the type arguments of packets and streams open:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import av
from av import error
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec import Codec
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

FRAMES_PER_SECOND: Final = 12
MAX_EDGE: Final = 400
"""The largest width or height of a result in pixels: recognizable, and quick to make."""

SAMPLES_PER_SECOND: Final = 24000

MEDIA_ERRORS: Final = (FFmpegError, ValueError, EOFError, StopIteration)
"""The exceptions that broken or missing media raise."""


def has_encoder(name: str) -> bool:
    """Return whether this build of PyAV has the encoder."""
    try:
        Codec(name, "w")
    except (FFmpegError, ValueError):
        return False
    return True


def write_tinted_image(path: Path, source: Path, seed: bytes) -> None:
    """Write a PNG of the source's first frame, tinted by the seed."""
    with av.open(str(source)) as file:
        still = next(iter(file.decode(video=0)))
    width, height = _fit_size(still.width, still.height, MAX_EDGE)
    picture = still.reformat(width=width, height=height, format="rgb24")
    plane = picture.planes[0]
    row = (seed[:3] * width).ljust(plane.line_size, b"\0")
    plane.update(bytes(map(_mix_tint, bytes(plane), row * height)))
    encoder = CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, FRAMES_PER_SECOND)
    path.write_bytes(b"".join(map(bytes, encoder.encode(picture))))


def _mix_tint(value: int, tint: int) -> int:
    return (3 * value + tint) // 4


def write_panning_video(
    path: Path, write_tinted_image: Path, seconds: float, edge: int = MAX_EDGE
) -> None:
    """Write an MP4 that pans over the image and varies its brightness.

    Its longer edge has at most ``edge`` pixels.
    """
    count = max(2, round(seconds * FRAMES_PER_SECOND))
    with av.open(str(write_tinted_image)) as source:
        still = next(iter(source.decode(video=0)))
        frames = _pan_frames(still, count, edge)
        _write_video(path, frames, None)


def write_video_with_sound(path: Path, video: Path, audio: Path | None, seconds: float) -> None:
    """Write an MP4 of the video's frames, looped or cut, with the sound of the audio file."""
    count = max(2, round(seconds * FRAMES_PER_SECOND))
    sound = _read_sound(audio, seconds) if audio is not None else None
    with av.open(str(video)) as source:
        first = next(iter(source.decode(video=0)))
        width, height = _fit_size(first.width, first.height, MAX_EDGE)
        source.seek(0)
        rate = source.streams.video[0].average_rate
        kept = _sample_frames(source.decode(video=0), float(rate or FRAMES_PER_SECOND), count)
        small = [frame.reformat(width=width, height=height, format="yuv420p") for frame in kept]
    frames = itertools.islice(itertools.cycle(small), count)
    _write_video(
        path, (_vary_brightness(frame, index) for index, frame in enumerate(frames)), sound
    )


def write_pitch_shifted(path: Path, source: Path) -> str:
    """Write the source's sound at a higher pitch and the same length.

    Return the content type: MP3, or WAV if PyAV has no MP3 encoder.
    """
    codec, form, kind = (
        ("libmp3lame", "mp3", "audio/mpeg")
        if has_encoder("libmp3lame")
        else ("pcm_s16le", "wav", "audio/wav")
    )
    with av.open(str(path), "w", format=form) as target:
        stream: Any = target.add_stream(codec, rate=SAMPLES_PER_SECOND, layout="mono")
        if codec == "libmp3lame":
            stream.bit_rate = 48000
        written = 0
        for frame in _pitch_shifted(source):
            frame.pts = written
            written += frame.samples
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    if not written:
        msg = "the source has no sound"
        raise ValueError(msg)
    return kind


def _pan_frames(still: VideoFrame, count: int, edge: int) -> Iterator[VideoFrame]:
    width, height = _fit_size(still.width, still.height, edge)
    wide, high = _round_to_even(width * 1.08), _round_to_even(height * 1.08)
    graph, form = Graph(), VideoFormat("yuv420p", wide, high)
    entry = graph.add_buffer(
        width=wide, height=high, format=form, time_base=Fraction(1, FRAMES_PER_SECOND)
    )
    turn = f"2*PI*n/{count}"
    crop = graph.add(
        "crop", f"{width}:{height}:(iw-ow)/2*(1+sin({turn})):(ih-oh)/2*(1-cos({turn}))"
    )
    exit_ = graph.add("buffersink")
    entry.link_to(crop)
    crop.link_to(exit_)
    graph.configure()
    larger = still.reformat(width=wide, height=high, format="yuv420p")
    for index in range(count):
        larger.pts = index
        larger.time_base = Fraction(1, FRAMES_PER_SECOND)
        entry.push(larger)
        yield _vary_brightness(_require_video_frame(exit_.pull()), index)


def _vary_brightness(frame: VideoFrame, index: int) -> VideoFrame:
    """Return a copy of a yuv420p frame, a little brighter or darker depending on its number."""
    shift = round(10 * math.sin(index / 3)) + index % 2
    table = bytes(min(255, max(0, value + shift)) for value in range(256))
    copy = VideoFrame(frame.width, frame.height, "yuv420p")
    for number, (old, new) in enumerate(zip(frame.planes, copy.planes, strict=True)):
        data, line, wanted = bytes(old), old.line_size, new.line_size
        if line != wanted:
            rows = (data[at : at + min(line, wanted)] for at in range(0, line * old.height, line))
            data = b"".join(row.ljust(wanted, b"\0") for row in rows)
        new.update(data.translate(table) if number == 0 else data)
    return copy


def _write_video(path: Path, frames: Iterator[VideoFrame], sound: list[AudioFrame] | None) -> None:
    options = {"preset": "ultrafast", "crf": "30", "threads": "1"}
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as target:
        first = next(frames)
        video: VideoStream = target.add_stream("libx264", FRAMES_PER_SECOND, options)
        video.width, video.height, video.pix_fmt = first.width, first.height, "yuv420p"
        audio: AudioStream | None = None
        if sound:
            audio = target.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="mono")
            audio.bit_rate = 48000
        base = Fraction(1, FRAMES_PER_SECOND)
        for index, frame in enumerate(itertools.chain([first], frames)):
            frame.pts, frame.time_base = index, base
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        for block in (sound or []) if audio else []:
            target.mux(audio.encode(block) if audio else [])
        if audio:
            target.mux(audio.encode(None))


def _sample_frames(frames: Iterator[VideoFrame], rate: float, count: int) -> Iterator[VideoFrame]:
    """Yield at most ``count`` frames, reduced from ``rate`` to the frame rate of the result."""
    wanted = 0.0
    for index, frame in enumerate(frames):
        if index >= wanted:
            wanted += max(1.0, rate / FRAMES_PER_SECOND)
            count -= 1
            yield frame
        if count <= 0:
            return


def _read_sound(path: Path, seconds: float) -> list[AudioFrame]:
    """Return the file's sound, cut or padded with silence to this many seconds."""
    fifo = AudioFifo()
    missing = round(seconds * SAMPLES_PER_SECOND)
    resampler = AudioResampler("s16", "mono", SAMPLES_PER_SECOND)
    with av.open(str(path)) as source:
        if not source.streams.audio:
            return []
        for frame in itertools.chain(source.decode(audio=0), [None]):
            for part in resampler.resample(frame):
                part.pts = None
                fifo.write(part)
            if fifo.samples >= missing:
                break
    silence = missing - fifo.samples
    if silence > 0:
        quiet = AudioFrame("s16", "mono", silence)
        quiet.sample_rate = SAMPLES_PER_SECOND
        for plane in quiet.planes:
            plane.update(bytes(plane.buffer_size))
        fifo.write(quiet)
    blocks: list[AudioFrame] = []
    while missing > 0 and (block := fifo.read(min(1024, missing))) is not None:
        missing -= block.samples
        blocks.append(block)
    return blocks


def _pitch_shifted(path: Path) -> Iterator[AudioFrame]:
    """Yield the file's sound 6 % higher, at the same length."""
    graph: Graph | None = None
    with av.open(str(path)) as source:
        if not source.streams.audio:
            return
        resampler = AudioResampler("s16", "mono", SAMPLES_PER_SECOND)
        for frame in itertools.chain(source.decode(audio=0), [None]):
            for part in resampler.resample(frame):
                graph = graph or _pitch_graph()
                part.pts = None
                graph.push(part)
                yield from _pull_frames(graph)
        if graph is not None:
            graph.push(None)
            yield from _pull_frames(graph)


def _pitch_graph() -> Graph:
    graph = Graph()
    entry = graph.add_abuffer(
        sample_rate=SAMPLES_PER_SECOND,
        format="s16",
        layout="mono",
        time_base=Fraction(1, SAMPLES_PER_SECOND),
    )
    higher = round(SAMPLES_PER_SECOND * 1.06)
    steps = [
        graph.add("asetrate", str(higher)),
        graph.add("atempo", f"{SAMPLES_PER_SECOND / higher:.6f}"),
        graph.add("aresample", str(SAMPLES_PER_SECOND)),
        graph.add("aformat", "sample_fmts=s16p:channel_layouts=mono"),
        graph.add("abuffersink"),
    ]
    for left, right in itertools.pairwise([entry, *steps]):
        left.link_to(right)
    graph.configure()
    return graph


def _pull_frames(graph: Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (error.BlockingIOError, error.EOFError):
            return
        if not isinstance(frame, AudioFrame):
            return
        yield frame


def _require_video_frame(frame: object) -> VideoFrame:
    if not isinstance(frame, VideoFrame):
        msg = "the filter returned no video frame"
        raise TypeError(msg)
    return frame


def _fit_size(width: int, height: int, edge: int) -> tuple[int, int]:
    # Sources are enlarged only for a result that shall be larger than usual.
    scale = min(max(1.0, edge / MAX_EDGE), edge / max(width, height))
    return _round_to_even(width * scale), _round_to_even(height * scale)


def _round_to_even(value: float) -> int:
    return max(16, round(value / 2) * 2)
