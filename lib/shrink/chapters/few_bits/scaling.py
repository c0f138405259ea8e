"""An exercise of chapter 10: a step with a dynamic loss scaler.

The oracle is PyTorch's GradScaler.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrink.chapters.few_bits.scaling_mistakes import MISTAKES, Parameters, Scaler, Step, stepped
from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.cases import generator, telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import plain, whole

TOLERANCE = 1e-4
NOT_FINITE = (math.inf, -math.inf, math.nan)

Case = tuple[Scaler, Parameters, Optimizer]


def _by_torch(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    grad_scaler = torch.amp.GradScaler(parameters[0].device.type, growth_interval=scaler.interval)
    state = {"scale": scaler.scale, "_growth_tracker": scaler.good_steps}
    grad_scaler.load_state_dict(grad_scaler.state_dict() | state)
    grad_scaler.scale(torch.zeros(1, device=parameters[0].device))  # it is made at the first loss
    grad_scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)
    grad_scaler.step(optimizer)
    grad_scaler.update()
    scaler.scale = grad_scaler.get_scale()
    scaler.good_steps = grad_scaler.state_dict()["_growth_tracker"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What an answer may change, equal to what is near."""

    scale: Any
    good_steps: Any
    weights: list[Tensor]
    momenta: list[Any]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Seen):
            return False
        if (self.scale, self.good_steps) != (other.scale, other.good_steps):
            return False
        return _near(self.weights, other.weights) and _near(self.momenta, other.momenta)


def _near(given: list[Any], right: list[Tensor]) -> bool:
    return all(_is_near(*pair) for pair in zip(given, right, strict=True))


def _is_near(a: Any, b: Tensor) -> bool:
    if not isinstance(a, Tensor) or (a.dtype, a.shape, a.device) != (b.dtype, b.shape, b.device):
        return False
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE / 100, equal_nan=True)


