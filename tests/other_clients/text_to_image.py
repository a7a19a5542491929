"""A thread pool of text-to-image jobs with the standard library alone.

As scripts of this kind do: the first record of a list, or the record itself; any failed poll ends
the job; the images are fetched without the token.
"""

import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

START = "/api/v1/userText2Image/start"
DETAIL = "/api/v1/userText2Image/"


def call(base: str, token: str, path: str, body: object = None) -> object:
    request = urllib.request.Request(base + path)
    request.add_header("Authorization", "Bearer " + token)
    if body is not None:
        request.data = json.dumps(body).encode("utf-8")
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=120) as response:  # raises for 4xx and 5xx
        envelope = json.loads(response.read().decode("utf-8"))
    if envelope.get("code") != 0:
        raise RuntimeError(envelope.get("message") or envelope.get("msg") or "unknown error")
    return envelope["data"]


def make_image(base: str, token: str, prompt: str, pause: float) -> bytes:
    body = {
        "name": prompt[:30],
        "prompt": prompt,
        "model_type": "a2e",
        "width": 768,
        "height": 1024,
        "max_images": 1,
    }
    record = call(base, token, START, body)
    if isinstance(record, list):
        record = record[0]
    task_id = record.get("_id") or record.get("id") or record.get("task_id")
    while record.get("current_status") != "completed":
        if record.get("current_status") == "failed":
            raise RuntimeError(record.get("failed_message"))
        time.sleep(pause)
        record = call(base, token, DETAIL + task_id)
    with urllib.request.urlopen(record["image_urls"][0], timeout=60) as image:
        return image.read()


def run(base: str, token: str, prompts: list[str], pause: float) -> list[bytes]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda prompt: make_image(base, token, prompt, pause), prompts))
