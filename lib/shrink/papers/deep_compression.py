"""Han, Mao, Dally 2016 on MNIST: LeNet-300-100 and LeNet-5, each as one file, stage by stage.

A network is trained, pruned in rounds, its weights shared and the codebooks tuned, and the numbers
coded. After every stage it is a file, and its error is that of the network read back from the file
in a process of its own.

The recipes were chosen on the validation images of seed 10, which is not reported (1.26 % wrong in
19.7 KB, and 0.70 % in 35.0 KB by a recipe for LeNet-5 with fewer epochs), and committed before the
test errors of these runs were read.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from shrink.classroom import models
from shrink.classroom.data import Dataset
from shrink.classroom.training import Recipe
from shrink.coding import codec
from shrink.papers.stages import (
    Stages,
    StagesRecord,
    file_parts,
    measured,
    write_dense,
    write_relative,
)
from shrink.papers.tables import Rows, one_or_range


@dataclass(frozen=True)
class Plan:
    """How a network becomes a small file; all training is on images shifted by up to a pixel.

    `rounds` are sparsities over all layers, and how the weights that are left are trained then;
    `values` are those that a layer shares besides 0; `tuning` trains the codebooks.
    `limits` are what the file should keep within: bytes, and test error in %.
    """

    dense: Recipe
    rounds: tuple[tuple[float, Recipe], ...]
    values: int
    tuning: Recipe
    limits: tuple[int, float]


PLANS = {
    "lenet-300-100": Plan(
        dense=Recipe(epochs=20, weight_decay=1e-4),
        rounds=(
            (0.7, Recipe(epochs=4, learning_rate=0.05, weight_decay=1e-4)),
            (0.85, Recipe(epochs=4, learning_rate=0.05, weight_decay=1e-4)),
            (0.92, Recipe(epochs=12, learning_rate=0.05, weight_decay=1e-4)),
        ),
        values=16,
        tuning=Recipe(epochs=2, learning_rate=1e-3, weight_decay=0),
        limits=(24_000, 1.58),
    ),
    "lenet-5": Plan(
        dense=Recipe(epochs=14, learning_rate=0.05),
        rounds=(
            (0.8, Recipe(epochs=3, learning_rate=0.025, weight_decay=1e-4)),
            (0.92, Recipe(epochs=9, learning_rate=0.025, weight_decay=1e-4)),
        ),
        values=16,
        tuning=Recipe(epochs=1, learning_rate=3e-4, weight_decay=0),
        limits=(38_000, 0.74),
    ),
}
RECIPE = json.loads(json.dumps({name: asdict(plan) for name, plan in PLANS.items()}))
STAGES = {
    "dense": "dense, float32",
    "pruned": "pruned, retrained",
    "shared": "shared, tuned",
    "coded": "Huffman coded",
}
# Its tables: bytes (KB of 1000) and test error in %; of each layer the part that is kept, and the
# bits of a weight and of a gap.
PAPER = {
    "lenet-300-100": {"dense": (1_070_000, 1.64), "coded": (27_000, 1.58)},
    "lenet-5": {"dense": (1_720_000, 0.80), "coded": (44_000, 0.74)},
}
PAPER_LAYERS = {
    "lenet-300-100": {"fc1": (0.08, 6, 5), "fc2": (0.09, 6, 5), "fc3": (0.26, 6, 5)},
    "lenet-5": {
        "conv1": (0.66, 8, 5),
        "conv2": (0.12, 8, 5),
        "fc1": (0.08, 5, 5),
        "fc2": (0.19, 5, 5),
    },
}


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict[str, dict]]:
    """Both networks of one seed, through every stage.

    What each training makes is kept in `folder`; after a kill the same call goes on from there.

    Returns:
        network → stage → what `stages.measured` says.
    """
    return {name: compress(name, plan, dataset, seed, folder) for name, plan in PLANS.items()}


def compress(name: str, plan: Plan, dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """One network through every stage of its plan: stage → what `stages.measured` says."""
    net = models.build(name, seed).to(
        dataset.train.images.device, memory_format=torch.channels_last
    )
    stages = Stages(dataset, seed, net, folder / name)
    figures = partial(measured, name, dataset)

    stages.train("dense", plan.dense)
    found = {"dense": figures(write_dense, net.state_dict())}
    stages.prune(plan.rounds)
    found["pruned"] = figures(write_relative, net.state_dict())
    stages.share("shared", plan.values, plan.tuning)
    parts = file_parts(net, plan.values)
    found["shared"] = figures(partial(codec.save, code="fixed"), parts)
    found["coded"] = figures(partial(codec.save, code="huffman"), parts)
    return found


class Result(StagesRecord):
    """The record of a run: a table of stages and one of layers, over seeds, beside the paper's."""

    def coded(self, network: str) -> list[str]:
        return ["coded"]

    def paper(self, network: str) -> tuple[int, float]:
        """Bytes and test error in % of the paper's file."""
        return PAPER[network]["coded"]

    def tables(self) -> list[Rows]:
        return [self._stages(), self._layers()]

    def _stages(self) -> Rows:
        head = ("", "file, bytes", "times smaller", "test error, %", "paper, bytes", "paper, %")
        rows = [head]
        for network in self.record["recipe"]:
            for stage, name in STAGES.items():
                size, error = PAPER[network].get(stage, ("", ""))
                paper = (f"{size:,}" if size else "", f"{error:.2f}" if error else "")
                rows.append((f"{network}, {name}", *self.stage_cells(network, stage), *paper))
        return rows

    def _layers(self) -> Rows:
        """Of the last file, and of that before for bits that are not coded."""
        rows = [("", "kept", "paper", "bits a weight", "coded", "bits a gap", "coded", "paper")]
        for network in self.record["recipe"]:
            for layer, (kept, value, gap) in PAPER_LAYERS[network].items():
                weight = f"{layer}.weight"
                shares = [count / of for count, of in self._of(network, "coded", "kept", weight)]
                bits = [
                    one_or_range((b[what] for b in self._of(network, stage, "bits", weight)), ".1f")
                    for what in ("values", "gaps")
                    for stage in ("shared", "coded")
                ]
                cells = (one_or_range(shares, ".1%"), f"{kept:.0%}", *bits, f"{value} and {gap}")
                rows.append((f"{network}, {layer}", *cells))
        return rows

    def _of(self, network: str, stage: str, what: str, layer: str) -> list:
        return [found[layer] for found in self.each(network, stage, what)]

    @property
    def verdict(self) -> str:
        """Of each network: is every seed's file as short as the paper's, and errs it no more?"""
        return " ".join(map(self._verdict, self.record["recipe"]))

    def _verdict(self, network: str) -> str:
        sizes, errors = self.each(network, "coded", "file_bytes"), self.errors(network, "coded")
        size, error = PAPER[network]["coded"]
        smaller, right = max(sizes) <= size, max(errors) <= error
        word = "reproduced" if smaller and right else "partly reproduced"
        if not (smaller or right):
            word = "not reproduced"
        most, limit = self.record["recipe"][network]["limits"]
        kept = sum(s <= most and e <= limit for s, e in zip(sizes, errors, strict=True))
        return (
            f"{network}: {word}. The paper's file has {size:,} bytes at {error:.2f} % test error; "
            f"ours has at most {max(sizes):,} at {max(errors):.2f} % at most, over "
            f"{len(sizes)} seeds. Our own limits, {most:,} bytes and {limit:.2f} %, are kept by "
            f"{kept} of {len(sizes)}."
        )
