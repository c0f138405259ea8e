"""Answers to exercises 1 to 3 of chapter 11: bytes, sensitivities and the best allocation."""

import copy
import itertools
import math
from fractions import Fraction
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call

from shrink.chapters.mixed.allocating import best_allocation
from shrink.chapters.mixed.layer_bytes import allocation_bytes
from shrink.chapters.mixed.sensitivities import layer_sensitivity
from tests.chapters.wrong import CHANGED, changed, in_each

right_bytes = allocation_bytes.reference
right_sensitivity = layer_sensitivity.reference
right_allocation = best_allocation.reference

# --- right answers -------------------------------------------------------------------------


def by_ceil(shapes, bits, per_channel):
    def layer(name, shape):
        if name not in bits:
            return 4 * math.prod(shape)
        packed = math.ceil(math.prod(shape) * bits[name] / 8)
        return packed + 4 * (shape[0] if per_channel else 1)

    return sum(layer(name, shape) for name, shape in shapes.items())


def in_bits(shapes, bits, per_channel):
    """Everything in bits, filled up to whole bytes, and divided at the end."""
    total = 0
    for name, (outputs, *inputs) in shapes.items():
        weights = outputs * math.prod(inputs)
        packed = weights * bits.get(name, 32)
        packed += -packed % 8
        total += packed + (32 * (outputs if per_channel else 1) if name in bits else 0)
    return total / 8


