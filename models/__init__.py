"""The networks of He et al. 2015 and their baselines: build them by name, count their cost, keep their weights."""

from models.catalogue import CATALOGUE, Entry, build, find
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.counting import Counts, count

__all__ = [
    "CATALOGUE",
    "Checkpoint",
    "Counts",
    "Entry",
    "build",
    "count",
    "find",
    "load_checkpoint",
    "save_checkpoint",
]
