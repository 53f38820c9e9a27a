"""Reading one picture or mask in any of the usual formats, and shrinking it; what is wrong with a file is a Problem."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from lib._errors import Problem, reason

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # no others: each decoder more is one more that a file can attack
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # Pillow gives 16 bit colour as the upper 8 bits
SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L", "I;16N"}
SMALLEST = 8  # pixels; less is no picture, most likely a placeholder
ORIENTATION, PHOTOMETRIC = 274, 262  # tags of EXIF and TIFF
# Above Pillow's limit of 89 million pixels a file is refused from its header, instead of a warning and 270 MB.
warnings.simplefilter("error", Image.DecompressionBombWarning)
# What Pillow warns of, such as a damaged tag, keeps it from reading the pixels, which is said, or does not matter.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def size_text(pixels: np.ndarray) -> str:
    """Returns an image's or a mask's size for a message."""
    return f"{pixels.shape[1]}x{pixels.shape[0]} pixels"


def read_size(file: Path) -> tuple[int, int] | None:
    """Returns height and width from a file's header, None where it cannot be read."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.height, image.width
    except Exception:  # whatever it is, reading the pixels will say so
        return None


def read_image(file: Path | BytesIO, name: str | Path) -> UInt8[np.ndarray, "height width 3"]:
    """Reads a picture as RGB.

    Grey becomes three equal channels, a palette its colours, alpha is dropped, and of 16 bits the upper 8 are kept.

    Raises:
        Problem: not one upright picture of 8 or 16 bits unsigned and at least 8x8 pixels; 16 bits of which none but the
            lower 12 are used, since less than 16 of 256 levels would be left; or damaged.
    """
    values = _read(file, name, "RGB")
    if values.dtype == np.uint16:
        if 0 < (brightest := values.max()) < 4096:
            expected = "an image that uses its 16 bits (docs/own-images.md shows how to scale up fewer)"
            raise Problem(name, expected, f"nothing above {brightest} of 65535")
        values = (values >> 8).astype(np.uint8)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if min(values.shape[:2]) < SMALLEST:
        raise Problem(name, f"at least {SMALLEST}x{SMALLEST} pixels", size_text(values))
    return values[..., :3]


def read_mask(file: Path | BytesIO, name: str | Path, instances: bool = False) -> Bool[np.ndarray, "height width"]:
    """Reads a mask: 0 is background, anything else foreground; of a palette the indices count, not the colours.

    Args:
        file: path or content. name: what messages call it.
        instances: whether any values are accepted; otherwise two, the lower of which is 0, or one.

    Raises:
        Problem: more than one channel, other values, or as `read_image`.
    """
    values = _read(file, name, None)
    if values.ndim != 2:
        raise Problem(name, "a mask of one channel", values.shape[2])
    levels = np.unique(values)
    if not instances and (len(levels) > 2 or (len(levels) == 2 and levels[0] != 0)):
        shown = ", ".join(str(int(level)) for level in levels[:4]) + (", ..." if len(levels) > 4 else "")
        hint = "" if len(levels) == 2 else "; docs/own-images.md shows how to join numbered objects"
        if str(name).lower().endswith((".jpg", ".jpeg")):
            hint = "; JPEG changes values, so save masks as PNG"
        raise Problem(name, "a mask of two values, 0 and another", f"{len(levels)}: {shown}{hint}")
    return values != 0


def _read(file: Path | BytesIO, name: str | Path, mode: str | None) -> np.ndarray:
    """Returns pixels, uint8, uint16 or bool, of 8 bit files converted to a Pillow mode if one is given."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if (pictures := getattr(image, "n_frames", 1)) != 1:
                raise Problem(name, "one picture", f"{pictures} in one file")
            if (orientation := image.getexif().get(ORIENTATION, 1)) != 1:
                raise Problem(name, "pixels that lie as they are shown", f"orientation {orientation}; save it upright")
            if image.mode in SIXTEEN_BIT_MODES:
                if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # Pillow inverts that for 8 bits only
                    raise Problem(name, "16 bits with black at 0", "white at 0")
                return np.asarray(image).astype(np.uint16)
            if image.mode not in EIGHT_BIT_MODES:
                raise Problem(name, "8 or 16 bits a channel, grey or RGB", f"Pillow's mode {image.mode}")
            return np.asarray(image.convert(mode) if mode else image)
    except Problem:
        raise
    except (UnidentifiedImageError, ValueError) as error:
        if str(name).lower().endswith((".tif", ".tiff")):
            return _read_tiff(file, name)
        unknown = isinstance(error, UnidentifiedImageError)
        raise Problem(name, "a readable image", "no PNG, JPEG, TIFF or BMP" if unknown else error) from error
    except Exception as error:  # decoders raise nearly anything for damaged files, by format and by damage
        raise Problem(name, "a readable image", reason(error)) from error


def _read_tiff(file: Path | BytesIO, name: str | Path) -> np.ndarray:
    """Reads a TIFF that Pillow does not know, with tifffile: rarer layouts and compressions."""
    import tifffile  # rarely needed

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of damage, the Problem says
    try:
        with tifffile.TiffFile(file) as tiff:
            pages, page = len(tiff.pages), tiff.pages.first
            if pages != 1:
                raise Problem(name, "one picture", f"{pages} in one file")
            if page.imagewidth * page.imagelength > (Image.MAX_IMAGE_PIXELS or 0):
                raise Problem(name, "a picture of reasonable size", f"{page.imagewidth}x{page.imagelength} pixels")
            channels = page.samplesperpixel
            kind = tifffile.PHOTOMETRIC(page.photometric).name
            if (
                str(page.dtype) not in ("uint8", "uint16")
                or channels not in (1, 3, 4)
                or kind not in ("RGB", "MINISBLACK")
            ):
                found = f"{page.dtype}, {channels} channels, {kind}"
                raise Problem(name, "8 or 16 bits a channel, grey or RGB", found)
            values = page.asarray()
    except Problem:
        raise
    except Exception as error:
        raise Problem(name, "a readable image", reason(error)) from error
    return np.moveaxis(values, 0, 2) if page.axes == "SYX" else values


def resize_image(
    image: UInt8[np.ndarray, "height width 3"], shape: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Averages over areas (repeats pixels where it enlarges); the proportions change with the shape."""
    if image.shape[:2] == shape:
        return image
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BOX))


def resize_mask(
    mask: Bool[np.ndarray, "height width"], shape: tuple[int, int]
) -> Bool[np.ndarray, "new_height new_width"]:
    """Lets the majority of each area decide; a tie is background."""
    if mask.shape == shape:
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)) > 0.5
