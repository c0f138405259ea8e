"""Han et al. 2015 on MNIST: LeNet-300-100 with 22 K of 267 K weights, at no loss of accuracy.

Networks that differ in their seed are trained, pruned in rounds and fine-tuned. Beside each stand
its controls: the dense network with the same extra steps, as many weights of each layer kept at
random places, and a smaller dense network whose file is no longer than the pruned one's.

The recipe was chosen on the validation images of seed 10, which is not reported, and committed
before the test errors of these runs were read. Some had been read before: those of seeds 0 and 1
pruned in one shot with the same weight decay, which is a test of the course.
"""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from shrink import pruning
from shrink.classroom import formats, measure, models
from shrink.classroom.baselines import baseline
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, train
from shrink.papers.tables import Record, Rows, interval, one_or_range, paired

NAME = "lenet-300-100"
ROUNDS = (0.6, 0.8, 0.88, 0.92)  # sparsity over all layers
TUNING = Recipe(epochs=5, weight_decay=1e-4)  # of each round
TRAINING = Recipe(epochs=20)  # of the small network, as of the dense one
RECIPE = {"rounds": list(ROUNDS), "tuning": asdict(TUNING), "training": asdict(TRAINING)}
MARGIN = 0.1  # points of test error: a difference within it counts as no loss
ARMS = {
    "dense": "dense",
    "pruned": "pruned in 4 rounds, fine-tuned",
    "same steps": "dense, the same extra steps",
    "random": "as many kept, at random places",
    "small": "small dense net, no more bytes",
}


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """Train the arms of one seed and measure each from its file.

    Every round's weights are kept in `folder`; after a kill the same call goes on from there.

    Returns:
        arm → `errors` of `images` test images, `weights` that are not zero, `kept` of each layer,
        and `file_bytes`.
    """
    start = partial(baseline, NAME, dataset, seed=seed)
    rounds = partial(_Rounds, dataset, seed)
    nets = {arm: start() for arm in ("dense", "pruned", "same steps", "random")}

    tune = rounds(nets["pruned"], folder / "pruned")
    masks = pruning.prune_iteratively(models.weights(nets["pruned"]), ROUNDS, tune)
    tune = rounds(nets["same steps"], folder / "same-steps")
    for _ in ROUNDS:
        tune({})
    tune = rounds(nets["random"], folder / "random")
    for _ in ROUNDS:
        tune(pruning.shuffle_masks(masks, seed))
    limit, _ = shortest(nets["pruned"].state_dict())
    nets["small"] = small_net(limit, seed).to(dataset.train.images.device)
    tune = rounds(nets["small"], folder / "small", first=TRAINING)
    for _ in (TRAINING, *ROUNDS):
        tune({})
    sparse = ("pruned", "random")
    return {arm: _measured(net, dataset, arm in sparse) for arm, net in nets.items()}


