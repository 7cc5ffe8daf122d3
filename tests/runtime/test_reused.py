"""A tower that reuses patches is the whole one in which these are as where they were last encoded."""

import pytest
import torch

import foveate
from counted import counted
from foveate import testing
from foveate.compress.visionzip import VisionZip
from foveate.encode.reuse import Reuse
from foveate.errors import UnsupportedError
from foveate.models.clips import clips_of, first_alike
from foveate.models.family import families
from foveate.models.groups import patch_grids
from foveate.models.limits import Limits
from foveate.models.towers import known_tower, tower_layers
from foveate.runtime.watch_encoding import watch_encoding

METHOD = foveate.Reduction(encode=Reuse())
ALL = [c for c in testing.CASES if not Limits.of_config(testing.tiny(*c)[0].config).refusal(METHOD)]
CLIPS = [name for name, modality in ALL if modality == "video"]
VIDEOS = "pixel_values_videos"


def features_of(model, inputs):
    """What `get_image_features` or `get_video_features` returns inside the model's forward."""
    found = []

    def note(modality, encode, arguments):
        found.append(encode())
        return found[-1]

    with watch_encoding(model.model, note), torch.no_grad():
        model(**inputs)
    return torch.cat([entry.flatten(0, -2) for entry in found[-1].pooler_output])


def frames_of(inputs):
    """The pixels of each clip, (F, ..., C) by patch or (F, C, h, w), as views of the inputs."""
    grids = patch_grids("video", inputs)
    if grids is None:
        return list(inputs[VIDEOS])
    clips = inputs[VIDEOS].split(grids.prod(1).tolist())
    return [
        clip.view(steps, -1, *clip.shape[1:])
        for clip, steps in zip(clips, grids[:, 0].tolist(), strict=True)
    ]


def still(inputs, but=()):
    """The same inputs, each clip's frames equal to its first, except in patches that move."""
    inputs = {**inputs, VIDEOS: inputs[VIDEOS].clone()}
    for clip in frames_of(inputs):
        noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
        clip[1:] = clip[:1].clone()
        for frame, place in enumerate(but, 1):
            if clip.dim() == 3:  # by patch
                clip[frame, place : place + 2] = noise[frame, place : place + 2]
            else:
                clip[frame, :, 9:17, place : place + 9] = noise[frame, :, 9:17, place : place + 9]
    return inputs


