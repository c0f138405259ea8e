"""Answers to the exercises of chapter 10, right ones and wrong ones."""

import math
import struct
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from shrink.chapters.few_bits.bf16 import round_to_bf16
from shrink.chapters.few_bits.scaling import scaled_step
from shrink.chapters.few_bits.updating import latent_step
from tests.chapters.few_bits import step_answers as steps
from tests.chapters.wrong import CHANGED, changed

right_step = latent_step.reference
right_rounding = round_to_bf16.reference
right_scaling = scaled_step.reference

# --- right answers -------------------------------------------------------------------------


def by_backward(latent, bias, scale, loss, rate, decay):
    weight = (scale * ((latent >= 0).float() * 2 - 1)).requires_grad_(True)
    moved = bias.detach().clone().requires_grad_(True)
    loss(weight, moved).backward()
    new = (latent * (1 - rate * decay) - rate * weight.grad).clip(-scale, scale)
    return new, moved.detach() - rate * moved.grad, scale * ((new >= 0).float() * 2 - 1)


def straight_through(latent, bias, scale, loss, rate, decay):
    """The gradient is that of the latent weights, through what has no derivative."""
    latent = latent.clone().requires_grad_()
    bias = bias.clone().requires_grad_()
    rounded = torch.where(latent >= 0, scale, -scale)
    by_latent, by_bias = torch.autograd.grad(
        loss(latent + (rounded - latent).detach(), bias), (latent, bias)
    )
    with torch.no_grad():
        latent -= rate * (by_latent + decay * latent)
        latent.clamp_(-scale, scale)
        bias -= rate * by_bias
        return latent, bias, torch.where(latent >= 0, scale, -scale)


def with_an_optimizer(latent, bias, scale, loss, rate, decay):
    """As BinaryConnect is written: signs in the parameter, the latent weights aside."""
    weight, moved = nn.Parameter(latent.clone()), nn.Parameter(bias.clone())
    groups = [{"params": [weight], "weight_decay": decay}, {"params": [moved]}]
    optimizer = torch.optim.SGD(groups, lr=rate)
    weight.data = torch.where(latent >= 0, scale, -scale)
    loss(weight, moved).backward()
    weight.data = latent.clone()
    optimizer.step()
    weight.data.clamp_(-scale, scale)
    return [weight, moved, torch.where(weight.data >= 0, scale, -scale)]


def by_a_loop(latent, bias, scale, loss, rate, decay):
    signs = torch.tensor([scale if v >= 0 else -scale for v in latent.flatten().tolist()])
    weight = signs.to(latent.device).view(latent.shape).requires_grad_()
    moved = bias.clone().requires_grad_()
    loss(weight, moved).backward()
    new = [
        max(-scale, min(scale, v - rate * (g + decay * v)))
        for v, g in zip(latent.flatten().tolist(), weight.grad.flatten().tolist(), strict=True)
    ]
    tested = torch.tensor([scale if v >= 0 else -scale for v in new])
    new, tested = (t.to(latent.device).view(latent.shape) for t in (torch.tensor(new), tested))
    return new, (moved - rate * moved.grad).detach(), tested


def by_copysign(latent, bias, scale, loss, rate, decay):
    """0.0 has a sign, and it is that of +0.0 here."""
    weight = torch.full_like(latent, scale).copysign(latent + 0.0).requires_grad_()
    bias = bias.clone().requires_grad_()
    loss(weight, bias).backward()
    new = torch.maximum(
        torch.minimum(
            latent.add(weight.grad.add(latent, alpha=decay), alpha=-rate),
            torch.full_like(latent, scale),
        ),
        torch.full_like(latent, -scale),
    )
    return new, bias.detach().sub(bias.grad, alpha=rate), torch.full_like(new, scale).copysign(new)


def by_remainder(x):
    """Looks at what is cut away."""
    bits = x.view(torch.int32)
    low, upper = bits & 0xFFFF, bits >> 16
    up = (low > 0x8000) | ((low == 0x8000) & (upper % 2 == 1))
    rounded = ((upper + up) << 16).view(torch.float32)
    return torch.where((bits & 0x7FFFFFFF) > 0x7F800000, x, rounded)


