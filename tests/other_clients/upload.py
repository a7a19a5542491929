"""Uploads of local files, with http.client.

As such clients do: the object is named after its content, the bytes are sent with the type and
the length that were signed and without the token, and the public URL of the answer is used, after
a HEAD request has shown that the file is there.
"""

import hashlib
import http.client
import json
from urllib.parse import urlsplit


def request(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> tuple:
    parts = urlsplit(url)
    connect = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = connect[parts.scheme](parts.netloc, timeout=60)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def upload(base: str, token: str, content: bytes, kind: str, suffix: str) -> str:
    wanted = {
        "key": f"uploads/{hashlib.sha256(content).hexdigest()[:32]}{suffix}",
        "contentType": kind,
        "contentLength": len(content),
        "expiresIn": 900,
    }
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{base}/api/v1/r2/upload-presigned-url"
    status, _, answer = request("POST", url, json.dumps(wanted).encode(), headers)
    permit = json.loads(answer)
    if status != 200 or permit["code"] != 0:
        raise RuntimeError(permit.get("message"))
    sent = {"Content-Type": kind, "Content-Length": str(len(content))}
    status, _, _ = request("PUT", permit["data"]["uploadUrl"], content, sent)
    if status not in (200, 201, 204):
        raise RuntimeError(f"the upload answered {status}")
    public = permit["data"]["cdnUrl"]
    status, shown, _ = request("HEAD", public, None, {})
    if status != 200 or shown["Content-Type"] != kind:
        raise RuntimeError("the file is not there")
    return public


def run(base: str, token: str, files: list[bytes], kind: str, suffix: str) -> list[str]:
    return [upload(base, token, content, kind, suffix) for content in files]
