"""Every namespace of a blocking client: one line each, and one for each further method."""

# Methods of generic namespaces are named without inputs and record, which they do not depend on:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

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
from a2e_async.namespaces import Namespaces, _Namespace  # pyright: ignore[reportPrivateUsage]  # what it lists is this module's business, too
from a2e_async.resources.avatars import Avatars
from a2e_async.resources.backgrounds import Backgrounds
from a2e_async.resources.base import Renamable
from a2e_async.resources.caption_removal import CaptionRemoval
from a2e_async.resources.credits import Credits
from a2e_async.resources.face_swap import FaceSwap
from a2e_async.resources.files import Files
from a2e_async.resources.image_to_video import ImageToVideo
from a2e_async.resources.legacy import Legacy
from a2e_async.resources.speech import Speech
from a2e_async.resources.text_to_image import TextToImage
from a2e_async.resources.veo import Veo
from a2e_async.resources.video_twin import VideoTwin
from a2e_async.resources.voices import Voices

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
N = TypeVar("N")
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

    def __init__(self, bridge: Bridge, inner: VideoTwin[P, R]) -> None:
        super().__init__(bridge, inner)
        self._twins = inner

    def retry(self, id: str) -> BlockingTask[R]:
        """Have a failed training tried again; see `VideoTwin.retry`."""
        return self._task(self._bridge.call(self._twins.retry, id))

    def continue_training(self, id: str) -> BlockingTask[R]:
        """Go on with the training of a twin; see `VideoTwin.continue_training`."""
        return self._task(self._bridge.call(self._twins.continue_training, id))

    def correct_eye_contact(self, id: str) -> BlockingTask[R]:
        """Have a twin look into the camera; see `VideoTwin.correct_eye_contact`."""
        return self._task(self._bridge.call(self._twins.correct_eye_contact, id))

    def all(self) -> tuple[R, ...]:
        """Return every twin of the account at once."""
        return self._bridge.call(self._twins.all)


class BlockingFaceSwap(BlockingTaskNamespace[P, R]):
    save_face = waits(FaceSwap.save_face)
    faces = waits(FaceSwap.faces)
    delete_face = waits(FaceSwap.delete_face)

    def __init__(self, bridge: Bridge, inner: FaceSwap[P, R]) -> None:
        super().__init__(bridge, inner)
        self._swaps = inner

    def running(self) -> tuple[R, ...]:
        """Return the swaps that are being made; see `FaceSwap.running`."""
        return self._bridge.call(self._swaps.running)


