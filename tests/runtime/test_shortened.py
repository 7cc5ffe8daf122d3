"""A vision tower that computes fewer rows computes what the whole one does of patches that are alike."""

from itertools import pairwise

import pytest
import torch

import foveate
from foveate import testing
from foveate.compress.visionzip import VisionZip
from foveate.encode.tome import ToMeEncoder
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import families
from foveate.models.limits import Limits
from foveate.models.towers import known_tower, tower_layers
from foveate.runtime.watch_encoding import watch_encoding

METHOD = ToMeEncoder(keep=0.6, step=0.25)


def short_tower(case):
    """Whether a family's tower can be shortened, as its model is asked too."""
    limits = Limits.of_config(testing.tiny(*case)[0].config)
    return not limits.refusal(foveate.Reduction(encode=METHOD))


CASES = [
    (*case, layer)
    for case in testing.CASES
    if short_tower(case)
    for layer in (0, 1)
    if not layer or ("next" not in case[0] and case[0] != "llava")  # read one layer of their two
]


def features_of(model, inputs):
    """What `get_image_features` or `get_video_features` returns inside the model's forward."""
    found = []

    def note(modality, encode, arguments):
        found.append((modality, arguments, encode()))
        return found[-1][2]

    with watch_encoding(model.model, note), torch.no_grad():
        model(**inputs)
    modality, arguments, output = found[-1]
    return modality, arguments, torch.cat([e.flatten(0, -2) for e in output.pooler_output])


def spans_of(call, packed, has_class):
    """The rows of each picture or window, one list each."""
    states = next(iter(call.values()))
    rows = states.numel() // states.shape[-1]
    if call.get("cu_seqlens") is not None:
        ends = call["cu_seqlens"].tolist()
    elif packed is not None:
        ends = [sum(packed[:n]) for n in range(len(packed) + 1)]
    else:
        ends = list(range(0, rows + 1, states.shape[1]))
    skip = int(has_class)
    return [list(range(a + skip, b)) for a, b in pairwise(ends)]


def twin_features(model, inputs, method):
    """The slow twin: the whole tower, of patches that are as the token is that each was merged into."""
    core = model.model
    family = families()[model.config.model_type]
    modality, arguments, _ = features_of(model, inputs)
    packed = family.packed(core, modality, arguments)
    like = []  # for each row the one whose place its token has

    def enter(module, args, kwargs):
        names = type(module).forward.__code__.co_varnames[1:]
        call = {**dict(zip(names, args, strict=False)), **kwargs}
        states = next(iter(call.values()))
        if not like:
            flat = states.reshape(-1, states.shape[-1]).clone()
            like[:] = range(len(flat))
            for span in spans_of(call, packed, known_tower(core).class_token):
                tokens = method(flat[None, span])
                for row, token in zip(span, tokens.source[0].tolist(), strict=True):
                    flat[row] = tokens.features[0, token]
                    like[row] = span[int(tokens.position[0, token])]
            args = (flat.view_as(states), *args[1:])
        if "position_embeddings" in kwargs:
            turned = (part[..., like, :] for part in kwargs["position_embeddings"])
            kwargs = {**kwargs, "position_embeddings": tuple(turned)}
        return args, kwargs

    handles = [
        layer.register_forward_pre_hook(enter, with_kwargs=True)
        for layer in tower_layers(core)[method.layer :]
    ]
    try:
        return features_of(model, inputs)[2]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(("name", "modality", "layer"), CASES)
