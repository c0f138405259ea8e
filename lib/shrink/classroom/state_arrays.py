"""The arrays of a model's tensors: how `formats` names them, and takes them apart again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from shrink.coding.stored import check_plain, checked_name, identity, named, plain

Parts = dict[str, Tensor]


def packed_state(
    state: Mapping[str, Tensor],
    pack_one: Callable[[str, Tensor], Parts | None],
    also: Callable[[str], object] = lambda name: None,
) -> dict[str, Tensor]:
    """The arrays of each tensor, or the tensor where it is to stay; errors name it.

    Two names of one tensor share the arrays, if what `also` says of the names is the same.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a state maps names to tensors, and is not a {type(state).__name__}")
    arrays: dict[str, Tensor] = {}
    done: dict[tuple, Parts] = {}
    for name, tensor in list(state.items()):  # a list, so that all stay alive
        if "/" in checked_name(name) or not name:
            raise ValueError(f'a name of a tensor has letters and no "/", unlike {name!r}')
        with named(name):
            same = (*identity(tensor), also(name))
            if same not in done:
                numbers = plain(tensor)
                parts = pack_one(name, numbers)
                done[same] = {"": numbers} if parts is None else parts
        arrays |= {f"{name}/{part}".rstrip("/"): array for part, array in done[same].items()}
    return arrays


@contextmanager
def contradictions(name: str) -> Iterator[None]:
    """Whatever does not fit together in here is a `ValueError` that names the weight."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name}: {str(error).splitlines()[0]}") from None


def layout_of(part: Parts) -> list[int]:
    layout = part["layout"].tolist()
    if min(layout) < 0:
        raise ValueError(f"a layout has no numbers below 0, unlike {layout}")
    return layout


def check_parts(part: Parts, needed: tuple[str, ...], more: tuple[str, ...]) -> None:
    if set(needed) - set(part) or set(part) - {*needed, *more}:
        raise ValueError(f"its arrays must be {', '.join(needed)}, not {', '.join(part)}")


def apart(arrays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """The tensors that are stored as they are, and the arrays of each weight."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must map names to tensors, not be a {type(arrays).__name__}")
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        with named(checked_name(name)):
            check_plain(array)
        weight, _, part = name.partition("/")
        if part:
            parts.setdefault(weight, {})[part] = array
        else:
            state[name] = array
    return state, parts
