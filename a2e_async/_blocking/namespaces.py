"""The namespaces of a blocking client, with one declaration for each method."""

# The methods of generic namespaces are referred to without type arguments, which they do not use:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from a2e_async._blocking.bridge import Bridge
from a2e_async._blocking.faces import (
    BlockingTask,
    BlockingTaskNamespace,
    Face,
    behind,
    opens,
    streams,
    tells,
    waits,
)
from a2e_async.handle import Handle
from a2e_async.models import Output, Record
from a2e_async.resources.avatars import Avatars
from a2e_async.resources.backgrounds import Backgrounds
from a2e_async.resources.base import Renamable
from a2e_async.resources.caption_removal import CaptionRemoval
from a2e_async.resources.credits import Credits
from a2e_async.resources.face_swap import FaceSwap
from a2e_async.resources.files import Files, bound_output
from a2e_async.resources.image_to_video import ImageToVideo
from a2e_async.resources.legacy import Legacy
from a2e_async.resources.speech import Speech
from a2e_async.resources.text_to_image import TextToImage
from a2e_async.resources.veo import Veo
from a2e_async.resources.video_twin import VideoTwin
from a2e_async.resources.voices import Voices

if TYPE_CHECKING:
    from a2e_async._blocking import _signatures

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
F = TypeVar("F")


class BlockingTextToImage(BlockingTaskNamespace[P, R]):
    make_avatar = waits(TextToImage.make_avatar)


class BlockingImageToVideo(BlockingTaskNamespace[P, R]):
    avg_processing_time = waits(ImageToVideo.avg_processing_time)
    unlimited_queue_level = waits(ImageToVideo.unlimited_queue_level)
    mark_shared = waits(ImageToVideo.mark_shared)
    mark_downloaded = waits(ImageToVideo.mark_downloaded)
    mark_copied = waits(ImageToVideo.mark_copied)
    extend_prompt = waits(ImageToVideo.extend_prompt)
    stream_prompt = opens(ImageToVideo.stream_prompt)
    unclaimed_prompts = tells(ImageToVideo.unclaimed_prompts)


class BlockingRenamable(BlockingTaskNamespace[P, R]):
    rename = waits(Renamable.rename)


class BlockingVeo(BlockingTaskNamespace[P, R]):
    get_1080p = waits(Veo.get_1080p)
    wait_1080p = waits(Veo.wait_1080p)


class BlockingVideoTwin(BlockingTaskNamespace[P, R]):
    upload_status = waits(VideoTwin.upload_status)

    def __init__(self, loop_thread: Bridge, inner: VideoTwin[P, R]) -> None:
        super().__init__(loop_thread, inner)
        self._twins = inner

    def retry(self, id: str) -> BlockingTask[R]:
        """Retry a failed training; see `VideoTwin.retry`."""
        return self._task(self._loop_thread.call(self._twins.retry, id))

    def continue_training(self, id: str) -> BlockingTask[R]:
        """Continue the training of a twin; see `VideoTwin.continue_training`."""
        return self._task(self._loop_thread.call(self._twins.continue_training, id))

    def correct_eye_contact(self, id: str) -> BlockingTask[R]:
        """Correct the eye contact of a twin; see `VideoTwin.correct_eye_contact`."""
        return self._task(self._loop_thread.call(self._twins.correct_eye_contact, id))

    def all(self) -> tuple[R, ...]:
        """Return all twins of the account."""
        return self._loop_thread.call(self._twins.all)


class BlockingFaceSwap(BlockingTaskNamespace[P, R]):
    save_face = waits(FaceSwap.save_face)
    faces = waits(FaceSwap.faces)
    delete_face = waits(FaceSwap.delete_face)

    def __init__(self, loop_thread: Bridge, inner: FaceSwap[P, R]) -> None:
        super().__init__(loop_thread, inner)
        self._swaps = inner

    def running(self) -> tuple[R, ...]:
        """Return the unfinished swaps; see `FaceSwap.running`."""
        return self._loop_thread.call(self._swaps.running)


class BlockingCaptionRemoval(BlockingTaskNamespace[P, R]):
    def __init__(self, loop_thread: Bridge, inner: CaptionRemoval[P, R]) -> None:
        super().__init__(loop_thread, inner)
        self._removals = inner

    def retry(self, id: str) -> BlockingTask[R]:
        """Retry a failed task; see `CaptionRemoval.retry`."""
        return self._task(self._loop_thread.call(self._removals.retry, id))


