"""Image-to-video jobs of a web service, with httpx and a new client for each request.

As such back ends do: the message language is asked for in a header, the length is snapped to what
the service takes, only `completed` and `failed` end the poll, and its pause grows.
"""

import asyncio
import ssl

import httpx

LENGTHS = (5, 10, 15, 20)
TLS = ssl.create_default_context()


async def api(base: str, token: str, method: str, path: str, body: object = None) -> dict:
    headers = {"Authorization": f"Bearer {token}", "x-lang": "en-US"}
    async with httpx.AsyncClient(timeout=60, trust_env=False, verify=TLS) as client:
        response = await client.request(method, base + path, json=body, headers=headers)
    payload = response.json()
    if response.status_code >= 400 or payload.get("code", 0) != 0:
        raise RuntimeError(payload.get("msg", payload.get("message")))
    return payload["data"]


async def animate(base: str, token: str, image: str, seconds: float, pause: float) -> bytes:
    started = await api(
        base,
        token,
        "POST",
        "/api/v1/userImage2Video/start",
        {
            "name": "clip",
            "image_url": image,
            "prompt": "the camera moves slowly",
            "negative_prompt": "blurry, distorted",
            "model_type": "GENERAL",
            "video_time": min(LENGTHS, key=lambda length: abs(length - seconds)),
            "number_of_images": 1,
        },
    )
    while True:
        await asyncio.sleep(pause)
        record = await api(base, token, "GET", f"/api/v1/userImage2Video/{started['_id']}")
        if record["current_status"] == "completed":
            break
        if record["current_status"] == "failed":
            raise RuntimeError(record["failed_message"] or record["failed_code"])
        pause = min(pause * 1.5, 0.5)
    async with httpx.AsyncClient(trust_env=False, verify=TLS) as client:
        video = await client.get(record["result_url"])
    video.raise_for_status()
    return video.content


async def run(base: str, token: str, images: list[str], pause: float) -> list[bytes]:
    return [await animate(base, token, image, 6.5, pause) for image in images]
