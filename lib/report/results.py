"""The content of results.json."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from lib.claims.evidence import Evidence, added_by_step, held_out_dice
from lib.claims.reference import reference_for
from lib.claims.verdicts import Judgement, NotRun, claim_results
from lib.data.dataset import SYNTHETIC, Dataset, Fold, duplicates, shared_patients
from lib.report.parameters import Parameters
from lib.runs.plan import EXPERIMENTS, VARIANTS
from lib.runs.run import Run
from lib.runs.scores import constant_means, extreme_images, final_means


def _run_results(run: Run) -> dict[str, Any]:
    return {"seed": run.config.seed, "seconds": sum(run.seconds), **final_means(run)}


def variant_results(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Returns the runs of the variants as in results.json: configuration, learning curves and final scores."""
    return {
        variant: {
            "label": VARIANTS[variant].label,
            "config": {key: value for key, value in vars(of_variant[0].config).items() if key != "seed"},
            "runs": [_run_results(run) | {"history": vars(run.history)} for run in of_variant],
        }
        for variant, of_variant in runs.items()
    }


def _place(fold: Fold) -> dict[str, int]:
    """Returns where in the repeated cross-validation a run was made."""
    return {"division": fold.repeat, "fold": fold.index}


def side_results(runs: Mapping[str, Mapping[str, Sequence[Run]]], dataset: Dataset) -> dict[str, Any]:
    """Returns the side experiments as in results.json: final scores and seconds of training.

    Each step of the ladder has its mean "dice" on held-out images, and what it "added" to that of the one before: the
    effect, and the bounds of its interval.
    """
    side = {
        experiment: {
            variant: {
                "label": EXPERIMENTS[experiment].variants[variant].label,
                "epochs": of_variant[0].config.epochs,
                "runs": [_run_results(run) | (_place(run.fold) if run.fold else {}) for run in of_variant],
            }
            for variant, of_variant in of_experiment.items()
        }
        for experiment, of_experiment in runs.items()
        if experiment != "variants"
    }
    if ladder := runs.get("ladder"):
        held_out = held_out_dice(ladder, dataset)
        dice, added = held_out.mean(), added_by_step(held_out, dataset)
        for step, of_step in side["ladder"].items():
            of_step["dice"] = float(dice[step])
            if one := added.get(step):
                of_step["added"] = one.effect, None if isnan(one.ci_low) else (one.ci_low, one.ci_high)
    return side


def collect_results(
    runs: Mapping[str, Mapping[str, Sequence[Run]]],
    measured: Evidence,
    judged: Sequence[Judgement | NotRun],
    dataset: Dataset,
    parameters: Parameters,
) -> dict[str, Any]:
    """Returns the content of results.json, but for its provenance: all that the report says, for machines."""
    shared = shared_patients(dataset)
    patients = {patient for split in dataset.splits.values() for patient in split.patients or ()}
    return {
        "parameters": parameters.model_dump() | {"dataset": dataset.name},
        "dataset": {
            "name": dataset.name,
            "synthetic": parameters.dataset == SYNTHETIC,
            "n_train": len(dataset.train),
            "n_test": len(dataset.test),
            "n_test_b": len(dataset.test_b) if dataset.test_b else None,
            "image_size": dataset.image_size,
            "foreground_fraction": {name: split.foreground_fraction for name, split in dataset.splits.items()},
            "patients": len(patients) or None,
            "shared_patients": None if shared is None else {" and ".join(two): ids for two, ids in shared.items()},
            "duplicates": [[" ".join(image) for image in same] for same in duplicates(dataset)],
            "trivial": constant_means(dataset.test),
        },
        "variants": variant_results(runs["variants"]),
        "images": {
            which: {"name": image.name, "dsc": image["dsc"], "dice": image["dice"]}
            for which, image in extreme_images(measured.by_image).items()
        },
        "claims": [claim_results(one) for one in judged],
        "reference": None if parameters.study else reference_for(dataset),
        "side": side_results(runs, dataset),
    }
