"""Laws of the precision: bfloat16 only where the device has units for it, and said so."""

from pathlib import Path

import pytest
import torch

import tiny_pipeline
from malt import precision
from malt.commands.model_options import compute_in
from malt.precision import choose_precision, cpu_features, describe_precision, has_bfloat16
from malt.sessions.session import Session


def a_cpu_with(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True), raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        (("avx2", "fma3"), False),
        (("avx2", "avx512_f", "avx512_vnni"), False),
        (("avx512_f", "avx512_bf16"), True),
        (("avx512_f", "amx_bf16"), True),
        (("neon", "dot"), False),
        (("neon", "bf16"), True),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_with_units_for_it(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], fast: bool
) -> None:
    a_cpu_with(monkeypatch, *features)
    assert has_bfloat16("cpu") == fast
    assert choose_precision("auto", "cpu") == (torch.bfloat16 if fast else torch.float32)


def test_a_feature_that_is_named_but_not_there_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, "avx2": True}, raising=False)
    assert not has_bfloat16("cpu")


def test_without_onednn_nothing_uses_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    a_cpu_with(monkeypatch, "amx_bf16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bfloat16("cpu")


def test_an_older_pytorch_leaves_the_question_to_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    assert cpu_features() == frozenset()
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert "avx512_bf16" in cpu_features()


def test_what_is_named_is_taken_whatever_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    a_cpu_with(monkeypatch, "avx2")
    assert choose_precision("bfloat16", "cpu") == torch.bfloat16
    a_cpu_with(monkeypatch, "amx_bf16")
    assert choose_precision("float32", "cpu") == torch.float32


def test_a_slow_choice_is_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    a_cpu_with(monkeypatch, "avx2")
    assert describe_precision(torch.float32, "cpu") == "float32; this cpu has no bfloat16 units"
    assert "--precision float32 is many times faster" in describe_precision(torch.bfloat16, "cpu")
    a_cpu_with(monkeypatch, "amx_bf16")
    assert describe_precision(torch.bfloat16, "cpu") == "bfloat16; this cpu has bfloat16 units"


def test_another_word_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="precision is 'half'; choose auto, float32 or bfloat16"):
        choose_precision("half", "cpu")


def test_a_model_of_ours_computes_in_the_numbers_that_were_asked_for() -> None:
    exact, half = tiny_pipeline.pipeline(), tiny_pipeline.pipeline()
    compute_in(half, "bfloat16")
    assert {half.components["transformer"].dtype, half.vae.dtype} == {
        torch.bfloat16
    } and half.text_encoder.dtype == torch.float32
    expected, made = (Session.begin(pipe, tiny_pipeline.PROMPT).advance().frames for pipe in (exact, half))
    assert made.dtype == torch.float32 and 0 < (made - expected).abs().mean() < 0.05