def in_int64(x):
    bits = x.view(torch.int32).long() & 0xFFFFFFFF
    sign, magnitude = bits & 0x80000000, bits & 0x7FFFFFFF
    upper = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) & 0x7FFF0000
    upper = torch.where(magnitude > 0x7F800000, 0x7FC00000, upper)
    code = sign | upper
    return torch.where(code >= 2**31, code - 2**32, code).to(torch.int32).view(torch.float32)


def in_numpy(x):
    bits = x.cpu().numpy().copy().view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)
    rounded = np.where(np.isnan(x.cpu().numpy()), np.uint32(0x7FFF0000), rounded)
    return torch.from_numpy(rounded.astype(np.uint32).view(np.float32)).to(x.device).view(x.shape)


def to_even_at_last(x):
    """Halves go up, and those that came out odd go down again."""
    bits = x.view(torch.int32)
    half = (bits & 0xFFFF) == 0x8000
    rounded = (bits + 0x8000) & ~0xFFFF
    rounded = torch.where(half, rounded & ~0x10000, rounded)
    return rounded.view(torch.float32).masked_fill(x != x, float("nan"))


def number_by_number(x):
    def rounded(number):
        (bits,) = struct.unpack("<I", struct.pack("<f", number))
        if bits & 0x7FFFFFFF > 0x7F800000:
            return math.nan
        upper = round(Fraction(bits & 0x7FFFFFFF, 2**16)) << 16 | bits & 0x80000000
        return struct.unpack("<f", struct.pack("<I", upper))[0]

    numbers = [rounded(number) for number in x.flatten().tolist()]
    return torch.tensor(numbers, dtype=torch.float32).to(x.device).view(x.shape)


def divides_first(scaler, parameters, optimizer):
    for p in parameters:
        p.grad.div_(scaler.scale)
    norm = torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)
    if not torch.isfinite(norm):
        scaler.scale *= 0.5
        scaler.good_steps = 0
        optimizer.zero_grad()
        return False
    optimizer.step()
    scaler.good_steps += 1
    if scaler.good_steps >= scaler.interval:
        scaler.scale, scaler.good_steps = scaler.scale * 2, 0
    optimizer.zero_grad()
    return True


def by_a_sum(scaler, parameters, optimizer):
    """Infinity and NaN are left of a sum, if squares do not run over."""
    total = sum(p.grad.double().square().sum().item() for p in parameters)
    if math.isinf(total) or math.isnan(total):
        scaler.scale = scaler.scale / 2
        scaler.good_steps = 0
    else:
        norm = math.sqrt(total) / scaler.scale
        factor = min(1, scaler.max_norm / norm) / scaler.scale
        for p in parameters:
            p.grad = p.grad * factor
        optimizer.step()
        scaler.good_steps = (scaler.good_steps + 1) % scaler.interval
        if scaler.good_steps == 0:
            scaler.scale *= 2


def clips_to_the_scaled_norm(scaler, parameters, optimizer):
    """Clipping first is right, if the norm is scaled as well."""
    if any((~p.grad.isfinite()).any() for p in parameters):
        scaler.good_steps, scaler.scale = 0, scaler.scale / 2
        return
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm * scaler.scale)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad.mul_(1 / scaler.scale)
    optimizer.step()
    scaler.good_steps += 1
    if scaler.good_steps == scaler.interval:
        scaler.good_steps, scaler.scale = 0, scaler.scale * 2


def by_the_rate(scaler, parameters, optimizer):
    """A new gradient for each, and numbers of the scaler as tensors."""
    gradients = [p.grad.clone() for p in parameters]
    if all(torch.isfinite(g).all() for g in gradients):
        gradients = [g / scaler.scale for g in gradients]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g * (scaler.max_norm / norm).clamp(max=1)
        optimizer.step()
        scaler.good_steps = torch.tensor(scaler.good_steps + 1)
        if scaler.good_steps == scaler.interval:
            scaler.scale = torch.tensor(2 * scaler.scale)
            scaler.good_steps = np.int64(0)
    else:
        scaler.scale, scaler.good_steps = np.float64(scaler.scale / 2), 0


def by_grad_scaler(scaler, parameters, optimizer):
    torchs = torch.amp.GradScaler(
        parameters[0].device.type, scaler.scale, growth_interval=scaler.interval
    )
    torchs.load_state_dict(torchs.state_dict() | {"_growth_tracker": scaler.good_steps})
    torchs.scale(torch.zeros((), device=parameters[0].device))
    torchs.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)
    torchs.step(optimizer)
    torchs.update()
    scaler.scale = torchs.get_scale()
    scaler.good_steps = torchs.state_dict()["_growth_tracker"]


