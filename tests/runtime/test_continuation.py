"""What goes on from a reduced cache: each layer's mask is of the rows that it holds."""

import torch

import foveate
from foveate.testing import GREEDY, tiny


@torch.no_grad()
def test_layers_with_as_many_rows_hide_their_own_padding():
    model, one = tiny("llava")
    ids = one["input_ids"]
    longer = torch.arange(ids.shape[1] + 8)[None] % 5 + 3  # of text alone, so nothing of it goes
    padded = torch.cat([ids.new_zeros(1, 8), ids], dim=1)
    batch = {
        **one, "input_ids": torch.cat([longer, padded]),
        "attention_mask": torch.cat([torch.ones_like(longer), (padded > 0).long()]),
    }  # fmt: skip
    options = {**GREEDY, "output_logits": True, "return_dict_in_generate": True}
    with foveate.reduce(model, foveate.AIM(1.0, (1, 4))):
        both, alone = (model.generate(**inputs, **options) for inputs in (batch, one))
    state = both.past_key_values.state
    assert len(set(state.lengths)) == 1
    assert len({tuple(part.value[1].tolist()) for part in state.valid}) > 2
    for among, by_itself in zip(both.logits, alone.logits, strict=True):
        torch.testing.assert_close(among[1], by_itself[0], rtol=0, atol=1e-4)
