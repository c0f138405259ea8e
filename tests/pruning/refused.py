"""Small networks that have no rule, or a trap: each is refused by name, or comes out right.

`REFUSED` says the word that the message must have; of `EITHER` a right answer is as good.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao.nn.quantized import dynamic
from torch.nn.utils import parametrizations, prune

from tests.pruning.corners import IMAGES, ROW, TOKENS, Made, between, chain, conv, middle


class Standardized(nn.Conv2d):
    """The weight of a filter is centered: without some inputs it is another."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


def changed(change, make=None):
    """Three linear layers, of which the second is no longer plain."""

    def made():
        net, shape = (make or chain(*linear_layers(), shape=ROW))()
        change(net)
        return net, shape

    return made


def linear_layers():
    return nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 5)


def normed(norm):
    return chain(conv(3, 8), norm, nn.ReLU(), conv(8, 5))


def attends(m, x):
    h = m.fc1(x)
    return m.fc2(m.attention(h, h, h)[0])


def scores(m, x):
    q, k, v = m.q(x), m.k(x), m.v(x)
    return m.fc(F.scaled_dot_product_attention(q, k, v))


def branches(m, h):
    return h * 2 if h.mean() > 0 else h


def counts(m, h):
    return h * int(h.argmax() % 3)


def lazy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LazyLinear(5)), ROW


def quantized():
    layers = [*linear_layers()]
    layers[2] = dynamic.Linear(8, 7)
    return nn.Sequential(*layers), ROW


TENTH = {
    "register_forward_hook": lambda y: y / 10,
    "register_forward_pre_hook": lambda args: (args[0] / 10,),
    "register_full_backward_hook": lambda gradients: None,
}


def hook(name):
    return changed(lambda net: getattr(net[2], name)(lambda *given: TENTH[name](given[-1])))


REFUSED = {
    "layer norm": (chain(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 5), shape=ROW),
        "1, LayerNorm.* layer_norm"),
    "group norm": (normed(nn.GroupNorm(2, 8)), "1, GroupNorm.* group_norm"),
    "local response norm": (normed(nn.LocalResponseNorm(3)), "local_response_norm"),
    "norm of units": (between(lambda m, h: F.normalize(h, dim=1)), "normalize"),
    "running sum": (between(lambda m, h: h.cumsum(1)), "cumsum"),
    "sorted units": (between(lambda m, h: h.sort(1).values), "sort"),
    "attention": (lambda: (Made(attends, fc1=nn.Linear(6, 8), fc2=nn.Linear(8, 5),
        attention=nn.MultiheadAttention(8, 2, batch_first=True)), TOKENS), "attention"),
    "scaled dot product": (lambda: (Made(scores, **{n: nn.Linear(6, 8) for n in "qkv"},
        fc=nn.Linear(8, 5)), TOKENS), "scaled_dot_product_attention"),
    "lstm": (lambda: (Made(lambda m, x: m.fc(m.lstm(m.up(x))[0]), up=nn.Linear(6, 8),
        lstm=nn.LSTM(8, 7, batch_first=True), fc=nn.Linear(7, 5)), TOKENS), "lstm|LSTM"),
    "branches": (middle(branches), "calls gt"),
    "counts": (middle(counts), "argmax"),
    "a number of all": (between(lambda m, h: h * float(h.abs().mean())), "float of an activation"),
    "an item of all": (between(lambda m, h: h * h.abs().mean().item()), "item"),
    "drops in use": (between(lambda m, h: F.dropout(h, 0.5)), "drops at random in use"),
    "drops channels in use": (middle(lambda m, h: F.dropout2d(h, p=0.9, training=True)), "drops"),
    "einsum": (between(lambda m, h: torch.einsum("nc,nd->nc", h, h)), "einsum"),
    "product of activations": (between(lambda m, h: h @ h.T @ h), "multiplies two activations"),
    "bilinear": (between(lambda m, h: m.two(h, h), two=nn.Bilinear(8, 8, 8)), "bilinear|Bilinear"),
    "numpy": (between(lambda m, h: torch.tensor(h.detach().numpy()).tanh()), "numpy"),
    "weight norm": (changed(lambda net: parametrizations.weight_norm(net[2])), "2"),
    "spectral norm": (changed(lambda net: parametrizations.spectral_norm(net[2])), "2"),
    "torch's pruning": (changed(lambda net: prune.l1_unstructured(net[2], "weight", 0.5)), "2"),
    "lazy": (lazy, "2"),
    "quantized": (quantized, "2"),
    "standardized": (chain(conv(3, 6), nn.ReLU(), Standardized(6, 5, 1)), "2"),
    "standardized first": (chain(Standardized(3, 6, 1), nn.ReLU(), conv(6, 6), conv(6, 5)), "0"),
    "on meta": (changed(lambda net: net.to("meta")), "meta"),
}  # fmt: skip


