"""The namespaces of a blocking client, with one declaration for each method."""

# The methods of generic namespaces are referred to without type arguments, which they do not use:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from a2e_async._blocking.bridge import EventLoopThread
from a2e_async._blocking.faces import (
    BlockingTaskNamespace,
    BlockingWrapper,
    blocking_call,
    blocking_context,
    blocking_iterator,
    loop_call,
    start_call,
    wrapped_and_loop,
)
from a2e_async._core.handle import NotCopyable
from a2e_async.account.avatars import Avatars
from a2e_async.account.backgrounds import Backgrounds
from a2e_async.account.credits import Credits
from a2e_async.account.files import Files, bound_output
from a2e_async.account.legacy import Legacy
from a2e_async.account.speech import Speech
from a2e_async.account.voices import Voices
from a2e_async.kinds.caption_removal import CaptionRemoval
from a2e_async.kinds.declared import DeclaredNamespace
from a2e_async.kinds.face_swap import FaceSwap
from a2e_async.kinds.image_to_video import ImageToVideo
from a2e_async.kinds.namespace import RenamableNamespace, TaskNamespace
from a2e_async.kinds.table import KIND_NAMES
from a2e_async.kinds.text_to_image import TextToImage
from a2e_async.kinds.veo import Veo
from a2e_async.kinds.video_twin import VideoTwin
from a2e_async.models import Output, Record
from a2e_async.recipes import Recipes

if TYPE_CHECKING:
    from a2e_async._blocking._signatures import BlockingKindNamespaces

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class BlockingTextToImage(BlockingTaskNamespace[P, R]):
    make_avatar = blocking_call(TextToImage.make_avatar)


class BlockingImageToVideo(BlockingTaskNamespace[P, R]):
    avg_processing_time = blocking_call(ImageToVideo.avg_processing_time)
    unlimited_queue_level = blocking_call(ImageToVideo.unlimited_queue_level)
    mark_shared = blocking_call(ImageToVideo.mark_shared)
    mark_downloaded = blocking_call(ImageToVideo.mark_downloaded)
    mark_copied = blocking_call(ImageToVideo.mark_copied)
    extend_prompt = blocking_call(ImageToVideo.extend_prompt)
    stream_prompt = blocking_context(ImageToVideo.stream_prompt)
    unclaimed_prompts = loop_call(ImageToVideo.unclaimed_prompts)


class BlockingRenamable(BlockingTaskNamespace[P, R]):
    rename = blocking_call(RenamableNamespace.rename)


class BlockingDeclared(BlockingRenamable[P, R]):
    """The blocking form of a kind of the user's own."""

    retry = start_call(DeclaredNamespace[P, R].retry)


class BlockingVeo(BlockingTaskNamespace[P, R]):
    get_1080p = blocking_call(Veo.get_1080p)
    wait_1080p = blocking_call(Veo.wait_1080p)


class BlockingVideoTwin(BlockingTaskNamespace[P, R]):
    upload_status = blocking_call(VideoTwin.upload_status)
    retry = start_call(VideoTwin[P, R].retry)
    continue_training = start_call(VideoTwin[P, R].continue_training)
    correct_eye_contact = start_call(VideoTwin[P, R].correct_eye_contact)
    all = blocking_call(VideoTwin[P, R].all)


class BlockingFaceSwap(BlockingTaskNamespace[P, R]):
    save_face = blocking_call(FaceSwap.save_face)
    faces = blocking_call(FaceSwap.faces)
    delete_face = blocking_call(FaceSwap.delete_face)
    running = blocking_call(FaceSwap[P, R].running)


class BlockingCaptionRemoval(BlockingTaskNamespace[P, R]):
    retry = start_call(CaptionRemoval[P, R].retry)


class BlockingSpeech(BlockingWrapper[Speech]):
    say = blocking_call(Speech.say)
    unclaimed = loop_call(Speech.unclaimed)


class BlockingVoices(BlockingWrapper[Voices]):
    public = blocking_call(Voices.public)
    presets = blocking_call(Voices.presets)
    languages = blocking_call(Voices.languages)
    cloned = blocking_call(Voices.cloned)
    previews = blocking_call(Voices.previews)
    delete_preview = blocking_call(Voices.delete_preview)


class BlockingAvatars(BlockingWrapper[Avatars]):
    list = blocking_call(Avatars.list)
    custom = blocking_call(Avatars.custom)
    add = blocking_call(Avatars.add)
    update = blocking_call(Avatars.update)
    delete = blocking_call(Avatars.delete)
    tags = blocking_call(Avatars.tags)


