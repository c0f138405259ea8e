"""What an answer returns, as a check sees it: tensors, arrays and Python's own types, nothing else.

A check compares with == and reads shapes, and a type of the answer's own could say what it
likes to that. So what comes back is made anew, by reading what is in it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_AS_THEY_ARE = (type(None), bool, complex, bytes, torch.dtype, torch.device, torch.nn.Module)


class Foreign:
    """Stands in a result for something that no check reads: a generator, a function, a module."""

    def __init__(self, value: Any) -> None:
        self._text = f"<{type(value).__name__}>"

    def __repr__(self) -> str:
        return self._text


def made_anew(value: Any) -> Any:
    """The result with exact types: subclasses become what they are made of, the rest `Foreign`.

    Tensors keep their values, memory and gradients' history, models stay themselves. Raises
    RecursionError for a list that holds itself.
    """
    if isinstance(value, torch.Tensor):
        exact = type(value) in (torch.Tensor, torch.nn.Parameter)
        return value if exact else torch.Tensor.as_subclass(value, torch.Tensor)
    if isinstance(value, np.ndarray):
        return _array(np.ndarray.view(value, np.ndarray))
    if isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, np.generic):
        return value if type(value).__module__ == "numpy" else Foreign(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind.__getnewargs__(value)[0]
    if isinstance(value, list):
        return [made_anew(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return tuple(made_anew(item) for item in tuple.__iter__(value))
    if isinstance(value, Mapping):
        pairs = dict.items(value) if isinstance(value, dict) else value.items()
        return {made_anew(k): made_anew(v) for k, v in pairs}
    return Foreign(value)


def _array(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    new = np.empty(array.shape, dtype=object)
    for place, item in enumerate(array.flat):
        new.flat[place] = made_anew(item)
    return new
