"""Separating the two stains of H&E: how much haematoxylin and how much eosin each pixel holds."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8

from lib.data.dataset import Dataset

SAMPLE = 2**21  # pixels that decide the range, evenly spaced: all of them up to 128 images of 128x128
PERCENTILES = (1, 99)  # of the training set: a speck of dust decides nothing


def _stains(images: UInt8[np.ndarray, "*pixels 3"]) -> Float[np.ndarray, "*pixels 3"]:
    from skimage.color import rgb2hed  # half a second to import

    return np.asarray(rgb2hed(images.astype(np.float32) / 255))


def stain_range(images: UInt8[np.ndarray, "image height width 3"]) -> Float[np.ndarray, "2 3"]:
    """Returns the 1st and the 99th percentile of each stain over some images: those of the training set."""
    pixels = images.reshape(-1, 3)
    sample = pixels[:: -(-len(pixels) // SAMPLE)]
    return np.percentile(_stains(sample[None])[0], PERCENTILES, axis=0)


def unmix(
    images: UInt8[np.ndarray, "image height width 3"], limits: Float[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "image height width 3"]:
    """Returns haematoxylin, eosin and the rest in place of red, green and blue.

    The first two channels are the amounts of haematoxylin and eosin by colour deconvolution with the vectors of
    Ruifrok and Johnston (scikit-image's `rgb2hed`). The third is what that calls DAB, a brown stain that H&E does not
    contain: here it holds the colour that the two stains leave unexplained, such as pigment and red cells.

    Args:
        images: RGB, 0..255.
        limits: amounts that become 0 and 255, from `stain_range`; beyond them values are clipped. A channel whose
            limits are equal becomes 0.
    """
    low, span = limits[0], np.ptp(limits, axis=0)
    scale = np.divide(255, span, out=np.zeros(3), where=span > 0)
    result = np.empty_like(images)
    for index, image in enumerate(images):
        result[index] = np.clip((_stains(image) - low) * scale, 0, 255).round()
    return result


def unmixed(colours: Dataset) -> Dataset:
    """Returns a dataset with stains in place of colours, scaled by their range over the training split."""
    limits = stain_range(colours.train.images)
    splits = {which: replace(split, images=unmix(split.images, limits)) for which, split in colours.splits.items()}
    train, test, test_b = splits["train"], splits["test"], splits.get("testB")
    return replace(colours, train=train, test=test, test_b=test_b, stain="unmixed")