def signs_below_zero():
    return torch.tensor([-0.3, -2.4, 9.0]), 2.5, np.array([2.0, -1.0, 0.5])


def a_short_step():
    """One of two that are clipped is not beyond 1."""
    return (0.1, 0.7, -4), torch.tensor(0.3), [2, 3, -2]


RIGHT = {
    "latent_step": [by_backward, straight_through, with_an_optimizer, by_a_loop, by_copysign],
    "round_to_bf16": [by_remainder, in_int64, in_numpy, to_even_at_last, number_by_number],
    "scaled_step": [
        divides_first,
        by_a_sum,
        clips_to_the_scaled_norm,
        by_the_rate,
        by_grad_scaler,
    ],
    "break_the_gradient": [signs_below_zero, a_short_step],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _sign_in_place(latent, bias, scale, loss, rate, decay):
    """As where the parameter itself holds the signs."""
    w = nn.Parameter(scale * torch.where(latent >= 0, 1.0, -1.0))
    b = nn.Parameter(bias.clone())
    optimizer = torch.optim.SGD([w, b], lr=rate)
    loss(w, b).backward()
    w.grad += decay * latent
    optimizer.step()
    new = w.data.clamp(-scale, scale)
    return new, b.data, torch.where(new >= 0, scale, -scale)


def _loss_of_the_latents(latent, bias, scale, loss, rate, decay):
    w, b = latent.clone().requires_grad_(), bias.clone().requires_grad_()
    loss(w, b).backward()
    new = (latent - rate * (w.grad + decay * latent)).clamp(-scale, scale)
    return new, b.detach() - rate * b.grad, torch.where(new >= 0, scale, -scale)


def _not_clipped(latent, bias, scale, loss, rate, decay):
    w = torch.where(latent >= 0, scale, -scale).requires_grad_()
    b = bias.clone().requires_grad_()
    loss(w, b).backward()
    new = latent - rate * (w.grad + decay * latent)
    return new, b.detach() - rate * b.grad, torch.where(new >= 0, scale, -scale)


def _decay_by_the_optimizer(latent, bias, scale, loss, rate, decay):
    """The signs stand in the parameter while it decays."""
    w = nn.Parameter(torch.where(latent >= 0, scale, -scale))
    b = nn.Parameter(bias.clone())
    groups = [{"params": [w], "weight_decay": decay}, {"params": [b]}]
    before = w.data.clone()
    loss(w, b).backward()
    torch.optim.SGD(groups, lr=rate).step()
    new = (latent + w.data - before).clamp(-scale, scale)
    return new, b.data, torch.where(new >= 0, scale, -scale)


def _old_biases(latent, bias, scale, loss, rate, decay):
    w = torch.where(latent >= 0, scale, -scale).requires_grad_()
    loss(w, bias).backward()
    new = (latent - rate * (w.grad + decay * latent)).clamp(-scale, scale)
    return new, bias, torch.where(new >= 0, scale, -scale)


def _adds_half(x):
    """The bit below the last that stays, for that bit."""
    bits = x.view(torch.int32)
    rounded = (bits + 0x7FFF + ((bits >> 15) & 1)) & ~0xFFFF
    return torch.where(x.isnan(), torch.nan, rounded.view(torch.float32))


def _shifted(x):
    rounded = (x.view(torch.int32) >> 16 << 16).view(torch.float32)
    return torch.where(x.isnan(), x, rounded)


def _field_by_field(x):
    bits = x.view(torch.int32)
    mantissa = bits & 0x7FFFFF
    mantissa = (mantissa + 0x7FFF + ((mantissa >> 16) & 1)) >> 16 & 0x7F
    rounded = (bits & ~0x7FFFFF | mantissa << 16).view(torch.float32)
    return torch.where(x.isnan(), torch.nan, rounded)


def _as_in_the_formula(x):
    """The rounding is right, and nobody thought of NaN."""
    bits = x.view(torch.int32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).view(torch.float32)


def _sign_of_a_comparison(x):
    rounded = right_rounding(x.abs())
    return torch.where(x < 0, -rounded, rounded)


def _of_the_magnitude(x):
    return right_rounding(x.abs())


def _clamped(x):
    largest = torch.finfo(torch.bfloat16).max
    return torch.where(x.isinf(), x, right_rounding(x).clamp(-largest, largest))


def _flushed(x):
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(x.abs() < tiny, x * 0, right_rounding(x))


def _grads(parameters):
    return [p.grad for p in parameters]


def _skips(scaler):
    scaler.scale /= 2
    scaler.good_steps = 0


def _counts(scaler):
    scaler.good_steps += 1
    if scaler.good_steps == scaler.interval:
        scaler.scale *= 2
        scaler.good_steps = 0


def _finite(parameters):
    return all(g.isfinite().all() for g in _grads(parameters))


def _clip(scaler, parameters):
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)


