"""Laws of OpenAI's own client on a server of ours: every call of its video API works, and is exact."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI, omit
from PIL import Image

import tiny_pipeline
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.sessions.session import Session
from malt.sessions.timeline import Timeline
from tiny_server import served, service
from tiny_uploads import film, picture

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
PIPE = tiny_pipeline.pipeline(settings={"num_inference_steps": 1})
SEGMENT, PROMPT, OTHER = tiny_pipeline.SEGMENT, tiny_pipeline.PROMPT, "a blue square at night"
SIDE = f"{tiny_pipeline.SIDE}x{tiny_pipeline.SIDE}"
RATE = 8


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    of = service(tmp_path_factory.mktemp("data"), {"pixels": 1}, pipe=PIPE, token="secret", aliases=["sora-2"])
    with served(of) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)


def made(client: OpenAI, video: Any) -> Any:
    done = client.videos.poll(video.id, poll_interval_ms=20)
    assert done.status == "completed", done
    return done


def content(client: OpenAI, video: Any) -> bytes:
    return client.videos.download_content(made(client, video).id).read()


def of(video: Any, **more: Any) -> dict[str, Any]:
    """How a video of the server is named: as `video={"id": ...}`, which this client's types allow and its check refuses."""
    return {"video": omit, "extra_body": {"video": {"id": video.id}} | more}


def alone(folder: Path, prompts: Any, num_frames: int, seed: int) -> bytes:
    """What a session by itself would have made."""
    with VideoSink(folder / "alone.mp4", frame_rate=RATE, overwrite=True) as sink:
        for segment in Session.begin(PIPE, prompts, seed=seed).stream(num_frames):
            sink.write(to_pixels(segment.frames[0, : num_frames - segment.start]))
    return (folder / "alone.mp4").read_bytes()


@pytest.fixture(scope="module")
def video(client: OpenAI) -> Any:
    asked: dict[str, Any] = {"model": "sora-2", "size": "1280x720", "seconds": "2", "extra_body": {"seed": 5}}
    return made(client, client.videos.create(prompt=PROMPT, **asked))


def test_a_video_is_made_polled_and_downloaded_in_all_variants(client: OpenAI, video: Any, tmp_path: Path) -> None:
    assert (video.object, video.progress, video.seconds, video.prompt) == ("video", 100, "2", PROMPT)
    assert client.videos.retrieve(video.id) == video
    size = tuple(map(int, video.size.split("x")))
    settings = {"width": size[0], "height": size[1]}
    with VideoSink(tmp_path / "alone.mp4", frame_rate=RATE) as sink:
        for segment in Session.begin(PIPE, PROMPT, seed=5, **settings).stream(16):  # type: ignore[arg-type]
            sink.write(to_pixels(segment.frames[0]))
    assert client.videos.download_content(video.id, variant="video").read() == (tmp_path / "alone.mp4").read_bytes()
    for variant in ("thumbnail", "spritesheet"):
        image = Image.open(io.BytesIO(client.videos.download_content(video.id, variant=variant).read()))
        assert image.format == ("WEBP" if variant == "thumbnail" else "JPEG") and image.width >= size[0]


def test_videos_are_listed_in_both_orders_page_by_page(client: OpenAI, video: Any) -> None:
    other = made(client, client.videos.create(prompt=OTHER, seconds="1"))  # type: ignore[arg-type]
    rising = [each.id for each in client.videos.list(order="asc", limit=1)]
    assert rising.index(video.id) < rising.index(other.id)
    assert [each.id for each in client.videos.list(limit=1)] == rising[::-1]
    assert client.videos.delete(other.id).deleted
    with pytest.raises(NotFoundError, match="there is no such video"):
        client.videos.retrieve(other.id)


def test_models_are_listed_by_each_of_their_names(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "sora-2"]
    assert client.models.retrieve("sora-2").id == "sora-2"


