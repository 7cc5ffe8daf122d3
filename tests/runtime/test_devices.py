"""A reduction makes its tensors where the model is; shown on a pretended GPU, which needs none."""

import pytest
import torch

import foveate
from foveate import testing
from foveate.combine.aim import AIM
from foveate.models.family import families
from pretend import GPU, There, numbers, pretend

REDUCTION = AIM(0.5, (1, 4))
METHODS = {name: method.build for name, method in foveate.methods().items()}
STEPS = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}


def logits(model, inputs, reduction):
    with torch.no_grad(), testing.reduce(model, reduction) as run:
        out = model.generate(**inputs, **STEPS, output_logits=True, return_dict_in_generate=True)
    return torch.stack(out.logits), run.report


@pytest.mark.parametrize(("name", "modality"), testing.CASES)
def test_a_family_is_reduced_where_it_is(name, modality):
    model, _ = testing.tiny(name)
    samples = [[(modality, 0)], [(modality, 1), (modality, 2)]]
    inputs = families()[name].tiny_inputs(model.config, samples)
    here, report = logits(model, inputs, REDUCTION)
    with pretend() as there:
        gone, other = logits(there(model), there(inputs), REDUCTION)
    assert gone.device == GPU
    # not to the bit: experts are computed in another way than on a CPU
    torch.testing.assert_close(numbers(gone), here, rtol=0, atol=1e-6)
    assert other.samples == report.samples


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_runs_where_its_tensors_are(name):
    model, inputs = testing.tiny("llava_onevision", "video")
    here, _ = logits(model, inputs, METHODS[name]())
    with pretend() as there:
        gone, _ = logits(there(model), there(inputs), METHODS[name]())
    assert torch.equal(numbers(gone), here)


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl"])
def test_the_contract_can_be_asked_there(name):
    model, _ = testing.tiny(name)
    with pretend() as there:
        model = there(model)
        samples = [[("image", 0), ("image", 1)], [("image", 2)]]
        drawn = families()[name].tiny_inputs(model.config, samples)
        testing.check_groups(model, testing.beside(model, drawn))
        inputs = testing.beside(model, families()[name].tiny_inputs(model.config, samples[1:]))
        testing.check_dropping_is_masking(model, inputs, REDUCTION)
        testing.check_batch_is_samples_alone(model, [[("image", 0)], []], REDUCTION)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there: there + torch.ones(3),
        lambda there: torch.cat([there, torch.ones(2, 3)]),
        lambda there: there.gather(1, torch.zeros(2, 1).long()),
        lambda there: torch.ones(3)[there[0].long()],
        lambda there: there.index_add_(0, torch.tensor([0]), there[:1]),
        lambda there: there.index_put_((torch.tensor([0]),), torch.ones(3)),
        lambda there: torch.nn.functional.scaled_dot_product_attention(
            there, there, torch.ones(2, 3)
        ),
    ],
)
def test_what_is_pretended_refuses_what_a_gpu_would(mixed):
    with pretend() as there, pytest.raises(RuntimeError, match="must be on one device"):
        mixed(there(torch.zeros(2, 3)))


def test_what_is_pretended_allows_what_a_gpu_would():
    with pretend() as there:
        made = there(torch.zeros(2, 3))
        for value in (
            made + torch.tensor(1.0),
            made[torch.tensor([1])],
            made[:, [0, 2]],
            made.new_ones(2),
            torch.ones(2, device=made.device),
            torch.tensor([made[0, 0], 1.0], device=made.device),
            made.copy_(torch.ones(2, 3)),
        ):
            assert isinstance(value, There)
            assert value.device == GPU
        assert made.tolist() == [[1.0] * 3] * 2
        assert made.cpu().device == torch.device("cpu")
