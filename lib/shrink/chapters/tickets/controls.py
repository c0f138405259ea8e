"""An exercise of chapter 09: the two controls of a ticket, new initial values and random places.

The oracle is what they must have in common with chance: numbers of each layer's initialisation,
counts of each layer, and no relation to the network and the masks that they are compared with. Each
bound is so wide that chance breaks it less than once in 100 million times.
"""

import copy
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets.survivors import no_mask
from shrink.classroom.exercises.attempt import Attempt, Wrong, kind_of, known, place_of
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.modes import seeded

APART = 1000  # from the seed of the network to that of its controls
DEVIATIONS = 6  # from what chance gives on the average
ROUNDING = 1e-4  # of a bound, relative
NEARLY_NORMAL = 0.06  # the largest distance from a normal distribution that is called normal
UNLIKELY = 1e-9  # that chance alone gives a distribution so far from its own
MOST_UNEVEN = 3  # times the variance that chance gives the sums of rows, or of columns

Masks = dict[str, Tensor]
Case = tuple[nn.Module, Masks, int]
Controls = tuple[nn.Module, Masks]


def _drawn(model: nn.Module, seed: int) -> nn.Module:
    """A copy of the model with new initial values."""
    with seeded(seed):
        net = copy.deepcopy(model)
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    return net


def _reference(model: nn.Module, masks: Masks, seed: int) -> Controls:
    """A network like the model with new initial values, and the masks at random places.

    Each layer draws from its own initialisation, and keeps as many weights as before. Both come
    from another seed than `seed`, with which the model was made.
    """
    return _drawn(model, seed + APART), pruning.shuffle_masks(masks, seed + APART)


def _with_net(net: Callable[[nn.Module, Masks, int], nn.Module]) -> Callable[..., Controls]:
    """An answer whose masks are right."""
    return lambda model, masks, seed: (
        net(model, masks, seed),
        pruning.shuffle_masks(masks, seed + APART),
    )


def _with_masks(shuffled: Callable[[Masks, torch.Generator], Masks]) -> Callable[..., Controls]:
    """An answer whose network is right."""

    def answer(model: nn.Module, masks: Masks, seed: int) -> Controls:
        g = torch.Generator().manual_seed(seed + APART)
        on_cpu = {name: mask.cpu() for name, mask in masks.items()}
        found = shuffled(on_cpu, g)
        return _drawn(model, seed + APART), {n: m.to(masks[n].device) for n, m in found.items()}

    return answer


