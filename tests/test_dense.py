"""What is no dense tensor with values is refused by name, and before anything is changed."""

import pytest
import torch
from torch import nn

from shrink import distillation, pruning
from shrink.quantization import qparams_of, quantize
from shrink.sharing import centroid_gradient, fit_codebook, hold_shared, share

WORDS = torch.tensor([1, 2, 2])


def embedding(sparse=True):
    return nn.Embedding(6, 4, sparse=sparse)


def held_by_masks(weight, optimizer):
    masks = {"words": torch.arange(weight.numel()).view(weight.shape) % 2 == 0}
    return pruning.hold_masks({"words": weight}, masks, optimizer)


def held_by_codebook(weight, optimizer):
    return hold_shared({"words": weight}, {"words": share(weight, 2)}, optimizer)


def held_gradually(weight, optimizer):
    return pruning.prune_gradually({"words": weight}, optimizer, lambda step: 0.5)


HOLD = [held_by_masks, held_by_codebook, held_gradually]
SAID = "the gradient of words is sparse, and it must be dense: build the layer with sparse=False"


@pytest.mark.parametrize("hold", HOLD)
def test_a_sparse_gradient_is_named_before_a_step(hold):
    layer = embedding()
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=SAID), hold(layer.weight, sgd):
        layer(WORDS).sum().backward()
    assert not sgd._optimizer_step_post_hooks
    layer(WORDS).sum().backward()  # no hook is left
    sgd.step()


@pytest.mark.parametrize("hold", HOLD)
def test_a_sparse_gradient_that_is_there_is_named_before_anything_is_changed(hold):
    layer = embedding()
    before = layer.weight.detach().clone()
    layer(WORDS).sum().backward()
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=SAID), hold(layer.weight, sgd):
        pytest.fail("entered")
    assert layer.weight.equal(before) and not sgd._optimizer_step_post_hooks


@pytest.mark.parametrize("hold", HOLD)
def test_an_optimizer_of_sparse_gradients_is_named_before_anything_is_changed(hold):
    layer = embedding()
    before = layer.weight.detach().clone()
    adam = torch.optim.SparseAdam(layer.parameters())
    with pytest.raises(TypeError, match="SparseAdam"), hold(layer.weight, adam):
        pytest.fail("entered")
    assert layer.weight.equal(before)


@pytest.mark.parametrize("hold", HOLD)
def test_an_expanded_weight_is_named_before_anything_is_changed(hold):
    weight = nn.Parameter(torch.arange(3.0).view(3, 1).expand(3, 4))
    sgd = torch.optim.SGD([weight], lr=0.1)
    with pytest.raises(ValueError, match="words is expanded"), hold(weight, sgd):
        pytest.fail("entered")
    assert weight.sum() == 12 and not sgd._optimizer_step_post_hooks


@pytest.mark.parametrize("optimizer", [None, "sgd", torch.optim.lr_scheduler.LRScheduler])
@pytest.mark.parametrize("hold", HOLD)
def test_what_is_no_optimizer_is_named_before_anything_is_changed(hold, optimizer):
    weight = nn.Parameter(torch.arange(6.0))
    with pytest.raises(TypeError, match="the optimizer is a"), hold(weight, optimizer):
        pytest.fail("entered")
    assert weight.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("hold", HOLD)
def test_a_dense_embedding_is_held(hold):
    layer = embedding(sparse=False)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    with hold(layer.weight, sgd):
        layer(WORDS).sum().backward()
        sgd.step()


ODD = {
    "coo": (torch.eye(4).to_sparse(), TypeError, "w must be a dense tensor, not torch.sparse_coo"),
    "csr": (torch.eye(4).to_sparse_csr(), TypeError, "w must be a dense tensor, not torch.sparse_"),
    "nested": (
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        TypeError,
        "w must be a dense tensor, not a nested one",
    ),
    "lazy": (nn.UninitializedParameter(), TypeError, "w has no shape yet: call its lazy layer"),
    "meta": (torch.ones(4, device="meta"), ValueError, "w has no values: .* meta"),
    "quantized": (
        torch.quantize_per_tensor(torch.ones(4), 1, 0, torch.qint8),
        TypeError,
        "w must be a dense tensor, not one that torch quantized",
    ),
    "8 bits": (torch.ones(4).to(torch.float8_e5m2), TypeError, "not torch.float8_e5m2"),
    "numpy": (torch.ones(4).numpy(), TypeError, "w must be a tensor, not a ndarray"),
}


@pytest.mark.parametrize("what", ODD)
def test_weights_that_cannot_be_ranked_are_named(what):
    weight, error, said = ODD[what]
    weights = {"other": torch.ones(3), "w": weight}
    for act in (
        lambda: pruning.global_masks(weights, 0.5),
        lambda: pruning.sensitivity(weights, lambda pruned: pytest.fail("evaluated"), [0.5]),
        lambda: pruning.prune_iteratively(weights, [0.5], lambda masks: pytest.fail("trained")),
    ):
        with pytest.raises(error, match=said):
            act()
    with pytest.raises(error, match=said.replace("w ", "weight ")):
        pruning.magnitude_mask(weight, 0.5)


@pytest.mark.parametrize("what", ["coo", "csr", "nested", "lazy", "numpy"])
def test_weights_that_cannot_be_masked_are_named_and_others_are_let_be(what):
    weight, error, said = ODD[what]
    mask = torch.ones(4, dtype=torch.bool)
    with pytest.raises(error, match=said):
        pruning.apply_masks({"w": weight}, {"w": mask})
    if isinstance(weight, torch.Tensor) and what in ("coo", "csr"):
        weights = {"other": torch.ones(4), "w": weight}
        assert pruning.apply_masks(weights, {"other": ~mask})["other"].sum() == 0


@pytest.mark.parametrize("mask", [torch.eye(4).bool().to_sparse(), torch.eye(4), [True]])
def test_only_masks_are_shuffled(mask):
    with pytest.raises(TypeError, match=r"w must be a (bool |dense )?tensor"):
        pruning.shuffle_masks({"w": mask}, 0)


def freed():
    """A tensor whose memory was given back, as sharded training does; to read it ends Python."""
    weight = torch.ones(4, 4)
    weight.untyped_storage().resize_(0)
    return weight


@pytest.mark.parametrize(
    "read",
    [
        lambda w: pruning.magnitude_mask(w, 0.5),
        lambda w: pruning.apply_masks({"w": w}, {"w": torch.ones(4, 4, dtype=torch.bool)}),
        lambda w: share(w, 2),
        lambda w: distillation.soften(w, 2.0),
        lambda w: qparams_of(w),
        lambda w: quantize(w, qparams_of(torch.ones(4))),
    ],
)
def test_freed_memory_is_not_read(read):
    with pytest.raises(TypeError, match="must be a dense tensor, not one whose memory is freed"):
        read(freed())


def test_a_sparse_mask_is_named():
    with pytest.raises(TypeError, match="the mask of w must be a dense tensor"):
        pruning.apply_masks({"w": torch.eye(4)}, {"w": torch.eye(4).bool().to_sparse()})


@pytest.mark.parametrize("what", ["coo", "csr", "nested", "numpy", "quantized"])
def test_what_has_no_codebook_is_named(what):
    weight, _, _ = ODD[what]
    for act in (
        lambda: share(weight, 2),
        lambda: fit_codebook(weight, 2),
        lambda: centroid_gradient(weight, torch.zeros(4, 4, dtype=torch.long), 1),
    ):
        with pytest.raises(TypeError, match=r"must be (a dense tensor|a tensor|floating point)"):
            act()
