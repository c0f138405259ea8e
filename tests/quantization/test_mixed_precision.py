"""Mixed precision beside torch: GradScaler step by step, and networks that are really halves."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.quantization import aware, mixed_precision
from shrink.quantization.mixed_precision import (
    LossScaler,
    compute_in,
    in_format,
    overflow,
    round_stored,
    swallowed,
    underflow,
)
from shrink.quantization.number_formats import BF16, E4M3, E5M2, FORMATS, FP16, Format, round_to

HALVES = [(FP16, torch.float16), (BF16, torch.bfloat16)]
INFINITY = float("inf")


def tiny(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(count, seed=1):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(20, 6, generator=draw), torch.randint(3, (20,), generator=draw)


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_torch_casts_give_the_numbers_of_the_formats(format):
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(1))
    edges = torch.tensor([464.0, 465, 61439, 61440, 65519, 65520, INFINITY, -INFINITY, 0, -0.0])
    x = torch.cat([bits.int().view(torch.float32), edges])
    ours, cast = round_to(x, format), mixed_precision._rounded(x, format)
    assert ours.isnan().equal(cast.isnan())
    assert ours[~ours.isnan()].view(torch.int32).equal(cast[~ours.isnan()].view(torch.int32))


def test_values_and_their_gradients_are_rounded_each_to_its_format():
    x = torch.tensor([0.1, 3.3], requires_grad=True)
    y = in_format(x, E4M3, E5M2)
    y.backward(torch.tensor([0.7, 1e6]))
    assert y.detach().equal(round_to(x, E4M3))
    assert x.grad.equal(round_to(torch.tensor([0.7, 1e6]), E5M2)) and x.grad[1].isinf()
    other = Format("other", 3, 2)
    assert in_format(x.detach().double(), other).dtype == torch.float64


@pytest.mark.parametrize(("format", "dtype"), HALVES, ids=["fp16", "bf16"])
def test_a_network_in_a_format_is_one_of_torchs_halves(format, dtype):
    """Outputs and gradients, but for the order of sums: within a step of the format."""
    net, (images, labels) = tiny(), next(batches(1))
    half = copy.deepcopy(net).to(dtype)
    logits = half(images.to(dtype)).float()
    F.cross_entropy(logits, labels).backward()
    with compute_in(net, format):
        own = net(images)
        F.cross_entropy(own, labels).backward()
    step = 2.0**-format.mantissa_bits
    assert torch.allclose(own, logits, rtol=2 * step, atol=2 * step)
    assert (own == logits).float().mean() > 0.9
    for a, b in zip(net.parameters(), half.parameters(), strict=True):
        assert a.grad.equal(round_to(a.grad, format))
        assert torch.allclose(a.grad, b.grad.float(), rtol=4 * step, atol=step * a.grad.abs().max())
        assert (a.grad == b.grad.float()).float().mean() > 0.6


@pytest.mark.parametrize(("format", "dtype"), HALVES, ids=["fp16", "bf16"])
def test_training_all_in_a_format_follows_torchs_halves(format, dtype):
    """Rounding errors grow with the steps: after six they are small beside what was learned."""
    net = tiny()
    half = copy.deepcopy(net).to(dtype)
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    ours = torch.optim.SGD(net.parameters(), **options)
    theirs = torch.optim.SGD(half.parameters(), **options)
    round_stored(ours, format)
    start = [p.detach().clone() for p in net.parameters()]
    for images, labels in batches(6):
        with compute_in(net, format):
            loss = F.cross_entropy(net(images), labels)
        other = F.cross_entropy(half(images.to(dtype)).float(), labels)
        for optimizer, found in ((ours, loss), (theirs, other)):
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
        round_stored(ours, format)
    step = 2.0**-format.mantissa_bits
    for a, b, before in zip(net.parameters(), half.parameters(), start, strict=True):
        assert a.equal(round_to(a, format))
        kept = ours.state[a]["momentum_buffer"]
        assert kept.equal(round_to(kept, format))
        moved, apart = (a - before).norm(), (a - b.float()).norm()
        assert apart < 0.1 * moved and apart < 2 * step * a.norm()


def test_master_weights_stay_float32_and_the_network_computes_with_their_roundings():
    net, (images, _) = tiny(), next(batches(1))
    state = {n: p.detach().clone() for n, p in net.named_parameters()}
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        for p in rounded.parameters():
            p.copy_(round_to(p, BF16))
    with compute_in(net, BF16):
        first = net(images)
        with compute_in(rounded, BF16):
            assert first.equal(rounded(images))
    assert all(p.equal(state[n]) for n, p in net.named_parameters())
    assert net(images).equal(tiny()(images))  # as it was, without hooks
    assert not first.equal(net(images))
    assert list(net.state_dict()) == list(rounded.state_dict())
    assert "weight" not in net[0].__dict__


def test_a_layer_that_fails_has_its_own_weight_again():
    net = tiny()
    with compute_in(net, BF16), pytest.raises(RuntimeError, match="shapes"):
        net(torch.zeros(2, 7))
    assert "weight" not in net[0].__dict__ and net[0].weight is net.get_parameter("0.weight")


def test_small_updates_are_swallowed_without_master_weights_and_add_up_with_them():
    for master in (False, True):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(layer.weight)
        sgd = torch.optim.SGD(layer.parameters(), lr=2.0**-10)
        for _ in range(100):
            with compute_in(layer, BF16):
                loss = -layer(torch.ones(1, 1)).sum()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            if not master:
                round_stored(sgd, BF16)
        assert layer.weight.item() == (1 + 100 / 1024 if master else 1)


def test_adam_in_fp16_divides_by_zero():
    """torch's own: its eps, 1e-8, and the mean of squared gradients are both 0 in fp16."""
    w = torch.ones(1, dtype=torch.float16, requires_grad=True)
    adam = torch.optim.Adam([w], lr=1e-3)
    w.grad = torch.full_like(w, 1e-3)
    adam.step()
    assert adam.state[w]["exp_avg_sq"] == 0 and w.isinf()
    assert round_to(torch.tensor([1e-8, 0.001 * 1e-6]), FP16).equal(torch.zeros(2))


