"""An exercise of chapter 01: break the sentence "fewer multiply-accumulates, so it is faster".

PyTorch's own counter counts; the time is measured here and now, on one thread, in turns. Only
layers of torch.nn are let in, so that it is their work that takes it.
"""

import copy
import random
import statistics
import sys
import time
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from shrink.classroom.exercises.attempt import Attempt, Wrong, show
from shrink.classroom.exercises.cases import generator
from shrink.classroom.exercises.exercise import Exercise

TIMES_AS_LONG = 1.5
_MOST_SECONDS = 1.0  # for one image
_MEASURED_SECONDS = 0.4  # in which both are measured, if they are quick
_COUNTED = (nn.Linear, _ConvNd, _NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)
_NAMES = ("fewer", "more")


def _why_not_own(name: str, layer: nn.Module) -> str | None:
    """Why a layer is not one of PyTorch's as they are; or None."""
    kind = type(layer)
    home = sys.modules.get(kind.__module__)
    torchs = kind.__module__.startswith("torch.nn.modules.")
    if not torchs or getattr(home, kind.__name__, None) is not kind:
        return f"{name} is a {kind.__name__}, which is not of torch.nn: use its layers"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return f"{name} has a hook: use layers of torch.nn as they are"
    mine = [key for key in vars(layer) if callable(getattr(kind, key, None))]
    mine += [key for key, value in vars(layer).items() if _is_function_of_theirs(value)]
    if mine or layer._compiled_call_impl is not None:
        what = f"its own {mine[0]}" if mine else "been compiled"
        return f"{name} has {what}: use layers of torch.nn as they are"
    own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if any(type(tensor).__module__.partition(".")[0] != "torch" for tensor in own):
        return f"{name} has a tensor of a type of its own: use layers of torch.nn as they are"
    if next(layer.parameters(recurse=False), None) is not None and not isinstance(layer, _COUNTED):
        return (
            f"{name} is a {kind.__name__}, in which PyTorch's counter does not see every product: "
            "use linear layers and convolutions"
        )
    return None


def _is_function_of_theirs(value: Any) -> bool:
    if not callable(value) or isinstance(value, nn.Module | Tensor | type | BuiltinFunctionType):
        return False
    return not (getattr(value, "__module__", None) or "").startswith("torch")


def _admit(name: str, model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise Wrong(f"{name} is not a model, an nn.Module", given=model)
    for path, layer in model.named_modules():
        if why := _why_not_own(f"{name}[{path!r}]" if path else name, layer):
            raise Wrong(why)


def _seconds(model: nn.Module, image: Tensor) -> float:
    began = time.perf_counter()
    model(image)
    return time.perf_counter() - began


def _ready(name: str, model: nn.Module, image: Tensor) -> tuple[nn.Module, int]:
    """A copy of the model as it is measured, and its multiply-accumulates."""
    try:
        copied = copy.deepcopy(model).to("cpu", torch.float32).eval()
        slow = _seconds(copied, image) > _MOST_SECONDS  # the first call may be, for other reasons
        if slow and (seconds := _seconds(copied, image)) > _MOST_SECONDS:
            raise Wrong(
                f"{name} takes {seconds:.1f} s for one image; keep each below {_MOST_SECONDS:g} s"
            )
        with FlopCounterMode(display=False) as counter:
            output = copied(image)
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"{name} raised {type(error).__name__}: {show(str(error))}") from None
    if not isinstance(output, Tensor) or output.shape != (1, 10):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise Wrong(
            f"{name} must take an image of shape (1, 1, 28, 28) and give 10 numbers",
            expected=(1, 10),
            given=shape,
        )
    return copied, counter.get_total_flops() // 2


def _medians(models: list[nn.Module], image: Tensor) -> list[float]:
    """The median seconds of each; they run in turns, so that both meet the same machine."""
    warm_up = [[_seconds(model, image) for model in models] for _ in range(3)]
    runs = int(_MEASURED_SECONDS / sum(map(min, zip(*warm_up, strict=True))))
    rounds = [[_seconds(m, image) for m in models] for _ in range(min(max(runs, 5), 301))]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _check_fewer_but_slower(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise Wrong("return a pair of models", expected="(fewer, more)", given=given)
    for name, model in zip(_NAMES, given, strict=True):
        _admit(name, model)
    image = torch.rand(1, 1, 28, 28, generator=generator(rng))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them make small layers wait, and times uneven
    try:
        with torch.no_grad():
            ready = [_ready(n, m, image) for n, m in zip(_NAMES, given, strict=True)]
            seconds = _medians([model for model, _ in ready], image)
    finally:
        torch.set_num_threads(threads)
    _compare([macs for _, macs in ready], seconds)


def _compare(macs: list[int], seconds: list[float]) -> None:
    """Raise unless the first has fewer multiply-accumulates and takes longer."""
    if hint := _what_is_missing(macs, seconds[0] / seconds[1]):
        found = "; ".join(
            f"{name}: {n:,} multiply-accumulates, {1e6 * s:,.0f} µs"
            for name, n, s in zip(_NAMES, macs, seconds, strict=True)
        )
        expected = (
            f"fewer multiply-accumulates in the first, which takes {TIMES_AS_LONG} times as long"
        )
        raise Wrong(hint, expected=expected, given=f"{found}, on one thread")


def _what_is_missing(macs: list[int], ratio: float) -> str | None:
    """What the pair is not yet; `ratio` is the first's time over the second's."""
    if min(macs) == 0:
        which = " and ".join(n for n, m in zip(_NAMES, macs, strict=True) if m == 0)
        return f"{which}: none of its products is counted; both must multiply something"
    if macs[0] == macs[1]:
        return "both have the same number of multiply-accumulates: the first must have fewer"
    if macs[0] > macs[1]:
        return "the first has more multiply-accumulates" + (
            " and is faster: exchange them"
            if ratio <= 1 / TIMES_AS_LONG
            else ", and must have fewer"
        )
    if ratio <= 1:
        return "the first has fewer multiply-accumulates and is faster too, as one would expect"
    if ratio < TIMES_AS_LONG:
        return (
            f"too close to call: the first takes {ratio:.2f} times as long as the second, "
            f"and must take at least {TIMES_AS_LONG} times"
        )
    return None


fewer_but_slower = Exercise(
    "fewer_but_slower",
    _check_fewer_but_slower,
    core=False,
    minutes=10,
)