class BlockingSpeech(Face[Speech]):
    say = waits(Speech.say)
    unclaimed = tells(Speech.unclaimed)


class BlockingVoices(Face[Voices]):
    public = waits(Voices.public)
    presets = waits(Voices.presets)
    languages = waits(Voices.languages)
    cloned = waits(Voices.cloned)
    previews = waits(Voices.previews)
    delete_preview = waits(Voices.delete_preview)


class BlockingAvatars(Face[Avatars]):
    list = waits(Avatars.list)
    custom = waits(Avatars.custom)
    add = waits(Avatars.add)
    update = waits(Avatars.update)
    delete = waits(Avatars.delete)
    tags = waits(Avatars.tags)


class BlockingBackgrounds(Face[Backgrounds]):
    add = waits(Backgrounds.add)
    custom = waits(Backgrounds.custom)
    all = waits(Backgrounds.all)
    random = waits(Backgrounds.random)
    delete = waits(Backgrounds.delete)


class BlockingCredits(Face[Credits]):
    balance = waits(Credits.balance)
    history = waits(Credits.history)
    iter_history = streams(Credits.iter_history)
    quote = waits(Credits.quote)


class BlockingFiles(Face[Files]):
    upload = waits(Files.upload)
    download = waits(Files.download)

    def open(self, output: Output) -> AbstractContextManager[Iterator[bytes]]:
        """``with a2e.files.open(output) as chunks: for chunk in chunks: …``."""
        return self._loop_thread.enter_stream(bound_output(self._inner, output).open())

    def read(self, output: Output, *, max_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return the complete file. Raises `TransferError` if it is larger than ``max_bytes``."""
        return self._loop_thread.call(bound_output(self._inner, output).read, max_bytes=max_bytes)


class BlockingLegacy(Face[Legacy]):
    watermark = waits(Legacy.watermark)
    unclaimed = tells(Legacy.unclaimed)
    transfer = waits(Legacy.transfer)
    upload_permit = waits(Legacy.upload_permit)
    avatar_video_status = waits(Legacy.avatar_video_status)
    avatar_videos = waits(Legacy.avatar_videos)
    characters = waits(Legacy.characters)
    continue_training = waits(Legacy.continue_training)
    clone_voice_of_twin = waits(Legacy.clone_voice_of_twin)
    detect_language = waits(Legacy.detect_language)
    set_public_pool = waits(Legacy.set_public_pool)
    add_user = waits(Legacy.add_user)


class _LazyBlockingNamespace(Generic[F]):
    """A namespace that is created on first use and then kept by its client.

    ``F`` is the class that type checkers and editors see: for a kind, the generated one with the
    kind's own signatures.
    """

    def __init__(self, make: Callable[[Bridge, Any], Any]) -> None:
        self._factory = make
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "BlockingNamespaces", owner: type | None = None) -> F: ...

    def __get__(self, client: "BlockingNamespaces | None", owner: type | None = None) -> Self | F:
        if client is None:
            return self
        inner, loop_thread = behind(client)
        made: F = self._factory(loop_thread, getattr(inner, self._name))
        vars(client)[self._name] = made
        return made


class BlockingNamespaces(Handle):
    """The namespaces of a blocking client: those of `A2E`, with blocking methods."""

    # -- images --------------------------------------------------------------------------

    text_to_image: "_LazyBlockingNamespace[_signatures.BlockingTextToImageNamespace]" = (
        _LazyBlockingNamespace(BlockingTextToImage)
    )
    nano_banana: "_LazyBlockingNamespace[_signatures.BlockingNanoBananaNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    gpt_image: "_LazyBlockingNamespace[_signatures.BlockingGptImageNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    flux2: "_LazyBlockingNamespace[_signatures.BlockingFlux2Namespace]" = _LazyBlockingNamespace(
        BlockingTaskNamespace
    )
    qwen_image: "_LazyBlockingNamespace[_signatures.BlockingQwenImageNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    kling_image: "_LazyBlockingNamespace[_signatures.BlockingKlingImageNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    image_edit: "_LazyBlockingNamespace[_signatures.BlockingImageEditNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    virtual_try_on: "_LazyBlockingNamespace[_signatures.BlockingVirtualTryOnNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    product_avatar: "_LazyBlockingNamespace[_signatures.BlockingProductAvatarNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    photobook: "_LazyBlockingNamespace[_signatures.BlockingPhotobookNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )

    # -- videos from text and images ----------------------------------------------------

    image_to_video: "_LazyBlockingNamespace[_signatures.BlockingImageToVideoNamespace]" = (
        _LazyBlockingNamespace(BlockingImageToVideo)
    )
    wan: "_LazyBlockingNamespace[_signatures.BlockingWanNamespace]" = _LazyBlockingNamespace(
        BlockingTaskNamespace
    )
    wan30: "_LazyBlockingNamespace[_signatures.BlockingWan30Namespace]" = _LazyBlockingNamespace(
        BlockingTaskNamespace
    )
    happyhorse: "_LazyBlockingNamespace[_signatures.BlockingHappyhorseNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    seedance: "_LazyBlockingNamespace[_signatures.BlockingSeedanceNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    seedance2: "_LazyBlockingNamespace[_signatures.BlockingSeedance2Namespace]" = (
        _LazyBlockingNamespace(BlockingRenamable)
    )
    veo: "_LazyBlockingNamespace[_signatures.BlockingVeoNamespace]" = _LazyBlockingNamespace(
        BlockingVeo
    )
    grok_video: "_LazyBlockingNamespace[_signatures.BlockingGrokVideoNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    kling_video: "_LazyBlockingNamespace[_signatures.BlockingKlingVideoNamespace]" = (
        _LazyBlockingNamespace(BlockingRenamable)
    )
    kling_omni: "_LazyBlockingNamespace[_signatures.BlockingKlingOmniNamespace]" = (
        _LazyBlockingNamespace(BlockingRenamable)
    )
    sora: "_LazyBlockingNamespace[_signatures.BlockingSoraNamespace]" = _LazyBlockingNamespace(
        BlockingTaskNamespace
    )

    # -- people in images and videos -----------------------------------------------------

    avatar_video: "_LazyBlockingNamespace[_signatures.BlockingAvatarVideoNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    video_twin: "_LazyBlockingNamespace[_signatures.BlockingVideoTwinNamespace]" = (
        _LazyBlockingNamespace(BlockingVideoTwin)
    )
    talking_photo: "_LazyBlockingNamespace[_signatures.BlockingTalkingPhotoNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    talking_video: "_LazyBlockingNamespace[_signatures.BlockingTalkingVideoNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    face_swap: "_LazyBlockingNamespace[_signatures.BlockingFaceSwapNamespace]" = (
        _LazyBlockingNamespace(BlockingFaceSwap)
    )
    face_swap_preview: "_LazyBlockingNamespace[_signatures.BlockingFaceSwapPreviewNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    head_swap: "_LazyBlockingNamespace[_signatures.BlockingHeadSwapNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    actor_swap: "_LazyBlockingNamespace[_signatures.BlockingActorSwapNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    motion_transfer: "_LazyBlockingNamespace[_signatures.BlockingMotionTransferNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing: "_LazyBlockingNamespace[_signatures.BlockingDubbingNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    voice_clone: "_LazyBlockingNamespace[_signatures.BlockingVoiceCloneNamespace]" = (
        _LazyBlockingNamespace(BlockingRenamable)
    )
    think_sound: "_LazyBlockingNamespace[_signatures.BlockingThinkSoundNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )
    caption_removal: "_LazyBlockingNamespace[_signatures.BlockingCaptionRemovalNamespace]" = (
        _LazyBlockingNamespace(BlockingCaptionRemoval)
    )
    upscale: "_LazyBlockingNamespace[_signatures.BlockingUpscaleNamespace]" = (
        _LazyBlockingNamespace(BlockingTaskNamespace)
    )

    # -- the account -----------------------------------------------------------------------

    speech: "_LazyBlockingNamespace[BlockingSpeech]" = _LazyBlockingNamespace(BlockingSpeech)
    voices: "_LazyBlockingNamespace[BlockingVoices]" = _LazyBlockingNamespace(BlockingVoices)
    avatars: "_LazyBlockingNamespace[BlockingAvatars]" = _LazyBlockingNamespace(BlockingAvatars)
    backgrounds: "_LazyBlockingNamespace[BlockingBackgrounds]" = _LazyBlockingNamespace(
        BlockingBackgrounds
    )
    credits: "_LazyBlockingNamespace[BlockingCredits]" = _LazyBlockingNamespace(BlockingCredits)
    legacy: "_LazyBlockingNamespace[BlockingLegacy]" = _LazyBlockingNamespace(BlockingLegacy)
