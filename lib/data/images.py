"""Reading one picture or mask with Pillow or tifffile, and shrinking it; what is wrong with a file is a Problem."""

import logging
import warnings
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from lib._errors import Problem, reason

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")  # a decoder more is one more that a file can attack
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".ppm", ".pgm")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N"}  # of Pillow, that are read
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how files begin, the large ones with +
SMALLEST, LARGEST = 8, 89_478_485  # pixels: of a side, less is a placeholder; of all, Pillow's limit, 270 MB as RGB
COLOURS, COLOUR = 64, 1 << 24  # of a mask, more are no classes; what is added to a colour to tell it from a grey
NEITHER = 0.1  # share of a mask's pixels that may lie between its two values (from 10% to 90% of the way)
ORIENTATION, ICC_PROFILE = 274, 34675  # tags of EXIF and TIFF
BITS = "8 or 16 bits a channel, grey or RGB; save it so"
Image.MAX_IMAGE_PIXELS = None  # checked here, with a message that says what to do
# What Pillow warns of, such as a damaged tag, keeps it from reading the pixels, which is said, or does not matter.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of damage, the Problem says


class Pixels(NamedTuple):
    """What a file holds: stored values, and what is told beside them."""

    values: np.ndarray  # (height, width) or (height, width, channels)
    palette: UInt8[np.ndarray, "value 3"] | None  # RGB of each value
    orientation: int  # as EXIF and TIFF number it
    profile: bool  # whether there is a colour profile
    white_is_zero: bool = False  # whether the format says so


class Rule(NamedTuple):
    """By which rule of `read_mask` a mask was read."""

    name: str
    levels: tuple[int, ...] = ()  # the values that stand for foreground
    neither: float = 0.0  # share of pixels that were neither of two values


class Mask(NamedTuple):
    """The foreground of a mask file, and how it was found."""

    foreground: Bool[np.ndarray, "height width"]
    rule: Rule


def size_text(pixels: np.ndarray) -> str:
    """Returns an image's or a mask's size for a message."""
    return f"{pixels.shape[1]}x{pixels.shape[0]} pixels"


def told_bits(images: str, bits: int) -> str:
    """Returns how images of more than 8 bits, counted in words, are made to fit into 8."""
    return f"16 bits: {images}, of which {bits} bits are used, divided by {2 ** (bits - 8)}"


def bits_used(images: Iterable[UInt16[np.ndarray, "height width 3"]]) -> int:
    """Returns how many bits the brightest value of all images needs, 8 at least; 12-bit cameras store 12 in 16."""
    return max(8, max(int(image.max()) for image in images).bit_length())


def read_size(file: Path) -> tuple[int, int] | None:
    """Returns height and width from a file's header, None where it cannot be read."""
    with suppress(Exception), Image.open(file) as image:  # whatever is wrong, reading the pixels will say so
        turned = image.getexif().get(ORIENTATION, 1) > 4
        return (image.width, image.height) if turned else (image.height, image.width)
    return None


