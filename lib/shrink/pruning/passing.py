"""What carries second derivatives back without a layer: pooling, moving, sums, factors.

A rule gets the tape, the function, its result and its arguments, and notes the way back.
"""

from collections.abc import Callable
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.pruning.marks import plain_name
from shrink.pruning.rules import RULES as OF_UNITS
from shrink.pruning.rules import asked, given
from shrink.pruning.tape import Tape, back_through


def keep(tape: Tape, function, result, args, kwargs) -> None:
    """The same numbers."""
    x = args[0] if args else kwargs["input"]
    if result.dtype != x.dtype or result.device != x.device:
        tape.refuse(f"makes {result.dtype} on {result.device} of {x.dtype} on {x.device}")
    tape.note(result, [(x, lambda g, h: (g, h))])


def dropout(tape: Tape, function, result, args, kwargs) -> None:
    """Nothing, in a model in use: one that drops all the same says something else at each call."""
    x = args[0] if args else kwargs["input"]
    if not result.equal(x):
        tape.refuse(f"calls {function.__name__}, which drops in use, too")
    tape.note(result, [(x, lambda g, h: (g, h))])


def move(tape: Tape, function, result, args, kwargs) -> None:
    """Each output is one input, or none: g and h go back to where it came from."""
    x, rest, others = _apart(tape, function, args, kwargs)
    back = back_through(lambda x: function(x, *rest, **others), x)
    tape.note(result, [(x, lambda g, h: (back(g), back(h)))])


def average(tape: Tape, function, result, args, kwargs) -> None:
    """g goes back by the share that an input has in an output, and h by its square."""
    x, rest, others = _apart(tape, function, args, kwargs)
    back = back_through(lambda x: function(x, *rest, **others), x)
    if plain_name(function) == "avg_pool2d":
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        how = zip(names, given(rest, others, *names), strict=True)
        ones = torch.ones_like(x[:1])
        counted = F.avg_pool2d(ones, **{n: v for n, v in how if v is not None}, divisor_override=1)
        share = function(ones, *rest, **others) / counted
    else:
        _check_windows(tape, function, x, result, (rest, others))
        share = result.numel() / x.numel()
    tape.note(result, [(x, lambda g, h: (back(g), back(share * h)))])


def _check_windows(tape: Tape, function, x: Tensor, result: Tensor, how: tuple) -> None:
    """Refuse a mean over images, and windows of several sizes."""
    if plain_name(function) == "mean":
        (axes,) = given(*how, "dim")
        axes = range(x.dim()) if axes is None else [axes] if isinstance(axes, int) else axes
        if any(axis % x.dim() == 0 for axis in axes):
            tape.refuse("averages over images")
    elif any(size % places for size, places in zip(x.shape[2:], result.shape[2:], strict=True)):
        tape.refuse(f"averages {tuple(x.shape[2:])} into {tuple(result.shape[2:])} uneven places")


def scale(tape: Tape, function, result, args, kwargs) -> None:
    """y = c·x with a number c: g times c, and h times c²."""
    name = function.__name__
    x, c = (args[0], -1.0) if "neg" in name else given(args, kwargs, "input", "other")
    swapped = not tape.is_activation(x)
    if swapped:
        x, c = c, x
    if tape.is_activation(c) or not _is_number(c):
        tape.refuse(f"calls {name} with more than an activation and a number")
    if "div" in name and (swapped or name.startswith("__r") or len(args) + len(kwargs) > 2):
        tape.refuse(f"calls {name} with an activation as divisor, or rounds")
    c = 1 / c if "div" in name else c
    tape.note(result, [(x, lambda g, h: (c * g, c**2 * h))])


def _is_number(c: object) -> bool:
    return isinstance(c, Real) or (isinstance(c, Tensor) and c.dim() == 0)


def total(tape: Tape, function, result, args, kwargs) -> None:
    """Each side of a sum gets g and h whole; a parameter on a side, as a bias, adds up its h."""
    sides = given(args, kwargs, "input", "other")
    name = function.__name__
    if len(args) + len(kwargs) > 2 or sides[0] is sides[1]:
        tape.refuse(f"calls {name} with a factor, or with one activation twice")
    for side in sides:
        if tape.is_activation(side) and side.shape != result.shape:
            tape.refuse(f"calls {name} with {tuple(side.shape)} for {tuple(result.shape)}")
    signs = [1, -1] if "sub" in name else [1, 1]
    if name.startswith(("rsub", "__rsub")):
        signs.reverse()

    def learn(h: Tensor) -> None:
        for side in sides:
            if tape.parameter(side):
                tape.add(side, h.sum_to_size(side.shape))

    ways = [(x, lambda g, h, s=s: (s * g, h)) for x, s in zip(sides, signs, strict=True)]
    tape.note(result, ways, learn if any(map(tape.parameter, sides)) else None, once=False)


def _apart(tape: Tape, function, args: tuple, kwargs: dict) -> tuple[Tensor, tuple, dict]:
    """The one activation that a function is given first, and what else."""
    x, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
    name = function.__name__
    if not tape.is_activation(x) or (name.endswith("_") and not name.endswith("__")):
        tape.refuse(f"calls {plain_name(function)} in place, or on a parameter")
    return x, rest, {name: value for name, value in kwargs.items() if name != "input"}


def _for(names: str, rule: Callable) -> dict[str, Callable]:
    return dict.fromkeys(names.split(), rule)


PASSING: dict[str, Callable] = {
    **{name: rule for name, rule in OF_UNITS.items() if rule is asked},
    **_for("contiguous clone to float double", keep),
    **_for("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout", dropout),
    **_for(
        "max_pool1d max_pool2d max_pool3d flatten view reshape unflatten ravel view_as reshape_as "
        "permute transpose movedim moveaxis swapaxes swapdims squeeze unsqueeze select narrow "
        "t T mT getitem flip roll pad",
        move,
    ),
    **_for("avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean", average),
    **_for("mul multiply div divide neg negative", scale),
    **_for("add sub subtract rsub", total),
}
