"""Small networks with one odd thing each. Each entry makes a model and says its input's shape.

`Made(forward, **parts)` is a module with these layers, parameters and buffers, and that forward.
"""

import torch
import torch.nn.functional as F
from torch import nn

IMAGES = (4, 3, 6, 5)
ROW = (4, 6)
TOKENS = (3, 5, 6)  # n, tokens, features


class Made(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.written = forward
        for name, part in parts.items():
            if type(part) is torch.Tensor:
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.written(self, x)


def conv(inputs, outputs, size=3, **options):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def middle(forward, units=8, last=None, shape=IMAGES, **parts):
    """stem → what is tested, h → h → mean over places → fc."""
    last = units if last is None else last

    def whole(m, x):
        h = F.relu(m.norm(m.stem(x)))
        return m.fc(forward(m, h).mean((2, 3)))

    stem, norm, fc = conv(3, units), nn.BatchNorm2d(units), nn.Linear(last, 5)
    return lambda: (Made(whole, stem=stem, norm=norm, **parts, fc=fc), shape)


def between(forward, units=8, last=None, shape=ROW, **parts):
    """fc1 → what is tested → fc2, on rows."""
    last = units if last is None else last

    def whole(m, x):
        return m.fc2(forward(m, m.fc1(x)))

    fc1, fc2 = nn.Linear(shape[-1], units), nn.Linear(last, 5)
    return lambda: (Made(whole, fc1=fc1, **parts, fc2=fc2), shape)


def chain(*layers, shape=IMAGES):
    return lambda: (nn.Sequential(*layers), shape)


# ---- convolutions of other kinds


def inverted_residual(m, h):
    y = F.relu6(m.bn1(m.expand(h)))
    y = F.relu6(m.bn2(m.depthwise(y)))
    return h + m.bn3(m.project(y))


def shuffle(x, groups):
    n, c, height, width = x.shape
    x = x.view(n, groups, c // groups, height, width).transpose(1, 2).contiguous()
    return x.view(n, -1, height, width)


def shuffled(m, h):
    y = shuffle(F.relu(m.conv1(h)), 2)
    return h + m.conv3(m.conv2(y))


CONVOLUTIONS = {
    "depthwise in a residual": middle(
        inverted_residual,
        units=4,
        expand=conv(4, 7, 1, bias=False),
        bn1=nn.BatchNorm2d(7),
        depthwise=conv(7, 7, groups=7, stride=1),
        bn2=nn.BatchNorm2d(7),
        project=conv(7, 4, 1, bias=False),
        bn3=nn.BatchNorm2d(4),
    ),
    "one filter for three inputs": chain(conv(3, 6, groups=3), nn.ReLU(), conv(6, 4)),
    "two dilated, then strided": middle(
        lambda m, h: m.b(m.a(h)),
        last=6,
        a=nn.Conv2d(8, 7, 2, dilation=2, padding="same"),
        b=nn.Conv2d(7, 6, 3, stride=2, padding=1, padding_mode="reflect"),
    ),
    "one dimension": chain(
        nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 5, 1), shape=(4, 3, 7)
    ),
    "three dimensions": chain(
        nn.Conv3d(3, 6, 2), nn.BatchNorm3d(6), nn.ELU(), nn.Conv3d(6, 5, 1), shape=(2, 3, 4, 3, 5)
    ),
}
GROUPED = {
    "depthwise, two filters a channel": middle(
        lambda m, h: m.two(h), units=5, last=10, two=conv(5, 10, groups=5)
    ),
    "two groups": middle(lambda m, h: F.relu(m.a(h)), last=6, a=conv(8, 6, groups=2)),
    "four groups between": middle(
        lambda m, h: m.c(F.relu(m.b(F.relu(m.a(h))))),
        last=7,
        a=conv(8, 12, 1),
        b=conv(12, 8, groups=4),
        c=conv(8, 7, 1),
    ),
    "groups in a residual": middle(
        lambda m, h: h + m.b(m.a(h)), a=conv(8, 4, groups=2), b=conv(4, 8, groups=4)
    ),
    "channel shuffle": middle(
        shuffled, conv1=conv(8, 6, 1, groups=2), conv2=conv(6, 6, groups=6), conv3=conv(6, 8, 1)
    ),
}

# ---- what lies between layers


def squeeze_and_excite(m, h):
    gate = torch.sigmoid(m.up(F.relu(m.down(h.mean((2, 3), keepdim=True)))))
    return h * gate


def inception_step(m, h):
    y = torch.cat([h, F.relu(m.a(h))], 1)
    y = torch.cat([y, F.relu(m.b(y))], dim=1)
    return m.bn(y)


def in_place(m, h):
    y = m.a(h)
    y += h
    y.relu_()
    y.mul_(2).clamp_(max=3)
    return F.leaky_relu_(m.b(y), 0.1)


def channels_last(m, h):
    y = F.gelu(m.wide(h.permute(0, 2, 3, 1)))
    return h + (m.gamma * m.narrow(y)).permute(0, 3, 1, 2)


def flat_places_first(m, x):
    return m.fc(F.relu(m.conv(x)).permute(0, 2, 3, 1).reshape(len(x), -1))


def patches(m, x):
    tokens = m.patch(x).flatten(2).transpose(1, 2)
    tokens = tokens + m.two(F.gelu(m.one(tokens)))
    return m.head(tokens.mean(dim=1))


BETWEEN = {
    "squeeze and excitation": middle(
        squeeze_and_excite, down=nn.Conv2d(8, 3, 1), up=nn.Conv2d(3, 8, 1)
    ),
    "a gate for all channels": middle(
        lambda m, h: h * torch.sigmoid(m.gate(h)), gate=conv(8, 1)
    ),
    "dense connections": middle(
        inception_step, units=4, last=9, a=conv(4, 3), b=conv(7, 2), bn=nn.BatchNorm2d(9)
    ),
    "sum of what is put together": middle(
        lambda m, h: torch.cat([m.a(h), m.b(h)], 1) + h, a=conv(8, 5), b=conv(8, 3)
    ),
    "put together with itself": middle(lambda m, h: torch.cat([h, F.relu(-h), h], 1), 4, 12),
    "put together along a side": middle(lambda m, h: torch.cat([h, m.a(h)], 2), 4, a=conv(4, 4)),
    "put together with the images": lambda: (
        Made(lambda m, x: m.b(torch.cat([x, F.relu(m.a(x))], 1)), a=conv(3, 6), b=conv(9, 5)),
        IMAGES,
    ),
    "sum with the images": lambda: (
        Made(lambda m, x: m.c(x + m.b(F.relu(m.a(x)))), a=conv(3, 6), b=conv(6, 3), c=conv(3, 5)),
        IMAGES,
    ),
    "the same layer twice": middle(lambda m, h: m.a(F.relu(m.a(h))), 6, a=conv(6, 6)),
    "a layer of two names": middle(
        lambda m, h: m.b(F.relu(m.a(h))), 6, **dict.fromkeys("ab", conv(6, 6))
    ),
    "in place": middle(in_place, last=6, a=conv(8, 8), b=conv(8, 6)),
    "adaptive pool and squeeze": chain(
        conv(3, 6), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 7), nn.Tanh(),
        nn.Linear(7, 5), nn.LogSoftmax(1),
    ),
    "log softmax behind": lambda: (
        Made(
            lambda m, x: F.log_softmax(m.fc(F.max_pool2d(m.conv(x), 2).flatten(1)), dim=1),
            conv=conv(3, 6), fc=nn.Linear(36, 5),
        ),
        IMAGES,
    ),
    "a slope per channel": middle(lambda m, h: m.act(h), act=nn.PReLU(8)),
    "one slope for all": middle(lambda m, h: m.act(h), act=nn.PReLU()),
    "a scale per channel": middle(
        lambda m, h: h + m.gamma * m.a(h), a=conv(8, 8), gamma=nn.Parameter(torch.ones(8, 1, 1))
    ),
    "a buffer per channel": middle(
        lambda m, h: (h - m.center) / 2, center=torch.ones(1, 8, 1, 1)
    ),
    "an unused layer": middle(lambda m, h: h, 6, aside=conv(6, 6), norm9=nn.BatchNorm2d(6)),
    "features last": middle(
        channels_last, 6, wide=nn.Linear(6, 9), narrow=nn.Linear(9, 6),
        gamma=nn.Parameter(torch.ones(6)),
    ),
    "flattened with the places first": lambda: (
        Made(flat_places_first, conv=conv(3, 6), fc=nn.Linear(180, 5)), IMAGES,
    ),
    "patches as tokens": lambda: (
        Made(
            patches, patch=nn.Conv2d(3, 6, 2, stride=2), one=nn.Linear(6, 10),
            two=nn.Linear(10, 6), head=nn.Linear(6, 5),
        ),
        IMAGES,
    ),
    "tokens": chain(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7, bias=False), nn.SiLU(), nn.Linear(7, 5),
        shape=TOKENS,
    ),
    "norm behind linear, and none of its own": chain(
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8, affine=False), nn.ReLU(), nn.Linear(8, 7),
        nn.BatchNorm1d(7, track_running_stats=False), nn.Hardswish(), nn.Linear(7, 5), shape=ROW,
    ),
    "norm behind flatten": chain(
        conv(3, 4), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(120), nn.Linear(120, 5)
    ),
    "nested": chain(
        nn.Sequential(nn.Sequential(conv(3, 6), nn.ReLU()), nn.Identity()),
        nn.Sequential(nn.Sequential(nn.Sequential(conv(6, 5))), nn.Sigmoid()),
        nn.Flatten(), nn.Linear(150, 5),
    ),
    "listed": middle(
        lambda m, h: sum(layer(h) for layer in m.heads) + m.named["x"](h), 6,
        heads=nn.ModuleList([conv(6, 6), conv(6, 6)]), named=nn.ModuleDict({"x": conv(6, 6)}),
    ),
    "two answers": lambda: (
        Made(
            lambda m, x: (m.one(F.relu(m.fc(x))), {"two": m.two(m.fc(x))}),
            fc=nn.Linear(6, 8), one=nn.Linear(8, 3), two=nn.Linear(8, 2),
        ),
        ROW,
    ),
    "features answered as well": lambda: (
        Made(
            lambda m, x: [h := m.fc2(F.relu(m.fc1(x))), m.fc3(h.relu())],
            fc1=nn.Linear(6, 8), fc2=nn.Linear(8, 7), fc3=nn.Linear(7, 2),
        ),
        ROW,
    ),
    "products": between(lambda m, h: (1 - h) * torch.sigmoid(h) / 3 - 2 * h**2 + h.abs().sqrt()),
    "every size the same": lambda: (
        Made(
            lambda m, x: m.fc(F.relu(m.b(F.relu(m.bn(m.a(x))))).flatten(1)),
            a=conv(4, 4), bn=nn.BatchNorm2d(4), b=conv(4, 4), fc=nn.Linear(64, 4),
        ),
        (4, 4, 4, 4),
    ),
    "one image": chain(conv(3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4), shape=(1, 3, 6, 5)),
    "padded with channels of zeros": middle(
        lambda m, h: m.conv(h) + F.pad(h, (0, 0, 0, 0, 1, 2)), 6, 9, conv=conv(6, 9)
    ),
    "upsampled, padded, cropped": middle(
        lambda m, h: F.pad(nn.Upsample(scale_factor=2)(h), (1, 0, 2, 1))[:, :, 1:-1, ::2], 6
    ),
    "sizes read from the tensor": middle(
        lambda m, h: h.view(h.size(0), h.shape[1], -1).unsqueeze(-1).expand(-1, -1, -1, 2), 6
    ),
    "one layer": chain(nn.Linear(6, 5), shape=ROW),
    "only classes": chain(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Softmax(-1), shape=ROW),
}  # fmt: skip
