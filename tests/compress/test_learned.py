"""What holds of every learned compressor: shapes, gradients, saving, counts, costs, clear errors."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import foveate
from foveate.compress.learned import as_grid, build, learned
from foveate.compress.learned.regions import mean_of_regions, region_grid, regions
from foveate.errors import InputError

NAMES = ("average-pool", "m3", "mqt", "pixel-shuffle", "quecc", "tokenpacker")
KNOBS = {
    "average-pool": {"kernel": 2},
    "m3": {"kernels": [1, 2, 6]},
    "mqt": {"most": 9, "heads": 4},
    "pixel-shuffle": {"kernel": 2},
    "quecc": {"kernel": 2, "heads": 4},
    "tokenpacker": {"kernel": 2, "heads": 4},
}


def make(name: str, grid=(4, 6), **more):
    torch.manual_seed(0)
    widths = {"width": 16, "multi_level_width": 24, "text_width": 10}
    return build(name, grid=grid, **(widths | KNOBS[name] | more))


def given(module, batch=2, grid=(4, 6)):
    torch.manual_seed(1)
    patches = grid[0] * grid[1]
    tensors = {"multi_level": torch.randn(batch, patches, 24), "text": torch.randn(batch, 1, 10)}
    return torch.randn(batch, patches, 16), {n: tensors[n] for n in module.needs}


def test_all_are_found_and_none_is_a_method_without_training():
    assert tuple(learned()) == NAMES
    assert not set(NAMES) & set(foveate.methods())
    assert all(row.summary for row in learned().values())


@pytest.mark.parametrize("name", NAMES)
def test_every_count_it_names_comes_out(name):
    module = make(name)
    patches, more = given(module)
    assert module.counts() == tuple(sorted(module.counts(), reverse=True))
    for count in module.counts():
        assert module(patches, **more, tokens=count).shape == (2, count, 16)
    assert module(patches, **more).shape[1] == module.count() == module.counts()[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_of_another_grid(name):
    module = make(name)
    if name == "mqt":
        assert module.counts((3, 5))[0] == 9
    else:
        assert module.counts((3, 5))[0] == (15 if name == "m3" else 6)
    patches, more = given(module, grid=(3, 5))
    assert module(patches, **more, grid=(3, 5)).shape == (2, module.count((3, 5)), 16)


@pytest.mark.parametrize("name", NAMES)
def test_tiles_do_not_see_each_other(name):
    module = make(name).eval()
    patches, more = given(module, batch=3)
    whole = module(patches, **more)
    alone = [
        module(patches[i : i + 1], **{k: v[i : i + 1] for k, v in more.items()}) for i in range(3)
    ]
    torch.testing.assert_close(whole, torch.cat(alone))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_and_input_gets_a_gradient(name):
    module = make(name)
    patches, more = given(module)
    inputs = [patches, *more.values()]
    for tensor in inputs:
        tensor.requires_grad_()
    module(patches, **more).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in inputs)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_saved_settings_and_weights_make_it_again(name):
    module = make(name).eval()
    patches, more = given(module)
    again = build(name, **module.config.to_dict()).eval()
    assert again.config == module.config
    again.load_state_dict(module.state_dict())
    assert torch.equal(module(patches, **more), again(patches, **more))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16(name):
    module = make(name).to(torch.bfloat16)
    patches, more = given(module)
    made = module(patches.bfloat16(), **{k: v.bfloat16() for k, v in more.items()})
    assert made.dtype == torch.bfloat16
    assert made.isfinite().all()


@pytest.mark.parametrize("name", ["mqt", "pixel-shuffle", "quecc", "tokenpacker"])
def test_the_cost_is_what_torch_counts(name):
    module = make(name).requires_grad_(False)
    patches, more = given(module, batch=1)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(patches, **more)
    assert module.flops() == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_errors_say_what_was_wrong(name):
    module = make(name)
    patches, more = given(module)
    with pytest.raises(InputError, match=f"{name} got 24 patches for a grid of 5 x 5"):
        module(patches, **more, grid=5)
    with pytest.raises(InputError, match="asked for 100"):
        module(patches, **more, tokens=100)
    for missing in module.needs:
        with pytest.raises(InputError, match=f"{name} needs {missing}"):
            module(patches, **{k: v for k, v in more.items() if k != missing})


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("nope", {}, "unknown learned compressor 'nope'; known: average-pool"),
        ("quecc", {"size": 2}, "its settings: grid, width, multi_level_width, text_width, kernel"),
        ("quecc", {"kernel": 0}, "kernel must be at least 1 patch, got 0"),
        ("quecc", {"kernel": 2, "heads": 5}, "heads must divide the width 16, got 5"),
        ("m3", {"kernels": (2, 1)}, "kernels must rise from at least 1"),
        ("mqt", {"most": 0}, "most must be at least 1"),
        ("average-pool", {"kernel": 2, "width": 0}, "width must be at least 1"),
        ("average-pool", {"kernel": 2, "grid": (0, 3)}, "grid must be a number or"),
    ],
)
def test_bad_settings(name, knobs, message):
    widths = {"grid": 4, "width": 16, "multi_level_width": 16, "text_width": 4}
    with pytest.raises(InputError, match=message):
        build(name, **(widths | knobs))


def test_mqt_keeps_the_first_queries():
    module = make("mqt")
    patches, _ = given(module)
    torch.testing.assert_close(module(patches)[:, :3], module(patches, tokens=3))


def test_m3_is_average_pooling_at_each_scale():
    module = make("m3")
    patches, _ = given(module)
    for kernel in (1, 2):
        pool = make("average-pool", kernel=kernel)
        torch.testing.assert_close(module(patches, tokens=pool.count()), pool(patches))
    torch.testing.assert_close(module(patches, tokens=1)[:, 0], patches.mean(1))


@pytest.mark.parametrize(("grid", "kernel"), [((4, 6), 2), ((5, 7), 3), ((2, 3), 4)])
def test_every_patch_is_in_one_region(grid, kernel):
    patches = torch.randn(2, grid[0] * grid[1], 3)
    parts, held = regions(patches, grid, kernel)
    rows, columns = region_grid(as_grid(grid), kernel)
    assert held.sum() == grid[0] * grid[1]
    mean = mean_of_regions(patches, grid, kernel)
    for row in range(rows):
        for column in range(columns):
            inside = [
                r * grid[1] + c
                for r in range(row * kernel, min((row + 1) * kernel, grid[0]))
                for c in range(column * kernel, min((column + 1) * kernel, grid[1]))
            ]
            place = row * columns + column
            assert torch.equal(parts[:, place][:, held[place]], patches[:, inside])
            torch.testing.assert_close(mean[:, place], patches[:, inside].mean(1))


@pytest.mark.parametrize("name", ["quecc", "tokenpacker"])
def test_what_is_carried_is_all_there_is_at_first(name):
    module = make(name, carry=True)
    patches, more = given(module)
    one = patches[:, :1].expand(-1, 24, -1)  # every mean of these is the same
    torch.testing.assert_close(module(one, **more), one[:, : module.count()])
    waiting = {id(p) for p in module.parameters()} - {id(p) for p in module.searching()}
    names = {name for name, p in module.named_parameters() if id(p) in waiting}
    assert names
    assert all("value" in name or "out_proj" in name for name in names)


@pytest.mark.parametrize("name", NAMES)
def test_all_weights_search_where_nothing_is_carried(name):
    module = make(name)
    assert [id(p) for p in module.searching()] == [id(p) for p in module.parameters()]
