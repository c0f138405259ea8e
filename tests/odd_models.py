"""Models in which something has a hand besides their layers' classes, as people really make them.

Each entry makes a model and an input for it; `test_odd_models` asks each function that converts or
counts for the right answer or a refusal.
"""

import types
import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune


class Scaled(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight, self.bias) * 0.1


class Lora(nn.Linear):
    """A low-rank update beside the weight, of rank 2."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.a = nn.Parameter(torch.randn(2, inputs))
        self.b = nn.Parameter(torch.randn(outputs, 2))

    def forward(self, x):
        return super().forward(x) + x @ self.a.T @ self.b.T


class LoraOfLayers(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.a, self.b = nn.Linear(inputs, 2, bias=False), nn.Linear(2, outputs, bias=False)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


class Standardized(nn.Conv2d):
    """Overrides what `forward` calls, and not `forward`."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Equalized(nn.Linear):
    """The weight is a property: `F.linear(x, self.weight)` is untouched."""

    @property
    def weight(self):
        return self.raw * 3

    @weight.setter
    def weight(self, value):
        self.raw = value

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)


class Named(nn.Linear):
    """A subclass that computes what its parent does."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.label = "fc"

    def extra_repr(self):
        return f"{self.label}, {super().extra_repr()}"


class Helped(nn.Linear):
    """A subclass with a method that its parent calls."""

    def twice(self, x):
        return 2 * self(x)


class CallsHelper(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = Helped(8, 4)

    def forward(self, x):
        return self.fc.twice(x)


class Doubled(nn.Linear):
    def __call__(self, x):
        return 2 * super().__call__(x)


class Reads(nn.Module):
    """Multiplies with the weight of a layer that it does not call."""

    def __init__(self, bias=True):
        super().__init__()
        self.fc = nn.Linear(8, 4, bias=bias)

    def forward(self, x):
        assert self.fc.in_features == x.shape[-1]
        return F.linear(x, self.fc.weight, self.fc.bias)


class Masks(Reads):
    def forward(self, x):
        return F.linear(x, self.fc.weight * (self.fc.weight > 0), self.fc.bias)


class AsksKind(nn.Module):
    """Calls of its layers those that are linear."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)])

    def forward(self, x):
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                x = layer(x)
        return x


class AsksByType(AsksKind):
    def forward(self, x):
        for layer in [layer for layer in self.layers if type(layer) is Dense]:
            x = layer(x)
        return x


class AsksAHelper(AsksKind):
    def is_linear(self, layer):
        return is_weighted(layer)

    def forward(self, x):
        for layer in filter(self.is_linear, self.layers):
            x = layer(x)
        return x


class AsksByName(AsksKind):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x) if type(layer).__name__ == "Linear" else x
        return x


class AsksBeforeItRuns(AsksKind):
    """Says in its `__init__` alone what its layers are: nothing is asked at a call."""

    def __init__(self):
        super().__init__()
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


Dense = nn.Linear
WEIGHTED = (nn.Linear, nn.Conv2d)


def is_weighted(layer):
    return isinstance(layer, WEIGHTED)


class Adapted(nn.Module):
    """Calls a part that hangs at a layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
        self.fc.adapter = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(x) + self.fc.adapter(x)


class TiedWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(8, 8), nn.Linear(8, 8, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(x @ self.embed.weight)


class Listed(nn.Module):
    """Calls its layers through a plain list as well."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.again = [self.fc]

    def forward(self, x):
        return self.again[0](self.fc(x).relu())


class Trains(nn.Module):
    """Does more while it is trained."""

    def __init__(self):
        super().__init__()
        self.fc, self.last = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = self.fc(x)
        return self.last(x * 5 if self.training else x.relu())