def _divide(scaler, parameters):
    for p in parameters:
        p.grad /= scaler.scale


def _clips_first(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _clip(scaler, parameters)
    _divide(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _nan_to_num(scaler, parameters, optimizer):
    """All is 0 where one number is infinite."""
    if not _finite(parameters):
        for p in parameters:
            p.grad = torch.zeros_like(p.grad)
        optimizer.step()
        return _skips(scaler)
    right_scaling(scaler, parameters, optimizer)


def _returns_in_the_loop(scaler, parameters, optimizer):
    for p in parameters:
        if not p.grad.isfinite().all():
            return _skips(scaler)
        break
    right = [p.grad / scaler.scale for p in parameters]
    for p, g in zip(parameters, right, strict=True):
        p.grad = g
    _clip(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _asks_for_inf(scaler, parameters, optimizer):
    if any(torch.isinf(p.grad).any() for p in parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _no_reset(scaler, parameters, optimizer):
    if not _finite(parameters):
        scaler.scale *= 0.5
        return
    right_scaling(scaler, parameters, optimizer)


def _rate_divided_too(scaler, parameters, optimizer):
    if _finite(parameters):
        _divide(scaler, parameters)
    right_scaling(scaler, parameters, optimizer)


def _one_step_late(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()
    if scaler.good_steps == scaler.interval:
        scaler.scale, scaler.good_steps = scaler.scale * 2, 0
    else:
        scaler.good_steps += 1


DISGUISED = [
    ("latent_step", "steps from the signs", _sign_in_place),
    ("latent_step", "gradient at the latents", _loss_of_the_latents),
    ("latent_step", "clips at 1", _not_clipped),
    ("latent_step", "decays the signs", _decay_by_the_optimizer),
    ("latent_step", "forgets the biases", _old_biases),
    ("latent_step", "tests the latents", changed(right_step, lambda r: [r[0], r[1], r[0]])),
    ("round_to_bf16", "halves up", _adds_half),
    ("round_to_bf16", "truncation", _shifted),
    ("round_to_bf16", "carry lost", _field_by_field),
    ("round_to_bf16", "nan to infinity", _as_in_the_formula),
    ("round_to_bf16", "zero without sign", _sign_of_a_comparison),
    ("round_to_bf16", "sign lost", _of_the_magnitude),
    ("round_to_bf16", "overflow kept finite", _clamped),
    ("round_to_bf16", "subnormals flushed", _flushed),
    ("scaled_step", "clips before it unscales", _clips_first),
    ("scaled_step", "zeros for gradients", _nan_to_num),
    ("scaled_step", "only the first gradient", _returns_in_the_loop),
    ("scaled_step", "NaN not seen", _asks_for_inf),
    ("scaled_step", "count kept by a skip", _no_reset),
    ("scaled_step", "unscales twice", _rate_divided_too),
    ("scaled_step", "never grows", _one_step_late),
]

# --- wrong otherwise -----------------------------------------------------------------------


def _sign_of_zero(latent, bias, scale, loss, rate, decay):
    w = (scale * latent.sign()).requires_grad_()
    b = bias.clone().requires_grad_()
    loss(w, b).backward()
    new = (latent - rate * (w.grad + decay * latent)).clamp(-scale, scale)
    return new, b.detach() - rate * b.grad, scale * new.sign()


def _gradient_times_the_scale(latent, bias, scale, loss, rate, decay):
    """By the chain rule, with the sign's derivative taken for 1."""
    w = torch.where(latent >= 0, scale, -scale).requires_grad_()
    b = bias.clone().requires_grad_()
    loss(w, b).backward()
    new = (latent - rate * (scale * w.grad + decay * latent)).clamp(-scale, scale)
    return new, b.detach() - rate * b.grad, torch.where(new >= 0, scale, -scale)


def _uphill(latent, bias, scale, loss, rate, decay):
    return right_step(latent, bias, scale, loss, -rate, decay)


def _uphill_latent(latent, bias, scale, loss, rate, decay):
    w = torch.where(latent >= 0, scale, -scale).requires_grad_()
    b = bias.clone().requires_grad_()
    loss(w, b).backward()
    new = (latent + rate * (w.grad - decay * latent)).clamp(-scale, scale)
    return new, b.detach() - rate * b.grad, torch.where(new >= 0, scale, -scale)


def _no_decay(latent, bias, scale, loss, rate, decay):
    return right_step(latent, bias, scale, loss, rate, 0.0)


def _biases_decay(latent, bias, scale, loss, rate, decay):
    new, moved, weight = right_step(latent, bias, scale, loss, rate, decay)
    return new, moved - rate * decay * bias, weight


def _its_own_scale(latent, bias, scale, loss, rate, decay):
    """That of exercise 3, for the one that is given."""
    return right_step(latent, bias, latent.abs().mean().item(), loss, rate, decay)


def _no_gradient(latent, bias, scale, loss, rate, decay):
    """Through torch.sign no gradient comes: it is 0."""
    w, b = latent.clone().requires_grad_(), bias.clone().requires_grad_()
    loss(w.sign() * scale, b).backward()
    new = (latent - rate * (w.grad + decay * latent)).clamp(-scale, scale)
    return new, b.detach() - rate * b.grad, torch.where(new >= 0, scale, -scale)


def _no_decay_no_biases(latent, bias, scale, loss, rate, decay):
    """Two faults at once."""
    new, _, weight = right_step(latent, bias, scale, loss, rate, 0.0)
    return new, bias, weight


def _in_place(latent, bias, scale, loss, rate, decay):
    new = right_step(latent, bias, scale, loss, rate, decay)
    latent.copy_(new[0])
    return latent, new[1], new[2]


def _marks_its_input(latent, bias, scale, loss, rate, decay):
    w = torch.where(latent >= 0, scale, -scale).requires_grad_()
    bias.requires_grad_()
    loss(w, bias).backward()
    return right_step(latent, bias.detach(), scale, loss, rate, decay)


def _halves_down(x):
    rounded = ((x.view(torch.int32) + 0x7FFF) & ~0xFFFF).view(torch.float32)
    return torch.where(x.isnan(), torch.nan, rounded)


def _to_odd(x):
    bits = x.view(torch.int32)
    rounded = (bits + 0x8000 - (bits >> 16 & 1)) & ~0xFFFF
    return torch.where(x.isnan(), torch.nan, rounded.view(torch.float32))


def _up_always(x):
    rounded = ((x.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)
    return torch.where(x.isnan(), torch.nan, rounded)


def _seventh_bit(x):
    """Of the wrong width: one bit more is cut."""
    bits = x.view(torch.int32)
    rounded = (bits + 0xFFFF + (bits >> 17 & 1)) & ~0x1FFFF
    return torch.where(x.isnan(), torch.nan, rounded.view(torch.float32))


def _nan_for_infinity(x):
    exponent_of_ones = (x.view(torch.int32) & 0x7F800000) == 0x7F800000
    return torch.where(exponent_of_ones, torch.nan, right_rounding(x))


def _infinity_cut(x):
    """In fp16's range alone."""
    return x.half().float()


def _by_torch_view(x):
    return x.contiguous().view(torch.bfloat16)[..., 1::2].float()


def _codes(x):
    return right_rounding(x).view(torch.int32) >> 16


def _in_place_bits(x):
    bits = x.view(torch.int32)
    bits += 0x7FFF + (bits >> 16 & 1)
    bits &= ~0xFFFF
    return x


def _not_divided(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _clip(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _not_clipped_at_all(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _clips_each_alone(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    for p in parameters:
        torch.nn.utils.clip_grad_norm_([p], scaler.max_norm)
    optimizer.step()
    _counts(scaler)


def _never_looks(scaler, parameters, optimizer):
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()
    _counts(scaler)


def _by_the_new_scale(scaler, parameters, optimizer):
    """The scale grows before the gradients are divided by it."""
    if not _finite(parameters):
        return _skips(scaler)
    _counts(scaler)
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()


def _count_goes_on(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()
    scaler.good_steps += 1
    if scaler.good_steps % scaler.interval == 0:
        scaler.scale *= 2


def _scale_kept(scaler, parameters, optimizer):
    if not _finite(parameters):
        scaler.good_steps = 0
        return
    right_scaling(scaler, parameters, optimizer)


def _a_tenth(scaler, parameters, optimizer):
    if not _finite(parameters):
        scaler.scale /= 10
        scaler.good_steps = 0
        return
    right_scaling(scaler, parameters, optimizer)


def _momentum_cleared(scaler, parameters, optimizer):
    if not _finite(parameters):
        optimizer.state.clear()
        return _skips(scaler)
    right_scaling(scaler, parameters, optimizer)


def _without_the_optimizer(scaler, parameters, optimizer):
    if not _finite(parameters):
        return _skips(scaler)
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    with torch.no_grad():
        for p in parameters:
            p -= optimizer.param_groups[0]["lr"] * p.grad
    _counts(scaler)


def _pairs(scaler, parameters, optimizer):
    """Returns what it should set."""
    if not _finite(parameters):
        return scaler.scale / 2, 0
    _divide(scaler, parameters)
    _clip(scaler, parameters)
    optimizer.step()
    return scaler.scale, scaler.good_steps + 1


def _text(scaler, parameters, optimizer):
    right_scaling(scaler, parameters, optimizer)
    scaler.scale = str(scaler.scale)


def _input(x=(0.5, 1.5, 3.0), step=2.0, upstream=(1.0, 2.0, 3.0)):
    return lambda: (x, step, upstream)


def _third(change):
    return changed(right_step, lambda found: (*found[:2], change(found[2])))


WRONG = {
    "latent_step": {
        _sign_of_zero: r"latent\[0, \d\] must be .*the loss at weights of ±scale has",
        _gradient_times_the_scale: "in latent: the gradient of the weight was multiplied by th",
        _uphill: r"latent\[\d, \d\] must be",
        _uphill_latent: "in latent: the step went uphill",
        _no_decay: "in parts: wrong in latent, right in bias.*in latent: the latent weights did no",
        _biases_decay: r"bias\[\d\] must be.*in parts: right in latent, wrong in bias, right in w",
        _its_own_scale: "must be",
        _no_gradient: "in latent: the latent weights have only decayed",
        _no_decay_no_biases: "in parts: wrong in latent, wrong in bias.*in bias: the biases",
        _in_place: CHANGED,
        _marks_its_input: CHANGED,
        changed(right_step, lambda found: found[:2]): "return three tensors",
        changed(right_step, lambda found: found[0]): "return three tensors",
        changed(right_step, lambda found: dict(zip("abc", found, strict=True))): "return three ten",
        _third(
            torch.Tensor.sign
        ): r"weight\[0, 0\] must be -?0.0\d, not -?1: the new latent weight",
        _third(torch.Tensor.double): "weight is a tensor of torch.float32",
        _third(lambda weight: weight[0]): "weight has the shape and the device of what came in",
        (lambda latent, bias, scale, loss, rate, decay: loss(bias, latent)): (
            r"ValueError: loss takes \(weight, bias\); weight is a tensor of shape \(2, 4\), not"
        ),
        (lambda latent, bias, scale, loss, rate, decay: loss(scale, bias)): (
            r"ValueError: loss takes \(weight, bias\); .* not float"
        ),
    },
    "round_to_bf16": {
        _halves_down: r"lies halfway between 0x\w+ and 0x\w+, of which 0x\w+[02468ace] is even",
        _to_odd: r"lies halfway between 0x\w+ and 0x\w+, of which 0x\w+[02468ace] is even",
        _up_always: r"lies between 0x\w+ and 0x\w+, and that is the nearer",
        _seventh_bit: r"lies between 0x\w+ and 0x\w+, and that is the nearer",
        _nan_for_infinity: "infinity stays as it is",
        _infinity_cut: "zeros in its lower 16 bits",
        torch.Tensor.bfloat16: "lets PyTorch round to bfloat16; here you write that cast",
        (lambda x: x.to(torch.bfloat16).to(x.dtype)): "lets PyTorch round to bfloat16",
        _by_torch_view: "lets PyTorch round to bfloat16",
        _codes: "return a float32 tensor of x's shape.*torch.int32",
        changed(right_rounding, torch.Tensor.double): "return a float32 tensor of x's.*float64",
        changed(right_rounding, torch.Tensor.tolist): "return a float32 tensor of x's shape",
        changed(right_rounding, torch.Tensor.numpy): "return a float32 tensor of x's shape",
        changed(right_rounding, lambda found: found[:2]): r"float32 tensor.*shape \(6,\)",
        _in_place_bits: CHANGED,
        (lambda x: x): "zeros in its lower 16 bits",
    },
    "scaled_step": {
        _not_divided: r"the weights of parameters\[0\] are not where .* Divided by \d+ its first",
        _not_clipped_at_all: r"clipped to [\d.]+ it is -?[\d.]+",
        _clips_each_alone: r"the norm of all gradients [\d.]+: clipped to [\d.]+ it is -?[\d.]+",
        _never_looks: "among the gradients is infinity, so the step is skipped",
        _by_the_new_scale: r"the weights of parameters\[0\] are not where",
        _count_goes_on: "after 6 of 6 good steps scaler.good_steps, which was 5, is 0",
        _scale_kept: "after a skip scaler.scale, which was [0-9]+, is [0-9]+",
        _a_tenth: "after a skip scaler.scale, which was [0-9]+, is [0-9]+",
        _momentum_cleared: "so the step is skipped, and the optimizer's momenta stay as they were",
        _without_the_optimizer: r"the weights of parameters\[0\] are not where",
        _pairs: r"after \d of 6 good steps scaler.good_steps, which was \d, is \d",
        _text: "scaler.scale is a number.*str",
        (lambda scaler, parameters, optimizer: None): "the weights have not moved: the optimizer t",
    },
    "break_the_gradient": {
        _input((0.4, 0.9, 3.0), 1.0, (1, 1, 1)): (
            r"clipped at 1, upstream forgotten: the gradients come out right \(\[1, 1, 0\] for x "
            r"and 0.7 for the step\), so the mistake hides \(wrong there, as it should be: identi"
        ),
        _input(upstream=(1, 1, 1)): "gradient: upstream forgotten: the gradients come out right",
        _input(x=(0.5, 1.5, 1.8)): r"identity, q - x/s everywhere, ends forgotten: the gradients",
        _input(x=(4, 5, 6)): "clipped at 1, no gradient, q alone: the gradients come out right",
        _input((0.2, 0.4, 0.8), 0.5): r"identity and clipped at 1 both give \[1, 2, 3\] for x and",
        _input(upstream=(0, 0, 0)): "so the mistake hides.*as it should be: upstream forgotten",
        _input(x=(1.5, 1.7, 3.0)): r"clipped at 1 and no gradient both give \[0, 0, 0\] for x",
        _input(x=(0.5, 1.5)): "x is a list of 3 numbers",
        _input(upstream=(1, 2, 3, 4)): "upstream is a list of 3 numbers",
        _input(x="123"): "x is a list of 3 numbers",
        _input(x=(0.5, 1.5, True)): "x is a list of 3 numbers",
        _input(upstream=((1, 2, 3),)): "upstream is a list of 3 numbers",
        _input(x=(0.5, 1.5, 11)): "the numbers of x lie from -10 to 10",
        _input(upstream=(1, 2, math.nan)): "the numbers of upstream lie from -10 to 10",
        _input(step=0): "step is a number from 0.01 to 10",
        _input(step=-2.0): "step is a number from 0.01 to 10",
        _input(step=True): "step is a number from 0.01 to 10",
        _input(step=(2.0,)): "step is a number from 0.01 to 10",
        (lambda: ((0.5, 1.5, 3.0), 2.0)): "return three things",
        (lambda: {"x": (0.5, 1.5, 3.0), "step": 2.0, "upstream": (1, 2, 3)}): "return three things",
    },
}

# --- exercises 1 to 3 ----------------------------------------------------------------------

RIGHT |= steps.RIGHT
WRONG |= steps.WRONG
DISGUISED += steps.DISGUISED
RAISING = steps.RAISING