def twin_features(model, inputs):
    """The slow twin: before and behind each layer of the whole tower, unchanged rows are set to theirs.

    What is unchanged is told from what the first layer is handed, row by row.
    """
    core, source = model.model, []
    grids = patch_grids("video", inputs)
    steps = (
        grids[:, 0].tolist()
        if grids is not None
        else [inputs[VIDEOS].shape[1]] * len(inputs[VIDEOS])
    )
    class_token = known_tower(core).class_token

    def sources(flat, lengths):
        start = 0
        for count, length in zip(steps, lengths, strict=True):
            last = list(range(start, start + length))  # of each place, the row encoded last
            source.extend(last)
            for frame in range(1, count):
                rows = range(start + frame * length, start + (frame + 1) * length)
                changed = [
                    not torch.allclose(flat[a], flat[b], atol=1e-5)
                    for a, b in zip(rows, last, strict=True)
                ]
                changed[0] |= class_token and any(changed)
                last = [
                    row if new else old for row, old, new in zip(rows, last, changed, strict=True)
                ]
                source.extend(last)
            start += count * length

    def enter(module, args):
        states = args[0]
        flat = states.reshape(-1, states.shape[-1])
        one = [states.shape[1]] * len(steps)
        sources(flat, one if grids is None else grids[:, 1:].prod(1).tolist())
        return (flat[source].view_as(states), *args[1:])

    def leave(module, args, output):
        rows = output[0] if isinstance(output, tuple) else output
        whole = rows.reshape(-1, rows.shape[-1])[source].view_as(rows)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    layers = tower_layers(core)
    handles = [layers[0].register_forward_pre_hook(enter)]
    handles += [layer.register_forward_hook(leave, prepend=True) for layer in layers]
    try:
        return features_of(model, inputs), source
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", CLIPS)
def test_it_is_the_whole_tower_with_unchanged_patches_put_back(name):
    model, _ = testing.tiny(name, "video")
    inputs = families()[name].tiny_inputs(model.config, [[("video", 0), ("video", 1)]])
    inputs = still(inputs, but=(1, 4))
    stock = features_of(model, inputs)
    expected, source = twin_features(model, inputs)
    with foveate.reduce(model, METHOD) as run:
        found = features_of(model, inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(stock, expected, atol=1e-5)
    computed = sum(row == place for place, row in enumerate(source)) / len(source)
    share = run.report.encode_flops / run.report.encode_flops_unreduced
    assert 1 / 12 < computed < 0.9
    assert share == pytest.approx(computed, rel=0.1) or "next" in name  # which reads 1 of 2 layers


@pytest.mark.parametrize("name", CLIPS)
def test_equal_frames_have_the_features_of_the_first_for_its_price(name):
    model, inputs = testing.tiny(name, "video")
    inputs = still(inputs)
    stock = features_of(model, inputs)
    with foveate.reduce(model, METHOD) as run:
        found = features_of(model, inputs)
    torch.testing.assert_close(found, stock, rtol=1e-5, atol=1e-6)
    frames = len(frames_of(inputs)[0])
    assert run.report.encode_flops * frames <= run.report.encode_flops_unreduced
    if patch_grids("video", inputs) is None:
        tokens = found[: len(found) // frames * frames].unflatten(0, (frames, -1))
        assert all(torch.equal(frame, tokens[0]) for frame in tokens)


@pytest.mark.parametrize(("name", "modality"), ALL)
def test_a_clip_that_changes_everywhere_is_as_without(name, modality):
    model, inputs = testing.tiny(name, modality)
    stock = features_of(model, inputs)
    with foveate.reduce(model, METHOD):  # which nothing is asked of: no NoEffectError
        assert torch.equal(features_of(model, inputs), stock)


def test_clips_share_nothing_unless_they_are_equal():
    model, _ = testing.tiny("llava_onevision", "video")
    inputs = families()["llava_onevision"].tiny_inputs(
        model.config, [[("video", 0), ("video", 0), ("video", 0)]]
    )
    inputs = still(inputs, but=(1, 4))
    inputs[VIDEOS][1, 2, :, 40:] += 1  # its first frames are those of the first clip
    with foveate.reduce(model, METHOD) as run:
        found = features_of(model, inputs).chunk(3)
    alone = []
    for clip in (0, 1):
        one = families()["llava_onevision"].tiny_inputs(model.config, [[("video", 0)]])
        one[VIDEOS] = inputs[VIDEOS][clip : clip + 1]
        with foveate.reduce(model, METHOD) as run_of_one:
            alone.append((features_of(model, one), run_of_one.report.encode_flops))
    torch.testing.assert_close(found[0], alone[0][0])
    torch.testing.assert_close(found[1], alone[1][0])
    assert torch.equal(found[2], found[0])
    assert run.report.encode_flops == alone[0][1] + alone[1][1]


@pytest.mark.parametrize(
    "name", ["llava_next", "llava_onevision", "internvl", "gemma3", "idefics3"]
)
def test_equal_pictures_are_encoded_once(name):
    model, _ = testing.tiny(name)
    inputs = families()[name].tiny_inputs(model.config, [[("image", 0)], [("image", 0)]])
    pixels = inputs["pixel_values"]
    if pixels.dim() == 5 and pixels.shape[1] > 1:
        pixels[:, 1] = pixels[:, 0]  # a tile that is the base view
    stock, rows = features_of(model, inputs), []
    tower_layers(model.model)[0].register_forward_hook(
        lambda _, args, output: rows.append(args[0].shape[:2].numel())
    )
    features_of(model, inputs)
    with foveate.reduce(model, METHOD):
        found = features_of(model, inputs)
    torch.testing.assert_close(found, stock, rtol=1e-5, atol=1e-6)
    views = pixels.flatten(0, -4)
    assert rows[1] == rows[0] * len(views.flatten(1).unique(dim=0)) // len(views) < rows[0]


def test_layers_behind_the_one_that_is_read_are_passed_by():
    model, inputs = testing.tiny("llava")
    stock, rows = features_of(model, inputs), []
    for layer in tower_layers(model.model):
        layer.mlp.register_forward_hook(lambda _, args, output: rows.append(output.shape[1]))
    with foveate.reduce(model, METHOD) as run:
        assert torch.equal(features_of(model, inputs), stock)
    assert rows == [65, 1]
    assert run.report.fired
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction()):
        model(**inputs)
    assert rows[2:] == [65, 65]


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "llava_next_video"])
def test_what_is_counted_is_what_torch_counts(name):
    model, inputs = testing.tiny(name, "video")
    inputs = still(inputs, but=(1, 4))
    model.set_attn_implementation("eager")  # whose products the counter sees on a CPU
    stock, calls = counted(lambda: features_of(model, inputs)), []
    handles = [
        layer.register_forward_pre_hook(
            lambda layer, args, kwargs: calls.append((layer, args, kwargs)), with_kwargs=True
        )
        for layer in tower_layers(model.model)
    ]
    features_of(model, inputs)
    for handle in handles:
        handle.remove()
    layers = counted(lambda: [layer(*args, **kwargs) for layer, args, kwargs in calls])
    with foveate.reduce(model, METHOD) as run:
        real = counted(lambda: features_of(model, inputs))
    assert run.report.encode_flops_unreduced == pytest.approx(layers, rel=0.02)
    assert run.report.encode_flops == pytest.approx(layers - (stock - real), rel=0.02)
    assert real < 0.9 * stock


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl"])
def test_both_kinds_of_attention_are_rearranged(name, attention):
    model, inputs = testing.tiny(name, "video")
    inputs = still(inputs, but=(1, 4))
    expected, _ = twin_features(model, inputs)
    model.set_attn_implementation(attention)
    with foveate.reduce(model, METHOD):
        torch.testing.assert_close(features_of(model, inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl"])
def test_signals_are_those_of_every_patch(name):
    model, inputs = testing.tiny(name, "video")
    inputs = still(inputs)
    alone = foveate.Reduction(before=VisionZip(keep=0.5))
    with torch.no_grad(), foveate.reduce(model, alone):
        expected = model(**inputs).logits
    with torch.no_grad(), foveate.reduce(model, alone.encoded_by(Reuse())):
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-5)


def test_keys_behind_the_state_that_is_read_are_there():
    model, inputs = testing.tiny("llava")
    published = foveate.AIM.paper("llava-1.5-7b").before
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction(published)):
        expected = model(**inputs).logits
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction(published, encode=Reuse())):
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_it_goes_with_methods_in_all_places_and_leaves_no_trace(name):
    model, inputs = testing.tiny(name, "video")
    frames = len(frames_of(inputs)[0])  # none of which is as another: groups are found by features
    inputs = still(inputs, but=[frame % 6 for frame in range(1, frames)])
    aim = foveate.AIM(keep=0.5, prune=(1, 4))
    with foveate.reduce(model, aim.encoded_by(Reuse())) as run:
        model.generate(**inputs, **testing.GREEDY)
    with foveate.reduce(model, aim) as plain:
        model.generate(**inputs, **testing.GREEDY)
    assert run.report.visual_tokens_by_layer == plain.report.visual_tokens_by_layer
    assert run.report.encode_flops < run.report.encode_flops_unreduced
    testing.check_dropping_is_masking(model, inputs, aim.encoded_by(Reuse()))
    testing.check_no_trace(model, inputs, METHOD)


