"""What the width of each layer costs, measured on one layer at a time; prepared."""

import torch
from torch import Tensor, nn

from shrink.chapters.mixed.networks import (
    CALIBRATED,
    LENET,
    SEPARABLE,
    WIDTHS,
    Integers,
    calibration,
    floats,
    integers,
    layers_of,
    made_of,
    sizes,
)
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import Progress, new_bar
from shrink.quantization.sensitivity import answer_sensitivity, hessian_trace, weight_sensitivity

BY = ("answers", "curvature", "weights")  # what tells the cost of a layer's width
MEASURED = ("nearest", "learned")  # roundings
JUDGED = 2_000  # validation images, the first ones
PROBES = 16  # of each layer's trace, on the training images of `calibration`
SECONDS = {SEPARABLE: 5, LENET: 2}  # on one core


def judged(dataset: Dataset) -> Split:
    """The validation images on which allocations are chosen and compared."""
    return Split(dataset.validation.images[:JUDGED], dataset.validation.labels[:JUDGED])


def traces(dataset: Dataset, seed: int = 0, model: str = SEPARABLE) -> dict[str, float]:
    """layer → the trace of the loss's Hessian by its weights, from training images; kept."""

    def make() -> dict[str, Tensor]:
        few = Split(calibration(dataset), dataset.train.labels[:CALIBRATED])
        found = hessian_trace(floats(dataset, seed, model), few.images, few.labels, PROBES)
        return {name: torch.tensor(x, dtype=torch.float64) for name, x in found.items()}

    parts = (*made_of(dataset, seed, model), hessian_trace, PROBES, CALIBRATED)
    found = kept("mixed/traces", make, *parts)
    return {name.removesuffix(".weight"): float(x) for name, x in found.items()}


def sensitivities(
    dataset: Dataset,
    seed: int = 0,
    model: str = SEPARABLE,
    by: str = "answers",
    rounding: str = "nearest",
    per_channel: bool = False,
) -> dict[str, dict[int, float]]:
    """layer → width → what it costs to round this layer alone; kept.

    Args:
        by: one of `BY`: the KL divergence of the answers, in nats; the squared error of the weights
            times half their mean curvature; or the squared error of the weights alone.
        rounding: "nearest" or "learned".
    """
    if by not in BY:
        raise ValueError(f"no sensitivity by {by!r}; there are {', '.join(BY)}")
    if rounding not in MEASURED:
        raise ValueError(
            f"costs are measured with {' or '.join(MEASURED)} rounding, not {rounding!r}"
        )
    names = list(sizes(model))

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, {model}, {rounding} rounding, cost of each width"
        with new_bar(title, seconds=SECONDS[model], total=len(names)) as bar:
            table = integers(dataset, seed, model, rounding, per_channel)
            return _costs(dataset, seed, model, table, lambda *_: bar.update())

    parts = (*made_of(dataset, seed, model), key_once(dataset.validation), rounding, per_channel)
    found = kept("mixed/costs", make, *parts, _costs, integers)[by].tolist()
    return {n: dict(zip(WIDTHS, row, strict=True)) for n, row in zip(names, found, strict=True)}


def _costs(
    dataset: Dataset, seed: int, model: str, table: Integers, progress: Progress
) -> dict[str, Tensor]:
    """For each of `BY` a row for each layer, with a column for each width."""
    net, images = floats(dataset, seed, model), judged(dataset).images
    counts = {f"{name}.weight": layer.weight.numel() for name, layer in layers_of(net).items()}
    curvature = {
        f"{name}.weight": trace / counts[f"{name}.weight"] / 2
        for name, trace in traces(dataset, seed, model).items()
    }
    rows: dict[str, list] = {by: [] for by in BY}
    for name in table:
        forms = _forms(table, name)
        of_layer = (
            answer_sensitivity(net, images, forms),
            weight_sensitivity(net, forms, curvature),
            weight_sensitivity(net, forms),
        )
        for by, found in zip(BY, of_layer, strict=True):
            rows[by].append([*found[f"{name}.weight"].values()])
        progress(len(rows[by]), len(table))
    return {by: torch.tensor(found, dtype=torch.float64) for by, found in rows.items()}


def answer_costs(
    net: nn.Module, images: Tensor, table: Integers, progress: Progress | None = None
) -> dict[str, dict[int, float]]:
    """layer → width → the KL divergence of the answers, for any network and its integers."""
    found = {}
    for name in table:
        (found[name],) = answer_sensitivity(net, images, _forms(table, name)).values()
        if progress is not None:
            progress(len(found), len(table))
    return found


def _forms(table: Integers, name: str) -> dict[str, dict[int, Tensor]]:
    return {f"{name}.weight": {width: q * scale for width, (q, scale) in table[name].items()}}
