"""Procedurally drawn stand-in for the Warwick-QU colon gland images. It is not real tissue.

Each image imitates H&E-stained colon at about 3 um per pixel: crypts cut across (a lattice of round
glands) or lengthwise (tubes), or adenocarcinoma (irregular, fused glands), in fibrous stroma with
lymphocytes, red cells, clefts and at times bare slide. No score on it says anything of patients.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, default_rng
from scipy import ndimage

from lib.data.dataset import SIZE, Split, check_size

Array = npt.NDArray[np.floating[Any]]
Pair = tuple[Array, Array]
# Images per patient in proportion, train then test: unequal, so that the splits differ, and one in test only.
SHARES = (16, 15, 12, 8, 8, 4, 4, 4, 4, 4, 2, 2, 2, 0), (0, 8, 0, 8, 1, 12, 12, 14, 0, 0, 2, 2, 0, 1)
# How glands lie, from least to greatest: spacing of their axes (px), an axis's length and the sd of
# its deformation over the spacing, sd of its direction (rad), nucleated wall (px).
ACROSS = (20, 0.1, 0.08, 0.4, 2.2), (44, 0.5, 0.08, 0.4, 4.0)
ALONG = (22, 2.0, 0.12, 0.08, 2.2), (36, 4.0, 0.12, 0.08, 4.0)
CARCINOMA = (26, 0.5, 0.14, 0.4, 3.5), (56, 2.4, 0.14, 0.4, 7.5)


@dataclass(frozen=True)
class Patient:
    """What all images of a patient share."""

    stains: Array  # (2, 3) RGB optical density (natural log) of haematoxylin and of eosin
    stroma: Array  # haematoxylin and eosin in fibres, about 0..1
    wall: Array  # the same in the wall of glands
    malignancy: float  # probability that a field shows carcinoma
    mucin: float  # 0..1, how pale the goblet cells are
    inflammation: float  # 0..1, density of lymphocytes in the stroma


def _ramp(x: Array, width: float) -> Array:
    """From 0 to 1 over `width`, centred where x is 0."""
    return np.asarray(np.clip(x / width + 0.5, 0, 1))


def _noise(rng: Generator, side: int, scale: int) -> Array:
    """Smooth noise (side, side), mean 0, sd about 1, with detail down to `scale` >= 2 px."""
    knots = rng.standard_normal((-(-side // scale) + 2,) * 2, np.float32) / np.float32(0.55)
    field: Array = knots.repeat(scale, 0).repeat(scale, 1)
    for _ in range(2):  # box filters turn the steps into a quadratic B-spline
        field = np.asarray(ndimage.uniform_filter(field, scale))
    return field[scale : scale + side, scale : scale + side]


def _glands(rng: Generator, plan: Array, angle: float, fraction: float, room: Array) -> Pair:
    """Depth in glands (above 0 on `fraction` of the image) and distance to their axes, in px."""
    side, (spacing, elongation, warp, disorder, _) = len(room), plan
    reach = int(side / spacing) + 2
    cells = np.mgrid[-reach : reach + 1, -reach : reach + 1] + rng.random((2, 1, 1))
    cells[0, :, ::2] += 0.5  # glands are capsules on a staggered, jittered lattice
    row, col = cells + rng.normal(0, 0.12, cells.shape)
    centres = spacing * np.exp(1j * angle) * ((1 + elongation) * row + 0.9j * col).reshape(-1, 1)
    bound = side / 2 + 0.6 * spacing * (1 + elongation)  # points are complex: x + iy
    centres = centres[np.maximum(abs(centres.real), abs(centres.imag)) < bound][:, None]
    back = np.exp(-1j * (angle + rng.normal(0, disorder, centres.shape))).astype(np.complex64)
    half, radius = spacing * rng.normal((0.43, 0), (0.07, 0.1), (len(centres), 2)).T[..., None]
    shift = warp * spacing * np.stack([_noise(rng, side // 2, 8) for _ in "yx"])
    y, x = shift + np.mgrid[:side:2, :side:2] - side / 2  # every second pixel, for speed
    away = ((x + 1j * y).ravel() - centres).astype(np.complex64) * back
    beyond = np.maximum(abs(away.real) - (elongation * half).astype(np.float32), 0)
    distance = np.sqrt(beyond**2 + away.imag**2) + radius.astype(np.float32)
    nearest = np.partition(distance, 1, axis=0)[:2].reshape(2, *x.shape).repeat(2, 1).repeat(2, 2)
    first, second = ndimage.gaussian_filter(nearest, (0, 1, 1))
    patchy = 0.7 * (1 - fraction) * spacing * _noise(rng, side, 32)  # regions without glands
    growth = patchy + 6 * warp * _noise(rng, side, 4) - first
    septum = rng.uniform(1, 1 + 4 * (1 - fraction))
    limit = np.minimum(room, 0.5 * (second - first) - septum)  # tissue's edge
    level = np.quantile(np.where(limit > 0, growth, -1e6), 1 - fraction)
    depth = np.minimum(growth - level, limit)
    parts, _ = ndimage.label(depth > 0)
    return np.where((depth > 0) & (np.bincount(parts.ravel())[parts] < 60), -1, depth), first  # no crumbs


def _ellipses(rng: Generator, density: Array, angle: Array, aspect: Array, pitch: float, radius: float) -> Array:
    """Soft ellipses (0..1), as probable as `density`; the maps are read at their centres."""
    side, reach = len(density), int(1.25 * radius * float(np.sqrt(aspect.max())) + 1.5)
    sites = np.mgrid[0 : side / pitch, 0 : side / pitch].reshape(2, -1)
    sites = (sites + rng.random(sites.shape)) * pitch % side
    sites = sites[:, rng.random(sites.shape[1]) < density[tuple(sites.astype(int))]]
    row, col = sites.astype(int)
    y, x = sites % 1 - 0.5  # from the centre of the pixel
    size, peak = rng.uniform((0.75 * radius, 0.5), (1.25 * radius, 1), (len(row), 2)).T
    step, stretch = np.arange(-reach, reach + 1), np.sqrt(aspect[row, col])
    away = (step[:, None] + 1j * step[:, None, None] - x - 1j * y) * np.exp(-1j * angle[row, col])
    distance = np.sqrt((away.real / stretch) ** 2 + (away.imag * stretch) ** 2)
    value = peak * np.clip(size - distance + 0.5, 0, 1)  # an edge about one pixel wide
    width = side + 2 * reach
    index = (row + reach + step[:, None, None]) * width + col + reach + step[:, None]
    canvas = np.bincount(index.ravel(), value.ravel(), width**2).reshape(width, width)
    return np.minimum(canvas, 1)[reach:-reach, reach:-reach]


def _draw_image(
    rng: Generator, patient: Patient, fraction: float, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """One image uint8 (size, size, 3) and its mask, of which about `fraction` is gland."""
    malignant = rng.random() < patient.malignancy
    plan = rng.uniform(*(CARCINOMA if malignant else ALONG if rng.random() < 0.3 else ACROSS))
    fine, coarse, patchy = (_noise(rng, size, scale) for scale in (4, 8, 16))
    grain = rng.standard_normal((size, size), np.float32)
    angle, edge = rng.uniform(0, 2 * np.pi, 2)
    y, x = np.mgrid[:size, :size] - size / 2
    margin = rng.uniform(0.25, 0.5) if rng.random() < 0.15 else 2  # image sides from the centre
    room = margin * size - x * np.cos(edge) - y * np.sin(edge) - 3 * coarse  # px to the bare slide
    depth, axis = _glands(rng, plan, angle, fraction, room)
    inside = depth > 0
    # Stroma: bent fibres, torn where loose, and red cells.
    across = y * np.cos(angle) - x * np.sin(angle) + 10 * _noise(rng, size, 32)
    along = x * np.cos(angle) + y * np.sin(angle)
    streaks = ndimage.gaussian_filter(rng.standard_normal((128, 128)), (0.6, 1.2), mode="wrap")
    fibre = 2.2 * streaks[(1.2 * across).astype(int) % 128, (0.4 * along).astype(int) % 128]
    loose = _noise(rng, size, 16) + rng.normal(0.1 - 0.5 * malignant, 0.6)
    filled = 1 - 0.85 * _ramp(0.9 * fibre + 0.3 * grain + loose - 1.4, 1.2)
    contrast = rng.uniform(0.08, 0.25)
    h, e = patient.stroma * np.exp(rng.normal(0, 0.15, 2))
    stain = np.stack([h + 0.4 * contrast * fibre, e + contrast * fibre - 0.1 * loose]) * filled
    stain[1] += 0.8 * _ramp(_noise(rng, size, 8) + 0.5 * _noise(rng, size, 3) - 2.2, 0.6)
    # Glands: nucleated wall (all there is where cut along it), goblet cells or cytoplasm, lumen.
    direction = np.arctan2(*np.gradient(np.where(inside, depth, across))) + np.pi / 2 * ~inside
    apical = depth - plan[4] - 20 * _ramp(patchy - 2, 1) + 6 * plan[2] * fine
    lumen = fine + (apical - rng.uniform(2, 9) if malignant else 0.12 * depth - 0.88 * axis)
    mucin, pitch, mucous = patient.mucin * (not malignant), rng.uniform(3.2, 5), _ramp(apical, 1)
    goblets = _ellipses(rng, mucous, direction, np.full_like(depth, 1.5), pitch, 0.58 * pitch)
    strand = 0.35 * (1 - goblets) * (not malignant)
    h, e = patient.wall * np.exp(rng.normal(0, 0.1, 2))
    debris = 0.6 * _ramp(coarse + 0.5 * fine + 0.3 * grain + rng.normal(-0.6, 0.8), 1.5)
    wall = h + 0.12 * coarse, np.full_like(depth, e)
    apex = 0.45 * (1 - mucin) + strand, e * (1 - 0.97 * mucin) + strand
    for layer, below in ((wall, depth), (apex, apical), ((0.4 * debris, debris), lumen)):
        stain += (np.stack(layer) - stain) * _ramp(below, 1.2)
    # Nuclei: palisades in the epithelium, lymphocytes and patches of spindles in the stroma.
    infiltrate = np.clip(0.2 + 0.6 * patient.inflammation * (0.4 + patchy[::-1]), 0.06, 0.9)
    epithelial = np.where(lumen < 0, 0.04 + (0.75 if malignant else 0.9) * _ramp(-apical, 1.5), 0.4 * debris)
    density = np.where(inside, epithelial, infiltrate * filled) * (room > 0)
    aspect = np.where(inside, 2.0 if malignant else 1.5, np.where(fine > rng.normal(0.6), 2.6, 1.1))
    stain[0] += _ellipses(rng, density, direction, aspect, 2.1, 0.76) * np.where(inside, 1.4, 1.7)
    # Clefts around glands; then Beer-Lambert's law, the scanner's optics and its noise.
    cleft = _ramp(0.9 - abs(depth + 0.9) + coarse + 0.2 * grain - rng.uniform(0.8, 3), 1)
    stain *= (1 + 0.25 * np.stack([grain, grain.T])) * (1 - cleft) * (room > 0)
    light = np.exp(-np.einsum("kij,kc->ijc", np.maximum(stain, 0), patient.stains))
    image = 0.98 * ndimage.gaussian_filter(light, rng.uniform(0.33, 0.52), axes=(0, 1))
    image += 0.012 * rng.standard_normal(image.shape, np.float32)
    return (255 * np.clip(image, 0, 1)).round().astype(np.uint8), inside


def _draw_patient(seed: int, index: int) -> Patient:
    rng = default_rng((seed, 2, index))
    # Malignancy and overall strength are spread evenly over patients: they decide the difficulty.
    strength = np.exp(1.05 * ((0.7 + 0.381966 * index) % 1 - 0.5) - 0.2)
    hue, balance = rng.normal(), np.exp(rng.normal(0, 0.25))  # magenta to blue; eosin's share
    stains = np.array([[0.50 + 0.05 * hue, 0.88, 0.27], [0.06 + 0.02 * hue, 0.90, 0.30]])
    stains *= [[strength], [strength * balance]]
    stroma, wall = rng.uniform(((0.12, 0.42), (0.29, 0.35)), ((0.36, 0.7), (0.59, 0.65)))
    train, test = (shares[index] for shares in SHARES)
    wall[0] += 0.55 * train / (train + test)  # glands of the test split are fainter: the gap between the splits
    return Patient(stains, stroma, wall, (0.9, 0.1, 0.5)[index % 3], *rng.uniform((0.3, 0.2), (0.95, 1)))


def draw_dataset(seed: int = 0, n_train: int = 85, n_test: int = 60, size: int = SIZE) -> tuple[Split, Split]:
    """Draw the training and the test split.

    Deterministic; image k is the same however many are drawn; a larger image shows more tissue.

    Args:
        seed: names the data set, >= 0.
        n_train, n_test: number of training and of test images, >= 0.
        size: side of the square images in px, even, 16 to 1024.

    Returns:
        The training and the test split, masks of whole glands; patients are called "p01" to "p14".

    Raises:
        ValueError: an argument is not as above.
    """
    check_size(size)
    for name, value in (("seed", seed), ("n_train", n_train), ("n_test", n_test)):
        if value < 0:
            raise ValueError(f"{name}: expected an integer of at least 0, found {value!r}")
    splits = []
    for split, n in enumerate((n_train, n_test)):
        images, masks = np.empty((n, size, size, 3), np.uint8), np.empty((n, size, size), np.bool_)
        # A low-discrepancy sequence spreads images evenly over patients and gland fractions.
        steps = np.arange(n)[:, None] * (0.7548776662, 0.5698402910)  # 1/g, 1/g^2; g^3 = g + 1
        who, much = (default_rng((seed, split)).random(2) + steps).T % 1
        cast = np.searchsorted(np.cumsum(SHARES[split]) / sum(SHARES[split]), who, "right")
        fractions = 0.50 + 0.12 * (2 * much - 1) + 0.28 * (2 * much - 1) ** 3
        for k, (index, fraction) in enumerate(zip(cast, fractions, strict=True)):
            rng, patient = default_rng((seed, split, k)), _draw_patient(seed, int(index))
            images[k], masks[k] = _draw_image(rng, patient, float(fraction), size)
        names = tuple(f"image_{k:02d}" for k in range(1, n + 1))
        splits.append(Split(names, images, masks, tuple(f"p{index + 1:02d}" for index in cast)))
    return splits[0], splits[1]
