"""A study's segmentation networks and their score, how they are trained and scored, and the report made of them."""

from lib.evaluation import evaluate
from lib.metrics import DSC
from lib.models import dropout_CNN_segment, shallower_CNN_segment
from lib.training import TrainingConfig, train

__all__ = ["DSC", "TrainingConfig", "dropout_CNN_segment", "evaluate", "shallower_CNN_segment", "train"]