def with_numpy(shapes, bits, per_channel):
    """Numbers of numpy's."""
    total = np.int64(0)
    for name, shape in shapes.items():
        weights = np.prod(shape, dtype=np.int64)
        total += -(-weights * bits[name] // 8) if name in bits else 4 * weights
        if name in bits:
            total += 4 * shape[0] if per_channel else 4
    return total


def as_a_tensor(shapes, bits, per_channel):
    """The number of elements by a tensor without values; the result is a tensor, too."""
    total = torch.tensor(0)
    for name, shape in shapes.items():
        weights = torch.empty(shape, device="meta").numel()
        if name in bits:
            whole, left = divmod(weights * bits[name], 8)
            total += whole + bool(left) + 4 * (shape[0] ** per_channel)
        else:
            total += weights * 4
    return total


def listed_first(shapes, bits, per_channel):
    """The layers with bits, and the others after them."""
    total = 0
    for name, width in bits.items():
        total += math.ceil(Fraction(math.prod(shapes[name]) * width, 8)) + 4
        if per_channel:
            total += 4 * (shapes[name][0] - 1)
    for name in shapes.keys() - bits.keys():
        total += 4 * math.prod(shapes[name])
    return total


def put_back(model, images, rounded):
    """In the network itself, which is as it was afterwards."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    parameters = dict(model.named_parameters())
    found = {}
    with torch.no_grad():
        p = model(images).softmax(1)
        for name, weight in rounded.items():
            before = parameters[name].clone()
            parameters[name].copy_(weight)
            log_q = F.log_softmax(model(images), dim=1)
            parameters[name].copy_(before)
            found[name] = F.kl_div(log_q, p, reduction="batchmean")
    for layer, training in modes:
        layer.training = training
    return found


def data_swapped(model, images, rounded):
    """Tensors change places in a copy."""
    net = copy.deepcopy(model)
    net.eval()
    log_p = torch.log_softmax(net(images).detach(), 1)
    found = {}
    for name in rounded:
        parameter = net.get_parameter(name)
        before = parameter.data
        parameter.data = rounded[name]
        log_q = torch.log_softmax(net(images), 1)
        parameter.data = before
        found[name] = (log_p.exp() * (log_p - log_q)).sum() / len(images)
    return found


def by_functional_call(model, images, rounded):
    net = copy.deepcopy(model).eval()
    floats = net(images).log_softmax(1)
    found = {}
    for name in sorted(rounded):
        log_q = functional_call(net, {name: rounded[name]}, images).log_softmax(1)
        divergence = F.kl_div(log_q, floats, reduction="sum", log_target=True)
        found[name] = divergence.item() / len(images)
    return found


def by_state_dict(model, images, rounded):
    state = model.state_dict()
    net = copy.deepcopy(model).eval()

    @torch.no_grad()
    def logits(weights):
        net.load_state_dict({**state, **weights})
        return net(images)

    z, found = logits({}), {}
    for name, weight in rounded.items():
        y = logits({name: weight})
        cross, own = (F.cross_entropy(of, z.softmax(1)) for of in (y, z))
        found[name] = (cross - own).cpu().numpy()
    return found


def image_by_image(model, images, rounded):
    net = copy.deepcopy(model).double().eval()
    found = dict.fromkeys(rounded, 0.0)
    for name, weight in rounded.items():
        other = copy.deepcopy(net)
        with torch.no_grad():
            other.get_parameter(name)[:] = weight
        for image in images.split(50):
            z, y = net(image.double()), other(image.double())
            z, y = z - z.logsumexp(1, keepdim=True), y - y.logsumexp(1, keepdim=True)
            found[name] += (z.exp() * (z - y)).sum().item()
    return {name: total / len(images) for name, total in found.items()}


def try_all(costs, sizes, budget):
    best, least = None, math.inf
    for widths in itertools.product(*costs.values()):
        found = dict(zip(costs, widths, strict=True))
        cost = sum(costs[n][b] for n, b in found.items())
        if cost < least and sum(sizes[n][b] for n, b in found.items()) <= budget:
            best, least = found, cost
    return best


def by_recursion(costs, sizes, budget):
    """The rest of the layers in what is left, remembered."""
    names = list(costs)

    @cache
    def rest(i, free):
        if i == len(names):
            return 0.0, ()
        found = (math.inf, ())
        for bits, cost in costs[names[i]].items():
            if sizes[names[i]][bits] <= free:
                more, chosen = rest(i + 1, free - sizes[names[i]][bits])
                found = min(found, (cost + more, (bits, *chosen)))
        return found

    return dict(zip(names, rest(0, budget)[1], strict=True))


def table_of_bytes(costs, sizes, budget):
    """A row for each layer: the least cost in at most so many bytes."""
    cost, choices = np.zeros(budget + 1), []
    for name in costs:
        rows = np.full((len(costs[name]), budget + 1), np.inf)
        for row, (bits, its) in zip(rows, costs[name].items(), strict=True):
            size = sizes[name][bits]
            if size <= budget:
                row[size:] = cost[: budget + 1 - size] + its
        choices.append(rows.argmin(0))
        cost = rows.min(0)
    found, free = {}, budget
    for name, choice in zip(reversed(costs), reversed(choices), strict=True):
        found[name] = list(costs[name])[choice[free]]
        free -= sizes[name][found[name]]
    return found


def with_bounds(costs, sizes, budget):
    """Depth first; leaves a branch when the cheapest rest costs too much, or does not fit."""
    names = sorted(costs, key=lambda name: -max(sizes[name].values()))
    least = [min(costs[n].values()) for n in names]
    fewest = [min(sizes[n].values()) for n in names]
    best = [math.inf, None]

    def go(i, cost, used, found):
        if cost + sum(least[i:]) >= best[0] or used + sum(fewest[i:]) > budget:
            return
        if i == len(names):
            best[:] = cost, dict(found)
            return
        for bits in sorted(costs[names[i]], key=costs[names[i]].get):
            go(
                i + 1,
                cost + costs[names[i]][bits],
                used + sizes[names[i]][bits],
                {**found, names[i]: bits},
            )

    go(0, 0.0, 0, {})
    return best[1]


def only_the_best_kept(costs, sizes, budget):
    """Sorted by bytes, whatever costs no less than a smaller beginning is dropped."""
    ways = [(0, 0.0, ())]
    for name, options in costs.items():
        longer = sorted(
            (used + sizes[name][bits], cost + its, (*chosen, np.int64(bits)))
            for used, cost, chosen in ways
            for bits, its in options.items()
            if used + sizes[name][bits] <= budget
        )
        ways, least = [], math.inf
        for way in longer:
            if way[1] < least:
                ways.append(way)
                least = way[1]
    return dict(zip(costs, ways[-1][2], strict=True))


RIGHT = {
    "allocation_bytes": [by_ceil, in_bits, with_numpy, as_a_tensor, listed_first],
    "layer_sensitivity": [
        put_back,
        data_swapped,
        by_functional_call,
        by_state_dict,
        image_by_image,
    ],
    "best_allocation": [
        try_all,
        by_recursion,
        table_of_bytes,
        with_bounds,
        only_the_best_kept,
    ],
}

# --- known mistakes as students write them -------------------------------------------------


def _average_bits(shapes, bits, per_channel):
    mean = np.mean(list(bits.values())) if bits else 0
    weights = sum(math.prod(shapes[n]) for n in bits)
    floats = sum(4 * math.prod(s) for n, s in shapes.items() if n not in bits)
    scales = sum(shapes[n][0] if per_channel else 1 for n in bits)
    return float(np.ceil(weights * mean / 8) + floats + 4 * scales)


def _not_divided(shapes, bits, per_channel):
    total = 0
    for name, shape in shapes.items():
        if name in bits:
            total = total + np.prod(shape) * bits[name] + 4 * (shape[0] if per_channel else 1)
        else:
            total = total + np.prod(shape) * 4
    return total


def _divided_at_the_end(shapes, bits, per_channel):
    in_bits = 0
    for name, shape in shapes.items():
        in_bits += math.prod(shape) * bits.get(name, 32)
        if name in bits:
            in_bits += 32 * (shape[0] if per_channel else 1)
    return math.ceil(in_bits / 8)


def _cut_off(shapes, bits, per_channel):
    return sum(
        int(math.prod(s) * bits[n] / 8) + 4 * (s[0] if per_channel else 1)
        if n in bits
        else 4 * math.prod(s)
        for n, s in shapes.items()
    )


def _over_bits(shapes, bits, per_channel):
    """Goes through the layers of bits, and no others."""
    return right_bytes({n: shapes[n] for n in bits}, bits, per_channel)


def _never_put_back(model, images, rounded):
    """One copy for all layers."""
    net = copy.deepcopy(model).eval()
    found = {}
    with torch.no_grad():
        p = net(images).softmax(1)
        for name, weight in rounded.items():
            net.get_parameter(name).copy_(weight)
            found[name] = F.kl_div(net(images).log_softmax(1), p, reduction="batchmean")
    return found


def _kl(divergence, mode=False):
    """What `divergence` makes of both logits, each layer rounded in a copy."""

    def answer(model, images, rounded):
        floats, found = copy.deepcopy(model), {}
        if not mode:
            floats.eval()
        with torch.no_grad():
            before = floats(images)
            for name, weight in rounded.items():
                net = copy.deepcopy(floats)
                net.get_parameter(name).copy_(weight)
                found[name] = divergence(before, net(images)).item()
        return found

    return answer


def _batchmean(input, target):
    return F.kl_div(input, target, reduction="batchmean")


_kl_div_turned = _kl(lambda z, y: _batchmean(z.log_softmax(1), y.softmax(1)))
_of_logits = _kl(lambda z, y: (z.softmax(1) * (z - y)).sum() / len(z))
_no_log = _kl(lambda z, y: _batchmean(y.softmax(1), z.softmax(1)))
_default_mean = _kl(lambda z, y: F.kl_div(y.log_softmax(1), z.softmax(1), reduction="none").mean())
_sum = _kl(lambda z, y: F.kl_div(y.log_softmax(1), z.softmax(1), reduction="sum"))
_soft_labels = _kl(lambda z, y: F.cross_entropy(y, z.softmax(1)))
_no_eval = _kl(lambda z, y: _batchmean(y.log_softmax(1), z.softmax(1)), mode=True)


def _fills_up(costs, sizes, budget):
    """From the fewest bits, the step with the best ratio that fits, until none does."""
    found = {name: min(options) for name, options in sizes.items()}
    used = sum(sizes[n][b] for n, b in found.items())
    while True:
        best, ratio = None, 0
        for name, bits in found.items():
            wider = [b for b in sizes[name] if b > bits]
            if not wider:
                continue
            more = sizes[name][min(wider)] - sizes[name][bits]
            gain = (costs[name][bits] - costs[name][min(wider)]) / more
            if used + more <= budget and gain > ratio:
                best, ratio = (name, min(wider), more), gain
        if best is None:
            return found
        found[best[0]] = best[1]
        used += best[2]


def _takes_away(costs, sizes, budget):
    found = {name: max(options) for name, options in sizes.items()}
    while sum(sizes[n][b] for n, b in found.items()) > budget:
        rates = {}
        for name, bits in found.items():
            if narrower := [b for b in costs[name] if b < bits]:
                new = max(narrower)
                more = costs[name][new] - costs[name][bits]
                rates[name] = more / (sizes[name][bits] - sizes[name][new]), new
        name = min(rates, key=rates.get)
        found[name] = rates[name][1]
    return found


def _strictly(costs, sizes, budget):
    fits = try_all(costs, sizes, budget - 1)
    return fits or {name: min(options) for name, options in sizes.items()}


def _by_size(costs, sizes, budget):
    names = sorted(costs, key=lambda n: max(sizes[n].values()), reverse=True)
    found, left = {}, budget
    for i, name in enumerate(names):
        kept = sum(min(sizes[n].values()) for n in names[i + 1 :])
        found[name] = max(b for b in sizes[name] if sizes[name][b] <= left - kept)
        left -= sizes[name][found[name]]
    return {name: found[name] for name in costs}


def _one_beginning(costs, sizes, budget):
    """Keeps one beginning for each number of layers: dynamic programming without the bytes."""
    names, found, left = list(costs), {}, budget
    for i, name in enumerate(names):
        kept = sum(min(sizes[n].values()) for n in names[i + 1 :])
        fitting = [b for b in sizes[name] if sizes[name][b] + kept <= left]
        found[name] = min(fitting, key=lambda b: costs[name][b])
        left -= sizes[name][found[name]]
    return found


def _fits_best(costs, sizes, budget):
    """Sorted by what is left of the budget."""
    left = {}
    for widths in itertools.product(*costs.values()):
        found = dict(zip(costs, widths, strict=True))
        left.setdefault(budget - sum(sizes[n][b] for n, b in found.items()), found)
    return left[min(free for free in left if free >= 0)]


DISGUISED = [
    ("allocation_bytes", "average bits", _average_bits),
    ("allocation_bytes", "bits for bytes", _not_divided),
    ("allocation_bytes", "rounded once", _divided_at_the_end),
    ("allocation_bytes", "rounded down", _cut_off),
    ("allocation_bytes", "float layers free", _over_bits),
    ("layer_sensitivity", "still rounded", _never_put_back),
    ("layer_sensitivity", "exchanged", _kl_div_turned),
    ("layer_sensitivity", "logits for logarithms", _of_logits),
    ("layer_sensitivity", "no logarithm", _no_log),
    ("layer_sensitivity", "mean over the classes", _default_mean),
    ("layer_sensitivity", "summed over the images", _sum),
    ("layer_sensitivity", "cross entropy", _soft_labels),
    ("layer_sensitivity", "training mode", _no_eval),
    ("best_allocation", "upward, step by step", _fills_up),
    ("best_allocation", "downward, step by step", _takes_away),
    ("best_allocation", "below the budget", _strictly),
    ("best_allocation", "fills the budget", _fits_best),
    ("best_allocation", "largest first", _by_size),
    ("best_allocation", "layer by layer", _one_beginning),
]

# --- wrong in other ways -------------------------------------------------------------------


def _no_packing(shapes, bits, per_channel):
    """A byte for each weight."""
    return right_bytes(shapes, dict.fromkeys(bits, 8), per_channel)


def _scales_of_a_byte(shapes, bits, per_channel):
    scales = sum(shapes[n][0] if per_channel else 1 for n in bits)
    return right_bytes(shapes, bits, per_channel) - 3 * scales


def _not_rounded(shapes, bits, per_channel):
    return sum(
        math.prod(s) * bits.get(n, 32) / 8 + (4 * (s[0] if per_channel else 1) if n in bits else 0)
        for n, s in shapes.items()
    )


def _floats_of_a_byte(shapes, bits, per_channel):
    floats = sum(math.prod(s) for n, s in shapes.items() if n not in bits)
    return right_bytes(shapes, bits, per_channel) - 3 * floats


def _no_kernel(shapes, bits, per_channel):
    """Outputs times inputs, also of a convolution."""
    return right_bytes({n: s[:2] for n, s in shapes.items()}, bits, per_channel)


def _no_scales_and_cut_off(shapes, bits, per_channel):
    """Two mistakes at once."""
    return sum(
        math.prod(s) * bits[n] // 8 if n in bits else 4 * math.prod(s) for n, s in shapes.items()
    )


def _left_rounded(model, images, rounded):
    """The network itself is rounded, layer by layer, and stays so."""
    model.eval()
    with torch.no_grad():
        p = model(images).softmax(1)
        found = {}
        for name, weight in rounded.items():
            model.get_parameter(name).copy_(weight)
            found[name] = F.kl_div(model(images).log_softmax(1), p, reduction="batchmean")
    return found


def _left_in_eval(model, images, rounded):
    found = right_sensitivity(model, images, rounded)
    model.eval()
    return found


def _statistics_moved(model, images, rounded):
    """Puts the weights back, and forgets what a batch norm keeps."""
    with torch.no_grad():
        p, found = model(images).softmax(1), {}
        for name, weight in rounded.items():
            before = model.get_parameter(name).clone()
            model.get_parameter(name).copy_(weight)
            found[name] = F.kl_div(model(images).log_softmax(1), p, reduction="batchmean")
            model.get_parameter(name).copy_(before)
    return found


def _shallow(model, images, rounded):
    """copy.copy shares the weights: both networks are rounded."""
    with torch.no_grad():
        net = copy.copy(model).eval()
        found = {}
        for name, weight in rounded.items():
            net.get_parameter(name).copy_(weight)
            log_p, log_q = (it(images).log_softmax(1) for it in (model, net))
            found[name] = (log_p.exp() * (log_p - log_q)).sum(1).mean()
    return found


_squared = _kl(lambda z, y: (z.softmax(1) - y.softmax(1)).square().sum(1).mean())
_changed_answers = _kl(lambda z, y: (z.argmax(1) != y.argmax(1)).float().mean())
_hard_labels = _kl(lambda z, y: F.cross_entropy(y, z.argmax(1)) - F.cross_entropy(z, z.argmax(1)))
_log_of_softmax = _kl(
    lambda z, y: (z.softmax(1) * (z.softmax(1) / y.softmax(1)).log()).sum(1).mean()
)
_small_number_added = _kl(
    lambda z, y: (
        (z.softmax(1) * ((z.softmax(1) + 1e-9).log() - (y.softmax(1) + 1e-9).log())).sum(1).mean()
    )
)
_log_target = _kl(lambda z, y: _batchmean(y.log_softmax(1), z.log_softmax(1)))
_negative = _kl(lambda z, y: -_batchmean(y.log_softmax(1), z.softmax(1)))
_in_bits = _kl(lambda z, y: _batchmean(y.log_softmax(1), z.softmax(1)) / math.log(2))
_axis_of_images = _kl(lambda z, y: _batchmean(y.log_softmax(0), z.softmax(0)))
_exchanged_sum = _kl(lambda z, y: F.kl_div(z.log_softmax(1), y.softmax(1), reduction="sum"))


def _one_number(model, images, rounded):
    return sum(right_sensitivity(model, images, rounded).values())


def _only_some(model, images, rounded):
    return right_sensitivity(model, images, dict(list(rounded.items())[1:]))


def _each_image(model, images, rounded):
    return _kl_of_each(model, images, rounded)


def _kl_of_each(model, images, rounded):
    floats = copy.deepcopy(model).eval()
    with torch.no_grad():
        log_p, found = floats(images).log_softmax(1), {}
        for name, weight in rounded.items():
            log_q = functional_call(floats, {name: weight}, images).log_softmax(1)
            found[name] = (log_p.exp() * (log_p - log_q)).sum(1)
    return found


def _no_budget(costs, sizes, budget):
    return {name: min(options, key=options.get) for name, options in costs.items()}


def _most_bits(costs, sizes, budget):
    return {name: max(options) for name, options in costs.items()}


def _fewest_bits(costs, sizes, budget):
    return {name: min(options) for name, options in costs.items()}


def _one_for_all(costs, sizes, budget):
    found, least = {name: min(options) for name, options in sizes.items()}, math.inf
    for bits in range(1, 33):
        if all(bits in options for options in costs.values()):
            cost = sum(options[bits] for options in costs.values())
            if sum(s[bits] for s in sizes.values()) <= budget and cost < least:
                found, least = dict.fromkeys(costs, bits), cost
    return found


def _by_price(costs, sizes, budget):
    """Lagrange: only what lies on the convex hull."""
    for price in np.logspace(-7, 2, 400):
        found = {
            n: min(options, key=lambda b: options[b] + price * sizes[n][b])
            for n, options in costs.items()
        }
        if sum(sizes[n][b] for n, b in found.items()) <= budget:
            return found
    return _fewest_bits(costs, sizes, budget)


def _equal_shares(costs, sizes, budget):
    """Each layer has its part of the budget."""
    share = budget / len(costs)
    return {
        name: min(
            (b for b in options if sizes[name][b] <= share), key=options.get, default=min(options)
        )
        for name, options in costs.items()
    }


def _dearest(costs, sizes, budget):
    """The maximum."""
    return try_all({n: {b: -c for b, c in o.items()} for n, o in costs.items()}, sizes, budget)


def _in_bits_of_budget(costs, sizes, budget):
    """Counts bits against the budget of bytes."""
    return try_all(costs, {n: {b: b for b in s} for n, s in sizes.items()}, budget)


def _all_have_bits(shapes, bits, per_channel):
    return sum(right_bytes({n: s}, {n: bits[n]}, per_channel) for n, s in shapes.items())


def _cost_of_a_byte(costs, sizes, budget):
    """The cost over the bytes used."""
    best, least = None, math.inf
    for widths in itertools.product(*costs.values()):
        found = dict(zip(costs, widths, strict=True))
        used = sum(sizes[n][b] for n, b in found.items())
        cost = sum(costs[n][b] for n, b in found.items()) / used
        if used <= budget and cost < least:
            best, least = found, cost
    return best


def _worst_layer(costs, sizes, budget):
    """The largest cost of a layer in place of the sum."""
    best, least = None, math.inf
    for widths in itertools.product(*costs.values()):
        found = dict(zip(costs, widths, strict=True))
        cost = max(costs[n][b] for n, b in found.items())
        if sum(sizes[n][b] for n, b in found.items()) <= budget and cost < least:
            best, least = found, cost
    return best


# On a small table it may be what a known mistake finds, too.
_COSTS_MORE = "your allocation takes .* another takes .*( hint:|  called:)"

WRONG = {
    "allocation_bytes": {
        _all_have_bits: r"your code raised KeyError: 'layer\d'",
        _no_packing: r"weights of \d bits are \d+ bytes, .*wrong for one layer in 3 bits",
        _scales_of_a_byte: r"1 scale 4.*right for a layer in float32",
        _not_rounded: r"return a whole number of bytes|weights of",
        _floats_of_a_byte: "weights in float32 are.*wrong for a layer in float32",
        _no_kernel: r"layer\d: \d+ weights of \d bits.*right for one layer in 3 bits",
        _no_scales_and_cut_off: r"in parts: wrong .* right for a layer in float32",
        changed(right_bytes, lambda n: n + 0.5): "whole number of bytes",
        changed(right_bytes, str): "return a whole number of bytes",
        changed(right_bytes, lambda n: [n]): r"return a whole number of bytes.*given: +\[",
        changed(right_bytes, lambda n: None): "return a whole number of bytes.*given: +None",
        changed(right_bytes, lambda n: n * math.nan): "return a whole number of bytes.*given: +nan",
    },
    "layer_sensitivity": {
        _left_rounded: rf"{CHANGED} \(.*weight",
        _left_in_eval: rf"{CHANGED} \(its mode\)",
        _statistics_moved: "hint: +the network is in training mode|" + CHANGED,
        _shallow: rf"{CHANGED} \(.*weight",
        _squared: r"the mean of KL\(p‖q\) is .* nats; yours is",
        _changed_answers: r"the mean of KL\(p‖q\) is .* nats; yours is",
        _hard_labels: r"the mean of KL\(p‖q\) is .* nats; yours is",
        _log_of_softmax: "nats, and yours (inf|nan): float32 has no room for some of these",
        _small_number_added: r"nats, and yours \d.*: float32 has no room for .*small number added",
        _log_target: r"\S+ is nan: a logarithm is taken .* unless log_target=True",
        _negative: "and a KL divergence is never negative",
        _in_bits: r"the mean of KL\(p‖q\) is .* nats; yours is",
        _axis_of_images: r"the mean of KL\(p‖q\) is .* nats; yours is",
        _exchanged_sum: "for one weight and one image: this is KL",
        _one_number: "return a dict: the name of each weight",
        _only_some: "the names are those of rounded",
        _each_image: r"of \S+ is one number, the mean over the images",
        changed(right_sensitivity, lambda found: list(found.values())): "return a dict",
        changed(right_sensitivity, in_each(str)): "is one number.*given: +0",
        changed(right_sensitivity, in_each(lambda _: None)): "is one number.*given: +None",
        changed(
            right_sensitivity, in_each(lambda n: n * math.nan)
        ): "is nan: a logarithm is taken of what",
        changed(right_sensitivity, lambda found: None): "return a dict.*given: +None",
    },
    "best_allocation": {
        _no_budget: r"this allocation takes \d+ bytes, and the budget is \d+",
        _most_bits: r"this allocation takes \d+ bytes, and the budget is \d+",
        _fewest_bits: _COSTS_MORE,
        _one_for_all: _COSTS_MORE,
        _by_price: _COSTS_MORE,
        _cost_of_a_byte: _COSTS_MORE,
        _worst_layer: _COSTS_MORE,
        _equal_shares: r"allocation takes",
        _dearest: _COSTS_MORE,
        _in_bits_of_budget: r"this allocation takes \d+ bytes, and the budget is \d+",
        changed(right_allocation, lambda found: list(found.values())): "return a dict",
        changed(right_allocation, lambda found: None): "return a dict.*given: +None",
        changed(right_allocation, in_each(str)): r"a can have these bits: 2, 4, 8",
        changed(right_allocation, in_each(lambda b: b + 0.5)): "a can have these bits: 2, 4, 8",
        changed(right_allocation, in_each(lambda b: None)): "a can have these bits: 2, 4, 8",
        changed(right_allocation, lambda found: dict(list(found.items())[1:])): "each layer of co",
        changed(right_allocation, lambda found: (found, 1.0)): "return a dict.*given: +\\(",
    },
}
