"""When weights go: a schedule of sparsities, all at training or round by round."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from types import MappingProxyType

from torch import Tensor
from torch.optim import Optimizer

from shrink.arguments import check_real, whole_number
from shrink.pruning.arguments import check_weights, number_pruned
from shrink.pruning.masks import global_masks, grow_masks, hold_masks
from shrink.tensors import check_optimizer


def cubic_sparsity(
    step: int, *, begin: int = 0, end: int, initial: float = 0.0, final: float
) -> float:
    """The sparsity at a training step: fast at first, slower as less is left, then constant.

    s = s_f + (s_i - s_f) · (1 - (t - t_0) / (t_1 - t_0))³ between t_0 and t_1; s_i before, s_f
    after.

    >>> [cubic_sparsity(step, begin=100, end=300, final=0.5) for step in (0, 100, 200, 300, 900)]
    [0.0, 0.0, 0.4375, 0.5, 0.5]

    Args:
        step: optimizer steps taken, t.
        begin, end: the steps t_0 and t_1 between which the sparsity rises.
        initial, final: the sparsities s_i and s_f, 0 to 1; final is not below initial.

    Raises:
        TypeError: something is no number.
        ValueError: `end` is not after `begin`, or not 0 <= `initial` <= `final` <= 1.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", equation 1.
    """
    given = {"step": step, "begin": begin, "end": end, "initial": initial, "final": final}
    for name, number in given.items():
        check_real(name, number)
    if not begin < end:
        raise ValueError(f"end must come after begin, not {end!r} after {begin!r}")
    if not 0 <= initial <= final <= 1:
        raise ValueError(
            f"sparsity must rise within 0 to 1, not from initial={initial!r} to final={final!r}"
        )
    left = 1 - min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * left**3


@contextmanager
def prune_gradually(
    weights: Mapping[str, Tensor],
    optimizer: Optimizer,
    sparsity_at: Callable[[int], float],
    *,
    every: int = 100,
) -> Iterator[Mapping[str, Tensor]]:
    """Change the weights in place: prune more and more of them while `optimizer` trains the rest.

    Inside the `with` block the masks are held as by `hold_masks`, and after every `every`-th step
    of `optimizer` they grow to the sparsity of that step, ranked over all layers. Steps count from
    0 at entry; masks never shrink, even where `sparsity_at` falls.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> sgd = torch.optim.SGD([w], lr=0.5)
    >>> with prune_gradually({"w": w}, sgd, lambda step: 0.25 * step, every=1) as masks:
    ...     for step in range(2):
    ...         sgd.zero_grad()
    ...         w.sum().backward()
    ...         sgd.step()
    >>> masks["w"], w.data
    (tensor([False, False,  True,  True]), tensor([0., 0., 2., 3.]))

    Args:
        weights: name → leaf tensor that `optimizer` trains; all on one device.
        optimizer: any `torch.optim.Optimizer`.
        sparsity_at: step → sparsity over all layers together, as `cubic_sparsity`.
        every: steps from one growth to the next. A last target is met only at a step that is a
            multiple of it.

    Yields:
        The masks of the moment, in a mapping that is brought up to date as they grow.

    Raises:
        TypeError, ValueError: as `global_masks` and `hold_masks`; or `every` is not whole, or less
            than 1.

    Source: Zhu and Gupta 2017, section 3.
    Differs: the paper ranks each layer by itself; here one ranking spans the network.
    """
    check_optimizer(optimizer)
    every = whole_number("every", every, 1)
    masks = global_masks(weights, sparsity_at(0))
    step = 0

    def grow(*_: object) -> None:
        nonlocal step
        step += 1
        if step % every == 0:
            masks.update(grow_masks(weights, masks, sparsity_at(step)))

    hook = optimizer.register_step_post_hook(grow)  # before hold_masks' own, which then zeroes
    try:
        with hold_masks(weights, masks, optimizer):
            yield MappingProxyType(masks)
    finally:
        hook.remove()


def prune_iteratively(
    weights: Mapping[str, Tensor],
    sparsities: Iterable[float],
    fine_tune: Callable[[dict[str, Tensor]], object],
) -> dict[str, Tensor]:
    """Prune a little, fine-tune, prune more: the weights are what `fine_tune` makes of them.

    Each round ranks the weights as they are then; what was pruned stays pruned. `fine_tune` is
    called with the round's masks and trains the same weights in place while it holds them.

    >>> import torch
    >>> w = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> def fine_tune(masks):
    ...     w.mul_(masks["w"]).mul_(torch.tensor([1.0, 1.0, 0.5, 1.0]))
    >>> prune_iteratively({"w": w}, [0.25, 0.5], fine_tune)
    {'w': tensor([False,  True, False,  True])}

    Args:
        weights: name → tensor, floating point, all on one device; read at each round.
        sparsities: of each round, over all layers together; none lower than the one before.
        fine_tune: masks → anything.

    Returns:
        The last round's masks; all True when `sparsities` is empty.

    Raises:
        TypeError, ValueError: as `global_masks`, before anything is trained; or a sparsity is
            lower than the one before.

    Source: Han et al. 2015, section 3.4 (iterative pruning).
    """
    check_weights(weights)
    rounds = list(sparsities)
    for sparsity, after in pairwise([0.0, *rounds]):
        number_pruned(after, 1)
        if after < sparsity:
            raise ValueError(f"sparsities must not fall, as from {sparsity!r} to {after!r}")
    masks = global_masks(weights, 0)
    for sparsity in rounds:
        masks = grow_masks(weights, masks, sparsity)
        fine_tune(masks)
    return masks
