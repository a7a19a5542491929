"""All namespaces of a client by name; each is imported and created at its first use."""

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
    # A namespace's module is imported at its first use, so that importing the package stays fast
    # however many kinds there are. Type checkers see the real modules.
    from a2e_async._lazy import lazy_module

    _OTHERS = ("avatars", "backgrounds", "base", "legacy", "speech", "voices")
    for _name in (*kind_names(), *_OTHERS):
        globals()[_name] = lazy_module(f"a2e_async.resources.{_name}")
    credits_module = lazy_module("a2e_async.resources.credits")

N = TypeVar("N")


class _Namespace(Generic[N]):
    """A namespace that is created at its first use and kept by its client."""

    def __init__(self, make: "Callable[[Room], N]") -> None:
        self._make = make
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
        made = self._make(client._room)  # pyright: ignore[reportPrivateUsage]  # the descriptor is part of the class
        vars(client)[self._name] = made
        return made


class Namespaces(Handle):
    """The namespaces of `A2E`: one per kind of task, and those of the account."""

    _room: "Room"

    # -- pictures --------------------------------------------------------------------------

    text_to_image = _Namespace(
        lambda room: text_to_image.TextToImage(room, text_to_image.TEXT_TO_IMAGE)
    )
    nano_banana = _Namespace(lambda room: base.TaskNamespace(room, nano_banana.NANO_BANANA))
    gpt_image = _Namespace(lambda room: base.TaskNamespace(room, gpt_image.GPT_IMAGE))
    flux2 = _Namespace(lambda room: base.TaskNamespace(room, flux2.FLUX2))
    qwen_image = _Namespace(lambda room: base.TaskNamespace(room, qwen_image.QWEN_IMAGE))
    kling_image = _Namespace(lambda room: base.TaskNamespace(room, kling_image.KLING_IMAGE))
    image_edit = _Namespace(lambda room: base.TaskNamespace(room, image_edit.IMAGE_EDIT))
    virtual_try_on = _Namespace(
        lambda room: base.TaskNamespace(room, virtual_try_on.VIRTUAL_TRY_ON)
    )
    product_avatar = _Namespace(
        lambda room: base.TaskNamespace(room, product_avatar.PRODUCT_AVATAR)
    )
    photobook = _Namespace(lambda room: base.TaskNamespace(room, photobook.PHOTOBOOK))

    # -- videos from texts and pictures ----------------------------------------------------

    image_to_video = _Namespace(
        lambda room: image_to_video.ImageToVideo(room, image_to_video.IMAGE_TO_VIDEO)
    )
    wan = _Namespace(lambda room: base.TaskNamespace(room, wan.WAN))
    wan30 = _Namespace(lambda room: base.TaskNamespace(room, wan30.WAN30))
    happyhorse = _Namespace(lambda room: base.TaskNamespace(room, happyhorse.HAPPYHORSE))
    seedance = _Namespace(lambda room: base.TaskNamespace(room, seedance.SEEDANCE))
    seedance2 = _Namespace(lambda room: base.Renamable(room, seedance2.SEEDANCE2))
    veo = _Namespace(lambda room: veo.Veo(room, veo.VEO))
    grok_video = _Namespace(lambda room: base.TaskNamespace(room, grok_video.GROK_VIDEO))
    kling_video = _Namespace(lambda room: base.Renamable(room, kling_video.KLING_VIDEO))
    kling_omni = _Namespace(lambda room: base.Renamable(room, kling_omni.KLING_OMNI))
    sora = _Namespace(lambda room: base.TaskNamespace(room, sora.SORA))

    # -- people in pictures and videos -----------------------------------------------------

    avatar_video = _Namespace(lambda room: base.TaskNamespace(room, avatar_video.AVATAR_VIDEO))
    video_twin = _Namespace(lambda room: video_twin.VideoTwin(room, video_twin.VIDEO_TWIN))
    talking_photo = _Namespace(lambda room: base.TaskNamespace(room, talking_photo.TALKING_PHOTO))
    talking_video = _Namespace(lambda room: base.TaskNamespace(room, talking_video.TALKING_VIDEO))
    face_swap = _Namespace(lambda room: face_swap.FaceSwap(room, face_swap.FACE_SWAP))
    face_swap_preview = _Namespace(
        lambda room: base.TaskNamespace(room, face_swap_preview.FACE_SWAP_PREVIEW)
    )
    head_swap = _Namespace(lambda room: base.TaskNamespace(room, head_swap.HEAD_SWAP))
    actor_swap = _Namespace(lambda room: base.TaskNamespace(room, actor_swap.ACTOR_SWAP))
    motion_transfer = _Namespace(
        lambda room: base.TaskNamespace(room, motion_transfer.MOTION_TRANSFER)
    )

    # -- sound, speech and repair ----------------------------------------------------------

    dubbing = _Namespace(lambda room: base.TaskNamespace(room, dubbing.DUBBING))
    voice_clone = _Namespace(lambda room: base.Renamable(room, voice_clone.VOICE_CLONE))
    think_sound = _Namespace(lambda room: base.TaskNamespace(room, think_sound.THINK_SOUND))
    caption_removal = _Namespace(
        lambda room: caption_removal.CaptionRemoval(room, caption_removal.CAPTION_REMOVAL)
    )
    upscale = _Namespace(lambda room: base.TaskNamespace(room, upscale.UPSCALE))

    # -- the account -----------------------------------------------------------------------

    speech = _Namespace(lambda room: speech.Speech(room))
    voices = _Namespace(lambda room: voices.Voices(room))
    avatars = _Namespace(lambda room: avatars.Avatars(room))
    backgrounds = _Namespace(lambda room: backgrounds.Backgrounds(room))
    credits = _Namespace(lambda room: credits_module.Credits(room))
    legacy = _Namespace(lambda room: legacy.Legacy(room))
