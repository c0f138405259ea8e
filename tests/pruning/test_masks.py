"""Magnitude pruning against its definition in numpy and against torch's own pruning."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from shrink.pruning import apply_masks, global_masks, hold_masks, magnitude_mask

TIED = st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0, math.inf]), min_size=1)
ANY = st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=40)
SPARSITY = st.floats(0, 1) | st.sampled_from([0, 1, 0.25, 0.5, 0.75]) | st.fractions(0, 1)
BAD_SPARSITIES = [
    (math.nan, ValueError, "nan"),
    (math.inf, ValueError, "inf"),
    (-0.1, ValueError, "-0.1"),
    (1.1, ValueError, "1.1"),
    ("0.5", TypeError, "'0.5'"),
    (True, TypeError, "True"),
    (None, TypeError, "None"),
    (torch.tensor(0.5), TypeError, "tensor"),
]
BAD_WEIGHTS = [
    (torch.tensor([1.0, math.nan, math.nan]), ValueError, "2 NaN of 3"),
    (torch.tensor([1, 2]), TypeError, "torch.int64"),
    (torch.tensor([True]), TypeError, "torch.bool"),
    (torch.tensor([1j]), TypeError, "torch.complex64"),
    (torch.zeros(0, 3), ValueError, r"\(0, 3\)"),
    ([0.1, 0.2], TypeError, "list"),
    (np.ones(3, np.float32), TypeError, "ndarray"),
    (None, TypeError, "NoneType"),
]


def oracle(weights, sparsity):
    """The definition over flat arrays: sort stably by magnitude, drop the first round(s · n)."""
    flat = np.concatenate([np.abs(np.asarray(w, np.float64)).ravel() for w in weights])
    keep = np.ones(flat.size, bool)
    keep[np.argsort(flat, kind="stable")[: round(float(sparsity) * flat.size)]] = False
    return keep.tolist()


@given(TIED | ANY, SPARSITY)
def test_exactly_the_smallest_go_and_of_equal_ones_the_first(values, sparsity):
    mask = magnitude_mask(torch.tensor(values), sparsity)
    assert mask.dtype == torch.bool
    assert mask.tolist() == oracle([np.float32(values)], sparsity)


@given(st.dictionaries(st.text(), TIED | ANY, min_size=1, max_size=4), SPARSITY)
def test_global_masks_are_one_ranking_over_all_layers(layers, sparsity):
    masks = global_masks({name: torch.tensor(w) for name, w in layers.items()}, sparsity)
    assert list(masks) == list(layers)
    flat = [keep for mask in masks.values() for keep in mask.tolist()]
    assert flat == oracle([np.float32(w) for w in layers.values()], sparsity)


@pytest.mark.parametrize(
    ("n", "sparsity", "pruned"),
    [(10, 0.25, 2), (14, 0.25, 4), (2, 0.25, 0), (6, 0.25, 2), (11, 0.25, 3), (7, 0, 0), (7, 1, 7)],
)
def test_the_count_is_rounded_half_to_even(n, sparsity, pruned):
    weight = torch.randn(n, generator=torch.Generator().manual_seed(n))
    assert (~magnitude_mask(weight, sparsity)).sum() == pruned


@pytest.mark.parametrize("sparsity", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_any_real_number_is_a_sparsity(sparsity):
    assert magnitude_mask(torch.tensor([1.0, 2.0]), sparsity).tolist() == [False, True]


@pytest.mark.parametrize(("sparsity", "error", "named"), BAD_SPARSITIES)
def test_a_bad_sparsity_is_named(sparsity, error, named):
    with pytest.raises(error, match=f"sparsity.*{named}"):
        magnitude_mask(torch.ones(4), sparsity)
    with pytest.raises(error, match=f"sparsity.*{named}"):
        global_masks({"a": torch.ones(4)}, sparsity)


@pytest.mark.parametrize(("weight", "error", "named"), BAD_WEIGHTS)
def test_a_bad_weight_is_named(weight, error, named):
    with pytest.raises(error, match=f"weight.*{named}"):
        magnitude_mask(weight, 0.5)
    with pytest.raises(error, match=f"fc2.*{named}"):
        global_masks({"fc1": torch.ones(4), "fc2": weight}, 0.5)


@pytest.mark.parametrize("weights", [[torch.ones(2)], torch.ones(2), None])
def test_global_masks_want_a_mapping(weights):
    with pytest.raises(TypeError, match=type(weights).__name__):
        global_masks(weights, 0.5)


def test_global_masks_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="empty"):
        global_masks({}, 0.5)


def test_global_masks_want_one_device():
    with pytest.raises(ValueError, match=r"(cpu.*meta|meta.*cpu)"):
        global_masks({"a": torch.ones(2), "b": _OnAnotherDevice(torch.ones(2))}, 0.5)


class _OnAnotherDevice(torch.Tensor):
    """A tensor that says that it lies elsewhere, so that the test needs no second device."""

    @property
    def device(self):
        return torch.device("meta")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_is_pruned_by_its_own_values(dtype):
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight[1] = 0.5
    mask = magnitude_mask(weight, 0.5)
    assert mask.shape == weight.shape
    assert mask.flatten().tolist() == oracle([weight.double()], 0.5)
    both = global_masks({"this": weight, "float32": torch.full((4,), 0.5)}, 0.5)
    flat = [keep for m in both.values() for keep in m.flatten().tolist()]
    assert flat == oracle([weight.double(), np.full(4, 0.5)], 0.5)


def test_infinite_weights_are_the_largest():
    weight = torch.tensor([math.inf, 1.0, -math.inf, 0.0])
    assert magnitude_mask(weight, 0.5).tolist() == [True, False, True, False]
    assert magnitude_mask(weight, 0.75).tolist() == [False, False, True, False]


def test_a_single_number_has_a_mask():
    assert magnitude_mask(torch.tensor(3.0), 1).equal(torch.tensor(False))
    assert magnitude_mask(torch.tensor(3.0), 0.5).equal(torch.tensor(True))


def test_a_view_is_masked_in_its_own_shape_and_order():
    weight = torch.tensor([[1.0, 2.0, 1.0], [1.0, 5.0, 1.0]]).t()
    assert not weight.is_contiguous()
    mask = magnitude_mask(weight, 0.5)
    assert mask.tolist() == [[False, False], [True, True], [False, True]]
    assert mask.equal(magnitude_mask(weight.contiguous(), 0.5))


def test_parameters_have_masks_without_history_and_stay_as_they_are():
    weight = nn.Parameter(torch.tensor([3.0, -1.0, 2.0, -4.0]))
    before = weight.detach().clone()
    masks = [magnitude_mask(weight, 0.5), global_masks({"w": weight}, 0.5)["w"]]
    for mask in masks:
        assert mask.tolist() == [True, False, False, True]
        assert not mask.requires_grad
    assert apply_masks({"w": weight}, {"w": masks[0]})["w"].requires_grad is False
    assert weight.requires_grad and weight.detach().equal(before)


def test_masks_are_new_tensors():
    weights = {"a": torch.ones(3), "b": torch.ones(3)}
    masks = global_masks(weights, 0)
    masks["a"][:] = False
    assert masks["b"].all()


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.93, 0.999])
def test_the_same_weights_stay_as_with_torch_where_none_tie(sparsity):
    torch.manual_seed(0)
    layers = {"conv": nn.Conv2d(3, 8, 3), "fc1": nn.Linear(40, 30), "fc2": nn.Linear(30, 10)}
    n = sum(layer.weight.numel() for layer in layers.values())
    distinct = (torch.randperm(n) + 1.0) * (torch.randint(0, 2, (n,)) * 2 - 1)
    parts = distinct.split([layer.weight.numel() for layer in layers.values()])
    for layer, part in zip(layers.values(), parts, strict=True):
        layer.weight.data = part.view(layer.weight.shape)
    masks = global_masks({name: layer.weight for name, layer in layers.items()}, sparsity)
    prune.global_unstructured(
        [(layer, "weight") for layer in layers.values()],
        pruning_method=prune.L1Unstructured,
        amount=sparsity,
    )
    for name, layer in layers.items():
        assert masks[name].equal(layer.weight_mask.bool())


def test_masked_weights_are_zero_even_where_they_were_infinite():
    weights = {
        "w": torch.tensor([math.inf, -math.inf, math.nan, 2.0, math.inf]),
        "bias": torch.tensor([1.0]),
    }
    mask = torch.tensor([False, False, False, True, True])
    applied = apply_masks(weights, {"w": mask})
    assert applied["w"].tolist() == [0, 0, 0, 2, math.inf]
    assert applied["bias"].equal(weights["bias"]) and applied["bias"] is not weights["bias"]
    applied["bias"][0] = 7
    applied["w"][3] = 7
    assert weights["bias"].item() == 1 and weights["w"][3].item() == 2


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool]
)
def test_applied_masks_keep_the_type(dtype):
    weight = torch.tensor([1, 2], dtype=dtype)
    applied = apply_masks({"w": weight}, {"w": torch.tensor([True, False])})["w"]
    assert applied.dtype == dtype and applied.tolist() == [1, 0]


BAD_MASKS = [
    ({"other": torch.tensor([True, True])}, ValueError, "'other'.*w"),
    ({"w": torch.tensor([True])}, ValueError, r"w.*\(1,\).*\(2,\)"),
    ({"w": torch.tensor([[True, True]])}, ValueError, r"w.*\(1, 2\).*\(2,\)"),
    ({"w": torch.tensor([1.0, 0.0])}, TypeError, "w.*torch.float32"),
    ({"w": torch.tensor([1, 0])}, TypeError, "w.*torch.int64"),
    ({"w": [True, False]}, TypeError, "w.*list"),
    ({"w": torch.ones(2, dtype=torch.bool, device="meta")}, ValueError, "w.*meta.*cpu"),
]


@pytest.mark.parametrize(("masks", "error", "named"), BAD_MASKS)
def test_a_mismatched_mask_is_named_and_changes_nothing(masks, error, named):
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    good = nn.Parameter(torch.tensor([1.0, 2.0]))
    weights = {"good": good, "w": weight}
    masks = {"good": torch.tensor([True, False]), **masks}
    optimizer = torch.optim.SGD([weight, good], lr=0.5)
    with pytest.raises(error, match=named):
        apply_masks(weights, masks)
    with pytest.raises(error, match=named), hold_masks(weights, masks, optimizer):
        pytest.fail("the block must not run")
    assert weight.tolist() == good.tolist() == [1, 2]
    (weight.sum() + good.sum()).backward()
    optimizer.step()
    assert weight.tolist() == good.tolist() == [0.5, 1.5]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=1e-2),
    "fused adam": lambda p: torch.optim.Adam(p, lr=0.05, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.3, max_iter=3),
}
TARGET = torch.linspace(-3, 3, 20).view(4, 5)
MASK = torch.arange(20).view(4, 5) % 3 == 0


class Regression:
    """A weight and a bias on their way to a target, and the optimizer that moves them."""

    def __init__(self, optimizer: str) -> None:
        self.weight = nn.Parameter(torch.ones(4, 5))
        self.bias = nn.Parameter(torch.zeros(5))
        self.optimizer = OPTIMIZERS[optimizer]([self.weight, self.bias])

    def loss(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = (self.weight + self.bias - TARGET).square().sum()
        loss.backward()
        return loss

    def step(self) -> float:
        return self.optimizer.step(self.loss).item()

    def hold(self):
        return hold_masks({"w": self.weight}, {"w": MASK}, self.optimizer)


@pytest.mark.parametrize("steps_before", [0, 5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_stay_zero_while_the_others_train(optimizer, steps_before):
    task = Regression(optimizer)
    for _ in range(steps_before):
        task.step()
    with task.hold():
        assert not task.weight[~MASK].any()
        first, start = task.loss().item(), task.weight.detach().clone()
        for _ in range(30):
            task.step()
            assert not task.weight[~MASK].any()
        task.loss()
        assert not task.weight.grad[~MASK].any()
        assert (task.weight != start)[MASK].all()
        assert task.bias.any()
        assert task.loss().item() < 0.9 * first


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_after_the_block_all_weights_train_again(optimizer):
    task = Regression(optimizer)
    with task.hold():
        task.step()
    task.step()
    task.step()
    assert task.weight[~MASK].all()


def test_after_an_exception_all_weights_train_again():
    task = Regression("sgd")
    with pytest.raises(KeyError), task.hold():
        raise KeyError
    task.step()
    assert task.weight.grad[~MASK].all() and task.weight[~MASK].all()


def test_a_weight_without_gradient_is_refused_and_no_hook_stays():
    task = Regression("sgd")
    frozen = torch.ones(2)
    weights = {"w": task.weight, "frozen": frozen}
    masks = {"w": MASK, "frozen": torch.tensor([True, False])}
    no_leaf = pytest.raises(ValueError, match="frozen is not a parameter to train")
    with no_leaf, hold_masks(weights, masks, task.optimizer):
        pytest.fail("the block must not run")
    assert frozen.tolist() == [1, 1] and task.weight.all()  # nothing was changed
    task.step()
    assert task.weight.grad[~MASK].all() and task.weight[~MASK].all()


def test_masks_of_two_blocks_hold_together():
    task = Regression("sgd")
    bias_mask = torch.tensor([True, False, True, False, True])
    with task.hold(), hold_masks({"b": task.bias}, {"b": bias_mask}, task.optimizer):
        task.step()
        assert not task.weight[~MASK].any() and not task.bias[~bias_mask].any()
        assert task.bias[bias_mask].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_held_is_a_zero_whatever_it_was_and_all_else_keeps_its_bits(dtype):
    odd = [math.inf, -math.inf, math.nan, -0.0, 1.5, -2.25, 1e-7, 3.0]
    weight = nn.Parameter(torch.tensor(odd, dtype=dtype).repeat(2, 1))
    before = weight.detach().clone()
    mask = torch.tensor([[True] * 8, [False] * 8])
    with hold_masks({"w": weight}, {"w": mask}, torch.optim.SGD([weight], lr=0.0)):
        weight.backward(before)  # a gradient of the same numbers
        for held in (weight.detach(), weight.grad):
            assert held[0].view(torch.uint8).equal(before[0].view(torch.uint8))
            assert not held[1].view(torch.uint8).any()


def test_a_mask_changed_in_place_and_another_one_hold_from_the_next_step_on():
    task, masks = Regression("sgd"), {"w": MASK.clone()}
    with hold_masks({"w": task.weight}, masks, task.optimizer):
        task.step()
        masks["w"][0] = False
        task.step()
        assert not task.weight[0].any() and not task.weight.grad[0].any()
        masks["w"] = torch.zeros(4, 5, dtype=torch.bool)
        task.step()
        assert not task.weight.any() and not task.weight.grad.any()
        with torch.inference_mode():
            masks["w"] = torch.ones(4, 5, dtype=torch.bool)
        task.step()
        assert task.weight.all()
        masks["w"] = torch.ones(4, 5)
        with pytest.raises(TypeError, match="the mask of w must be a bool tensor"):
            task.step()


def test_a_gradient_with_a_graph_of_its_own_is_masked_and_can_be_derived():
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    mask = {"w": torch.tensor([True, False, True])}
    with hold_masks({"w": weight}, mask, torch.optim.SGD([weight], lr=0.1)):
        weight.pow(3).sum().backward(create_graph=True)
        assert weight.grad.tolist() == [3, 0, 27]
        (second,) = torch.autograd.grad(weight.grad.sum(), weight)
        assert second.tolist() == [6, 0, 18]


def test_weights_of_other_strides_are_held_too():
    weight = nn.Parameter(torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    mask = torch.rand(2, 3, 4, 4) < 0.5
    with hold_masks({"w": weight}, {"w": mask}, torch.optim.SGD([weight], lr=0.1)) as _:
        weight.square().sum().backward()
        assert weight.any() and not weight[~mask].any() and not weight.grad[~mask].any()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_masks_on_cuda_are_those_on_the_cpu(dtype):
    generator = torch.Generator().manual_seed(0)
    weights = {
        "random": torch.randn(300, 784, generator=generator).to(dtype),
        "ties": torch.randint(-3, 4, (100, 300), generator=generator).to(dtype),
    }
    there = {name: w.cuda() for name, w in weights.items()}
    for sparsity in (0, 0.3, 0.93, 1):
        here, on_cuda = global_masks(weights, sparsity), global_masks(there, sparsity)
        for name, weight in weights.items():
            assert on_cuda[name].is_cuda
            assert on_cuda[name].cpu().equal(here[name])
            one = magnitude_mask(there[name], sparsity)
            assert one.cpu().equal(magnitude_mask(weight, sparsity))
        applied = apply_masks(there, on_cuda)
        for name, weight in apply_masks(weights, here).items():
            assert applied[name].cpu().equal(weight)


@pytest.mark.gpu
def test_masks_on_another_device_than_the_weights_are_refused():
    weights, masks = {"w": torch.ones(2).cuda()}, {"w": torch.tensor([True, False])}
    with pytest.raises(ValueError, match="w is on cpu, its weight on cuda"):
        apply_masks(weights, masks)
    with pytest.raises(ValueError, match="different devices"):
        global_masks({"a": torch.ones(2), "b": torch.ones(2).cuda()}, 0.5)
