"""The course's networks, as the papers have them, and how to build one from a seed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.modes import seeded
from shrink.plain import described, refuse_computed


class LeNet300100(nn.Module):
    """Two hidden layers of 300 and 100 units: 266 610 parameters, 266 200 of them weights.

    Images (n, 1, 28, 28) float32 → logits (n, 10). `hidden` makes its smaller relatives.
    Source: LeCun et al. 1998, section III; the variant that Han et al. 2015 prune.
    """

    def __init__(self, hidden: tuple[int, int] = (300, 100)) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class LeNet5(nn.Module):
    """The Caffe LeNet: conv 20, conv 50, fc 500, fc 10; 431 080 parameters.

    Images (n, 1, 28, 28) float32 → logits (n, 10). Only fc1 is followed by a ReLU, as in Caffe.
    `hidden` makes its smaller relatives: channels of conv1 and conv2, units of fc1.
    Source: Caffe's lenet.prototxt, the network that Han et al. 2015 and 2016 call LeNet-5.
    """

    def __init__(self, hidden: tuple[int, int, int] = (20, 50, 500)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, hidden[0], 5)
        self.conv2 = nn.Conv2d(hidden[0], hidden[1], 5)
        self.fc1 = nn.Linear(16 * hidden[1], hidden[2])
        self.fc2 = nn.Linear(hidden[2], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(images), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


class SeparableNet(nn.Module):
    """A small relative of MobileNet: depthwise and pointwise convolutions, 9 226 parameters.

    Images (n, 1, 28, 28) float32 → logits (n, 10). Batch norm and a ReLU follow each convolution.
    Source: Howard et al. 2017, "MobileNets", section 3.1, with two blocks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(16)
        self.depthwise1 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.pointwise1 = nn.Conv2d(16, 32, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.depthwise2 = nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32, bias=False)
        self.norm3 = nn.BatchNorm2d(32)
        self.pointwise2 = nn.Conv2d(32, 64, 1, bias=False)
        self.norm4 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(576, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm0(self.stem(images)))
        x = F.relu(self.norm1(self.depthwise1(x)))
        x = F.relu(self.norm2(self.pointwise1(x)))
        x = F.relu(self.norm3(self.depthwise2(x)))
        x = F.relu(self.norm4(self.pointwise2(x)))
        return self.fc(F.max_pool2d(x, 2).flatten(1))


class ResidualNet(nn.Module):
    """A small relative of ResNet: two blocks add their input to their output; 30 970 parameters.

    Images (n, 1, 28, 28) float32 → logits (n, 10). Batch norm follows each convolution.
    `hidden` makes its smaller relatives: channels into and out of the first block, inside it, into
    and out of the second block, inside it.
    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", figure 2.
    Differs: no shortcut passes `down`, and we pool the largest of 2x2, not the mean of all places.
    """

    def __init__(self, hidden: tuple[int, int, int, int] = (16, 16, 32, 32)) -> None:
        super().__init__()
        first, inside1, second, inside2 = hidden
        self.stem = nn.Conv2d(1, first, 3, stride=2, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(first)
        self.conv1 = nn.Conv2d(first, inside1, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inside1)
        self.conv2 = nn.Conv2d(inside1, first, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(first)
        self.down = nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(second)
        self.conv3 = nn.Conv2d(second, inside2, 3, padding=1, bias=False)
        self.norm4 = nn.BatchNorm2d(inside2)
        self.conv4 = nn.Conv2d(inside2, second, 3, padding=1, bias=False)
        self.norm5 = nn.BatchNorm2d(second)
        self.fc = nn.Linear(9 * second, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm0(self.stem(images)))
        inside = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(x + self.norm2(self.conv2(inside)))
        x = F.relu(self.norm3(self.down(x)))
        inside = F.relu(self.norm4(self.conv3(x)))
        x = F.relu(x + self.norm5(self.conv4(inside)))
        return self.fc(F.max_pool2d(x, 2).flatten(1))


class TinyTanh(nn.Module):
    """Two hidden layers of 24 and 16 units with tanh, 1 770 parameters: few enough for the Hessian.

    Images (n, 1, 28, 28) float32, of which it takes the means of 4x4 pixels → logits (n, 10).
    `hidden` makes its relatives.
    """

    activation = staticmethod(torch.tanh)

    def __init__(self, hidden: tuple[int, int] = (24, 16)) -> None:
        super().__init__()
        self.fc1 = nn.Linear(49, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.avg_pool2d(images, 4).flatten(1)
        x = self.activation(self.fc1(x))
        x = self.activation(self.fc2(x))
        return self.fc3(x)


class TinyRelu(TinyTanh):
    """The same with ReLU, whose units can be rescaled."""

    activation = staticmethod(torch.relu)


MODELS: dict[str, type[nn.Module]] = {
    "lenet-300-100": LeNet300100,
    "lenet-5": LeNet5,
    "separable": SeparableNet,
    "residual": ResidualNet,
    "tiny-tanh": TinyTanh,
    "tiny-relu": TinyRelu,
}


def build(name: str, seed: int, **options: object) -> nn.Module:
    """A freshly initialised network, the same on every call with the same seed.

    `options` go to the network's class. The CPU's own random state is left as it was. Raises
    `ValueError` for an unknown name.
    """
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}; there are {', '.join(MODELS)}")
    with seeded(seed):
        return MODELS[name](**options)


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that we compress, by name: matrices and kernels, no biases.

    Raises `ValueError` when torch computes one at each call (its pruning, a parametrization, weight
    and spectral norm), and says what to run first: the model multiplies by the computed weight.

    >>> list(weights(build("lenet-300-100", seed=0)))
    ['fc1.weight', 'fc2.weight', 'fc3.weight']
    """
    for name, module in model.named_modules():
        refuse_computed(module, described(name, module))
    return {name: p for name, p in model.named_parameters() if p.dim() >= 2}