class Remembers(nn.Module):
    """A number from outside of the graph decides."""

    def __init__(self):
        super().__init__()
        self.fc, self.last = nn.Linear(8, 6), nn.Linear(6, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.last(self.fc(x).relu() if self.calls % 2 else self.fc(x))


class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return (self.fc(x),)


class Drops(nn.Module):
    """`F.dropout` without `training` drops in use, too."""

    def __init__(self):
        super().__init__()
        self.fc, self.last = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.last(F.dropout(self.fc(x), 0.5))


class Pools(nn.Module):
    """Sizes in the forms that the function takes."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(27, 4)

    def forward(self, x):
        return self.fc(F.max_pool2d(self.conv(x), [2, 2], stride=[]).flatten(1))


class Asks(nn.Module):
    """Asks for a layer's type and device, and for options that are mostly left out."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x, scale=None):
        y = self.fc(input=x.to(self.fc.weight.device, self.fc.weight.dtype))
        return y if scale is None else y * scale


class Half(nn.Identity):
    def forward(self, x):
        return x / 2


class Sampled(nn.Dropout):
    """Monte Carlo dropout, which goes on in use."""

    def forward(self, x):
        return F.dropout(x, 0.9, training=True)


class Clipped(nn.ReLU):
    def forward(self, x):
        return x.clamp(0, 0.2)


class Sign(nn.Module):
    """A parametrization."""

    def forward(self, w):
        return w.sign() * w.abs().mean()


def two(first=None, between=None, last=None):
    parts = [first or nn.Linear(8, 6), between or nn.ReLU(), last or nn.Linear(6, 4)]
    return nn.Sequential(*parts)


def image(*parts, last=108):
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(last, 4))


def changed(model, change):
    change(model)
    return model


def half(*_args):
    return _args[-1] * 0.1


def hooked(register, hook=half):
    return lambda: changed(two(), lambda m: getattr(m[0], register)(hook))


def stale(norm):
    """As after `load_state_dict`: the weight of the last forward is still there."""

    def make():
        layer = old(norm)(nn.Linear(8, 6))
        for name, p in layer.named_parameters():
            if name != "bias":
                p.data = torch.randn_like(p) * 3
        if norm is nn.utils.spectral_norm:
            layer.weight = layer.weight.detach()
        return two(layer)

    return make


def old(norm):
    def quietly(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return norm(layer)

    return quietly


def replaced_forward(model):
    layer = model[0]
    layer.forward = types.MethodType(lambda self, x: F.linear(x, self.weight, self.bias) * 3, layer)


def root_forward(model):
    model.forward = lambda x: nn.Sequential.forward(model, x) * 3


def masked(layer):
    return prune.l1_unstructured(layer, "weight", 0.5)


def as_buffer(model):
    weight = model[0].weight.detach()
    del model[0].weight
    model[0].register_buffer("weight", weight)


def tie(model):
    model[2].weight = model[0].weight


def used_twice():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer)


def uninitialized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 4))


def transformer(**options):
    return lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.attention(x, x, x)[0])


class Decodes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x, x)


