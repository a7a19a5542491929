"""Task kinds as data: how they are declared, and those that the package knows.

Each kind has a module with its input class, its record class and its `TaskKind`. A
module is loaded when one of its names is first used.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a2e_async._core.schema.inputs import (
        AcceptedMedia,
        FieldDoc,
        InputField,
        ItemCount,
        MaxLength,
        MediaInput,
        Range,
        SerializeAsString,
        TaskInput,
        input_fields,
    )
    from a2e_async._core.tasks.kind import (
        Endpoint,
        ListPaging,
        OutputField,
        StatusVocabulary,
        TaskKind,
    )
    from a2e_async.kinds.actor_swap import ACTOR_SWAP, ActorSwapInput, ActorSwapRecord
    from a2e_async.kinds.avatar_video import AVATAR_VIDEO, AvatarVideoInput, AvatarVideoRecord
    from a2e_async.kinds.caption_removal import (
        CAPTION_REMOVAL,
        CaptionRemoval,
        CaptionRemovalInput,
        CaptionRemovalRecord,
    )
    from a2e_async.kinds.dubbing import DUBBING, DubbingInput, DubbingRecord
    from a2e_async.kinds.face_swap import (
        FACE_SWAP,
        FaceSwap,
        FaceSwapInput,
        FaceSwapRecord,
        SavedFace,
    )
    from a2e_async.kinds.face_swap_preview import (
        FACE_SWAP_PREVIEW,
        FaceSwapPreviewInput,
        FaceSwapPreviewRecord,
    )
    from a2e_async.kinds.flux2 import FLUX2, Flux2Input, Flux2Record
    from a2e_async.kinds.gpt_image import GPT_IMAGE, GptImageInput, GptImageRecord
    from a2e_async.kinds.grok_video import GROK_VIDEO, GrokVideoInput, GrokVideoRecord
    from a2e_async.kinds.happyhorse import HAPPYHORSE, HappyhorseInput, HappyhorseRecord
    from a2e_async.kinds.head_swap import HEAD_SWAP, HeadSwapInput, HeadSwapRecord
    from a2e_async.kinds.image_edit import IMAGE_EDIT, ImageEditInput, ImageEditRecord
    from a2e_async.kinds.image_to_video import (
        IMAGE_TO_VIDEO,
        ExtendedPrompt,
        ImageToVideo,
        ImageToVideoInput,
        ImageToVideoRecord,
        PromptEvent,
        PromptInputs,
    )
    from a2e_async.kinds.jobs import Job
    from a2e_async.kinds.kind_file import load_kinds
    from a2e_async.kinds.kling_image import KLING_IMAGE, KlingImageInput, KlingImageRecord
    from a2e_async.kinds.kling_omni import KLING_OMNI, KlingOmniInput, KlingOmniRecord
    from a2e_async.kinds.kling_video import KLING_VIDEO, KlingVideoInput, KlingVideoRecord
    from a2e_async.kinds.motion_transfer import (
        MOTION_TRANSFER,
        MotionTransferInput,
        MotionTransferRecord,
    )
    from a2e_async.kinds.namespace import RenamableNamespace, TaskNamespace
    from a2e_async.kinds.nano_banana import NANO_BANANA, NanoBananaInput, NanoBananaRecord
    from a2e_async.kinds.person_inputs import (
        MovingPersonInput,
        MovingPersonRecord,
        SpeakingPersonInput,
        SpeakingPersonRecord,
    )
    from a2e_async.kinds.photobook import PHOTOBOOK, PhotobookInput, PhotobookRecord
    from a2e_async.kinds.product_avatar import (
        PRODUCT_AVATAR,
        ProductAvatarInput,
        ProductAvatarRecord,
    )
    from a2e_async.kinds.qwen_image import QWEN_IMAGE, QwenImageInput, QwenImageRecord
    from a2e_async.kinds.registry import kind_named, kind_names
    from a2e_async.kinds.seedance import SEEDANCE, SeedanceInput, SeedanceRecord
    from a2e_async.kinds.seedance2 import SEEDANCE2, Seedance2Input, Seedance2Record
    from a2e_async.kinds.sora import SORA, SoraInput, SoraRecord
    from a2e_async.kinds.talking_photo import TALKING_PHOTO, TalkingPhotoInput, TalkingPhotoRecord
    from a2e_async.kinds.talking_video import TALKING_VIDEO, TalkingVideoInput, TalkingVideoRecord
    from a2e_async.kinds.text_to_image import (
        TEXT_TO_IMAGE,
        MadeAvatar,
        TextToImage,
        TextToImageInput,
        TextToImageRecord,
    )
    from a2e_async.kinds.think_sound import THINK_SOUND, ThinkSoundInput, ThinkSoundRecord
    from a2e_async.kinds.upscale import UPSCALE, UpscaleInput, UpscaleRecord
    from a2e_async.kinds.veo import VEO, Veo, VeoInput, VeoRecord
    from a2e_async.kinds.video_twin import VIDEO_TWIN, VideoTwin, VideoTwinInput, VideoTwinRecord
    from a2e_async.kinds.virtual_try_on import VIRTUAL_TRY_ON, VirtualTryOnInput, VirtualTryOnRecord
    from a2e_async.kinds.voice_clone import VOICE_CLONE, VoiceCloneInput, VoiceCloneRecord
    from a2e_async.kinds.wan import WAN, WanInput, WanRecord
    from a2e_async.kinds.wan30 import WAN30, Wan30Input, Wan30Record
    from a2e_async.models import MediaType, NumericString, Record, WireName

__all__ = [
    "ACTOR_SWAP",
    "AVATAR_VIDEO",
    "CAPTION_REMOVAL",
    "DUBBING",
    "FACE_SWAP",
    "FACE_SWAP_PREVIEW",
    "FLUX2",
    "GPT_IMAGE",
    "GROK_VIDEO",
    "HAPPYHORSE",
    "HEAD_SWAP",
    "IMAGE_EDIT",
    "IMAGE_TO_VIDEO",
    "KLING_IMAGE",
    "KLING_OMNI",
    "KLING_VIDEO",
    "MOTION_TRANSFER",
    "NANO_BANANA",
    "PHOTOBOOK",
    "PRODUCT_AVATAR",
    "QWEN_IMAGE",
    "SEEDANCE",
    "SEEDANCE2",
    "SORA",
    "TALKING_PHOTO",
    "TALKING_VIDEO",
    "TEXT_TO_IMAGE",
    "THINK_SOUND",
    "UPSCALE",
    "VEO",
    "VIDEO_TWIN",
    "VIRTUAL_TRY_ON",
    "VOICE_CLONE",
    "WAN",
    "WAN30",
    "AcceptedMedia",
    "ActorSwapInput",
    "ActorSwapRecord",
    "AvatarVideoInput",
    "AvatarVideoRecord",
    "CaptionRemoval",
    "CaptionRemovalInput",
    "CaptionRemovalRecord",
    "DubbingInput",
    "DubbingRecord",
    "Endpoint",
    "ExtendedPrompt",
    "FaceSwap",
    "FaceSwapInput",
    "FaceSwapPreviewInput",
    "FaceSwapPreviewRecord",
    "FaceSwapRecord",
    "FieldDoc",
    "Flux2Input",
    "Flux2Record",
    "GptImageInput",
    "GptImageRecord",
    "GrokVideoInput",
    "GrokVideoRecord",
    "HappyhorseInput",
    "HappyhorseRecord",
    "HeadSwapInput",
    "HeadSwapRecord",
    "ImageEditInput",
    "ImageEditRecord",
    "ImageToVideo",
    "ImageToVideoInput",
    "ImageToVideoRecord",
    "InputField",
    "ItemCount",
    "Job",
    "KlingImageInput",
    "KlingImageRecord",
    "KlingOmniInput",
    "KlingOmniRecord",
    "KlingVideoInput",
    "KlingVideoRecord",
    "ListPaging",
    "MadeAvatar",
    "MaxLength",
    "MediaInput",
    "MediaType",
    "MotionTransferInput",
    "MotionTransferRecord",
    "MovingPersonInput",
    "MovingPersonRecord",
    "NanoBananaInput",
    "NanoBananaRecord",
    "NumericString",
    "OutputField",
    "PhotobookInput",
    "PhotobookRecord",
    "ProductAvatarInput",
    "ProductAvatarRecord",
    "PromptEvent",
    "PromptInputs",
    "QwenImageInput",
    "QwenImageRecord",
    "Range",
    "Record",
    "RenamableNamespace",
    "SavedFace",
    "Seedance2Input",
    "Seedance2Record",
    "SeedanceInput",
    "SeedanceRecord",
    "SerializeAsString",
    "SoraInput",
    "SoraRecord",
    "SpeakingPersonInput",
    "SpeakingPersonRecord",
    "StatusVocabulary",
    "TalkingPhotoInput",
    "TalkingPhotoRecord",
    "TalkingVideoInput",
    "TalkingVideoRecord",
    "TaskInput",
    "TaskKind",
    "TaskNamespace",
    "TextToImage",
    "TextToImageInput",
    "TextToImageRecord",
    "ThinkSoundInput",
    "ThinkSoundRecord",
    "UpscaleInput",
    "UpscaleRecord",
    "Veo",
    "VeoInput",
    "VeoRecord",
    "VideoTwin",
    "VideoTwinInput",
    "VideoTwinRecord",
    "VirtualTryOnInput",
    "VirtualTryOnRecord",
    "VoiceCloneInput",
    "VoiceCloneRecord",
    "Wan30Input",
    "Wan30Record",
    "WanInput",
    "WanRecord",
    "WireName",
    "input_fields",
    "kind_named",
    "kind_names",
    "load_kinds",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: most programs use few of them."""
    module: ModuleType
    match name:
        case (
            "AcceptedMedia"
            | "FieldDoc"
            | "InputField"
            | "ItemCount"
            | "MaxLength"
            | "MediaInput"
            | "Range"
            | "SerializeAsString"
            | "TaskInput"
            | "input_fields"
        ):
            import a2e_async._core.schema.inputs as module
        case "Endpoint" | "ListPaging" | "OutputField" | "StatusVocabulary" | "TaskKind":
            import a2e_async._core.tasks.kind as module
        case "MediaType" | "NumericString" | "Record" | "WireName":
            import a2e_async.models as module
        case "Job":
            import a2e_async.kinds.jobs as module
        case "load_kinds":
            import a2e_async.kinds.kind_file as module
        case "kind_named" | "kind_names":
            import a2e_async.kinds.registry as module
        case "RenamableNamespace" | "TaskNamespace":
            import a2e_async.kinds.namespace as module
        case "ACTOR_SWAP" | "ActorSwapInput" | "ActorSwapRecord":
            import a2e_async.kinds.actor_swap as module
        case "AVATAR_VIDEO" | "AvatarVideoInput" | "AvatarVideoRecord":
            import a2e_async.kinds.avatar_video as module
        case "CAPTION_REMOVAL" | "CaptionRemoval" | "CaptionRemovalInput" | "CaptionRemovalRecord":
            import a2e_async.kinds.caption_removal as module
        case "DUBBING" | "DubbingInput" | "DubbingRecord":
            import a2e_async.kinds.dubbing as module
        case "FACE_SWAP" | "FaceSwap" | "FaceSwapInput" | "FaceSwapRecord" | "SavedFace":
            import a2e_async.kinds.face_swap as module
        case "FACE_SWAP_PREVIEW" | "FaceSwapPreviewInput" | "FaceSwapPreviewRecord":
            import a2e_async.kinds.face_swap_preview as module
        case "FLUX2" | "Flux2Input" | "Flux2Record":
            import a2e_async.kinds.flux2 as module
        case "GPT_IMAGE" | "GptImageInput" | "GptImageRecord":
            import a2e_async.kinds.gpt_image as module
        case "GROK_VIDEO" | "GrokVideoInput" | "GrokVideoRecord":
            import a2e_async.kinds.grok_video as module
        case "HAPPYHORSE" | "HappyhorseInput" | "HappyhorseRecord":
            import a2e_async.kinds.happyhorse as module
        case "HEAD_SWAP" | "HeadSwapInput" | "HeadSwapRecord":
            import a2e_async.kinds.head_swap as module
        case "IMAGE_EDIT" | "ImageEditInput" | "ImageEditRecord":
            import a2e_async.kinds.image_edit as module
        case (
            "ExtendedPrompt"
            | "IMAGE_TO_VIDEO"
            | "ImageToVideo"
            | "ImageToVideoInput"
            | "ImageToVideoRecord"
            | "PromptEvent"
            | "PromptInputs"
        ):
            import a2e_async.kinds.image_to_video as module
        case "KLING_IMAGE" | "KlingImageInput" | "KlingImageRecord":
            import a2e_async.kinds.kling_image as module
        case "KLING_OMNI" | "KlingOmniInput" | "KlingOmniRecord":
            import a2e_async.kinds.kling_omni as module
        case "KLING_VIDEO" | "KlingVideoInput" | "KlingVideoRecord":
            import a2e_async.kinds.kling_video as module
        case "MOTION_TRANSFER" | "MotionTransferInput" | "MotionTransferRecord":
            import a2e_async.kinds.motion_transfer as module
        case "NANO_BANANA" | "NanoBananaInput" | "NanoBananaRecord":
            import a2e_async.kinds.nano_banana as module
        case (
            "MovingPersonInput"
            | "MovingPersonRecord"
            | "SpeakingPersonInput"
            | "SpeakingPersonRecord"
        ):
            import a2e_async.kinds.person_inputs as module
        case "PHOTOBOOK" | "PhotobookInput" | "PhotobookRecord":
            import a2e_async.kinds.photobook as module
        case "PRODUCT_AVATAR" | "ProductAvatarInput" | "ProductAvatarRecord":
            import a2e_async.kinds.product_avatar as module
        case "QWEN_IMAGE" | "QwenImageInput" | "QwenImageRecord":
            import a2e_async.kinds.qwen_image as module
        case "SEEDANCE" | "SeedanceInput" | "SeedanceRecord":
            import a2e_async.kinds.seedance as module
        case "SEEDANCE2" | "Seedance2Input" | "Seedance2Record":
            import a2e_async.kinds.seedance2 as module
        case "SORA" | "SoraInput" | "SoraRecord":
            import a2e_async.kinds.sora as module
        case "TALKING_PHOTO" | "TalkingPhotoInput" | "TalkingPhotoRecord":
            import a2e_async.kinds.talking_photo as module
        case "TALKING_VIDEO" | "TalkingVideoInput" | "TalkingVideoRecord":
            import a2e_async.kinds.talking_video as module
        case (
            "MadeAvatar"
            | "TEXT_TO_IMAGE"
            | "TextToImage"
            | "TextToImageInput"
            | "TextToImageRecord"
        ):
            import a2e_async.kinds.text_to_image as module
        case "THINK_SOUND" | "ThinkSoundInput" | "ThinkSoundRecord":
            import a2e_async.kinds.think_sound as module
        case "UPSCALE" | "UpscaleInput" | "UpscaleRecord":
            import a2e_async.kinds.upscale as module
        case "VEO" | "Veo" | "VeoInput" | "VeoRecord":
            import a2e_async.kinds.veo as module
        case "VIDEO_TWIN" | "VideoTwin" | "VideoTwinInput" | "VideoTwinRecord":
            import a2e_async.kinds.video_twin as module
        case "VIRTUAL_TRY_ON" | "VirtualTryOnInput" | "VirtualTryOnRecord":
            import a2e_async.kinds.virtual_try_on as module
        case "VOICE_CLONE" | "VoiceCloneInput" | "VoiceCloneRecord":
            import a2e_async.kinds.voice_clone as module
        case "WAN" | "WanInput" | "WanRecord":
            import a2e_async.kinds.wan as module
        case "WAN30" | "Wan30Input" | "Wan30Record":
            import a2e_async.kinds.wan30 as module
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
