"""What the claims are judged by: scores of runs, and what has to be known of the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, UInt8
from scipy import ndimage

from lib.claims.intervals import Estimate, over_patients_alone
from lib.data.dataset import Dataset, Fold, Split
from lib.evaluation import constant_scores
from lib.runs.plan import EXPERIMENTS
from lib.runs.run import Run
from lib.runs.scores import fold_scores, image_scores

SCORES = {"dsc": "DSC", "dice": "Dice"}  # that claims are judged in; the study made them on the first


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the claims are judged by.

    Attributes:
        by_image: final scores of VARIANTS, as `image_scores` gives them; in a full run of "deeper", too.
        at_epoch: the last epoch that baseline and dropout were both scored after, None where there is none.
        equal_epochs: `image_scores` of these two after that epoch, None where there is none.
        in_folds: `fold_scores` of all that was trained in folds of all images; None but in a full run.
        patients: of each (split, image); None where they are not known of all images.
        fold_patients: of each image of `in_folds`; None where not known.
        constant_answer: SCORES of each training image by the constant answer with the higher mean in that score.
        border_contrast: of each test image as the networks see it, nan where its mask has no border.
        first_gradients: mean norms of the gradient of the first layer's weights in the first epoch, of "baseline" and
            "deeper"; empty but in a full run.
        until_decided: whether divisions are added while they can decide, which `look_factor` allows for.
    """

    by_image: pd.DataFrame
    at_epoch: int | None
    equal_epochs: pd.DataFrame | None
    in_folds: pd.DataFrame | None
    patients: Mapping[tuple[str, str], str] | None
    fold_patients: Mapping[str, str] | None
    constant_answer: pd.DataFrame
    border_contrast: pd.Series
    first_gradients: Mapping[str, float] = field(default_factory=dict)
    until_decided: bool = False

    @property
    def held_out(self) -> str:
        """What folds hold out: "new patients", or "new images" where patients are not known."""
        return "new images" if self.patients is None else "new patients"


def evidence(
    runs: Mapping[str, Mapping[str, Sequence[Run]]], dataset: Dataset, until_decided: bool = False
) -> Evidence:
    """Returns the evidence of a report's runs.

    Args:
        runs: by experiment and variant, as `report_runs` gives them.
        dataset: that they were trained and scored on.
        until_decided: as in `Evidence`.
    """
    variants = runs["variants"]
    pair = {name: variants[name] for name in ("baseline", "dropout")}
    compared = {"baseline": variants["baseline"], **runs["deeper"]} if "deeper" in runs else {}
    divided = {
        variant: of_variant
        for name, of_name in runs.items()
        if EXPERIMENTS[name].folds == "all"
        for variant, of_variant in of_name.items()
    }
    scored = set.intersection(*(set(run.scores) for of_variant in pair.values() for run in of_variant))
    return Evidence(
        by_image=image_scores({**variants, **runs.get("deeper", {})}, dataset),
        at_epoch=max(scored, default=None),
        equal_epochs=image_scores(pair, dataset, max(scored)) if scored else None,
        in_folds=fold_scores(divided, dataset) if divided else None,
        first_gradients={
            name: float(np.mean([run.gradient_norms[0]["conv1.weight"] for run in of_name]))
            for name, of_name in compared.items()
        },
        **of_images(dataset),
        until_decided=until_decided,
    )


def image_table(evidence: Evidence) -> pd.DataFrame:
    """Returns the scores of every image by every run that claims are judged by, in numbers alone, without names.

    Returns:
        One row for each image in each run: where it was scored ("splits", or "folds" of all images), variant, run (its
        seed, or the number of the division), split, numbers of image and patient (-1: not known), loss, DSC and Dice.
        An image has one number, and a patient too, wherever they are scored.
    """
    tables = {"splits": evidence.by_image} | ({} if evidence.in_folds is None else {"folds": evidence.in_folds})
    table = pd.concat({place: of[["loss", *SCORES]] for place, of in tables.items()}, names=["place"]).reset_index()
    in_folds = table["place"] == "folds"  # where an image is called by its split and name
    called = table["image"].where(in_folds, table["split"] + " " + table["image"])
    patients = {f"{split} {image}": who for (split, image), who in (evidence.patients or {}).items()}
    return table.assign(
        image=pd.factorize(called)[0], patient=pd.factorize(called.map(patients))[0], run=table["seed"]
    )[["place", "variant", "run", "split", "image", "patient", "loss", *SCORES]]


def of_images(dataset: Dataset) -> dict[str, Any]:
    """Returns the attributes of `Evidence` that come from the images alone."""
    contrasts = [border_contrast(*pair) for pair in zip(dataset.test.images, dataset.test.masks, strict=True)]
    return {
        "patients": patients_of(dataset),
        "fold_patients": Fold("all", 0).patients(dataset),
        "constant_answer": constant_answer(dataset.train),
        "border_contrast": pd.Series(contrasts, index=list(dataset.test.names)),
    }


def patients_of(dataset: Dataset) -> dict[tuple[str, str], str] | None:
    """Returns the patient of each (split, image), None where not all are known."""
    patients: dict[tuple[str, str], str] = {}
    for name, split in dataset.splits.items():
        if split.patients is None:
            return None
        patients |= {(name, image): patient for image, patient in zip(split.names, split.patients, strict=True)}
    return patients


def constant_answer(split: Split) -> pd.DataFrame:
    """Returns SCORES of each image by the constant answer with the higher mean, which may differ between scores."""
    answers = constant_scores(torch.from_numpy(split.masks)).values()
    best = {score: max((answer[score] for answer in answers), key=lambda x: x.mean().item()) for score in SCORES}
    return pd.DataFrame({score: values.tolist() for score, values in best.items()}, index=list(split.names))


def held_out_dice(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> pd.DataFrame:
    """Returns the Dice of each training image by the network of each step that did not see it: images x steps.

    Args:
        runs: by step, in their order, one in each fold of the training images.
    """
    return fold_scores(runs, dataset)["dice"].xs("test", level="split").droplevel("seed").unstack("variant")[list(runs)]


def added_by_step(held_out: pd.DataFrame, dataset: Dataset) -> dict[str, Estimate]:
    """Returns what each step adds to the Dice of the one before, with its interval over patients.

    Args:
        held_out: as `held_out_dice` returns it. dataset: of the images.
    """
    known = Fold("train", 0).patients(dataset)
    patients = None if known is None else {("test", image): who for image, who in known.items()}
    added = held_out.diff(axis=1).T  # a row is one run of a contrast: steps x images
    added.columns = pd.MultiIndex.from_product([["test"], added.columns], names=["split", "image"])
    return {step: over_patients_alone(added.loc[[step]], "test", patients) for step in added.index[1:]}


def border_contrast(image: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]) -> float:
    """Returns how the colours on the two sides of a mask's border differ: the distance of their means in CIELAB.

    Unmixed stains count as the colours that they are shown in: haematoxylin as red, eosin as green, the rest as blue.
    Each side is the band of three pixels along the border; nan where the mask has no border.
    """
    from skimage.color import rgb2lab  # takes half a second to import

    inside = mask & ~ndimage.binary_erosion(mask, iterations=3, border_value=1)
    outside = ~mask & ndimage.binary_dilation(mask, iterations=3)
    if not inside.any() or not outside.any():
        return float("nan")
    colours = rgb2lab(image)
    return float(np.linalg.norm(colours[inside].mean(axis=0) - colours[outside].mean(axis=0)))