def strided():
    layer = nn.Linear(8, 6)
    layer.weight = nn.Parameter(torch.randn(8, 6).t())
    return layer


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.fc = kind(8, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.bilinear, self.fc = nn.Bilinear(8, 8, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.bilinear(x, x))


ROWS, WORDS, IMAGES = (6, 8), (4, 5, 8), (5, 1, 8, 8)


class Gained(nn.Linear):
    scale = 0.3
    gain = 0.2


class AsksItsLayer(nn.Module):
    """Reads what its layer says of itself, though the layer does not."""

    def __init__(self, name, **said):
        super().__init__()
        self.layer, self.name = Gained(8, 4) if not said else nn.Linear(8, 4), name
        for own, value in said.items():
            setattr(self.layer, own, value)

    def forward(self, x):
        return self.layer(x) * getattr(self.layer, self.name)


MODELS = {
    # name: (model, shape of its input)
    "plain": (two, ROWS),
    "scaled": (lambda: two(Scaled(8, 6)), ROWS),
    "lora": (lambda: two(Lora(8, 6)), ROWS),
    "lora of layers": (lambda: two(LoraOfLayers(8, 6)), ROWS),
    "standardized": (lambda: image(Standardized(1, 3, 3)), IMAGES),
    "equalized": (lambda: two(Equalized(8, 6)), ROWS),
    "named": (lambda: two(Named(8, 6)), ROWS),
    "helper": (CallsHelper, ROWS),
    "call": (lambda: two(Doubled(8, 6)), ROWS),
    "replaced forward": (lambda: changed(two(), replaced_forward), ROWS),
    "replaced forward of all": (lambda: changed(two(), root_forward), ROWS),
    "reads": (Reads, ROWS),
    "reads without bias": (lambda: Reads(bias=False), ROWS),
    "reads and masks": (Masks, ROWS),
    "asks for a kind": (AsksKind, ROWS),
    "asks by type": (AsksByType, ROWS),
    "asks a helper": (AsksAHelper, ROWS),
    "asks by name": (AsksByName, ROWS),
    "asks before it runs": (AsksBeforeItRuns, ROWS),
    "adapter": (Adapted, ROWS),
    "words tied": (TiedWords, ROWS),
    "listed": (Listed, ROWS),
    "tied": (lambda: changed(two(nn.Linear(8, 8), None, nn.Linear(8, 8)), tie), ROWS),
    "used twice": (used_twice, ROWS),
    "trains": (Trains, ROWS),
    "remembers": (Remembers, ROWS),
    "tuple": (Tuple, ROWS),
    "drops in use": (Drops, ROWS),
    "identity of its own": (lambda: two(between=Half()), ROWS),
    "dropout of its own": (lambda: two(between=Sampled()), ROWS),
    "relu of its own": (lambda: two(between=Clipped()), ROWS),
    "hook": (hooked("register_forward_hook"), ROWS),
    "hook before": (hooked("register_forward_pre_hook", lambda m, args: (args[0] * 3,)), ROWS),
    "hook with kwargs": (
        lambda: changed(
            two(),
            lambda m: m[0].register_forward_hook(
                lambda m, args, kwargs, y: y * 0.1, with_kwargs=True
            ),
        ),
        ROWS,
    ),
    "hook backward": (hooked("register_full_backward_hook", lambda *_: None), ROWS),
    "hook of relu": (
        lambda: changed(two(), lambda m: m[1].register_forward_hook(half)),
        ROWS,
    ),
    "hook of all": (lambda: changed(two(), lambda m: m.register_forward_hook(half)), ROWS),
    "pruned by torch": (lambda: two(masked(nn.Linear(8, 6))), ROWS),
    "last pruned by torch": (lambda: two(None, None, masked(nn.Linear(6, 4))), ROWS),
    "pruned twice by torch": (
        lambda: two(prune.ln_structured(masked(nn.Linear(8, 6)), "weight", 0.5, n=2, dim=0)),
        ROWS,
    ),
    "bias pruned by torch": (
        lambda: two(prune.random_unstructured(nn.Linear(8, 6), "bias", 0.5)),
        ROWS,
    ),
    "convolution pruned by torch": (lambda: image(masked(nn.Conv2d(1, 3, 3))), IMAGES),
    "weight norm": (lambda: two(parametrizations.weight_norm(nn.Linear(8, 6))), ROWS),
    "weight norm, old": (lambda: two(old(nn.utils.weight_norm)(nn.Linear(8, 6))), ROWS),
    "weight norm, stale": (stale(nn.utils.weight_norm), ROWS),
    "spectral norm": (lambda: two(parametrizations.spectral_norm(nn.Linear(8, 6))), ROWS),
    "spectral norm, old": (lambda: two(old(nn.utils.spectral_norm)(nn.Linear(8, 6))), ROWS),
    "spectral norm, stale": (stale(nn.utils.spectral_norm), ROWS),
    "orthogonal": (lambda: two(parametrizations.orthogonal(nn.Linear(8, 6))), ROWS),
    "parametrized": (
        lambda: changed(
            two(), lambda m: parametrize.register_parametrization(m[0], "weight", Sign())
        ),
        ROWS,
    ),
    "parametrized bias": (
        lambda: changed(
            two(), lambda m: parametrize.register_parametrization(m[2], "bias", nn.Tanh())
        ),
        ROWS,
    ),
    "weight as buffer": (lambda: changed(two(), as_buffer), ROWS),
    "uninitialized": (uninitialized, ROWS),
    "transformer": (transformer(), WORDS),
    "transformer, norm first": (transformer(norm_first=True, activation="gelu"), WORDS),
    "transformer without bias": (transformer(bias=False), WORDS),
    "encoder": (lambda: nn.TransformerEncoder(transformer()(), 2), WORDS),
    "attention": (Attends, WORDS),
    "lstm": (lambda: Recurrent(nn.LSTM), WORDS),
    "gru": (lambda: Recurrent(nn.GRU), WORDS),
    "bilinear": (Pairs, ROWS),
    "convolution, 1-D": (lambda: nn.Sequential(nn.Conv1d(5, 3, 3), nn.Linear(6, 4)), WORDS),
    "convolution, 3-D": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2, 2, 2)), nn.Conv3d(1, 4, 2), nn.Flatten(), nn.Linear(4, 4)
        ),
        ROWS,
    ),
    "transposed": (lambda: image(nn.ConvTranspose2d(1, 2, 3), last=200), IMAGES),
    "dilated": (lambda: image(nn.Conv2d(1, 3, 3, dilation=2), last=48), IMAGES),
    "padded by a word": (lambda: image(nn.Conv2d(1, 3, 3, padding="same"), last=192), IMAGES),
    "valid": (lambda: image(nn.Conv2d(1, 3, 3, padding="valid")), IMAGES),
    "reflected": (
        lambda: image(nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect"), last=192),
        IMAGES,
    ),
    "lists": (
        lambda: image(
            nn.Conv2d(1, 3, [3, 3], stride=[1, 1], padding=[1, 0], dilation=[1, 1]),
            nn.MaxPool2d([2, 2], stride=[2, 1], padding=[0, 0], dilation=[1, 1]),
            last=60,
        ),
        IMAGES,
    ),
    "a pool of one number": (
        lambda: image(nn.Conv2d(1, 3, 3), nn.MaxPool2d((2,)), last=27),
        IMAGES,
    ),
    "sizes": (
        lambda: image(
            nn.Conv2d(1, 3, torch.Size([3, 3]), padding=torch.Size([0, 0])),
            nn.MaxPool2d(torch.Size([2, 2])),
            last=27,
        ),
        IMAGES,
    ),
    "functional lists": (Pools, IMAGES),
    "asks": (Asks, ROWS),
    "asks for a gain": (lambda: AsksItsLayer("gain", gain=0.1), ROWS),
    "asks for a private gain": (lambda: AsksItsLayer("_gain", _gain=0.1), ROWS),
    "asks for a scale": (lambda: AsksItsLayer("scale", scale=0.1), ROWS),
    "asks the class for a gain": (lambda: AsksItsLayer("gain"), ROWS),
    "asks the class for a scale": (lambda: AsksItsLayer("scale"), ROWS),
    "decoder": (lambda: Decodes(), WORDS),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(two()), ROWS),
    "parallel": (lambda: nn.DataParallel(two()), ROWS),
    "traced by fx": (lambda: torch.fx.symbolic_trace(two()), ROWS),
    "channels last": (
        lambda: image(nn.Conv2d(1, 3, 3)).to(memory_format=torch.channels_last),
        IMAGES,
    ),
    "strided": (lambda: two(strided()), ROWS),
    "ceiling": (lambda: image(nn.MaxPool2d(3, ceil_mode=True), last=9), IMAGES),
    "compiled": (lambda: torch.compile(two(), backend="eager"), ROWS),
    "script": (lambda: torch.jit.script(two()), ROWS),
    "batch norm": (lambda: image(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), IMAGES),
    "hook of norm": (
        lambda: changed(
            image(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)),
            lambda m: m[1].register_forward_hook(half),
        ),
        IMAGES,
    ),
}
