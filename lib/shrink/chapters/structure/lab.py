"""What chapter 07's explorer computes: cut networks, their fine-tuning, and times."""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from shrink import cost, pruning
from shrink.chapters.structure import prepared, ways
from shrink.chapters.structure.cuts import Cut, Setting, cut, largest_difference, recompute
from shrink.chapters.structure.times import measure_times
from shrink.chapters.structure.view import CURVE, STOPS, WHOLE, Run, Times, View
from shrink.classroom import measure
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals
from shrink.classroom.progress import Progress
from shrink.classroom.training import train
from shrink.pruning import Group

TASKS = ("fine-tune", "measure times")  # of the button
COMPARED = 64  # images whose outputs are compared with the masked network's


class StructureLab:
    """The network behind the explorer, what was found of it beforehand, and the runs so far."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: tuple[int, ...]) -> None:
        refusals.refuse_one_seed(seeds)
        self.data, self.exercise = dataset, exercise
        self.subject = prepared.baseline_of(dataset, seeds[0])
        self.curves = prepared.on_show(self.subject)
        on_curve = np.isin(STOPS, CURVE)
        others = [prepared.another(dataset, seed) for seed in seeds[1:]]
        seen = {
            key: np.stack([found[on_curve], *(other[key] for other in others)])
            for key, found in self.curves.items()
        }
        self.bands = {key: np.stack([found.min(0), found.max(0)]) for key, found in seen.items()}
        self.scratch = tuple(prepared.from_scratch(dataset, seed) for seed in seeds)
        self.dense_accuracy = self.subject.right(self.subject.net)
        self._whole = self._sizes(self.subject.net)
        self.times: Times | None = None
        self.runs: list[Run] = []

    # --- what is on show -------------------------------------------------------------------

    def cut(self, setting: Setting, share: float, mine: bool) -> Cut:
        """The network of which the share is kept; the student chooses the filters if `mine`."""
        choose = self._chosen_by_student if mine else None
        return cut(self.subject.net, self.subject.groups, setting, share, choose)

    def _chosen_by_student(self, group: Group, count: int) -> Tensor:
        """The filters that the student's function keeps, of all layers that make them at once."""
        layers = [self.subject.net.get_submodule(name) for name in group.layers("makes")]
        weight = torch.cat([layer.weight.detach() for layer in layers], 1)
        promise = f"filters_to_keep gives {count} different numbers from 0 to {group.units - 1}"
        kept = refusals.tensor_of_shape(self.exercise.mine(weight, count), (count,), promise)
        if kept.dtype != torch.int64 or sorted(set(kept.tolist()) & set(range(group.units))) != (
            sorted(kept.tolist())
        ):
            raise ExerciseError(f"{promise}; yours gave {kept.tolist()}")
        return kept

    def view(
        self,
        kept: int,
        granularity: str,
        removal: str,
        score: str,
        norms: str,
        source: str = "reference",
    ) -> View:
        """Everything the figure shows of the network of which `kept` of WHOLE stay.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or no choice of filters.
        """
        setting, share, mine = as_it_counts(granularity, removal, score, kept, source)
        anew, made = norms == "anew", self.cut(setting, share, mine)
        stop = np.flatnonzero(np.isclose(STOPS, share))
        curve = self.curves[setting, anew]
        known = len(stop) > 0 and not mine
        sizes = zip(self._sizes(made.net), self._whole, strict=True)
        macs, parameters, bytes = sizes
        return View(
            setting=setting,
            share=share,
            anew=anew,
            mine=mine,
            **_parts(made),
            difference=self._difference(made),
            accuracy=float(curve[stop[0]]) if known else self.subject.right(made.net, anew),
            curve=curve,
            other_curve=self.curves[setting, not anew],
            band=self.bands[setting, anew],
            dense_accuracy=self.dense_accuracy,
            images=len(self.subject.asked),
            scratch=self.scratch if setting.removes_channels else (),
            macs=macs,
            parameters=parameters,
            bytes=bytes,
            times=self.times,
            runs=tuple(run for run in self.runs if run.setting.granularity == granularity),
        )

    def _difference(self, made: Cut) -> float | None:
        if made.masked is None:
            return None
        return largest_difference(made.net, made.masked, self.subject.asked.images[:COMPARED])

    def _sizes(self, net: nn.Module) -> tuple[int, int, int]:
        """Multiply-accumulates for an image, parameters that are not zero, bytes of the file."""
        macs = cost.macs(net, self.subject.asked.images[:1])
        return macs, cost.nonzeros(net), measure.size(net.state_dict())

    # --- what the button does --------------------------------------------------------------

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Fine-tune the network on show, or measure times, as `task` says."""
        setting, share, mine = as_it_counts(
            *(values[name] for name in ("granularity", "removal", "score", "kept", "source"))
        )
        if values["task"] == TASKS[0]:
            self._fine_tune(setting, share, mine, values["norms"] == "anew", stop, progress)
            return
        nets = {"whole": self.subject.net, "small": self.cut(Setting("filter"), share, False).net}
        images = self.data.validation.images
        self.times = measure_times(nets, share, images, stop, progress) or self.times

    def _fine_tune(
        self,
        setting: Setting,
        share: float,
        mine: bool,
        anew: bool,
        stop: threading.Event,
        progress: Progress,
    ) -> None:
        """Train the network on; the run is kept in `runs`, also when it was stopped."""
        made = self.cut(setting, share, mine)
        net = made.net
        if anew:
            recompute(net, self.subject.statistics)
        before = self.subject.right(net)
        done = train(
            net,
            self.data.train,
            ways.recipe("linked", self.data),
            seed=1,
            hold=None if setting.removes_channels else partial(_hold_zeros, net, made.masks),
            progress=progress,
            stop=stop,
        )
        run = Run(
            setting=setting,
            share=share,
            anew=anew,
            mine=mine,
            before=before,
            accuracy=self.subject.right(net),
            steps=done.steps,
            stopped=done.stopped,
        )
        self.runs.append(run)


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """The controls that change nothing in this state."""
    if values["granularity"] == "filter":
        return {"score"} if values["source"] == "mine" else set()
    return {"score", "removal", "source", *(["kept"] if values["granularity"] == "2:4" else [])}


def as_it_counts(
    granularity: str, removal: str, score: str, kept: int, source: str
) -> tuple[Setting, float, bool]:
    """The setting, the share and whether the choice is the student's, with nothing idle in them."""
    share = kept / WHOLE
    if granularity != "filter":
        return Setting(granularity), 0.5 if granularity == "2:4" else share, False
    mine = source == "mine"
    return Setting(granularity, removal, "L1" if mine else score), share, mine


def _parts(made: Cut) -> dict[str, dict[str, np.ndarray]]:
    """The masks, outputs and inputs of a view; fc reads channels of 3 x 3, that were flattened."""
    named = {"masks": made.masks, "outputs": made.outputs, "inputs": made.inputs}
    found = {
        what: {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        for what, tensors in named.items()
    }
    shape = len(found["outputs"]["conv4"]), 3, 3
    found["masks"]["fc"] = found["masks"]["fc"].reshape(-1, *shape)
    found["inputs"]["fc"] = found["inputs"]["fc"].reshape(shape)[:, 0, 0]
    return found


def _hold_zeros(
    net: nn.Module, masks: Mapping[str, Tensor], optimizer: Optimizer
) -> AbstractContextManager:
    """Keep at zero what the masks have taken, while the optimizer trains."""
    weights = {f"{name}.weight": net.get_submodule(name).weight for name in masks}
    of = {
        f"{name}.weight": mask.to(weights[f"{name}.weight"].device) for name, mask in masks.items()
    }
    return pruning.hold_masks(weights, of, optimizer)
