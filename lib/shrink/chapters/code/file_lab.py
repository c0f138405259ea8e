"""What chapter 05's explorer of a file computes: its bytes, and what one wrong bit does."""

import functools
import random
import struct
import threading
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.chapters.code.file_meaning import meaning
from shrink.chapters.code.file_view import CANVAS, Flip, Outcome, View
from shrink.chapters.code.parts import bytes_of_parts, part_of
from shrink.classroom import CourseError, models
from shrink.classroom.data import Dataset
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.progress import Progress
from shrink.coding import codec
from shrink.coding.codec_bytes import Region
from shrink.coding.codec_format import CodecError

NAME = "lenet-300-100"
IMAGES = 2000  # validation images that are asked at each flip
FLIPS = 100  # of the button
REMEMBERED = 200  # outcomes


class FileLab:
    """A file, the network in it, and what came of the bits that were flipped so far."""

    def __init__(self, content: bytes, dataset: Dataset) -> None:
        if not isinstance(content, bytes | bytearray):
            raise CourseError(f"explore_file takes the bytes of a file, not {type(content)}")
        self.content = bytes(content)
        self.state = codec.decode(self.content)
        if fault := unfit(self.state):
            raise CourseError(f"the file is not one of LeNet-300-100: {fault}")
        self.regions = codec.regions(self.content)
        self.parts = bytes_of_parts(self.regions)
        self._starts = np.array([region.start for region in self.regions])
        split = dataset.validation
        self._images, self._labels = split.images[:IMAGES].flatten(1), split.labels[:IMAGES]
        self.accuracy = self._accuracy(self.state)
        self.flips: list[Flip] = []
        self.memory = Memory(REMEMBERED)

    def number_of_region(self, byte: int) -> int:
        return int(self._starts.searchsorted(byte, side="right")) - 1

    def _accuracy(self, state: Mapping[str, Tensor]) -> float:
        """The fraction of the images that the network with these tensors gets right."""
        x = self._images
        tensors = {name: t.to(x.device, torch.float32) for name, t in state.items()}
        for i, layer in enumerate(("fc1", "fc2", "fc3")):
            x = x.relu() if i else x
            x = F.linear(x, tensors[f"{layer}.weight"], tensors[f"{layer}.bias"])
        return (x.argmax(1) == self._labels).double().mean().item()

    def flip(self, byte: int, bit: int, repaired: bool) -> Outcome:
        """What becomes of the network when one bit of the file is another; bit 7 is the highest.

        `repaired` gives the file the checksum that it should have then.
        """
        return self.memory.once(
            (byte, bit, repaired),
            lambda: self._outcome(flipped(self.content, byte, bit, repaired)),
        )

    def _outcome(self, content: bytes) -> Outcome:
        try:
            state = codec.decode(content)
        except CodecError as error:
            return Outcome(refused=str(error))
        if fault := unfit(state):
            return Outcome(refused=fault, by_reader=False)
        changed = {
            name: (before != state[name].to(before.dtype)).cpu()
            for name, before in self.state.items()
        }
        counts = {name: int(places.sum()) for name, places in changed.items()}
        most = max(counts, key=counts.get)
        return Outcome(
            accuracy=self._accuracy(state),
            tensor=most if counts[most] else "",
            changed=sum(counts.values()),
            of=changed[most].numel(),
            farthest=_farthest(self.state[most], state[most]),
            picture=picture(changed[most], most),
        )

    def view(self, byte: int, bit: int, checksum: str, region: int = 0) -> View:
        """Everything the figure shows; `region` moves the byte's slider only."""
        here = self.regions[self.number_of_region(byte)]
        value = self.content[byte]
        after = flipped(self.content, byte, bit, repaired=False)
        return View(
            content=self.content,
            regions=tuple(self.regions),
            parts=self.parts,
            byte=byte,
            bit=bit,
            repaired=checksum == "repaired",
            region=here,
            part=part_of(here),
            value=value,
            meaning=meaning(self.content, here, byte),
            meaning_after=_meaning_after(self.content, after, here, byte),
            outcome=self.flip(byte, bit, checksum == "repaired"),
            accuracy=self.accuracy,
            images=len(self._labels),
            flips=tuple(self.flips),
        )

    def flip_many(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Flip bits drawn at random, each in a file of its own, with the checksum and without it.

        They are kept in `flips`, those of a run that was stopped too.
        """
        rng = random.Random(len(self.flips))
        for done in range(FLIPS):
            if stop.is_set():
                return
            byte, bit = rng.randrange(len(self.content)), rng.randrange(8)
            self.flips.append(self.one_flip(byte, bit))
            progress(done + 1, FLIPS)

    def one_flip(self, byte: int, bit: int) -> Flip:
        """The flip of one bit, as the button's list has it."""
        as_it_is, repaired = (self.flip(byte, bit, how) for how in (False, True))
        return Flip(
            byte=byte,
            bit=bit,
            part=part_of(self.regions[self.number_of_region(byte)]),
            caught=bool(as_it_is.refused),
            refused=bool(repaired.refused),
            changed=repaired.changed,
            accuracy=repaired.accuracy,
        )


def flipped(content: bytes, byte: int, bit: int, repaired: bool) -> bytes:
    """The content with one bit changed, and with the checksum that it should have then.

    >>> flipped(b"abc....", byte=1, bit=0, repaired=False)
    b'acc....'
    """
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    if repaired:
        changed[-4:] = zlib.crc32(changed[:-4]).to_bytes(4, "little")
    return bytes(changed)


def unfit(state: Mapping[str, Tensor]) -> str:
    """Why these tensors are not those of LeNet-300-100; "" where they are."""
    needed = _shapes()
    given = {name: tuple(t.shape) for name, t in state.items()}
    if missing := [name for name in needed if name not in given]:
        return f"it has no {', '.join(missing)}; it has {', '.join(given) or 'nothing'}"
    if more := [name for name in given if name not in needed]:
        return f"it has {', '.join(more)}, and the network does not"
    wrong = [f"{name} is {given[name]}, not {needed[name]}" for name in needed]
    return next((w for w, n in zip(wrong, needed, strict=True) if given[n] != needed[n]), "")


@functools.cache
def _shapes() -> dict[str, tuple[int, ...]]:
    """Of the network's tensors. Building it draws random numbers, which are the process's own."""
    return {name: tuple(t.shape) for name, t in models.build(NAME, seed=0).state_dict().items()}


def _farthest(before: Tensor, after: Tensor) -> float:
    """The greatest distance that a number went."""
    return float((after.double() - before.double()).abs().max())


def _meaning_after(before: bytes, after: bytes, region: Region, byte: int) -> str:
    """What the changed byte would say, "" where that is the same or nothing."""
    try:
        words = meaning(after, region, byte)
    except (IndexError, StopIteration, ZeroDivisionError, struct.error):
        return "what no such file says"
    return "" if words == meaning(before, region, byte) else words


def picture(changed: Tensor, name: str) -> np.ndarray:
    """Where a tensor changed, as grey: uint8 (CANVAS, CANVAS), 0 outside of the tensor.

    Of fc1 it shows the pixels of the input, each the darker, the more of its weights changed; of
    others the matrix itself, a row an output.
    """
    grey = changed.reshape(-1, changed.shape[-1]).float()
    if name == "fc1.weight":
        grey = grey.sum(0).view(28, 28)
        grey = grey / grey.max().clamp(min=1)
    rows, columns = grey.shape
    levels = torch.where(grey > 0, 60 + 195 * grey, 20).to(torch.uint8).numpy()
    large = levels.repeat(min(CANVAS // rows, 20), axis=0).repeat(CANVAS // columns, axis=1)
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    top, left = ((CANVAS - size) // 2 for size in large.shape)
    canvas[top : top + large.shape[0], left : left + large.shape[1]] = large
    return canvas
