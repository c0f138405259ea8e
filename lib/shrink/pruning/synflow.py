"""SynFlow: scores from the model alone, which are conserved from layer to layer."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shrink.pruning.dependency import Group
from shrink.pruning.linearised import flow, in_place_of, weights_of
from shrink.tensors import check_floating, check_mapping

ROOM = (1e-20, 1e30)  # between these float32 has digits for all that is added up


def synflow_scores(model: nn.Module, shape: Sequence[int]) -> dict[str, Tensor]:
    """|w · ∂R/∂w| of each weight, R the summed output of the network of magnitudes on ones.

    R is the sum over all paths from an input to an output of the product of the weights' magnitudes
    on the path, 1ᵀ|W₃||W₂||W₁|1 in a network of three layers. So a weight's score is the share of R
    that goes through it: the scores of a layer add up to R where all paths go through that layer,
    and at each hidden unit those of the weights into it to those of the weights out of it.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> with torch.no_grad():
    ...     _ = model[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
    ...     _ = model[2].weight.copy_(torch.tensor([[-3.0, 4.0]]))
    >>> synflow_scores(model, (2,))  # R = (1 + 2) · 3 + 0.5 · 4
    {'0.weight': tensor([[3., 6.],
            [2., 0.]]), '2.weight': tensor([[9., 2.]])}

    Args:
        model: of linear layers, convolutions, batch norm, activations, pooling, reshaping, sums
            and concatenation, as modules or functions; on any device. It is left as it was, and
            so is its mode.
        shape: of one image, without the batch, as (1, 28, 28).

    Returns:
        name → tensor of the shape of that weight, a parameter of two axes or more, on its device;
        nothing is negative. In the parameters' type (float32 at least), and in float64 where
        R lies beyond 1e-20 to 1e30, as in a deep network.

    Raises:
        TypeError: the model is no module, or a number of the shape not whole.
        ValueError: the model has no weights, or calls what is no part of such a network, as a
            softmax; a weight is not finite; or R overflows or vanishes in float64, too.

    Source: Tanaka, Kunin, Yamins, Ganguli 2020, "Pruning neural networks without any data by
        iteratively conserving synaptic flow", section 6 (R) and theorem 1.
    Differs: the paper's R has no biases, and neither has ours; the authors' code keeps their
        magnitudes, and those of batch norm's shifts and means, so that what leaves a unit is more
        than what enters it by its weights. We take activations for the identity, which a ReLU is
        on what is not negative, so that networks with tanh conserve too. Batch norm scales by
        the magnitude of its weight over √(variance + eps), as in use.
    """
    weights = weights_of(model)
    dtype = torch.promote_types(next(iter(weights.values())).dtype, torch.float32)
    try:
        return _scores(model, weights, shape, dtype, ROOM)[0]
    except OverflowError:
        pass
    try:
        scores, total = _scores(model, weights, shape, torch.float64, (0.0, torch.inf))
    except OverflowError as error:
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are not finite") from error
        raise ValueError(f"{error}, and float64 ends at 1e308: scale the weights") from error
    if not total:
        _refuse_vanished(model, shape)
    fits = not total or ROOM[0] <= total <= ROOM[1]
    return {name: score.to(dtype) for name, score in scores.items()} if fits else scores


def _scores(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    within: tuple[float, float],
) -> tuple[dict[str, Tensor], float]:
    """The scores and R, computed in this type; `OverflowError` where numbers do not lie within."""
    tensors = in_place_of(
        model, lambda _, p: p.detach().to(dtype).abs().requires_grad_(p.dim() > 1)
    )
    total = flow(model, tensors, shape, within=within)
    value = total.detach().item()
    if not value and dtype != torch.float64:
        raise OverflowError(f"the sum over all paths is 0 in {dtype}")
    through = [tensors[name] for name in weights]
    gradients = torch.autograd.grad(total, through, allow_unused=True, materialize_grads=True)
    scores = {n: g.mul_(tensors[n].detach()) for n, g in zip(weights, gradients, strict=True)}
    if not torch.stack([score.sum() for score in scores.values()]).isfinite().all():
        raise OverflowError("a score is not finite")
    return scores, value


def _refuse_vanished(model: nn.Module, shape: Sequence[int]) -> None:
    """Raise `ValueError` where there are paths, and their products are too small for any number."""
    there = in_place_of(model, lambda _, p: (p.detach() != 0).double())
    if flow(model, there, shape, counting=True):
        raise ValueError("the sum over all paths is below what float64 has: scale the weights")


def unit_saliency(scores: Mapping[str, Tensor], group: Group) -> tuple[Tensor, Tensor]:
    """For each unit of a group the sum of the scores that lead into it and of those out of it.

    A score is conserved if both sums agree at each unit, as SynFlow's do.

    >>> from shrink.pruning import dependency_groups
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> groups = dependency_groups(model, torch.zeros(1, 2))
    >>> scores = {"0.weight": torch.tensor([[3.0, 6.0], [2.0, 0.0]]),
    ...           "2.weight": torch.tensor([[9.0, 2.0]])}
    >>> unit_saliency(scores, groups["0"])
    (tensor([9., 2.], dtype=torch.float64), tensor([9., 2.], dtype=torch.float64))

    Args:
        scores: name → tensor of the shape of that weight; biases have none. Of a convolution all
            of a kernel counts, and behind a flattening all columns that read a channel.
        group: of the model that the scores are of, from `dependency_groups`. What scales its
            units, as a depthwise convolution, lies inside them and is in neither sum. At a residual
            sum the sums are those of all layers that make the unit, and of all that read it.

    Returns:
        into, out_of: float64 (group.units,), on the device of the scores.

    Raises:
        TypeError: `scores` is no mapping of floating-point tensors, or `group` no `Group`.
        ValueError: no score leads into the units or none out of them, or a tensor of scores has
            another shape than the group's weight.

    Source: Tanaka et al. 2020, section 4 and theorem 1 (neuron-wise conservation).
    """
    check_mapping("scores", scores)
    if not isinstance(group, Group):
        raise TypeError(f"group must be a Group, not a {type(group).__name__}")
    return _summed(scores, group, "makes"), _summed(scores, group, "reads")


def _summed(scores: Mapping[str, Tensor], group: Group, role: str) -> Tensor:
    members = [m for m in group.members if m.role == role and m.tensor in scores]
    if not members:
        way = "into" if role == "makes" else "out of"
        raise ValueError(f"no score is of a weight that leads {way} the units of {group.name}")
    total = torch.zeros(group.units, dtype=torch.float64, device=scores[members[0].tensor].device)
    for member in members:
        score = scores[member.tensor]
        check_floating(score, member.tensor)
        if score.dim() <= member.axis or score.shape[member.axis] != len(member.units):
            raise ValueError(
                f"the scores of {member.tensor} are {tuple(score.shape)}, and its axis "
                f"{member.axis} has {len(member.units)} entries in the group {group.name}"
            )
        along = score.double().movedim(member.axis, 0).flatten(1).sum(1)
        units = member.units.to(total.device)
        total.index_add_(0, units[units >= 0], along[units >= 0])
    return total
