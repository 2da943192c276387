"""Laws of reading one's own videos: what is found in a folder, and frames as a stream."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malt.data.clips import VideoClips
from malt.data.decoded_frames import decode_videos
from malt.data.video_folder import find_videos, shared_actions
from malt.errors import UsageError
from malt.media.actions_csv import read_actions
from malt.media.prefetch import prefetch
from malt.media.video_reader import BrokenVideoError, look_at, read_video
from tiny_videos import STEP, grey, write_actions, write_video


def shown(path: Path, **settings: object) -> list[int]:
    """Which frame each frame that is read shows."""
    batches = list(read_video(path, **settings))  # type: ignore[arg-type]
    return [round(float(frame.mean()) / STEP) for batch in batches for frame in batch.pixels]


def sources(path: Path, **settings: object) -> list[int]:
    return [int(n) for batch in read_video(path, **settings) for n in batch.sources]  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".avi", ".mov", ".mkv", ".gif"])
def test_every_frame_of_every_format_is_read_in_its_order(tmp_path: Path, ending: str) -> None:
    path = write_video(tmp_path / f"video{ending}", 10)
    batches = list(read_video(path, (16, 16), batch=4))
    assert [batch.pixels.shape for batch in batches] == [(4, 16, 16, 3), (4, 16, 16, 3), (2, 16, 16, 3)]
    assert sources(path, batch=4) == list(range(10))
    levels = [float(frame.mean()) for batch in batches for frame in batch.pixels]
    assert np.allclose(levels, [grey(n) for n in range(10)], atol=18 if ending == ".gif" else 4)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".avi", ".mov", ".mkv", ".gif"])
def test_its_own_rate_takes_every_frame_of_every_format_once(tmp_path: Path, ending: str) -> None:
    assert sources(write_video(tmp_path / f"video{ending}", 12, rate=10), fps=10.0) == list(range(12))


def test_another_rate_takes_what_is_shown_at_its_instants(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 12, rate=8)
    assert sources(path, fps=8.0) == list(range(12))
    assert sources(path, fps=4.0) == [0, 2, 4, 6, 8, 10]
    assert sources(path, fps=16.0)[:7] == [0, 0, 1, 1, 2, 2, 3]
    assert len(sources(path, fps=16.0)) == 24
    assert sources(path, fps=6.0) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert shown(path, fps=4.0) == [0, 2, 4, 6, 8, 10]


def test_frames_are_covered_and_cropped_and_never_stretched(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    folder = tmp_path / "film"
    folder.mkdir()
    Image.fromarray(wide).save(folder / "1.png")
    [batch] = read_video(folder, (4, 4))
    assert batch.pixels.shape == (1, 4, 4, 3)
    assert (batch.pixels == 200).all()


def test_a_folder_of_pictures_is_a_video_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    for n in range(12):
        Image.new("RGB", (8, 8), (grey(n),) * 3).save(tmp_path / f"frame{n}.png")
    assert shown(tmp_path) == list(range(12))
    assert look_at(tmp_path) == (None, 12)
    [video] = find_videos(tmp_path)
    assert video.path == tmp_path


def test_what_is_broken_is_said_where_it_breaks(tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_bytes(b"only words")
    with pytest.raises(BrokenVideoError, match=r"words\.mp4 is not a video that can be read"):
        next(read_video(tmp_path / "words.mp4"))
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(BrokenVideoError, match=r"2\.png is not a picture"):
        list(read_video(tmp_path))


@pytest.mark.parametrize("ending", [".webm", ".mkv"])
def test_a_video_that_was_cut_off_is_not_taken_for_a_shorter_one(tmp_path: Path, ending: str) -> None:
    whole = write_video(tmp_path / f"video{ending}", 40)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(BrokenVideoError, match=r"is cut off after \d+ frames, \d\.\d of its 5\.0 seconds"):
        list(read_video(whole))


def test_a_last_picture_that_is_held_is_no_cut(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (16, 16), (grey(n),) * 3) for n in range(4)]
    pictures[0].save(tmp_path / "held.gif", save_all=True, append_images=pictures[1:], duration=[100, 100, 100, 5000])
    assert sources(tmp_path / "held.gif") == [0, 1, 2, 3]


def test_videos_are_found_however_deep_with_what_was_said_of_them(tmp_path: Path) -> None:
    first, second, tenth = (write_video(tmp_path / name, 2) for name in ("a/clip2.mp4", "b/c/x.gif", "a/clip10.mp4"))
    (tmp_path / "a/clip2.txt").write_text("a red  car\nturns left\n")
    (tmp_path / "notes.md").write_text("no video")
    videos = find_videos(tmp_path)
    assert [video.path for video in videos] == [first, tenth, second]
    assert [video.name for video in videos] == ["a/clip2.mp4", "a/clip10.mp4", "b/c/x.gif"]
    assert [video.caption for video in videos] == ["a red car turns left", "", ""]
    assert [video.name for video in find_videos(first)] == ["clip2.mp4"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.csv", 'file,caption\na/x.mp4,"one, two"\n'),
        ("captions.jsonl", '{"file": "a/x.mp4", "caption": "one, two"}\n\n'),
        ("captions.json", '[{"file": "a/x.mp4", "caption": "one, two"}]'),
        ("metadata.csv", 'file_name,text\nx.mp4,"one, two"\n'),
        ("captions.csv", "File, Caption\na/x.mp4,one, two\n"),
        ("captions.csv", "\ufefffile,prompt\na/x.mp4,one, two\n"),
        ("captions.jsonl", '\ufeff{"file": "a/x.mp4", "caption": "one, two"}\n'),
    ],
)
def test_captions_may_stand_in_a_table(tmp_path: Path, name: str, content: str) -> None:
    video = write_video(tmp_path / "a/x.mp4", 2)
    video.with_suffix(".txt").write_text("overruled")
    (tmp_path / name).write_text(content)
    assert [video.caption for video in find_videos(tmp_path)] == ["one, two"]


def test_captions_may_be_a_list_beside_a_list_of_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "films" / name, 2)
    (tmp_path / "videos.txt").write_text("films/b.mp4\nfilms/a.mp4\n")
    (tmp_path / "prompts.txt").write_text("the second, twice\nthe first\n")
    assert [video.caption for video in find_videos(tmp_path)] == ["the first", "the second, twice"]
    (tmp_path / "prompts.txt").write_text("only one\n")
    with pytest.raises(UsageError, match="has 1 caption and videos.txt beside it names 2 videos"):
        find_videos(tmp_path)


@pytest.mark.parametrize("ending", [".txt", ".TXT", ".caption"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_captions_beside_a_video_are_read_as_editors_write_them(tmp_path: Path, ending: str, encoding: str) -> None:
    write_video(tmp_path / "A.mp4", 2)
    (tmp_path / f"A{ending}").write_text("sks car\r\n", encoding=encoding)
    assert [video.caption for video in find_videos(tmp_path)] == ["sks car"]


def test_a_comma_that_leaves_it_open_what_the_caption_is_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", 2)
    (tmp_path / "captions.csv").write_text("caption,file\nhello, world,x.mp4\n")
    with pytest.raises(UsageError, match="has 3 cells in line 2 and 2 columns; put a caption with a comma in quotes"):
        find_videos(tmp_path)


def test_what_is_left_out_is_told_of_by_kinds(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", 2)
    for name in ("a.zip", "deep/b.zip", "c.pdf", "notes.md", "x.txt", "typed.ts", "still.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words")
    told = list[str]()
    assert [video.name for video in find_videos(tmp_path, log=told.append)] == ["x.mp4"]
    left_out, captions = told
    assert left_out.startswith("left out 5 files of other kinds: 2 .zip, ")
    assert all(f"1 {kind}" in left_out for kind in (".pdf", ".ts", ".webp"))
    assert captions == "videos with captions: 1 of 1"


def test_names_that_are_no_utf_8_are_written_so_that_all_can_read_them(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", 2).rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    [video] = find_videos(tmp_path)
    assert video.name == "caf\\xe9.mp4"
    assert sources(video.path) == [0, 1]
    assert look_at(video.path).num_frames == 2


def test_a_folder_that_cannot_be_read_is_told_of_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "open/x.mp4", 2)
    (tmp_path / "shut").mkdir()
    allowed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "shut":
            raise PermissionError(13, "Permission denied")
        return allowed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    told = list[str]()
    assert [video.name for video in find_videos(tmp_path, log=told.append)] == ["open/x.mp4"]
    assert told[0] == f"left out the folder {tmp_path / 'shut'}, which cannot be read (Permission denied)"
    with pytest.raises(UsageError, match="shut cannot be read"):
        find_videos(tmp_path / "shut")


def test_captions_that_match_nothing_or_lack_a_column_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "films/x.mp4", 2)
    table = tmp_path / "table.csv"
    table.write_text("file,caption\ny.mp4,words\n")
    with pytest.raises(UsageError, match="name none of 1 video under"):
        find_videos(tmp_path / "films", table)
    table.write_text("name,caption\nx.mp4,words\n")
    with pytest.raises(UsageError, match="give every row the columns file and caption"):
        find_videos(tmp_path / "films", table)
    with pytest.raises(UsageError, match="there is no file"):
        find_videos(tmp_path / "films", tmp_path / "none.csv")


def test_captions_for_videos_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", 2)
    (tmp_path / "captions.csv").write_text("file,caption\nx.mp4,words\ny.mp4,more\nz,others\n")
    told = list[str]()
    assert [video.caption for video in find_videos(tmp_path, log=told.append)] == ["words"]
    sentence, of_all = told
    assert of_all == "videos with captions: 1 of 1; captions.csv (columns file and caption) was read"
    assert sentence.endswith("captions.csv has captions for what is not there, 2 videos such as y.mp4")


def test_a_link_that_leads_in_a_circle_is_walked_once(tmp_path: Path) -> None:
    write_video(tmp_path / "films/x.mp4", 2)
    (tmp_path / "films/again").symlink_to("..")
    assert [video.name for video in find_videos(tmp_path)] == ["films/x.mp4"]


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no videos"):
        find_videos(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        find_videos(tmp_path / "nowhere")


def test_actions_are_a_row_a_frame_and_the_same_ones_everywhere(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_actions(write_video(tmp_path / name, 3), 3)
    actions = read_actions(tmp_path / "a.actions.csv")
    assert actions.names == ("steering", "throttle")
    assert actions.values.tolist() == [[0, 0], [1, -1], [2, -2]]
    assert shared_actions(find_videos(tmp_path)) == ("steering", "throttle")
    write_actions(tmp_path / "b.mp4", 3, header="steering,brake")
    with pytest.raises(UsageError, match="give all the same"):
        shared_actions(find_videos(tmp_path))
    (tmp_path / "b.actions.csv").unlink()
    with pytest.raises(UsageError, match="1 of 2 videos have no actions, such as b.mp4"):
        shared_actions(find_videos(tmp_path))


@pytest.mark.parametrize("content", ["steering\n1\nnan\n", "steering\n1,2\n", "steering\nleft\n"])
def test_a_row_that_is_not_numbers_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UsageError, match=r"a\.csv, line \d: .* is not 1 numbers"):
        read_actions(tmp_path / "a.csv")


def test_clips_are_decided_by_the_step_and_are_frames_of_one_video_in_their_order(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 20)
    write_video(tmp_path / "b.mp4", 12, start=120)
    write_video(tmp_path / "short.mp4", 3)
    told: list[str] = []
    clips = VideoClips.open(tmp_path, (16, 16), 4, log=told.append)
    assert told == ["videos with captions: 0 of 3", "left out 1 video of fewer than 4 frames"]
    drawn = clips(5, 64)
    assert drawn.shape == (64, 4, 3, 16, 16)
    assert drawn.min() >= -1 and drawn.max() <= 1
    assert (drawn == clips(5, 64)).all()
    assert not (drawn == clips(6, 64)).all()
    levels = (drawn.mean(dim=(2, 3, 4)) + 1) * 127.5
    assert ((levels.diff(dim=1) - STEP).abs() < 3).all()
    assert {round(float(level) / STEP) for level in levels[:, 0]} == {*range(17), *range(20, 29)}


def test_held_out_clips_are_of_other_videos_or_of_the_end_of_the_only_one(tmp_path: Path) -> None:
    for n in range(4):
        write_video(tmp_path / f"{n}.mp4", 8, start=60 * n)
    learned, held_out = VideoClips.open(tmp_path, (16, 16), 4).split(every=2)
    assert (len(learned.videos), len(held_out.videos)) == (2, 2)
    assert held_out.spread(6).shape == (6, 4, 3, 16, 16)
    assert (held_out.spread(6) == held_out.spread(6)).all()
    learned, held_out = VideoClips.open(tmp_path / "0.mp4", (16, 16), 4).split()
    assert (len(learned.videos[0]), len(held_out.videos[0])) == (4, 4)


def test_frames_past_the_bound_go_to_a_file_that_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        write_video(tmp_path / f"films/{n}.mp4", 6)
    (tmp_path / "films/1broken.mp4").write_bytes(b"only words")
    videos, kept, told = find_videos(tmp_path / "films"), tmp_path / "kept", list[str]()
    whole = decode_videos(videos, (16, 16), log=told.append)
    assert len(told) == 1 and "1broken.mp4" in told[0]
    mapped = decode_videos(videos, (16, 16), folder=kept, memory_bound=7 * 16 * 16 * 3, log=told.append)
    assert isinstance(mapped["0.mp4"], np.memmap)
    assert list(whole) == list(mapped) == ["0.mp4", "1.mp4", "2.mp4"]
    assert all((whole[name] == mapped[name]).all() for name in whole)
    monkeypatch.setattr("malt.data.decoded_frames.read_video", None)
    again = decode_videos(videos, (16, 16), folder=kept)
    assert all((whole[name] == again[name]).all() for name in whole)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="give a folder to keep frames in"):
        decode_videos(videos, (16, 16), memory_bound=100, log=told.append)
    with pytest.raises(UsageError, match="none of 1 video can be read"):
        decode_videos([video for video in videos if "broken" in video.name], (16, 16), log=told.append)


def test_clips_longer_than_every_video_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 4)
    with pytest.raises(UsageError, match="no video has the 8 frames of a clip"):
        VideoClips.open(tmp_path, (16, 16), 8)


def test_running_ahead_keeps_order_is_bounded_and_hands_errors_on() -> None:
    made = list[int]()

    def count() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n
            if n == 50:
                raise BrokenVideoError("fifty")

    ahead = prefetch(count(), depth=3)
    assert [next(ahead) for _ in range(10)] == list(range(10))
    assert len(made) <= 10 + 3 + 2
    with pytest.raises(BrokenVideoError, match="fifty"):
        list(ahead)