def shortest(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """The bytes of the shortest file in relative indices, and its bits a gap."""
    return min((measure.size(formats.pack(state, "relative", bits)), bits) for bits in range(1, 9))


def small_net(limit: int, seed: int) -> nn.Module:
    """The widest network of LeNet-300-100's proportions whose dense file has at most `limit` bytes.

    Raises `ValueError` when even the narrowest is longer.
    """
    for width in range(100, 0, -1):
        net = models.build(NAME, seed, hidden=(3 * width, width))
        if measure.size(net.state_dict()) <= limit:
            return net
    raise ValueError(f"no network fits in {limit} bytes")


class _Rounds:
    """Trains a net one round further at each call, in place, while the masks given are held.

    What a round makes of the net is a file in `folder`; a round that is there already is read.
    """

    def __init__(
        self, dataset: Dataset, seed: int, net: nn.Module, folder: Path, first: Recipe = TUNING
    ) -> None:
        self.dataset, self.seed, self.net, self.folder = dataset, seed, net, folder
        self.recipes = itertools.chain([first], itertools.repeat(TUNING))
        self.rounds = itertools.count(1)

    def __call__(self, masks: dict[str, Tensor]) -> None:
        number, recipe = next(self.rounds), next(self.recipes)
        path = self.folder / f"round-{number}.safetensors"
        make = partial(self._train, number, recipe, masks, path.with_suffix(".partial"))
        self.net.load_state_dict(cached_tensors(path, make))

    def _train(
        self, number: int, recipe: Recipe, masks: dict[str, Tensor], checkpoint: Path
    ) -> dict[str, Tensor]:
        title = f"seed {self.seed}, {self.folder.name}, round {number}"
        with new_bar(title, unit="step") as bar:
            train(
                self.net,
                self.dataset.train,
                recipe,
                seed=100 * self.seed + number,
                hold=partial(pruning.hold_masks, models.weights(self.net), masks),
                progress=bar_progress(bar),
                checkpoint=checkpoint,
            )
        return self.net.state_dict()


def _measured(net: nn.Module, dataset: Dataset, sparse: bool) -> dict:
    """The report of a model's file: in relative indices where the model is sparse, else dense."""
    encode: Callable = dict
    decode: Callable = dict
    if sparse:
        _, gap_bits = shortest(net.state_dict())
        encode = partial(formats.pack, format="relative", gap_bits=gap_bits)
        decode = partial(formats.unpack, format="relative")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        report = measure.measure(
            "", net, dataset.test, dataset.name, path, encode=encode, decode=decode
        )
    weights = models.weights(net)
    return {
        "errors": report.images - report.correct,
        "images": report.images,
        "weights": sum(int(w.count_nonzero()) for w in weights.values()),
        "kept": {name: int(w.count_nonzero()) / w.numel() for name, w in weights.items()},
        "file_bytes": report.file_bytes,
    }


class Result(Record):
    """The record of a run as a table: an arm a row, means over seeds, and the verdict."""

    @property
    def errors(self) -> dict[str, list[float]]:
        """Arm → test error in %, one a seed."""
        return {
            arm: [100 * run[arm]["errors"] / run[arm]["images"] for run in self.runs]
            for arm in ARMS
        }

    def difference(self, arm: str, other: str = "dense") -> tuple[float, float, float]:
        """Points of test error that `arm` has more than `other`: mean over seeds, 95 % interval.

        Seeds are paired, and their differences taken as normal (Student's t).
        """
        return paired(self.errors[arm], self.errors[other])

    @property
    def verdict(self) -> str:
        """Whether the claim holds here: no loss, within `MARGIN`, against the dense network."""
        mean, low, high = self.difference("pruned")
        if high <= MARGIN:
            word = "reproduced"
        elif low > MARGIN:
            word = "not reproduced"
        else:
            word = "partly reproduced: the seeds spread too much to tell"
        return (
            f"{word}. Pruned minus dense: {interval(mean, low, high)} points of test error over "
            f"{len(self.runs)} seeds; no loss means that the interval ends at {MARGIN:+.2f} or "
            f"below. Against the dense network with the same extra steps: "
            f"{interval(*self.difference('pruned', 'same steps'))}."
        )

    def tables(self) -> list[Rows]:
        rows = [("", "weights left", "file, bytes", "test error, %", "minus dense, 95 % interval")]
        for arm, name in ARMS.items():
            errors = self.errors[arm]
            rows.append(
                (
                    name,
                    one_or_range(run[arm]["weights"] for run in self.runs),
                    one_or_range(run[arm]["file_bytes"] for run in self.runs),
                    f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f}",
                    "" if arm == "dense" else interval(*self.difference(arm)),
                )
            )
        paper = {"Han et al. 2015, dense": ("267 K", "1.64"), "…, pruned": ("22 K", "1.59")}
        return [rows + [(name, left, "", error, "") for name, (left, error) in paper.items()]]
