"""All numbers that chapter 11's explorer shows beside what it computes live, in one file.

They are those of `curves` and `networks`, which take a second to look up one by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shrink.chapters.mixed import costs, curves, networks
from shrink.chapters.mixed.colours import LINES
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, key_once
from shrink.classroom.training import accuracy

PER = ("layer", "channel")
ROUNDINGS = ("nearest", "learned")
Table = dict[str, dict[int, float]]  # layer → width → a number


@dataclass(frozen=True)
class Tables:
    """What is prepared; "one scale per" comes first in each key."""

    layers: tuple[str, ...]
    found: Mapping[str, Tensor]

    def costs(self, per: str, by: str, rounding: str) -> Table:
        """What each width of each layer costs in the first network."""
        return self._table(f"{per}/costs/{by}/{rounding}")

    def sizes(self, per: str) -> Table:
        """The bytes of each layer in each width."""
        return self._table(f"{per}/sizes")

    def room(self, per: str, budget: float) -> int:
        """The bytes of a budget."""
        return int(self.found[f"{per}/rooms"][curves.BUDGETS.index(budget)])

    def line(self, per: str, by: str, name: str) -> Tensor:
        """(seeds, budgets) the share of validation images that are wrong."""
        return self.found[f"{per}/lines/{by}/{name}"]

    @property
    def whole(self) -> float:
        """That share with the networks of floats, the mean of the seeds."""
        return float(self.found["whole"].mean())

    def _table(self, name: str) -> Table:
        rows = self.found[name].tolist()
        widths = networks.WIDTHS
        return {
            n: dict(zip(widths, row, strict=True)) for n, row in zip(self.layers, rows, strict=True)
        }


def measures(per: str, name: str | None = None) -> tuple[str, ...]:
    """By what costs are measured where there is one scale per channel, or per layer; for a line."""
    one = per == "channel" or (name is not None and name not in curves.BY_ALL)
    return curves.BY[:1] if one else curves.BY


def tables(dataset: Dataset, seeds: tuple[int, ...]) -> Tables:
    """All tables of the networks of these seeds; kept."""
    made = [networks.made_of(dataset, seed, networks.SEPARABLE) for seed in seeds]
    parts = (*made, key_once(dataset.validation), seeds)
    found = kept("mixed/tables", lambda: _gather(dataset, seeds), *parts, _gather)
    return Tables(tuple(networks.sizes()), found)


def _gather(dataset: Dataset, seeds: tuple[int, ...]) -> dict[str, Tensor]:
    found = {}
    judged = costs.judged(dataset)
    right = [accuracy(networks.floats(dataset, seed), judged) for seed in seeds]
    found["whole"] = 1 - torch.tensor(right, dtype=torch.float64)
    for per in PER:
        each = per == "channel"
        rooms = [networks.budget(width, per_channel=each) for width in curves.BUDGETS]
        found[f"{per}/rooms"] = torch.tensor(rooms)
        found[f"{per}/sizes"] = _rows(networks.sizes(per_channel=each))
        for by in measures(per):
            for rounding in ROUNDINGS:
                how = {"by": by, "rounding": rounding, "per_channel": each}
                table = costs.sensitivities(dataset, seeds[0], **how)
                found[f"{per}/costs/{by}/{rounding}"] = _rows(table)
        for name in LINES:
            for by in measures(per, name):
                how = {"by": by, "per_channel": each}
                lines = [curves.curve(dataset, seed, name, **how) for seed in seeds]
                rows = [[line[budget] for budget in curves.BUDGETS] for line in lines]
                found[f"{per}/lines/{by}/{name}"] = torch.tensor(rows, dtype=torch.float64)
    return found


def _rows(table: Mapping[str, Mapping[int, float]]) -> Tensor:
    rows = [list(of.values()) for of in table.values()]
    kind = torch.int64 if isinstance(rows[0][0], int) else torch.float64
    return torch.tensor(rows, dtype=kind)
