"""Laws of the captions of `passage`."""

from malt.worlds.passage.captions import Caption, Named, describe, vocabulary
from malt.worlds.passage.scenes import COLOURS, KINDS, PLACES, SIZES, WALLS, Scenes, sample_scenes

NUM = 300


def many() -> tuple[Scenes, list[Caption]]:
    scenes = sample_scenes(NUM, seed=0)
    return scenes, [describe(scenes, n, seed=n) for n in range(NUM)]


def properties(scenes: Scenes, index: int, lane: int) -> dict[str, str]:
    return {
        "kind": KINDS[int(scenes.kind[index, lane])],
        "colour": tuple(COLOURS)[int(scenes.colour[index, lane])],
        "size": tuple(SIZES)[int(scenes.size[index, lane])],
    }


def fits(named: Named, truth: dict[str, str]) -> bool:
    return all(said in (None, truth[name]) for name, said in vars(named).items())


def test_a_caption_names_only_what_is_there() -> None:
    scenes, captions = many()
    for n, caption in enumerate(captions):
        lanes = [properties(scenes, n, lane) for lane in (0, 1)]
        if len(caption.shapes) == 1:
            assert any(fits(caption.shapes[0], lane) for lane in lanes)
        else:  # the upper lane first
            assert all(fits(named, lane) for named, lane in zip(caption.shapes, lanes, strict=False))
        assert caption.wall in (None, tuple(WALLS)[int(scenes.wall[n])])
        assert caption.place in (None, tuple(PLACES)[int(scenes.place[n])])


def test_a_caption_leaves_a_random_part_open() -> None:
    _, captions = many()
    assert {len(caption.shapes) for caption in captions} == {0, 1, 2}
    for name in ("kind", "colour", "size"):
        said = [getattr(shape, name) is not None for caption in captions for shape in caption.shapes]
        assert 0.1 < sum(said) / len(said) < 0.95
    for name in ("wall", "place"):
        said = [getattr(caption, name) is not None for caption in captions]
        assert 0.2 < sum(said) / len(said) < 0.8


def test_the_sentence_says_what_the_caption_knows_it_names() -> None:
    _, captions = many()
    for caption in captions:
        words = caption.text.split()
        named = [said for shape in caption.shapes for said in vars(shape).values()] + [caption.wall]
        assert all(said in words for said in named if said is not None)
        unnamed = {*KINDS, *COLOURS, *SIZES, *WALLS}.difference(filter(None, named))
        assert not unnamed.intersection(words)


def test_the_same_seed_gives_the_same_caption() -> None:
    scenes = sample_scenes(2, seed=0)
    assert describe(scenes, 1, seed=5) == describe(scenes, 1, seed=5)
    assert len({describe(scenes, 1, seed=seed) for seed in range(20)}) > 5


def test_the_vocabulary_holds_every_word_and_no_word_that_is_never_used() -> None:
    _, captions = many()
    assert {word for caption in captions for word in caption.text.split()} == set(vocabulary())


def test_sentences_read_like_sentences() -> None:
    red, blue = Named(kind="circle", colour="red", size="big"), Named(colour="blue")
    assert Caption(shapes=(red, blue), wall="brick", place="night").text == (
        "a big red circle and a blue shape pass behind a brick wall at night"
    )
    assert Caption(shapes=(red,)).text == "a big red circle passes behind a wall"
    assert Caption(action=False, place="desert").text == "two shapes in the desert"
