"""The files that a server has saved, as MCP resources and as content of a tool's result."""

import base64
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.types import ContentBlock, ImageContent, ResourceLink

from a2e_async._core.files.media_types import SNIFF_BYTES, sniff_media_type

MAX_CACHED_RESULTS: Final = 1000
"""Maximum number of saved files that are offered as resources."""

MAX_INLINE_IMAGE_BYTES: Final = 700_000
"""Maximum size of an image in the result of a tool; hosts refuse results of 1 MB and more."""

MAX_RESOURCE_BYTES: Final = 32 * 2**20
"""Maximum size of a resource that is read through the server; a larger file has its path."""

INLINE_IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types of images that models can see."""


class SavedResults:
    """The files that this server has saved, the last `MAX_CACHED_RESULTS` of them, by URI.

    Created by `make_server`; the tool ``download`` adds to it. Other files of the directory are
    none of an agent's business.
    """

    def __init__(self) -> None:
        self._paths: OrderedDict[str, Path] = OrderedDict()

    def add(self, path: Path) -> None:
        """Offer a file as a resource."""
        self._paths[path.as_uri()] = path
        while len(self._paths) > MAX_CACHED_RESULTS:
            self._paths.popitem(last=False)

    def describe_all(self) -> list[dict[str, Any]]:
        """Return the fields of a resource for each file that is still there."""
        return [describe_file(path) for path in list(self._paths.values()) if path.is_file()]

    def find(self, uri: str) -> Path | None:
        """Return the file with this URI, None if it is none of these or has been deleted."""
        path = self._paths.get(uri)
        return path if path is not None and path.is_file() else None


def describe_file(path: Path) -> dict[str, Any]:
    """Return the fields of a resource, or of a link to it."""
    with path.open("rb") as file:
        _, mime = sniff_media_type(file.read(SNIFF_BYTES), path.name)
    return {
        "uri": path.as_uri(),
        "name": path.name,
        "mime_type": mime,
        "size": path.stat().st_size,
    }


def file_content(path: Path) -> list[ContentBlock]:
    """Return a link to a saved file and, if it is a small image, the image."""
    link = ResourceLink(**describe_file(path))
    if link.mime_type not in INLINE_IMAGE_TYPES or (link.size or 0) > MAX_INLINE_IMAGE_BYTES:
        return [link]
    data = base64.b64encode(path.read_bytes()).decode()
    return [link, ImageContent(data=data, mime_type=link.mime_type)]


def read_file(path: Path) -> ReadResourceContents:
    described = describe_file(path)
    if described["size"] > MAX_RESOURCE_BYTES:
        raise ResourceError(
            f"{path.name} has {described['size']} bytes, too many to send. It is saved as {path}."
        )
    return ReadResourceContents(path.read_bytes(), described["mime_type"])
