"""Answers to the exercises of chapter 11, right ones and wrong ones."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from shrink.chapters.mixed.correcting import correct_bias
from shrink.chapters.mixed.relaxing import relaxed_rounding
from tests.chapters.mixed import first_answers as first
from tests.chapters.wrong import CHANGED, changed

right_rounding = relaxed_rounding.reference
right_bias = correct_bias.reference

# --- right answers -------------------------------------------------------------------------


def by_hand(weight, scale, q_min, q_max, v, beta):
    """The sigmoid written out, the power of a square, and a list for the tuple."""
    low = torch.div(weight, scale, rounding_mode="floor")
    p = (weight / scale - low + 0.1) / 1.2
    h = torch.minimum(torch.maximum(1.2 / (1 + (-v).exp()) - 0.1, v * 0), v * 0 + 1)
    regulariser = v.numel() - (((2 * h - 1) ** 2) ** (beta / 2)).sum()
    rounded = low.int() + (h.detach() >= 0.5).int()
    return [
        (p / (1 - p)).log(),
        (scale * (low + h)).clip(scale * q_min, scale * q_max),
        regulariser,
        rounded.clamp(q_min, q_max),
    ]


def between_two_integers(weight, scale, q_min, q_max, v, beta):
    """From the integer below to the one above, which stays in the range."""
    low = (weight / scale).floor()
    high = (low + 1).clamp(max=q_max)
    h = F.hardtanh(1.2 * torch.sigmoid(v) - 0.1, 0.0, 1.0)
    start = -torch.log(1.2 / (weight / scale - low + 0.1) - 1)
    undecided = torch.ones_like(h) - torch.pow(torch.abs(1 - 2 * h), beta)
    end = torch.where(h >= 0.5, high, low)
    return start, scale * torch.lerp(low, high, h), undecided.sum(), end.to(torch.int8)


def by_bisection(weight, scale, q_min, q_max, v, beta):
    """The start is searched for, and one that lies below a fraction of 0 will do."""
    low = (weight / scale).floor()
    fraction = weight / scale - low
    below, above = torch.full_like(weight, -4), torch.full_like(weight, 4)
    for _ in range(40):
        start = (below + above) / 2
        more = (1.2 * start.sigmoid() - 0.1).clamp(0, 1) > fraction
        below, above = torch.where(more, below, start), torch.where(more, start, above)
    _, *others = right_rounding(weight, scale, q_min, q_max, v, beta)
    return start, *others


def by_tanh(weight, scale, q_min, q_max, v, beta):
    """The sigmoid as a tanh, the floor as a remainder, and gradients left in the integers."""
    steps = weight / scale
    fraction = steps % 1
    h = (0.5 + 0.6 * (v / 2).tanh()).clamp(0, 1)
    relaxed = (steps - fraction + h).clamp(q_min, q_max)
    start = 2 * ((fraction - 0.5) / 0.6).atanh()
    undecided = torch.stack([1 - abs(2 * x - 1) ** beta for x in h.flatten()])
    return (
        start,
        relaxed * scale,
        sum(undecided),
        relaxed
        - relaxed.detach()
        + relaxed.detach().sub(steps - fraction).round().add(steps - fraction),
    )


def weight_by_weight(weight, scale, q_min, q_max, v, beta):
    rows = []
    for w, x in zip(weight.flatten().tolist(), v.flatten(), strict=True):
        low = math.floor(w / scale)
        p = (w / scale - low + 0.1) / 1.2
        h = (1.2 * x.sigmoid() - 0.1).clamp(0, 1)
        relaxed = scale * (low + h).clamp(q_min, q_max)
        rounded = torch.tensor(float(max(q_min, min(q_max, low + (h >= 0.5).item()))))
        rows.append((weight.new_tensor(math.log(p / (1 - p))), relaxed, rounded.to(weight), h))
    start, relaxed, rounded, h = (torch.stack(column) for column in zip(*rows, strict=True))
    regulariser = (1 - (2 * h - 1).abs().pow(beta)).sum()
    return (
        *(t.view(weight.shape) for t in (start, relaxed)),
        regulariser,
        rounded.view(weight.shape),
    )


def means_first(bias, weight, rounded, x, rounded_x):
    """What is linear may be averaged before: each place of the kernel has a mean of its own."""
    if weight.dim() == 4:
        x, rounded_x = (
            F.unfold(each, weight.shape[2:]).transpose(1, 2).flatten(0, 1)
            for each in (x, rounded_x)
        )
    return bias + weight.flatten(1) @ x.mean(0) - rounded.flatten(1) @ rounded_x.mean(0)


def by_errors(bias, weight, rounded, x, rounded_x):
    """Of the weights and of the inputs, apart."""
    run = F.conv2d if weight.dim() == 4 else F.linear
    error = run(x, rounded - weight) + run(rounded_x - x, rounded)
    return bias - error.transpose(0, 1).flatten(1).mean(1)


def by_a_solver(bias, weight, rounded, x, rounded_x):
    run = F.conv2d if weight.dim() == 4 else F.linear
    away = run(x, weight, bias) - run(rounded_x, rounded)
    rows = away.movedim(1, -1).reshape(-1, len(bias))
    return torch.linalg.lstsq(rows.new_ones(len(rows), 1), rows).solution[0]


def output_by_output(bias, weight, rounded, x, rounded_x):
    new = bias.clone()
    for i in range(len(bias)):
        one = slice(i, i + 1)
        run = torch.conv2d if weight.dim() == 4 else F.linear
        new[i] += run(x, weight[one]).mean() - run(rounded_x, rounded[one]).mean()
    return new


def in_numpy(bias, weight, rounded, x, rounded_x):
    def mean(weight, x):
        w, x = weight.cpu().double().numpy(), x.cpu().double().numpy()
        if w.ndim == 2:
            return (x @ w.T).mean(0)
        windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
        return np.einsum("nchwij,ocij->o", windows, w) / math.prod(
            windows.shape[i] for i in (0, 2, 3)
        )

    return bias + torch.from_numpy(mean(weight, x) - mean(rounded, rounded_x)).to(bias)


def another_direction():
    """As a tensor and an array: an error of (-0.6, 0.8) costs almost nothing."""
    return torch.tensor([[16.2, 12], [12, 9.2]]), np.array([-4.6, 2.8])


def negative_weights():
    return ((9.1, 6.0), (6.0, 4.1)), (-9.6, 3.9)


RIGHT = {
    "relaxed_rounding": [
        by_hand,
        between_two_integers,
        by_bisection,
        by_tanh,
        weight_by_weight,
    ],
    "correct_bias": [means_first, by_errors, by_a_solver, output_by_output, in_numpy],
    "break_nearest": [another_direction, negative_weights],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _h(v):
    return (1.2 * v.sigmoid() - 0.1).clamp(0, 1)


def _put(which, change):
    """The right answer, with one of the four another: of the arguments."""

    def answer(*args):
        found = list(right_rounding(*args))
        found[which] = change(*args)
        return tuple(found)

    return answer


def _fraction(weight, scale, *_):
    return weight / scale - (weight / scale).floor()


def _plain(weight, scale, q_min, q_max, v, beta):
    low = (weight / scale).floor()
    f = weight / scale - low
    h = 1 / (1 + torch.exp(-v))
    end = (low + h.round()).clamp(q_min, q_max)
    return (
        (f / (1 - f)).log(),
        scale * (low + h).clamp(q_min, q_max),
        (1 - (2 * h - 1).abs() ** beta).sum(),
        end,
    )


def _unbounded(weight, scale, q_min, q_max, v, beta):
    low = (weight / scale).floor()
    start, _, regulariser, _ = right_rounding(weight, scale, q_min, q_max, v, beta)
    return start, scale * (low + _h(v)), regulariser, (low + (_h(v) >= 0.5)).detach()


def _clamps_the_floor(weight, scale, q_min, q_max, v, beta):
    """Before h is added, which is too early."""
    low = (weight / scale).floor().clamp(q_min, q_max)
    start, _, regulariser, _ = right_rounding(weight, scale, q_min, q_max, v, beta)
    return start, scale * (low + _h(v)), regulariser, low + (_h(v) >= 0.5)


def _both_from_x(bias, weight, rounded, x, rounded_x):
    run = F.conv2d if weight.dim() == 4 else F.linear
    error = run(x, rounded - weight)
    return bias - error.transpose(0, 1).flatten(1).mean(1)


def _mean_of_all(bias, weight, rounded, x, rounded_x):
    run = F.conv2d if weight.dim() == 4 else F.linear
    return bias + run(x, weight).mean() - run(rounded_x, rounded).mean()


def _negated(bias, weight, rounded, x, rounded_x):
    """Quantized minus float."""
    return bias - (right_bias(bias, weight, rounded, x, rounded_x) - bias)


def _sums_of_a_convolution(bias, weight, rounded, x, rounded_x):
    if weight.dim() == 4:
        away = torch.conv2d(x, weight) - torch.conv2d(rounded_x, rounded)
        return bias + away.sum((2, 3)).mean(0)
    return right_bias(bias, weight, rounded, x, rounded_x)


DISGUISED = [
    ("relaxed_rounding", "sigmoid not stretched", _plain),
    ("relaxed_rounding", "starts at the fraction", _put(0, _fraction)),
    (
        "relaxed_rounding",
        "threshold forgotten",
        _put(3, lambda w, s, low, high, v, b: ((w / s).floor() + _h(v)).clamp(low, high)),
    ),
    ("relaxed_rounding", "past the range", _unbounded),
    ("relaxed_rounding", "past the range", _clamps_the_floor),
    (
        "relaxed_rounding",
        "mean for sum",
        _put(2, lambda w, s, low, high, v, b: 1 - ((2 * _h(v) - 1).abs() ** b).mean()),
    ),
    (
        "relaxed_rounding",
        "power forgotten",
        _put(2, lambda w, s, low, high, v, b: (1 - (2 * _h(v) - 1).abs()).sum()),
    ),
    (
        "relaxed_rounding",
        "rewards halves",
        _put(2, lambda w, s, low, high, v, b: (1 - 2 * _h(v)).abs().pow(b).sum()),
    ),
    ("correct_bias", "inputs of the float network", _both_from_x),
    ("correct_bias", "one shift for all outputs", _mean_of_all),
    ("correct_bias", "wrong sign", _negated),
    ("correct_bias", "summed over the places", _sums_of_a_convolution),
    (
        "correct_bias",
        "bias forgotten",
        lambda bias, *others: right_bias(bias, *others) - bias,
    ),
]

# --- wrong otherwise -----------------------------------------------------------------------


def _not_stretched_in_h_alone(weight, scale, q_min, q_max, v, beta):
    """And with a mean: two mistakes at once."""
    low, h = (weight / scale).floor(), v.sigmoid()
    start, _, _, rounded = right_rounding(weight, scale, q_min, q_max, v, beta)
    relaxed = scale * (low + h).clamp(q_min, q_max)
    return start, relaxed, (1 - (2 * h - 1).abs() ** beta).mean(), rounded


def _truncated(weight, scale, q_min, q_max, v, beta):
    """The integer towards 0, for the one below."""
    low, h = (weight / scale).trunc(), _h(v)
    start, _, regulariser, _ = right_rounding(weight, scale, q_min, q_max, v, beta)
    return (
        start,
        scale * (low + h).clamp(q_min, q_max),
        regulariser,
        (low + (h >= 0.5)).clamp(q_min, q_max),
    )


def _in_place(weight, scale, q_min, q_max, v, beta):
    found = right_rounding(weight, scale, q_min, q_max, v, beta)
    weight.div_(scale)
    return found


def _steps_v(weight, scale, q_min, q_max, v, beta):
    with torch.no_grad():
        v -= 0.1
    return right_rounding(weight, scale, q_min, q_max, v, beta)


def _rounded_relaxation(weight, scale, q_min, q_max, v, beta):
    """Straight through: the value is that of the hard rounding."""
    found = right_rounding(weight, scale, q_min, q_max, v, beta)
    return found[0], found[1] + (scale * found[3] - found[1]).detach(), *found[2:]


def _straight_h(weight, scale, q_min, q_max, v, beta):
    """The value is right, and the gradient that of a sigmoid without its clamp."""
    found = right_rounding(weight, scale, q_min, q_max, v, beta)
    free = scale * 1.2 * v.sigmoid()
    return found[0], found[1].detach() + free - free.detach(), *found[2:]


def _each(change):
    return changed(right_rounding, lambda found: tuple(map(change, found)))


def _also_where_exact(bias, weight, rounded, x, rounded_x):
    """Bias of both networks in one, and one of them left out again."""
    run = F.conv2d if weight.dim() == 4 else F.linear
    away = run(x, weight, bias) - run(rounded_x, rounded)
    return bias + away.transpose(0, 1).flatten(1).mean(1)


def _inputs_alone(bias, weight, rounded, x, rounded_x):
    return right_bias(bias, weight, weight, x, rounded_x)


def _weight_of_the_other(bias, weight, rounded, x, rounded_x):
    return right_bias(bias, weight, rounded, rounded_x, x)


def _middle(bias, weight, rounded, x, rounded_x):
    run = F.conv2d if weight.dim() == 4 else F.linear
    away = run(x, weight) - run(rounded_x, rounded)
    rows = away.transpose(0, 1).flatten(1)
    return bias + (rows.amax(1) + rows.amin(1)) / 2


def _of_padded_places(bias, weight, rounded, x, rounded_x):
    if weight.dim() == 2:
        return right_bias(bias, weight, rounded, x, rounded_x)
    away = F.conv2d(x, weight, padding=1) - F.conv2d(rounded_x, rounded, padding=1)
    return bias + away.mean((0, 2, 3))


def _last_image_and_twice(bias, weight, rounded, x, rounded_x):
    return 2 * right_bias(bias, weight, rounded, x[-1:], rounded_x[-1:]) - bias


def _bias_in_place(bias, weight, rounded, x, rounded_x):
    bias += right_bias(bias, weight, rounded, x, rounded_x) - bias
    return bias


def _input(g=((9.1, 6.0), (6.0, 4.1)), w=(0.4, 0.9)):
    return lambda: (g, w)


WRONG = {
    "relaxed_rounding": {
        _put(0, lambda w, *_: torch.zeros_like(w)): (
            r"start\[0, 0\] must be .*: the fraction of .* is .*, and with yours h is 0.5.*"
            "in parts: wrong in start, right in relaxed.*in start: at 0 every h is 0.5"
        ),
        _put(0, lambda *args: _fraction(*args).logit()): "in start: this is the plain sigmoid",
        _put(0, lambda w, s, *_: w / s): r"start\[0, 0\] must be",
        _put(1, lambda w, s, low, high, v, b: ((w / s).floor() + _h(v)).clamp(low, high)): (
            r"relaxed\[0, \d\] must be .* in relaxed: the relaxed weight is in steps"
        ),
        _put(1, lambda w, s, low, high, v, b: w + s * _h(v)): r"relaxed\[\d, \d\] must be",
        _put(2, lambda w, s, low, high, v, b: ((1 - (2 * _h(v) - 1).abs()) ** b).sum()): (
            r"regulariser must be .*: h\[0, 0\] is .* of these are added up"
            ".*in regulariser: the power"
        ),
        _put(2, lambda w, s, low, high, v, b: (1 - (2 * _h(v) - 1) ** b).sum()): (
            "regulariser must be"
        ),
        _put(3, lambda w, s, *_: (w / s).round()): "in rounded: the integers are the nearest ones",
        _put(3, lambda w, s, low, high, v, b: (_h(v) >= 0.5).float()): r"rounded\[0, \d\] must be",
        _put(3, lambda w, s, low, high, v, b: ((w / s).floor() + (_h(v) >= 0.5)).detach()): (
            r"rounded\[1, 3\] must be 3, not 4: the integer below 3 is 3 and h is .*, at least 0.5"
            ", so up, and no further than q_max.*in rounded: a weight at the end of the range"
        ),
        _not_stretched_in_h_alone: (
            r"relaxed\[0, 0\] must be .*: the integer below .* is .* and h is .*"
            "right in start, wrong in relaxed, wrong in regulariser.*in relaxed: this is the plain"
        ),
        _truncated: "below -[0-9.]+ is -. and h is .*in relaxed: a cast to int and trunc go",
        _put(
            2, lambda *args: -right_rounding(*args)[2]
        ): "in regulariser: the sign is the wrong way",
        _rounded_relaxation: r"relaxed\[\d, \d\] must be",
        _straight_h: r"relaxed is right in its value, but not in its gradient: by v\[\d, \d\] = ",
        _put(1, lambda *args: right_rounding(*args)[1].detach()): (
            "relaxed is right in its value, and no gradient comes from it to v: detach"
        ),
        _put(2, lambda *args: torch.tensor(right_rounding(*args)[2].item())): (
            "regulariser is right in its value, and no gradient comes from it to v: detach"
        ),
        _put(2, lambda *args: right_rounding(*args)[2].item()): "return four tensors",
        _put(2, lambda *args: right_rounding(*args)[2][None]): (
            r"the regulariser is one number, as a tensor of shape \(\)"
        ),
        _put(1, lambda *args: right_rounding(*args)[1].flatten()): (
            "relaxed has the shape and the device of the weight"
        ),
        _put(3, lambda w, s, low, high, v, b: _h(v) >= 0.5): "rounded is a tensor of integers",
        _put(3, lambda *args: args[1] * right_rounding(*args)[3]): r"rounded\[\d, \d\] must be",
        _each(torch.Tensor.double): "start is a tensor of torch.float32.*torch.float64",
        _in_place: CHANGED,
        _steps_v: CHANGED,
        changed(right_rounding, lambda found: found[1:3]): "return four tensors, .start, relaxed,",
        changed(right_rounding, lambda found: found[1]): "return four tensors",
        changed(right_rounding, lambda found: found[::-1]): "relaxed has the shape and the device",
    },
    "correct_bias": {
        _also_where_exact: "where nothing was rounded: the old bias counts twice",
        _inputs_alone: (
            "in parts: right where nothing was rounded, wrong where only the weight was rounded, "
            "right where only the inputs differ"
        ),
        _weight_of_the_other: "right where only the weight was rounded, wrong where only the inp",
        _middle: "must be .*: without a bias its mean is .* in the float layer and .* old bias is",
        _of_padded_places: "the bias of output 0 must be",
        _last_image_and_twice: "in parts: right where nothing was rounded, wrong where only the",
        _bias_in_place: CHANGED,
        changed(right_bias, torch.Tensor.double): "the new bias has the type of bias",
        changed(right_bias, torch.Tensor.tolist): "the bias is a tensor",
        changed(right_bias, lambda found: found[:, None]): "the shape and the device of bias",
        changed(right_bias, lambda found: found.mean()): "the shape and the device of bias",
        changed(right_bias, lambda found: found * torch.nan): "must be .*, not nan",
        changed(right_bias, lambda found: None): "the bias is a tensor",
    },
    "break_nearest": {
        _input(((1, 0.9), (0.9, 1)), (0.4, 0.3)): (
            r"second to nearest, one change at a time: the error is less than 2 times that of the "
            r"best rounding, \(1, 0\) \(errors: \(0, 0\) 0.466, .*, so the mistake hides \(broken"
        ),
        _input(((1, 0), (0, 1))): "nearest, first to nearest, second to nearest, one change at a",
        _input(((9.1, 6), (6, 4.1)), (0.4, 0.6)): "the mistake hides",
        _input(((9.1, -6), (-6, 4.1)), (0.4, 0.1)): "up: the error is less than 2 times",
        _input(((9.1, 6), (5, 4.1))): "G is symmetric, as .*, and yours has 6 and 5",
        _input(
            ((9, 6), (6, 4))
        ): "G is positive definite, and yours has the eigenvalue|eigenvalues",
        _input(((1, 6), (6, 4))): "G is positive definite, and yours has the eigenvalue -3.68",
        _input(((9.001, 6), (6, 4.001))): "the lower one must be at least 0.001 of the other",
        _input(w=(0.5, 0.9)): "a weight of 0.5 is halfway between two integers, or nearer",
        _input(w=(0.4, 1)): "a weight of 1 is an integer, or nearer to that than 0.01",
        _input(w=(0.4, 0.495)): "a weight of 0.495 is halfway",
        _input(w=(0.4, 0.9, 0.1)): "w is a list of two numbers",
        _input(w=0.4): "w is a list of two numbers",
        _input(w=(0.4, True)): "w is a list of two numbers",
        _input(w=(0.4, 10.9)): "the weights lie from -10 to 10",
        _input(w=(0.4, math.nan)): "the weights lie from -10 to 10",
        _input(g=((910, 600), (600, 410))): "the numbers of G lie from -100 to 100",
        _input(g=((9.1, math.inf), (math.inf, 4.1))): "the numbers of G lie from -100 to 100",
        _input(g=(9.1, 6, 6, 4.1)): "G is a list of two rows of two numbers",
        _input(g=((9.1, 6), (6, 4.1), (0, 0))): "G is a list of two rows of two numbers",
        _input(g="ab"): "G is a list of two rows of two numbers",
        (lambda: ((9.1, 6.0), (6.0, 4.1))): "w is a list of two numbers|G is a list of two rows",
        (lambda: {"G": ((9.1, 6), (6, 4.1)), "w": (0.4, 0.9)}): "return two things",
        (lambda: torch.ones(2, 2)): "return two things",
    },
}

# --- exercises 1 to 3 ----------------------------------------------------------------------

RIGHT |= first.RIGHT
WRONG |= first.WRONG
DISGUISED += first.DISGUISED
