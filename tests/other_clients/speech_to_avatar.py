"""Speech, then an avatar video that speaks it, with aiohttp.

As most clients do: the first voice of the first group, or an id copied from the documentation;
the answer of the speech call is the URL itself; the avatar comes from the older list; the video
is polled with the older `awsResult`, which answers a list of one, and its status is `status`.
"""

import asyncio

import aiohttp

DOCUMENTED_VOICE = "66dc61ec5148817d26f5b79e"
WAITING = {"init", "start", "pending", "process", "copy"}


class Studio:
    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self.session = session
        self.base = base + "/api/v1"
        self.headers = {"Authorization": f"Bearer {token}", "x-lang": "en-US"}

    async def call(self, method: str, path: str, **options: object) -> object:
        url = self.base + path
        async with self.session.request(method, url, headers=self.headers, **options) as response:
            response.raise_for_status()
            payload = await response.json()
        if payload["code"] != 0:
            raise RuntimeError(payload.get("msg") or payload.get("message"))
        return payload["data"]

    async def first_voice(self) -> str:
        query = {"country": "en", "region": "US", "voice_map_type": "en-US"}
        groups = await self.call("GET", "/anchor/voice_list", params=query)
        return groups[0]["children"][0]["value"]

    async def speak(self, text: str, voice: str) -> str:
        body = {
            "msg": text,
            "tts_id": voice,
            "speechRate": 1.0,
            "country": "en",
            "region": "US",
        }
        audio = await self.call("POST", "/video/send_tts", json=body)
        if not isinstance(audio, str) or not audio.startswith("http"):
            raise RuntimeError(f"no audio: {audio}")
        return audio

    async def video(self, title: str, audio: str, pause: float) -> str:
        avatars = await self.call("GET", "/anchor/character_list")
        body = {
            "title": title[:40],
            "anchor_id": avatars[0]["_id"],
            "anchor_type": 0,
            "audioSrc": audio,
            "resolution": 1080,
            "isSkipRs": True,
        }
        task = await self.call("POST", "/video/generate", json=body)
        while True:
            found = await self.call("POST", "/video/awsResult", json={"_id": task["_id"]})
            record = found[0]
            if record["status"] == "success":
                return record["result"]
            if record["status"] not in WAITING:
                raise RuntimeError(record.get("msg") or record["status"])
            await asyncio.sleep(pause)

    async def save(self, url: str) -> bytes:
        async with self.session.get(url) as response:
            response.raise_for_status()
            return b"".join([part async for part in response.content.iter_chunked(65536)])


async def run(base: str, token: str, texts: list[str], pause: float) -> list[bytes]:
    async with aiohttp.ClientSession() as session:
        studio = Studio(session, base, token)
        voices = [await studio.first_voice(), DOCUMENTED_VOICE]
        videos = []
        for number, text in enumerate(texts):
            audio = await studio.speak(text, voices[number % 2])
            videos.append(await studio.save(await studio.video(text, audio, pause)))
        return videos
