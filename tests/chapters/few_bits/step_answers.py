"""Answers to exercises 1 to 3 of chapter 10: straight through, LSQ's step, two and three values."""

import math

import numpy as np
import torch

from shrink.chapters.few_bits.few_values import signs_and_scale
from shrink.chapters.few_bits.step_gradient import learned_step_gradient
from shrink.chapters.few_bits.straight_through import fake_quantize_ste
from tests.chapters.wrong import CHANGED, changed

right_ste = fake_quantize_ste.reference
right_step = learned_step_gradient.reference
right_signs = signs_and_scale.reference


def _quantized(x, scale, zero_point, q_min, q_max):
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return scale * (q - zero_point)


def _ends(scale, zero_point, q_min, q_max):
    return scale * (q_min - zero_point), scale * (q_max - zero_point)


# --- right answers -------------------------------------------------------------------------


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *of):
        low, high = _ends(*of)
        ctx.save_for_backward((low <= x) & (x <= high))
        return _quantized(x, *of)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None, None, None


def by_a_function(x, *of):
    return _Masked.apply(x, *of)


def by_torch(x, *of):
    """Its mask is on the rounded integer."""
    return torch.fake_quantize_per_tensor_affine(x, *of)


def by_a_mask(x, *of):
    low, high = _ends(*of)
    y = _quantized(x, *of)
    return torch.where((x > low) & (x < high), x + (y - x).detach(), y.detach())


def by_clamp_then_round(x, scale, zero_point, q_min, q_max):
    """Everything in steps; halves after the zero point, and to the other side."""
    steps = (x / scale + zero_point).clamp(q_min, q_max)
    return scale * (steps + ((steps + 0.5).floor() - steps).detach() - zero_point)


def by_a_hook(x, *of):
    low, high = _ends(*of)
    moved = x * 1
    if moved.requires_grad:
        moved.register_hook(lambda gradient: gradient * ((x >= low) & (x <= high)))
    return moved + (_quantized(x, *of) - x).detach()


def by_relu(x, scale, zero_point, q_min, q_max):
    """A clamp of two hinges, and a mask that is multiplied with."""
    low, high = _ends(scale, zero_point, q_min, q_max)
    inside = low + torch.relu(x - low) - torch.relu(x - high)
    y = torch.tensor(np.rint(x.detach().cpu().numpy() / scale)).to(x) + zero_point
    return inside - inside.detach() + scale * (y.clip(q_min, q_max) - zero_point)


def by_the_surrogate(gradient, x, step, q_min, q_max):
    """As LSQ's authors write it: round straight through, and let autograd do the rest."""
    with torch.enable_grad():
        s = step.detach().clone().requires_grad_()
        v = (x / s).clamp(q_min, q_max)
        y = (v + (v.round() - v).detach()) * s
        (found,) = torch.autograd.grad(y, s, gradient)
    return found / math.sqrt(x.numel() / s.numel() * q_max)


def by_scaled_gradient(gradient, x, step, q_min, q_max):
    with torch.enable_grad():
        s = step.detach().clone().requires_grad_()
        g = (x[0].numel() * q_max if s.dim() else x.numel() * q_max) ** -0.5
        scaled = s * g + (s - s * g).detach()
        v = (x / scaled).clip(q_min, q_max)
        ((v + (v.round() - v).detach()) * scaled).backward(gradient)
    return s.grad


def by_torchs_learnable(gradient, x, step, q_min, q_max):
    """Its mask is on the rounded integer; a step for each channel of the first axis."""
    s = step.detach().flatten().float().clone().requires_grad_()
    zero = torch.zeros_like(s)
    factor = 1 / math.sqrt(x.numel() / s.numel() * q_max)
    if step.dim():
        fake = torch._fake_quantize_learnable_per_channel_affine
        y = fake(x.float(), s, zero, 0, q_min, q_max, factor)
    else:
        fake = torch._fake_quantize_learnable_per_tensor_affine
        y = fake(x.float(), s, zero, q_min, q_max, factor)
    return torch.autograd.grad(y, s, gradient.float())[0].view(step.shape).to(step.dtype)


