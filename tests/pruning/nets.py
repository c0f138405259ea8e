"""Networks as other people write them, small: three shapes that everybody knows.

`corners.py` has the odd ones, each with one thing that a rule may get wrong.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class VGG(nn.Module):
    """As torchvision writes it: features, average pool, flatten, three linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *self.block(3, 6), *self.block(6, 8), nn.MaxPool2d(2), *self.block(8, 7)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 3))
        self.classifier = nn.Sequential(
            nn.Linear(7 * 6, 12),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(12, 9),
            nn.BatchNorm1d(9),
            nn.ReLU(True),
            nn.Dropout(p=0.3),
            nn.Linear(9, 5),
        )

    @staticmethod
    def block(inputs, outputs):
        conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
        return conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(self, inputs, width, stride=1, downsample=None):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """As torchvision writes it: two stages of bottlenecks, strided 1x1 convolutions beside them."""

    def __init__(self):
        super().__init__()
        self.inplanes = 6
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=1, padding=1)
        self.layer1 = self.stage(4, blocks=2, stride=1)
        self.layer2 = self.stage(5, blocks=2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(10, 5)

    def stage(self, width, blocks, stride):
        outputs = width * Bottleneck.expansion
        downsample = nn.Sequential(
            nn.Conv2d(self.inplanes, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        first = Bottleneck(self.inplanes, width, stride, downsample)
        self.inplanes = outputs
        return nn.Sequential(first, *(Bottleneck(outputs, width) for _ in range(blocks - 1)))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BasicConv2d(nn.Module):
    def __init__(self, inputs, outputs, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionBlock(nn.Module):
    """Four branches, of 3, 4, 2 and 3 channels, and of different depth."""

    def __init__(self, inputs):
        super().__init__()
        self.branch1 = BasicConv2d(inputs, 3, kernel_size=1)
        self.branch2 = nn.Sequential(
            BasicConv2d(inputs, 5, kernel_size=1), BasicConv2d(5, 4, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(inputs, 3, kernel_size=1),
            BasicConv2d(3, 4, kernel_size=(1, 3), padding=(0, 1)),
            BasicConv2d(4, 2, kernel_size=(3, 1), padding=(1, 0)),
        )
        self.pool = BasicConv2d(inputs, 3, kernel_size=1)

    def forward(self, x):
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        outputs = [self.branch1(x), self.branch2(x), self.branch3(x), self.pool(pooled)]
        return torch.cat(outputs, 1)


class Inception(nn.Module):
    """Two blocks; behind the second a sum, as in Inception-ResNet, and a branch beside it."""

    def __init__(self):
        super().__init__()
        self.stem = BasicConv2d(3, 6, kernel_size=3, stride=2)
        self.block1 = InceptionBlock(6)
        self.block2 = InceptionBlock(12)
        self.project = nn.Conv2d(12, 12, 1)
        self.dropout = nn.Dropout2d(0.2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.block1(self.stem(x))
        x = F.relu(self.block2(x) + 0.3 * self.project(x))
        x = F.adaptive_avg_pool2d(self.dropout(x), (1, 1))
        return self.fc(x.view(x.size(0), -1))


IMAGES = (4, 3, 13, 13)
NETS = {"vgg": VGG, "resnet": ResNet, "inception": Inception}


def shaken(model, seed=0):
    """The model in use, every number of it drawn, so that no bias, mean or scale is 0 or 1."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
                if name.endswith("running_var"):
                    drawn = 0.5 + drawn.abs()
                elif tensor.dim() > 1:
                    drawn *= (tensor.numel() / len(tensor)) ** -0.5
                tensor.copy_(drawn)
    return model.eval()


def state_of(model):
    """All that a model is, to see whether it was changed: tensors, their identity, and modes."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return (
        {name: (id(t), t._version, t.requires_grad, t.grad) for name, t in tensors},
        copy.deepcopy({name: t.detach() for name, t in tensors}),
        [(id(part), part.training, len(part._forward_hooks)) for part in model.modules()],
    )


def images(shape, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
