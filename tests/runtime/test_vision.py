"""What the encoder knows reaches the tokens it belongs to, without a map of a whole layer."""

import pytest
import torch

import foveate
from foveate.compress.visionzip import VisionZip
from foveate.errors import UnsupportedError
from foveate.models.family import family_of
from foveate.models.towers import attention_of, layer_of_state
from foveate.runtime import vision
from foveate.runtime.buckets import questions
from foveate.runtime.vision import EncoderWatch, patch_attention
from foveate.runtime.watch_encoding import watch_encoding
from foveate.testing import tiny as make_tiny


@pytest.mark.parametrize("block", [2**22, 1])
@pytest.mark.parametrize("has_class", [True, False])
def test_attention_is_that_of_the_whole_map(monkeypatch, has_class, block):
    monkeypatch.setattr(vision, "BLOCK", block)
    query, key = torch.randn(3, 2, 17, 8), torch.randn(3, 2, 17, 8)
    whole = (query @ key.mT * 0.2).softmax(-1).mean(1)
    expected = whole[:, 0, 1:] if has_class else whole.mean(1)
    torch.testing.assert_close(patch_attention(query, key, 0.2, has_class=has_class), expected)


@pytest.mark.parametrize("block", [2**22, 1])
def test_padding_neither_gives_attention_nor_takes_it(monkeypatch, block):
    monkeypatch.setattr(vision, "BLOCK", block)
    query, key = torch.randn(2, 2, 17, 8), torch.randn(2, 2, 17, 8)
    real = torch.arange(17) < torch.tensor([[11], [17]])
    padded = patch_attention(query, key, 0.2, has_class=False, real=real)
    alone = patch_attention(query[:1, :, :11], key[:1, :, :11], 0.2, has_class=False)
    torch.testing.assert_close(padded[:1, :11], alone)
    assert not padded[0, 11:].any()


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "internvl"])
def test_attention_is_what_the_eager_encoder_computes(family):
    model, inputs = make_tiny(family)
    maps = []
    layer = family_of(model).vision_layer(model.model)
    module = attention_of(layer)
    module.register_forward_hook(lambda _, args, output: maps.append(output[1]))
    handed = handed_to_visionzip(model, inputs)  # under SDPA: no map is made
    assert maps.pop() is None
    model.set_attn_implementation("eager")
    assert torch.allclose(handed_to_visionzip(model, inputs), handed, atol=1e-6)
    whole = maps.pop().mean(1)
    expected = whole.mean(1) if family == "llava_onevision" else whole[:, 0, 1:]
    if family == "llava":  # one token a patch, in the patches' order
        torch.testing.assert_close(handed[None], expected)
    elif family == "internvl":  # one token for 2 x 2 patches
        tiles = expected.view(-1, 4, 2, 4, 2).mean((2, 4)).flatten()
        torch.testing.assert_close(handed, tiles)
    else:  # the base view comes first
        torch.testing.assert_close(handed[:16], expected[0])


# families whose tokens are not patches of one layer, or whose tower is not in the table
UNSEEN = {
    "foveate_compressed", "aria", "deepseek_ocr2", "got_ocr2", "idefics2", "lfm2_vl", "minicpmv4_6",
    "step3p7", "video_llava",
}  # fmt: skip


def handed_to_visionzip(model, inputs) -> torch.Tensor:
    """Attention that a method is handed, of all visual tokens in reading order."""
    seen = {}
    original = EncoderWatch.encoder_signals

    def encoder_signals(self, *args):
        seen.update(original(self, *args))
        return seen

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(EncoderWatch, "encoder_signals", encoder_signals)
        with foveate.reduce(model, foveate.Reduction(before=VisionZip(0.5))):
            model(**inputs)
    return torch.cat(seen["attention"])


def encoded(model, inputs):
    """Modality, arguments and features of the encoding of a prompt with one picture."""
    seen = []

    def watch(modality, encode, arguments):
        output = encode()
        seen[:] = [modality, arguments, output.pooler_output]
        return output

    with torch.no_grad(), watch_encoding(model.model, watch):
        model(**inputs)
    return seen


