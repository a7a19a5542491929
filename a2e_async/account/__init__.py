"""Operations of an account that start no task: speech, voices, avatars, files, credits.

A client makes the namespaces (``a2e.voices``); import the classes here for annotations.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a2e_async.account.avatars import Avatar, Avatars
    from a2e_async.account.backgrounds import Background, Backgrounds
    from a2e_async.account.credits import Balance, Credits, Transaction
    from a2e_async.account.files import Files
    from a2e_async.account.legacy import AddedUser, Legacy, UploadPermit
    from a2e_async.account.speech import Speech
    from a2e_async.account.streaming import StreamingAvatar, StreamingAvatars, StreamingRoom
    from a2e_async.account.voices import SpeechPreview, Voice, VoiceLanguage, VoiceRegion, Voices

__all__ = [
    "AddedUser",
    "Avatar",
    "Avatars",
    "Background",
    "Backgrounds",
    "Balance",
    "Credits",
    "Files",
    "Legacy",
    "Speech",
    "SpeechPreview",
    "StreamingAvatar",
    "StreamingAvatars",
    "StreamingRoom",
    "Transaction",
    "UploadPermit",
    "Voice",
    "VoiceLanguage",
    "VoiceRegion",
    "Voices",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: most programs use few of them."""
    module: ModuleType
    match name:
        case "Avatar" | "Avatars":
            import a2e_async.account.avatars as module
        case "Background" | "Backgrounds":
            import a2e_async.account.backgrounds as module
        case "Balance" | "Credits" | "Transaction":
            import a2e_async.account.credits as module
        case "Files":
            import a2e_async.account.files as module
        case "AddedUser" | "Legacy" | "UploadPermit":
            import a2e_async.account.legacy as module
        case "Speech":
            import a2e_async.account.speech as module
        case "StreamingAvatar" | "StreamingAvatars" | "StreamingRoom":
            import a2e_async.account.streaming as module
        case "SpeechPreview" | "Voice" | "VoiceLanguage" | "VoiceRegion" | "Voices":
            import a2e_async.account.voices as module
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
