"""Answers to the exercises of chapter 01, right ones and wrong ones."""

import copy
import functools
import math
import statistics
import time
import warnings

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost, latency
from shrink.chapters import measure
from shrink.chapters.measure import stopwatch

# --- right: parameters_and_bytes -----------------------------------------------------------


def the_chapters_count(model):
    parameters = sum(p.numel() for p in model.parameters())
    tensors = [*model.parameters(), *model.buffers()]
    return parameters, sum(t.numel() * t.element_size() for t in tensors)


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


def by_the_file(model):
    """As the oracle, with what safetensors itself does about tied tensors."""
    header = 8
    safetensors.torch.save_model(model, "model.safetensors")
    with open("model.safetensors", "rb") as file:
        header += int.from_bytes(file.read(8), "little")
        size = file.seek(0, 2) - header
    vector = [p.detach().double() for p in model.parameters()]
    return len(nn.utils.parameters_to_vector(vector)) if vector else 0, size


# --- right: conv_macs ----------------------------------------------------------------------


def the_chapters_macs(layer, size):
    outputs = layer.out_channels
    products = layer.in_channels // layer.groups
    for d in range(2):
        reach = layer.dilation[d] * (layer.kernel_size[d] - 1) + 1
        outputs *= (size[d] + 2 * layer.padding[d] - reach) // layer.stride[d] + 1
        products *= layer.kernel_size[d]
    return outputs * products


def by_running_it(layer, size):
    with torch.no_grad():
        output = layer(torch.zeros(layer.in_channels, *size))
    return output.numel() * layer.weight[0].numel()


