"""Laws of the table of GPUs."""

import pytest

from malt.errors import UsageError
from malt.training.planning.gpus import ASSUMED_UTILISATION, GPUS, parse_gpus


def test_gpus_are_named_with_how_many_there_are() -> None:
    assert (parse_gpus("H100:8").gpu, parse_gpus("H100:8").count) == (GPUS["h100"], 8)
    assert parse_gpus("4090").count == 1
    assert str(parse_gpus("a100:2")) == "2 x a100"


def test_twice_the_gpus_take_half_the_time() -> None:
    assert parse_gpus("h100:2").seconds(1e18) == parse_gpus("h100").seconds(1e18) / 2
    assert parse_gpus("h100").seconds(989e12 * ASSUMED_UTILISATION) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("h10", "there is no GPU 'h10' in the table, did you mean 'h100'; choose one of 3090, "),
        ("", "there is no GPU '' in the table; choose one of"),
        ("h100:none", "--gpus cannot be 'h100:none'; give a GPU and how many of it, as h100:8"),
        ("h100:0", "--gpus cannot be 'h100:0'; give a GPU"),
    ],
)
def test_what_is_no_gpu_is_refused_in_a_sentence(words: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_gpus(words)
    assert str(refused.value).startswith(sentence)
