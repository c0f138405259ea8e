"""Answers to the exercises of chapter 01, right ones and wrong ones."""

import functools
import math
import statistics
import time

import numpy as np
import torch
from torch import nn

from shrink import cost, latency
from shrink.chapters import measure
from tests.chapters.wrong import CHANGED, changed, given_as

# --- right: parameters_and_bytes -----------------------------------------------------------


def by_the_state_dict(model):
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    parameters, size, seen = 0, 0, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            size += tensor.untyped_storage().nbytes()
            parameters += math.prod(tensor.shape) if name in names else 0
    return [parameters, size]


def module_by_module(model):
    parameters, buffers = set(), set()
    for module in model.modules():
        parameters |= set(module.parameters(recurse=False))
        buffers |= set(module.buffers(recurse=False))
    bits = sum(t.numel() * torch.finfo(t.dtype).bits for t in parameters)
    bits += sum(8 * t.element_size() * t.numel() for t in buffers)
    return np.int64(sum(p.numel() for p in parameters)), torch.tensor(bits // 8)


# --- right: conv_macs ----------------------------------------------------------------------


def by_a_hook(layer, size):
    found = []
    hook = layer.register_forward_hook(lambda _, x, y: found.append(y.shape))
    layer(torch.zeros(1, layer.in_channels, *size))
    hook.remove()
    return torch.tensor(found[0]).prod() * math.prod(layer.weight.shape[1:])


def by_walking(layer, size):
    """Each place of the kernel, one after the other."""
    places = 1
    for n, k, s, p, d in zip(
        size, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True
    ):
        places *= len(range(-p, n + p - d * (k - 1), s))
    return places * layer.weight.numel()


# --- right: layer_energy -------------------------------------------------------------------


def the_librarys_energy(*args):
    energy = cost.layer_energy(*args)
    return energy.arithmetic, energy.sram, energy.dram


def all_that_does_not_fit(layer, price, room, batch):
    """In a batch, what does not fit passes once, a weight like an input: the order is all one."""
    numbers = layer.parameters + batch * (layer.inputs + layer.outputs)
    outside = max(0, numbers - room)
    sram = layer.parameters + layer.inputs + layer.outputs
    return [layer.macs * price.mac, sram * price.sram, outside * price.dram / batch]


# --- right: time_call ----------------------------------------------------------------------


def by_torchs_quantile(function, warm_up, runs, clock):
    times = torch.empty(runs)  # float32
    for run in range(-warm_up, runs):
        began = clock()
        function()
        if run >= 0:
            times[run] = clock() - began
    return times.quantile(torch.tensor([0.25, 0.5, 0.75]))


def by_statistics(function, warm_up, runs, clock):
    [function() for _ in range(warm_up)]
    readings = [clock()]
    for _ in range(runs):
        function()
        readings.append(clock())
    return statistics.quantiles(np.diff(readings).tolist(), n=4, method="inclusive")


# --- right: fewer_but_slower ---------------------------------------------------------------


def wide(*sizes):
    layers = [nn.Flatten()]
    for inputs, outputs in zip((784, *sizes), (*sizes, 10), strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def many(n=60):
    deep = [nn.Linear(16, 16) for _ in range(n)]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), *deep, nn.Linear(16, 10))


def activations():
    return [nn.Sequential(*wide(16), *[nn.Sigmoid() for _ in range(150)]), wide(300, 100)]


def one_layer_again_and_again():
    layer = nn.Linear(10, 10)
    return nn.Sequential(*wide(), *[layer] * 100).double().train(), wide(300, 100)


RIGHT = {
    "parameters_and_bytes": [by_the_state_dict, module_by_module],
    "conv_macs": [by_a_hook, by_walking],
    "layer_energy": [
        all_that_does_not_fit,
        changed(the_librarys_energy, torch.tensor),  # float32
    ],
    "time_call": [by_torchs_quantile, by_statistics],
    "fewer_but_slower": [activations, one_layer_again_and_again],
}


# --- known mistakes ------------------------------------------------------------------------


def _by_a_real(clock):
    def real_time(function, warm_up, runs, _):
        return latency.time_call(function, warm_up, runs, clock)

    return "time_call", "not its clock", real_time


