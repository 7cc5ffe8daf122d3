"""How the model starts: small, stock, and looking at what is alike."""

import torch
from transformers import LlavaOnevisionForConditionalGeneration

from foveate.scenes.sample import CHARACTERS, COLOUR_NAMES
from recipes.foveate_mini import align
from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import token_ids


def test_the_shipped_shape_is_stock_and_small(processor):
    model = build(MiniShape(), token_ids(processor.tokenizer), seed=0)
    assert type(model) is LlavaOnevisionForConditionalGeneration
    assert sum(p.numel() for p in model.parameters()) < 6_000_000
    assert len(model.model.language_model.layers) == 8


def test_a_head_starts_by_scoring_its_like_highest(processor):
    attention = build(MiniShape(), token_ids(processor.tokenizer), 0).model.language_model.layers[0]
    attention = attention.self_attn
    tokens = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        query = attention.q_proj(tokens).view(64, 4, 32)
        key = attention.k_proj(tokens).view(64, 2, 32)
        for head in range(4):
            scores = query[:, head] @ key[:, head // 2].T
            assert (scores.argmax(-1) == torch.arange(64)).float().mean() > 0.95
            values = attention.v_proj(tokens)[:, 32 * (head // 2) : 32 * (head // 2) + 32]
            out = values @ attention.o_proj.weight[:, 32 * head : 32 * head + 32].T
            assert torch.cosine_similarity(out, tokens).mean() > 0.3


def test_names_give_half_to_the_character_and_half_to_the_colour(processor):
    characters, colours = align.names(processor.tokenizer)
    assert characters.shape[0] == len(CHARACTERS)
    assert colours.shape[0] == len(COLOUR_NAMES)
    for table in (characters, colours):
        torch.testing.assert_close(table.sum(1), torch.full((len(table),), 0.5))
        assert torch.equal((table @ table.T > 0), torch.eye(len(table), dtype=torch.bool))


def test_alignment_lowers_its_loss_and_is_kept(fresh, processor, tmp_path):
    recipe = align.AlignRecipe(steps=6, batch=2, warmup=1, peak=1e-2)
    first, again = fresh(), fresh()
    tables = align.names(processor.tokenizer)
    before = align.loss_of(first, tables, 0, recipe).item()
    align.train(first, processor.tokenizer, recipe, tmp_path)
    assert align.loss_of(first, tables, 0, recipe).item() < before
    align.train(again, processor.tokenizer, recipe, tmp_path)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
