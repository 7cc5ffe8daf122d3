"""A compressed model is a checkpoint like any other, and its question is the prompt's own."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

import foveate
from foveate.compress.learned import learned
from foveate.errors import InputError
from foveate.models.compressed import CompressedProcessor, with_compressor
from foveate.models.compressed.processor import current_question
from foveate.models.compressed.question import question_flops, question_vectors
from foveate.scenes import make
from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import build_processor, token_ids

SHAPE = MiniShape(width=32, tower_layers=2, tower_heads=2, layers=4, head=16, key_value_heads=1)
KNOBS = {
    "average-pool": {"kernel": 6},
    "m3": {"kernels": [6, 12]},
    "mqt": {"most": 4},
    "pixel-shuffle": {"kernel": 6},
    "quecc": {"kernel": 6},
    "tokenpacker": {"kernel": 6},
}
QUESTIONS = ("how many digits are there?", "what colour is the 7?", "read the number.")


@pytest.fixture(scope="module")
def stock():
    """(model, processor): a random foveate-mini, smaller."""
    processor = build_processor()
    return build(SHAPE, token_ids(processor.tokenizer), seed=0).eval(), processor


def compressed(stock, name="quecc", query="embedding", views="base"):
    torch.manual_seed(0)
    model = with_compressor(
        stock[0],
        compressor={"name": name, **KNOBS[name]},
        multi_level_layers=[1, 2],
        query_encoding=query if name == "quecc" else "none",
        views=views,
    ).eval()
    model.generation_config.pad_token_id = 0
    return model, CompressedProcessor.of(stock[1], model.config)


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_a_compressor_keeps_its_own_first_weights(stock, gain, tmp_path):
    def first(model):
        return model.model.compressor.pool.weight, model.model.compressor.text[1].weight

    described = {"name": "quecc", "kernel": 6, "text_gain": gain}
    model = with_compressor(
        stock[0], compressor=described, multi_level_layers=[1, 2], query_encoding="embedding"
    )
    pool, text = first(model)
    assert torch.equal(pool, torch.full_like(pool, 1 / 36))
    assert torch.equal(text, torch.full_like(text, gain))
    with torch.no_grad():
        pool += 1
        text += 1
    model.save_pretrained(tmp_path)
    for kept, found in zip((pool, text), first(type(model).from_pretrained(tmp_path)), strict=True):
        assert torch.equal(kept, found)


def picture(index=0):
    return make("reasoning", "train", index).images()[0]


def chat(question, *kinds):
    content = [{"type": kind} for kind in kinds] + [{"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def inputs_of(processor, questions=QUESTIONS[:1], **more):
    prompts = [
        processor.apply_chat_template(chat(q, "image"), add_generation_prompt=True)
        for q in questions
    ]
    images = [[picture(i)] for i in range(len(questions))]
    return processor(text=prompts, images=images, padding=True, return_tensors="pt", **more)


@pytest.mark.parametrize("name", learned())
def test_a_checkpoint_is_read_back_by_the_auto_classes(stock, name, tmp_path):
    model, processor = compressed(stock, name)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    reader = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert type(reader) is type(processor)
    assert AutoConfig.from_pretrained(tmp_path).compressor == {"name": name, **KNOBS[name]}
    with torch.no_grad():
        expected = model(**inputs_of(processor)).logits
        assert torch.equal(again(**inputs_of(reader)).logits, expected)
    answer = foveate.load(tmp_path).ask(picture(), QUESTIONS[0], max_new_tokens=3)
    assert answer.report.visual_tokens_in == [4]


def test_only_the_compressor_is_new(stock):
    model, _ = compressed(stock)
    ours, theirs = model.state_dict(), stock[0].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {n.split(".")[1] for n in set(ours) - set(theirs)} == {"compressor"}


@pytest.mark.parametrize("query", ["llm", "embedding"])
def test_a_batch_is_its_samples_alone_whatever_the_padding(stock, query):
    model, processor = compressed(stock, query=query)
    for side in ("left", "right"):
        processor.tokenizer.padding_side = side
        batch = inputs_of(processor, QUESTIONS)
        with torch.no_grad():
            logits = model(**batch).logits
            for row, question in enumerate(QUESTIONS):
                prompt = processor.apply_chat_template(
                    chat(question, "image"), add_generation_prompt=True
                )
                alone = processor(text=[prompt], images=[[picture(row)]], return_tensors="pt")
                kept = batch["attention_mask"][row].bool()
                torch.testing.assert_close(
                    logits[row][kept], model(**alone).logits[0], atol=1e-4, rtol=1e-4
                )
    processor.tokenizer.padding_side = "left"


def test_generate_in_a_batch_with_beams_and_turns(stock):
    model, processor = compressed(stock, query="llm")
    batch = inputs_of(processor, QUESTIONS)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    both = model.generate(**batch, **options)[:, -4:]
    for row, question in enumerate(QUESTIONS):
        prompt = processor.apply_chat_template(chat(question, "image"), add_generation_prompt=True)
        alone = processor(text=[prompt], images=[[picture(row)]], return_tensors="pt")
        assert torch.equal(model.generate(**alone, **options)[0, -4:], both[row])
    assert model.generate(**batch, **options, num_beams=2).shape[0] == 3


def test_the_vector_of_a_question(stock):
    language, tokenizer = stock[0].model.language_model, stock[1].tokenizer
    for side in ("left", "right"):
        tokenizer.padding_side = side
        rows = tokenizer(list(QUESTIONS), padding=True, return_tensors="pt")
        arguments = rows["input_ids"], rows["attention_mask"]
        for row, question in enumerate(QUESTIONS):
            ids = torch.tensor([tokenizer(question)["input_ids"]])
            with torch.no_grad():
                last = language(input_ids=ids).last_hidden_state[0, -1]
                mean = language.get_input_embeddings()(ids)[0].mean(0)
                made = question_vectors(language, "llm", *arguments)[row]
                cheap = question_vectors(language, "embedding", *arguments)[row]
            torch.testing.assert_close(made, last, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(cheap, mean)
    tokenizer.padding_side = "left"


def test_the_question_is_the_last_user_message():
    talk = [
        *chat("what colour is the 7?", "image"),
        {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
        {"role": "user", "content": "and the ASSISTANT: 3?"},
    ]
    assert current_question(talk) == "and the ASSISTANT: 3?"
    assert current_question(talk[:2]) == "what colour is the 7?"
    assert current_question([{"role": "system", "content": "be brief"}]) == ""


def test_both_ways_of_templating_bring_the_question(stock):
    _, processor = compressed(stock)
    talk = [{"role": "user", "content": [
        {"type": "image", "image": picture()}, {"type": "text", "text": QUESTIONS[1]}]}]  # fmt: skip
    whole = processor.apply_chat_template(
        talk, add_generation_prompt=True, tokenize=True, return_dict=True,
        processor_kwargs={"return_tensors": "pt"},
    )  # fmt: skip
    prompt = processor.apply_chat_template(talk, add_generation_prompt=True)
    parts = processor(text=[prompt], images=[[picture()]], return_tensors="pt")
    plain = processor(
        text=[str.__str__(prompt) + ""], images=[[picture()]], question=QUESTIONS[1],
        return_tensors="pt",
    )  # fmt: skip
    assert whole.keys() == parts.keys() == plain.keys()
    for name in parts:
        assert torch.equal(whole[name], parts[name])
        assert torch.equal(plain[name], parts[name])
    assert processor.tokenizer.decode(parts["query_ids"][0]) == QUESTIONS[1]


def test_another_question_makes_other_tokens(stock):
    model, processor = compressed(stock)
    inputs = inputs_of(processor, QUESTIONS[1:2])
    other = inputs_of(processor, QUESTIONS[2:])
    encode = model.model.get_image_features
    names = ("query_ids", "query_mask", "image_sample")
    with torch.no_grad():
        pixels = {"pixel_values": inputs["pixel_values"], "image_sizes": inputs["image_sizes"]}
        one = encode(**pixels, **{n: inputs[n] for n in names}).pooler_output[0]
        two = encode(**pixels, **{n: other[n] for n in names}).pooler_output[0]
    assert (one - two).norm() > 1e-3 * one.norm()


@pytest.mark.parametrize(("views", "count"), [("base", [4, 4, 4]), ("all", [8, 4, 4])])
def test_tiles_several_images_and_samples_without_any(stock, views, count):
    model, processor = compressed(stock, views=views)
    talks = [chat("one?", "image"), chat("none?"), chat("two?", "image", "image")]
    prompts = processor.apply_chat_template(talks, add_generation_prompt=True)
    images = [[picture(0)], [], [picture(1), picture(2)]]
    inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
    assert inputs["image_sample"].tolist() == [0, 2, 2]
    rows = (inputs["input_ids"] == model.config.image_token_id).sum(1).tolist()
    assert rows == [count[0], 0, sum(count[1:])]
    with torch.no_grad():
        whole = model(**inputs).logits
        prompt = processor.apply_chat_template(talks[2], add_generation_prompt=True)
        alone = processor(text=[prompt], images=images[2:], return_tensors="pt")
        expected = model(**alone).logits[0, -1]
    torch.testing.assert_close(whole[2, -1], expected, atol=1e-4, rtol=1e-4)


def test_a_clip_is_compressed_frame_by_frame(stock):
    model, processor = compressed(stock, query="llm")
    prompt = processor.apply_chat_template(chat("first?", "video"), add_generation_prompt=True)
    frames = np.stack([np.asarray(picture(n)) for n in range(5)])
    inputs = processor(text=[prompt], videos=[frames], do_sample_frames=False, return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.video_token_id).sum()) == 5 * 4
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()
        with foveate.reduce(model, foveate.AIM(0.5, (1, 3))) as run:
            model(**inputs)
    assert run.report.visual_tokens_by_layer == [[10, 10, 5, 0]]


def test_elastic_compressors_take_the_count_at_the_call(stock):
    for name, count in (("mqt", 3), ("m3", 1)):
        model, processor = compressed(stock, name)
        inputs = inputs_of(processor, QUESTIONS, visual_tokens=count)
        rows = (inputs["input_ids"] == model.config.image_token_id).sum(1)
        assert rows.tolist() == [count] * 3
        assert model.generate(**inputs, max_new_tokens=2).shape[0] == 3
        with pytest.raises(InputError, match="visual_tokens must be one of"):
            inputs_of(processor, visual_tokens=99)


def test_the_question_is_charged_once(stock):
    texts = {}
    for query in ("llm", "embedding"):
        model, processor = compressed(stock, query=query)
        inputs = inputs_of(processor, [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]])
        lengths = [len(processor.tokenizer(q)["input_ids"]) for q in QUESTIONS[:2]]
        expected = sum(question_flops(model.config.text_config, query, n) for n in lengths)
        with torch.no_grad(), foveate.reduce(model, foveate.AIM(1.0, (1, 3))) as run:
            first = model(**inputs).logits
            again = model(**inputs).logits
        assert torch.equal(first, again)
        charged, known = run.reports
        assert (charged.question_flops, known.question_flops) == (expected, 0)
        assert charged.prefill_flops - known.prefill_flops == expected
        assert charged.prefill_flops_unreduced - known.prefill_flops_unreduced == expected
        assert charged.visual_tokens_by_layer == [[4, 4, 2, 0]] * 3
        assert [sample.question_flops > 0 for sample in charged.samples] == [True, True, False]
        texts[query] = expected
    assert texts["llm"] > 1000 * texts["embedding"]


def test_a_known_question_is_asked_anew_once_the_weights_change(stock):
    model, processor = compressed(stock, query="llm")
    inputs = inputs_of(processor)
    with torch.no_grad():
        before = model(**inputs).logits
        for parameter in model.model.language_model.layers[0].parameters():
            parameter.mul_(1.5)
        after = model(**inputs).logits
        model.model.questions.__init__()
        assert torch.equal(model(**inputs).logits, after)
    assert not torch.equal(before, after)


def test_pruning_inside_the_llm_while_a_question_runs_through_it(stock):
    model, processor = compressed(stock, query="llm")
    inputs = inputs_of(processor, QUESTIONS)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    stock_text = model.generate(**inputs, **options)
    with foveate.reduce(model, foveate.AIM(1.0, None)) as off:
        assert torch.equal(model.generate(**inputs, **options), stock_text)
        assert torch.equal(model.generate(**inputs, **options), stock_text)
    assert not off.report.fired
    with foveate.reduce(model, foveate.AIM(1.0, (1, 3))) as run:
        model.generate(**inputs, **options)
        model.generate(**inputs_of(processor, QUESTIONS[::-1]), **options)
    assert [report.visual_tokens_by_layer for report in run.reports] == [[[4, 4, 2, 0]] * 3] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compressor": {"name": "nope"}}, "unknown learned compressor 'nope'"),
        ({"compressor": {"name": "quecc", "kernel": 6}}, "name them in multi_level_layers"),
        (
            {"multi_level_layers": [1, 99]},
            r"multi_level_layers must be from -3 to 2, got \[1, 99\]",
        ),
        (
            {"compressor": {"name": "quecc", "kernel": 6, "heads": 0}, "multi_level_layers": [1]},
            "heads must divide the width .*, got 0",
        ),
        ({"query_encoding": "clip"}, "query_encoding must be one of"),
        ({"query_encoding": "llm"}, "average-pool does not look at the question"),
        ({"views": "some"}, "views must be one of"),
        ({"visual_tokens": 5}, "makes 36 tokens of this grid; asked for 5"),
    ],
)
def test_settings_that_do_not_fit(stock, settings, message):
    with pytest.raises(InputError, match=message):
        with_compressor(stock[0], **settings)


def test_a_missing_question_is_one_clear_error(stock):
    model, processor = compressed(stock)
    with pytest.raises(InputError, match="1 prompts need as many"):
        processor(text=["<image>\nhow many?"], images=[[picture()]], return_tensors="pt")
    inputs = {k: v for k, v in inputs_of(processor).items() if not k.startswith("query")}
    with pytest.raises(InputError, match="looks at the question, and none was given"):
        model(**inputs)
    two = inputs_of(processor, QUESTIONS[:2])
    two.pop("image_sample")
    two["query_ids"], two["query_mask"] = two["query_ids"][:1], two["query_mask"][:1]
    with pytest.raises(InputError, match="2 pictures and 1 questions"):
        model(**two)
