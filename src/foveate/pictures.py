"""Pictures as a viewer shows them: upright, 8-bit RGB, transparent parts on a background.

Every picture from a user comes through here, whether a file, bytes, a PIL image or an array. Colour
profiles are not applied.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from foveate.errors import InputError

MAX_PIXELS = 100_000_000
BRIGHT = 16  # larger floats mean 0 to 255; from 1 to 16 may be either, refused
LIGHT = 192  # of 255: pictures whose visible parts are lighter on average are laid on black
ANIMATED = {"GIF", "WEBP", "PNG", "AVIF", "FLI"}  # formats whose pictures follow each other in time
SINGLE = {"MPO", "PSD", "HEIF"}  # formats whose further pictures are previews, views or layers
KEYED = {"1", "L", "RGB"}  # modes in which one colour may mean transparent
COMMON = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")  # named in errors
CHANNELS = (1, 3, 4)  # of an array: grey, RGB, RGBA
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
SUBFILE, BITS, PHOTOMETRIC = 254, 258, 262  # TIFF tags
REDUCED_OR_MASK = 0b101  # of SUBFILE
Levels = tuple[int, int]  # which values are black and white
BYTES, WORDS = (0, 255), (0, 65535)  # of 8 and 16 bits


def to_rgb(picture: Any, name: str = "the picture") -> Image.Image:
    """A picture as a person sees it, a new RGB image.

    - It is turned and mirrored as its EXIF orientation says.
    - 16-bit values are scaled to 8 bits. 32-bit integers count as 8-bit if none is above 255, else as
      16-bit; floats run from 0 to 1, or to 255 if any is above 16. Others are refused.
    - Where it is transparent it shows white, or black if its ink (what is visible, weighted by opacity)
      is on average lighter than three quarters of white.
    - Palettes, CMYK, YCbCr, LAB and HSV become the colours that Pillow makes of them.

    Args:
        picture: a PIL image of any mode, or an array or tensor as in `from_array`.
        name: for errors.

    Raises:
        InputError: no picture, a broken, empty or gigantic one, an animation, several pages, or values
            that do not tell which of them is white.
    """
    if not isinstance(picture, Image.Image):
        pixels = from_array(picture, name)
        if pixels.ndim == 4:
            raise InputError(f"a picture is (H, W) or (H, W, 3) pixels, got {pixels.shape}")
        picture = to_image(pixels)
    return frames_to_rgb([picture], [name])[0]


def frames_to_rgb(frames: Sequence[Image.Image], names: Sequence[str]) -> list[Image.Image]:
    """The frames of one clip, each as by `to_rgb`, but scaled alike and on one background.

    Args:
        frames: PIL images of any mode.
        names: of each, for errors.

    Raises:
        InputError: as in `to_rgb`.
    """
    opened = [_opened(*named) for named in zip(frames, names, strict=True)]
    unknown = [np.asarray(frame) for frame, levels in opened if levels is None]
    found = _levels_of(unknown, names[0]) if unknown else BYTES
    drawn = []
    for (frame, levels), name in zip(opened, names, strict=True):
        with decoding(name):
            drawn.append(_eight_bit(frame, levels or found))
    transparent = [frame for frame in drawn if frame.mode == "RGBA"]
    background = "black" if _lightness(transparent) > LIGHT else "white"
    return [_on(background, frame) for frame in drawn]


def from_array(values: Any, name: str = "the array") -> np.ndarray:
    """Pixels of a picture (H, W, C) or of a clip (F, H, W, C) as bytes; C is 1, 3 or 4.

    Args:
        values: an array or tensor, (H, W), (H, W, C), (F, H, W, C), or with the colours first, as
            torchvision has them: (C, H, W), (F, C, H, W). Where both fit, an array has them last, and a
            tensor is refused. Booleans, bytes, uint16, and other numbers as in `to_rgb`.
        name: for errors.

    Raises:
        InputError: another shape, no numbers, or values that do not tell which of them is white.
    """
    tensor = hasattr(values, "detach")
    with decoding(name):
        if tensor:
            values = values.detach().cpu()
            values = (values.float() if values.is_floating_point() else values).numpy()
        array = np.asarray(values)
    array = _colours_last(array, tensor=tensor)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "buif":
        raise InputError(f"pixels are booleans, integers or floats, got {array.dtype} in {name}")
    if (kind, size) == ("u", 1):
        return array
    declared = {("b", 1): (0, 1), ("u", 2): WORDS}.get((kind, size))
    return _scaled(array, declared or _levels_of([array], name))


def to_image(pixels: np.ndarray) -> Image.Image:
    """Bytes (H, W, C) as a PIL image, grey, RGB or RGBA."""
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )


def parts(picture: Image.Image) -> list[int]:
    """Numbers of the pictures in a file that a person would count: frames, pages; mostly there is one.

    Camera files with previews or further views (MPO), layers (PSD), and a TIFF's thumbnails and masks
    belong to one picture. What a PNG shows where animations are not played is no frame.
    """
    count = getattr(picture, "n_frames", 1)
    if count == 1 or picture.format in SINGLE:
        return [picture.tell()]
    if picture.format == "TIFF":
        return _pages(picture, count)
    return list(range(int(getattr(picture, "default_image", False)), count))


@contextmanager
def standing_at(picture: Image.Image, number: int) -> Iterator[None]:
    """Seek to picture `number` of a file for the length of the `with`, and back afterwards."""
    before = picture.tell()
    if number != before:
        picture.seek(number)
    try:
        yield
    finally:
        if picture.tell() != before:
            picture.seek(before)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever error a decoder raises into one clear `InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large: {error}; allowed: {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        known = ", ".join(format for format in COMMON if format in Image.OPEN)
        raise InputError(
            f"cannot read {name} as a picture: it is none of what Pillow opens here ({known}, ...); HEIC "
            "takes pillow_heif.register_heif_opener()"
        ) from None
    except Exception as error:  # any kind: each format has a parser of its own
        raise InputError(f"cannot read {name} as a picture: {error}") from None


def check_size(picture: Image.Image, name: str) -> None:
    """Refuse a picture of unusable size before it is decoded.

    Raises:
        InputError: no pixels, or more than `MAX_PIXELS`.
    """
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{name} is {width} x {height} pixels; allowed: 1 to {MAX_PIXELS:,} in all"
        )


def _opened(picture: Image.Image, name: str) -> tuple[Image.Image, Levels | None]:
    """The picture decoded and upright, and its values of black and white where mode or file give them."""
    with decoding(name):
        check_size(picture, name)
        numbers = parts(picture)
        if len(numbers) > 1:
            raise InputError(
                f"{name} holds {len(numbers)} pictures, one is needed; copy() takes the one that it "
                "stands at"
            )
        with standing_at(picture, numbers[0]):
            picture.load()  # also turns a TIFF upright
            turn = _turn(picture)
            upright = picture.copy() if turn is None else picture.transpose(turn)
            return upright, _declared_levels(picture)


def _turn(picture: Image.Image) -> Transpose | None:
    try:
        return TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF raises errors of any kind; viewers ignore it
        return None


def _pages(tiff: Any, count: int) -> list[int]:
    """Numbers of a TIFF's pages, without thumbnails and masks."""
    before, kinds = tiff.tell(), []
    for number in range(count):
        tiff.seek(number)
        kinds.append(tiff.tag_v2.get(SUBFILE, 0))
    tiff.seek(before)
    return [number for number, kind in enumerate(kinds) if not kind & REDUCED_OR_MASK] or [0]


