"""The fewest inputs of a start of each kind, derived from its declaration.

For quotes, whose media are URLs that nothing fetches, and for paid runs, whose media are the files
of the sandbox. A kind is in a table here only where a rule between its inputs requires more than
its declaration says.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

from a2e_async._core.schema.inputs import AcceptedMedia, InputField, ItemCount, Range
from a2e_async._core.typeguards import is_list, is_mapping

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind

FACE: Final = "https://media.example/face.png"
OTHER: Final = "https://media.example/other.png"
CLIP: Final = "https://media.example/clip.mp4"
TALK: Final = "https://media.example/talk.wav"
ANCHOR: Final = "66ea4dd87db10c73fa29b5aa"

Inputs = Mapping[str, Any]

PROMPTS: Final[Inputs] = {"prompt": "a lake at dawn", "negative_prompt": "blurry"}

_FILES: Final = {FACE: "portrait.png", OTHER: "portrait.png", CLIP: "clip.mp4", TALK: "speech.wav"}
"""The files of the sandbox that replace the URLs in a paid run."""

_NEEDED: Final[Mapping[str, Inputs]] = {
    "product_avatar": {
        "image_urls": [OTHER, FACE],
        "product_rect": {"x": 10, "y": 20, "width": 100, "height": 80, "rotation": 0, "scale": 1},
    },
    "head_swap": {"target_image_url": OTHER},
    "image_to_video": PROMPTS,
    "wan": {"image_url": FACE},
    "wan30": {"prompt": "a lake"},
    "happyhorse": {"prompt": "a lake"},
    "grok_video": {"prompt": "a lake"},
    "kling_omni": {"prompt": "a lake"},
    "sora": {"image_urls": [FACE]},
    "minimax_h3": {"prompt": "a lake"},
    "wan27_image": {"prompt": "a lake"},
    "wan26_image": {"prompt": "a lake"},
    "avatar_video": {"anchor_id": ANCHOR, "audio_src": TALK},
    "video_twin": {"image_url": FACE},
    "talking_photo": PROMPTS,
    "talking_video": {**PROMPTS, "audio_url": TALK},
    "dubbing": {"target_lang": "es"},
}
"""What a start needs that its declaration does not say, or not precisely."""


def fewest_inputs(kind: "TaskKind[..., Any]") -> dict[str, Any]:
    """Return the fewest inputs of a start."""
    derived = {f.name: value_of(f) for f in kind.inputs if f.required}
    return {**derived, **_NEEDED.get(kind.name, {})}


def with_files(value: Any) -> Any:
    """Return inputs with a local file in place of each sample's URL."""
    if isinstance(value, str) and value in _FILES:
        return Path(str(resources.files("a2e_async.sandbox.media").joinpath(_FILES[value])))
    if is_list(value):
        return [with_files(item) for item in value]
    if is_mapping(value):
        return {name: with_files(item) for name, item in value.items()}
    return value


def choices(hint: Any) -> Iterator[Any]:
    """Yield the known values of a type."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for part in get_args(hint):
            yield from choices(part)


def parts(hint: Any) -> set[Any]:
    """Return a type and all types that it contains."""
    return {hint, *(p for part in get_args(hint) for p in parts(part))}


def value_of(f: InputField) -> Any:
    """Return a value that fits an input: URLs for media, the first of known values."""
    accepted, count = f.find_metadata(AcceptedMedia), f.find_metadata(ItemCount)
    fitting: Sequence[Any] = tuple(choices(f.hint))
    if accepted is not None:
        fitting = {"image": (FACE, OTHER), "video": (CLIP,), "audio": (TALK,)}[accepted.types[0]]
    elif not fitting:
        bounds = f.find_metadata(Range)
        number = 1 if bounds is None else int(bounds.low)
        by_type: dict[Any, Any] = {
            str: "a lake",
            bool: True,
            int: number,
            float: number,
            Mapping: {},
        }
        fitting = [value for cls, value in by_type.items() if cls in parts(f.hint)]
    if "Sequence" not in str(f.hint):
        return fitting[0]
    least = max(1, count.low) if count is not None else 1
    return [fitting[place % len(fitting)] for place in range(least)]
