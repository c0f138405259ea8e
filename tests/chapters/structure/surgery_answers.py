"""Answers to the exercises of chapter 07 that take channels out: for `answers.py`."""

import math
from collections import OrderedDict

import torch
from torch.nn import Parameter

from shrink.chapters import structure
from tests.chapters.wrong import CHANGED, changed, in_each

right_three = structure.remove_channels.reference
right_columns = structure.remove_inputs.reference
right_state = structure.shrink_residual.reference
MAKES, READS = ("stem", "norm0", "conv2", "norm2"), ("conv1", "down")


def _chosen(size, kept):
    """A mask of bool."""
    return torch.zeros(size, dtype=torch.bool, device=kept.device).index_fill(0, kept, True)


# --- right ---------------------------------------------------------------------------------


def three_by_a_mask(conv, norm, following, kept):
    mask = _chosen(len(conv["weight"]), kept)
    conv["weight"].sum()
    return [
        {name: Parameter(tensor.detach()[mask]) for name, tensor in reversed(conv.items())},
        OrderedDict((name, norm[name][mask]) for name in sorted(norm)),
        {name: t[:, mask] if t.dim() > 1 else t for name, t in following.items()},
    ]


def three_in_loops(conv, norm, following, kept):
    def stacked(tensor, axis=0):
        return torch.stack([tensor.double().select(axis, i) for i in kept.tolist()], axis)

    small = {"bias": following["bias"].double(), "weight": stacked(following["weight"], 1)}
    return *(in_each(stacked)(layer) for layer in (conv, norm)), small


def columns_in_a_loop(weight, kept, places):
    pieces = [weight[:, c * places : (c + 1) * places] for c in kept.tolist()]
    return torch.cat(pieces, dim=1)


def columns_by_repeat_interleave(weight, kept, places):
    of_channel = kept.repeat_interleave(places) * places
    return weight[:, of_channel + torch.arange(places, device=kept.device).repeat(len(kept))]