def _declared_levels(picture: Image.Image) -> Levels | None:
    if picture.mode.startswith("I;16"):
        tags = getattr(picture, "tag_v2", {})
        white = 2 ** tags.get(BITS, (16,))[0] - 1
        return (white, 0) if tags.get(PHOTOMETRIC) == 0 else (0, white)
    if picture.mode in ("I", "F"):
        return WORDS if picture.mode == "I" and picture.format in ("PNG", "PPM") else None
    return BYTES


def _levels_of(arrays: Sequence[np.ndarray], name: str) -> Levels:
    """The values of black and white of 32-bit integers or floats, by their range."""
    low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
    floats = all(array.dtype.kind == "f" for array in arrays)
    if floats and low >= 0 and high <= 1:
        return (0, 1)
    if low >= 0 and high <= 255 and (high > BRIGHT or not floats):
        return BYTES
    if not floats and low >= 0 and high <= 65535:
        return WORDS
    allowed = (
        f"0 to 1, or 0 to 255 with some above {BRIGHT}" if floats else "0 to 255, or 0 to 65535"
    )
    raise InputError(
        f"which value is white is not known: {name} has {'floats' if floats else 'integers'} of "
        f"{low:g} to {high:g}; allowed: {allowed}"
    )


def _scaled(values: np.ndarray, levels: Levels) -> np.ndarray:
    black, white = levels
    scaled = (values.astype(np.float32) - black) * (255 / (white - black))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _eight_bit(picture: Image.Image, levels: Levels) -> Image.Image:
    """The picture as RGB, or as RGBA if anything is transparent."""
    mode, key = picture.mode, picture.info.get("transparency")
    if mode[0] in "IF":
        values = np.asarray(picture)
        picture = Image.fromarray(_scaled(values, levels))
        if isinstance(key, int):
            picture.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    if picture.mode[-1] in "Aa" or mode == "P" or (mode in KEYED and key is not None):
        shown = picture.convert("LA") if mode == "La" else picture
        picture = shown.convert("RGBA")
        if np.asarray(picture.getchannel("A")).min() < 255:
            return picture
    return picture.convert("RGB")


def _lightness(pictures: Sequence[Image.Image]) -> float:
    """Mean lightness of what is visible, 0 to 255, weighted by opacity."""
    weight = total = 0.0
    for picture in pictures:
        alpha = np.asarray(picture.getchannel("A"), dtype=np.float32)
        total += float((alpha * np.asarray(picture.convert("L"))).sum())
        weight += float(alpha.sum())
    return total / weight if weight else 0.0


def _on(background: str, picture: Image.Image) -> Image.Image:
    """The picture on a background, without the file's metadata, which has been applied by now."""
    if picture.mode == "RGBA":
        below = Image.new("RGBA", picture.size, background)
        picture = Image.alpha_composite(below, picture).convert("RGB")
    picture.info = {}
    return picture


def _colours_last(array: np.ndarray, *, tensor: bool) -> np.ndarray:
    if array.ndim == 2 and array.size:
        return array[..., None]
    fits = [axis for axis in (-1, -3) if array.ndim in (3, 4) and array.shape[axis] in CHANNELS]
    if len(fits) == 2 and tensor:
        raise InputError(
            f"the colours of a tensor {array.shape} may be on axis {fits[0]} or {fits[1]}; give it as an "
            "array, which has them last"
        )
    if fits and array.size:
        return np.moveaxis(array, fits[0], -1)
    raise InputError(
        "a picture is (H, W) or (H, W, 3) pixels and a clip (F, H, W, 3), with 1, 3 or 4 colours, also "
        f"before H and W; got {array.shape}"
    )