def _changed(net: nn.Module, change: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """The network with other parameters, in place."""
    for name, p in net.named_parameters():
        p.data.copy_(change(name, p.data))
    return net


_same_seed = known(
    "these are the model's own first values once more: it was made with this very seed. Draw from "
    "another one, such as seed + 1000",
    "the same seed",
)(_with_net(lambda model, masks, seed: _drawn(model, seed)))

_kept = known(
    "the values are those of the model that came in: copy.deepcopy copies them too. Call "
    "reset_parameters() of each layer of the copy",
    "values kept",
)(_with_net(lambda model, masks, seed: copy.deepcopy(model)))


@known(
    "the weights are new, the biases are the model's: they belong to the initial values too, and "
    "reset_parameters() draws both",
    "biases kept",
)
@_with_net
def _biases_kept(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    old = dict(model.named_parameters())
    drawn = _drawn(model, seed + APART)
    return _changed(drawn, lambda name, p: p if p.dim() > 1 else old[name].data)


@known(
    "the survivors have swapped their values and no value is new: if these are good values, only "
    "in the wrong order, this control has them too. Draw new ones",
    "survivors swapped",
)
@_with_net
def _swapped(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed + APART)

    def swap(name: str, p: Tensor) -> Tensor:
        if name not in masks:
            return drawn.get_parameter(name).data
        values = p[masks[name]]
        p = p.clone()
        p[masks[name]] = values[torch.randperm(len(values), generator=g).to(p.device)]
        return p

    drawn = _drawn(model, seed + APART)
    return _changed(copy.deepcopy(model), swap)


@known(
    "your values are normally distributed. nn.Linear draws uniformly between -1/√n and 1/√n, n "
    "being its number of inputs, and a control differs from the ticket in nothing but the draw",
    "normal",
)
@_with_net
def _normal(model: nn.Module, masks: Masks, seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed + APART)
    inputs = {name: layer.in_features for name, layer in _linear(model)}

    def draw(name: str, p: Tensor) -> Tensor:
        spread = 1 / math.sqrt(3 * inputs[name.rpartition(".")[0]])
        return spread * torch.randn(p.shape, generator=g)

    return _changed(copy.deepcopy(model), draw)


_not_shuffled = known(
    "the masks are those that came in. Does your loop only give a name a new value, as "
    "`mask = mask[order]` does? Put each shuffled mask into a dict, and return that",
    "not shuffled",
)(_with_masks(lambda masks, g: {name: mask.clone() for name, mask in masks.items()}))


@known(
    "you shuffled all layers together, so that weights moved from one layer to another: each layer "
    "must keep as many as before",
    "shuffled over all layers",
)
@_with_masks
def _over_all(masks: Masks, g: torch.Generator) -> Masks:
    joined = torch.cat([mask.flatten() for mask in masks.values()])
    parts = joined[torch.randperm(len(joined), generator=g)].split(
        [m.numel() for m in masks.values()]
    )
    return {n: part.view(masks[n].shape) for n, part in zip(masks, parts, strict=True)}


@known(
    "the number is off by chance: either each weight stays with a probability, or entries were "
    "written over others, as random.shuffle does to a tensor. Put the entries that you have in a "
    "random order, mask.flatten()[torch.randperm(n)]",
    "masks drawn anew",
)
@_with_masks
def _coins(masks: Masks, g: torch.Generator) -> Masks:
    return {n: torch.rand(m.shape, generator=g) < m.double().mean() for n, m in masks.items()}


@known(
    "whole rows have moved, and inside them nothing: permutation and indexing go along the first "
    "axis only. Flatten the mask, shuffle it, and give it its shape back",
    "rows shuffled",
)
@_with_masks
def _rows(masks: Masks, g: torch.Generator) -> Masks:
    return {name: mask[torch.randperm(len(mask), generator=g)] for name, mask in masks.items()}


MISTAKES = (
    _same_seed,
    _kept,
    _biases_kept,
    _swapped,
    _normal,
    _not_shuffled,
    _over_all,
    _coins,
    _rows,
)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one half of an answer: a code, by which mistakes are known, and words."""

    code: str
    told: str
    expected: Any = None
    given: Any = None


def _linear(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]


def _distance(probabilities: Tensor) -> float:
    """Of Kolmogorov and Smirnov: how far what should be uniform from 0 to 1 is from that."""
    ranked = probabilities.clamp(0, 1).sort().values
    steps = torch.arange(len(ranked) + 1, dtype=torch.float64) / len(ranked)
    return float(torch.maximum(steps[1:] - ranked, ranked - steps[:-1]).max())


def _is_uniform(values: Tensor, bound: float) -> bool:
    """Whether chance may give values like these (Dvoretzky, Kiefer, Wolfowitz, Massart)."""
    may_be = math.sqrt(math.log(2 / UNLIKELY) / (2 * len(values)))
    inside = float(values.abs().max()) <= bound * (1 + ROUNDING)
    return inside and _distance((values / bound + 1) / 2) <= may_be


def _is_normal(values: Tensor) -> bool:
    spread = values.std()
    return bool(spread > 0) and _distance(torch.special.ndtr(values / spread)) < NEARLY_NORMAL


def _numbers(p: Tensor, keep: Tensor | None) -> Tensor:
    """The values where the mask is True, all if there is none, in float64 on the CPU."""
    p = p.detach().cpu().double()
    return p.flatten() if keep is None else p[keep.cpu()]


def _of_values(
    name: str, values: Tensor, others: Mapping[str, Tensor], inputs: int
) -> Verdict | None:
    """What is wrong with the values of a parameter; `others` are what they must not go with."""
    for whose, old in others.items():
        if torch.equal(values, old):
            return Verdict(whose, f"{name} has the values that {whose}")
    for old in others.values():
        if torch.equal(values.sort().values, old.sort().values):
            return Verdict("swapped", f"{name} has the old values, in other places")
    for old in others.values():
        pairs = (values, old), (values.abs(), old.abs())
        correlations = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
        largest = max(correlations, key=abs)
        if abs(largest) > DEVIATIONS / math.sqrt(len(values)):
            return Verdict(
                "related",
                f"the values of {name} go with the old ones: the correlation (of the values, or of "
                f"their magnitudes) is {largest:.2f}, and chance gives nearly 0",
            )
    bound = 1 / math.sqrt(inputs)
    return None if _is_uniform(values, bound) else _of_distribution(name, values, inputs, bound)


def _of_distribution(name: str, values: Tensor, inputs: int, bound: float) -> Verdict:
    drawn = f"nn.Linear draws evenly between -{bound:.4g} and {bound:.4g}, 1/√{inputs}"
    largest = float(values.abs().max())
    if largest > 0 and _is_uniform(values, largest):
        told = f"the values of {name} are spread evenly between -{largest:.4g} and {largest:.4g}"
        return Verdict("another bound", f"{told}; {drawn}")
    return Verdict(
        "normal" if _is_normal(values) else "another distribution",
        f"the values of {name} are not distributed as those of a new layer: {drawn}",
        expected=f"standard deviation {bound / math.sqrt(3):.4g}, largest {bound:.4g}",
        given=f"standard deviation {values.std():.4g}, largest {largest:.4g}",
    )


def _of_net(net: nn.Module, model: nn.Module, masks: Masks, seed: int) -> Verdict | None:
    """What is wrong with the network, if anything: its weights come first, then its biases."""
    made = dict(_drawn(copy.deepcopy(model).cpu(), seed).named_parameters())
    inputs = {name: layer.in_features for name, layer in _linear(model)}
    new, old = dict(net.named_parameters()), dict(model.named_parameters())
    for name in sorted(old, key=lambda name: old[name].dim(), reverse=True):
        keep = masks.get(name)
        others = {"came in": old[name], "the model was made with": made[name]}
        numbers = {whose: _numbers(p, keep) for whose, p in others.items()}
        values = _numbers(new[name], keep)
        if len(values) < 2:
            continue
        if verdict := _of_values(name, values, numbers, inputs[name.rpartition(".")[0]]):
            kind = "weights" if old[name].dim() > 1 else "biases"
            return replace(verdict, code=f"{kind}: {verdict.code}")
    return None


def _of_masks(given: Masks, masks: Masks) -> Verdict | None:
    """What is wrong with the masks, if anything."""
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    counts = {name: int(given[name].sum()) for name in masks}
    if counts != kept:
        name = next(name for name in masks if counts[name] != kept[name])
        off = max(abs(counts[n] - kept[n]) / max(_coin(kept[n], m), 1) for n, m in masks.items())
        moved = sum(counts.values()) == sum(kept.values()) and off > DEVIATIONS
        by_chance = off <= 2 * DEVIATIONS
        return Verdict(
            "moved" if moved else "off by chance" if by_chance else "far off",
            f"{name} must keep as many weights as before",
            expected=f"{kept[name]} of {masks[name].numel()}",
            given=f"{counts[name]} of {masks[name].numel()}",
        )
    for name, mask in masks.items():
        if verdict := _of_mask(name, given[name].cpu(), mask.cpu()):
            return verdict
    return None


def _coin(kept: int, mask: Tensor) -> float:
    """The standard deviation of the number that stays, if each does with the same probability."""
    return math.sqrt(kept * (1 - kept / mask.numel()))


def _of_mask(name: str, given: Tensor, mask: Tensor) -> Verdict | None:
    """What is wrong with a mask of the right count."""
    if mask.all() or not mask.any():
        return None
    if torch.equal(given, mask):
        return Verdict("the same", f"the mask of {name} is the one that came in")
    for axis, lines in enumerate(("rows", "columns")):
        if sorted(given.movedim(axis, 0).tolist()) == sorted(mask.movedim(axis, 0).tolist()):
            return Verdict(lines, f"the mask of {name} has the {lines} of the old one, reordered")
    overlap = pruning.mask_overlap({name: given}, {name: mask})[name]
    if abs(overlap.shared - overlap.expected) > DEVIATIONS * overlap.deviation:
        return Verdict(
            "overlap",
            f"your mask of {name} and the old one both keep {overlap.shared} weights, and random "
            f"places would share {overlap.expected:.0f} ± {overlap.deviation:.0f}",
        )
    for axis, lines in enumerate(("rows", "columns")):
        sums = given.movedim(axis, 0).flatten(1).sum(1).double()
        share = float(given.double().mean())
        by_chance = given.numel() / len(sums) * share * (1 - share)  # the variance of a sum
        if float(sums.var()) > MOST_UNEVEN * by_chance:
            return Verdict(
                "pattern",
                f"the {lines} of your mask of {name} keep {int(sums.min())} to {int(sums.max())} "
                "weights, far more unevenly than random places would be spread over the layer",
            )
    return None


def _wrong_kind(given: Any, model: nn.Module, masks: Masks) -> Wrong | None:
    """What is wrong where a network like the model is asked for, and masks like these."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        return Wrong("return a pair", expected="(network, masks)", given=given)
    net, shuffled = given
    if isinstance(shuffled, nn.Module) and isinstance(net, Mapping):
        return Wrong("return the network first and the masks second", given=given)
    if not isinstance(net, nn.Module):
        return Wrong("the first of the pair is a network, an nn.Module", given=net)
    old, new = dict(model.named_parameters()), dict(net.named_parameters())
    if new.keys() != old.keys():
        told = "the network has the parameters of the model"
        return Wrong(told, expected=list(old), given=list(new))
    for name, p in new.items():
        if (p.shape, p.device, p.dtype) != (old[name].shape, old[name].device, old[name].dtype):
            return Wrong(
                f"{name} of the network has the shape, device and type of the model's",
                expected=f"{kind_of(old[name])}, {place_of(old[name].shape, old[name].device)}",
                given=f"{kind_of(p)}, {place_of(p.shape, p.device)}",
            )
        if not p.isfinite().all():
            return Wrong(f"{name} of the network holds numbers that are not finite", given=p)
    if not isinstance(shuffled, Mapping) or shuffled.keys() != masks.keys():
        return Wrong(
            "the second of the pair is a dict with one mask for each that came in",
            expected=f"a dict with the names {', '.join(masks)}",
            given=shuffled,
        )
    for name, mask in masks.items():
        if wrong := no_mask(name, shuffled[name], mask):
            return wrong
    return None


def _seen(model: nn.Module, masks: Masks, seed: int, given: Any) -> Any:
    """What counts of a result: what is wrong with each half."""
    if _wrong_kind(given, model, masks):
        return "no controls"
    verdicts = _of_net(given[0], model, masks, seed), _of_masks(given[1], masks)
    return tuple(verdict.code if verdict else "right" for verdict in verdicts)


def _check(answer: Attempt, rng: random.Random) -> None:
    with torch.random.fork_rng(devices=[]):  # an answer may seed the generator that all share
        for case in _cases(rng):
            _one_case(answer, case)
        _compare_seeds(answer, next(_cases(rng)))


def _one_case(answer: Attempt, case: Case) -> None:
    model, masks, seed = case
    given = answer(*case, alike=partial(_seen, *copy.deepcopy(case)))
    if wrong := _wrong_kind(given, model, masks):
        raise wrong
    for verdict in (_of_net(given[0], model, masks, seed), _of_masks(given[1], masks)):
        if verdict:
            shown = {"expected": verdict.expected, "given": verdict.given}
            raise Wrong(verdict.told, **{k: v for k, v in shown.items() if v is not None})


def _compare_seeds(answer: Attempt, case: Case) -> None:
    """Raise unless the same seed draws the same once more, and another seed something else."""
    model, masks, seed = case
    first, again, other = (
        _flat(answer.ask(copy.deepcopy((model, masks, number))))
        for number in (seed, seed, seed + 1)
    )
    if not all(map(torch.equal, first, again)):
        raise Wrong(
            "asked again with the same seed, your function draws something else, and nobody can "
            "repeat the experiment: seed every generator that you draw from",
            known_mistakes=False,
        )
    for what, drawn, by_other in zip(("network", "masks"), first, other, strict=True):
        if torch.equal(drawn, by_other):
            raise Wrong(
                f"with another seed your function draws the same {what}: make its seed from the "
                "one that is given, as seed + 1000",
                known_mistakes=False,
            )


def _flat(given: Controls) -> tuple[Tensor, Tensor]:
    """All parameters of the network, and all masks, end to end."""
    net, masks = given
    parameters = torch.cat([p.detach().flatten() for p in net.parameters()])
    return parameters, torch.cat([masks[name].flatten() for name in sorted(masks)])


def _cases(rng: random.Random) -> Iterator[Case]:
    g = generator(rng)

    def made(seed: int) -> nn.Module:
        with seeded(seed):
            layers = {"fc1": nn.Linear(60, 100), "relu": nn.ReLU(), "fc2": nn.Linear(100, 40)}
            return nn.Sequential(OrderedDict(layers))

    def uneven(model: nn.Module, *dead: float) -> Masks:
        """As training leaves them: so large a part of the inputs is dead, and rows are unlike."""
        masks = {}
        for (name, layer), part in zip(_linear(model), dead, strict=False):
            rows, columns = layer.weight.shape
            alive = (torch.randperm(columns, generator=g) >= part * columns).float()
            stays = torch.tensor([0.2, 0.8]).repeat(rows)[torch.randperm(rows, generator=g)]
            chance = stays[:, None] * alive
            masks[f"{name}.weight"] = torch.rand(rows, columns, generator=g) < chance
        return masks

    def initial(*dead: float, seed: int | None = None) -> Case:
        seed = rng.randrange(10**6) if seed is None else seed
        model = made(seed)
        return model, uneven(model, *dead), seed

    def trained() -> Case:
        model, masks, seed = initial(0.5, 0.25)
        for p in model.parameters():  # one in three moves far
            moved = torch.randn(p.shape, generator=g) * (torch.rand(p.shape, generator=g) < 1 / 3)
            p.data += 0.5 * moved
        return model, masks, seed

    def rewound() -> Case:
        model, masks, seed = initial(0.5, 0.5)
        for name, mask in masks.items():
            model.get_parameter(name).data.masked_fill_(~mask, 0)
        return model, masks, seed

    def nothing_pruned() -> Case:
        model, masks, seed = initial(0.0, 0.0, seed=0)
        return model, {name: torch.ones_like(mask) for name, mask in masks.items()}, seed

    def all_pruned() -> Case:
        model, masks, seed = initial(0.5, 0.5)
        return model, masks | {"fc2.weight": torch.zeros_like(masks["fc2.weight"])}, seed

    yield trained()
    yield rewound()
    yield initial(0.25)  # one layer has a mask
    yield nothing_pruned()
    yield all_pruned()
    if torch.cuda.is_available():
        model, masks, seed = trained()
        yield model.cuda(), {name: mask.cuda() for name, mask in masks.items()}, seed


make_controls = Exercise(
    "make_controls",
    _check,
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)