def test_a_patch_is_known_where_it_is_seen(tiny):
    """Change one patch in the watched layer: the tokens that change are those it is pooled to."""
    model, inputs = tiny
    family, core = family_of(model), model.model
    # tokens are learned or queries, and no patches; or the tower is not in the table
    if family.model_type in UNSEEN:
        with pytest.raises(UnsupportedError, match=r"which vision layer|no vision tower"):
            family.vision_layer(core)
        return
    layer = family.vision_layer(core)
    last = next(getattr(layer, n) for n in ("feed_forward", "mlp", "ffn") if hasattr(layer, n))
    if hasattr(core, "multi_modal_projector"):
        for weight in core.multi_modal_projector.parameters():
            torch.nn.init.normal_(weight)  # some are 0 in a new model
    shapes = []

    def features(change):
        def leave(_, args, output):
            states = output.contiguous().clone()
            shapes.append(states.shape)
            change(states.view(-1, states.shape[-1]))
            return states

        handle = last.register_forward_hook(leave)
        modality, given, pooled = encoded(model, inputs)
        handle.remove()
        return modality, given, pooled

    modality, given, before = features(lambda states: None)
    groups = family.groups(core, modality, given, before)
    has_class = getattr(core.config.vision_config, "model_type", "") in vision.CLASS_TOKEN
    shape = shapes[0] if len(shapes[0]) == 3 else (1, *shapes[0])
    images, rows = shape[0], shape[1]
    patches = rows - has_class
    for patch in range(0, images * patches, max(images * patches // 7, 1)):
        image, place = divmod(patch, patches)
        row = image * rows + place + has_class

        def move(states, row=row):
            states[row] += torch.linspace(-3, 3, states.shape[-1])

        after = features(move)[2]
        moved = [(a != b).any(-1).flatten() for a, b in zip(after, before, strict=True)]
        mark = torch.zeros(images, patches, 1)
        mark[image, place] = 1
        pooled = family.pool_patches_to_tokens(core, modality, given, mark, groups)[:, 0] > 0
        for tokens, came in zip(pooled.split([len(g) for g in groups]), moved, strict=True):
            assert tokens[: len(came)].tolist() == came.tolist()
            assert not tokens[len(came) :].any()  # transformers 5.17 adds the separator afterwards


def test_grids_fill_their_groups(tiny):
    model, inputs = tiny
    family, core = family_of(model), model.model
    modality, given, pooled = encoded(model, inputs)
    groups = family.groups(core, modality, given, pooled)
    if (family.model_type, modality) == ("video_llava", "video"):  # [CLS] is a token of each frame
        with pytest.raises(UnsupportedError, match="a group of 17 tokens is no square grid"):
            family.grids(core, modality, given, groups)
        return
    for grids, group in zip(family.grids(core, modality, given, groups), groups, strict=True):
        assert [rows * columns for rows, columns in grids] == torch.bincount(group).tolist()


def test_the_question_is_the_text_behind_the_picture():
    embeds = torch.arange(12.0).view(2, 6, 1)
    visual = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]).bool()
    valid = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]]).bool()
    first, second = questions(embeds, visual, valid)
    assert first[:, 0].tolist() == [3, 4]
    assert second[:, 0].tolist() == [7, 8, 9]  # none behind: all of it
    with pytest.raises(UnsupportedError, match="a sample has no text"):
        questions(embeds[:1], visual[:1], visual[:1])


def test_a_state_without_a_layer_is_refused():
    layers = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])
    assert layer_of_state(layers, -1) is layers[1]
    assert layer_of_state(layers, -2) is layers[0]
    assert layer_of_state(layers, [0, 1]) is layers[0]
    with pytest.raises(UnsupportedError, match="no vision layer makes hidden state 0"):
        layer_of_state(layers, 0)


def test_heads_that_share_keys_are_attended_alike():
    model, inputs = make_tiny("exaone4_5", "video")
    with torch.no_grad(), foveate.reduce(model, VisionZip(keep=0.5)) as run:
        model(**inputs)
    assert run.report.fired
