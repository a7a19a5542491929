"""Every namespace of a client, by its name; each is loaded and made when it is first used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

from a2e_async.handle import Handle
from a2e_async.resources.registry import kind_names

if TYPE_CHECKING:
    from a2e_async.resources import (
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
    # A namespace's module is loaded when the namespace is first used, so that importing the
    # package stays quick however many kinds there are; type checkers see the real ones.
    from a2e_async._lazy import lazy_module

    _OTHERS = ("avatars", "backgrounds", "base", "legacy", "speech", "voices")
    for _name in (*kind_names(), *_OTHERS):
        globals()[_name] = lazy_module(f"a2e_async.resources.{_name}")
    credits_module = lazy_module("a2e_async.resources.credits")

N = TypeVar("N")


class _Namespace(Generic[N]):
    """A namespace that is made when it is first used, and kept by its client."""

    def __init__(self, make: "Callable[[Room], N]") -> None:
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
        made = self._factory(client._room)  # pyright: ignore[reportPrivateUsage]  # the descriptor is part of the class
        vars(client)[self._name] = made
        return made


class Namespaces(Handle):
    """What `A2E` offers by name: one namespace a kind of task, and those of the account."""

    _room: "Room"

    # -- pictures --------------------------------------------------------------------------

    text_to_image = _Namespace(
        lambda context: text_to_image.TextToImage(context, text_to_image.TEXT_TO_IMAGE)
    )
    nano_banana = _Namespace(lambda context: base.TaskNamespace(context, nano_banana.NANO_BANANA))
    gpt_image = _Namespace(lambda context: base.TaskNamespace(context, gpt_image.GPT_IMAGE))
    flux2 = _Namespace(lambda context: base.TaskNamespace(context, flux2.FLUX2))
    qwen_image = _Namespace(lambda context: base.TaskNamespace(context, qwen_image.QWEN_IMAGE))
    kling_image = _Namespace(lambda context: base.TaskNamespace(context, kling_image.KLING_IMAGE))
    image_edit = _Namespace(lambda context: base.TaskNamespace(context, image_edit.IMAGE_EDIT))
    virtual_try_on = _Namespace(
        lambda context: base.TaskNamespace(context, virtual_try_on.VIRTUAL_TRY_ON)
    )
    product_avatar = _Namespace(
        lambda context: base.TaskNamespace(context, product_avatar.PRODUCT_AVATAR)
    )
    photobook = _Namespace(lambda context: base.TaskNamespace(context, photobook.PHOTOBOOK))

    # -- videos from texts and pictures ----------------------------------------------------

    image_to_video = _Namespace(
        lambda context: image_to_video.ImageToVideo(context, image_to_video.IMAGE_TO_VIDEO)
    )
    wan = _Namespace(lambda context: base.TaskNamespace(context, wan.WAN))
    wan30 = _Namespace(lambda context: base.TaskNamespace(context, wan30.WAN30))
    happyhorse = _Namespace(lambda context: base.TaskNamespace(context, happyhorse.HAPPYHORSE))
    seedance = _Namespace(lambda context: base.TaskNamespace(context, seedance.SEEDANCE))
    seedance2 = _Namespace(lambda context: base.Renamable(context, seedance2.SEEDANCE2))
    veo = _Namespace(lambda context: veo.Veo(context, veo.VEO))
    grok_video = _Namespace(lambda context: base.TaskNamespace(context, grok_video.GROK_VIDEO))
    kling_video = _Namespace(lambda context: base.Renamable(context, kling_video.KLING_VIDEO))
    kling_omni = _Namespace(lambda context: base.Renamable(context, kling_omni.KLING_OMNI))
    sora = _Namespace(lambda context: base.TaskNamespace(context, sora.SORA))

    # -- people in pictures and videos -----------------------------------------------------

    avatar_video = _Namespace(
        lambda context: base.TaskNamespace(context, avatar_video.AVATAR_VIDEO)
    )
    video_twin = _Namespace(lambda context: video_twin.VideoTwin(context, video_twin.VIDEO_TWIN))
    talking_photo = _Namespace(
        lambda context: base.TaskNamespace(context, talking_photo.TALKING_PHOTO)
    )
    talking_video = _Namespace(
        lambda context: base.TaskNamespace(context, talking_video.TALKING_VIDEO)
    )
    face_swap = _Namespace(lambda context: face_swap.FaceSwap(context, face_swap.FACE_SWAP))
    face_swap_preview = _Namespace(
        lambda context: base.TaskNamespace(context, face_swap_preview.FACE_SWAP_PREVIEW)
    )
    head_swap = _Namespace(lambda context: base.TaskNamespace(context, head_swap.HEAD_SWAP))
    actor_swap = _Namespace(lambda context: base.TaskNamespace(context, actor_swap.ACTOR_SWAP))
    motion_transfer = _Namespace(
        lambda context: base.TaskNamespace(context, motion_transfer.MOTION_TRANSFER)
    )

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing = _Namespace(lambda context: base.TaskNamespace(context, dubbing.DUBBING))
    voice_clone = _Namespace(lambda context: base.Renamable(context, voice_clone.VOICE_CLONE))
    think_sound = _Namespace(lambda context: base.TaskNamespace(context, think_sound.THINK_SOUND))
    caption_removal = _Namespace(
        lambda context: caption_removal.CaptionRemoval(context, caption_removal.CAPTION_REMOVAL)
    )
    upscale = _Namespace(lambda context: base.TaskNamespace(context, upscale.UPSCALE))

    # -- the account -----------------------------------------------------------------------

    speech = _Namespace(lambda context: speech.Speech(context))
    voices = _Namespace(lambda context: voices.Voices(context))
    avatars = _Namespace(lambda context: avatars.Avatars(context))
    backgrounds = _Namespace(lambda context: backgrounds.Backgrounds(context))
    credits = _Namespace(lambda context: credits_module.Credits(context))
    legacy = _Namespace(lambda context: legacy.Legacy(context))
