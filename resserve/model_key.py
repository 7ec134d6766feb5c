"""Names one version of one model, in every process and on every wire."""

from typing import NamedTuple


class ModelKey(NamedTuple):
    """A model's name and one of its versions; `str` gives `resnet50@3`, as the command line takes it."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
