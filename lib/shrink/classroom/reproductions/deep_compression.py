"""Han, Mao, Dally 2016 on MNIST: LeNet-300-100 and LeNet-5, each as one file, stage by stage.

A network is trained, pruned in rounds, its weights shared and the codebooks tuned, and the numbers
coded. After every stage it is a file, and its error is that of the network read back from the file
in a process of its own.

The recipes were chosen on the validation images of seed 10, which is not reported (1.26 % wrong in
19.7 KB, and 0.70 % in 35.0 KB by a recipe for LeNet-5 with fewer epochs), and committed before the
test errors of these runs were read.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from shrink import codec, pruning, quantization, sharing
from shrink.classroom import CourseError, formats, measure, models
from shrink.classroom.data import Dataset
from shrink.classroom.files import cached_tensors
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.reproductions import read_file
from shrink.classroom.reproductions.tables import Record, Rows, one_or_range
from shrink.classroom.training import Recipe, shifted, train
from shrink.sharing import Shared


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
        network → stage → what `_measured` says.
    """
    return {name: compress(name, plan, dataset, seed, folder) for name, plan in PLANS.items()}


def compress(name: str, plan: Plan, dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """One network through every stage of its plan: stage → what `_measured` says."""
    net = models.build(name, seed).to(
        dataset.train.images.device, memory_format=torch.channels_last
    )
    stages = _Stages(dataset, seed, net, folder / name)
    measured = partial(_measured, name, dataset)

    stages.train("dense", plan.dense)
    found = {"dense": measured(_write_dense, net.state_dict())}

    rounds = iter(plan.rounds)

    def tune(masks: dict[str, Tensor]) -> None:
        sparsity, recipe = next(rounds)
        hold = partial(pruning.hold_masks, models.weights(net), masks)
        stages.train(f"pruned-{sparsity:g}", recipe, hold)

    pruning.prune_iteratively(models.weights(net), [s for s, _ in plan.rounds], tune)
    found["pruned"] = measured(_write_relative, net.state_dict())

    shared = shared_weights(net, plan.values)
    hold = partial(sharing.hold_shared, models.weights(net), shared)
    stages.train("shared", plan.tuning, hold)
    parts = file_parts(net, plan.values)
    found["shared"] = measured(partial(codec.save, code="fixed"), parts)
    found["coded"] = measured(partial(codec.save, code="huffman"), parts)
    return found


def shared_weights(net: nn.Module, values: int) -> dict[str, Shared]:
    """Each weight with so many values besides 0, in half precision; as it is, if it has no more."""
    shared = {name: sharing.share(w, values) for name, w in models.weights(net).items()}
    return {
        name: Shared(parts.codebook.half().float(), parts.assignments, parts.zero)
        for name, parts in shared.items()
    }


def file_parts(net: nn.Module, values: int) -> dict[str, codec.Part]:
    """What goes into the codec's file: shared weights, and biases in 8 bits."""
    shared = shared_weights(net, values)
    parts: dict[str, codec.Part] = {}
    for name, tensor in net.state_dict().items():
        if name in shared:
            parts[name] = shared[name]
        else:
            p = quantization.qparams_of(tensor, num_bits=8, symmetric=True)
            parts[name] = codec.Quantized(quantization.quantize(tensor, p), p)
    return parts


class _Stages:
    """Trains a net in place, one stage after the other, and keeps what each makes of it."""

    def __init__(self, dataset: Dataset, seed: int, net: nn.Module, folder: Path) -> None:
        self.dataset, self.seed, self.net, self.folder = dataset, seed, net, folder

    def train(self, stage: str, recipe: Recipe, hold: Callable | None = None) -> None:
        """Train as the recipe says, or read what an earlier call left."""
        path = self.folder / f"{stage}.safetensors"
        make = partial(self._make, stage, recipe, hold, path.with_suffix(".partial"))
        self.net.load_state_dict(cached_tensors(path, make))

    def _make(
        self, stage: str, recipe: Recipe, hold: Callable | None, checkpoint: Path
    ) -> dict[str, Tensor]:
        title = f"seed {self.seed}, {self.folder.name}, {stage}"
        with new_bar(title, unit="step", leave=False) as bar:
            train(
                self.net,
                self.dataset.train,
                recipe,
                seed=self.seed,
                augment=shifted,
                hold=hold,
                progress=bar_progress(bar),
                checkpoint=checkpoint,
            )
        return self.net.state_dict()


def _write_dense(state: Mapping[str, Tensor], path: Path) -> int:
    return measure.write(path, dict(state))


def _write_relative(state: Mapping[str, Tensor], path: Path) -> int:
    """As chapter 02 stores it: float32 values and gaps, in as few bits a gap as is shortest."""
    packed = (formats.pack(state, "relative", bits) for bits in range(1, 9))
    return measure.write(path, min(packed, key=measure.size))


def _measured(name: str, dataset: Dataset, write: Callable, content: Mapping) -> dict:
    """The length of a file, and what a process of its own reads from it.

    Returns:
        `file_bytes`, the test `errors` of `images`, `kept` of each layer; of the codec's file also
        `bits` for each weight that is kept, by layer: of "values" and "gaps", tables included.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network")
        found = {"file_bytes": write(content, path)}
        command = [sys.executable, "-m", read_file.__name__, str(path), name, dataset.name]
        command.append(str(dataset.test.images.device))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise CourseError(f"{name} could not be read from its file: {reason}")
        found |= json.loads(done.stdout)
        raw = path.read_bytes()
    if raw.startswith(codec.MAGIC):
        found["bits"] = _bits(raw, found["kept"])
    return found


def _bits(content: bytes, kept: Mapping[str, list[int]]) -> dict[str, dict[str, float]]:
    """Of each layer: bits of its values and of its gaps for each weight that is kept."""
    sizes: Counter = Counter()
    for region in codec.regions(content):
        sizes[region.tensor, region.what.split(",")[0]] += region.end - region.start
    return {
        layer: {what: 8 * sizes[layer, what] / count for what in ("values", "gaps")}
        for layer, (count, _) in kept.items()
    }


class Result(Record):
    """The record of a run: a table of stages and one of layers, over seeds, beside the paper's."""

    def each(self, network: str, stage: str, what: str) -> list:
        """That figure of every seed."""
        return [run[network][stage][what] for run in self.runs]

    def errors(self, network: str, stage: str) -> list[float]:
        """Test error in %, of every seed."""
        pairs = zip(
            self.each(network, stage, "errors"), self.each(network, stage, "images"), strict=True
        )
        return [100 * errors / images for errors, images in pairs]

    def tables(self) -> list[Rows]:
        return [self._stages(), self._layers()]

    def _stages(self) -> Rows:
        head = ("", "file, bytes", "times smaller", "test error, %", "paper, bytes", "paper, %")
        rows = [head]
        for network in self.record["recipe"]:
            before = self.each(network, "dense", "file_bytes")
            for stage, name in STAGES.items():
                sizes, errors = self.each(network, stage, "file_bytes"), self.errors(network, stage)
                ratios = [b / size for b, size in zip(before, sizes, strict=True)]
                size, error = PAPER[network].get(stage, ("", ""))
                rows.append(
                    (
                        f"{network}, {name}",
                        one_or_range(sizes),
                        f"{statistics.mean(ratios):.1f}",
                        f"{statistics.mean(errors):.2f} ({one_or_range(errors, '.2f')})",
                        f"{size:,}" if size else "",
                        f"{error:.2f}" if error else "",
                    )
                )
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
