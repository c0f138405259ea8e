"""What each function of torch does with the units of the activations it is given.

A rule gets the marking, the function, its result and its arguments, and marks the result.
"""

import inspect
import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from shrink.pruning.marks import FIXED, Marking, flat


def asked(marking: Marking, function, result, args, kwargs) -> None:
    """What is asked of an activation is no activation."""


def linear(marking: Marking, function, result, args, kwargs) -> None:
    """Each row of the weight makes a unit, each column reads one."""
    x, weight, bias = given(args, kwargs, "input", "weight", "bias")
    _only_input(marking, x, weight, bias)
    marking.see(weight, 1, "reads", marking.units.along(marking.marks(x), -1))
    made = marking.made(weight)
    marking.see(bias, 0, "makes", made)
    marking.mark(result, made.expand(result.shape))


def matmul(marking: Marking, function, result, args, kwargs) -> None:
    """An activation times a parameter, (in, out): columns make, rows read."""
    x, weight = given(args, kwargs, "input", "other")
    _only_input(marking, x, weight)
    if weight.dim() != 2 or marking.name(weight) is None:
        marking.refuse("multiplies by a matrix that is no parameter (in, out)")
    marking.see(weight, 0, "reads", marking.units.along(marking.marks(x), -1))
    marking.mark(result, marking.made(weight, axis=1).expand(result.shape))


def conv(marking: Marking, function, result, args, kwargs) -> None:
    """Each filter makes a unit, and reads one by each of its kernels.

    With `groups`, what has the same place in each of the groups is one unit, so that all groups
    stay equally large.
    """
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, bias, *_, groups = given(args, kwargs, *names)
    _only_input(marking, x, weight, bias)
    if x.dim() != weight.dim():
        marking.refuse("convolves one image that is in no batch")
    taken, groups = marking.units.along(marking.marks(x), 1), groups or 1
    if groups > 1 and weight.shape[1] == 1:
        _depthwise(marking, result, weight, bias, taken, groups)
        return
    made = marking.made(weight)
    if groups > 1:
        for marks in (taken, made):
            by_group = marks.view(groups, -1)
            marking.units.tie(by_group, by_group[0])
        taken = taken.view(groups, -1)[0]
    marking.see(weight, 1, "reads", taken)
    marking.see(bias, 0, "makes", made)
    marking.mark(result, _channels(made, result))