def by_a_loop(gradient, x, step, q_min, q_max):
    found, counts = torch.zeros_like(step), torch.zeros_like(step)
    each = zip(gradient.flatten(), x.flatten(), step.expand(x.shape).flatten(), strict=True)
    rows = [i // (x.numel() // step.numel()) for i in range(x.numel())]
    for row, (g, number, s) in zip(rows, each, strict=True):
        ratio = float(number / s)
        q = min(max(round(ratio), q_min), q_max)
        clipped = not q_min < ratio < q_max
        found.view(-1)[row] += float(g) * (q if clipped else q - ratio)
        counts.view(-1)[row] += 1
    return found / (counts * q_max).sqrt()


def by_three_masks(gradient, x, step, q_min, q_max):
    ratio = x / step
    above, below = (ratio > q_max).to(x.dtype), (ratio < q_min).to(x.dtype)
    terms = above * q_max + below * q_min + (1 - above - below) * (ratio.round() - ratio)
    terms = terms * gradient
    if not step.dim():
        return terms.sum() / (x.numel() * q_max) ** 0.5
    sums = terms.flatten(1).sum(1)
    return (sums / math.sqrt(x.numel() // len(x) * q_max)).reshape(step.shape)


def by_copysign(weight, ternary):
    """The sign of -0.0 is -1, and that of 0.0 is 1."""
    axes = tuple(range(1, weight.dim()))
    sizes = weight.abs()
    if not ternary:
        return torch.ones_like(weight).copysign(weight), sizes.mean(axes, keepdim=True)
    kept = sizes >= 0.7 * sizes.mean(axes, keepdim=True)  # at the threshold it stays
    kept &= weight != 0
    total = (sizes * kept).sum(axes, keepdim=True)
    count = kept.sum(axes, keepdim=True)
    return weight.sign() * kept, torch.where(count > 0, total / count, 0)


def in_numpy(weight, ternary):
    w = weight.detach().cpu().numpy()
    rows = w.reshape(len(w), -1)
    t = np.where(rows > 0, 1, -1)  # 0 becomes -1
    if ternary:
        t[np.abs(rows) <= 0.7 * np.abs(rows).mean(1, keepdims=True)] = 0
    scale = [abs(r[s != 0]).mean() if s.any() else 0.0 for r, s in zip(rows, t, strict=True)]
    shape = (-1, *[1] * (w.ndim - 1))
    signs = torch.from_numpy(t.astype(np.int8).reshape(w.shape)).to(weight.device)
    return signs, torch.tensor(scale).to(weight).reshape(shape)


def by_least_squares(weight, ternary):
    weight = weight.detach()
    signs, scales = torch.zeros_like(weight), []
    for row, into in zip(weight, signs, strict=True):
        size = row.abs()
        into[...] = (row >= 0).to(row) - (row < 0).to(row)
        if ternary:
            into[size <= 0.7 * size.mean()] = 0
        scales.append((row * into).sum() / max((into * into).sum(), 1))
    return [signs, torch.stack(scales)[(..., *[None] * (weight.dim() - 1))]]


def by_nanmean(weight, ternary):
    rows = weight.flatten(1)
    sizes = rows.abs()
    if ternary:
        sizes = sizes.where(sizes > 0.7 * sizes.mean(1, keepdim=True), torch.nan)
    signs = torch.where(sizes.isnan(), 0, (rows > 0) * 2 - 1).reshape(weight.shape)
    scale = sizes.nanmean(1).nan_to_num(0)
    return signs, scale.reshape(-1, *[1] * (weight.dim() - 1))


RIGHT = {
    "fake_quantize_ste": [
        by_a_function,
        by_torch,
        by_a_mask,
        by_clamp_then_round,
        by_a_hook,
        by_relu,
    ],
    "learned_step_gradient": [
        by_the_surrogate,
        by_scaled_gradient,
        by_torchs_learnable,
        by_a_loop,
        by_three_masks,
    ],
    "signs_and_scale": [by_copysign, in_numpy, by_least_squares, by_nanmean],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _straight(x, y):
    return x + (y - x).detach()


def _no_estimator(x, *of):
    """Autograd's own derivative."""
    return _quantized(x, *of)


def _detached(x, *of):
    return _quantized(x, *of).detach()


def _through_numpy(x, scale, zero_point, q_min, q_max):
    q = np.clip(np.rint(x.detach().numpy() / scale) + zero_point, q_min, q_max)
    return torch.from_numpy(scale * (q - zero_point)).to(x.dtype)


def _identity(x, *of):
    return _straight(x, _quantized(x, *of))


def _clamped_above(x, *of):
    return _straight(x.clamp(max=_ends(*of)[1]), _quantized(x, *of))


def _on_q(x, scale, zero_point, q_min, q_max):
    """The estimator stands around the integers, and the scale comes after."""
    low, high = _ends(scale, zero_point, q_min, q_max)
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return scale * (_straight(x.clamp(low, high), q) - zero_point)


class _MaskAlone(_Masked):
    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0].to(gradient), None, None, None, None


def _mask_alone(x, *of):
    return _MaskAlone.apply(x, *of)


def _clamped_first(x, scale, zero_point, q_min, q_max):
    clamped = x.clamp(q_min, q_max)
    return _straight(clamped, scale * (((clamped / scale).round() + zero_point) - zero_point))


def _symmetric(x, scale, zero_point, q_min, q_max):
    steps = (x / scale).clamp(q_min, q_max)
    return _straight(steps, steps.round()) * scale


def _shifted_after_the_scale(x, scale, zero_point, q_min, q_max):
    low, high = _ends(scale, zero_point, q_min, q_max)
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return _straight(x.clamp(low, high), q * scale - zero_point)


def _by_int(x, scale, zero_point, q_min, q_max):
    q = ((x / scale).int() + zero_point).clamp(q_min, q_max)
    low, high = _ends(scale, zero_point, q_min, q_max)
    return _straight(x.clamp(low, high), scale * (q - zero_point))


def _staircase(gradient, x, step, q_min, q_max):
    """What autograd finds, for which round is flat."""
    with torch.enable_grad():
        s = step.detach().clone().requires_grad_()
        y = (x / s).round().clamp(q_min, q_max) * s
        (found,) = torch.autograd.grad(y, s, gradient)
    return found / math.sqrt(x.numel() / s.numel() * q_max)


def _sum_by_autograd(gradient, x, step, q_min, q_max):
    """As by_the_surrogate, without the factor."""
    return by_the_surrogate(gradient, x, step, q_min, q_max) * math.sqrt(
        x.numel() / step.numel() * q_max
    )


def _lsq_net(gradient, x, step, q_min, q_max):
    """Its factor is 1 / √(x.numel() · q_max) in both branches."""
    return right_step(gradient, x, step, q_min, q_max) / math.sqrt(step.numel())


def _without_the_clamp(gradient, x, step, q_min, q_max):
    """A clamp of the integers alone, and round straight through before it."""
    ratio = x / step
    terms = ratio.round().clamp(q_min, q_max) - ratio
    return (gradient * terms).sum_to_size(step.shape) / (x.numel() / step.numel() * q_max) ** 0.5


def _mask_as_for_x(gradient, x, step, q_min, q_max):
    """The gradient is set to 0 outside, as x's own is."""
    ratio = x / step
    inside = (ratio > q_min) & (ratio < q_max)
    gradient = gradient.masked_fill(~inside, 0)
    return right_step(gradient, x, step, q_min, q_max)


def _by_sign(weight, ternary):
    """torch.sign, whatever the bits are."""
    signs, scale = right_signs(weight, ternary)
    return (signs if ternary else weight.sign()), scale


def _over_all_axes(weight, ternary):
    """One mean magnitude, expanded to the channels."""
    signs, scale = right_signs(weight, ternary)
    one = weight.abs()[signs != 0].mean() if (signs != 0).any() else weight.abs().sum()
    return signs, one.expand(scale.shape)


def _by_amax(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    axes = tuple(range(1, weight.dim()))
    return signs, weight.detach().abs().amax(axes).view(scale.shape)


def _mean_of_the_masked(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    return signs, (weight * signs).flatten(1).mean(1).view(scale.shape)


def _threshold_of_the_layer(weight, ternary):
    """TWN as its authors have it: one threshold for a layer."""
    signs, scale = right_signs(weight, ternary)
    if not ternary:
        return signs, scale
    signs = weight.sign() * (weight.abs() > 0.7 * weight.abs().mean())
    total = (weight * signs).flatten(1).sum(1)
    return signs, (total / signs.abs().flatten(1).sum(1).clamp(min=1)).view(scale.shape)


DISGUISED = [
    ("fake_quantize_ste", "no gradient", _no_estimator),
    ("fake_quantize_ste", "no gradient", _detached),
    ("fake_quantize_ste", "no gradient", _through_numpy),
    ("fake_quantize_ste", "passes outside", _identity),
    ("fake_quantize_ste", "one side", _clamped_above),
    ("fake_quantize_ste", "times the scale", _on_q),
    ("fake_quantize_ste", "gradient dropped", _mask_alone),
    ("fake_quantize_ste", "clamped first", _clamped_first),
    ("fake_quantize_ste", "no zero point", _symmetric),
    ("fake_quantize_ste", "zero lost", _shifted_after_the_scale),
    ("fake_quantize_ste", "truncated", _by_int),
    ("learned_step_gradient", "q alone", _staircase),
    ("learned_step_gradient", "no factor", _sum_by_autograd),
    ("learned_step_gradient", "all numbers counted", _lsq_net),
    ("learned_step_gradient", "not clipped", _without_the_clamp),
    ("learned_step_gradient", "clipped ones left out", _mask_as_for_x),
    ("signs_and_scale", "no sign for 0", _by_sign),
    ("signs_and_scale", "one scale", _over_all_axes),
    ("signs_and_scale", "maximum", _by_amax),
    ("signs_and_scale", "zeros averaged", _mean_of_the_masked),
    ("signs_and_scale", "one threshold", _threshold_of_the_layer),
]
RAISING = {}

# --- wrong otherwise -----------------------------------------------------------------------


def _integers(x, scale, zero_point, q_min, q_max):
    """Not brought back."""
    return _straight(x, ((x / scale).round() + zero_point).clamp(q_min, q_max))


def _up_to_one(x, *of):
    """Clipped at ±1, as for signs."""
    return _straight(x.clamp(-1, 1), _quantized(x, *of))


def _one_step_early(x, scale, *of):
    low, high = _ends(scale, *of)
    return _straight(x.clamp(low + scale, high - scale), _quantized(x, scale, *of))


def _one_step_late(x, scale, *of):
    low, high = _ends(scale, *of)
    return _straight(x.clamp(low - scale, high + scale), _quantized(x, scale, *of))


def _mask_negated(x, *of):
    return _quantized(x, *of).detach() + x - x.detach() - (_identity_inside(x, *of))


def _identity_inside(x, *of):
    inside = x.clamp(*_ends(*of))
    return inside - inside.detach()


def _mask_of_both_or(x, *of):
    """`or` where `and` belongs: true everywhere."""
    low, high = _ends(*of)
    return torch.where((x >= low) | (x <= high), _straight(x, _quantized(x, *of)), 0)


def _never_clamped(x, scale, zero_point, q_min, q_max):
    return _straight(x, (x / scale).round() * scale)


def _clamped_without_zero_point(x, scale, zero_point, q_min, q_max):
    """Clamps the steps, and adds and subtracts the zero point for nothing."""
    q = (x / scale).round().clamp(q_min, q_max) + zero_point
    return _straight(x.clamp(*_ends(scale, 0, q_min, q_max)), scale * (q - zero_point))


def _floored(x, scale, zero_point, q_min, q_max):
    q = ((x / scale).floor() + zero_point).clamp(q_min, q_max)
    return _straight(x.clamp(*_ends(scale, zero_point, q_min, q_max)), scale * (q - zero_point))


def _zero_point_subtracted(x, scale, zero_point, q_min, q_max):
    q = ((x / scale).round() - zero_point).clamp(q_min, q_max)
    return _straight(x.clamp(*_ends(scale, -zero_point, q_min, q_max)), scale * (q + zero_point))


def _multiplied(x, scale, *of):
    return right_ste(x, 1 / scale, *of)


def _truncated_and_passing(x, scale, zero_point, q_min, q_max):
    q = ((x / scale).trunc() + zero_point).clamp(q_min, q_max)
    return _straight(x, scale * (q - zero_point))


class _OneGradient(_Masked):
    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


def _too_few_gradients(x, *of):
    return _OneGradient.apply(x, *of)


class _NoGradient(_Masked):
    @staticmethod
    def backward(ctx, gradient):
        return None, None, None, None, None


def _none_from_backward(x, *of):
    return _NoGradient.apply(x, *of)


def _new_leaf(x, *of):
    """Wraps the result in a tensor that takes a gradient of its own."""
    return torch.tensor(_quantized(x, *of).tolist(), requires_grad=True).to(x)


def _in_place(x, *of):
    with torch.no_grad():
        return x.copy_(_quantized(x, *of))


def _with_its_mask(x, *of):
    low, high = _ends(*of)
    return right_ste(x, *of), (x >= low) & (x <= high)


def _nan_gradient(x, *of):
    return right_ste(x, *of) + 0 * (x * 0).sqrt()


def _one_for_all(gradient, x, step, q_min, q_max):
    return right_step(gradient, x, step, q_min, q_max).sum()


def _negative(gradient, x, step, q_min, q_max):
    return -right_step(gradient, x, step, q_min, q_max)


def _error_in_x(gradient, x, step, q_min, q_max):
    """The rounding error as a number, and not in steps."""
    q = (x / step).round().clamp(q_min, q_max)
    inside = (x >= q_min * step) & (x <= q_max * step)
    terms = gradient * torch.where(inside, q * step - x, q * step)
    return terms.sum_to_size(step.shape) / (x.numel() / step.numel() * q_max) ** 0.5


def _mean_of_the_terms(gradient, x, step, q_min, q_max):
    count = x.numel() / step.numel()
    return right_step(gradient, x, step, q_min, q_max) * (q_max / count) ** 0.5


def _without_the_root(gradient, x, step, q_min, q_max):
    count = x.numel() / step.numel() * q_max
    return right_step(gradient, x, step, q_min, q_max) / count**0.5


def _root_multiplied(gradient, x, step, q_min, q_max):
    count = x.numel() / step.numel() * q_max
    return right_step(gradient, x, step, q_min, q_max) * count


def _root_of_n_alone(gradient, x, step, q_min, q_max):
    return right_step(gradient, x, step, q_min, q_max) * q_max**0.5


def _lower_end_as_upper(gradient, x, step, q_min, q_max):
    """-q_max below."""
    ratio = x / step
    terms = ratio.round().clamp(q_min, q_max) - ratio
    terms = torch.where(ratio > q_max, q_max, torch.where(ratio < q_min, -q_max, terms))
    return (gradient * terms).sum_to_size(step.shape) / (x.numel() / step.numel() * q_max) ** 0.5


def _upper_end_only(gradient, x, step, q_min, q_max):
    ratio = x / step
    terms = torch.where(ratio > q_max, q_max, ratio.round() - ratio)
    return (gradient * terms).sum_to_size(step.shape) / (x.numel() / step.numel() * q_max) ** 0.5


def _ones_outside(gradient, x, step, q_min, q_max):
    """The ends, counted as 1."""
    ratio = x / step
    terms = ratio.round() - ratio
    terms = torch.where(ratio > q_max, 1, torch.where(ratio < q_min, -1, terms))
    return (gradient * terms).sum_to_size(step.shape) / (x.numel() / step.numel() * q_max) ** 0.5


def _gradient_of_x(gradient, x, step, q_min, q_max):
    return gradient * ((x >= q_min * step) & (x <= q_max * step))


def _sign_and_no_factor(gradient, x, step, q_min, q_max):
    ratio = x / step
    q = ratio.round().clamp(q_min, q_max)
    inside = (ratio >= q_min) & (ratio <= q_max)
    return (gradient * torch.where(inside, ratio - q, q)).sum_to_size(step.shape)


def _through_item(gradient, x, step, q_min, q_max):
    return right_step(gradient, x, step, q_min, q_max).sum().item()


def _binary_always(weight, ternary):
    return right_signs(weight, False)


def _ternary_always(weight, ternary):
    return right_signs(weight, True)


def _exchanged(weight, ternary):
    return right_signs(weight, not ternary)


def _columns(weight, ternary):
    """A scale for each input."""
    signs, _ = right_signs(weight, ternary)
    total = (weight * signs).sum(0, keepdim=True)
    return signs, total / signs.abs().sum(0, keepdim=True).clamp(min=1)


def _flat_scale(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    return signs, scale.flatten()


def _one_number(weight, ternary):
    signs, _ = right_signs(weight, ternary)
    return signs, weight.abs().mean()


def _nan_for_none(weight, ternary):
    signs, _ = right_signs(weight, ternary)
    axes = tuple(range(1, weight.dim()))
    total = (weight * signs).sum(axes, keepdim=True)
    return signs, total / (signs != 0).sum(axes, keepdim=True)


def _root_mean_square(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    kept = signs.abs().flatten(1)
    power = (weight.flatten(1) ** 2 * kept).sum(1) / kept.sum(1).clamp(min=1)
    return signs, power.sqrt().view(scale.shape)


def _norm(weight, ternary):
    """A scale for signs of length 1."""
    signs, scale = right_signs(weight, ternary)
    return signs, weight.flatten(1).norm(dim=1).view(scale.shape)


def _sums(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    return signs, (weight * signs).flatten(1).sum(1).view(scale.shape)


def _threshold_of(rule):
    def answer(weight, ternary):
        signs, scale = right_signs(weight, ternary)
        if not ternary:
            return signs, scale
        rows = weight.flatten(1)
        signs = (rows.sign() * (rows.abs() > rule(rows))).view(weight.shape)
        total = (weight * signs).flatten(1).sum(1)
        return signs, (total / signs.abs().flatten(1).sum(1).clamp(min=1)).view(scale.shape)

    return answer


def _positive_only(weight, ternary):
    """0 and 1."""
    signs, scale = right_signs(weight, ternary)
    return (signs > 0).float(), scale


def _already_scaled(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    return signs * scale, scale


def _product_alone(weight, ternary):
    signs, scale = right_signs(weight, ternary)
    return signs * scale


def _threshold_and_zeros(weight, ternary):
    """Two mistakes at once."""
    signs, _ = _threshold_of(lambda rows: 0.7 * rows.abs().amax(1, keepdim=True))(weight, ternary)
    axes = tuple(range(1, weight.dim()))
    return signs, (weight * signs).mean(axes, keepdim=True)


WRONG = {
    "fake_quantize_ste": {
        _integers: "these are the integers: return the numbers that they stand for",
        _up_to_one: "lies inside the range from .* in parts: right in its values, wrong in its gr",
        _one_step_early: "lies inside the range from .*; with yours 0",
        _one_step_late: "lies outside the range from .*, so of a gradient of .* there passes 0; w",
        _mask_negated: "in parts: right in its values, wrong in its gradient",
        _mask_of_both_or: "lies outside the range .* hint: +the whole gradient passes",
        _never_clamped: r"steps of [\d.]+, and with the zero point .*, so q is (-4|3), and s",
        _clamped_without_zero_point: "hint: +the zero point is missing: add it before the clamp",
        _floored: r"so q is -?\d, and s \(q - z\) is .* wrong in its values, right in its gradient",
        _zero_point_subtracted: "steps of .*, and with the zero point",
        _multiplied: r"steps of .*, so q is -?\d, and s \(q - z\) is",
        _truncated_and_passing: "in its values: a cast to int and trunc cut off",
        _too_few_gradients: "the way back raises RuntimeError: .* incorrect number of grad",
        _none_from_backward: "x: the way back leads to another tensor, or gives None for x",
        _new_leaf: "no gradient reaches x: the way back leads to another tensor",
        _in_place: CHANGED,
        _with_its_mask: r"the result is a tensor.*given: +\(tensor",
        _nan_gradient: "there passes .*; with yours nan",
        changed(right_ste, torch.Tensor.tolist): r"the result is a tensor.*given: +\[",
        changed(
            right_ste, torch.Tensor.half
        ): "the result has the type of x.*expected: torch.float32.*given: +torch.float16",
        changed(right_ste, torch.flatten): "the result has the shape and device of x",
        changed(right_ste, lambda y: y.detach().numpy()): "the result is a tensor.*given: +array",
        changed(right_ste, lambda y: y / 0): "the result holds numbers that are not finite",
    },
    "learned_step_gradient": {
        _one_for_all: r"has the shape and device of step.*expected: a tensor of shape \(3, 1\)",
        _negative: "the sign is the wrong way round, of every term",
        _error_in_x: r"the step has 6 numbers, and q_max is 3: .* The derivatives of s q are \[",
        _mean_of_the_terms: "right for one number inside, .* wrong where N q_max is 12",
        _without_the_root: "right for one number inside, .* wrong where N q_max is 12",
        _root_multiplied: "right for one number inside, .* wrong where N q_max is 12",
        _root_of_n_alone: "right for one number inside, .* wrong where N q_max is 12",
        _lower_end_as_upper: "wrong for one number clipped below, right where N q_max is 12",
        _upper_end_only: "wrong for one number clipped below, right where N q_max is 12",
        _ones_outside: "right for one number inside, .* wrong where N q_max is 12",
        _gradient_of_x: r"has the shape and device of step.*given: +a tensor of shape \(6,\)",
        _sign_and_no_factor: "inside: inside the range the sign .* is 12: this is the sum",
        _through_item: r"the gradient of the step is a tensor.*given: +-?\d",
        changed(
            right_step, torch.Tensor.double
        ): "the gradient of the step has the type of step.*given: +torch.float64",
        changed(right_step, lambda found: found * torch.nan): "holds numbers that are not finite",
        changed(
            right_step, lambda found: found.unsqueeze(0)
        ): r"shape and device of step.*given: +a tensor of shape \(1,\)",
        changed(
            right_step, lambda found: None
        ): "the gradient of the step is a tensor.*given: +None",
    },
    "signs_and_scale": {
        _binary_always: "has the sign 0, as the threshold there is 0.7 · .*; yours is -?1",
        _ternary_always: "each sign is -1 or 1, and one of yours is 0",
        _exchanged: "each sign is -1 or 1, and one of yours is 0",
        _columns: r"one number per output channel.*of shape \(3, 1\).*given: .* \(1, 4\)",
        _flat_scale: r"one number per output channel, and broad.*given: +.* of shape \(3,\)",
        _one_number: r"one number per output channel, and broad.*given: +.* of shape \(\)",
        _nan_for_none: r"channel \d is all zeros, so that its scale is 0: divide by no",
        _root_mean_square: "for channel 0 the least squared error is at .* scale of two values",
        _norm: "for channel 0 the least squared error is at .* wrong in the scale of three values",
        _sums: "for channel 0 the least squared error is at .* wrong in the scale of three values",
        _threshold_of(
            lambda rows: 0.7
        ): "as the threshold there is 0.7 · .*right in the scale of two",
        _threshold_of(
            lambda rows: rows.abs().mean(1, keepdim=True)
        ): "threshold there is 0.7 · .*; yours is 0|hint: +0.7 of",
        _threshold_of(
            lambda rows: 0.7 * rows.mean(1, keepdim=True)
        ): "has the sign 0, as the threshold there is 0.7 ·",
        _threshold_of(
            lambda rows: 0.05 * rows.abs().amax(1, keepdim=True)
        ): "has the sign 0, as the threshold there",
        _positive_only: "each sign is -1 or 1, and one of yours is 0",
        _already_scaled: r"each sign is -1 or 1, and one of yours is -?\d+\.\d",
        _product_alone: r"return a pair.*expected: \(signs, scale\)",
        _threshold_and_zeros: "in the signs of three values: 0.7 of the largest magnitude",
        changed(
            right_signs, lambda pair: pair[::-1]
        ): "return the signs first and the scale second",
        changed(
            right_signs, lambda pair: (pair[0] > 0, pair[1])
        ): "is a tensor of the numbers -1 or 1.*given: +torch.bool",
        changed(
            right_signs, lambda pair: (pair[0], pair[1].double())
        ): "the scale has the type of weight",
        changed(
            right_signs, lambda pair: (pair[0], pair[1].flatten().tolist())
        ): r"the scale is a tensor.*given: +\[",
        changed(
            right_signs, lambda pair: (pair[0].flatten(), pair[1])
        ): "the signs have the shape and device of weight",
        changed(right_signs, lambda pair: None): "return a pair.*given: +None",
    },
}
