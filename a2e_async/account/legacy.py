"""``a2e.legacy``: operations that the service's current reference no longer lists.

Each may have been removed; then it raises `NotFound`, which names the replacement.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.context import RequestContext
from a2e_async._core.files.media_types import filename_from_url, sniff_media_type
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.namespace_helpers import (
    check_bool,
    check_id_input,
    check_int,
    check_number,
    check_text,
    legacy_operation,
    output_from_url,
    repr_without_query,
    response_fields,
    unwrap_response,
    without_none,
)
from a2e_async._core.redact import FullUrl
from a2e_async._core.schema.inputs import MediaInput, MediaSource, check_media, is_url
from a2e_async._core.submission.calls import ChargedCall
from a2e_async._core.tasks.kind import check_task_id
from a2e_async._core.tasks.parsing import (
    read_raw_records,
    read_record,
    read_total_count,
    unwrap_detail,
)
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import failure_text, is_mapping, is_sequence
from a2e_async.account.avatars import Avatar, read_avatars
from a2e_async.account.files import ANY_MEDIA
from a2e_async.account.streaming import StreamingAvatars
from a2e_async.errors import DecodeError, InvalidInput, NotFound
from a2e_async.kinds.actions import read_started_task
from a2e_async.kinds.avatar_video import AVATAR_VIDEO, AvatarVideoRecord
from a2e_async.kinds.operations import read_detail, read_records
from a2e_async.kinds.text_to_image import TEXT_TO_IMAGE, TextToImageRecord
from a2e_async.models import Output, Page

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

TWIN_PREFIX: Final = "/api/v1/userVideoTwin"

TEXT_TO_IMAGE_PREFIX: Final = "/api/v1/userText2image"
"""The older spelling of `a2e_async.kinds.text_to_image.PREFIX`."""

_TEXT_TO_IMAGE_ADVICE: Final = "Use a2e.text_to_image."
_AVATAR_VIDEO_ADVICE: Final = "Use a2e.avatar_video.get(id), and a2e.attach(ref) to wait."


@frozen(kw_only=True)
class UploadPermit:
    """A presigned URL for the upload of one file. Legacy."""

    upload_url: str = field(repr=repr_without_query, converter=FullUrl)
    """URL for the HTTP PUT, without the API key."""
    key: str | None = None
    """Name of the file in the storage."""
    bucket: str | None = None
    """Name of the storage bucket."""
    expires_in: int | None = None
    """Seconds until the URL expires."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