DISGUISED = [
    given_as(list, measure.parameters_and_bytes, "four bytes"),
    given_as(lambda pair: [np.int32(n) for n in pair], measure.parameters_and_bytes, "tied twice"),
    given_as(
        lambda pair: tuple(map(torch.tensor, pair)), measure.parameters_and_bytes, "weights only"
    ),
    given_as(np.int64, measure.conv_macs, "two operations"),
    given_as(torch.tensor, measure.conv_macs, "groups forgotten"),
    given_as(float, measure.conv_macs, "no +1"),
    given_as(lambda parts: cost.Energy(*parts), measure.layer_energy, "all or nothing"),
    given_as(list, measure.layer_energy, "parameters of each image"),
    given_as(np.array, measure.layer_energy, "two reads a product"),
    given_as(torch.tensor, measure.layer_energy, "nothing spills"),  # float32
    given_as(list, measure.time_call, "warm-up timed"),
    given_as(np.array, measure.time_call, "mean and deviation"),
    given_as(torch.tensor, measure.time_call, "exclusive"),
    *map(_by_a_real, (time.perf_counter, time.time, time.process_time)),
]


# --- wrong ---------------------------------------------------------------------------------


def _halves_the_model(model):
    answer = cost.parameters_and_bytes(model)
    model.half()
    return answer


def _ones_for_weights(layer, size):
    """A way to count, if it were done on a copy."""
    nn.init.ones_(layer.weight)
    return int(layer(torch.ones(1, layer.in_channels, *size)).sum())


def _forces_weights(layer, price, room, batch):
    answer = the_librarys_energy(layer, price, room, batch)
    object.__setattr__(layer, "parameters", 0)
    return answer


def _resets_the_script(function, warm_up, runs, clock):
    answer = latency.time_call(function, warm_up, runs, clock)
    function._script.seconds = ()
    return answer


def _sleep(*args):
    time.sleep(0.01)


class Sleeps(nn.Linear):
    def forward(self, x):
        _sleep()
        return super().forward(x)


class SlowTensor(torch.Tensor):
    pass


def _masquerades(model):
    kind = type("Linear", (Sleeps,), {"__module__": "torch.nn.modules.linear"})
    model[1] = kind(784, 16)


def _own_function(model):
    loss = nn.TripletMarginWithDistanceLoss(distance_function=functools.partial(_sleep))
    model.append(loss)


def _done_to_a_quick_pair(change):
    """The answer whose first model is quick, and has had something done to a layer."""

    def pair():
        fewer = wide(16)
        change(fewer)
        return fewer, wide(300, 100)

    return pair


FUNCTIONS_OF_THEIRS = {
    (lambda model: model[1].register_forward_hook(_sleep)): r"fewer\['1'\] has a hook",
    (lambda model: model.register_forward_pre_hook(_sleep)): "fewer has a hook",
    (
        lambda model: vars(model[1]).update(forward=_sleep)
    ): r"fewer\['1'\] has its own forward: use layers of torch.nn as they are",
    (lambda model: vars(model).update(_call_impl=_sleep)): "fewer has its own _call_impl",
    (
        lambda model: vars(model[2]).update(forward=torch.erfinv)
    ): r"fewer\['2'\] has its own forward",
    (
        lambda model: model[1].compile(backend=lambda graph, example: _sleep)
    ): r"fewer\['1'\] has been compiled",
    (
        lambda model: nn.utils.parametrize.register_parametrization(
            model[1], "weight", nn.Identity()
        )
    ): r"fewer\['1'\] is a ParametrizedLinear, which is not of torch.nn",
    _own_function: r"fewer\['4'\] has its own distance_function",
    _masquerades: r"fewer\['1'\] is a Linear, which is not of torch.nn",
    (
        lambda model: model[1].register_buffer("slow", torch.rand(2).as_subclass(SlowTensor))
    ): r"fewer\['1'\] has a tensor of a type of its own",
}