def functional(m, x):
    h = F.relu(F.conv2d(x, m.w, m.b, padding=1))
    return F.linear(h.mean((-2, -1)), m.fc.weight, m.fc.bias)


def option_a(m, h):
    """The shortcut without weights of He et al. 2016: every second place, zeros as channels."""
    return m.a(h) + F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))


def gated(m, h):
    a, b = m.wide(h).chunk(2, dim=1)
    return a * torch.sigmoid(b)


def split(m, h):
    a, b = torch.split(h, [3, 5], dim=1)
    return torch.cat([m.b(b), a], 1)


def halves(m, h):
    return torch.cat([m.a(h[:, :4]), h[:, 4:]], 1)


def halves_from_behind(m, h):
    return torch.cat([m.a(h[:, :-4]), h[:, -4:]], 1)


def tied():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5))
    net[2].weight = net[0].weight
    return net, ROW


def written_size():
    def forward(m, x):
        x = F.relu(F.max_pool2d(m.conv1(x), 2))
        x = F.relu(F.max_pool2d(m.conv2(x), 2))
        return m.fc2(F.relu(m.fc1(x.view(-1, 320))))

    conv1, conv2 = nn.Conv2d(1, 10, kernel_size=5), nn.Conv2d(10, 20, kernel_size=5)
    parts = {"fc1": nn.Linear(320, 50), "fc2": nn.Linear(50, 10)}
    return Made(forward, conv1=conv1, conv2=conv2, **parts), (2, 1, 28, 28)