class BlockingBackgrounds(BlockingWrapper[Backgrounds]):
    add = blocking_call(Backgrounds.add)
    custom = blocking_call(Backgrounds.custom)
    all = blocking_call(Backgrounds.all)
    random = blocking_call(Backgrounds.random)
    delete = blocking_call(Backgrounds.delete)


class BlockingCredits(BlockingWrapper[Credits]):
    balance = blocking_call(Credits.balance)
    history = blocking_call(Credits.history)
    iter_history = blocking_iterator(Credits.iter_history)
    quote = blocking_call(Credits.quote)


class BlockingFiles(BlockingWrapper[Files]):
    upload: Final = blocking_call(Files.upload)
    download: Final = blocking_call(Files.download)

    def open(self, output: Output) -> AbstractContextManager[Iterator[bytes]]:
        """``with a2e.files.open(output) as chunks: for chunk in chunks: …``."""
        return self._loop_thread.enter_stream(bound_output(self._inner, output).open())

    def read(self, output: Output, *, max_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return the complete file. Raises `OutputTooLarge` if it has more than ``max_bytes``."""
        return self._loop_thread.run(bound_output(self._inner, output).read, max_bytes=max_bytes)


class BlockingRecipes(BlockingWrapper[Recipes]):
    dub_video = blocking_call(Recipes.dub_video)
    speak_video = blocking_call(Recipes.speak_video)


class BlockingLegacy(BlockingWrapper[Legacy]):
    watermark = blocking_call(Legacy.watermark)
    unclaimed = loop_call(Legacy.unclaimed)
    copy_to_storage = blocking_call(Legacy.copy_to_storage)
    upload_permit = blocking_call(Legacy.upload_permit)
    avatar_video_status = blocking_call(Legacy.avatar_video_status)
    avatar_videos = blocking_call(Legacy.avatar_videos)
    characters = blocking_call(Legacy.characters)
    continue_training = blocking_call(Legacy.continue_training)
    clone_voice_of_twin = blocking_call(Legacy.clone_voice_of_twin)
    text_to_image = start_call(Legacy.text_to_image)
    text_to_image_status = blocking_call(Legacy.text_to_image_status)
    text_to_images = blocking_call(Legacy.text_to_images)
    detect_language = blocking_call(Legacy.detect_language)
    set_public_pool = blocking_call(Legacy.set_public_pool)
    add_user = blocking_call(Legacy.add_user)


_BLOCKING_CLASSES: Final[Mapping[type[Any], type[Any]]] = {
    CaptionRemoval: BlockingCaptionRemoval,
    DeclaredNamespace: BlockingDeclared,
    FaceSwap: BlockingFaceSwap,
    ImageToVideo: BlockingImageToVideo,
    RenamableNamespace: BlockingRenamable,
    TextToImage: BlockingTextToImage,
    Veo: BlockingVeo,
    VideoTwin: BlockingVideoTwin,
}


def blocking_namespace(
    loop_thread: EventLoopThread, inner: TaskNamespace[P, R]
) -> BlockingTaskNamespace[P, R]:
    """Return the blocking form of the namespace of a kind."""
    cls: Any = _BLOCKING_CLASSES.get(type(inner), BlockingTaskNamespace)
    made: BlockingTaskNamespace[P, R] = cls(loop_thread, inner)
    return made


def _of_client(name: str, make: Callable[[EventLoopThread, Any], T]) -> "cached_property[T]":
    """Declare the blocking form of a client's namespace."""

    def made(client: Any) -> T:
        inner, loop_thread = wrapped_and_loop(client)
        return make(loop_thread, getattr(inner, name))

    return cached_property(made)


if not TYPE_CHECKING:
    # Type checkers and editors see generated classes, with the signatures of each kind.
    BlockingKindNamespaces = type(
        "BlockingKindNamespaces",
        (),
        {name: _of_client(name, blocking_namespace) for name in KIND_NAMES},
    )


class BlockingNamespaces(BlockingKindNamespaces, NotCopyable):
    """The namespaces of a blocking client: those of `A2E`, with blocking methods."""

    speech = _of_client("speech", BlockingSpeech)
    voices = _of_client("voices", BlockingVoices)
    avatars = _of_client("avatars", BlockingAvatars)
    backgrounds = _of_client("backgrounds", BlockingBackgrounds)
    credits = _of_client("credits", BlockingCredits)
    recipes = _of_client("recipes", BlockingRecipes)
    legacy = _of_client("legacy", BlockingLegacy)
