"""An exercise of chapter 07: a residual block with fewer channels in the group that its sum ties.

The oracle runs the block as large as it was, with zeros in all that makes and scales the channels
that go. Where channels tie for the last place, each choice among them is right.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.structure import layers
from shrink.chapters.structure.residual_block import (
    AXES,
    BRANCH,
    MAKERS,
    STEM,
    State,
    cut,
    l1,
    masked,
    outputs,
    right_choices,
    scores,
    strongest,
)
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Choice = Callable[[State, int], Tensor]


def _by_both(state: State, count: int) -> Tensor:
    return strongest(scores(state), count)


def _by(layer: str) -> Choice:
    """Only this layer's filters are asked."""
    return lambda state, count: strongest(l1(state[f"{layer}.weight"]), count)


def _by_means(state: State, count: int) -> Tensor:
    """A weight of the layer with fewer of them counts for more."""
    weights = [state[name] for name in MAKERS]
    return strongest(sum(l1(weight) / weight[0].numel() for weight in weights), count)


def _shared(state: State, count: int) -> Tensor:
    """The channels that both layers would keep."""
    best = (set(_by(layer)(state, count).tolist()) for layer in ("stem", "conv2"))
    kept = sorted(set.intersection(*best))
    return torch.tensor(kept, dtype=torch.int64, device=state["stem.weight"].device)


def _shrinking(choose: Choice = _by_both, *whole: str) -> Callable[[State, int], State]:
    """An answer that keeps these channels, and leaves the tensors `whole` as they are."""

    def shrink_residual(state: State, count: int) -> State:
        kept = choose(state, count)
        return cut(state, {name: kept for name in AXES if name not in whole})

    return shrink_residual


def _each_its_own(state: State, count: int) -> State:
    of_stem, of_conv2 = _by("stem")(state, count), _by("conv2")(state, count)
    kept = dict.fromkeys((*STEM, "conv1.weight"), of_stem)
    return cut(state, kept | dict.fromkeys((*BRANCH, "down.weight"), of_conv2))


def _scalar_too(state: State, count: int) -> State:
    kept = _by_both(state, count)
    return {name: t[kept] if name.startswith("norm0.") else t for name, t in state.items()}


def shrunk(state: State, count: int) -> State:
    """The state of the block with `count` channels where stem and conv2 are added.

    They are those with the largest sums of magnitudes, over the filters of both layers. The block
    is h = relu(norm0(stem(x))), then h = relu(h + norm2(conv2(relu(norm1(conv1(h)))))), then
    down(h); its convolutions have no bias. Tensors that no channel of the group is in stay as they
    are.

    >>> filters = torch.tensor([[1.0, 1.0], [3.0, 0.0]]).view(2, 2, 1, 1)
    >>> state = {f"{layer}.weight": filters for layer in ("stem", "conv1", "conv2", "down")}
    >>> for name in ("weight", "bias", "running_mean", "running_var"):
    ...     state |= {f"norm{i}.{name}": torch.tensor([10.0, 20.0]) for i in range(3)}
    >>> small = shrunk(state, 1)
    >>> small["stem.weight"].flatten(), small["down.weight"].flatten(), small["norm2.bias"]
    (tensor([3., 0.]), tensor([1., 0.]), tensor([20.]))
    >>> small["conv1.weight"].shape, small["norm1.bias"].shape
    (torch.Size([2, 1, 1, 1]), torch.Size([2]))
    """
    return _shrinking()(state, count)