def _seen(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> Seen:
    momenta = [optimizer.state[p].get("momentum_buffer") for p in parameters]
    count = whole(scaler.good_steps)
    return Seen(
        plain(scaler.scale),
        scaler.good_steps if count is None else count,
        [p.detach() for p in parameters],
        momenta,
    )


def _outcome(step: Step, *case: Any) -> Seen:
    """What a step makes of a case, which is left as it was."""
    twin = copy.deepcopy(case)
    step(*twin)
    return copy.deepcopy(_seen(*twin))


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(
        *,
        good: int,
        interval: int = 6,
        broken: dict[int, float] | None = None,
        norm: float = 3,
        device: str = "cpu",
    ) -> Case:
        """Gradients of about this norm for one of 1, with what stands in some that are broken."""
        scaler = Scaler(2.0 ** rng.randint(6, 14), good, interval, rng.choice([0.5, 1.0, 2.0]))
        shapes = ((2,), (3,), (2,))
        parameters = [torch.randn(s, generator=g).to(device).requires_grad_() for s in shapes]
        optimizer = torch.optim.SGD(parameters, lr=rng.choice([0.1, 0.2]), momentum=0.9)
        for size in (1.0, norm * scaler.max_norm * scaler.scale):
            slopes = [torch.randn(s, generator=g) for s in shapes]
            whole_norm = torch.cat([s.flatten() for s in slopes]).norm()
            for p, slope in zip(parameters, slopes, strict=True):
                p.grad = (slope * size / whole_norm).to(device)
            if size == 1.0:
                optimizer.step()  # so that there is a momentum
        for place, value in (broken or {}).items():
            parameters[place].grad.view(-1)[rng.randrange(parameters[place].numel())] = value
        return scaler, parameters, optimizer

    def infinite() -> float:
        return rng.choice([math.inf, -math.inf])

    yield lambda: case(good=rng.randint(0, 3))
    yield lambda: case(good=rng.randint(1, 4), broken={0: infinite(), 2: infinite()})
    yield lambda: case(good=0, broken={rng.choice([1, 2]): infinite()})
    yield lambda: case(good=1, broken={0: math.nan})
    yield lambda: case(good=2, broken={2: math.nan})
    yield lambda: case(good=5, norm=0.4)  # nothing to clip
    yield lambda: case(good=5, broken={1: infinite()})
    yield lambda: case(good=0, interval=1)
    yield lambda: case(good=2, norm=0.8)
    if torch.cuda.is_available():
        yield lambda: case(good=5, device="cuda")


def _check(answer: Attempt, rng: random.Random) -> None:
    traced = [replace(m, function=partial(_outcome, m.function)) for m in MISTAKES]
    right_outcome = partial(_outcome, _by_torch)
    for case in telling(_cases(rng), right_outcome, traced, lambda seen: seen):
        before, right = copy.deepcopy(case), right_outcome(*case)
        given = answer.in_place(*case, watch=_seen)
        if wrong := _wrong_step(given, right, before) or _wrong_state(given, right, before):
            raise wrong


def _why(parameters: Parameters) -> str:
    slopes = torch.cat([p.grad.flatten() for p in parameters])
    found = {"infinity": slopes.isinf(), "NaN": slopes.isnan()}
    kinds = " and ".join(kind for kind, places in found.items() if places.any())
    return f"among the gradients is {kinds}" if kinds else "all gradients are finite"


def _wrong_step(given: Seen, right: Seen, before: Case) -> Wrong | None:
    """What is wrong with the weights, or with the momentum, which the next step would show."""
    seen, why = _seen(*before), _why(before[1])
    for name in ("weights", "momenta"):
        mine, its, old = (getattr(one, name) for one in (given, right, seen))
        if _near(mine, its):
            continue
        place = [_is_near(*pair) for pair in zip(mine, its, strict=True)].index(False)
        if _near(its, old):
            told = f"{why}, so the step is skipped, and the optimizer's {name} stay as they were"
        elif _near(mine, old):
            told = f"{why}, and the {name} have not moved: the optimizer takes its step, in place"
        else:
            told = _reckoned(f"{name} of parameters[{place}]", place, *before)
        return Wrong(told, expected=its[place], given=mine[place])
    return None


def _reckoned(
    name: str, place: int, scaler: Scaler, parameters: Parameters, optimizer: Optimizer
) -> str:
    """What the gradient of a parameter becomes before the optimizer has it."""
    slopes = [p.grad / scaler.scale for p in parameters]
    norm = float(torch.cat(slopes).norm())
    first = slopes[place][0]
    told = (
        f"the {name} are not where the optimizer takes them. Divided by {scaler.scale:g} its first "
        f"gradient is {first:.4g}, and the norm of all gradients {norm:.4g}"
    )
    if norm <= scaler.max_norm:
        return f"{told}, which is no larger than max_norm: nothing is clipped"
    factor = scaler.max_norm / norm
    return f"{told}: clipped to {scaler.max_norm:g} it is {first * factor:.4g}"


def _wrong_state(given: Seen, right: Seen, before: Case) -> Wrong | None:
    """What is wrong with the scale and the count, where the optimizer has done what it must."""
    scaler, parameters, _ = before
    why = _why(parameters)
    skip = right.scale < scaler.scale
    after = "a skip" if skip else f"{scaler.good_steps + 1} of {scaler.interval} good steps"
    for name, mine, its in (
        ("scale", given.scale, right.scale),
        ("good_steps", given.good_steps, right.good_steps),
    ):
        if type(mine) not in (int, float):
            return Wrong(f"scaler.{name} is a number", expected=its, given=type(mine).__name__)
        if mine == its:
            continue
        begin = getattr(scaler, name)
        return Wrong(
            f"{why}: after {after} scaler.{name}, which was {begin:g}, is {its:g}",
            expected=its,
            given=mine,
        )
    return None


scaled_step = Exercise(
    "scaled_step", _check, reference=stepped, core=False, minutes=15, mistakes=MISTAKES
)