def test_a_batch_is_its_samples_alone():
    model, _ = testing.tiny("llava_onevision", "video")
    samples = [[("video", 0)], [], [("video", 1), ("image", 2)]]
    reduction = foveate.AIM(keep=0.5, prune=(1, 4)).encoded_by(Reuse(threshold=100))
    testing.check_batch_is_samples_alone(model, samples, reduction, "left")


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl", "qwen2_5_vl"])
def test_a_patch_and_its_pixels_are_found(name):
    """Each row of the tower changes with the pixels that it is said to be made of, and with no others."""
    model, inputs = testing.tiny(name, "video")
    core, modality = model.model, "video"
    (clip,) = clips_of(
        core,
        modality,
        inputs,
        inputs[VIDEOS].flatten(0, -4) if name == "llava_onevision" else inputs[VIDEOS],
    )
    frames, patches, _ = clip.patches.shape
    assert clip.grid[0] * clip.grid[1] == patches
    assert sorted(clip.places.tolist()) == list(range(patches))
    handed = []
    tower_layers(core)[0].register_forward_pre_hook(lambda module, args: handed.append(args[0]))
    features_of(model, inputs)
    changed = {**inputs, VIDEOS: inputs[VIDEOS].clone()}
    row = patches // 3
    place = int(clip.places[row])
    if name == "llava_onevision":
        side = inputs[VIDEOS].shape[-1] // clip.grid[1]
        high, wide = place // clip.grid[1] * side, place % clip.grid[1] * side
        changed[VIDEOS][0, 1, :, high : high + side, wide : wide + side] += 1
    else:
        where = (inputs[VIDEOS] == clip.patches[1, place]).all(1).nonzero()
        changed[VIDEOS][where] += 1
    features_of(model, changed)
    before, after = (states.reshape(frames, patches, -1) for states in handed)
    apart = (before - after).abs().amax(-1) > 1e-6
    assert apart.nonzero().tolist() == [[1, row]]


def test_other_layouts_of_pixels_are_refused():
    model, _ = testing.tiny("llava")
    with pytest.raises(UnsupportedError, match=r"or on a grid, got \(2, 3, 4\)"):
        clips_of(model.model, "image", {}, torch.zeros(2, 3, 4))


def test_alike_is_alike_to_the_bit():
    model, _ = testing.tiny("llava")
    pixels = torch.randn(5, 3, 112, 112)
    pixels[3] = pixels[1]
    pixels[4] = pixels[1].roll(1, dims=1)  # of the same sum, or nearly
    clips = clips_of(model.model, "image", {}, pixels)
    assert first_alike(clips) == [0, 1, 2, 1, 4]


def test_towers_that_do_not_compute_frame_by_frame_are_refused():
    for name, tower in {"mistral3": "pixtral", "lfm2_vl": "siglip2_vision_model"}.items():
        model, _ = testing.tiny(name)
        with pytest.raises(
            UnsupportedError, match=f"a {tower} tower does not compute frame by frame"
        ):
            foveate.reduce(model, METHOD).__enter__()