class BlockingCaptionRemoval(BlockingTaskNamespace[P, R]):
    def __init__(self, bridge: Bridge, inner: CaptionRemoval[P, R]) -> None:
        super().__init__(bridge, inner)
        self._removals = inner

    def retry(self, id: str) -> BlockingTask[R]:
        """Have a failed task tried again; see `CaptionRemoval.retry`."""
        return self._task(self._bridge.call(self._removals.retry, id))


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
        return self._bridge.enter_stream(self._inner.bind(output).open())

    def read(self, output: Output, *, max_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return a whole result; raises `TransferError` if it is larger than ``max_bytes``."""
        return self._bridge.call(self._inner.bind(output).read, max_bytes=max_bytes)


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
    """A namespace that is made when it is first used, and kept by its client."""

    def __init__(self, of: _Namespace[N], make: Callable[[Bridge, N], F]) -> None:
        self._factory: Callable[[Bridge, Any], F] = make
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
        inner, bridge = behind(client)
        made = self._factory(bridge, getattr(inner, self._name))
        vars(client)[self._name] = made
        return made


class BlockingNamespaces(Handle):
    """What a blocking client offers by name."""

    # -- pictures --------------------------------------------------------------------------

    text_to_image = _LazyBlockingNamespace(Namespaces.text_to_image, BlockingTextToImage)
    nano_banana = _LazyBlockingNamespace(Namespaces.nano_banana, BlockingTaskNamespace)
    gpt_image = _LazyBlockingNamespace(Namespaces.gpt_image, BlockingTaskNamespace)
    flux2 = _LazyBlockingNamespace(Namespaces.flux2, BlockingTaskNamespace)
    qwen_image = _LazyBlockingNamespace(Namespaces.qwen_image, BlockingTaskNamespace)
    kling_image = _LazyBlockingNamespace(Namespaces.kling_image, BlockingTaskNamespace)
    image_edit = _LazyBlockingNamespace(Namespaces.image_edit, BlockingTaskNamespace)
    virtual_try_on = _LazyBlockingNamespace(Namespaces.virtual_try_on, BlockingTaskNamespace)
    product_avatar = _LazyBlockingNamespace(Namespaces.product_avatar, BlockingTaskNamespace)
    photobook = _LazyBlockingNamespace(Namespaces.photobook, BlockingTaskNamespace)

    # -- videos from texts and pictures ----------------------------------------------------

    image_to_video = _LazyBlockingNamespace(Namespaces.image_to_video, BlockingImageToVideo)
    wan = _LazyBlockingNamespace(Namespaces.wan, BlockingTaskNamespace)
    wan30 = _LazyBlockingNamespace(Namespaces.wan30, BlockingTaskNamespace)
    happyhorse = _LazyBlockingNamespace(Namespaces.happyhorse, BlockingTaskNamespace)
    seedance = _LazyBlockingNamespace(Namespaces.seedance, BlockingTaskNamespace)
    seedance2 = _LazyBlockingNamespace(Namespaces.seedance2, BlockingRenamable)
    veo = _LazyBlockingNamespace(Namespaces.veo, BlockingVeo)
    grok_video = _LazyBlockingNamespace(Namespaces.grok_video, BlockingTaskNamespace)
    kling_video = _LazyBlockingNamespace(Namespaces.kling_video, BlockingRenamable)
    kling_omni = _LazyBlockingNamespace(Namespaces.kling_omni, BlockingRenamable)
    sora = _LazyBlockingNamespace(Namespaces.sora, BlockingTaskNamespace)

    # -- people in pictures and videos -----------------------------------------------------

    avatar_video = _LazyBlockingNamespace(Namespaces.avatar_video, BlockingTaskNamespace)
    video_twin = _LazyBlockingNamespace(Namespaces.video_twin, BlockingVideoTwin)
    talking_photo = _LazyBlockingNamespace(Namespaces.talking_photo, BlockingTaskNamespace)
    talking_video = _LazyBlockingNamespace(Namespaces.talking_video, BlockingTaskNamespace)
    face_swap = _LazyBlockingNamespace(Namespaces.face_swap, BlockingFaceSwap)
    face_swap_preview = _LazyBlockingNamespace(Namespaces.face_swap_preview, BlockingTaskNamespace)
    head_swap = _LazyBlockingNamespace(Namespaces.head_swap, BlockingTaskNamespace)
    actor_swap = _LazyBlockingNamespace(Namespaces.actor_swap, BlockingTaskNamespace)
    motion_transfer = _LazyBlockingNamespace(Namespaces.motion_transfer, BlockingTaskNamespace)

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing = _LazyBlockingNamespace(Namespaces.dubbing, BlockingTaskNamespace)
    voice_clone = _LazyBlockingNamespace(Namespaces.voice_clone, BlockingRenamable)
    think_sound = _LazyBlockingNamespace(Namespaces.think_sound, BlockingTaskNamespace)
    caption_removal = _LazyBlockingNamespace(Namespaces.caption_removal, BlockingCaptionRemoval)
    upscale = _LazyBlockingNamespace(Namespaces.upscale, BlockingTaskNamespace)

    # -- the account -----------------------------------------------------------------------

    speech = _LazyBlockingNamespace(Namespaces.speech, BlockingSpeech)
    voices = _LazyBlockingNamespace(Namespaces.voices, BlockingVoices)
    avatars = _LazyBlockingNamespace(Namespaces.avatars, BlockingAvatars)
    backgrounds = _LazyBlockingNamespace(Namespaces.backgrounds, BlockingBackgrounds)
    credits = _LazyBlockingNamespace(Namespaces.credits, BlockingCredits)
    legacy = _LazyBlockingNamespace(Namespaces.legacy, BlockingLegacy)
