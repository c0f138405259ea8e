"""A network's way to a small file, stage by stage, and what is measured after each."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from shrink import pruning, quantization, sharing
from shrink.classroom import CourseError, formats, measure, models
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Examples, Recipe, shifted, train
from shrink.coding import codec
from shrink.papers import read_file
from shrink.papers.tables import Record, one_or_range
from shrink.sharing import Shared


class Stages:
    """Trains a net in place, one stage after the other, and keeps what each makes in `folder`.

    All training is on images shifted by up to a pixel. Where `examples` and `loss` are set, as for
    a teacher's answers, they are those of the training from then on (`training.train`).
    """

    def __init__(self, dataset: Dataset, seed: int, net: nn.Module, folder: Path) -> None:
        self.dataset, self.seed, self.net, self.folder = dataset, seed, net, folder
        self.examples: Examples | None = None
        self.loss: Callable[..., Tensor] | None = None

    def train(self, stage: str, recipe: Recipe, hold: Callable | None = None) -> None:
        """Train as the recipe says, or read what an earlier call left."""
        path = self.folder / f"{stage}.safetensors"
        make = partial(self._make, stage, recipe, hold, path.with_suffix(".partial"))
        self.net.load_state_dict(cached_tensors(path, make))

    def prune(
        self,
        rounds: Sequence[tuple[float, Recipe]],
        after: Callable[[float], object] = lambda sparsity: None,
    ) -> None:
        """Prune all layers together, in rounds: to a sparsity, and train what is left.

        After each round `after` is called with its sparsity.
        """
        weights, following = models.weights(self.net), iter(rounds)

        def tune(masks: dict[str, Tensor]) -> None:
            sparsity, recipe = next(following)
            hold = partial(pruning.hold_masks, weights, masks)
            self.train(f"pruned-{sparsity:g}", recipe, hold)
            after(sparsity)

        pruning.prune_iteratively(weights, [sparsity for sparsity, _ in rounds], tune)

    def share(self, stage: str, values: int, tuning: Recipe) -> None:
        """Let each layer share so many values besides 0, and train these."""
        shared = shared_weights(self.net, values)
        self.train(stage, tuning, partial(sharing.hold_shared, models.weights(self.net), shared))

    def _make(
        self, stage: str, recipe: Recipe, hold: Callable | None, checkpoint: Path
    ) -> dict[str, Tensor]:
        title = f"seed {self.seed}, {self.folder.name}, {stage}"
        with new_bar(title, unit="step") as bar:
            train(
                self.net,
                self.dataset.train,
                recipe,
                seed=self.seed,
                loss=self.loss,
                augment=None if self.examples else shifted,
                examples=self.examples,
                hold=hold,
                progress=bar_progress(bar),
                checkpoint=checkpoint,
            )
        return self.net.state_dict()


def shared_weights(net: nn.Module, values: int) -> dict[str, Shared]:
    """Each weight with so many values besides 0, in half precision; as it is, if it has no more."""
    shared = {name: sharing.share(w, values) for name, w in models.weights(net).items()}
    return {
        name: Shared(parts.codebook.half().float(), parts.assignments, parts.zero)
        for name, parts in shared.items()
    }


def file_parts(net: nn.Module, values: int, bias_bits: int = 8) -> dict[str, codec.Part]:
    """What goes into the codec's file: shared weights, and biases in `bias_bits` bits."""
    shared = shared_weights(net, values)
    parts: dict[str, codec.Part] = {}
    for name, tensor in net.state_dict().items():
        if name in shared:
            parts[name] = shared[name]
        else:
            p = quantization.qparams_of(tensor, bias_bits, symmetric=True)
            parts[name] = codec.Quantized(quantization.quantize(tensor, p), p)
    return parts


def write_dense(state: Mapping[str, Tensor], path: Path) -> int:
    return measure.write(path, dict(state))


def write_relative(state: Mapping[str, Tensor], path: Path) -> int:
    """As chapter 02 stores it: float32 values and gaps, in as few bits a gap as is shortest."""
    packed = (formats.pack(state, "relative", bits) for bits in range(1, 9))
    return measure.write(path, min(packed, key=measure.size))


def measured(name: str, dataset: Dataset, write: Callable, content: Mapping) -> dict:
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
    """Of each layer: bits of its values and of its gaps for each weight that is kept, or in all."""
    sizes: Counter = Counter()
    for region in codec.regions(content):
        sizes[region.tensor, region.what.split(",")[0]] += region.end - region.start
    return {
        layer: {what: 8 * sizes[layer, what] / max(count, 1) for what in ("values", "gaps")}
        for layer, (count, _) in kept.items()
    }


class StagesRecord(Record):
    """The record of runs whose result is network → stage → what `measured` says."""

    def each(self, network: str, stage: str, what: str) -> list:
        """That figure of every seed."""
        return [run[network][stage][what] for run in self.runs]

    def errors(self, network: str, stage: str) -> list[float]:
        """Test error in %, of every seed."""
        pairs = zip(
            self.each(network, stage, "errors"), self.each(network, stage, "images"), strict=True
        )
        return [100 * errors / images for errors, images in pairs]

    def coded(self, network: str) -> list[str]:
        """The stages whose file is one of the codec, each symbol coded."""
        raise NotImplementedError

    def files(self, network: str) -> tuple[list[list[int]], list[list[float]]]:
        """Of the coded files bytes and test errors in %: one list a file, a number a seed."""
        sizes = [self.each(network, stage, "file_bytes") for stage in self.coded(network)]
        return sizes, [self.errors(network, stage) for stage in self.coded(network)]

    def stage_cells(self, network: str, stage: str) -> tuple[str, str, str]:
        """Bytes of the file, how many times smaller than the dense one, test error in %."""
        before = self.each(network, "dense", "file_bytes")
        sizes, errors = self.each(network, stage, "file_bytes"), self.errors(network, stage)
        ratios = [b / size for b, size in zip(before, sizes, strict=True)]
        return (
            one_or_range(sizes),
            f"{statistics.mean(ratios):.1f}",
            f"{statistics.mean(errors):.2f} ({one_or_range(errors, '.2f')})",
        )
