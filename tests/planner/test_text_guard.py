from importlib.resources import files

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from foveate.errors import InputError
from foveate.planner.reduction import plan_reduction
from foveate.planner.text_guard import LARGEST_SIDE, characters, task_of

DEMO = files("foveate") / "assets" / "demo"


def picture(name: str) -> Image.Image:
    return Image.open(str(DEMO / name)).convert("RGB")


def page(words: str, size: int = 22) -> Image.Image:
    image = Image.new("RGB", (480, 320), "white")
    font = ImageFont.load_default(size)
    for y in (40, 120, 200):
        ImageDraw.Draw(image).text((30, y), words, fill="black", font=font)
    return image


@pytest.mark.parametrize("number", range(3))
def test_scenes_of_the_demo(number):
    assert task_of([picture(f"ocr-{number}.png")]) == "ocr"
    assert task_of([picture(f"reasoning-{number}.png")]) == "reasoning"


def test_print_is_counted():
    words = "to foveate is to look sharply"
    found = characters(page(words))
    letters = 3 * len(words.replace(" ", ""))
    assert 0.6 * letters <= found <= 1.2 * letters
    assert characters(page("")) == 0
    assert task_of([page(""), page(words)]) == "ocr"


def test_large_and_grey_pictures_are_looked_at():
    image = page("to foveate is to look sharply").resize((3 * LARGEST_SIDE, 2 * LARGEST_SIDE))
    assert characters(image) > 30
    assert characters(image.convert("L")) > 30


def test_the_guard_sees_what_a_person_sees():
    words = page("to foveate is to look sharply")
    found = characters(words)
    tag = Image.Exif()
    tag[0x0112] = 8
    turned = words.transpose(Image.Transpose.ROTATE_270)
    turned.info["exif"] = tag.tobytes()
    assert characters(turned) == found
    alpha = Image.eval(words.convert("L"), lambda shade: 255 - shade)
    hidden = Image.new("RGB", words.size, "black")  # black on transparent black
    hidden.putalpha(alpha)
    assert characters(hidden) > 0.8 * found
    pixels = np.asarray(words)
    assert characters(pixels / np.float32(255)) == found
    assert characters(pixels * np.uint16(257)) == found


def test_noise_and_flat_pictures_hold_no_text():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3))
    assert task_of([noise, np.zeros((50, 50, 3)), np.full((1, 1, 3), 9)]) == "reasoning"


def test_what_is_no_picture_is_refused():
    for shape in ((4,), (2, 2, 2, 3), (5, 5, 2), (0, 3, 3)):
        with pytest.raises(InputError, match="a picture is"):
            characters(np.zeros(shape))


def test_the_planner_keeps_the_tokens_of_text():
    knobs = {"task": "auto"}
    read = plan_reduction("llava-1.5-7b", 0.5, pixels=[picture("ocr-0.png")], **knobs)
    seen = plan_reduction("llava-1.5-7b", 0.5, pixels=[picture("reasoning-0.png")], **knobs)
    assert read == plan_reduction("llava-1.5-7b", 0.5, task="ocr")
    assert seen == plan_reduction("llava-1.5-7b", 0.5, task="reasoning")
    assert seen.keep < read.keep
    with pytest.raises(InputError, match="give them as pixels="):
        plan_reduction("llava-1.5-7b", 0.5, task="auto")


@pytest.mark.slow
def test_accuracy_on_scenes_that_were_not_looked_at():
    from foveate.scenes import make

    for task in ("reasoning", "ocr"):
        right = [task_of([make(task, "test", index).frame(0)]) == task for index in range(100)]
        assert sum(right) >= 95, f"{task}: {sum(right)} of 100"
