"""Answers to exercises 1 to 3 of chapter 09, of a round and its controls, right and wrong ones."""

import copy
import heapq
import math
import random

import numpy as np
import torch
from torch import nn

from shrink.chapters.tickets.controls import make_controls
from shrink.chapters.tickets.survivors import prune_survivors
from shrink.chapters.tickets.ticket import find_ticket
from tests.chapters.wrong import CHANGED, changed, in_each

right_round = prune_survivors.reference
right_ticket = find_ticket.reference
right_controls = make_controls.reference

# --- right answers -------------------------------------------------------------------------


def by_positions_of_survivors(weights, masks, rates):
    new = {}
    for name in reversed(list(weights)):
        places = masks[name].nonzero()
        sizes = weights[name][masks[name]].abs()
        goes = places[sizes.topk(round(rates[name] * len(places)), largest=False).indices]
        new[name] = masks[name].clone()
        new[name][tuple(goes.T)] = False
    return new


def in_numpy_the_last_of_equal_ones(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        keep = mask.cpu().numpy().copy()
        sizes = np.abs(weights[name].detach().cpu().numpy())
        order = np.lexsort((-np.arange(keep.size), np.where(keep, sizes, np.inf).ravel()))
        keep.ravel()[order[: round(rates[name] * keep.sum())]] = False
        new[name] = torch.from_numpy(keep).to(mask.device)
    return new


def with_a_heap(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        kept, sizes = mask.flatten().tolist(), weights[name].detach().abs().flatten().tolist()
        left = [i for i, keep in enumerate(kept) if keep]
        for i in heapq.nsmallest(round(rates[name] * len(left)), left, key=sizes.__getitem__):
            kept[i] = False
        new[name] = torch.tensor(kept, device=mask.device).view(mask.shape)
    return new


def by_threshold_and_ties(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        sizes, number = weights[name].detach().abs(), round(rates[name] * int(mask.sum()))
        if number == 0:
            new[name] = mask
            continue
        threshold = sizes[mask].kthvalue(number).values
        new[name] = keep = mask & (sizes > threshold)
        ties = (mask & (sizes == threshold)).nonzero()
        stay = int(mask.sum()) - number - int(keep.sum())
        keep[tuple(ties[:stay].T)] = True
    return new


def on_a_copy(model, train, prune):
    """The model is not trained at all: a copy is."""
    twin = copy.deepcopy(model)
    train(twin)
    masks = prune(twin)
    for name, mask in masks.items():
        model.get_parameter(name).data[~mask] = 0
    return masks


def by_deepcopy_of_the_state(model, train, prune):
    state = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    model.load_state_dict(state)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in masks:
                p.copy_(torch.where(masks[name], p, 0))
    return masks


def parameter_by_parameter(model, train, prune):
    parameters = [p.detach().clone() for p in model.parameters()]
    buffers = [b.clone() for b in model.buffers()]
    train(model)
    masks = dict(reversed(prune(model).items()))
    for (name, p), first in zip(model.named_parameters(), parameters, strict=True):
        p.data = first.masked_fill(~masks[name], 0) if name in masks else first
    for b, first in zip(model.buffers(), buffers, strict=True):
        b.copy_(first)
    return masks


def by_numpy(model, train, prune):
    first = {name: t.cpu().numpy().copy() for name, t in model.state_dict().items()}
    train(model)
    masks = prune(model)
    for name, tensor in model.state_dict().items():
        keep = masks[name].cpu().numpy() if name in masks else True
        tensor.copy_(torch.from_numpy(np.where(keep, first[name], 0).astype(first[name].dtype)))
    return masks


def uniform_by_hand(model, masks, seed):
    """From a generator of its own, without reset_parameters, and masked already."""
    g = torch.Generator().manual_seed(7 * seed + 1)
    net = copy.deepcopy(model)
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            with torch.no_grad():
                for p in (layer.weight, layer.bias):
                    p.copy_(bound * (2 * torch.rand(p.shape, generator=g) - 1))
                layer.weight *= masks.get(f"{name}.weight", 1)
    shuffled = {}
    for name, mask in masks.items():
        places = torch.randperm(mask.numel(), generator=g)[: int(mask.sum())]
        flat = torch.zeros(mask.numel(), dtype=torch.bool)
        flat[places] = True
        shuffled[name] = flat.view(mask.shape).to(mask.device)
    return [net, shuffled]


def in_numpy(model, masks, seed):
    rng = np.random.default_rng([seed, 1])
    net = copy.deepcopy(model)
    layers = dict(net.named_modules())
    for name, p in net.named_parameters():
        bound = 1 / math.sqrt(layers[name.rpartition(".")[0]].in_features)
        p.data = torch.from_numpy(rng.uniform(-bound, bound, tuple(p.shape))).to(p)
    new = {n: rng.permutation(m.cpu().numpy().ravel()).reshape(m.shape) for n, m in masks.items()}
    return net, {n: torch.from_numpy(m).to(masks[n].device) for n, m in reversed(new.items())}


def the_same_generator_for_both(model, masks, seed):
    """Draws with the model's own seed, but what it draws first are places."""
    torch.manual_seed(seed)
    order = {name: torch.rand(mask.numel()).argsort() for name, mask in masks.items()}
    new = {n: m.flatten()[order[n].to(m.device)].reshape(m.shape) for n, m in masks.items()}
    net = copy.deepcopy(model)
    net.apply(lambda layer: getattr(layer, "reset_parameters", lambda: None)())
    return net, new


def kaiming(model, masks, seed):
    """As nn.Linear is written."""
    torch.manual_seed(hash((seed, "again")) % 2**31)
    net = copy.deepcopy(model)
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
            bound = layer.weight.shape[1] ** -0.5
            nn.init.uniform_(layer.bias, -bound, bound)
    order = random.Random(seed)
    new = {}
    for name, mask in masks.items():
        places = mask.flatten().tolist()
        order.shuffle(places)
        new[name] = torch.tensor(places, device=mask.device).view_as(mask)
    return net, new


RIGHT = {
    "prune_survivors": [
        by_positions_of_survivors,
        in_numpy_the_last_of_equal_ones,
        with_a_heap,
        by_threshold_and_ties,
    ],
    "find_ticket": [
        on_a_copy,
        by_deepcopy_of_the_state,
        parameter_by_parameter,
        by_numpy,
    ],
    "make_controls": [
        uniform_by_hand,
        in_numpy,
        the_same_generator_for_both,
        kaiming,
    ],
}

# --- wrong: known mistakes as students write them ------------------------------------------


def _zeros_by_topk(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        sizes = (weights[name].detach() * mask).abs().flatten()
        smallest = sizes.topk(round(rates[name] * int(mask.sum())), largest=False).indices
        keep = torch.ones_like(mask).flatten()
        keep[smallest] = False
        new[name] = mask & keep.view(mask.shape)
    return new


def _library_masks(weights, masks, rates):
    """The masks of chapter 02, at the sparsity of one round."""
    new = {}
    for name, weight in weights.items():
        sizes = weight.detach().abs().flatten()
        order = sizes.argsort(stable=True)
        new[name] = torch.ones_like(sizes, dtype=torch.bool)
        new[name][order[: round(rates[name] * len(sizes))]] = False
        new[name] = new[name].view(weight.shape)
    return new


def _above_the_next(weights, masks, rates):
    """As open_lth has it."""
    new = {}
    for name, mask in masks.items():
        left = np.abs(weights[name].detach().cpu().numpy()[mask.cpu().numpy()])
        threshold = np.sort(left)[round(rates[name] * int(mask.sum()))]
        new[name] = torch.where(weights[name].abs() > threshold, mask, False)
    return new


def _above_kthvalue(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        number = round(rates[name] * int(mask.sum()))
        sizes = weights[name].detach().abs()
        new[name] = mask & (sizes > sizes[mask].kthvalue(number).values) if number else mask
    return new


def _one_threshold(weights, masks, rates):
    left = torch.cat([weights[name].detach().abs()[mask] for name, mask in masks.items()])
    number = sum(round(rates[name] * int(mask.sum())) for name, mask in masks.items())
    threshold = left.kthvalue(number).values
    return {name: mask & (weights[name].abs() > threshold) for name, mask in masks.items()}


def _largest_rate(weights, masks, rates):
    return right_round(weights, masks, max(rates.values()))


def _smallest_of_the_signed(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        places = mask.flatten().nonzero().flatten()
        smallest = weights[name].detach().flatten()[places].argsort()
        new[name] = mask.flatten().clone()
        new[name][places[smallest[: round(rates[name] * len(places))]]] = False
        new[name] = new[name].view(mask.shape)
    return new


def _floor(weights, masks, rates):
    return {
        name: right_round({name: weights[name]}, {name: mask}, number / max(left, 1))[name]
        for name, mask in masks.items()
        if (left := int(mask.sum())) > -1 and (number := math.floor(rates[name] * left)) > -1
    }


def _state_dict_as_it_is(model, train, prune):
    state = model.state_dict()
    train(model)
    masks = prune(model)
    for name, mask in masks.items():
        state[name] *= mask
    model.load_state_dict(state)
    return masks


def _detached(model, train, prune):
    first = {name: p.detach() for name, p in model.named_parameters()}
    first |= dict(model.named_buffers())
    train(model)
    masks = prune(model)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(first[name] * masks.get(name, 1))
    return masks


def _copied_after_training(model, train, prune):
    """What the last round ended with."""
    train(model)
    state = copy.deepcopy(model.state_dict())
    masks = prune(model)
    model.load_state_dict(
        {n: t.where(masks.get(n, torch.tensor(True)), 0) for n, t in state.items()}
    )
    return masks


def _masked_in_a_local(model, train, prune):
    state = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    for name, tensor in state.items():
        if name in masks:
            tensor = tensor * masks[name]
    model.load_state_dict(state)
    return masks


def _prunes_first(model, train, prune):
    masks = prune(model)
    state = copy.deepcopy(model.state_dict())
    train(model)
    model.load_state_dict({n: t * masks[n] if n in masks else t for n, t in state.items()})
    return masks


def _indexed_by_the_mask(model, train, prune):
    first = copy.deepcopy(model)
    train(model)
    masks = prune(model)
    everything = first.state_dict()
    for name, tensor in model.state_dict().items():
        if name in masks:
            tensor[masks[name]] = everything[name][masks[name]]
        else:
            tensor.copy_(everything[name])
    return masks


def _named_weight(model, train, prune):
    first = {n: p.detach().clone() for n, p in model.named_parameters() if n.endswith("weight")}
    train(model)
    masks = prune(model)
    for name, p in first.items():
        model.get_parameter(name).data = p * masks[name] if name in masks else p
    return masks


def _those_with_masks(model, train, prune):
    first = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    model.load_state_dict({name: first[name] * mask for name, mask in masks.items()}, strict=False)
    return masks


def _all_parameters(model, train, prune):
    first = [p.detach().clone() for p in model.parameters()]
    train(model)
    masks = prune(model)
    for (name, p), its in zip(model.named_parameters(), first, strict=True):
        p.data.copy_(its * masks[name] if name in masks else its)
    return masks


def _assigned(model, train, prune):
    state = {name: t.clone() for name, t in model.state_dict().items()}
    train(model)
    masks = prune(model)
    state |= {name: state[name] * mask for name, mask in masks.items()}
    model.load_state_dict(state, assign=True)
    return masks


def _another_model(model, train, prune):
    first = copy.deepcopy(model)
    train(model)
    masks = prune(model)
    model = first
    for name, mask in masks.items():
        model.get_parameter(name).data *= mask
    return masks


def _reset(model):
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return model


def _the_seed_that_is_given(model, masks, seed):
    torch.manual_seed(seed)
    return _reset(copy.deepcopy(model)), right_controls(model, masks, seed)[1]


def _the_model_itself(model, masks, seed):
    return model, right_controls(model, masks, seed)[1]


def _first_layer_alone(model, masks, seed):
    net, new = right_controls(model, masks, seed)
    net.fc2.weight.data = model.fc2.weight.detach().clone()
    return net, new


def _weights_by_uniform(model, masks, seed):
    torch.manual_seed(seed + 5)
    net = copy.deepcopy(model)
    for p in net.parameters():
        if p.dim() == 2:
            torch.nn.init.uniform_(p, -(p.shape[1] ** -0.5), p.shape[1] ** -0.5)
    return net, right_controls(model, masks, seed)[1]


def _survivors_in_numpy(model, masks, seed):
    rng = np.random.default_rng(seed)
    net, new = right_controls(model, masks, seed)
    for name, mask in masks.items():
        values = rng.permutation(model.get_parameter(name)[mask].detach().cpu().numpy())
        net.get_parameter(name).data[mask] = torch.from_numpy(values).to(mask.device)
    return net, new


def _init_normal(model, masks, seed):
    torch.manual_seed(seed + 1)
    net = copy.deepcopy(model)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net, right_controls(model, masks, seed)[1]


def _init_kaiming_normal(model, masks, seed):
    torch.manual_seed(seed + 1)
    net = copy.deepcopy(model)
    for p in net.parameters():
        torch.nn.init.kaiming_normal_(p) if p.dim() > 1 else torch.nn.init.zeros_(p)
    return net, right_controls(model, masks, seed)[1]


def _rebinds_the_mask(model, masks, seed):
    net, _ = right_controls(model, masks, seed)
    new = dict(masks)
    for mask in new.values():
        mask = mask.flatten()[torch.randperm(mask.numel())].view(mask.shape)
    return net, new


def _joined_in_numpy(model, masks, seed):
    net, _ = right_controls(model, masks, seed)
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(np.concatenate([m.cpu().numpy().ravel() for m in masks.values()]))
    new, start = {}, 0
    for name, mask in masks.items():
        part = mixed[start : start + mask.numel()]
        new[name], start = torch.from_numpy(part).view(mask.shape), start + mask.numel()
    return net, new


def _each_by_chance(model, masks, seed):
    net, _ = right_controls(model, masks, seed)
    rng = np.random.default_rng(seed)
    return net, {
        name: torch.from_numpy(rng.random(mask.shape) < float(mask.double().mean()))
        for name, mask in masks.items()
    }


def _random_shuffle(model, masks, seed):
    """Swaps entries of a tensor, which are views of it, so that one is lost at each swap."""
    net, _ = right_controls(model, masks, seed)
    new = {name: mask.flatten().clone() for name, mask in masks.items()}
    for mask in new.values():
        random.Random(seed).shuffle(mask)
    return net, {name: mask.view(masks[name].shape) for name, mask in new.items()}


def _permutation_of_a_matrix(model, masks, seed):
    net, _ = right_controls(model, masks, seed)
    rng = np.random.default_rng(seed)
    return net, {n: torch.from_numpy(rng.permutation(m.cpu().numpy())) for n, m in masks.items()}


DISGUISED = [
    ("prune_survivors", "pruned ranked again", _zeros_by_topk),
    ("prune_survivors", "made anew", _library_masks),
    ("prune_survivors", "n + 1", _above_the_next),
    ("prune_survivors", "threshold", _above_kthvalue),
    ("prune_survivors", "one ranking", _one_threshold),
    ("prune_survivors", "one rate", _largest_rate),
    ("prune_survivors", "signed", _smallest_of_the_signed),
    ("prune_survivors", "rounded down", _floor),
    ("find_ticket", "live reference", _state_dict_as_it_is),
    ("find_ticket", "live reference", _detached),
    ("find_ticket", "live reference", _copied_after_training),
    ("find_ticket", "mask missing", _masked_in_a_local),
    ("find_ticket", "ranked before training", _prunes_first),
    ("find_ticket", "pruned ones keep trained values", _indexed_by_the_mask),
    ("find_ticket", "biases not rewound", _named_weight),
    ("find_ticket", "only what has a mask", _those_with_masks),
    ("find_ticket", "norm statistics kept", _all_parameters),
    ("find_ticket", "new Parameter objects", _assigned),
    ("find_ticket", "nothing written", _another_model),
    ("make_controls", "the same seed", _the_seed_that_is_given),
    ("make_controls", "values kept", _the_model_itself),
    ("make_controls", "values kept", _first_layer_alone),
    ("make_controls", "biases kept", _weights_by_uniform),
    ("make_controls", "survivors swapped", _survivors_in_numpy),
    ("make_controls", "normal", _init_normal),
    ("make_controls", "normal", _init_kaiming_normal),
    ("make_controls", "not shuffled", _rebinds_the_mask),
    ("make_controls", "shuffled over all layers", _joined_in_numpy),
    ("make_controls", "masks drawn anew", _each_by_chance),
    ("make_controls", "rows shuffled", _permutation_of_a_matrix),
]
RAISING = {}

# --- wrong otherwise -----------------------------------------------------------------------


def _in_place(weights, masks, rates):
    for name, mask in right_round(weights, masks, rates).items():
        masks[name][~mask] = False
    return masks


def _counts_on_zeros(weights, masks, rates):
    """Relies on pruned weights to be 0, and on survivors not to be."""
    new = {}
    for name, mask in masks.items():
        gone = int((~mask).sum())
        order = weights[name].detach().abs().flatten().argsort(stable=True)
        keep = torch.ones_like(mask).flatten()
        keep[order[: gone + round(rates[name] * int(mask.sum()))]] = False
        new[name] = keep.view(mask.shape)
    return new


def _times_mask(weights, masks, rates):
    masked = {name: weights[name].detach() * mask for name, mask in masks.items()}
    return _counts_on_zeros(masked, masks, rates)


def _anew_by_number(weights, masks, rates):
    """From all weights, as many as the round takes."""
    new = {}
    for name, mask in masks.items():
        order = weights[name].detach().abs().flatten().argsort(stable=True)
        keep = torch.ones_like(mask).flatten()
        keep[order[: round(rates[name] * int(mask.sum()))]] = False
        new[name] = keep.view(mask.shape)
    return new


def _quantile(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        sizes = weights[name].detach().abs()
        new[name] = mask & (sizes > torch.quantile(sizes[mask], float(rates[name])))
    return new


def _from_the_threshold_on(weights, masks, rates):
    new = {}
    for name, mask in masks.items():
        sizes, number = weights[name].detach().abs(), round(rates[name] * int(mask.sum()))
        ranked = sizes[mask].sort().values
        new[name] = mask & (sizes >= ranked[number]) if number < len(ranked) else mask & False
    return new


def _share_kept(weights, masks, rates):
    return right_round(weights, masks, {name: 1 - rate for name, rate in rates.items()})


def _by_position(weights, masks, rates):
    names, layers = list(weights), (weights.values(), masks.values(), rates.values())
    ordered = (dict(zip(names, values, strict=True)) for values in layers)
    return right_round(*ordered)


def _both_layers_counted(weights, masks, rates):
    left = sum(int(mask.sum()) for mask in masks.values())
    new = {}
    for name, mask in masks.items():
        sizes = weights[name].detach().abs().masked_fill(~mask, torch.inf)
        new[name] = mask.flatten().clone()
        new[name][sizes.flatten().argsort()[: round(rates[name] * left)]] = False
        new[name] = new[name].view(mask.shape)
    return new


def _returns_nothing(model, train, prune):
    right_ticket(model, train, prune)


def _trains_again(model, train, prune):
    state = copy.deepcopy(model.state_dict())
    train(model)
    train(model)
    masks = prune(model)
    model.load_state_dict({n: t * masks[n] if n in masks else t for n, t in state.items()})
    return masks


def _never_trains(model, train, prune):
    return right_ticket(model, lambda model: None, prune)


def _zeros_what_is_kept(model, train, prune):
    return right_ticket(model, train, lambda model: {n: ~m for n, m in prune(model).items()})


def _takes_the_change_back(model, train, prune):
    first = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    for name, tensor in model.state_dict().items():
        change = tensor / 3 - first[name] / 3
        tensor.copy_((tensor - 3 * change) * masks.get(name, 1))
    return masks


def _draws_anew(model, train, prune):
    train(model)
    masks = prune(model)
    _reset(model)
    for name, mask in masks.items():
        model.get_parameter(name).data *= mask
    return masks


def _a_mask_for_each(model, train, prune):
    state = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    model.load_state_dict({name: t * masks[name] for name, t in state.items()})
    return masks


def _floats_only(model, train, prune):
    state = {n: t.clone() for n, t in model.state_dict().items() if t.is_floating_point()}
    train(model)
    masks = prune(model)
    state |= {name: state[name] * mask for name, mask in masks.items()}
    model.load_state_dict(state, strict=False)
    return masks


def _recorded(model, train, prune):
    state = copy.deepcopy(model.state_dict())
    train(model)
    masks = prune(model)
    model.load_state_dict(state)
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
    return masks


def _frozen(model, train, prune):
    masks = right_ticket(model, train, prune)
    model.requires_grad_(False)
    return masks


def _in_double(model, train, prune):
    masks = right_ticket(model, train, prune)
    model.to(torch.float64 if model.fc1.weight.dtype == torch.float32 else torch.float32)
    return masks


def _by_torch_prune(model, train, prune):
    masks = right_ticket(model, train, prune)
    for name, mask in masks.items():
        nn.utils.prune.custom_from_mask(model.get_submodule(name[:-7]), "weight", mask)
    return masks


def _masks_of_the_end(model, train, prune):
    right_ticket(model, train, prune)
    return prune(model)


def _without_a_seed(model, masks, seed):
    net = _reset(copy.deepcopy(model))
    return net, right_controls(model, masks, seed)[1]


def _always_42(model, masks, seed):
    return right_controls(model, masks, 42)


def _masks_by_a_fixed_generator(model, masks, seed):
    net, _ = right_controls(model, masks, seed)
    return net, right_controls(model, masks, 7)[1]


def _by(init, bias=None):
    def answer(model, masks, seed):
        torch.manual_seed(seed + 1)
        net = _reset(copy.deepcopy(model))
        for p in net.parameters():
            if p.dim() > 1:
                init(p)
            elif bias:
                bias(p)
        return net, right_controls(model, masks, seed)[1]

    return answer


def _signs(model, masks, seed):
    net, new = right_controls(model, masks, seed)
    for p, old in zip(net.parameters(), model.parameters(), strict=True):
        p.data = torch.copysign(old, p).detach()
    return net, new


def _whole_layer_permuted(model, masks, seed):
    net, new = right_controls(model, masks, seed)
    for p, old in zip(net.parameters(), model.parameters(), strict=True):
        p.data = old.detach().flatten()[torch.randperm(p.numel())].view(p.shape)
    return net, new


def _resets_the_model(model, masks, seed):
    torch.manual_seed(seed + 1)
    return _reset(model), right_controls(model, masks, seed)[1]


def _mask_changed(change):
    def answer(model, masks, seed):
        net, _ = right_controls(model, masks, seed)
        g = torch.Generator().manual_seed(seed)
        return net, {name: change(mask, g) for name, mask in masks.items()}

    return answer


def _each_row(mask, g):
    return torch.stack([row[torch.randperm(len(row), generator=g)] for row in mask])


def _lines(mask, g):
    """Rows and columns, each as a whole, so that the overlap with the old mask is as by chance."""
    rows, columns = mask.shape
    drawn = [
        mask[torch.randperm(rows, generator=g)][:, torch.randperm(columns, generator=g)]
        for _ in range(100)
    ]
    by_chance = float(mask.sum()) ** 2 / mask.numel()
    return min(drawn, key=lambda new: abs(int((new & mask).sum()) - by_chance))


def _elsewhere(mask, g):
    """Among the places that are free."""
    free = (~mask).flatten().nonzero().flatten()
    new = torch.zeros_like(mask).flatten()
    new[free[torch.randperm(len(free), generator=g)[: int(mask.sum())]]] = True
    return new.view(mask.shape)


def _state_of_the_net(model, masks, seed):
    net, new = right_controls(model, masks, seed)
    return net.state_dict(), new


SHAPE = "of fc1.weight has the shape and device of its weight"
WRONG = {
    "prune_survivors": {
        _in_place: CHANGED,
        _counts_on_zeros: r"in fc1.weight the weight at \[\d, \d\] was pruned in an earlier round",
        _times_mask: r"the weight at \[\d, \d\] was pruned in an earlier round, and your mask brin",
        _anew_by_number: "and your mask brings it back|hint: +pruned weights are the small",
        _quantile: r"weights are left, and round\(0.\d+ · \d+\) = \d of them go: with your mask \d",
        _from_the_threshold_on: "with your mask 0 do; where magnitudes tie, only some of the equal",
        _share_kept: r"in fc1.weight \d weights are left, and round\(0.\d+ · \d\) = \d of them go",
        _by_position: "raised|has the shape and device|of them go: with your mask",
        _both_layers_counted: "in fc1.weight .* of them go: with your mask",
        changed(right_round, in_each(torch.logical_not)): "True where a weight is pruned; True mea",
        changed(right_round, in_each(torch.Tensor.float)): "is a bool tensor.*given: +torch.float",
        changed(right_round, in_each(torch.Tensor.tolist)): r"is a tensor.*given: +\[",
        changed(right_round, in_each(torch.flatten)): SHAPE,
        changed(right_round, in_each(torch.nonzero)): "is a bool tensor",
        changed(right_round, lambda masks: list(masks.values())): "return one mask per layer: a di",
        changed(right_round, lambda masks: {"fc1": 0}): "a dict with the names of the masks",
    },
    "find_ticket": {
        _returns_nothing: "the model is right; return the masks too.*given: +None",
        _trains_again: "one round trains once: train was called 2 times",
        _never_trains: "one round trains once: train was called 0 times",
        _zeros_what_is_kept: "fc1.weight is 0 where its mask is True; True means keep",
        _takes_the_change_back: "is near that before training, and not the same bit for bit: copy",
        _draws_anew: r"at \[\d, \d\] of fc1.weight stands -?[\d.e-]+: before training it was",
        _a_mask_for_each: "your code raised KeyError: 'fc1.bias'",
        _floats_only: "norm.num_batches_tracked stands 4, the trained value: before training",
        _recorded: "your code raised RuntimeError: a leaf Variable",
        _frozen: "takes no gradient",
        _in_double: "fc1.weight has another shape, type or device than it came with",
        _by_torch_prune: "the model has other parameters or buffers than it came with",
        _masks_of_the_end: "the model is right; return the masks too|done",
        changed(right_ticket, lambda masks: list(masks.values())): "return the masks too, which",
        changed(right_ticket, in_each(torch.logical_not)): "return the masks too, which",
        changed(right_ticket, in_each(torch.Tensor.float)): "return the masks too, which",
    },
    "make_controls": {
        _without_a_seed: "asked again with the same seed, your function draws something else",
        _always_42: "with another seed your function draws the same network: make its seed",
        _masks_by_a_fixed_generator: "with another seed your function draws the same masks: make",
        _by(nn.init.xavier_uniform_): r"fc1.weight are spread evenly between -0.19\d+ and 0.19",
        _by(nn.init.kaiming_uniform_): "spread evenly between .*; nn.Linear draws evenly between",
        _by(nn.init.zeros_): r"fc1.weight are not distributed as .* 1/√60.*given: +standard .* 0,",
        _by(lambda p: None, nn.init.zeros_): "fc1.bias are not distributed as those of a new laye",
        _signs: "fc1.weight go with the old ones: the correlation .* is 1.00, and chance gives",
        _whole_layer_permuted: "values of fc1.weight are not distributed as those of a new layer",
        _resets_the_model: CHANGED + r" \(fc1.weight, fc1.bias",
        _mask_changed(lambda m, g: ~m): r"keep as many weights as before.*expected: +\d+ of 6000",
        _mask_changed(lambda m, g: m[:, torch.randperm(m.shape[1], generator=g)]): "columns of the",
        _mask_changed(lambda m, g: m.roll(1, 1)): "the mask of fc1.weight has the columns of the",
        _mask_changed(lambda m, g: m.flatten().roll(7).view(m.shape)): "your mask of fc1.weight",
        _random_shuffle: "as many weights as before|hint: +the number is off by chance",
        _mask_changed(_each_row): "your mask of fc1.weight and the old one both keep",
        _mask_changed(_elsewhere): "old one both keep 0 weights, and random places would share",
        _mask_changed(_lines): r"the rows of your mask of fc1.weight keep \d+ to \d+ weights, far",
        _mask_changed(lambda m, g: m.float()): "the mask of fc1.weight is a bool tensor",
        _mask_changed(lambda m, g: m.flatten()): SHAPE,
        _state_of_the_net: "the first of the pair is a network, an nn.Module",
        changed(right_controls, lambda pair: pair[::-1]): "the network first and the masks second",
        changed(right_controls, lambda pair: pair[0]): "return a pair",
        changed(right_controls, lambda pair: (pair[0], list(pair[1]))): "is a dict with one mask",
        changed(right_controls, lambda pair: (pair[0].double(), pair[1])): "device and type of the",
        changed(right_controls, lambda pair: (pair[0][:1], pair[1])): "has the parameters of the",
    },
}
