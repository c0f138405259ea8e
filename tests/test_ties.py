"""A tensor under several names is one tensor: one mask, one codebook, one count, one gradient."""

import pytest
import torch
from torch import nn

from shrink import pruning
from shrink.pruning import units
from shrink.quantization.aware import prepare
from shrink.sharing import hold_shared, share
from shrink.tensors import first_names
from tests import depth


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TiedText(nn.Module):
    """An embedding whose weight the last layer has too, and one layer under two names."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embedding.weight
            self.hidden = nn.Linear(4, 4, bias=False)
            self.again = self.hidden

    def forward(self, words):
        return self.head(self.again(self.hidden(self.embedding(words)).relu()))


WORDS = torch.tensor([1, 2, 5, 0, 6])
ONCE = {"embedding": 28, "hidden": 16}  # its numbers


def under_all_names(net):
    named = net.named_parameters(remove_duplicate=False)
    return {name.removesuffix(".weight"): weight for name, weight in named}


def under_one_name(net):
    return {name.removesuffix(".weight"): weight for name, weight in net.named_parameters()}


def kept(masks, names):
    return sum(int(masks[name].sum()) for name in names)


# ---- which tensors are one


TWICE = nn.Sequential(*[nn.Linear(2, 2)] * 2).state_dict()
W = nn.Parameter(numbers(4, 4))
SAME = {
    "one object": (W, W),
    "a parameter and its data": (W, W.data),
    "two parameters of one memory": (W, nn.Parameter(W.data)),
    "a view that changes nothing": (W, W.view(4, 4)),
    "a state dict's": (TWICE["0.weight"], TWICE["1.weight"]),
}
APART = {
    "a copy": (W, W.detach().clone()),
    "rows and the others": (W[:2], W[2:]),
    "columns and the others": (W[:, :2], W[:, 2:]),
    "what is empty": (W[:0], W[:0].view(0, 4)),
    "parts of one packed weight": tuple(W.chunk(2, 1)),
    "what has no values": (torch.empty(2, device="meta"), torch.empty(2, device="meta")),
}
ENTWINED = {
    "the transpose": (W, W.t()),
    "some rows": (W, W[:2]),
    "some columns": (W, W[:, 1:3]),
    "rows that meet": (W[:3], W[2:]),
    "another shape": (W, W.view(2, 8)),
    "another type": (W.data, W.data.view(torch.int32)),
    "every other number": (W.view(-1)[::2], W.view(-1)[::4]),
    "a number many times": (W, W[0, 0].expand(3)),
}


@pytest.mark.parametrize("what", SAME)
def test_one_tensor_has_one_first_name(what):
    a, b = SAME[what]
    named = {"a": a, "other": torch.ones(4), "b": b}
    assert first_names(named) == {"a": "a", "other": "other", "b": "a"}


@pytest.mark.parametrize("what", APART)
def test_tensors_without_a_number_in_common_are_two(what):
    a, b = APART[what]
    assert first_names({"a": a, "b": b}) == {"a": "a", "b": "b"}


@pytest.mark.parametrize("what", ENTWINED)
def test_a_view_of_another_is_named_unless_neither_matters(what):
    for a, b in (ENTWINED[what], ENTWINED[what][::-1]):
        named = {"first": a, "other": torch.ones(4), "second": b}
        with pytest.raises(ValueError, match="share memory"):
            first_names(named)
        with pytest.raises(ValueError, match="share memory"):
            first_names(named, used=["second"])
        assert first_names(named, used=["other"])


# ---- masks


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.77, 1])
def test_tied_weights_have_one_mask_and_count_once(sparsity):
    net = TiedText()
    masks = pruning.global_masks(under_all_names(net), sparsity)
    assert list(masks) == ["embedding", "head", "hidden", "again"]
    assert masks["embedding"] is masks["head"] and masks["hidden"] is masks["again"]
    assert kept(masks, ONCE) == 44 - round(44 * sparsity)
    alone = pruning.global_masks(under_one_name(net), sparsity)
    assert all(masks[name].equal(alone[name]) for name in ONCE)


def test_one_weight_of_three_under_two_names():
    w = torch.tensor([1.0, 2.0, 3.0])
    masks = pruning.global_masks({"a": w, "b": w}, 0.5)
    assert masks["a"].tolist() == masks["b"].tolist() == [False, False, True]  # round(1.5) is 2


def test_masks_of_tied_weights_grow_as_one_and_shuffle_as_one():
    weights = under_all_names(TiedText())
    masks = pruning.grow_masks(weights, pruning.global_masks(weights, 0.3), 0.6)
    assert kept(masks, ONCE) == 44 - round(44 * 0.6)
    shuffled = pruning.shuffle_masks(masks, seed=3)
    assert shuffled["embedding"] is shuffled["head"] is not masks["head"]
    assert kept(shuffled, ONCE) == kept(masks, ONCE)


def test_a_mask_under_one_name_is_applied_under_all():
    state = TiedText().state_dict()
    mask = numbers(7, 4, seed=1) > 0
    for name in ("embedding.weight", "head.weight"):
        applied = pruning.apply_masks(state, {name: mask})
        assert applied["embedding.weight"] is applied["head.weight"]
        assert applied["head.weight"].equal(state["head.weight"] * mask)
        assert applied["hidden.weight"].equal(state["hidden.weight"])


@pytest.mark.parametrize("names", [["embedding"], ["head"], ["embedding", "head"]])
def test_tied_weights_are_held_as_one(names):
    found = []
    for chosen in (["embedding"], names):
        net = TiedText()
        weights = {name: under_all_names(net)[name] for name in chosen}
        sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        mask = pruning.magnitude_mask(net.head.weight, 0.5)
        with pruning.hold_masks(weights, dict.fromkeys(chosen, mask), sgd):
            for _ in range(3):
                sgd.zero_grad()
                net(WORDS).square().sum().backward()
                assert not net.head.weight.grad[~mask].any()
                sgd.step()
        assert not net.head.weight[~mask].any() and net.head.weight[mask].all()
        found.append(net.head.weight.detach())
    assert found[0].equal(found[1])


def test_masks_of_one_weight_that_differ_are_refused_and_nothing_is_changed():
    net = TiedText()
    before = net.head.weight.detach().clone()
    weights = {name: under_all_names(net)[name] for name in ("embedding", "head")}
    mask = numbers(7, 4, seed=1) > 0
    masks = {"embedding": mask, "head": ~mask}
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    told = "embedding and head are one tensor"
    with pytest.raises(ValueError, match=told):
        pruning.apply_masks(weights, masks)
    with pytest.raises(ValueError, match=told):
        pruning.grow_masks(weights, masks, 0.9)
    with pytest.raises(ValueError, match=told), pruning.hold_masks(weights, masks, sgd):
        pytest.fail("entered")
    assert net.head.weight.equal(before) and not sgd._optimizer_step_post_hooks


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.77, 1])
@pytest.mark.parametrize("steps", [1, 4])
def test_pruning_by_scores_counts_tied_weights_once(sparsity, steps):
    """One layer is scored under both of its names, another under one: all others would tie."""
    names = ["embedding.weight", "head.weight", "hidden.weight"]

    def score(net):
        return {name: net.get_parameter(name).abs() for name in names}

    net = TiedText()
    masks = pruning.prune_by_score(net, score, sparsity, steps)
    assert list(masks) == names and masks["embedding.weight"] is masks["head.weight"]
    alone = pruning.global_masks(under_one_name(net), sparsity)
    assert all(masks[f"{name}.weight"].equal(alone[name]) for name in ONCE)


def test_gradual_pruning_counts_tied_weights_once():
    net = TiedText()
    weights = under_all_names(net)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    with pruning.prune_gradually(weights, sgd, lambda step: 0.05 * step, every=1) as masks:
        for _ in range(2):
            sgd.zero_grad()
            net(WORDS).square().sum().backward()
            sgd.step()
    assert kept(masks, ONCE) == 44 - round(44 * 0.1)
    assert sum(int((weights[name] != 0).sum()) for name in ONCE) == 40


def test_pruning_in_rounds_counts_tied_weights_once():
    net = TiedText()
    seen = []
    masks = pruning.prune_iteratively(
        under_all_names(net), [0.25, 0.5], lambda masks: seen.append(kept(masks, ONCE))
    )
    assert seen == [33, 22] and masks["embedding"] is masks["head"]


def test_a_tied_layer_is_pruned_under_both_names_to_see_what_it_can_lose():
    net = TiedText()
    weights, asked = under_all_names(net), []

    def evaluate(pruned):
        asked.append(all(pruned[a] is pruned[b] for a, b in [("embedding", "head")]))
        return sum(int((pruned[name] == 0).sum()) for name in ONCE)

    found = pruning.sensitivity(weights, evaluate, [0, 0.5])
    assert found == {"embedding": [0, 14], "head": [0, 14], "hidden": [0, 8], "again": [0, 8]}
    assert asked == [True] * 4


@pytest.mark.parametrize("names", [["embedding"], ["head"], ["embedding", "head"]])
def test_a_tied_weight_is_pruned_round_by_round_as_one_and_rewound_as_one(names):
    names = [f"{name}.weight" for name in names]
    net = TiedText()
    state = pruning.snapshot(net)
    assert state["embedding.weight"] is state["head.weight"] is not net.head.weight
    began = []

    @torch.no_grad()
    def train(net, masks, watch):
        began.append(net.head.weight.clone())
        net.head.weight.add_(torch.where(masks[names[0]], numbers(7, 4, seed=2), 0))

    masks = dict.fromkeys(names, torch.ones(7, 4, dtype=torch.bool))
    for found in pruning.find_tickets(net, train, masks, 0.3, 2):
        mask = found.masks[names[0]]
        assert list(found.masks) == names and found.masks[names[-1]] is mask
        assert int(mask.sum()) == pruning.count_survivors(28, 0.3, 2)[found.number]
        assert began[-1].equal(state["head.weight"] * mask)
    assert net.embedding.weight is net.head.weight and len(began) == 3
    pruning.rewind(net, state, {names[-1]: mask})
    assert net.embedding.weight.equal(state["embedding.weight"] * mask)


def test_tied_weights_count_once_in_what_is_left():
    weights = under_all_names(TiedText())
    shares = pruning.kept_shares({n: w for n, w in weights.items() if n != "again"}, 0.2, 2)
    assert shares == [1, (22 + 13) / 44, (18 + 10) / 44]
    pruned = pruning.prune_survivors(weights, pruning.global_masks(weights, 0), 0.2)
    assert pruned["embedding"] is pruned["head"] and kept(pruned, ONCE) == 22 + 13
    signed = pruning.signed_constants(weights)
    assert signed["embedding"] is signed["head"] is not signed["hidden"]


def test_tied_weights_with_two_rates_or_two_states_are_refused():
    net = TiedText()
    weights = under_all_names(net)
    masks = pruning.global_masks(weights, 0)
    rates = {"embedding": 0.2, "head": 0.1, "hidden": 0.2, "again": 0.2}
    with pytest.raises(ValueError, match=r"embedding and head are one tensor.*0\.2 and 0\.1"):
        pruning.prune_survivors(weights, masks, rates)
    state = pruning.snapshot(net)
    copies = {name: tensor.clone() for name, tensor in state.items()}
    pruning.rewind(net, copies, {})
    copies["head.weight"][0, 0] += 1
    with pytest.raises(ValueError, match=r"embedding\.weight and head\.weight are one tensor"):
        pruning.rewind(net, copies, {})
    assert net.head.weight.equal(state["head.weight"])


@pytest.mark.parametrize("what", ["the transpose", "some rows", "another shape"])
def test_views_of_a_weight_are_refused_by_all_that_prunes(what):
    a, b = (view.detach() for view in ENTWINED[what])
    weights, masks = {"a": a, "b": b}, {"b": torch.ones(b.shape, dtype=torch.bool)}
    both = {"a": torch.ones(a.shape, dtype=torch.bool), **masks}
    for act in (
        lambda: pruning.global_masks(weights, 0.5),
        lambda: pruning.sensitivity(weights, lambda pruned: pytest.fail("evaluated"), [0.5]),
        lambda: pruning.prune_iteratively(weights, [0.5], lambda masks: pytest.fail("trained")),
        lambda: pruning.apply_masks(weights, masks),
        lambda: pruning.prune_survivors(weights, both, 0.5),
        lambda: pruning.signed_constants(weights),
        lambda: pruning.kept_shares(weights, 0.5, rounds=1),
    ):
        with pytest.raises(ValueError, match="share memory"):
            act()


def test_tied_layers_do_not_lose_units_apart():
    w = numbers(3, 3)
    with pytest.raises(ValueError, match="a and b have one weight"):
        units.keep_units({"a.weight": w, "b.weight": w}, ["a", "b"], [torch.tensor([0])])


# ---- training aware of quantization


def test_tied_weights_and_a_layer_under_two_names_are_rounded_in_no_two_ways():
    with pytest.raises(ValueError, match="hidden and again are one layer"):
        prepare(TiedText())
    net = TiedText()
    net.again = nn.Linear(4, 4, bias=False)
    with pytest.raises(ValueError, match=r"embedding\.weight and head\.weight are one tensor"):
        prepare(net)
    net.head.weight = nn.Parameter(net.head.weight.detach().clone())
    assert prepare(net)(WORDS).shape == (5, 7)


# ---- codebooks


@pytest.mark.parametrize("seed", depth.seeds(6, 2))
@pytest.mark.parametrize("names", [["head"], ["embedding", "head"]])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_shared_weight_under_two_names_has_the_gradient_of_one(names, reduction, seed):
    found = []
    for chosen in (["embedding"], names):
        net = TiedText()
        weights = {name: under_all_names(net)[name] for name in chosen}
        one = share(net.head.weight, 3, "random", seed=seed)
        shared = dict.fromkeys(chosen, one)
        sgd = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
        with hold_shared(weights, shared, sgd, reduction):
            for _ in range(3):
                sgd.zero_grad()
                net(WORDS).square().sum().backward()
                sgd.step()
        assert all(shared[name] is shared[chosen[0]] for name in chosen)
        assert shared[chosen[0]].weight.equal(net.head.weight)
        found.append(net.head.weight.detach())
    assert found[0].equal(found[1])


def test_the_gradient_of_a_weight_under_two_names_by_hand():
    e = nn.Parameter(torch.tensor([1.0, 1.0]))
    shared = {name: share(e, 1) for name in ("emb", "head")}
    sgd = torch.optim.SGD([e], lr=0.1)
    with hold_shared({"emb": e, "head": e}, shared, sgd):
        e.sum().backward()
        assert e.grad.tolist() == [2, 2]
        sgd.step()
    assert shared["emb"].codebook.tolist() == pytest.approx([0.8])


def test_two_parameters_of_one_memory_each_bring_their_gradient():
    data = torch.tensor([1.0, 1.0])
    a, b = nn.Parameter(data), nn.Parameter(data)
    shared = {"a": share(a, 1), "b": share(b, 1)}
    sgd = torch.optim.SGD([a, b], lr=0.1)
    with hold_shared({"a": a, "b": b}, shared, sgd):
        (a.sum() + 2 * b.sum()).backward()
        sgd.step()
    assert shared["a"].codebook.tolist() == pytest.approx([1 - 0.1 * (2 + 4)])
    assert shared["b"] is shared["a"]


@pytest.mark.parametrize("what", ["another codebook", "a view"])
def test_one_weight_shared_in_two_ways_is_refused_and_nothing_is_changed(what):
    e = nn.Parameter(numbers(4, 4))
    before = e.detach().clone()
    other = e if what == "another codebook" else nn.Parameter(e.data.t())
    shared = {"emb": share(e, 2), "head": share(other, 3)}
    sgd = torch.optim.SGD([e], lr=0.1)
    told = "emb and head (are one tensor|share memory)"
    with pytest.raises(ValueError, match=told), hold_shared({"emb": e, "head": other}, shared, sgd):
        pytest.fail("entered")
    assert e.equal(before) and not sgd._optimizer_step_post_hooks
