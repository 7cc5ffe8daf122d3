import numpy as np
import pytest
from PIL import Image

from foveate.errors import InputError
from foveate.serve.media import Clip, read, spread


def test_pictures_and_animations(tmp_path):
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 100, 10)]
    frames[0].save(tmp_path / "one.png")
    frames[0].save(tmp_path / "many.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert read(tmp_path / "one.png", 4).size == (8, 8)
    clip = read(str(tmp_path / "many.webp"), 4)
    assert [frame.getpixel((0, 0))[0] for frame in clip.frames] == [0, 30, 60, 90]
    assert clip.array().shape == (4, 8, 8, 3)


def test_video_files(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for shade in range(20):
            picture = np.full((32, 32, 3), 12 * shade, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    clip = read(tmp_path / "clip.mp4", 5)
    shades = clip.array().mean(axis=(1, 2, 3))
    assert len(shades) == 5
    assert (np.diff(shades) > 30).all()
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"cannot read .*broken.mp4 as a video"):
        read(tmp_path / "broken.mp4", 5)


def test_spread_takes_both_ends():
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 8) == [0, 1, 2]


def test_what_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        whole
    )
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match="no such picture"):
        read(tmp_path / "none.png", 8)
    with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
        read(tmp_path / "empty.png", 8)
    with pytest.raises(InputError, match=r"cannot read .*text.png"):
        read(tmp_path / "text.png", 8)
    with pytest.raises(InputError, match=r"cannot read .*cut.png"):
        read(tmp_path / "cut.png", 8)
    with pytest.raises(InputError, match=r"huge.png.* allowed.*100,000,000"):
        read(tmp_path / "huge.png", 8)
    with pytest.raises(InputError, match="no frames"):
        Clip([])
    with pytest.raises(InputError, match="one size"):
        Clip([Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2))])
    with pytest.raises(InputError, match="frames must be at least 1, got 0"):
        read(whole, 0)
