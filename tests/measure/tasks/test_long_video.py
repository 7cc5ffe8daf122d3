import numpy as np
import pytest

from foveate.errors import InputError
from foveate.measure.tasks import task
from foveate.measure.tasks.long_video import LENGTH, SHOWN, LongVideo
from foveate.scenes import make


@pytest.mark.parametrize("frames", SHOWN)
def test_the_same_question_about_fewer_frames(frames):
    whole, thinned = LongVideo(), LongVideo(frames)
    for index in range(6):
        long, short = whole.item(index), thinned.item(index)
        assert (long.question, long.answers, long.kind) == (
            short.question,
            short.answers,
            short.kind,
        )
        (clip,), (part,) = long.media, short.media
        scene = make("video", "test", index, length=LENGTH)
        assert np.array_equal(clip.array(), np.stack(scene.images()))
        assert len(part.frames) == frames
        places = np.linspace(0, LENGTH - 1, frames).round().astype(int)
        assert np.array_equal(part.array(), clip.array()[places])


def test_names_and_errors():
    names = [task(name).identity() for name in ("long-video", "long-video-8", "long-video-4")]
    assert [(row["name"], row["frames"]) for row in names] == [
        ("long-video", 16), ("long-video-8", 8), ("long-video-4", 4),
    ]  # fmt: skip
    assert LongVideo(4, "val").identity()["split"] == "val"
    with pytest.raises(InputError, match="frames must be one of 16, 8, 4; got 5"):
        LongVideo(5)
    with pytest.raises(InputError, match="split must be one of test, val; got 'train'"):
        LongVideo(4, "train")
