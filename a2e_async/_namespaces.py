"""The namespaces of a client by name. Each is imported and created on first use."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from a2e_async import account, kinds
from a2e_async._core.handle import NotCopyable

if TYPE_CHECKING:
    from a2e_async._core.context import RequestContext
    from a2e_async.kinds import _signatures

N = TypeVar("N")


class _LazyNamespace(Generic[N]):
    """A namespace that is created on first use and then kept by its client.

    ``N`` is the class that type checkers and editors see: for a kind, the generated one with the
    kind's own signatures.
    """

    def __init__(self, make: "Callable[[RequestContext], Any]") -> None:
        self._factory = make
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Namespaces", owner: type) -> N: ...

    def __get__(self, client: "Namespaces | None", owner: type) -> Self | N:
        if client is None:
            return self
        made: N = self._factory(client._context)  # pyright: ignore[reportPrivateUsage]  # the descriptor is part of the class
        # From now on the instance attribute is found first: the descriptor has no __set__.
        vars(client)[self._name] = made
        return made


class Namespaces(NotCopyable):
    """The namespaces of `A2E`: one for each kind of task, and those of the account."""

    _context: "RequestContext"

    # -- images --------------------------------------------------------------------------

    text_to_image: "_LazyNamespace[_signatures.TextToImageNamespace]" = _LazyNamespace(
        lambda context: kinds.TextToImage(context, kinds.TEXT_TO_IMAGE)
    )
    nano_banana: "_LazyNamespace[_signatures.NanoBananaNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.NANO_BANANA)
    )
    gpt_image: "_LazyNamespace[_signatures.GptImageNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.GPT_IMAGE)
    )
    flux2: "_LazyNamespace[_signatures.Flux2Namespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.FLUX2)
    )
    qwen_image: "_LazyNamespace[_signatures.QwenImageNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.QWEN_IMAGE)
    )
    kling_image: "_LazyNamespace[_signatures.KlingImageNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.KLING_IMAGE)
    )
    image_edit: "_LazyNamespace[_signatures.ImageEditNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.IMAGE_EDIT)
    )
    virtual_try_on: "_LazyNamespace[_signatures.VirtualTryOnNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.VIRTUAL_TRY_ON)
    )
    product_avatar: "_LazyNamespace[_signatures.ProductAvatarNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.PRODUCT_AVATAR)
    )
    photobook: "_LazyNamespace[_signatures.PhotobookNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.PHOTOBOOK)
    )

    # -- videos from text and images ----------------------------------------------------

    image_to_video: "_LazyNamespace[_signatures.ImageToVideoNamespace]" = _LazyNamespace(
        lambda context: kinds.ImageToVideo(context, kinds.IMAGE_TO_VIDEO)
    )
    wan: "_LazyNamespace[_signatures.WanNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.WAN)
    )
    wan30: "_LazyNamespace[_signatures.Wan30Namespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.WAN30)
    )
    happyhorse: "_LazyNamespace[_signatures.HappyhorseNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.HAPPYHORSE)
    )
    seedance: "_LazyNamespace[_signatures.SeedanceNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.SEEDANCE)
    )
    seedance2: "_LazyNamespace[_signatures.Seedance2Namespace]" = _LazyNamespace(
        lambda context: kinds.RenamableNamespace(context, kinds.SEEDANCE2)
    )
    veo: "_LazyNamespace[_signatures.VeoNamespace]" = _LazyNamespace(
        lambda context: kinds.Veo(context, kinds.VEO)
    )
    grok_video: "_LazyNamespace[_signatures.GrokVideoNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.GROK_VIDEO)
    )
    kling_video: "_LazyNamespace[_signatures.KlingVideoNamespace]" = _LazyNamespace(
        lambda context: kinds.RenamableNamespace(context, kinds.KLING_VIDEO)
    )
    kling_omni: "_LazyNamespace[_signatures.KlingOmniNamespace]" = _LazyNamespace(
        lambda context: kinds.RenamableNamespace(context, kinds.KLING_OMNI)
    )
    sora: "_LazyNamespace[_signatures.SoraNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.SORA)
    )

    # -- people in images and videos -----------------------------------------------------

    avatar_video: "_LazyNamespace[_signatures.AvatarVideoNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.AVATAR_VIDEO)
    )
    video_twin: "_LazyNamespace[_signatures.VideoTwinNamespace]" = _LazyNamespace(
        lambda context: kinds.VideoTwin(context, kinds.VIDEO_TWIN)
    )
    talking_photo: "_LazyNamespace[_signatures.TalkingPhotoNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.TALKING_PHOTO)
    )
    talking_video: "_LazyNamespace[_signatures.TalkingVideoNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.TALKING_VIDEO)
    )
    face_swap: "_LazyNamespace[_signatures.FaceSwapNamespace]" = _LazyNamespace(
        lambda context: kinds.FaceSwap(context, kinds.FACE_SWAP)
    )
    face_swap_preview: "_LazyNamespace[_signatures.FaceSwapPreviewNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.FACE_SWAP_PREVIEW)
    )
    head_swap: "_LazyNamespace[_signatures.HeadSwapNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.HEAD_SWAP)
    )
    actor_swap: "_LazyNamespace[_signatures.ActorSwapNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.ACTOR_SWAP)
    )
    motion_transfer: "_LazyNamespace[_signatures.MotionTransferNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.MOTION_TRANSFER)
    )

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing: "_LazyNamespace[_signatures.DubbingNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.DUBBING)
    )
    voice_clone: "_LazyNamespace[_signatures.VoiceCloneNamespace]" = _LazyNamespace(
        lambda context: kinds.RenamableNamespace(context, kinds.VOICE_CLONE)
    )
    think_sound: "_LazyNamespace[_signatures.ThinkSoundNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.THINK_SOUND)
    )
    caption_removal: "_LazyNamespace[_signatures.CaptionRemovalNamespace]" = _LazyNamespace(
        lambda context: kinds.CaptionRemoval(context, kinds.CAPTION_REMOVAL)
    )
    upscale: "_LazyNamespace[_signatures.UpscaleNamespace]" = _LazyNamespace(
        lambda context: kinds.TaskNamespace(context, kinds.UPSCALE)
    )

    # -- the account -----------------------------------------------------------------------

    speech: "_LazyNamespace[account.Speech]" = _LazyNamespace(
        lambda context: account.Speech(context)
    )
    voices: "_LazyNamespace[account.Voices]" = _LazyNamespace(
        lambda context: account.Voices(context)
    )
    avatars: "_LazyNamespace[account.Avatars]" = _LazyNamespace(
        lambda context: account.Avatars(context)
    )
    backgrounds: "_LazyNamespace[account.Backgrounds]" = _LazyNamespace(
        lambda context: account.Backgrounds(context)
    )
    credits: "_LazyNamespace[account.Credits]" = _LazyNamespace(
        lambda context: account.Credits(context)
    )
    legacy: "_LazyNamespace[account.Legacy]" = _LazyNamespace(
        lambda context: account.Legacy(context)
    )
