"""The namespaces of a client by name. Each is imported and created on first use."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from a2e_async.handle import Handle
from a2e_async.resources.registry import kind_names

if TYPE_CHECKING:
    from a2e_async.resources import (
        _signatures,
        actor_swap,
        avatar_video,
        avatars,
        backgrounds,
        base,
        caption_removal,
        dubbing,
        face_swap,
        face_swap_preview,
        flux2,
        gpt_image,
        grok_video,
        happyhorse,
        head_swap,
        image_edit,
        image_to_video,
        kling_image,
        kling_omni,
        kling_video,
        legacy,
        motion_transfer,
        nano_banana,
        photobook,
        product_avatar,
        qwen_image,
        seedance,
        seedance2,
        sora,
        speech,
        talking_photo,
        talking_video,
        text_to_image,
        think_sound,
        upscale,
        veo,
        video_twin,
        virtual_try_on,
        voice_clone,
        voices,
        wan,
        wan30,
    )
    from a2e_async.resources import credits as credits_module
    from a2e_async.resources.room import Room
else:
    # Importing all kinds takes longer than importing the rest of the package, and a program uses
    # few of them. Each is imported on first use; type checkers see the real modules.
    from a2e_async._lazy import lazy_module

    _OTHERS = ("avatars", "backgrounds", "base", "legacy", "speech", "voices")
    for _name in (*kind_names(), *_OTHERS):
        globals()[_name] = lazy_module(f"a2e_async.resources.{_name}")
    credits_module = lazy_module("a2e_async.resources.credits")

N = TypeVar("N")


class _LazyNamespace(Generic[N]):
    """A namespace that is created on first use and then kept by its client.

    ``N`` is the class that type checkers and editors see: for a kind, the generated one with the
    kind's own signatures.
    """

    def __init__(self, make: "Callable[[Room], Any]") -> None:
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
        made: N = self._factory(client._room)  # pyright: ignore[reportPrivateUsage]  # the descriptor is part of the class
        # From now on the instance attribute is found first: the descriptor has no __set__.
        vars(client)[self._name] = made
        return made


class Namespaces(Handle):
    """The namespaces of `A2E`: one for each kind of task, and those of the account."""

    _room: "Room"

    # -- images --------------------------------------------------------------------------

    text_to_image: "_LazyNamespace[_signatures.TextToImageNamespace]" = _LazyNamespace(
        lambda context: text_to_image.TextToImage(context, text_to_image.TEXT_TO_IMAGE)
    )
    nano_banana: "_LazyNamespace[_signatures.NanoBananaNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, nano_banana.NANO_BANANA)
    )
    gpt_image: "_LazyNamespace[_signatures.GptImageNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, gpt_image.GPT_IMAGE)
    )
    flux2: "_LazyNamespace[_signatures.Flux2Namespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, flux2.FLUX2)
    )
    qwen_image: "_LazyNamespace[_signatures.QwenImageNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, qwen_image.QWEN_IMAGE)
    )
    kling_image: "_LazyNamespace[_signatures.KlingImageNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, kling_image.KLING_IMAGE)
    )
    image_edit: "_LazyNamespace[_signatures.ImageEditNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, image_edit.IMAGE_EDIT)
    )
    virtual_try_on: "_LazyNamespace[_signatures.VirtualTryOnNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, virtual_try_on.VIRTUAL_TRY_ON)
    )
    product_avatar: "_LazyNamespace[_signatures.ProductAvatarNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, product_avatar.PRODUCT_AVATAR)
    )
    photobook: "_LazyNamespace[_signatures.PhotobookNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, photobook.PHOTOBOOK)
    )

    # -- videos from text and images ----------------------------------------------------

    image_to_video: "_LazyNamespace[_signatures.ImageToVideoNamespace]" = _LazyNamespace(
        lambda context: image_to_video.ImageToVideo(context, image_to_video.IMAGE_TO_VIDEO)
    )
    wan: "_LazyNamespace[_signatures.WanNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, wan.WAN)
    )
    wan30: "_LazyNamespace[_signatures.Wan30Namespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, wan30.WAN30)
    )
    happyhorse: "_LazyNamespace[_signatures.HappyhorseNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, happyhorse.HAPPYHORSE)
    )
    seedance: "_LazyNamespace[_signatures.SeedanceNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, seedance.SEEDANCE)
    )
    seedance2: "_LazyNamespace[_signatures.Seedance2Namespace]" = _LazyNamespace(
        lambda context: base.Renamable(context, seedance2.SEEDANCE2)
    )
    veo: "_LazyNamespace[_signatures.VeoNamespace]" = _LazyNamespace(
        lambda context: veo.Veo(context, veo.VEO)
    )
    grok_video: "_LazyNamespace[_signatures.GrokVideoNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, grok_video.GROK_VIDEO)
    )
    kling_video: "_LazyNamespace[_signatures.KlingVideoNamespace]" = _LazyNamespace(
        lambda context: base.Renamable(context, kling_video.KLING_VIDEO)
    )
    kling_omni: "_LazyNamespace[_signatures.KlingOmniNamespace]" = _LazyNamespace(
        lambda context: base.Renamable(context, kling_omni.KLING_OMNI)
    )
    sora: "_LazyNamespace[_signatures.SoraNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, sora.SORA)
    )

    # -- people in images and videos -----------------------------------------------------

    avatar_video: "_LazyNamespace[_signatures.AvatarVideoNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, avatar_video.AVATAR_VIDEO)
    )
    video_twin: "_LazyNamespace[_signatures.VideoTwinNamespace]" = _LazyNamespace(
        lambda context: video_twin.VideoTwin(context, video_twin.VIDEO_TWIN)
    )
    talking_photo: "_LazyNamespace[_signatures.TalkingPhotoNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, talking_photo.TALKING_PHOTO)
    )
    talking_video: "_LazyNamespace[_signatures.TalkingVideoNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, talking_video.TALKING_VIDEO)
    )
    face_swap: "_LazyNamespace[_signatures.FaceSwapNamespace]" = _LazyNamespace(
        lambda context: face_swap.FaceSwap(context, face_swap.FACE_SWAP)
    )
    face_swap_preview: "_LazyNamespace[_signatures.FaceSwapPreviewNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, face_swap_preview.FACE_SWAP_PREVIEW)
    )
    head_swap: "_LazyNamespace[_signatures.HeadSwapNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, head_swap.HEAD_SWAP)
    )
    actor_swap: "_LazyNamespace[_signatures.ActorSwapNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, actor_swap.ACTOR_SWAP)
    )
    motion_transfer: "_LazyNamespace[_signatures.MotionTransferNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, motion_transfer.MOTION_TRANSFER)
    )

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing: "_LazyNamespace[_signatures.DubbingNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, dubbing.DUBBING)
    )
    voice_clone: "_LazyNamespace[_signatures.VoiceCloneNamespace]" = _LazyNamespace(
        lambda context: base.Renamable(context, voice_clone.VOICE_CLONE)
    )
    think_sound: "_LazyNamespace[_signatures.ThinkSoundNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, think_sound.THINK_SOUND)
    )
    caption_removal: "_LazyNamespace[_signatures.CaptionRemovalNamespace]" = _LazyNamespace(
        lambda context: caption_removal.CaptionRemoval(context, caption_removal.CAPTION_REMOVAL)
    )
    upscale: "_LazyNamespace[_signatures.UpscaleNamespace]" = _LazyNamespace(
        lambda context: base.TaskNamespace(context, upscale.UPSCALE)
    )

    # -- the account -----------------------------------------------------------------------

    speech: "_LazyNamespace[speech.Speech]" = _LazyNamespace(lambda context: speech.Speech(context))
    voices: "_LazyNamespace[voices.Voices]" = _LazyNamespace(lambda context: voices.Voices(context))
    avatars: "_LazyNamespace[avatars.Avatars]" = _LazyNamespace(
        lambda context: avatars.Avatars(context)
    )
    backgrounds: "_LazyNamespace[backgrounds.Backgrounds]" = _LazyNamespace(
        lambda context: backgrounds.Backgrounds(context)
    )
    credits: "_LazyNamespace[credits_module.Credits]" = _LazyNamespace(
        lambda context: credits_module.Credits(context)
    )
    legacy: "_LazyNamespace[legacy.Legacy]" = _LazyNamespace(lambda context: legacy.Legacy(context))