MISTAKES = (
    Mistake(
        "each its own",
        _each_its_own,
        "stem and conv2 each keep channels of their own: the shapes fit, and the block adds "
        "channels that were never added before. Choose once, for both",
    ),
    Mistake(
        "intersection",
        _shrinking(_shared),
        "these are the channels that both layers would choose, and they may be fewer than count: "
        "add the two scores of each channel first, and choose then",
    ),
    Mistake(
        "conv2 alone",
        _shrinking(_by("conv2")),
        "the channels are conv2's strongest: the stem makes them too, so its L1 counts as well",
    ),
    Mistake(
        "means",
        _shrinking(_by_means),
        "these scores are means over each layer's weights, so that a weight of the layer with "
        "fewer counts for more: add all magnitudes up",
    ),
    Mistake(
        "num_batches_tracked cut",
        _scalar_too,
        "num_batches_tracked is one number for all channels, without an axis: leave it as it is",
    ),
    Mistake(
        "shortcut whole",
        _shrinking(_by_both, *STEM, "conv1.weight"),
        "the shortcut still has all channels: the stem's filters, with norm0, and conv1's inputs "
        "go along with conv2's filters",
    ),
    Mistake(
        "norm2 whole",
        _shrinking(_by_both, *BRANCH[1:]),
        "each of the two branches has a batch norm: norm2 goes along as norm0 does",
    ),
    Mistake(
        "conv1's inputs whole",
        _shrinking(_by_both, "conv1.weight"),
        "conv1 reads the channels too: they lie along axis 1 of its weight",
    ),
    Mistake(
        "down's inputs whole",
        _shrinking(_by_both, "down.weight"),
        "down reads the channels too: they lie along axis 1 of its weight",
    ),
)


def _disagree(state: State, count: int) -> bool:
    """Whether each way to choose gives other channels, and none of them ties.

    So do three ways that have no hint, by the larger norm, by L2 and by sums with signs: they get
    no other's.
    """
    norms = [l1(state[name]) for name in MAKERS]
    means = [l1(state[name]) / state[name][0].numel() for name in MAKERS]
    squares = [l1(state[name].square()).sqrt() for name in MAKERS]
    signed = sum(state[name].flatten(1).sum(1) for name in MAKERS)
    ways = (*norms, sum(norms), sum(means), torch.maximum(*norms), sum(squares), signed)
    best = [way.sort(descending=True) for way in ways]
    chosen = {frozenset(way.indices[:count].tolist()) for way in best}
    return len(chosen) == len(ways) and all(
        way.values[count - 1] > way.values[count] for way in best
    )


def _tie(state: State, count: int) -> bool:
    """Whether more than one choice is right."""
    return len(right_choices(state, count)) > 1


def _decided(state: State, count: int) -> bool:
    return not _tie(state, count)


def _makers(g: torch.Generator, inputs: int, channels: int, inner: int) -> dict[str, Tensor]:
    """The filters that make the channels, those of stem and conv2 about equally strong."""
    stem = layers.some_numbers(g, channels, inputs, 3, 3) * round(inner / inputs)
    return dict(zip(MAKERS, (stem, layers.some_numbers(g, channels, inner, 3, 3)), strict=True))


def _with_twins(g: torch.Generator, *sizes: int) -> dict[str, Tensor]:
    """The same, where one channel has the filters of another, with their signs turned."""
    makers = _makers(g, *sizes)
    one, other = torch.randperm(sizes[1], generator=g)[:2].tolist()
    for filters in makers.values():
        filters[one] = -filters[other]
    return makers


def _block_around(g: torch.Generator, makers: State) -> dict[str, Tensor]:
    """A random block with these filters, its tensors in the order of a `state_dict`."""
    stem, conv2 = (makers[name] for name in MAKERS)
    channels, inner = conv2.shape[:2]
    conv1 = layers.some_numbers(g, inner, channels, 3, 3)
    state: dict[str, Tensor] = {}
    for i, (layer, filters) in enumerate({"stem": stem, "conv1": conv1, "conv2": conv2}.items()):
        state[f"{layer}.weight"] = filters
        state |= {f"norm{i}.{n}": t for n, t in layers.some_norm(g, len(filters)).items()}
        state[f"norm{i}.num_batches_tracked"] = torch.tensor(100)
    return state | {"down.weight": layers.some_numbers(g, 3, channels, 3, 3)}


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[State, int]]]:
    g = generator(rng)

    def case(
        inputs: int,
        channels: int,
        inner: int,
        count: int,
        such: Callable[[State, int], bool] = _decided,
        draw: Callable[..., State] = _makers,
    ) -> tuple[State, int]:
        """A block with the first filters drawn that are `such`."""
        while not such(makers := draw(g, inputs, channels, inner), count):
            pass
        return _block_around(g, makers), count

    def changed(change: Callable[[Tensor], Tensor], *sizes: int) -> tuple[State, int]:
        state, count = case(*sizes)
        return {name: change(tensor) for name, tensor in state.items()}, count

    yield lambda: case(1, 8, 2, 4, _disagree)
    yield lambda: case(2, 5, 5, 2)
    yield lambda: case(2, 6, 3, 3, _tie, _with_twins)
    yield lambda: case(1, 5, 2, 1)
    yield lambda: case(2, 4, 3, 4)
    yield lambda: case(2, 12, 4, 7, _disagree)
    yield lambda: changed(lambda t: t.double() if t.is_floating_point() else t, 1, 4, 3, 2)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 1, 5, 2, 3)


