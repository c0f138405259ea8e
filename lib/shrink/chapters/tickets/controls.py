"""An exercise of chapter 09: the two controls of a ticket, new initial values and random places.

The oracle is what they must have in common with chance (`chance`): numbers of each layer's
initialisation, counts of each layer, and no relation to the network and the masks that they are
compared with.
"""

import copy
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets.chance import of_masks, of_net
from shrink.chapters.tickets.control_mistakes import (
    APART,
    MISTAKES,
    Controls,
    Masks,
    drawn_anew,
    linear_layers,
)
from shrink.chapters.tickets.survivor_masks import no_mask
from shrink.classroom.exercises.attempt import Attempt, Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.modes import seeded

Case = tuple[nn.Module, Masks, int]


def _reference(model: nn.Module, masks: Masks, seed: int) -> Controls:
    """A network like the model with new initial values, and the masks at random places.

    Each layer draws from its own initialisation, and keeps as many weights as before. Both come
    from another seed than `seed`, with which the model was made.
    """
    return drawn_anew(model, seed + APART), pruning.shuffle_masks(masks, seed + APART)


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
    verdicts = of_net(given[0], model, masks, seed), of_masks(given[1], masks)
    return tuple(verdict.code if verdict else "right" for verdict in verdicts)


def _check(answer: Attempt, rng: random.Random) -> None:
    with torch.random.fork_rng(devices=[]):  # an answer may seed the generator that all share
        for case in _cases(rng):
            _one_case(answer, case)
        _compare_seeds(answer, next(_cases(rng)))


def _asked(answer: Attempt, case: Case) -> Controls:
    """What the answer gives; raises `Wrong` unless these are a network and masks."""
    model, masks, _ = case
    given = answer(*case, alike=partial(_seen, *copy.deepcopy(case)))
    if wrong := _wrong_kind(given, model, masks):
        raise wrong
    return given


def _one_case(answer: Attempt, case: Case) -> None:
    model, masks, seed = case
    given = _asked(answer, case)
    for verdict in (of_net(given[0], model, masks, seed), of_masks(given[1], masks)):
        if verdict:
            shown = {"expected": verdict.expected, "given": verdict.given}
            raise Wrong(verdict.told, **{k: v for k, v in shown.items() if v is not None})


def _compare_seeds(answer: Attempt, case: Case) -> None:
    """Raise unless the same seed draws the same once more, and another seed something else."""
    model, masks, seed = case
    first, again, other = (
        _flat(_asked(answer, (model, masks, number))) for number in (seed, seed, seed + 1)
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
        for (name, layer), part in zip(linear_layers(model), dead, strict=False):
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