@frozen(kw_only=True)
class AddedUser:
    """A user that was added. Legacy."""

    id: str | None = None
    """Id of the user; None if the service does not report it."""
    username: str | None = None
    """Name of the user."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class Legacy:
    """``a2e.legacy``: older operations of the service. Any of them may have been removed."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self.streaming_avatar: Final = StreamingAvatars(context)

    def __repr__(self) -> str:
        return "<a2e.legacy>"

    # -- media -----------------------------------------------------------------------------

    @hide_frames
    async def watermark(
        self,
        media: MediaInput,
        *,
        text: str | None = None,
        image: MediaInput | None = None,
        fontsize: int | None = None,
        fontcolor: Sequence[int] | None = None,
        position: str | None = None,
        scale_ratio: float | None = None,
        to_720p: bool | None = None,
    ) -> Output:
        """Return a video or image with a watermark: a ``text`` or an ``image``. Costs coins.

        ``fontcolor`` is red, green, blue and optionally opacity, 0 to 255 each; ``fontsize`` is a
        number of the service; ``position`` a word of the service. The request returns the result
        (within the client's ``start_timeout``); there is no task. The service keeps the result
        for about a day. Raises what `a2e.speech.say` raises; results whose callers were cancelled
        are listed by `unclaimed`. Legacy:
        ``POST /api/v1/watermark/start``.
        """
        if (text is None) == (image is None):
            raise InvalidInput("Give exactly one of text and image.", field="text")
        if text is not None:
            check_text(text, "text")
        check_media("media", media)
        if image is not None:
            check_media("image", image)
        if fontsize is not None:
            check_int(fontsize, "fontsize")
        if fontcolor is not None:
            if not is_sequence(fontcolor) or len(fontcolor) not in (3, 4):
                raise InvalidInput(
                    "fontcolor takes 3 or 4 numbers from 0 to 255.", field="fontcolor"
                )
            for part in fontcolor:
                check_int(part, "fontcolor", 0, 255)
        if position is not None:
            check_text(position, "position")
        if scale_ratio is not None:
            check_number(scale_ratio, "scale_ratio", 0, 1000)
        if to_720p is not None:
            check_bool(to_720p, "to_720p")
        context = self._context
        sources: list[MediaSource] = [(media, ("video", "image"), "media")]
        if image is not None:
            sources.append((image, ("image",), "image"))
        media_url, *image_url = await context.files.urls(*sources)
        body = without_none(
            media_url=media_url,
            watermark_type="text" if image is None else "image",
            text=text,
            watermark_image_url=image_url[0] if image_url else None,
            fontsize=fontsize,
            fontcolor=None if fontcolor is None else [*fontcolor],
            position=position,
            scale_ratio=scale_ratio,
            to_720p=to_720p,
        )
        with legacy_operation():
            return await context.charged.call(
                ChargedCall(
                    kind="watermark",
                    path="/api/v1/watermark/start",
                    body=body,
                    timeout=context.start_timeout,
                    priority=context.priority,
                    read_result=partial(_read_watermarked, context),
                )
            )

    def unclaimed(self) -> tuple[Output, ...]:
        """Return watermarked files that were charged although their callers were cancelled. Legacy.

        Makes no request. The client keeps the last 100, oldest first.
        """
        return self._context.charged.unclaimed("watermark")

    @hide_frames
    async def copy_to_storage(self, url: str | Output) -> str:
        """Copy a file into the service's storage and return the URL of the copy.

        Use it for inputs whose own URL is slow or expires soon. The price is unknown, so the
        request is not repeated if no response arrives. For local files use `a2e.files.upload`.
        Legacy:
        ``POST /api/v1/tos/transferToStorage``.
        """
        check_media("url", url)
        if not isinstance(url, Output) and not (isinstance(url, str) and is_url(url)):
            raise InvalidInput(
                "url must be a URL or an Output; for files use a2e.files.upload.", field="url"
            )
        context = self._context
        with legacy_operation("Use a2e.files.upload for local files."):
            return await context.charged.call(
                ChargedCall(
                    kind="legacy.transfer",
                    path="/api/v1/tos/transferToStorage",
                    body={"url": await context.files.url(url, ANY_MEDIA, "url")},
                    timeout=context.start_timeout,
                    priority=context.priority,
                    read_result=_read_copied_url,
                    is_upload=True,
                )
            )

    @hide_frames
    async def upload_permit(
        self,
        key: str,
        *,
        bucket: str | None = None,
        url_prefix: str | None = None,
        cdn_domain: str | None = None,
        expires_in: int | None = None,
        content_type: str | None = None,
        file_size: int | None = None,
        content_length: int | None = None,
    ) -> UploadPermit:
        """Return a presigned URL for the upload of a file named ``key``. May cost coins.

        ``expires_in`` is in seconds, at least 60; sizes are in bytes. If ``content_type`` or a
        size is given, the upload must match it. The request is not repeated if no response
        arrives. `a2e.files.upload` is the current way and uploads the file, too. Legacy:
        ``POST /api/v1/r2/get_upload_presigned_url``.
        """
        check_text(key, "key")
        texts = {"bucket": bucket, "url_prefix": url_prefix, "cdn_domain": cdn_domain}
        for name, value in (texts | {"content_type": content_type}).items():
            if value is not None:
                check_text(value, name)
        if expires_in is not None:
            check_int(expires_in, "expires_in", 60)
        for name, size in (("file_size", file_size), ("content_length", content_length)):
            if size is not None:
                check_int(size, name)
        body = without_none(
            key=key,
            bucket=bucket,
            urlPrefix=url_prefix,
            cdnDomain=cdn_domain,
            expiresIn=expires_in,
            contentType=content_type,
            fileSize=file_size,
            contentLength=content_length,
        )
        context = self._context
        with legacy_operation("Use a2e.files.upload."):
            return await context.charged.call(
                ChargedCall(
                    kind="legacy.upload_permit",
                    path="/api/v1/r2/get_upload_presigned_url",
                    body=body,
                    timeout=context.start_timeout,
                    priority=context.priority,
                    read_result=_read_permit,
                    is_upload=True,
                )
            )

    # -- avatars and their videos ----------------------------------------------------------

    async def avatar_video_status(self, id: str) -> AvatarVideoRecord:
        """Return the record of an avatar video. Free of charge. Raises `NotFound`.

        `a2e.avatar_video.get` is the current way. Legacy: ``POST /api/v1/video/awsResult``.
        """
        path = "/api/v1/video/awsResult"
        data = await self._post(
            path, {"_id": check_task_id(id)}, _AVATAR_VIDEO_ADVICE, of_record=True
        )
        raw = unwrap_detail(AVATAR_VIDEO, data, id)
        if raw is None:
            raise NotFound(
                http_status=200,
                code=0,
                message="no such task",
                trace_id=None,
                method="POST",
                path=path,
                advice="It was deleted, has expired, or belongs to another account.",
            )
        return read_record(AVATAR_VIDEO, raw, self._context.source)

    async def avatar_videos(self, *, page: int = 1, page_size: int = 20) -> Page[AvatarVideoRecord]:
        """Return one page of the account's avatar videos, newest first. Free of charge.

        The service includes image-to-video tasks in this list. Legacy:
        ``GET /api/v1/video/awsList``.
        """
        params = {
            "current": check_int(page, "page"),
            "pageSize": check_int(page_size, "page_size"),
        }
        with legacy_operation(_AVATAR_VIDEO_ADVICE):
            response = await self._context.session.request(
                "GET",
                "/api/v1/video/awsList",
                params=params,
                **self._context.request_options(Priority.LIST),
            )
        rows = [
            read_record(AVATAR_VIDEO, raw, self._context.source)
            for raw in read_raw_records(response.data)
            if response_fields(raw).id()
        ]
        return Page(tuple(rows), read_total_count(response.data))

    async def characters(
        self,
        type: Literal["default", "custom"] | str | None = None,  # noqa: A002  # as on the wire
        *,
        user_video_twin_id: str | None = None,
    ) -> tuple[Avatar, ...]:
        """Return avatars of the service (``type="default"``), of the account or of a video twin.

        Free of charge. `a2e.avatars.list` is the current way. Legacy:
        ``GET /api/v1/anchor/character_list``.
        """
        params = without_none(type=type, user_video_twin_id=user_video_twin_id)
        with legacy_operation("Use a2e.avatars.list()."):
            response = await self._context.session.request(
                "GET",
                "/api/v1/anchor/character_list",
                params=params,
                **self._context.request_options(Priority.LIST),
            )
        return read_avatars(response.data)

    async def continue_training(self, id: str) -> str | None:
        """Continue the training of a video twin; return the service's status word. Costs coins.

        Raises `StartOutcomeUnknown` if no response arrived; the request is not repeated. Legacy;
        the path is misspelt by the service: ``POST /api/v1/userVideoTwin/continueTranining``.
        """
        data = await self._start_twin_action(
            "continue_training",
            f"{TWIN_PREFIX}/continueTranining",
            id,
            advice="Check the twin with a2e.video_twin.get(id)",
            instead="Use a2e.video_twin.continue_training().",
        )
        return unwrap_response(data, "current_status").text("current_status")

    async def clone_voice_of_twin(self, id: str) -> str | None:
        """Train a voice from the video of a video twin; return its id, if the service reports it.

        Costs coins. Raises `StartOutcomeUnknown` if no response arrived; the request is not
        repeated. Check `a2e.voice_clone.processing`. Legacy:
        ``POST /api/v1/userVideoTwin/addVoiceClone``.
        """
        data = await self._start_twin_action(
            "clone_voice_of_twin",
            f"{TWIN_PREFIX}/addVoiceClone",
            id,
            advice="Search for the voice with a2e.voice_clone.processing()",
            instead="Use a2e.voice_clone.start() with the audio of the video.",
        )
        return unwrap_response(data, "_id", "id").id()

    # -- images from text ------------------------------------------------------------------

    async def text_to_image(
        self,
        *,
        name: str,
        prompt: str,
        req_key: Literal["high_aes_general_v21_L", "high_aes"] | str = "high_aes_general_v21_L",
        width: int = 1024,
        height: int = 1024,
    ) -> Task[TextToImageRecord]:
        """Make an image from text by the older path; return the task to wait for. Costs coins.

        ``req_key`` is the model: ``high_aes_general_v21_L``, or ``high_aes`` for manga; sizes in
        pixels. The task is polled by the current operations, as those of `a2e.text_to_image`,
        which is the current way. The request is not repeated if no response arrives
        (`StartOutcomeUnknown`): search for its ``name`` in `text_to_images`. Legacy:
        ``POST /api/v1/userText2image/start``, with a lower-case i.
        """
        body = {
            "name": check_text(name, "name"),
            "prompt": check_text(prompt, "prompt"),
            "req_key": check_text(req_key, "req_key"),
            "width": check_int(width, "width"),
            "height": check_int(height, "height"),
        }
        context = self._context
        with legacy_operation(_TEXT_TO_IMAGE_ADVICE):
            return await context.charged.call(
                ChargedCall(
                    kind="legacy.text_to_image",
                    path=f"{TEXT_TO_IMAGE_PREFIX}/start",
                    body=body,
                    timeout=context.start_timeout,
                    priority=context.priority,
                    read_result=partial(read_started_task, context, TEXT_TO_IMAGE, None),
                    on_unclaimed=context.starter.add_unclaimed,
                    advice=f"Search for the name {name!r:.80} in a2e.legacy.text_to_images()",
                )
            )

    async def text_to_image_status(self, id: str) -> TextToImageRecord:
        """Return the record of an image by the older path. Free of charge. Raises `NotFound`.

        The service refuses existing images at times, also as unknown; `text_to_images` shows them.
        `a2e.text_to_image.get` is the current way. Legacy:
        ``GET /api/v1/userText2image/{id}``, with a lower-case i.
        """
        path = f"{TEXT_TO_IMAGE_PREFIX}/{check_task_id(id)}"
        with legacy_operation(_TEXT_TO_IMAGE_ADVICE, of_record=True):
            response = await self._context.session.request(
                "GET", path, **self._context.request_options()
            )
        return read_detail(self._context, TEXT_TO_IMAGE, response, path, id)

    async def text_to_images(
        self, *, page: int = 1, page_size: int = 20
    ) -> Page[TextToImageRecord]:
        """Return one page of the account's images by the older path, newest first. Free of charge.

        `a2e.text_to_image.list` is the current way. Legacy:
        ``GET /api/v1/userText2image/allRecords``, with a lower-case i.
        """
        params = {
            "pageNum": check_int(page, "page"),
            "pageSize": check_int(page_size, "page_size"),
        }
        with legacy_operation(_TEXT_TO_IMAGE_ADVICE):
            response = await self._context.session.request(
                "GET",
                f"{TEXT_TO_IMAGE_PREFIX}/allRecords",
                params=params,
                **self._context.request_options(Priority.LIST),
            )
        rows = read_records(self._context, TEXT_TO_IMAGE, response.data)
        return Page(rows, read_total_count(response.data))

    # -- text and account ------------------------------------------------------------------

    async def detect_language(self, text: str) -> str:
        """Return the language of a text as a code of the service, such as ``en``. Free of charge.

        Legacy: ``POST /api/v1/video/lang_classify``.
        """
        path = "/api/v1/video/lang_classify"
        data = await self._post(path, {"msg": check_text(text, "text")})
        found = unwrap_response(data, "language", "lang", bare_name="language").text(
            "language", "lang"
        )
        if found is None:
            raise _unexpected_response(path, "no language")
        return found

    async def set_public_pool(self, enabled: bool) -> bool:
        """Set whether tasks may use the public computing pool; return the new setting.

        Legacy: ``POST /api/v1/video/auto-public-pool``.
        """
        body = {"isAutoToPublicPool": check_bool(enabled, "enabled")}
        data = await self._post("/api/v1/video/auto-public-pool", body)
        reported = data.get("isAutoToPublicPool") if is_mapping(data) else None
        return reported if isinstance(reported, bool) else enabled

    async def add_user(self, username: str) -> AddedUser:
        """Add a sub-user to the account. The request is not repeated if no response arrives.

        Legacy: ``POST /api/v1/user/add``.
        """
        body = {"username": check_text(username, "username")}
        raw = response_fields(
            await self._post("/api/v1/user/add", body, retry_safety=RetrySafety.CHARGED)
        )
        return AddedUser(id=raw.id(), username=raw.text("username"), extra=raw.unread())

    # -- inside ----------------------------------------------------------------------------

    async def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        instead: str = "",
        *,
        retry_safety: RetrySafety = RetrySafety.FREE,
        of_record: bool = False,
    ) -> Any:
        with legacy_operation(instead, of_record=of_record):
            response = await self._context.session.request(
                "POST",
                path,
                json=body,
                retry_safety=retry_safety,
                **self._context.request_options(),
            )
        return response.data

    async def _start_twin_action(
        self, kind: str, path: str, id: str, *, advice: str, instead: str
    ) -> Any:
        """Run a charged operation on a video twin; return the data of the response."""
        context = self._context
        with legacy_operation(instead, of_record=True):
            response = await context.charged.call(
                ChargedCall(
                    kind=kind,
                    path=path,
                    body={"_id": check_id_input(id, "id")},
                    timeout=context.start_timeout,
                    priority=context.priority,
                    read_result=_unless_refused,
                    advice=advice,
                )
            )
        return response.data