def test_an_extension_begins_with_the_whole_video_and_goes_on_exactly(client: OpenAI, tmp_path: Path) -> None:
    for length in (2 * SEGMENT, 2 * SEGMENT + 3):  # the last segment of the second is shown in part
        asked: dict[str, Any] = {"seed": 7, "num_frames": length, "size": SIDE}
        short = made(client, client.videos.create(prompt=PROMPT, extra_body=asked))
        longer = client.videos.extend(prompt=OTHER, seconds="2", **of(short))  # type: ignore[arg-type]
        prompts = Timeline(((0, PROMPT), (length, OTHER)))
        assert content(client, longer) == alone(tmp_path, prompts, length + 16, 7)
        assert (made(client, longer).seconds, longer.remixed_from_video_id) == (f"{(length + 16) / RATE:g}", short.id)


def test_an_edit_is_the_same_up_to_its_frame_and_then_another(client: OpenAI, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"seed": 7, "num_frames": 4 * SEGMENT, "size": SIDE}
    whole = made(client, client.videos.create(prompt=PROMPT, extra_body=asked))
    edited = client.videos.edit(prompt=OTHER, **of(whole, frame=2 * SEGMENT + 1))
    prompts = Timeline(((0, PROMPT), (2 * SEGMENT, OTHER)))
    assert content(client, edited) == alone(tmp_path, prompts, 4 * SEGMENT, 7)
    from_the_start = client.videos.edit(prompt=OTHER, **of(whole))
    remix = client.videos.remix(whole.id, prompt=OTHER)
    assert content(client, remix) == content(client, from_the_start) == alone(tmp_path, OTHER, 4 * SEGMENT, 7)
    again = client.videos.edit(prompt=PROMPT, **of(edited, frame=2 * SEGMENT))
    assert content(client, again) == alone(tmp_path, PROMPT, 4 * SEGMENT, 7)
    with pytest.raises(Exception, match="the ways cannot part at frame 999; give one from 0 to 32"):
        client.videos.edit(prompt=OTHER, **of(whole, frame=999))


def test_pictures_and_videos_are_sent_begun_with_extended_and_edited(client: OpenAI) -> None:
    begun = client.videos.create(prompt=PROMPT, input_reference=("a.png", picture()), seconds="2")  # type: ignore[arg-type]
    longer = client.videos.extend(prompt=OTHER, video=("a.mp4", film(24)), seconds="1")  # type: ignore[arg-type]
    changed = client.videos.edit(prompt=OTHER, video=("a.mp4", film(24)), extra_body={"frame": 12})
    assert [made(client, each).status for each in (begun, longer, changed)] == ["completed"] * 3


def test_a_character_is_kept_and_remembered_by_the_videos_that_name_it(client: OpenAI, video: Any) -> None:
    character = client.videos.create_character(name="the circle", video=("circle.mp4", film(20), "video/mp4"))
    assert character.name == "the circle"
    assert character.id
    assert client.videos.get_character(character.id).to_dict() == character.to_dict()
    asked: dict[str, Any] = {"seed": 3, "num_frames": 2 * SEGMENT}
    named: dict[str, Any] = {"extra_body": asked | {"characters": [{"id": character.id}]}}
    remembering = client.videos.create(prompt=PROMPT, **named)
    plain = content(client, client.videos.create(prompt=PROMPT, extra_body=asked))
    assert content(client, remembering) == content(client, client.videos.create(prompt=PROMPT, **named)) != plain
    assert content(client, client.videos.remix(remembering.id, prompt=PROMPT)) == content(client, remembering)
    with pytest.raises(NotFoundError, match="there is no such character"):
        client.videos.create(prompt=PROMPT, extra_body=asked | {"characters": [{"id": video.id}]})


def test_a_character_without_a_video_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="neither a picture nor a video"):
        client.videos.create_character(name="nobody", video=b"nothing")


def test_a_wrong_key_is_told_apart(address: str) -> None:
    with pytest.raises(AuthenticationError, match="give the server's token"):
        OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).videos.list()
