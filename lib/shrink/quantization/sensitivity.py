"""How much a network suffers when one layer alone is rounded: from its answers, or its weights."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrink.arguments import whole_number, whole_seed
from shrink.modes import in_use
from shrink.pruning.examples import check_examples, parameters_of
from shrink.quantization.arguments import check_floats

Option = Hashable
Rounding = Callable[[Tensor], Tensor]  # of a layer's input
Variant = Tensor | tuple[Tensor, Rounding | None]
Variants = Mapping[str, Mapping[Option, Variant]]
Sensitivities = dict[str, dict[Option, float]]


def kl_divergence(logits: Tensor, of: Tensor) -> Tensor:
    """How far answers are from others, for each image: KL(p ‖ q) = Σ p log(p / q), in nats.

    Args:
        logits: (n, classes) of the network that was changed: q is their softmax.
        of: (n, classes) of the network as it was: p is their softmax.

    Returns:
        (n,), from 0, which it is for the same answers.

    Source: Kullback and Leibler 1951, "On Information and Sufficiency".

    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    >>> kl_divergence(q.log(), p.log())  # (log 2 + log 2/3) / 2
    tensor([0.1438])
    """
    log_q, log_p = logits.log_softmax(1), of.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


@torch.no_grad()
def answer_sensitivity(
    model: nn.Module, images: Tensor, variants: Variants, batch_size: int = 500
) -> Sensitivities:
    """The mean KL divergence of the answers when one weight at a time stands in another form.

    Args:
        model: gives logits (n, classes); called in `eval` mode, and left as it was.
        images: (n, ...), a few hundred that the model did not learn from: validation images, for
            an allocation is chosen by them. No labels are needed.
        variants: the name of a weight, such as "fc1.weight" → option → the rounded weight, of its
            shape; or a pair of it and of what rounds the input of its layer.
        batch_size: of the images.

    Returns:
        name → option → nats.

    Source: Cai et al. 2020, "ZeroQ", section 3.2, equation 5.

    Raises:
        ValueError: a name is no parameter of the model, a shape is another, or there is no image.
        TypeError: the images are not floating point, the model is no module, or batch_size is not
            whole.

    >>> net, x = nn.Linear(2, 2, bias=False), torch.eye(2)
    >>> w = net.weight.detach().clone()
    >>> found = answer_sensitivity(net, x, {"weight": {"as it is": w, "turned": -w}})
    >>> found["weight"]["as it is"], found["weight"]["turned"] > 0
    (0.0, True)
    """
    named = parameters_of(model)
    check_floats(images, "images")
    if images.dim() == 0 or len(images) == 0:
        raise ValueError("there must be images to answer, got none")
    batches = images.split(whole_number("batch_size", batch_size, 1))
    forms = {name: {o: _pair(v) for o, v in options.items()} for name, options in variants.items()}
    for name, options in forms.items():
        for option, (weight, _) in options.items():
            _check(name, named, option, weight)
    with in_use(model):
        as_it_was = [model(x) for x in batches]

        def cost(name: str, weight: Tensor, rounding: Rounding | None) -> float:
            with _rounded_input(model, name, rounding):
                answers = [functional_call(model, {name: weight}, x) for x in batches]
            each = map(kl_divergence, answers, as_it_was)
            return float(torch.cat([*each]).double().mean())

        return {
            name: {option: cost(name, *form) for option, form in options.items()}
            for name, options in forms.items()
        }


def weight_sensitivity(
    model: nn.Module,
    variants: Mapping[str, Mapping[Option, Tensor]],
    curvature: Mapping[str, float] | None = None,
) -> Sensitivities:
    """The squared error of each weight's forms, ‖ŵ - w‖²; no image is needed.

    Args:
        model: left as it was.
        variants: as for `answer_sensitivity`, weights alone.
        curvature: what each name's error is multiplied by, such as the mean second derivative of
            the loss, `hessian_trace` over the number of weights.

    Source: Dong et al. 2020, "HAWQ-V2", section 3.1: the mean eigenvalue of the Hessian times the
        squared error.

    Raises:
        ValueError: a name is no parameter, a shape is another, or a name has no curvature.

    >>> net = nn.Linear(2, 1)
    >>> _ = nn.init.zeros_(net.weight)
    >>> weight_sensitivity(net, {"weight": {"1 up": net.weight + 1}}, {"weight": 0.5})
    {'weight': {'1 up': 1.0}}
    """
    named = parameters_of(model)
    found: Sensitivities = {}
    for name, options in variants.items():
        if curvature is not None and name not in curvature:
            raise ValueError(f"{name} has no curvature; there are {', '.join(curvature)}")
        factor = 1.0 if curvature is None else float(curvature[name])
        found[name] = {}
        for option, weight in options.items():
            _check(name, named, option, weight)
            error = weight.detach().double() - named[name].double()
            found[name][option] = factor * float(error.square().sum())
    return found


def hessian_trace(
    model: nn.Module, images: Tensor, labels: Tensor, probes: int = 16, seed: int = 0
) -> dict[str, float]:
    """The sum of each weight's second derivatives of the mean cross entropy, estimated.

    For v of -1 and 1 by chance, vᵀHv has the trace as its mean: of all Hᵢⱼvᵢvⱼ those of i = j stay.
    A product Hv takes a pass forth and back, whatever the number of weights.

    Args:
        model: gives logits (n, classes); called in `eval` mode, and left as it was.
        images: (n, ...) floating point.
        labels: (n,) whole numbers from 0 to classes - 1.
        probes: how many v; the error falls with the root of their number.
        seed: of the v.

    Returns:
        name → trace, of every parameter of two axes or more.

    Source: Hutchinson 1990, "A Stochastic Estimator of the Trace of the Influence Matrix"; Dong et
        al. 2020, "HAWQ-V2", section 3.2.

    Raises:
        TypeError, ValueError: model, images or labels are not as above (see
            `pruning.examples.check_examples`), the model has no such parameter, or probes is not a
            whole number from 1.
    """
    probes = whole_number("probes", probes, 1)
    generator = torch.Generator().manual_seed(whole_seed(seed))
    weights = {name: p for name, p in parameters_of(model).items() if p.dim() > 1}
    check_examples(model, images, labels)
    if not weights:
        raise ValueError("the model has no parameter of two axes or more")
    weights = {name: p.clone().requires_grad_() for name, p in weights.items()}
    with in_use(model), torch.enable_grad():
        loss = F.cross_entropy(functional_call(model, weights, images), labels)
        gradients = torch.autograd.grad(
            loss, [*weights.values()], create_graph=True, materialize_grads=True
        )
        traces = dict.fromkeys(weights, 0.0)
        for _ in range(probes):
            drawn = [torch.randint(0, 2, p.shape, generator=generator) for p in weights.values()]
            v = [2 * each.to(g) - 1 for each, g in zip(drawn, gradients, strict=True)]
            products = torch.autograd.grad(
                gradients, [*weights.values()], v, retain_graph=True, materialize_grads=True
            )
            # what the other layers add has the mean 0, as the rest of this layer's own has
            for name, each, product in zip(weights, v, products, strict=True):
                traces[name] += float((each * product).double().sum()) / probes
    return traces


def _pair(variant: Variant) -> tuple[Tensor, Rounding | None]:
    return variant if isinstance(variant, tuple) else (variant, None)


def _check(name: str, named: Mapping[str, Tensor], option: Option, weight: Tensor) -> None:
    if name not in named:
        raise ValueError(f"the model has no parameter {name!r}; it has {', '.join(named)}")
    check_floats(weight, f"{name} at {option!r}")
    if weight.shape != named[name].shape:
        shapes = f"{tuple(weight.shape)}, and not {tuple(named[name].shape)}"
        raise ValueError(f"{name} at {option!r} has the shape {shapes}")


@contextmanager
def _rounded_input(model: nn.Module, name: str, rounding: Rounding | None) -> Iterator[None]:
    """Inside, what goes into the layer of this weight is rounded."""
    if rounding is None:
        yield
        return
    layer = model.get_submodule(name.rpartition(".")[0])
    handle = layer.register_forward_pre_hook(lambda _, given: (rounding(given[0]), *given[1:]))
    try:
        yield
    finally:
        handle.remove()