def _unless_refused(response: "ApiResponse") -> "ApiResponse | None":
    # The service may refuse with HTTP 200 and a failure message.
    if failure_text(response.data) is not None:
        return None
    # Without the API's envelope, only its own fields show that the response is not a gateway's.
    own = unwrap_response(response.data, "current_status", "_id", "id")
    is_own = response.code is not None or own.text("current_status") or own.id()
    return response if is_own else None


def _read_watermarked(context: RequestContext, response: "ApiResponse") -> Output | None:
    url = unwrap_response(response.data, "result_url", "url", bare_name="url").url(
        "result_url", "url"
    )
    if url is None:
        return None
    media, _ = sniff_media_type(b"", filename_from_url(url))
    return output_from_url(url, media, context.source)


def _read_copied_url(response: "ApiResponse") -> str | None:
    return unwrap_response(response.data, "url", "cdnUrl", bare_name="url").url("url", "cdnUrl")


def _read_permit(response: "ApiResponse") -> UploadPermit | None:
    raw = unwrap_response(response.data, "uploadUrl")
    url = raw.url("uploadUrl")
    if url is None:
        return None
    return UploadPermit(
        upload_url=url,
        key=raw.text("key"),
        bucket=raw.text("bucket"),
        expires_in=raw.integer("expiresIn"),
        extra=raw.unread(),
    )


def _unexpected_response(path: str, what: str) -> DecodeError:
    return DecodeError(
        f"The response of {path} has {what}: this legacy operation may have changed. "
        f"a2e.request('POST', {path!r}, ...) returns the response as it is.",
        method="POST",
        path=path,
    )
