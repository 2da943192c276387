"""Laws of a step's cost: what is planned from shapes is what a real step takes."""

from itertools import accumulate

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import tiny_pipeline
from malt.codecs.malt import MaltCodec
from malt.models.attention import MaltAttention
from malt.models.autoencoder import AutoencoderMalt
from malt.models.positions import kept_rotation
from malt.training.config import TransformerSize
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer, DenoisingObjective
from malt.training.objectives.objective import Objective
from malt.training.pipeline_export import build_captioned
from malt.training.planning.step_cost import GpuAttnProcessor, as_planned, as_sharded, measure_step, planned
from malt.training.planning.transformer_plan import PlannedExamples
from tiny_examples import asked

CODEC = MaltCodec(AutoencoderMalt(channels=(4, 8, 8)))
SIZE = TransformerSize(num_layers=1, num_attention_heads=2, memory="hierarchical", segment_frames=2)
EXAMPLES = PlannedExamples(latent_size=(16, 8, 8), caption="a red circle")
UNROLL = asked(batch_size=2, num_segments=3, denoise_segments=1, bptt_segments=1, caption_dropout=0.0)


def captioned(device: str, checkpointing: bool = False) -> CaptionedTransformer:
    with torch.device(device):
        module = build_captioned(SIZE, ("a", "red", "circle"), CODEC).train()
    if checkpointing:
        tiny_pipeline.network(module).enable_gradient_checkpointing()
    return module


def learning(module: CaptionedTransformer, objective: Objective, dtype: torch.dtype) -> DenoisingObjective:
    return DenoisingObjective(module, EXAMPLES, (Stage(until=1, objectives=(objective,)),), 0, dtype)


def real(
    objective: Objective = UNROLL, dtype: torch.dtype = torch.float32, checkpointing: bool = False
) -> DenoisingObjective:
    """A step with numbers; in half precision its attention is, too, as on a GPU."""
    module = captioned("cpu", checkpointing)
    for part in module.modules():
        if isinstance(part, MaltAttention):
            part.processor = GpuAttnProcessor()
    return learning(module, objective, dtype)


@pytest.mark.parametrize(("dtype", "checkpointing"), [(torch.float32, False), (torch.bfloat16, True)])
def test_a_planned_step_costs_what_a_real_one_does(dtype: torch.dtype, checkpointing: bool) -> None:
    measured = measure_step(real(UNROLL, dtype, checkpointing))
    module = captioned("meta", checkpointing)
    with planned():
        as_planned(module)
        found = measure_step(learning(module, UNROLL, dtype))
    assert found.flops == measured.flops
    assert found.kept == pytest.approx(measured.kept, rel=0.01)
    assert found.peak == pytest.approx(measured.peak, rel=0.02)


def test_the_operations_are_those_that_pytorch_counts() -> None:
    """By its kernel of plain matrix products, for which PyTorch has all formulas."""
    learner = real()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner.loss(0)[0].backward()
    learner.module.zero_grad()
    with sdpa_kernel(SDPBackend.MATH):
        assert measure_step(learner).flops == counter.get_total_flops()
    assert measure_step(learner).flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_attention_counts_on_a_processor_too() -> None:
    """PyTorch's own counter leaves out its kernel for processors."""
    learner = real()
    with FlopCounterMode(display=False) as counter:
        learner.loss(0)[0].backward()
    learner.module.zero_grad()
    assert measure_step(learner).flops > counter.get_total_flops()


def test_what_is_kept_is_what_autograd_saves() -> None:
    learner = real()
    weights = {p.untyped_storage().data_ptr() for p in learner.module.parameters()}
    saved = dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = learner.loss(0)[0]
    loss.backward()
    learner.module.zero_grad()
    assert measure_step(learner).kept == pytest.approx(sum(saved.values()), rel=0.05)


def test_the_peak_is_what_the_allocator_gives_out() -> None:
    learner = real()
    learner.loss(0)[0].backward()  # what is made once, such as tables of positions
    learner.module.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        learner.loss(0)[0].backward()
    learner.module.zero_grad()
    assert profiler.profiler is not None
    changes = [event.nbytes() for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert measure_step(learner).peak == pytest.approx(max(accumulate(changes)), rel=0.05)


def test_a_sharded_step_keeps_neither_gradients_nor_weights_in_two_precisions() -> None:
    costs = []
    for sharded in (False, True):
        module = captioned("meta", checkpointing=True)
        with planned():
            as_planned(module)
            if sharded:
                as_sharded(module, torch.bfloat16)
            costs.append(measure_step(learning(module, UNROLL, torch.bfloat16)))
    assert costs[0].flops == costs[1].flops
    assert costs[0].kept - costs[1].kept > sum(p.numel() for p in tiny_pipeline.network(captioned("meta")).parameters())


def test_nothing_planned_is_left_for_what_is_real() -> None:
    module = captioned("meta")
    with planned():
        as_planned(module)
        measure_step(learning(module, UNROLL, torch.float32))
    assert kept_rotation.cache_info().currsize == 0
    assert isinstance(real().loss(0)[0].item(), float)
