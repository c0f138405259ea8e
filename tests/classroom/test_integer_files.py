"""From training with few bits to a file and back: the network that is read answers the same."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import measure, models
from shrink.classroom.integer_formats import pack_integers, unpack_integers
from shrink.coding import codec
from shrink.quantization import aware

IMAGES = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 10
NETS = {
    "lenet-300-100": partial(models.LeNet300100, hidden=(30, 20)),
    "lenet-5": partial(models.LeNet5, hidden=(4, 6, 20)),
    "separable": models.SeparableNet,
    "residual": partial(models.ResidualNet, hidden=(4, 4, 8, 8)),
}
KINDS = {  # what `aware.prepare` is told, and the bits that a weight takes in `pack_integers`
    "signs": ({"weight_bits": 1}, 1),
    "signs, a scale that follows per channel": (
        {"weight_bits": 1, "scale": "follows", "per_channel": True},
        1,
    ),
    "ternary": ({"weights": aware.TernaryWeights}, 1.6),
    "2 bits": ({"weight_bits": 2}, 1.6),  # -1, 0 and 1
    "3 bits, a scale per channel": ({"weight_bits": 3, "per_channel": True}, 3),
    "4 bits, a scale that follows": ({"weight_bits": 4, "scale": "follows"}, 4),
    "5 bits, inputs too": (
        {"weight_bits": 5, "activation_bits": 8, "calibration_data": IMAGES},
        5,
    ),
    **{f"{bits} bits": ({"weight_bits": bits}, bits) for bits in (6, 7, 8)},
}
CASES = [("lenet-300-100", kind) for kind in KINDS] + [
    (name, kind)
    for name in ("lenet-5", "separable", "residual")
    for kind in ("signs", "ternary", "3 bits, a scale per channel", "5 bits, inputs too")
]


def trained(name, kind):
    """A network after a step with rounded weights; its norms have seen images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETS[name]()
    with torch.no_grad():
        net.train()(IMAGES)
    net = aware.prepare(net.eval(), **KINDS[kind][0])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    F.cross_entropy(net(IMAGES), LABELS).backward()
    optimizer.step()
    return net.eval()


def without_norms(name):
    """The plain network with other weights, and biases where it has norms."""
    net = NETS[name]()
    for place, module in list(net.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            net.set_submodule(place, nn.Identity())
        elif isinstance(module, nn.Conv2d) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return net.eval()


def packed_file(state, integers, path):
    measure.write(path, pack_integers(state, integers))
    return unpack_integers(measure.read(path))


def codec_file(state, integers, path):
    codec.save(state | {name: codec.Scaled(*parts) for name, parts in integers.items()}, path)
    return codec.load(path)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_read_from_a_file_answers_as_what_was_trained(tmp_path, name, kind):
    net = trained(name, kind)
    state, integers = aware.quantized_weights(net)
    with torch.no_grad():
        rounded, answers = aware.as_plain(net)(IMAGES), net(IMAGES)
        for write_and_read in (packed_file, codec_file):
            read = without_norms(name)
            assert not read(IMAGES).allclose(answers)
            read.load_state_dict(write_and_read(state, integers, tmp_path / "net"))
            assert read(IMAGES).equal(rounded)
            if "activation_bits" not in KINDS[kind][0]:
                assert read(IMAGES).equal(answers)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_take_their_bits_in_the_file(kind):
    state, integers = aware.quantized_weights(trained("lenet-300-100", kind))
    packed, bits = pack_integers(state, integers), KINDS[kind][1]
    count = integers["fc1.weight"][0].numel()
    assert packed["fc1.weight/q"].nbytes == count * bits / 8 == 784 * 30 * bits / 8
