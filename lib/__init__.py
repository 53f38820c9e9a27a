"""A study's segmentation networks and their score, how they are trained and scored, and the report made of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib.evaluation import evaluate
    from lib.metrics import DSC
    from lib.models import dropout_CNN_segment, shallower_CNN_segment
    from lib.training import TrainingConfig, train

__all__ = ["DSC", "TrainingConfig", "dropout_CNN_segment", "evaluate", "shallower_CNN_segment", "train"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: torch takes two seconds, which a command that trains nothing need not spend."""
    for module in ("metrics", "models", "training", "evaluation") if name in __all__ else ():
        if hasattr(found := import_module(f"lib.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