EITHER = {
    "softmax over units": between(lambda m, h: h.softmax(1)),
    "log softmax over units": between(lambda m, h: F.log_softmax(h, -1)),
    "mean over units": between(lambda m, h: h * h.mean(1, keepdim=True)),
    "largest of units": between(lambda m, h: h - h.amax(-1, keepdim=True)),
    "mean over everything": between(lambda m, h: h - h.mean()),
    "forward hook": hook("register_forward_hook"),
    "forward pre-hook": hook("register_forward_pre_hook"),
    "backward hook": hook("register_full_backward_hook"),
    "size written in the forward": written_size,
    "size written, as channels": middle(lambda m, h: h.view(-1, 8, 30).unsqueeze(-1)),
    "size written, as places": middle(lambda m, h: h.flatten(1).view(-1, 8, 6, 5)),
    "divided by the number of units": between(lambda m, h: h / h.shape[1] ** 0.5),
    "divided by the layer's width": between(lambda m, h: h / m.fc1.out_features),
    "repeated by the number of units": between(lambda m, h: h[:, -1:].repeat(1, h.shape[1])),
    "to the power of minus one": between(lambda m, h: (1 + h.abs()) ** 0 * h**-1),
    "divided by a parameter": between(lambda m, h: h / m.gamma, gamma=nn.Parameter(torch.ones(8))),
    "added to one over a parameter": between(lambda m, h: h + 1 / m.gamma,
        gamma=nn.Parameter(torch.ones(8))),
    "norm without eps": middle(lambda m, h: m.bn(h), bn=nn.BatchNorm2d(8, eps=0)),
    "products and quotients": between(lambda m, h: h * torch.sigmoid(h) / (1 + h.abs()) - h**2),
    "each with each": between(lambda m, h: (h[:, :, None] * m.two(h)[:, None]).flatten(1), last=16,
        two=nn.Linear(8, 2)),
    "each with each of itself": between(lambda m, h: (h[:, :, None] * h[:, None]).sum(2)),
    "images by themselves": middle(lambda m, h: torch.stack([m.a(x) for x in h]), a=conv(8, 8)),
    "a pool of one image": middle(lambda m, h: torch.stack([F.max_pool2d(x, 2) for x in h])),
    "a pool over rows": between(lambda m, h: F.avg_pool1d(h[:, None], 2)[:, 0], last=4),
    "mean along an axis of numpy": between(lambda m, h: h * h.mean(axis=1, keepdim=True)),
    "a parameter in a list": between(lambda m, h: h * m.gamma + m.listed[0],
        gamma=(gamma := nn.Parameter(torch.ones(8))), listed=[gamma]),
    "view of a parameter": middle(lambda m, h: h * m.gamma.view(1, -1, 1, 1),
        gamma=nn.Parameter(torch.ones(8))),
    "chunks": middle(gated, last=5, wide=conv(8, 10)),
    "gated linear unit": middle(lambda m, h: F.glu(m.wide(h), 1), last=5, wide=conv(8, 10)),
    "split": middle(split, last=7, b=conv(5, 4)),
    "halves": middle(halves, last=7, a=conv(4, 3)),
    "halves from behind": middle(halves_from_behind, last=7, a=conv(4, 3)),
    "the middle": between(lambda m, h: h[:, 2:6], last=4),
    "every second": between(lambda m, h: h[:, ::2], last=4),
    "one unit chosen": between(lambda m, h: h * h[:, 3:4]),
    "flipped": between(lambda m, h: h + h.flip(1)),
    "rolled": between(lambda m, h: h + h.roll(1, 1)),
    "shortcut with zeros": middle(option_a, last=12, a=nn.Conv2d(8, 12, 3, 2, 1)),
    "tied": tied,
    "functional": lambda: (Made(functional, w=nn.Parameter(torch.ones(6, 3, 3, 3)),
        b=nn.Parameter(torch.ones(6)), fc=nn.Linear(6, 5)), IMAGES),
    "transposed": chain(conv(3, 6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, 2), conv(4, 5)),
    "transposed in groups": chain(conv(3, 6), nn.ConvTranspose2d(6, 4, 2, 2, groups=2), conv(4, 5)),
    "instance norm": normed(nn.InstanceNorm2d(8, affine=True)),
    "pixel shuffle": chain(conv(3, 8), nn.PixelShuffle(2), conv(2, 5)),
    "stacked": middle(lambda m, h: torch.stack([h, m.a(h)]).sum(0), a=conv(8, 8)),
    "stacked as channels": middle(lambda m, h: torch.stack([h, -h], 2).flatten(1, 2), 4, 8),
    "sum over units, beside": between(lambda m, h: h.sum(1, keepdim=True), last=1),
    "sum over products": between(lambda m, h: (h * m.two(h)).sum(1, keepdim=True), last=1,
        two=nn.Linear(8, 8)),
    "sum over exponentials": between(lambda m, h: h.exp().sum(1, keepdim=True), last=1),
    "constant of a shape": between(lambda m, h: h + torch.ones(8)),
    "constant like": between(lambda m, h: h + torch.arange(8.0)),
    "where": between(lambda m, h: torch.where(h > 0, h, torch.zeros_like(h))),
    "masked fill": between(lambda m, h: h.masked_fill(h < 0, 0.5)),
    "written into": between(lambda m, h: torch.zeros(len(h), 8, dtype=h.dtype).copy_(h)),
    "set in place": between(lambda m, h: h.clone().index_fill_(1, torch.tensor([2]), 0.5)),
    "assigned": between(
        lambda m, h: torch.zeros(len(h), 8, dtype=h.dtype).index_copy(1, torch.arange(8), h)),
    "through a list": between(lambda m, h: torch.cat([*h.split(1, 1)], 1)),
    "unbound": between(lambda m, h: torch.stack([*h.unbind(1)], 1)),
    "no gradient": between(lambda m, h: h.detach() * 2),
    "data": between(lambda m, h: h.data * 2),
    "another type": between(lambda m, h: h.to(torch.float64).to(h.dtype)),
    "penalized": between(lambda m, h: h * m.fc1.weight.norm().item()),
    "masked weight": between(lambda m, h: F.linear(h, m.w * (m.w > 0)), last=4,
        w=nn.Parameter(torch.ones(4, 8))),
    "matrix": between(lambda m, h: h @ m.w, last=4, w=nn.Parameter(torch.ones(8, 4))),
    "low rank": between(lambda m, h: m.a(h) + h @ m.w @ m.v, last=4, a=nn.Linear(8, 4),
        w=nn.Parameter(torch.ones(8, 2)), v=nn.Parameter(torch.ones(2, 4))),
    "embedding": lambda: (Made(lambda m, x: m.fc(m.e(x.argsort(1)).mean(1)), e=nn.Embedding(6, 8),
        fc=nn.Linear(8, 5)), ROW),
    "alpha dropout": between(lambda m, h: F.alpha_dropout(h, 0.5, m.training)),
    "noise": between(lambda m, h: h + 0 * torch.randn_like(h)),
    "no dropout": between(lambda m, h: F.dropout(h, 0.5, training=False)),
    "two sizes": middle(lambda m, h: m.a(h) * h.shape[1], last=4, a=conv(8, 4)),
    "unfolded": middle(lambda m, h: F.unfold(h, 2).unsqueeze(-1), last=32),
    "unflattened": middle(lambda m, h: h.flatten(1).unflatten(1, (8, -1)).unsqueeze(-1)),
    "mean over channels of a group": middle(lambda m, h: h.unflatten(1, (4, 2)).mean(2), last=4),
    "max of two": middle(lambda m, h: h.unflatten(1, (4, 2)).amax(2), last=4),
    "softmax over places": middle(lambda m, h: h.flatten(2).softmax(-1).unsqueeze(-1)),
    "mean over images": between(lambda m, h: h - h.mean(0)),
    "transposed rows": between(lambda m, h: h.t().t()),
    "training decides": between(lambda m, h: h * 5 if m.training else h.relu()),
    "remembers": between(lambda m, h: [m.seen.append(1), h.relu()][1], seen=[]),
    "named classes": between(lambda m, h: {"logits": h, "hidden": h.tanh()}["hidden"]),
}  # fmt: skip