def columns_by_a_mask(weight, kept, places):
    mask = _chosen(weight.shape[1] // places, kept).repeat_interleave(places)
    return weight.T.double()[mask].T  # not contiguous


def _both(state):
    return sum(state[f"{layer}.weight"].abs().sum((1, 2, 3)) for layer in ("stem", "conv2"))


def _with(state, kept):
    """The state with these channels, in the order of `kept`."""
    new = OrderedDict()
    for name, tensor in reversed(state.items()):
        layer = name.partition(".")[0]
        if layer in MAKES and tensor.dim():
            tensor = tensor[kept]
        new[name] = tensor[:, kept] if layer in READS else tensor
    return new


def strongest_first(state, count):
    return _with(state, _both(state).topk(count).indices)


def the_last_of_those_that_tie(state, count):
    order = sorted(range(len(_both(state))), key=lambda i: (_both(state)[i].item(), i))
    return _with({name: tensor.clone() for name, tensor in state.items()}, order[-count:])


def state_in_double(state, count):
    kept = _both(state).argsort(descending=True, stable=True)[:count]
    mask = _chosen(len(state["stem.weight"]), kept)
    floats = {name: t.double() if t.dim() else t for name, t in state.items()}
    return dict(_with(floats, mask.nonzero()[:, 0]))


def another_break():
    net = {
        "image": [1.0, -2.0, 3.0],
        "stem": torch.tensor([1.0, 2.0, 3.0]),
        "gamma": (1, 2, 1),
        "beta": torch.nn.Parameter(torch.tensor([0.5, 5.0, 0.0])),
        "mean": [0, 3, 1],
        "var": [1, 4, 0.25],
        "conv": torch.tensor([[1, 0, 1], [3, -3, 3], [1, 0, -1]]),
        "fc": torch.arange(1, 10),
    }
    return [net, torch.tensor([0, 2])]


RIGHT = {
    "remove_channels": [three_by_a_mask, three_in_loops],
    "remove_inputs": [columns_in_a_loop, columns_by_repeat_interleave, columns_by_a_mask],
    "shrink_residual": [strongest_first, the_last_of_those_that_tie, state_in_double],
    "break_the_surgery": [another_break],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _statistics_by_a_slice(conv, norm, following, kept):
    conv, small, following = three_in_loops(conv, norm, following, kept)
    for name in ("running_mean", "running_var"):
        small[name] = norm[name][: len(kept)].clone()
    return [conv, small, following]


def _filters_times_a_mask(conv, norm, following, kept):
    mask = _chosen(len(conv["bias"]), kept)
    filters = conv["weight"] * mask[:, None, None, None]
    return {"weight": filters, "bias": conv["bias"] * mask}, norm, following


def _place_after_place(weight, kept, places):
    return weight[:, [c * places + p for p in range(places) for c in kept.tolist()]]


def _as_if_channels_came_last(weight, kept, places):
    channels = weight.shape[1] // places
    return weight[:, [p * channels + c for p in range(places) for c in kept.tolist()]]


def _cat_without_dim(weight, kept, places):
    return torch.cat([weight[:, c * places : (c + 1) * places] for c in kept])


def _topk_in_each_layer(state, count):
    scores = (state[f"{layer}.weight"].abs().sum((1, 2, 3)) for layer in ("stem", "conv2"))
    stem, conv2 = (of_layer.topk(count).indices for of_layer in scores)
    new = _with(state, stem)
    for name in new:
        if name.startswith(("conv2", "norm2", "down")):
            new[name] = _with(state, conv2)[name]
    return new


def _topk_of_conv2(state, count):
    return _with(state, state["conv2.weight"].abs().sum((1, 2, 3)).topk(count).indices)


def _every_tensor_of_a_norm(state, count):
    kept = _both(state).topk(count).indices
    new = dict(state)
    for name in state:
        if name.split(".")[0] in MAKES:
            new[name] = state[name][kept]
    return new


DISGUISED = [
    ("remove_channels", "first statistics", _statistics_by_a_slice),
    ("remove_channels", "filters zeroed", _filters_times_a_mask),
    ("remove_inputs", "place by place", _place_after_place),
    ("remove_inputs", "channels last", _as_if_channels_came_last),
    ("remove_inputs", "below each other", _cat_without_dim),
    ("shrink_residual", "each its own", _topk_in_each_layer),
    ("shrink_residual", "conv2 alone", _topk_of_conv2),
    ("shrink_residual", "num_batches_tracked cut", _every_tensor_of_a_norm),
]
RAISING = {("shrink_residual", "num_batches_tracked cut"): "IndexError"}

# --- wrong otherwise -----------------------------------------------------------------------


def _in_place(conv, norm, following, kept):
    for layer in (conv, norm):
        for name in layer:
            layer[name] = layer[name][kept]
    following["weight"] = following["weight"][:, kept]
    return conv, norm, following


def _first_channels(conv, norm, following, kept):
    return right_three(conv, norm, following, torch.arange(len(kept), device=kept.device))


def _norm_of_the_first(conv, norm, following, kept):
    small = right_three(conv, norm, following, kept)
    return small[0], {name: t[: len(kept)] for name, t in norm.items()}, small[2]


def _fresh_statistics(conv, norm, following, kept):
    conv, norm, following = right_three(conv, norm, following, kept)
    fresh = {"running_mean": torch.zeros(len(kept)), "running_var": torch.ones(len(kept))}
    return conv, norm | {name: t.to(kept.device) for name, t in fresh.items()}, following


def _two_mistakes(conv, norm, following, kept):
    conv, _, small = right_three(conv, norm, following, kept)
    return conv, dict(norm), {**small, "bias": following["bias"][kept]}


def _variance_forgotten(conv, norm, following, kept):
    small = right_three(conv, norm, following, kept)
    small[1]["running_var"] = norm["running_var"]
    return small


def _bias_of_the_next_added_to(conv, norm, following, kept):
    conv, norm, following = right_three(conv, norm, following, kept)
    return conv, norm, {**following, "bias": following["bias"] + 1}


def _without(which, name):
    def drop(three):
        three[which].pop(name)
        return three

    return changed(right_three, drop)


def _with_more(three):
    return three[0], {**three[1], "eps": torch.tensor(1e-5)}, three[2]


def _reversed(conv, norm, following, kept):
    return right_three(conv, norm, following, kept.flip(0))


def _smallest(state, count):
    return _with(state, _both(state).topk(count, largest=False).indices)


def _signed(state, count):
    scores = sum(state[f"{layer}.weight"].sum((1, 2, 3)) for layer in ("stem", "conv2"))
    return _with(state, scores.topk(count).indices)


def _by_the_larger(state, count):
    norms = (state[f"{layer}.weight"].abs().sum((1, 2, 3)) for layer in ("stem", "conv2"))
    return _with(state, torch.maximum(*norms).topk(count).indices)


def _by_l2(state, count):
    squares = (state[f"{layer}.weight"].square().sum((1, 2, 3)) for layer in ("stem", "conv2"))
    return _with(state, sum(one.sqrt() for one in squares).topk(count).indices)


def _of_all_filters(state, count):
    filters = [state[f"{layer}.weight"].abs().sum((1, 2, 3)) for layer in ("stem", "conv2")]
    return _with(state, torch.cat(filters).topk(count).indices % len(filters[0]))


def _two_orders(state, count):
    kept = _both(state).topk(count).indices
    kept = kept[kept.argsort(descending=True)]
    new = _with(state, kept)
    new["down.weight"] = _with(state, kept.flip(0))["down.weight"]
    return new


def _on_itself(state, count):
    state |= _with(state, _both(state).topk(count).indices)
    return state


def _inner_too(state, count):
    new = dict(_with(state, _both(state).topk(count).indices))
    return new | {f"norm1.{n}": 2 * state[f"norm1.{n}"] for n in ("weight", "bias")}


def _only_what_is_cut(state, count):
    new = _with(state, _both(state).topk(count).indices)
    return {name: t for name, t in new.items() if not name.startswith("norm1")}


HIDES = {
    "stem": [1, 1],
    "gamma": [1, 1],
    "beta": [0, 0],
    "mean": [0, 0],
    "var": [1, 1],
    "conv": [[1, 0], [0, 1]],
    "fc": [1, 1],
    "image": [1],
}
SHOWS = HIDES | {
    "beta": [1, 0],
    "mean": [0, 1],
    "conv": [[2, 2], [0, 1]],
    "fc": [1, 1, 1, 1],
    "image": [1, 2],
}


def _net(kept, net=SHOWS, **other):
    return lambda: (net | other, kept)


WRONG = {
    "remove_channels": {
        (lambda *case: right_three(*case)[:2]): r"return three dicts.*\(conv, norm, following\)",
        _in_place: CHANGED,
        _first_channels: r"conv\['weight'\] has channels 0, 1 and 2; kept are .*after the convolu",
        _norm_of_the_first: r"norm\['weight'\] has channels 0, 1 and 2; kept.*after the batch norm",
        _reversed: r"conv\['weight'\] has channels \d, \d and 0; kept are|"
        r"conv\['weight'\] has channels \d, \d and \d; kept are",
        _fresh_statistics: r"norm\['running_mean'\] has numbers that no channel had",
        _variance_forgotten: r"norm\['running_var'\] has the wrong shape.*in parts: right in conv, "
        r"wrong in norm, right in following",
        _two_mistakes: "5 tensors have the wrong shape.*in following: the next layer.s bias has",
        _bias_of_the_next_added_to: r"following\['bias'\] has changed",
        _without(1, "running_var"): "norm has no 'running_var' any more",
        changed(right_three, _with_more): "norm has got 'eps'",
        changed(right_three, lambda three: [in_each(torch.Tensor.tolist)(t) for t in three]): (
            r"conv\['weight'\] is a tensor"
        ),
        changed(right_three, lambda three: [in_each(torch.Tensor.long)(t) for t in three]): (
            r"conv\['weight'\] is a dense tensor of floats.*given: +torch.int64"
        ),
    },
    "remove_inputs": {
        changed(right_columns, torch.Tensor.tolist): "the new weight is a tensor",
        changed(right_columns, torch.Tensor.long): "the new weight is a dense tensor of floats",
        (lambda weight, kept, places: weight.unflatten(1, (-1, places))[:, kept]): (
            r"2 channels of 2 places each are 4 inputs; all outputs.*given: +shape \(3, 2, 2\)"
        ),
        (lambda weight, kept, places: weight[:, : len(kept) * places]): (
            "your column 0 is column 0, of channel 0 at place 0, and should be column 2, of channel"
        ),
        (lambda weight, kept, places: right_columns(weight, kept.flip(0), places)): (
            "your column 0 is column 4, of channel 2 at place 0"
        ),
        changed(right_columns, lambda weight: weight * 2.5): "are not all columns of the weight",
    },
    "shrink_residual": {
        (lambda state, count: list(right_state(state, count).values())): "return a state: a dict",
        _on_itself: CHANGED,
        _smallest: r"channel \d stays, with L1 norms \d+ \+ \d+ = \d+, and channel \d goes, with",
        _signed: r"channel \d+ stays, with L1 norms",
        _by_the_larger: r"channel \d+ stays, with L1 norms",
        _by_l2: r"channel \d+ stays, with L1 norms",
        # may choose as conv2 alone does, and then its hint is shown
        _of_all_filters: "a channel is there twice|channel .* stays|have the wrong shape(hint:)?",
        _two_orders: r"stem.weight has channels .*, down.weight .*in the same order",
        _inner_too: "the right channels are left, and another tensor has changed",
        _only_what_is_cut: "the new state has no 'norm1.weight' any more",
        (lambda state, count: right_state(state, count) | {"kept": torch.arange(count)}): (
            "the new state has got 'kept'"
        ),
        changed(right_state, in_each(torch.Tensor.double)): (
            r"norm0.num_batches_tracked is a dense tensor of whole numbers"
        ),
        (
            lambda state, count: right_state(state, count - 1 or 2)
        ): "12 tensors have the wrong shape",
    },
    "break_the_surgery": {
        _net(
            [0], HIDES
        ): r"filters only \(by 0.00\), first statistics \(by 0.00\), own choice \(by 0.00\), "
        r"one column per channel \(by 0.00\): on your net .* hides \(off, as it should be: none\)",
        _net([1], beta=[0, 0]): r"surgery: filters only \(by 0.00\): on your net the output is",
        _net(
            [1], mean=[0, 0]
        ): r"surgery: first statistics \(by 0.00\): .*one column per channel \(do",
        _net([1], conv=[[2, 2], [0, 4]]): r"surgery: own choice \(by 0.00\): on your net",
        _net([1], conv=[[0, 4], [0, 4]]): r"surgery: own choice \(by 0.00\): on your net",
        _net([1], image=[2], fc=[1, 1]): r"surgery: one column per channel \(by 0.00\): on your",
        _net([]): "kept is empty: a layer without channels passes nothing on",
        _net([0, 1]): "kept has all channels, so that nothing is removed",
        _net([1, 0]): "kept is a list of whole numbers that rise",
        _net([2]): "the channels are numbered 0 to 1",
        _net([1], stem=[1, math.nan]): "stem has a number that is not finite",
        _net([1], fc=[1e6, 1, 1, 1]): "the numbers of fc lie from -10 to 10",
        _net([1], var=[0, 1]): "variances are 0.1 or more",
        _net([1], conv=[[1, 2]]): r"for a stem of 2 and an image of 2, conv has the shape \(2, 2\)",
        _net([1], conv=[[1, 2], [3]]): "conv is a list of numbers, or a tensor",
        _net([1], stem=[1] * 9): "stem has 1 to 4 numbers, one per channel, and image 1 to 4",
        _net([1], bias=[1, 2]): "the net has other entries",
        (lambda: SHOWS): "return a dict and a list",
    },
}