def pair(**options):
    """The same small network twice: one trains by GradScaler, and one by ours."""
    nets = tiny(), tiny()
    sgds = [torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9) for net in nets]
    theirs = torch.amp.GradScaler(
        "cpu",
        init_scale=options["scale"],
        growth_factor=options["growth"],
        backoff_factor=options["backoff"],
        growth_interval=options["interval"],
    )
    return nets, sgds, theirs, LossScaler(**options)


@pytest.mark.parametrize("factors", [(2.0, 0.5), (3.0, 0.7)])
@pytest.mark.parametrize("clip", [False, True])
def test_the_loss_scaler_goes_as_gradscaler_step_by_step(factors, clip):
    growth, backoff = factors
    nets, sgds, theirs, ours = pair(scale=2.0**10, growth=growth, backoff=backoff, interval=3)
    bad = {2: INFINITY, 6: float("nan"), 7: -INFINITY, 13: INFINITY}
    scales, skipped = [], 0
    for number, (images, labels) in enumerate(batches(20)):
        for net, sgd, scaler in zip(nets, sgds, (theirs, ours), strict=True):
            loss = F.cross_entropy(net(images), labels)
            sgd.zero_grad()
            (scaler.scale(loss) if scaler is theirs else scaler.scaled(loss)).backward()
            if number in bad:
                net[2].weight.grad[0, 0] = bad[number]
            if clip:
                scaler.unscale_(sgd)
                nn.utils.clip_grad_norm_(net.parameters(), 0.01)
            taken = scaler.step(sgd)
            if scaler is theirs:
                scaler.update()
        skipped += number in bad
        assert taken == (number not in bad) and ours.skipped == skipped
        assert ours.scale == pytest.approx(theirs.get_scale(), rel=1e-6)
        assert ours.good == theirs.state_dict()["_growth_tracker"]
        scales.append(ours.scale)
        for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)
            if factors == (2.0, 0.5):
                assert a.equal(b)
    assert len(set(scales)) > 2


