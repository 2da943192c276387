"""A studio on a tiny pipeline: as an application, in the test's process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

import tiny_pipeline
from malt.pipelines.model_place import ModelPlace
from malt.studio.models import Models
from malt.studio.page_app import create_app
from malt.studio.visitors import Studio
from tiny_server import wait_until

PIPE = tiny_pipeline.pipeline()
DRIVE = tiny_pipeline.pipeline(settings={"action_names": ["steering", "throttle"]}, action_dim=8)
WALK = tiny_pipeline.pipeline(settings={"action_names": ["turn", "walk"]}, action_dim=8)
PIPES = {"tiny": PIPE, "drive": DRIVE, "walk": WALK}


def models() -> Models:
    return Models({name: ModelPlace(folder=Path(name)) for name in PIPES}, lambda place: PIPES[str(place.folder)])


class Page:
    """What a browser does, without one."""

    def __init__(self, client: TestClient, studio: Studio, key: str = "") -> None:
        self.client, self.studio = client, studio
        self.key = key or client.post("/studio/visits").json()["key"]

    def ask(self, what: str, status: int = 200, **body: Any) -> Any:
        answer = self.client.post(f"/studio/{self.key}/{what}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if status == 200 else answer.json()["error"]["message"]

    def begin(self, status: int = 200, **body: Any) -> Any:
        given = {"model": "tiny", "prompt": tiny_pipeline.PROMPT, "frames": 2 * tiny_pipeline.SEGMENT, "seed": 0}
        return self.ask("begin", status, **given | body)

    def made(self, **body: Any) -> "Page":
        """With a take at rest."""
        self.begin(**body)
        return self.rested()

    def rested(self) -> "Page":
        wait_until(lambda: self.scene["state"] == "resting")
        assert self.scene["problem"] == ""
        return self

    @property
    def scene(self) -> Any:
        return self.client.get(f"/studio/{self.key}").json()

    @property
    def take(self) -> Any:
        scene = self.scene
        return next(take for take in scene["takes"] if take["number"] == scene["current"])

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(f"/studio/{self.key}/{path}")
        assert answer.status_code == status, answer.text
        return answer


@contextmanager
def opened(folder: Path, key: str = "", **settings: Any) -> Iterator[Page]:
    """A studio with a first visit, or the one of a key; what is made stays in the folder."""
    studio = Studio(models(), folder, **{"scale": 2} | settings)
    with TestClient(create_app(studio), base_url="http://127.0.0.1") as client:
        yield Page(client, studio, key)