def _comparable(result: Any) -> Any:
    """What counts of a state: in each tensor which channels it has, in whatever order."""
    if not isinstance(result, Mapping):
        return result
    return [(name, _channels(name, result[name])) for name in sorted(result, key=str)]


def _channels(name: str, tensor: Any) -> Any:
    if not layers.is_dense(tensor) or tensor.dim() <= AXES.get(name, tensor.dim()):
        return layers.comparable(tensor)
    return sorted(one.tolist() for one in tensor.detach().double().unbind(AXES[name]))


def _wrong(given: Any, right: State, state: State, count: int) -> Wrong | None:
    if not isinstance(given, Mapping):
        told = "return a state: a dict from the names that you were given to tensors"
        return Wrong(told, given=given)
    if wrong := layers.wrong_names(given, right, "the new state"):
        return wrong
    for name, tensor in right.items():
        if wrong := layers.wrong_tensor(name, given[name], tensor):
            return wrong
    return layers.wrong_shapes(given, right) or _wrong_outputs(given, state, count)


def _wrong_outputs(given: State, state: State, count: int) -> Wrong | None:
    """Whether the smaller block does something else than each of the masked ones; and why."""
    whole, small = layers.doubled(state), layers.doubled(given)
    x = layers.random_images(whole["stem.weight"])
    found = outputs(small, x)
    expected = [outputs(masked(whole, kept), x) for kept in right_choices(whole, count)]
    if any(layers.near(found, one) for one in expected):
        return None
    kept = {name: layers.slices_in(small[name], whole[name], axis) for name, axis in AXES.items()}
    told = layers.how_far_off(found, min(expected, key=partial(layers.off, found)))
    return Wrong(f"{_explained(kept, whole, count)}; {told}")


def _explained(kept: Mapping[str, list[int] | None], state: State, count: int) -> str:
    """What is wrong with the channels that each tensor of the group keeps."""
    for name, its in kept.items():
        if its is None:
            return f"{name} has numbers that are no channel's"
    first, mine = next(iter(kept.items()))
    for name, its in kept.items():
        if its != mine:
            return (
                f"{first} has channels {layers.listed(mine)}, {name} {layers.listed(its)}: all "
                "tensors of the group keep the same channels, in the same order"
            )
    both = scores(state).tolist()
    goes = [channel for channel in range(len(both)) if channel not in mine]
    if len(set(mine)) < count:
        return f"a channel is there twice: {layers.listed(mine)}"
    if not goes or max(both[i] for i in goes) <= min(both[i] for i in mine):
        return "the right channels are left, and another tensor has changed"
    weak, strong = min(mine, key=both.__getitem__), max(goes, key=both.__getitem__)
    stays, leaves = (_sum(state, channel) for channel in (weak, strong))
    return f"channel {weak} stays, with L1 norms {stays}, and channel {strong} goes, with {leaves}"


def _sum(state: State, channel: int) -> str:
    """The score of a channel: the sum of what stem and conv2 have."""
    stem, conv2 = (l1(state[name])[channel].item() for name in MAKERS)
    return f"{stem:.4g} + {conv2:.4g} = {stem + conv2:.4g}"


shrink_residual = Exercise(
    "shrink_residual",
    by_cases(_cases, shrunk, _wrong, mistakes=MISTAKES, alike=_comparable),
    reference=shrunk,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)
