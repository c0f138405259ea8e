"""The exercises of chapter 01: right answers pass, each wrong one is told why."""

import copy
import functools
import math
import re
import statistics
import time
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost, latency
from shrink.chapters import measure
from shrink.chapters.measure import energy as measure_energy
from shrink.chapters.measure import macs as measure_macs
from shrink.chapters.measure import slower as measure_slower
from shrink.chapters.measure import stopwatch as measure_time
from shrink.classroom.exercises import inputs as measure_inputs
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, show
from shrink.classroom.exercises.exercise import Exercise
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
EXERCISES = {e.name: e for e in vars(measure).values() if isinstance(e, Exercise)}
WITH_MISTAKES = {name: e for name, e in EXERCISES.items() if e.mistakes}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


# --- right answers: parameters_and_bytes ---------------------------------------------------


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
    safetensors.torch.save_model(model, by_the_file.path)
    with open(by_the_file.path, "rb") as file:
        header += int.from_bytes(file.read(8), "little")
        size = file.seek(0, 2) - header
    vector = [p.detach().double() for p in model.parameters()]
    return len(nn.utils.parameters_to_vector(vector)) if vector else 0, size


# --- right answers: conv_macs --------------------------------------------------------------


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


# --- right answers: layer_energy -----------------------------------------------------------


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


# --- right answers: time_call --------------------------------------------------------------


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


# --- right answers: fewer_but_slower -------------------------------------------------------


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
        cost.parameters_and_bytes,
        the_chapters_count,
        by_the_state_dict,
        module_by_module,
        by_the_file,
    ],
    "conv_macs": [
        cost.conv_macs,
        the_chapters_macs,
        by_running_it,
        by_pytorchs_counter,
        by_a_hook,
        by_unfolding,
        by_walking,
    ],
    "layer_energy": [
        cost.layer_energy,
        the_chapters_energy,
        all_that_does_not_fit,
        weights_first,
        energy_in_float32,
        the_batch_divided,
        numbers_of_many_kinds,
    ],
    "time_call": [
        latency.time_call,
        the_chapters_stopwatch,
        by_torchs_quantile,
        by_statistics,
        by_hand,
    ],
    "fewer_but_slower": [many_small_layers, activations, pooling, one_layer_again_and_again],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function, tmp_path):
    by_the_file.path = tmp_path / "model.safetensors"
    seeds = SEEDS if function is EXERCISES[name].reference else FEW_SEEDS
    for seed in range(3) if name == "fewer_but_slower" else seeds:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    judge(EXERCISES[name], RIGHT[name][0])  # the first time PyTorch's counter imports a lot
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    assert list(EXERCISES) == [
        "parameters_and_bytes",
        "conv_macs",
        "layer_energy",
        "time_call",
        "fewer_but_slower",
    ]
    exercises = list(EXERCISES.values())
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 2
    assert [exercise.minutes for exercise in exercises] == [10, 15, 15, 15, 10]
    assert [exercise.reference for exercise in exercises] == [
        cost.parameters_and_bytes,
        cost.conv_macs,
        cost.layer_energy,
        latency.time_call,
        None,
    ]


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in WITH_MISTAKES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert "your code raised" not in message
        assert max(map(len, message.splitlines())) < 450


