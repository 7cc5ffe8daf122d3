"""QueCC: the published module's outputs, a slow twin, and grids and widths beyond the published ones."""

import pytest
import torch
from torch import nn

from foveate.compress.quecc import QueCC, QueCCConfig, convert_reference_state
from foveate.errors import InputError


def published(golden, case: int) -> dict[str, torch.Tensor]:
    prefix = f"case{case}."
    return {k.removeprefix(prefix): v for k, v in golden("quecc").items() if k.startswith(prefix)}


def reference_state(case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix("state."): v for k, v in case.items() if k.startswith("state.")}


@pytest.mark.parametrize("case", range(3))
def test_agrees_with_the_published_module(golden, case):
    data = published(golden, case)
    grid, width, text_width, kernel, _ = data["shape"].tolist()
    module = QueCC(QueCCConfig(grid, width, 4096, text_width, kernel)).eval()
    module.load_state_dict(convert_reference_state(reference_state(data)))
    with torch.no_grad():
        made = module(data["single"], data["multi"].float(), data["text"])
    torch.testing.assert_close(made, data["output"], atol=1e-4, rtol=0)


def test_the_converter_finds_the_module_in_a_whole_checkpoint(golden):
    state = reference_state(published(golden, 2))
    whole = {f"model.mm_projector.0.{name}": value for name, value in state.items()}
    whole["model.embed_tokens.weight"] = torch.zeros(2, 2)
    found, alone = convert_reference_state(whole), convert_reference_state(state)
    assert found.keys() == alone.keys()
    assert all(torch.equal(found[name], alone[name]) for name in found)
    module = QueCC(QueCCConfig(12, 32, 4096, 40, 6))
    assert found.keys() == module.state_dict().keys()


def test_the_converter_says_what_is_missing(golden):
    state = reference_state(published(golden, 2))
    with pytest.raises(InputError, match="has no weights of k_proj"):
        convert_reference_state({k: v for k, v in state.items() if not k.startswith("k_proj")})
    with pytest.raises(InputError, match=r"one tensor named q_downsample.weight, got 0"):
        convert_reference_state({"model.weight": torch.zeros(1)})


def slow(module: QueCC, patches, levels, text, rows: int, columns: int) -> torch.Tensor:
    """One region at a time, in loops, from the module's weights."""
    kernel, tokens = module.config.kernel, []
    queries = patches + module.text(text)
    queries = module.query(queries)
    keys, values = module.find.key(levels), module.find.value(levels)
    for top in range(0, rows, kernel):
        for left in range(0, columns, kernel):
            pooled = module.pool.bias.clone().expand(len(patches), -1)
            inside = []
            for down in range(kernel):
                for across in range(kernel):
                    row, column = top + down, left + across
                    if row < rows and column < columns:
                        inside.append(row * columns + column)
                    edge = min(row, rows - 1) * columns + min(column, columns - 1)
                    pooled = pooled + queries[:, edge] * module.pool.weight[:, 0, down, across]
            found, _ = module.find.attention(pooled[:, None], keys[:, inside], values[:, inside])
            tokens.append(found[:, 0])
    return torch.stack(tokens, 1)


@pytest.mark.parametrize(
    ("grid", "kernel"), [((6, 6), 2), ((4, 6), 2), ((5, 7), 3), ((3, 4), 4), ((3, 2), 1)]
)
def test_agrees_with_loops_on_any_grid(grid, kernel):
    torch.manual_seed(0)
    rows, columns = grid
    module = QueCC(QueCCConfig(grid, 12, 20, 9, kernel, heads=3))
    nn.init.normal_(module.pool.weight)
    patches, levels = torch.randn(2, rows * columns, 12), torch.randn(2, rows * columns, 20)
    text = torch.randn(2, 1, 9)
    made = module(patches, levels, text)
    assert made.shape[1] == module.count() == -(-rows // kernel) * -(-columns // kernel)
    torch.testing.assert_close(made, slow(module, patches, levels, text, rows, columns))


def test_the_question_changes_the_tokens_and_each_tile_has_its_own():
    torch.manual_seed(0)
    module = QueCC(QueCCConfig(4, 16, 16, 8, 4))
    patches = torch.randn(1, 16, 16).expand(2, -1, -1)
    text = torch.randn(2, 1, 8)
    both = module(patches, patches, text)
    assert not torch.allclose(both[0], both[1])
    torch.testing.assert_close(both[1:], module(patches[1:], patches[1:], text[1:]))


@pytest.mark.parametrize("carry", [True, False])
def test_several_questions_of_a_tile_are_each_as_if_alone(carry):
    torch.manual_seed(0)
    module = QueCC(QueCCConfig((5, 4), 16, 24, 10, 3, 4, carry)).eval()
    patches, levels, text = torch.randn(2, 20, 16), torch.randn(2, 20, 24), torch.randn(2, 3, 10)
    made = module(patches, levels, text)
    alone = [module(patches, levels, text[:, place : place + 1]) for place in range(3)]
    assert made.shape == (2, 3 * 4, 16)
    torch.testing.assert_close(made, torch.cat(alone, dim=1))


def test_contrast_takes_off_what_questions_share():
    torch.manual_seed(0)
    plain = QueCC(QueCCConfig(4, 16, 16, 8, 4)).eval()
    module = QueCC(QueCCConfig(4, 16, 16, 8, 4, contrast=True))
    module.load_state_dict(plain.state_dict(), strict=False)
    patches, text = torch.randn(50, 16, 16), 5 + 0.1 * torch.randn(50, 1, 8)
    for _ in range(200):  # until the running numbers are those of this batch
        trained = module(patches, patches, text)
    mean, deviation = text.mean(0), text.var(0, correction=0)
    expected = plain(patches, patches, (text - mean) / (deviation + 1e-5).sqrt())
    torch.testing.assert_close(trained, expected)
    torch.testing.assert_close(module.eval()(patches, patches, text), expected, atol=0.02, rtol=0)
    same = patches[:1].expand(50, -1, -1)
    vague, sharp = (one(same, same, text).var(0).mean() for one in (plain, module))
    assert sharp > 4 * vague


def test_contrast_of_one_question_is_to_those_before():
    torch.manual_seed(0)
    module = QueCC(QueCCConfig(4, 16, 16, 8, 4, contrast=True))
    patches, text = torch.randn(1, 16, 16), torch.randn(1, 1, 8)
    module(patches.expand(6, -1, -1), patches.expand(6, -1, -1), torch.randn(6, 1, 8))
    torch.testing.assert_close(
        module(patches, patches, text), module.eval()(patches, patches, text)
    )


def test_without_a_question_it_has_no_place_for_one():
    module = QueCC(QueCCConfig(4, 16, 16, 0, 2))
    assert module.needs == ("multi_level",)
    assert not any(name.startswith("text") for name in module.state_dict())
    assert module(torch.randn(1, 16, 16), torch.randn(1, 16, 16)).shape == (1, 4, 16)