def read_image(file: Path | BytesIO, name: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads a picture as RGB: grey becomes three equal channels, a palette its colours, alpha is dropped.

    Returns:
        (height, width, 3), uint8 or, where more than 8 bits are stored, uint16; and what was done or ignored.

    Raises:
        Problem: not one picture of 8 or 16 bits unsigned, from 8x8 pixels to 89 million; or damaged.
    """
    values, palette, orientation, profile, white_is_zero = _read(file, name)
    if palette is not None:
        values = palette[values]
    if values.dtype not in (np.uint8, np.uint16) or (values.ndim == 3 and values.shape[2] not in (2, 3, 4)):
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise Problem(name, BITS, f"{values.dtype}, {channels} channel{'s' * (channels > 1)}")
    if white_is_zero:
        if values.dtype == np.uint16:
            raise Problem(name, "16 bits with black at 0; save it so", "white at 0")
        values = 255 - values
    if min(values.shape[:2]) < SMALLEST:
        raise Problem(name, f"at least {SMALLEST}x{SMALLEST} pixels", size_text(values))
    rest = values.ndim == 3 and values.shape[2] != 3 and bool(np.ptp(values[..., -1]))
    if values.ndim == 2 or values.shape[2] == 2:
        values = np.repeat(np.atleast_3d(values)[..., :1], 3, axis=2)
    facts = {"colour profile ignored": profile, "EXIF orientation applied": orientation in range(2, 9)}
    facts["alpha, or a channel beyond three, ignored"] = rest
    return values[..., :3], tuple(fact for fact, holds in facts.items() if holds)


def read_mask(file: Path | BytesIO, name: str | Path, foreground: Collection[int] = (), objects: bool = False) -> Mask:
    """Reads a mask by the first rule that fits its stored values; of a palette these are the indices.

    - `foreground` given: these values are foreground, all others background.
    - Two values, 0 and another, or one: 0 is background.
    - Nearly two, as JPEG and smooth edges leave them: cut at half of the range.
    - Numbered objects, each in one piece: all that is not 0. Two numbers might as well be classes: the caller knows
      other masks of the set.

    Args:
        file: path or content. name: what messages call it.
        foreground: values, a colour as 0xRRGGBB. objects: whether any numbers are known to be objects.

    Raises:
        Problem: none of the rules fits, or white might stand for background, or as `read_image`.
    """
    values, palette, _, _, white_is_zero = _read(file, name)
    values, coloured = _one_channel(values, name)
    if foreground:
        return Mask(np.isin(values, list(foreground)), Rule("FOREGROUND"))
    if white_is_zero or (palette is not None and _white_first(palette, values)):
        found = "0 shown as white; FOREGROUND=255, say, tells which stored value is foreground"
        raise Problem(name, "a mask whose 0 is background and shown as black", found)
    levels = np.unique(values)
    others = tuple(levels[levels != 0].tolist())
    if coloured and (levels[0] != 0 or len(others) > 1):
        for shift in (0, 8, 16):  # numbers in one channel, as in BBBC039
            if not (levels & ~(255 << shift)).any() and _in_one_piece(values >> shift, levels >> shift):
                return Mask(values != 0, Rule("numbered objects", tuple(other >> shift for other in others)))
        listed = ", ".join(f"0x{level:06x}" for level in levels[:4]) + ", ..." * (len(levels) > 4)
        found = f"{len(levels)}: {listed}; FOREGROUND=0x{levels[-1]:06x}, say, tells what is foreground"
        found = f"{len(levels)}, as JPEG or a photograph has them" if len(levels) > COLOURS else found
        raise Problem(name, "a mask of two colours, black and another", found)
    if len(levels) == 1 or (len(levels) == 2 and levels[0] == 0):
        return Mask(values != 0, Rule("two values", tuple(COLOUR * coloured + other for other in others)))
    if (neither := _neither(values, levels)) is not None:
        return Mask(values >= (int(levels[0]) + int(levels[-1])) / 2, Rule("nearly two values", neither=neither))
    if objects or _in_one_piece(values, levels):
        return Mask(values != 0, Rule("numbered objects", others))
    raise Problem(name, "a mask of two values, 0 and another", _hint(levels.tolist()))


def _one_channel(values: np.ndarray, name: str | Path) -> tuple[np.ndarray, bool]:
    """Returns equal channels as one, or colours, where they differ, as 0xRRGGBB, and which; alpha does not count."""
    if values.dtype.kind not in "bui":
        raise Problem(name, "a mask of integers; save it as PNG of 8 or 16 bits", str(values.dtype))
    if values.ndim == 2:
        return values, False
    colours = values[..., : {2: 1, 4: 3}.get(values.shape[2])]
    hidden = values[..., -1] == 0
    if values.shape[2] in (2, 4) and hidden.any() and (colours.any(axis=2) == hidden).any():
        raise Problem(name, "a mask without alpha, or with it where foreground is", "alpha and colours that differ")
    if (colours == colours[..., :1]).all():
        return colours[..., 0], False
    if colours.shape[2] != 3 or colours.dtype != np.uint8:
        raise Problem(name, "a mask of one channel, or of equal ones", f"{colours.shape[2]} that differ")
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]), True


def _white_first(palette: np.ndarray, values: np.ndarray) -> bool:
    """Returns whether 0 is shown brighter than every other value that occurs."""
    shown = palette.sum(axis=1, dtype=int)
    others = shown[np.unique(values[values > 0])]
    return bool(shown[0] > others.max(initial=0) and shown[0] >= 3 * 64)


def _neither(values: np.ndarray, levels: np.ndarray) -> float | None:
    """Returns the share of pixels between two values that nearly all others are near, None where there are no such two.

    Numbers up to 63 beside 255, as classes with a void border have, are no smooth edge; nor is one grey between two,
    be it blurred, or a level that fills areas.
    """
    low, high = int(levels[0]), int(levels[-1])
    if values.dtype != np.uint8 or high - low < 128 or len(levels) < 4 or levels[-2] < 64:
        return None
    part = (values.astype(np.float32) - low) / (high - low)
    middle = (part > 0.1) & (part < 0.9)
    areas = ndimage.minimum_filter(values, 3) == ndimage.maximum_filter(values, 3)
    if areas[middle].mean() > 0.1 if middle.any() else False:
        return None
    between = part[middle]
    neither, near_high = between.size / part.size, float((part >= 0.9).mean())
    grey = neither > 0.005 and (abs(between - np.median(between)) < 0.05).mean() > 0.6
    return neither if neither <= NEITHER and neither < near_high and not grey else None


def _in_one_piece(values: np.ndarray, levels: np.ndarray) -> bool:
    """Returns whether numbers from 0 on have, but for crumbs, one connected area each, as numbered objects do."""
    if levels[0] != 0 or len(levels) < 3 or levels[-1] > max(4 * len(levels), 20) or 255 == levels[-1] > len(levels):
        return False
    boxes = ndimage.find_objects(values.astype(np.int32))
    eight = np.ones((3, 3), bool)
    pieces = [ndimage.label(values[box] == number, eight)[1] for number, box in enumerate(boxes, 1) if box]
    return sum(count > 1 for count in pieces) <= 0.1 * len(pieces)


def _hint(levels: Sequence[int]) -> str:
    """Returns what was found in a mask, and what its pattern suggests."""
    small = [level for level in levels if 0 < level < 255]
    ask = f"FOREGROUND={small[0] if small else levels[-1]} tells what is foreground"
    if levels[-1] == 255 and len(small) < 32 and max(small, default=255) < 64:
        hint = f"255 beside small numbers looks like a void border, which scores cannot leave out; {ask}"
    elif levels[0] != 0:
        hint = f"no 0 at all looks like a trimap; {ask}"
    elif len(levels) <= 32 and levels[-1] < 64:
        hint = f"classes, or objects in pieces; {ask}"
    else:
        hint = "greys want a threshold first" + f", or {ask}" * (len(levels) < 9)
    return f"{len(levels)}: {', '.join(map(str, levels[:4]))}{', ...' * (len(levels) > 4)}; {hint}"


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels as EXIF says that they are shown: 1 is upright, 2 mirrored, 3 upside down, 6 and 8 on a side."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if orientation in (3, 4, 7, 8) else values


def _read(file: Path | BytesIO, name: str | Path) -> Pixels:
    """Returns what is stored in a file, upright; 1 bit as 0 and 255."""
    try:
        with file.open("rb") if isinstance(file, Path) else BytesIO(file.getvalue()) as opened:
            is_tiff = opened.read(4) in TIFF
        pixels = _read_tiff(file, name) if is_tiff else _read_other(file, name)
    except Problem:
        raise
    except UnidentifiedImageError as error:
        known = "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000"
        raise Problem(name, "a readable image", known) from error
    except Exception as error:  # decoders raise nearly anything for damaged files, by format and by damage
        raise Problem(name, "a readable image", reason(error)) from error
    values = pixels.values * np.uint8(255) if pixels.values.dtype == np.bool_ else pixels.values
    return pixels._replace(values=_upright(values, pixels.orientation))


def _check_pixels(name: str | Path, width: int, height: int) -> None:
    if width * height > LARGEST:
        expected = f"at most {LARGEST // 10**6} million pixels; cut it into tiles"
        raise Problem(name, expected, f"{width}x{height}")


def _read_other(file: Path | BytesIO, name: str | Path) -> Pixels:
    with Image.open(file, formats=FORMATS) as image:
        pictures = getattr(image, "n_frames", 1)
        if pictures != 1 and image.format != "MPO":  # a camera's previews: the first picture is meant
            raise Problem(name, "one picture; save each as a file of its own", f"{pictures} in one file")
        _check_pixels(name, image.width, image.height)
        if image.mode not in MODES:
            raise Problem(name, BITS, {"F": "floating point", "I": "32 bits"}.get(image.mode, image.mode))
        try:
            orientation = image.getexif().get(ORIENTATION, 1)
        except Exception:  # a broken EXIF block says nothing of the pixels
            orientation = 1
        colours = image.getpalette() if image.mode == "P" else None
        palette = np.array([*colours, *[0] * (768 - len(colours))], np.uint8).reshape(-1, 3) if colours else None
        values = np.asarray(image.convert("RGB") if image.mode == "PA" else image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        return Pixels(values, palette, orientation, bool(image.info.get("icc_profile")))


def _read_tiff(file: Path | BytesIO, name: str | Path) -> Pixels:
    import tifffile  # half of the folders hold none

    with tifffile.TiffFile(file) as tiff:
        every = [tiff.pages[index] for index in range(len(tiff.pages))]
        pages = [page for page in every if not getattr(page, "is_reduced", False)]  # less previews and pyramids
        page: Any = pages[0] if pages else tiff.pages.first
        _check_pixels(name, page.imagewidth, page.imagelength)
        if len(pages) > 1 or page.imagedepth > 1:
            planes = f"{len(pages)} planes, {tiff.series[0].axes} of {'x'.join(map(str, tiff.series[0].shape))}"
            raise Problem(name, "one picture; save each plane as a file of its own", planes)
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        if kind not in ("RGB", "MINISBLACK", "MINISWHITE", "PALETTE", "YCBCR"):
            raise Problem(name, BITS, kind)
        if page.axes not in ("YX", "YXS", "SYX"):
            raise Problem(name, "one picture of height and width", f"axes {page.axes}")
        values = np.moveaxis(page.asarray(), 0, 2) if page.axes == "SYX" else page.asarray()
        palette = (page.colormap >> 8).T.astype(np.uint8) if kind == "PALETTE" else None
        orientation = page.tags.valueof(ORIENTATION, 1)
        return Pixels(values, palette, int(orientation), ICC_PROFILE in page.tags, kind == "MINISWHITE")


def _boxed(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BOX))


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Averages RGB of 8 or 16 bits over areas (repeats pixels where it enlarges); proportions change with the shape."""
    if image.shape[:2] == shape or image.dtype == np.uint8:
        return image if image.shape[:2] == shape else _boxed(image, shape)
    channels = [_boxed(channel.astype(np.float32), shape) for channel in np.moveaxis(image, 2, 0)]
    return np.stack(channels, axis=2).round().astype(np.uint16)


def resize_mask(
    mask: Bool[np.ndarray, "height width"], shape: tuple[int, int]
) -> Bool[np.ndarray, "new_height new_width"]:
    """Lets the majority of each area decide; a tie is background."""
    return mask if mask.shape == shape else _boxed(mask.astype(np.float32), shape) > 0.5