def test_it_is_the_whole_tower_of_patches_that_are_alike(name, modality, layer):
    model, _ = testing.tiny(name, modality)
    inputs = families()[name].tiny_inputs(model.config, [[(modality, 0), (modality, 1)]])
    method = ToMeEncoder(keep=0.6, step=0.25, layer=layer)
    stock = features_of(model, inputs)[2]
    expected = twin_features(model, inputs, method)
    with foveate.reduce(model, foveate.Reduction(encode=method)):
        found = features_of(model, inputs)[2]
    assert not torch.allclose(stock, expected, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_of_both_kinds_weighs_by_size(attention):
    model, inputs = testing.tiny("llava")
    expected = twin_features(model, inputs, METHOD)
    model.set_attn_implementation(attention)
    with foveate.reduce(model, foveate.Reduction(encode=METHOD)):
        torch.testing.assert_close(features_of(model, inputs)[2], expected, rtol=1e-4, atol=1e-5)


def test_layers_compute_fewer_rows_and_hooks_leave_no_trace():
    model, inputs = testing.tiny("llava")
    rows = []
    for layer in tower_layers(model.model):
        layer.mlp.register_forward_hook(lambda _, args, output: rows.append(output.shape[1]))
    testing.check_no_trace(model, inputs, foveate.Reduction(encode=METHOD))
    rows.clear()
    with foveate.reduce(model, foveate.Reduction(encode=METHOD)), torch.no_grad():
        model(**inputs)
    assert rows == [1 + 39, 1]  # [CLS] and 60 % of 64 patches; and a layer that nobody reads


def test_a_model_that_ran_before_is_shortened_alike():
    model, inputs = testing.tiny("llava_next")
    with foveate.reduce(model, foveate.Reduction(encode=METHOD)):
        first = features_of(model, inputs)[2]
    features_of(model, inputs)  # installs the hooks that record hidden states
    with foveate.reduce(model, foveate.Reduction(encode=METHOD)):
        assert torch.equal(features_of(model, inputs)[2], first)


@pytest.mark.parametrize("name", ["llava", "llava_onevision", "qwen2_5_vl"])
def test_signals_are_those_of_every_patch(name):
    """With nothing merged, what a method before the LLM sees is unchanged; with much, it still fits."""
    model, inputs = testing.tiny(name)
    alone = foveate.Reduction(before=VisionZip(keep=0.5))
    with torch.no_grad(), foveate.reduce(model, alone) as run:
        expected = model(**inputs).logits
    short = alone.encoded_by(ToMeEncoder(keep=0.999, step=0.5))
    merged = alone.encoded_by(METHOD)
    with torch.no_grad(), foveate.reduce(model, short):
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad(), foveate.reduce(model, merged) as both:
        model(**inputs)
    assert both.report.visual_tokens_to_llm == run.report.visual_tokens_to_llm


def test_it_goes_with_methods_in_all_places():
    model, inputs = testing.tiny("llava_onevision", "video")
    aim = foveate.AIM(keep=0.5, prune=(1, 4))
    with foveate.reduce(model, aim.encoded_by(METHOD)) as run:
        tokens = model.generate(**inputs, **testing.GREEDY)
    with foveate.reduce(model, aim) as plain:
        model.generate(**inputs, **testing.GREEDY)
    assert tokens.shape[1] == inputs["input_ids"].shape[1] + 20
    assert run.report.visual_tokens_by_layer == plain.report.visual_tokens_by_layer
    assert run.report.encode_flops < run.report.encode_flops_unreduced
    testing.check_dropping_is_masking(model, inputs, aim.encoded_by(METHOD))


def test_a_batch_is_its_samples_alone():
    model, _ = testing.tiny("llava_next")
    samples = [[("image", 0)], [], [("image", 1), ("image", 2)]]
    reduction = foveate.AIM(keep=0.5, prune=(1, 4)).encoded_by(METHOD)
    testing.check_batch_is_samples_alone(model, samples, reduction, "left")


def test_what_cannot_be_shortened_is_refused():
    model, _ = testing.tiny("llava")
    with pytest.raises(InputError, match="one of the 1 layers of this vision encoder whose"):
        foveate.reduce(model, foveate.Reduction(encode=ToMeEncoder(layer=1))).__enter__()
    model, _ = testing.tiny("got_ocr2")
    with pytest.raises(UnsupportedError, match=r"not known of a \w+ tower; known: "):
        foveate.reduce(model, foveate.Reduction(encode=METHOD)).__enter__()
    model, _ = testing.tiny("llava")
    model.config.vision_feature_layer = 0
    with pytest.raises(UnsupportedError, match="reads the vision encoder's embeddings"):
        foveate.reduce(model, foveate.Reduction(encode=METHOD)).__enter__()


def test_keys_before_the_projector_are_those_of_every_patch():
    model, inputs = testing.tiny("llava")
    published = foveate.AIM.paper("llava-1.5-7b").before
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction(published, encode=METHOD)) as run:
        model(**inputs)
    assert run.report.visual_tokens_to_llm == [28]  # 252 of 576, as without it