def by_pytorchs_counter(layer, size):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, layer.in_channels, *size))
    return np.int64(counter.get_total_flops() // 2)


def by_a_hook(layer, size):
    found = []
    hook = layer.register_forward_hook(lambda _, x, y: found.append(y.shape))
    layer(torch.zeros(1, layer.in_channels, *size))
    hook.remove()
    return torch.tensor(found[0]).prod() * math.prod(layer.weight.shape[1:])


def by_unfolding(layer, size):
    patches = nn.functional.unfold(
        torch.zeros(1, 1, *size), layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )
    return patches.numel() * layer.out_channels * layer.in_channels // layer.groups


def by_walking(layer, size):
    """Each place of the kernel, one after the other."""
    count = 0
    ends = [n + p for n, p in zip(size, layer.padding, strict=True)]
    (h, w), (down, across), (p, q), (d, e) = (
        getattr(layer, n) for n in ("kernel_size", "stride", "padding", "dilation")
    )
    for top in range(-p, ends[0] - d * (h - 1), down):
        for _ in range(-q, ends[1] - e * (w - 1), across):
            count += h * w * (top == top)
    return count * layer.out_channels * (layer.in_channels // layer.groups)


# --- right: layer_energy -------------------------------------------------------------------


def the_chapters_energy(layer, price, room, batch):
    live = batch * (layer.inputs + layer.outputs)
    spilled = max(live - room, 0)
    resident = min(layer.parameters, max(room - live, 0))
    arithmetic = layer.macs * price.mac
    sram = (layer.parameters + layer.inputs + layer.outputs) * price.sram
    dram = (layer.parameters - resident + spilled) / batch * price.dram
    return arithmetic, sram, dram


def all_that_does_not_fit(layer, price, room, batch):
    """In a batch, what does not fit passes once, a weight like an input: the order is all one."""
    numbers = layer.parameters + batch * (layer.inputs + layer.outputs)
    outside = max(0, numbers - room)
    sram = layer.parameters + layer.inputs + layer.outputs
    return [layer.macs * price.mac, sram * price.sram, outside * price.dram / batch]


def weights_first(layer, price, room, batch):
    """Against the second rule, and nobody can tell: a number costs the same, whose ever it is."""
    resident = min(layer.parameters, room)
    spilled = max(batch * (layer.inputs + layer.outputs) - (room - resident), 0)
    energy = the_chapters_energy(layer, price, room, batch)
    return *energy[:2], (layer.parameters - resident + spilled) / batch * price.dram


def energy_in_float32(layer, price, room, batch):
    return torch.tensor(the_chapters_energy(layer, price, room, batch))


def the_batch_divided(layer, price, room, batch):
    live, spilled = batch * (layer.inputs + layer.outputs), 0
    missing = layer.parameters
    if live > room:
        spilled = live - room
    elif live + missing <= room:
        missing = 0
    else:
        missing -= room - live
    counts = np.array(
        [batch * layer.macs, batch * layer.parameters + live, missing + spilled], dtype=float
    )
    return counts * [price.mac, price.sram, price.dram] / batch


def numbers_of_many_kinds(layer, price, room, batch):
    arithmetic, sram, dram = the_chapters_energy(layer, price, room, batch)
    return np.float64(arithmetic), torch.tensor(sram, dtype=torch.float64), dram


# --- right: time_call ----------------------------------------------------------------------


def the_chapters_stopwatch(function, warm_up, runs, clock):
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(runs):
        began = clock()
        function()
        times.append(clock() - began)
    return tuple(np.quantile(times, [0.25, 0.5, 0.75]).tolist())


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


def by_hand(function, warm_up, runs, clock):
    times = []
    for _ in range(warm_up + runs):
        before = clock()
        function()
        times.append(clock() - before)
    times = sorted(times[warm_up:])

    def at(q):
        place = q * (runs - 1)
        low = int(place)
        high = min(low + 1, runs - 1)
        return times[low] + (place - low) * (times[high] - times[low])

    return np.array([at(q) for q in (0.25, 0.5, 0.75)])


# --- right: fewer_but_slower ---------------------------------------------------------------


def wide(*sizes):
    layers = [nn.Flatten()]
    for inputs, outputs in zip((784, *sizes), (*sizes, 10), strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def many(n=60):
    deep = [nn.Linear(16, 16) for _ in range(n)]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), *deep, nn.Linear(16, 10))


def many_small_layers():
    return many(), wide(300, 100)


def activations():
    return [nn.Sequential(*wide(16), *[nn.Sigmoid() for _ in range(150)]), wide(300, 100)]


def pooling():
    pool = nn.MaxPool2d(15, stride=1, padding=7)
    return nn.Sequential(pool, pool, pool, *wide()), wide(300, 100)


def one_layer_again_and_again():
    layer = nn.Linear(10, 10)
    return nn.Sequential(*wide(), *[layer] * 100).double().train(), wide(300, 100)


RIGHT = {
    "parameters_and_bytes": [
        the_chapters_count,
        by_the_state_dict,
        module_by_module,
        by_the_file,
    ],
    "conv_macs": [
        the_chapters_macs,
        by_running_it,
        by_pytorchs_counter,
        by_a_hook,
        by_unfolding,
        by_walking,
    ],
    "layer_energy": [
        the_chapters_energy,
        all_that_does_not_fit,
        weights_first,
        energy_in_float32,
        the_batch_divided,
        numbers_of_many_kinds,
    ],
    "time_call": [
        the_chapters_stopwatch,
        by_torchs_quantile,
        by_statistics,
        by_hand,
    ],
    "fewer_but_slower": [many_small_layers, activations, pooling, one_layer_again_and_again],
}


# --- known mistakes ------------------------------------------------------------------------

MISTAKES = {(e.name, m.name): m for e in measure.EXERCISES for m in e.mistakes}


def returning(change, function):
    """The function, with what it returns changed."""
    return lambda *args: change(function(*args))


def _nothing(result):
    """As a function that forgets to return."""


def _strings(numbers):
    return tuple(map(str, numbers))


def _disguised(kind, exercise, mistake):
    return exercise, mistake, returning(kind, MISTAKES[exercise, mistake])


def _by_a_real(clock):
    def real_time(function, warm_up, runs, _):
        return the_chapters_stopwatch(function, warm_up, runs, clock)

    return "time_call", "not its clock", real_time


DISGUISED = [
    _disguised(list, "parameters_and_bytes", "four bytes"),
    _disguised(lambda pair: [np.int32(n) for n in pair], "parameters_and_bytes", "tied twice"),
    _disguised(lambda pair: tuple(map(torch.tensor, pair)), "parameters_and_bytes", "weights only"),
    _disguised(np.int64, "conv_macs", "two operations"),
    _disguised(torch.tensor, "conv_macs", "groups forgotten"),
    _disguised(float, "conv_macs", "no +1"),
    _disguised(lambda parts: cost.Energy(*parts), "layer_energy", "all or nothing"),
    _disguised(list, "layer_energy", "parameters of each image"),
    _disguised(np.array, "layer_energy", "two reads a product"),
    _disguised(torch.tensor, "layer_energy", "nothing spills"),  # float32
    _disguised(list, "time_call", "warm-up timed"),
    _disguised(np.array, "time_call", "mean and deviation"),
    _disguised(torch.tensor, "time_call", "exclusive"),
    *map(_by_a_real, (time.perf_counter, time.time, time.process_time)),
]


# --- wrong: parameters_and_bytes -----------------------------------------------------------


def _linear_layers_only(model):
    found = [m for m in model.modules() if isinstance(m, nn.Linear)]
    tensors = {p for m in found for p in m.parameters()}
    return sum(p.numel() for p in tensors), sum(p.nbytes for p in tensors)


def _halves_the_model(model):
    answer = the_chapters_count(model)
    model.half()
    return answer


def _sets_it_to_eval(model):
    answer = the_chapters_count(model)
    model[-1].train(not model[-1].training)
    return answer


def _freezes_it(model):
    for p in model.parameters():
        p.requires_grad_(False)
    return the_chapters_count(model)


def _zeroes_a_weight(model):
    next(model.parameters()).data.flatten()[-1] = 0
    return the_chapters_count(model)


def _removes_a_layer(model):
    answer = the_chapters_count(model)
    model.append(nn.ReLU())
    return answer


def _tensors(model):
    return list(model.parameters()), list(model.buffers())


def _with_the_header(model):
    held = {str(t.data_ptr()): t.contiguous() for t in model.state_dict().values()}
    return the_chapters_count(model)[0], len(safetensors.torch.save(held))


def _concatenates(model):
    """Makes one type of all, which may be the type of the first."""
    flat = torch.cat([p.flatten() for p in model.parameters()])
    return flat.numel(), flat.nbytes + sum(b.nbytes for b in model.buffers())


def _squares(model):
    return sum(p.shape[0] * p.shape[1] for p in model.parameters()), 0


def _distinct_shapes(model):
    tensors = {p.shape: p for p in model.parameters()}.values()
    size = the_chapters_count(model)[1]
    return sum(p.numel() for p in tensors), size


CHANGED = "your function changed its input"
# What is made of the right pair, and what is said of it.
COUNT_CHANGED = {
    (lambda pair: pair[0]): r"return a pair, \(parameters, bytes\).*given: +\d+",
    (lambda pair: (*pair, 32)): "return a pair",
    _nothing: "return a pair.*given: +None",
    (
        lambda pair: "{} parameters, {} bytes".format(*pair)
    ): "return a pair.*given: +.* parameters, .* bytes",
    _strings: "are whole numbers",
    (lambda pair: (pair[0], pair[1] / 1)): r"are whole numbers \(int\).*given: +\(\d+, \d+\.0\)",
    (lambda pair: {"parameters": pair[0], "bytes": pair[1]}): "return a pair",
    (lambda pair: (pair[0], pair[1] // 1000)): "the number of bytes is wrong",
}
WRONG_COUNTS = {
    **{returning(change, the_chapters_count): told for change, told in COUNT_CHANGED.items()},
    _linear_layers_only: "the number of (parameters|bytes)",
    _halves_the_model: CHANGED,
    _sets_it_to_eval: CHANGED,
    _freezes_it: CHANGED,
    _zeroes_a_weight: CHANGED,
    _removes_a_layer: CHANGED,
    _tensors: "are whole numbers",
    _with_the_header: "the number of bytes is wrong.*expected: .*0.weight .*float32",
    _concatenates: "the number of bytes is wrong.*(hint: )?|raised RuntimeError",
    _squares: "IndexError.*at line",
    _distinct_shapes: "the number of parameters",
}

# --- wrong: conv_macs ----------------------------------------------------------------------


def _whole_output(layer, size):
    with torch.no_grad():
        return layer(torch.zeros(1, layer.in_channels, *size))


def _a_pair(layer, size):
    return the_chapters_macs(layer, size), layer.weight.numel()


def _infinite(layer, size):
    return float("inf")


def _transposed(layer, size):
    """As if the layer went the other way."""
    places = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(
            size, layer.stride, layer.padding, layer.dilation, layer.kernel_size, strict=True
        )
    ]
    return math.prod(places) * layer.weight.numel()


def _changes_the_layer(layer, size):
    answer = the_chapters_macs(layer, size)
    layer.stride = (1, 1)
    layer.weight.data.zero_()
    return answer


def _ones_for_weights(layer, size):
    """A way to count, if it were done on a copy."""
    nn.init.ones_(layer.weight)
    return int(layer(torch.ones(1, layer.in_channels, *size)).sum())


def _counts_ones(layer, size):
    """Adds ones: the zeros of the padding add nothing, as if padding stood on one side or so."""
    ones = copy.deepcopy(layer)
    nn.init.ones_(ones.weight)
    ones.bias = None
    return round(ones(torch.ones(1, layer.in_channels, *size)).sum().item())


def _square_images(layer, size):
    return the_chapters_macs(layer, (size[0], size[0]))


def _area(layer, size):
    n = math.isqrt(size[0] * size[1])
    return the_chapters_macs(layer, (n, n))


def _linear(layer, size):
    return layer.in_channels * layer.out_channels


def _unpacks_size(layer, size):
    return layer(size)


def _depthwise_only(layer, size):
    return the_chapters_macs(layer, size) if layer.groups == 1 else 9 * math.prod(size)


def _no_one_by_one(layer, size):
    return the_chapters_macs(layer, size) - (layer.kernel_size == (1, 1))


WRONG_MACS = {
    _whole_output: r"return one whole number \(int\).*given: +float32 tensor",
    _a_pair: r"return one whole number.*given: +\(\d+, \d+\)",
    returning(_nothing, the_chapters_macs): "return one whole number.*given: +None",
    returning(str, the_chapters_macs): "return one whole number",
    returning(bool, the_chapters_macs): "return one whole number.*given: +True",
    _infinite: "return one whole number.*given: +inf",
    _transposed: r"the layer gives \d+ x \d+ x \d+ numbers, each a sum of \d+ products",
    _changes_the_layer: CHANGED,
    _ones_for_weights: CHANGED,
    _counts_ones: "the layer gives.*(hint: )?",
    _square_images: "the layer gives",
    _area: "the layer gives",
    _linear: "the layer gives",
    _unpacks_size: "TypeError.*at line",
    _depthwise_only: "the layer gives",
    _no_one_by_one: r"the layer gives.*called: .*kernel_size=\(1, 1\)",
}


# --- wrong: layer_energy -------------------------------------------------------------------


def _sets_weights(layer, price, room, batch):
    layer.parameters = min(layer.parameters, room)
    return the_chapters_energy(layer, price, room, batch)


def _forces_weights(layer, price, room, batch):
    answer = the_chapters_energy(layer, price, room, batch)
    object.__setattr__(layer, "parameters", 0)
    return answer


def _indexes_the_layer(layer, price, room, batch):
    return layer["macs"] * price.mac


def _divides_by_room(layer, price, room, batch):
    answer = the_chapters_energy(layer, price, room, batch)
    return *answer[:2], answer[2] * room / room


def _spills_once_an_image(layer, price, room, batch):
    """Each image is taken by itself to the room that its share of the batch has."""
    live = layer.inputs + layer.outputs
    spilled = max(live - room // batch, 0)
    resident = min(layer.parameters, max(room - batch * live, 0))
    dram = (layer.parameters - resident) / batch + spilled
    return *the_chapters_energy(layer, price, room, batch)[:2], dram * price.dram


def _nan(*args):
    return float("nan"), float("nan"), float("nan")


def _fetched_past_sram(*args):
    """Weights are read from DRAM, and not from SRAM as well."""
    layer, price, room, batch = args
    arithmetic, sram, dram = the_chapters_energy(*args)
    missing = layer.parameters - min(layer.parameters, max(room - batch * (sram // price.sram), 0))
    return arithmetic, sram - missing * price.sram, dram


# What is made of the right three numbers, and what is said of them.
ENERGY_CHANGED = {
    sum: r"return three numbers, \(arithmetic, sram, dram\).*given: +\d",
    _nothing: "return three numbers.*given: +None",
    (lambda parts: "{} {} {}".format(*parts)): "return three numbers",
    (lambda parts: (*parts, sum(parts))): "return three numbers",
    (lambda parts: np.array([parts]).T): "return three numbers",
    (lambda parts: dict(enumerate(parts))): "return three numbers",
    _strings: "return three numbers",
    (
        lambda parts: [part / 1000 for part in parts]
    ): "arithmetic: the machine has .* multiply-accumulates for the image",
    (lambda parts: (2 * parts[0], *parts[1:])): "arithmetic: the machine has",
    (lambda parts: [int(part) for part in parts]): "(arithmetic|dram): the machine has",
}
WRONG_ENERGIES = {
    **{returning(change, the_chapters_energy): told for change, told in ENERGY_CHANGED.items()},
    _sets_weights: "FrozenInstanceError.*at line",
    _forces_weights: CHANGED,
    _indexes_the_layer: "TypeError.*at line",
    _divides_by_room: "ZeroDivisionError",
    _spills_once_an_image: r"dram: the machine has \d+ numbers to or from DRAM for a batch of",
    _nan: "arithmetic: .* takes .* pJ and not nan",
    _fetched_past_sram: "sram: the machine has .* reads and writes of SRAM",
}

# --- wrong: time_call ----------------------------------------------------------------------


def _once_too_few(function, warm_up, runs, clock):
    return the_chapters_stopwatch(function, warm_up, runs - 1, clock)


def _one_more_warm_up(function, warm_up, runs, clock):
    return the_chapters_stopwatch(function, warm_up + 1, runs, clock)


def _one_more_at_the_end(function, warm_up, runs, clock):
    answer = the_chapters_stopwatch(function, warm_up, runs, clock)
    function()
    return answer


def _never_calls(function, warm_up, runs, clock):
    times = [clock() for _ in range(runs)]
    return tuple(np.quantile(times, [0.25, 0.5, 0.75]).tolist())


@stopwatch.of_the_right_times
def _all_times(times):
    return times


@stopwatch.of_the_right_times
def _deciles(times):
    return np.quantile(times, [0.1, 0.5, 0.9])


@stopwatch.of_the_right_times
def _lower_median(times):
    low, _, high = np.quantile(times, [0.25, 0.5, 0.75])
    return low, np.quantile(times, 0.5, method="lower"), high


@stopwatch.of_the_right_times
def _fastest_half(times):
    return np.quantile(sorted(times)[: (len(times) + 1) // 2], [0.25, 0.5, 0.75])


@stopwatch.of_the_right_times
def _without_the_slowest(times):
    return np.quantile(sorted(times)[:-1], [0.25, 0.5, 0.75])


def _calls_the_clock_wrong(function, warm_up, runs, clock):
    return clock.time()


def _no_brackets(function, warm_up, runs, clock):
    return clock - clock


def _readings(function, warm_up, runs, clock):
    readings = []
    for _ in range(warm_up + runs):
        function()
        readings.append(clock())
    return np.quantile(readings[warm_up:], [0.25, 0.5, 0.75])


def _resets_the_script(function, warm_up, runs, clock):
    answer = the_chapters_stopwatch(function, warm_up, runs, clock)
    function.script.seconds = ()
    return answer


CALLS = r"the function is to be called 8 times, 2 to warm up and 6 that are timed; it was called "
WRONG_STOPWATCHES = {
    _once_too_few: CALLS + "7 times",
    _one_more_warm_up: CALLS + "9 times",
    _one_more_at_the_end: CALLS + "9 times",
    _never_calls: CALLS + "0 times",
    _all_times: r"return three numbers, \(low, median, high\).*given: +\[",
    _deciles: r"low of [\d., ]+ is [\d.]+ s",
    returning(
        lambda times: latency.Latency(*times, 10, 1, 1, "cpu"), the_chapters_stopwatch
    ): "return three numbers.*given: +Latency",
    returning(_nothing, the_chapters_stopwatch): "return three numbers.*given: +None",
    returning(
        lambda times: "{:g} s ({:g} to {:g})".format(*times), the_chapters_stopwatch
    ): "return three numbers",
    _calls_the_clock_wrong: "AttributeError.*at line",
    _no_brackets: "TypeError.*at line",
    _lower_median: r"median of [\d., ]+ is [\d.]+ s",
    _readings: r"low of [\d., ]+ is [\d.]+ s",
    _resets_the_script: CHANGED,
    _fastest_half: "(low|median) of ",
    _without_the_slowest: "(low|median) of ",
}


# --- wrong: fewer_but_slower ---------------------------------------------------------------


class Sleeps(nn.Linear):
    def forward(self, x):
        time.sleep(0.01)
        return super().forward(x)


class HasNoForward(nn.Module):
    pass


def _done_to_a_quick_pair(change):
    """The answer whose first model is quick, and has had something done to a layer."""

    @functools.wraps(change)
    def pair():
        fewer = wide(16)
        change(fewer)
        return fewer, wide(300, 100)

    return pair


def _sleep(*args):
    time.sleep(0.01)


def _hooked(model):
    model[1].register_forward_hook(_sleep)


def _hooked_before(model):
    model.register_forward_pre_hook(_sleep)


def _own_forward(model):
    forward = model[1].forward

    def slow(x):
        _sleep()
        return forward(x)

    model[1].forward = slow


def _own_call_impl(model):
    model._call_impl = _sleep


def _torchs_forward(model):
    model[2].forward = torch.erfinv


def _compiled(model):
    model[1].compile(backend=lambda graph, example: _sleep)


def _parametrized(model):
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Identity())


def _weight_norm(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(model[1])


def _own_function(model):
    loss = nn.TripletMarginWithDistanceLoss(distance_function=functools.partial(_sleep))
    model.append(loss)


def _masquerades(model):
    kind = type("Linear", (Sleeps,), {"__module__": "torch.nn.modules.linear"})
    model[1] = kind(784, 16)


def _own_tensor(model):
    class Slow(torch.Tensor):
        pass

    model[1].weight.data = torch.rand(16, 784).as_subclass(Slow)
    model[1].register_buffer("slow", torch.rand(2).as_subclass(Slow))


FUNCTIONS_OF_THEIRS = {
    _hooked: r"fewer\['1'\] has a hook",
    _hooked_before: "fewer has a hook",
    _own_forward: r"fewer\['1'\] has its own forward: use layers of torch.nn as they are",
    _own_call_impl: "fewer has its own _call_impl",
    _torchs_forward: r"fewer\['2'\] has its own forward",
    _compiled: r"fewer\['1'\] has been compiled",
    _parametrized: r"fewer\['1'\] is a ParametrizedLinear, which is not of torch.nn",
    _weight_norm: r"fewer\['1'\] has a hook",
    _own_function: r"fewer\['4'\] has its own distance_function",
    _masquerades: r"fewer\['1'\] is a Linear, which is not of torch.nn",
    _own_tensor: r"fewer\['1'\] has a tensor of a type of its own",
}


def _another_shape():
    return nn.Sequential(*many(), nn.Unflatten(1, (2, 5))), wide(300)


def _lstm():
    return nn.Sequential(nn.Flatten(), nn.LSTM(784, 10)), wide(300)


def _attention():
    return nn.TransformerEncoderLayer(28, 2), wide(300)


def _exchanged():
    return many_small_layers()[::-1]


def _more_and_slower():
    return wide(2000, 1000), wide(16)


def _faster():
    return wide(16), wide(2000, 1000)


def _multiplies_nothing():
    pool = nn.AdaptiveAvgPool2d((1, 10))
    return nn.Sequential(pool, nn.Flatten(), *[nn.Tanh()] * 300), wide(300)


WRONG_PAIRS = {
    (lambda: None): "return a pair of models.*given: +None",
    (lambda: "ab"): "return a pair of models",
    (lambda: many()): "return a pair of models.*given: +Sequential",
    (lambda: (many(), many(), many())): "return a pair of models",
    (lambda: {"fewer": many(), "more": wide(300)}): "return a pair of models",
    (lambda: (28_064, 266_200)): "fewer is not a model, an nn.Module.*given: +28064",
    (lambda: (many(), torch.sigmoid)): "more is not a model",
    (lambda: (nn.Linear, nn.Linear)): "fewer is not a model.*nn.Module",
    (lambda: many(-1, 2)): "TypeError",
    (lambda: (Sleeps(784, 10), wide(300))): "fewer is a Sleeps, which is not of",
    (lambda: (many(), HasNoForward())): "more is a HasNoForward, which is not of",
    (lambda: (nn.Linear(784, 10), wide(300))): "fewer raised RuntimeError: mat1 and mat2 shapes",
    (lambda: (many(), nn.ModuleList([nn.Linear(784, 10)]))): "more raised .*forward",
    (lambda: (many(), nn.Sequential(*wide(300), nn.Linear(10, 12)))): r"\(1, 12\)",
    _another_shape: r"fewer is to take an image of shape \(1, 1, 28, 28\) to 10 numbers"
    r".*given: +\(1, 2, 5\)",
    _lstm: "is a LSTM, in which PyTorch's counter does not see",
    _attention: "MultiheadAttention, in which PyTorch's counter does not see",
    _exchanged: "more multiply-accumulates and is faster: exchange them.*given: +fewer: 266,200 "
    r"multiply-accumulates, [\d,]+ µs; more: 28,064 .* µs, on one thr",
    _more_and_slower: "the first has more multiply-accumulates, it is to have fewer",
    (lambda: (many(), many())): "both have as many multiply-accumulates",
    _faster: "fewer multiply-accumulates and is faster too.*12,704 multiply-accumulates",
    _multiplies_nothing: "fewer: none of its products is counted; both are to multiply something",
}

WRONG = {
    "parameters_and_bytes": WRONG_COUNTS,
    "conv_macs": WRONG_MACS,
    "layer_energy": WRONG_ENERGIES,
    "time_call": WRONG_STOPWATCHES,
    "fewer_but_slower": {
        **{_done_to_a_quick_pair(change): told for change, told in FUNCTIONS_OF_THEIRS.items()},
        **WRONG_PAIRS,
    },
}