def test_a_skipped_step_touches_neither_weights_nor_momentum():
    (net, _), (sgd, _), _, scaler = pair(scale=8.0, growth=2.0, backoff=0.5, interval=2)
    for gradient in (1.0, INFINITY):
        for p in net.parameters():
            p.grad = torch.full_like(p, gradient)
        before = copy.deepcopy((net.state_dict(), sgd.state_dict()))
        taken = scaler.step(sgd)
        same = all(p.equal(before[0][n]) for n, p in net.state_dict().items())
        assert same != taken
    kept = [state["momentum_buffer"] for state in sgd.state.values()]
    assert all(bool((b == 1 / 8).all()) for b in kept)


def test_the_count_of_good_steps_begins_again_after_a_skipped_one():
    scaler, w = LossScaler(scale=16.0, interval=3), torch.ones(1, requires_grad=True)
    sgd, scales = torch.optim.SGD([w], lr=0.1), []
    for gradient in (1, 1, INFINITY, 1, 1, 1, 1):
        w.grad = torch.tensor([float(gradient)])
        scaler.step(sgd)
        scales.append(scaler.scale)
    assert scales == [16, 16, 8, 8, 8, 16, 16]


def test_gradients_are_divided_once():
    scaler, w = LossScaler(scale=4.0), torch.ones(1, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=1.0)
    w.grad = torch.tensor([2.0])
    assert scaler.unscale_(sgd) and w.grad == 0.5
    with pytest.raises(RuntimeError, match="already"):
        scaler.unscale_(sgd)
    assert w.grad == 0.5 and scaler.step(sgd) and w == 0.5
    w.grad = torch.tensor([INFINITY])
    assert not scaler.unscale_(sgd) and scaler.scale == 4  # the scale changes with the step
    assert not scaler.step(sgd) and scaler.scale == 2


def test_the_scale_stays_within_bounds_and_a_loss_that_is_nan_is_said():
    w = torch.ones(1, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=0.0)
    scaler = LossScaler(scale=4.0, interval=1, least=1.0, most=8.0)
    for gradient, scale in ((1.0, 8), (1.0, 8), (INFINITY, 4), (INFINITY, 2), (INFINITY, 1)):
        w.grad = torch.tensor([gradient])
        scaler.step(sgd)
        assert scaler.scale == scale
    for _ in range(2):
        w.grad = torch.tensor([math.nan])
        with pytest.raises(FloatingPointError, match="least scale, 1:"):
            scaler.step(sgd)
        assert scaler.scale == 1
    assert scaler.skipped == 5 and w == 1
    odd = LossScaler(scale=1.5, least=1.0)
    w.grad = torch.tensor([INFINITY])
    assert not odd.step(sgd) and odd.scale == 1
    for scale in (2.0**-24, 2.0**20):  # a fixed one stays, at the least too
        fixed = LossScaler(scale=scale, growth=1, backoff=1)
        for _ in range(3):
            w.grad = torch.tensor([INFINITY])
            assert not fixed.step(sgd) and fixed.scale == scale
        assert fixed.skipped == 3


def test_a_scaler_goes_on_from_its_state():
    w = torch.ones(1, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=0.1)
    one, other = LossScaler(scale=64.0, interval=3), LossScaler(interval=3)
    for i in range(10):
        if i == 5:
            other.load_state_dict(one.state_dict())
        for scaler in (one, other)[: 1 + (i >= 5)]:
            w.grad = torch.tensor([INFINITY if i in (3, 8) else 1.0])
            scaler.step(sgd)
    assert one.state_dict() == other.state_dict() == {"scale": 64.0, "good": 1, "skipped": 2}
    with pytest.raises(ValueError, match="_growth_tracker"):
        one.load_state_dict(torch.amp.GradScaler("cpu").state_dict())


