"""The library behind the report: the study's networks and score, their training, and the page made of them."""

from lib.metrics import DSC
from lib.models import dropout_CNN_segment, shallower_CNN_segment

__all__ = ["DSC", "dropout_CNN_segment", "shallower_CNN_segment"]
