"""Training of video twins in a script, with one httpx session.

As such scripts do: the answer to the start is read as one object, every HTTP error is fatal, and
after the training the avatar is looked up by the id of the twin.
"""

import time

import httpx


class Trainer:
    def __init__(self, base: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )

    def data(self, response: httpx.Response) -> object:
        response.raise_for_status()
        payload = response.json()
        if payload["code"] != 0:
            raise RuntimeError(payload["message"])
        return payload["data"]

    def train(self, name: str, picture: str, gender: str) -> str:
        body = {"name": name, "gender": gender, "image_url": picture}
        return self.data(self.http.post("/api/v1/userVideoTwin/startTraining", json=body))["_id"]

    def wait(self, twin: str, pause: float) -> dict:
        while True:
            record = self.data(self.http.get(f"/api/v1/userVideoTwin/{twin}"))
            if record["current_status"] == "completed":
                return record
            if record["current_status"] == "failed":
                raise RuntimeError(record.get("failed_message") or record.get("faild_message"))
            time.sleep(pause)

    def anchor(self, twin: str) -> str:
        query = {"user_video_twin_id": twin, "type": "custom"}
        rows = self.data(self.http.get("/api/v1/anchor/character_list", params=query))
        return rows[0]["_id"]


def run(base: str, token: str, pictures: list[str], pause: float) -> list[tuple[str, str]]:
    trainer = Trainer(base, token)
    made = []
    with trainer.http:
        for number, picture in enumerate(pictures):
            twin = trainer.train(f"twin {number}", picture, "female" if number % 2 else "male")
            made.append((trainer.wait(twin, pause)["anchor_id"], trainer.anchor(twin)))
    return made
