"""Pictures, clip and questions of `foveate demo`: the first of the test split, right or wrong."""

import json
from itertools import count
from pathlib import Path

import numpy as np

from foveate.scenes import make, one_question
from foveate.scenes.sample import Question, Sample

PICTURES = {"reasoning": 3, "ocr": 3}
CLIP_FRAMES = 8
FRAME_MS = 500


def write_demo(folder: Path) -> None:
    """Write PNG pictures, one animated WebP without loss, and `questions.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for task, number in PICTURES.items():
        for index in range(number):
            sample = make(task, "test", index)
            file = f"{task}-{index}.png"
            sample.images()[0].save(folder / file, optimize=True)
            rows += _rows(file, sample)
    clip = _first_moving_clip()
    file = f"video-{clip.index}.webp"
    first, *rest = clip.images()
    first.save(folder / file, save_all=True, append_images=rest, duration=FRAME_MS, lossless=True)
    rows += _rows(file, clip)
    (folder / "questions.json").write_text(json.dumps(rows, indent=1) + "\n")


def _first_moving_clip() -> Sample:
    """The first clip of which no two neighbouring frames are alike: WebP would join those."""
    clips = (make("video", "test", index, length=CLIP_FRAMES) for index in count())
    return next(clip for clip in clips if _always_changes(clip.frames()))


def _always_changes(frames: np.ndarray) -> bool:
    """Whether every frame differs from the one before it."""
    return bool((frames[1:] != frames[:-1]).any(axis=(1, 2, 3)).all())


def _rows(file: str, sample: Sample) -> list[dict[str, str]]:
    return [
        {"file": file, "question": asked.text, "answer": asked.answer, "task": sample.task}
        for asked in _chosen(sample)
    ]


def _chosen(sample: Sample) -> list[Question]:
    """For a picture what `questions` asks about it; for a clip one question of each family."""
    if not sample.is_video:
        return [one_question(sample)]
    asked = sample.ask(np.random.default_rng(sample.index))
    return list({question.family: question for question in asked}.values())