def test_what_a_scaler_cannot_use_is_refused_by_name():
    for wrong, match in (
        ({"scale": 0.0}, "scale .* not 0"),
        ({"scale": math.nan}, "scale .* not nan"),
        ({"scale": 2.0**30}, "scale .* not 107"),
        ({"growth": 0.5}, "growth .* not 0.5"),
        ({"backoff": 2.0}, "backoff .* not 2.0"),
        ({"backoff": 0.0}, "backoff .* not 0.0"),
        ({"interval": 0}, "interval .* 0"),
        ({"least": 2.0, "most": 1.0}, "most .* not 1.0"),
    ):
        with pytest.raises(ValueError, match=match):
            LossScaler(**wrong)
    w = torch.ones(1, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=0.1)
    with pytest.raises(RuntimeError, match="no weight has a gradient"):
        LossScaler().step(sgd)
    with pytest.raises(TypeError, match="a list"):
        LossScaler().step([w])
    half = torch.ones(1, dtype=torch.float16, requires_grad=True)
    half.grad = torch.ones_like(half)
    with pytest.raises(TypeError, match=r"not torch\.float16"):
        LossScaler().unscale_(torch.optim.SGD([half], lr=0.1))


def test_what_is_lost_is_counted_among_what_is_not_zero():
    least = FP16.least
    gradients = [torch.tensor([0.0, least, least / 2, -least / 4]), torch.tensor([[1e3], [0.0]])]
    assert underflow(gradients, FP16) == 0.5
    assert underflow(gradients, FP16, scale=4) == 0 == underflow(gradients, BF16)
    assert overflow(gradients, FP16) == 0 and overflow(gradients, FP16, scale=66) == 0.25
    assert overflow(torch.tensor([465.0, 464.0]), E4M3) == 0.5
    assert underflow(torch.zeros(3), FP16) == 0 == overflow([], FP16)


def test_what_is_swallowed_is_counted_among_what_float32_moves():
    weight = torch.tensor([1.0, 1.0, 1.0, -2.0, 0.0])
    update = torch.tensor([1e-3, 1 / 128, 1e-12, 1e-3, 1e-9])
    assert swallowed(weight, update, BF16) == 0.5  # the third float32 does not move either
    assert swallowed(weight, update, FP16) == 0.25  # fp16 has no number near 1e-9
    assert swallowed(weight, torch.zeros(5), BF16) == 0


@pytest.mark.gpu
def test_on_cuda_the_same_numbers():
    x = torch.randn(1000) * 1e-3
    for format in FORMATS.values():
        assert round_to(x.cuda(), format).cpu().equal(round_to(x, format))
        cast = mixed_precision._rounded(x.cuda(), format).cpu()
        assert cast.equal(round_to(x, format))


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (aware.prepare(nn.Sequential(nn.Linear(3, 2))), "0 is a AwareLayer"),
        (nn.MultiheadAttention(4, 2), "the model is a MultiheadAttention"),
    ],
)
def test_layers_that_read_the_weights_of_others_are_refused(model, kind):
    with pytest.raises(ValueError, match=kind), compute_in(model, FP16):
        pass


@pytest.mark.parametrize("formats", [("fp16",), (FP16, "bf16"), (None,)])
def test_a_format_that_is_none_is_named(formats):
    with (
        pytest.raises(TypeError, match="a format is a Format"),
        compute_in(nn.Linear(2, 2), *formats),
    ):
        pass


@pytest.mark.parametrize("scale", [-1.0, float("nan"), 2.0**30])
def test_a_state_of_no_scaler_is_refused(scale):
    scaler = LossScaler()
    with pytest.raises(ValueError, match="the scale of this scaler is"):
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale})