CALLS = r"the function must be called 8 times, 2 to warm up and 6 timed; it was called "
WRONG = {
    "parameters_and_bytes": {
        changed(
            cost.parameters_and_bytes, lambda pair: pair[0]
        ): r"return a pair, \(parameters, bytes\).*given: +\d+",
        changed(
            cost.parameters_and_bytes, lambda pair: (pair[0], pair[1] / 1)
        ): r"are whole numbers \(int\).*given: +\(\d+, \d+\.0\)",
        changed(
            cost.parameters_and_bytes, lambda pair: (pair[0], pair[1] // 1000)
        ): "the number of bytes is wrong.*expected: .*0.weight .*float32",
        _halves_the_model: CHANGED,
    },
    "conv_macs": {
        changed(
            cost.conv_macs, lambda macs: (macs, 0)
        ): r"return one whole number \(int\).*given: +\(\d+, 0\)",
        # with twice as many places down as across it counts double, and gets the hint for that
        (
            lambda layer, size: cost.conv_macs(layer, (size[0], size[0]))
        ): r"the layer gives \d+ x \d+ x \d+ numbers, each a sum of \d+ products.*(hint:)?",
        _ones_for_weights: CHANGED,
    },
    "layer_energy": {
        changed(
            the_librarys_energy, sum
        ): r"return three numbers, \(arithmetic, sram, dram\).*given: +\d",
        changed(the_librarys_energy, lambda parts: list(map(str, parts))): "return three numbers",
        changed(
            the_librarys_energy, lambda parts: [part / 1000 for part in parts]
        ): "arithmetic: the machine has .* multiply-accumulates for the image",
        changed(
            the_librarys_energy, lambda parts: (parts[0], parts[1] + 1, parts[2])
        ): "sram: the machine has .* reads and writes of SRAM",
        (
            lambda layer, price, room, batch: the_librarys_energy(layer, price, room, 1)
        ): r"dram: the machine has \d+ numbers to or from DRAM for a batch of",
        (lambda *args: [math.nan] * 3): "arithmetic: .* takes .* pJ and not nan",
        _forces_weights: CHANGED,
    },
    "time_call": {
        (
            lambda function, warm_up, runs, clock: latency.time_call(
                function, warm_up, runs - 1, clock
            )
        ): CALLS + r"7 times.*\(<function that takes [\d., ]+ s>, 2, 6, <its clock>\)",
        (lambda *args: (0.0, 0.0, 0.0)): CALLS + "0 times",
        changed(
            latency.time_call, lambda times: times[:2]
        ): r"return three numbers, \(low, median, high\)",
        changed(
            latency.time_call, lambda times: (0.9 * times[0], *times[1:])
        ): r"low of [\d., ]+ is [\d.]+ s",
        changed(
            latency.time_call, lambda times: (*times[:2], 2 * times[2])
        ): r"high of [\d., ]+ is [\d.]+ s",
        _resets_the_script: CHANGED,
    },
    "fewer_but_slower": {
        **{_done_to_a_quick_pair(change): told for change, told in FUNCTIONS_OF_THEIRS.items()},
        (lambda: None): "return a pair of models.*given: +None",
        (lambda: (28_064, 266_200)): "fewer is not a model, an nn.Module.*given: +28064",
        (lambda: (Sleeps(784, 10), wide(300))): "fewer is a Sleeps, which is not of",
        (
            lambda: (nn.Linear(784, 10), wide(300))
        ): "fewer raised RuntimeError: mat1 and mat2 shapes",
        (lambda: (many(), nn.ModuleList([nn.Linear(784, 10)]))): "more raised .*forward",
        (
            lambda: (nn.Sequential(*many(), nn.Unflatten(1, (2, 5))), wide(300))
        ): r"fewer must take an image of shape \(1, 1, 28, 28\) and give 10 .*given: +\(1, 2, 5\)",
        (
            lambda: (nn.Sequential(nn.Flatten(), nn.LSTM(784, 10)), wide(300))
        ): "is a LSTM, in which PyTorch's counter does not see",
        (
            lambda: (wide(300, 100), many())
        ): "more multiply-accumulates and is faster: exchange them.*given: +fewer: 266,200 "
        r"multiply-accumulates, [\d,]+ µs; more: 28,064 .* µs, on one thr",
        (
            lambda: (wide(16), wide(2000, 1000))
        ): "fewer multiply-accumulates and is faster too.*12,704 multiply-accumulates",
    },
}