@pytest.mark.parametrize("exercise", WITH_MISTAKES.values(), ids=WITH_MISTAKES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


def _mistake(exercise, name):
    (found,) = (m for m in exercise.mistakes if m.name == name)
    return found


@pytest.mark.parametrize(
    ("name", "mistake", "kind"),
    [
        ("parameters_and_bytes", "bits", list),
        ("parameters_and_bytes", "tied twice", lambda pair: [np.int32(n) for n in pair]),
        ("parameters_and_bytes", "weights only", lambda pair: tuple(map(torch.tensor, pair))),
        ("conv_macs", "stride forgotten", np.int64),
        ("conv_macs", "groups forgotten", torch.tensor),
        ("conv_macs", "no +1", float),
        ("layer_energy", "all or nothing", lambda parts: cost.Energy(*parts)),
        ("layer_energy", "parameters of each image", list),
        ("layer_energy", "two reads a product", np.array),
        ("layer_energy", "nothing spills", torch.tensor),  # float32
        ("time_call", "warm-up timed", list),
        ("time_call", "mean", np.array),
        ("time_call", "exclusive", torch.tensor),
        ("time_call", "median alone", np.float64),
    ],
)
def test_a_mistake_is_known_in_any_form(name, mistake, kind):
    mistake = _mistake(EXERCISES[name], mistake)

    def as_kind(*args):
        return kind(mistake.function(*args))

    for seed in FEW_SEEDS:
        assert mistake.hint in rejected(EXERCISES[name], as_kind, seed)


def test_inputs_tell_mistakes_apart():
    """Two mistakes that agree where a number is 2 are not tried there."""
    draws = iter([2, 2, 3, 1])
    right, doubled, squared = (Mistake("", f, "") for f in (abs, lambda x: 2 * x, lambda x: x * x))
    chosen = measure_inputs.telling(
        [lambda: (next(draws),)] * 2, abs, (right, doubled, squared), lambda x: x
    )
    assert list(chosen) == [(3,), (1,)]


# --- parameters_and_bytes ------------------------------------------------------------------


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


def _one_number(model):
    return the_chapters_count(model)[0]


def _three_numbers(model):
    return *the_chapters_count(model), 32


def _no_return(model):
    the_chapters_count(model)


def _text(model):
    return "{} parameters, {} bytes".format(*the_chapters_count(model))


def _texts(model):
    return tuple(map(str, the_chapters_count(model)))


def _floats(model):
    parameters, size = the_chapters_count(model)
    return parameters, size / 1


def _a_dict(model):
    return dict(zip(("parameters", "bytes"), the_chapters_count(model), strict=True))


def _tensors(model):
    return list(model.parameters()), list(model.buffers())


def _with_the_header(model):
    held = {str(t.data_ptr()): t.contiguous() for t in model.state_dict().values()}
    return the_chapters_count(model)[0], len(safetensors.torch.save(held))


def _concatenates(model):
    flat = torch.cat([p.flatten() for p in model.parameters()])
    return flat.numel(), flat.nbytes + sum(b.nbytes for b in model.buffers())


def _squares(model):
    return sum(p.shape[0] * p.shape[1] for p in model.parameters()), 0


def _thousands(model):
    parameters, size = the_chapters_count(model)
    return parameters, size // 1000


def _distinct_shapes(model):
    tensors = {p.shape: p for p in model.parameters()}.values()
    size = the_chapters_count(model)[1]
    return sum(p.numel() for p in tensors), size


CHANGED = "your function changed its input"
WRONG_COUNTS = {
    _linear_layers_only: "the number of (parameters|bytes)",
    _halves_the_model: CHANGED,
    _sets_it_to_eval: CHANGED,
    _freezes_it: CHANGED,
    _zeroes_a_weight: CHANGED,
    _removes_a_layer: CHANGED,
    _one_number: r"return a pair, \(parameters, bytes\).*given: +\d+",
    _three_numbers: "return a pair",
    _no_return: "return a pair.*given: +None",
    _text: "return a pair.*given: +.* parameters, .* bytes",
    _texts: "are whole numbers",
    _floats: r"are whole numbers \(int\).*given: +\(\d+, \d+\.0\)",
    _a_dict: "return a pair",
    _tensors: "are whole numbers",
    _with_the_header: "the number of bytes is wrong.*expected: .*0.weight .*float32",
    _concatenates: "the number of bytes is wrong|raised RuntimeError",
    _squares: "IndexError.*at line",
    _thousands: "the number of bytes is wrong",
    _distinct_shapes: "the number of parameters",
}


@pytest.mark.parametrize(("function", "message"), WRONG_COUNTS.items())
def test_other_wrong_counts_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(measure.parameters_and_bytes, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text or function is _concatenates, text  # which makes one type of all


def test_the_message_names_what_the_model_holds():
    text = rejected(
        measure.parameters_and_bytes,
        _mistake(measure.parameters_and_bytes, "buffers forgotten").function,
    )
    assert re.search(r"expected: \(\d+, \d+\), for 0\.weight \d+x\d+x3x\d+ float32, ", text)
    assert re.search("1.running_mean .*1.num_batches_tracked 1 int64", text)
    assert re.search(r"called:   parameters_and_bytes\(Sequential\( \(0\): Conv2d\(", text)


# --- conv_macs -----------------------------------------------------------------------------


def _whole_output(layer, size):
    with torch.no_grad():
        return layer(torch.zeros(1, layer.in_channels, *size))


def _a_pair(layer, size):
    return the_chapters_macs(layer, size), layer.weight.numel()


def _macs_no_return(layer, size):
    the_chapters_macs(layer, size)


def _macs_text(layer, size):
    return str(the_chapters_macs(layer, size))


def _true(layer, size):
    return the_chapters_macs(layer, size) > 0


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
    """Counts products by adding ones: the zeros of the padding add nothing."""
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
    _macs_no_return: "return one whole number.*given: +None",
    _macs_text: "return one whole number",
    _true: "return one whole number.*given: +True",
    _infinite: "return one whole number.*given: +inf",
    _transposed: r"the layer gives \d+ x \d+ x \d+ numbers, each a sum of \d+ products",
    _changes_the_layer: CHANGED,
    _ones_for_weights: CHANGED,
    _square_images: "the layer gives",
    _area: "the layer gives",
    _linear: "the layer gives",
    _unpacks_size: "TypeError.*at line",
    _depthwise_only: "the layer gives",
    _no_one_by_one: r"the layer gives.*called: .*kernel_size=\(1, 1\)",
}


@pytest.mark.parametrize(("function", "message"), WRONG_MACS.items())
def test_other_wrong_macs_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(measure.conv_macs, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


def test_the_zeros_of_the_padding_count():
    hint = _mistake(measure.conv_macs, "padding zeros left out").hint
    for seed in FEW_SEEDS:
        assert hint in rejected(measure.conv_macs, _counts_ones, seed)


def test_the_example_of_the_chapter_is_what_the_counter_gives():
    layer = nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=8)
    assert measure_macs._watched(layer, (4, 4)) == (288, (8, 2, 2))


# --- layer_energy --------------------------------------------------------------------------


def _sum(*args):
    return sum(the_chapters_energy(*args))


def _energy_no_return(*args):
    the_chapters_energy(*args)


def _energy_text(*args):
    return "{} {} {}".format(*the_chapters_energy(*args))


def _four(*args):
    parts = the_chapters_energy(*args)
    return *parts, sum(parts)


def _a_column(*args):
    return np.array([the_chapters_energy(*args)]).T


def _energy_dict(*args):
    return dict(zip(("arithmetic", "sram", "dram"), the_chapters_energy(*args), strict=True))


def _strings(*args):
    return tuple(map(str, the_chapters_energy(*args)))


def _sets_weights(layer, price, room, batch):
    layer.parameters = min(layer.parameters, room)
    return the_chapters_energy(layer, price, room, batch)


def _forces_weights(layer, price, room, batch):
    answer = the_chapters_energy(layer, price, room, batch)
    object.__setattr__(layer, "parameters", 0)
    return answer


def _indexes_the_layer(layer, price, room, batch):
    return layer["macs"] * price.mac


def _nanojoules(*args):
    return [part / 1000 for part in the_chapters_energy(*args)]


def _two_a_mac(layer, *args):
    arithmetic, *others = the_chapters_energy(layer, *args)
    return 2 * arithmetic, *others


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


def _whole_numbers(*args):
    return [int(part) for part in the_chapters_energy(*args)]


def _nan(*args):
    return float("nan"), float("nan"), float("nan")


def _fetched_past_sram(*args):
    """Weights are read from DRAM, and not from SRAM as well."""
    layer, price, room, batch = args
    arithmetic, sram, dram = the_chapters_energy(*args)
    missing = layer.parameters - min(layer.parameters, max(room - batch * (sram // price.sram), 0))
    return arithmetic, sram - missing * price.sram, dram


WRONG_ENERGIES = {
    _sum: r"return three numbers, \(arithmetic, sram, dram\).*given: +\d",
    _energy_no_return: "return three numbers.*given: +None",
    _energy_text: "return three numbers",
    _four: "return three numbers",
    _a_column: "return three numbers",
    _energy_dict: "return three numbers",
    _strings: "return three numbers",
    _sets_weights: "FrozenInstanceError.*at line",
    _forces_weights: CHANGED,
    _indexes_the_layer: "TypeError.*at line",
    _nanojoules: "arithmetic: the machine has .* multiply-accumulates for the image",
    _two_a_mac: "arithmetic: the machine has",
    _divides_by_room: "ZeroDivisionError",
    _spills_once_an_image: r"dram: the machine has \d+ numbers to or from DRAM for a batch of",
    _whole_numbers: "(arithmetic|dram): the machine has",
    _nan: "arithmetic: .* takes .* pJ and not nan",
    _fetched_past_sram: "sram: the machine has .* reads and writes of SRAM",
}


@pytest.mark.parametrize(("function", "message"), WRONG_ENERGIES.items())
def test_other_wrong_energies_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(measure.layer_energy, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text or function is _fetched_past_sram, text  # no weight is read


def test_the_machine_that_counts_agrees_with_the_library_and_the_chapters_example():
    layer, price = (
        cost.Layer("fc", macs=6, parameters=8, inputs=3, outputs=2),
        cost.Prices(1, 10, 100),
    )
    assert measure_energy._right(layer, price, 9, 1) == (6, 130, 400)
    for batch in (1, 2, 3, 7):
        for room in range(60):
            energy = cost.layer_energy(layer, price, room, batch)
            parts = (energy.arithmetic, energy.sram, energy.dram)
            assert measure_energy._right(layer, price, room, batch) == pytest.approx(parts)


# --- time_call -----------------------------------------------------------------------------


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


def _all_times(function, warm_up, runs, clock):
    for _ in range(warm_up):
        function()
    return measure_time._times(function, runs, clock)


def _deciles(function, warm_up, runs, clock):
    return np.quantile(_all_times(function, warm_up, runs, clock), [0.1, 0.5, 0.9])


def _a_latency(*args):
    return latency.Latency(*the_chapters_stopwatch(*args), 10, 1, 1, "cpu")


def _stopwatch_no_return(*args):
    the_chapters_stopwatch(*args)


def _stopwatch_text(*args):
    return "{:g} s ({:g} to {:g})".format(*the_chapters_stopwatch(*args)[::1])


def _calls_the_clock_wrong(function, warm_up, runs, clock):
    return clock.time()


def _no_brackets(function, warm_up, runs, clock):
    return clock - clock


def _lower_median(function, warm_up, runs, clock):
    times = _all_times(function, warm_up, runs, clock)
    low, _, high = np.quantile(times, [0.25, 0.5, 0.75])
    return low, np.quantile(times, 0.5, method="lower"), high


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


def _fastest_half(function, warm_up, runs, clock):
    times = sorted(_all_times(function, warm_up, runs, clock))
    return np.quantile(times[: (runs + 1) // 2], [0.25, 0.5, 0.75])


def _without_outliers(function, warm_up, runs, clock):
    """The slowest call left out."""
    times = sorted(_all_times(function, warm_up, runs, clock))
    return np.quantile(times[:-1], [0.25, 0.5, 0.75])


CALLS = r"the function is to be called 8 times, 2 to warm up and 6 that are timed; it was called "
WRONG_STOPWATCHES = {
    _once_too_few: CALLS + "7 times",
    _one_more_warm_up: CALLS + "9 times",
    _one_more_at_the_end: CALLS + "9 times",
    _never_calls: CALLS + "0 times",
    _all_times: r"return three numbers, \(low, median, high\).*given: +\[",
    _deciles: r"low of [\d., ]+ is [\d.]+ s",
    _a_latency: "return three numbers.*given: +Latency",
    _stopwatch_no_return: "return three numbers.*given: +None",
    _stopwatch_text: "return three numbers",
    _calls_the_clock_wrong: "AttributeError.*at line",
    _no_brackets: "TypeError.*at line",
    _lower_median: r"median of [\d., ]+ is [\d.]+ s",
    _readings: r"low of [\d., ]+ is [\d.]+ s",
    _resets_the_script: CHANGED,
    _fastest_half: "(low|median) of ",
    _without_outliers: "(low|median) of ",
}


@pytest.mark.parametrize(("function", "message"), WRONG_STOPWATCHES.items())
def test_other_wrong_stopwatches_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(measure.time_call, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


@pytest.mark.parametrize("clock", [time.perf_counter, time.time, time.process_time])
def test_a_real_clock_is_told_from_the_one_given(clock):
    def real_time(function, warm_up, runs, _):
        return the_chapters_stopwatch(function, warm_up, runs, clock)

    hint = _mistake(measure.time_call, "not its clock").hint
    for seed in FEW_SEEDS:
        assert hint in rejected(measure.time_call, real_time, seed)


def test_the_call_shows_the_script():
    text = rejected(measure.time_call, _mistake(measure.time_call, "no warm-up").function)
    assert re.search(
        r"called:   time_call\(<function that takes [\d., ]+ s>, 2, 6, <its clock>\)$",
        text,
        re.MULTILINE,
    )


# --- fewer_but_slower ----------------------------------------------------------------------


class Sleeps(nn.Linear):
    def forward(self, x):
        time.sleep(0.01)
        return super().forward(x)


class SleepsOnce(nn.Module):
    pass


def _with(change):
    """A quick pair, with something done to a layer of the first."""
    fewer = wide(16)
    change(fewer)
    return fewer, wide(300, 100)


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


@pytest.mark.parametrize(("change", "message"), FUNCTIONS_OF_THEIRS.items())
def test_a_sleep_does_not_pass(change, message):
    text = rejected(measure.fewer_but_slower, lambda: _with(change))
    assert re.search(message, text), text


WRONG_PAIRS = {
    "none": (lambda: None, "return a pair of models.*given: +None"),
    "text": (lambda: "ab", "return a pair of models"),
    "one": (lambda: many(), "return a pair of models.*given: +Sequential"),
    "three": (lambda: (many(), many(), many()), "return a pair of models"),
    "dict": (lambda: {"fewer": many(), "more": wide(300)}, "return a pair of models"),
    "counts": (lambda: (28_064, 266_200), "fewer is not a model, an nn.Module.*given: +28064"),
    "functions": (lambda: (many(), torch.sigmoid), "more is not a model"),
    "classes": (lambda: (nn.Linear, nn.Linear), "fewer is not a model.*nn.Module"),
    "raises": (lambda: many(-1, 2), "TypeError"),
    "own class": (lambda: (Sleeps(784, 10), wide(300)), "fewer is a Sleeps, which is not of"),
    "no forward": (lambda: (many(), SleepsOnce()), "more is a SleepsOnce, which is not of"),
    "not flattened": (
        lambda: (nn.Linear(784, 10), wide(300)),
        "fewer raised RuntimeError: mat1 and mat2 shapes",
    ),
    "list": (lambda: (many(), nn.ModuleList([nn.Linear(784, 10)])), "more raised .*forward"),
    "twelve": (lambda: (many(), nn.Sequential(*wide(300), nn.Linear(10, 12))), r"\(1, 12\)"),
    "unflattened": (
        lambda: (nn.Sequential(*many(), nn.Unflatten(1, (2, 5))), wide(300)),
        r"fewer is to take an image of shape \(1, 1, 28, 28\) to 10 numbers.*given: +\(1, 2, 5\)",
    ),
    "lstm": (
        lambda: (nn.Sequential(nn.Flatten(), nn.LSTM(784, 10)), wide(300)),
        "is a LSTM, in which PyTorch's counter does not see",
    ),
    "attention": (
        lambda: (nn.TransformerEncoderLayer(28, 2), wide(300)),
        "MultiheadAttention, in which PyTorch's counter does not see",
    ),
    "exchanged": (
        lambda: many_small_layers()[::-1],
        r"more multiply-accumulates and is faster: exchange them.*"
        r"given: +fewer: 266,200 multiply-accumulates, [\d,]+ µs; more: 28,064 .* µs, on one thr",
    ),
    "more and slower": (
        lambda: (wide(2000, 1000), wide(16)),
        "the first has more multiply-accumulates, it is to have fewer",
    ),
    "the same": (lambda: (many(), many()), "both have as many multiply-accumulates"),
    "faster": (
        lambda: (wide(16), wide(2000, 1000)),
        "fewer multiply-accumulates and is faster too.*12,704 multiply-accumulates",
    ),
    "nothing": (
        lambda: (
            nn.Sequential(nn.AdaptiveAvgPool2d((1, 10)), nn.Flatten(), *[nn.Tanh()] * 300),
            wide(300),
        ),
        "fewer: none of its products is counted; both are to multiply something",
    ),
}


@pytest.mark.parametrize(("pair", "message"), WRONG_PAIRS.values(), ids=WRONG_PAIRS)
def test_wrong_pairs_are_told_what_is_wrong(pair, message):
    text = rejected(measure.fewer_but_slower, pair)
    assert re.search(message, text, re.DOTALL), text
    assert max(map(len, text.splitlines())) < 450


def test_a_model_that_takes_too_long_is_told_so(monkeypatch):
    monkeypatch.setattr(measure_slower, "_MOST", 0.05)
    text = rejected(
        measure.fewer_but_slower,
        lambda: (many(), nn.Sequential(*wide(16), *[nn.Linear(10, 10)] * 20_000)),
    )
    assert re.search(r"more takes \d+\.\d s for one image; keep each below 0\.05 s", text)


@pytest.mark.parametrize(
    ("macs", "seconds", "message"),
    [
        ([10, 20], [1.49e-4, 1e-4], "too close to call: the first takes 1.49 times as long"),
        ([10, 20], [1.01e-4, 1e-4], "too close to call: the first takes 1.01 times as long"),
        ([10, 20], [1e-4, 1e-4], "fewer multiply-accumulates and is faster too"),
        ([20, 10], [1e-4, 1.6e-4], "more multiply-accumulates and is faster: exchange them"),
        ([20, 10], [1e-4, 1.4e-4], "more multiply-accumulates, it is to have fewer"),
        ([20, 10], [9e-4, 1e-4], "more multiply-accumulates, it is to have fewer"),
        ([0, 10], [9e-4, 1e-4], "fewer: none of its products"),
        ([0, 0], [9e-4, 1e-4], "fewer and more: none of its products"),
        ([10, 10], [9e-4, 1e-4], "both have as many"),
    ],
)
def test_what_is_said_of_counts_and_times(macs, seconds, message):
    with pytest.raises(Wrong, match=message) as wrong:
        measure_slower._compare(macs, seconds)
    assert f"more: {macs[1]} multiply-accumulates, {1e6 * seconds[1]:.0f} µs" in wrong.value.given
    measure_slower._compare([10, 20], [1.5e-4, 0.99e-4])


def test_the_models_and_the_threads_are_left_as_they_were():
    pair, threads = one_layer_again_and_again(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert judge(measure.fewer_but_slower, lambda: pair).state == "done"
        assert torch.get_num_threads() == 2
        rejected(measure.fewer_but_slower, lambda: (nn.Linear(1, 1), pair[1]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert pair[0].training and pair[0][1].weight.dtype == torch.float64


def test_layers_of_pytorch_are_known_as_such():
    x = torch.rand(1, 1, 28, 28)
    for layer in (
        nn.Conv2d(1, 2, 3, padding="same", padding_mode="reflect"),
        nn.ConvTranspose2d(1, 1, 3),
        nn.GroupNorm(1, 1),
        nn.LayerNorm(28),
        nn.GELU(),
        nn.PReLU(),
        nn.Dropout(),
        nn.Upsample(scale_factor=2),
        nn.MaxPool2d(2),
        nn.Softmax(1),
        nn.InstanceNorm2d(1, affine=True),
        nn.ModuleDict({"a": nn.Linear(28, 28)})["a"],
    ):
        layer(x)
        measure_slower._admit("layer", layer)


# --- models as arguments (attempt.py) ------------------------------------------------------


def test_a_model_is_shown_in_one_line():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    text = "Sequential( (0): Linear(in_features=2, out_features=3, bias=True) (1): ReLU() )"
    assert show(model) == text
    assert "\n" not in show((model, model))


CHANGES = {
    "value": lambda m: m[0].weight.data.zero_(),
    "type": lambda m: m[0].to(torch.float64),
    "buffer": lambda m: m[1].running_mean.add_(1),
    "frozen": lambda m: m[0].bias.requires_grad_(False),
    "mode": lambda m: m[1].eval(),
    "layer": lambda m: m.append(nn.ReLU()),
    "option": lambda m: setattr(m[1], "eps", 0.1),
    "no bias": lambda m: m[0].register_parameter("bias", None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_an_answer_changes_of_a_model_is_seen(change):
    with pytest.raises(Wrong, match="changed its input"):
        Attempt("f", change)(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))


def test_a_model_that_was_only_looked_at_has_not_changed():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model.append(model[0]).half()
    attempt = Attempt("f", lambda model: len(model))
    assert attempt(model) == 3
    assert attempt.looks_like(Mistake("", len, ""))
    assert not attempt.looks_like(Mistake("", lambda model: 0, ""))