def _depthwise(marking: Marking, result, weight, bias, taken, groups) -> None:
    """Each channel alone becomes one or several: these are its unit, too."""
    scaled = taken.repeat_interleave(len(weight) // groups)
    marking.see(weight, 0, "scales", scaled)
    marking.see(bias, 0, "scales", scaled)
    marking.mark(result, _channels(scaled, result))


def norm(marking: Marking, function, result, args, kwargs) -> None:
    """Each channel alone, by its own mean, variance, weight and bias."""
    names = ("input", "running_mean", "running_var", "weight", "bias")
    x, *tensors = given(args, kwargs, *names)
    marks = marking.units.along(marking.marks(x), 1)
    for tensor in tensors:
        marking.see(tensor, 0, "scales", marks)
    marking.mark(result, _channels(marks, result))


def prelu(marking: Marking, function, result, args, kwargs) -> None:
    """One slope for all, or one for each channel."""
    x, weight = given(args, kwargs, "input", "weight")
    if weight.numel() > 1:
        marking.see(weight, 0, "scales", marking.units.along(marking.marks(x), 1))
    marking.mark(result, marking.marks(x))


def entries(marking: Marking, function, result, args, kwargs) -> None:
    """Each entry alone becomes one of the same unit."""
    x, *others = flat([args, kwargs])
    if marking.marks(x) is None or any(isinstance(t, Tensor) and t.numel() > 1 for t in others):
        marking.refuse(f"calls {function.__name__} with other tensors than one activation")
    if not isinstance(result, Tensor):  # as of `float(x)`, which all units have a part in
        marking.refuse(f"makes a {type(result).__name__} of an activation")
    marking.mark(result, marking.marks(x))


def dropout(marking: Marking, function, result, args, kwargs) -> None:
    """Nothing, in a model in use: one that drops all the same says something else at each call."""
    training = given(args, kwargs, "input", "p", "training")[-1]
    if training is None:
        training = inspect.signature(function).parameters["training"].default
    if training:
        marking.refuse("drops at random in use, too")
    marking.mark(result, marking.marks(args[0] if args else kwargs["input"]))


def pairs(marking: Marking, function, result, args, kwargs) -> None:
    """Entry with entry: two activations' units become one, a parameter's entries scale units."""
    both = given(args, kwargs, "input", "other")
    divisor = both[0 if function.__name__.startswith("__r") else 1]
    if "div" in function.__name__ and marking.marks(divisor) is not None:
        marking.refuse("divides by an activation, which is 0 where a unit is masked")
    marks = [m for m in map(marking.marks, both) if m is not None]
    found = _joined(marking, marks[0], marks[-1]).expand(result.shape)
    for x in both:
        if isinstance(x, Tensor) and marking.marks(x) is None and x.numel() > 1:
            _scale(marking, found, x)
    marking.mark(result, found)


def _joined(marking: Marking, a: Tensor, b: Tensor) -> Tensor:
    """The marks of entries made of both, which become one; what meets several, as a gate for all
    channels does, stays."""
    a_stays, b_stays = _meets_several(a, b), _meets_several(b, a)
    for marks, stays in ((a, a_stays), (b, b_stays)):
        if stays:
            marking.units.fix(marks)
    if not (a_stays or b_stays):
        marking.units.tie(a, b)
    return b if a_stays else a if b_stays else max(a, b, key=Tensor.numel)


def _meets_several(marks: Tensor, others: Tensor) -> bool:
    """Whether one of the marks is broadcast over several of the others."""
    axes = range(-others.dim(), 0)
    broadcast = [a for a in axes if -a > marks.dim() or marks.shape[a] < others.shape[a]]
    return any(bool((others != others.narrow(a, 0, 1)).any()) for a in broadcast)


def _scale(marking: Marking, marks: Tensor, tensor: Tensor) -> None:
    """The entries of a parameter or buffer that act on those units, along each of its axes."""
    if marking.name(tensor) is None:
        marking.refuse(f"computes with a tensor {tuple(tensor.shape)} that is none of the model's")
    for axis in range(tensor.dim()):
        of_marks = axis - tensor.dim()
        if tensor.shape[axis] > 1 and (marks != marks.narrow(of_marks, 0, 1)).any():
            marking.see(tensor, axis, "scales", marking.units.along(marks, of_marks))


def pool(marking: Marking, function, result, args, kwargs) -> None:
    """Each channel alone; the rest of its axes get other sizes."""
    marks = marking.marks(args[0] if args else kwargs["input"])
    places = re.search(r"(\d)d$", function.__name__)
    if places and marks.dim() != 2 + int(places[1]):
        marking.refuse("pools one image that is in no batch")
    marks = marking.units.along(marks, 1)
    for part in flat(result):
        marking.mark(part, _channels(marks, part))


def over(marking: Marking, function, result, args, kwargs) -> None:
    """What is added up or averaged together is one unit."""
    x, axes, keep = given(args, kwargs, "input", "dim", "keepdim")
    marks = marking.marks(x)
    axes = [*range(x.dim())] if axes is None else [axes] if isinstance(axes, int) else [*axes]
    for axis in axes:
        first = marks.narrow(axis, 0, 1)
        marking.units.tie(marks, first)
        marks = first
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        marks = marks if keep else marks.squeeze(axis)
    marking.mark(result, marks)


def whole(marking: Marking, function, result, args, kwargs) -> None:
    """Every entry along an axis is computed of all of them: none can go."""
    marks = marking.marks(args[0] if args else kwargs["input"])
    marking.units.fix(marks)
    marking.mark(result, marks)


def places(marking: Marking, function, result, args, kwargs) -> None:
    """Entries get other places: the marks, moved by the function itself."""
    args, kwargs = (_with_marks(marking, part) for part in (args, kwargs))
    moved = function(*args, **kwargs)
    for part, marks in zip(flat(result), flat(moved), strict=True):
        marking.mark(part, marks)


def _with_marks(marking: Marking, given):
    if isinstance(given, dict):
        return {name: _with_marks(marking, part) for name, part in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(_with_marks(marking, part) for part in given)
    if (marks := marking.marks(given)) is not None:
        return marks.clone(memory_format=torch.contiguous_format)  # so that each view of it exists
    if isinstance(given, Tensor) and given.is_floating_point():  # joined to activations, it stays
        return torch.full(given.shape, FIXED)
    return given.cpu() if isinstance(given, Tensor) else given  # such as an index


def pad(marking: Marking, function, result, args, kwargs) -> None:
    """Zeros around a channel are that channel's; channels of zeros alone stay."""
    x, widths = given(args, kwargs, "input", "pad")
    marks = torch.nn.functional.pad(marking.marks(x), tuple(widths), value=-1)
    others = [axis for axis in range(marks.dim()) if axis != 1]
    marks = torch.where(marks < 0, marks.amax(others, keepdim=True), marks)
    marking.mark(result, marks.clamp(min=0))


def given(args: tuple, kwargs: dict, *names: str) -> list:
    """The arguments of these names, in a call that may give them by place; None where not given."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _only_input(marking: Marking, x: object, *tensors: object) -> None:
    if marking.marks(x) is None or any(marking.marks(t) is not None for t in tensors):
        marking.refuse("multiplies two activations")


def _channels(marks: Tensor, result: Tensor) -> Tensor:
    """Marks of channels, at every place of the result."""
    return marks.view(-1, *[1] * (result.dim() - 2)).expand(result.shape)


def _for(names: str, rule: Callable) -> Iterable[tuple[str, Callable]]:
    return ((name, rule) for name in names.split())


RULES: dict[str, Callable] = dict(
    [
        *_for(
            "size shape dim ndim ndimension numel nelement stride dtype device layout is_cuda "
            "is_meta is_sparse is_quantized is_nested requires_grad is_floating_point is_complex "
            "is_contiguous element_size itemsize nbytes get_device len hash",
            asked,
        ),
        *_for("linear", linear),
        *_for("matmul", matmul),
        *_for("conv1d conv2d conv3d", conv),
        *_for("batch_norm instance_norm", norm),
        *_for("prelu", prelu),
        *_for(
            "relu relu6 leaky_relu elu celu selu gelu silu mish softplus sigmoid tanh hardtanh "
            "hardsigmoid hardswish softsign logsigmoid threshold abs neg exp square sqrt clamp "
            "clip pow to type float double half bfloat16 type_as clone detach contiguous data",
            entries,
        ),
        *_for(
            "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout "
            "feature_dropout",
            dropout,
        ),
        *_for("add sub subtract rsub mul multiply div divide maximum minimum", pairs),
        *_for(
            "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
            "adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d interpolate upsample",
            pool,
        ),
        *_for("mean sum amax amin", over),
        *_for("softmax log_softmax softmin", whole),
        *_for(
            "flatten view reshape unflatten permute transpose movedim moveaxis swapaxes swapdims t "
            "T mT squeeze unsqueeze cat concat concatenate stack chunk split tensor_split unbind "
            "getitem select narrow index_select expand expand_as repeat repeat_interleave tile "
            "flip roll view_as reshape_as ravel channel_shuffle pixel_shuffle",
            places,
        ),
        *_for("pad", pad),
    ]
)
