"""SynFlow in a hundred steps: the time it takes, beside the way of its authors' code."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom import models
from tests.bench.rows import Row, faster, in_turns

SHAPE, STEPS = (1, 28, 28), 100


def beside_the_authors() -> Iterator[Row]:
    """LeNet-300-100 at several compressions, up to one weight in each of its layers.

    Theirs: magnitudes in place and signs put back, autograd, one threshold over all scores, masks
    of floats. The threshold is by kthvalue, as they have it, or by sorting. Biases are 0 in both,
    and so many weights go in each step as in ours, so that the masks can be compared.
    """
    net = models.build("lenet-300-100", seed=0)
    total = sum(w.numel() for w in models.weights(net).values())
    for compression in (10, 1000, total / 3):
        final = 1 - 1 / compression

        def ours(final: float = final) -> dict[str, Tensor]:
            return pruning.prune_by_score(
                net, lambda masked: pruning.synflow_scores(masked, SHAPE), final, STEPS
            )

        for how, by_sorting in (("argsort", True), ("kthvalue", False)):

            def theirs(final: float = final, by_sorting: bool = by_sorting) -> dict[str, Tensor]:
                return authors(net, final, by_sorting)

            masks, others = ours(), theirs()
            differ = sum(int((masks[name] != others[name]).sum()) for name in masks)
            same = "same masks" if not differ else f"MASKS DIFFER in {differ} weights"
            mine, other = in_turns(ours, theirs, runs=5, warm_up=1)
            met = f"goal 4x: {'met' if other / mine >= 4 else 'not met'}; " if by_sorting else ""
            yield Row(
                f"SynFlow of lenet-300-100 in {STEPS} steps, to 1 weight in {compression:,.0f}",
                f"{mine:.0f} ms",
                f"autograd and {how} over all weights {other:.0f} ms",
                f"{faster(mine, other)}; {met}{same}",
            )


def authors(net: nn.Module, final: float, by_sorting: bool) -> dict[str, Tensor]:
    """The masks by the authors' way."""
    net = copy.deepcopy(net)
    weights = models.weights(net)
    masks = {name: torch.ones_like(w) for name, w in weights.items()}
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name not in weights:
                p.zero_()
    for step in range(1, STEPS + 1):
        scores = _scores(net, weights, masks)
        flat = torch.cat([score.flatten() for score in scores.values()])
        k = round((1 - (1 - final) ** (step / STEPS)) * len(flat))
        threshold = flat[flat.argsort()[k - 1]] if by_sorting else flat.kthvalue(k).values
        for name, score in scores.items():
            masks[name] = torch.where(score <= threshold, torch.zeros(1), torch.ones(1))
    return {name: mask.bool() for name, mask in masks.items()}


def _scores(
    net: nn.Module, weights: dict[str, nn.Parameter], masks: dict[str, Tensor]
) -> dict[str, Tensor]:
    signs = {}
    with torch.no_grad():
        for name, w in weights.items():
            w.mul_(masks[name])
        for name, tensor in net.state_dict().items():
            signs[name] = tensor.sign()
            tensor.abs_()
    net.zero_grad()
    net(torch.ones(1, *SHAPE)).sum().backward()
    scores = {name: (w.grad * w).detach().abs_() for name, w in weights.items()}
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            tensor.mul_(signs[name])
    return scores
