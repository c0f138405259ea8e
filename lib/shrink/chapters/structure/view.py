"""What a setting of chapter 07's explorer shows, and how it is said in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shrink.chapters.structure.cuts import Setting

WHOLE = 16  # where the slider ends, and all is kept
STOPS = np.arange(1, WHOLE + 1) / WHOLE  # shares
CURVE = STOPS[1::2]  # of all seeds
SAME = 1e-3  # outputs that differ by less are the same up to rounding
CHANNELS = 64  # that the timed convolution takes in
WIDTHS = tuple(sorted([*range(4, CHANNELS + 1, 4), 17, 33, 49]))  # channels that it makes


@dataclass(frozen=True)
class Run:
    """A fine-tuning that the plot keeps; accuracies are fractions."""

    setting: Setting
    share: float
    anew: bool  # whether the norms' statistics were computed anew before
    mine: bool
    before: float
    accuracy: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class Times:
    """Measured times in seconds, each the fastest of several calls, on `conditions`."""

    convolution: Mapping[int, float]  # channels → from 64 channels to so many
    whole: Mapping[int, float]  # images in the batch → of the whole network
    small: Mapping[int, float]  # and of the one with that share of its channels
    share: float
    conditions: str


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls. Accuracies are fractions."""

    setting: Setting
    share: float
    anew: bool
    mine: bool  # whether the student's function chose the filters
    masks: Mapping[str, np.ndarray]  # layer → (out, in, height, width), True where a weight stays
    outputs: Mapping[str, np.ndarray]  # layer → (out,), True where there is a channel
    inputs: Mapping[str, np.ndarray]  # layer → (in,), likewise
    difference: float | None  # largest, of outputs, from the masked network; None without surgery
    accuracy: float
    curve: np.ndarray  # (stops,)
    other_curve: np.ndarray  # (stops,), with the norms as they were where they are anew, or anew
    band: np.ndarray  # (2, len(CURVE)): the lowest and the highest of all seeds
    dense_accuracy: float
    images: int  # that were asked
    scratch: tuple[float, ...]  # of each seed, half of the channels; empty where nothing is smaller
    macs: tuple[int, int]  # of this network and of the whole one
    parameters: tuple[int, int]  # that are not zero, likewise
    bytes: tuple[int, int]  # of their files
    times: Times | None
    runs: tuple[Run, ...]

    @property
    def times_here(self) -> Times | None:
        """The times, if those of the network on show are among them."""
        if self.times is None or not self.setting.removes_channels:
            return None
        return self.times if self.times.share == self.share else None


def pairs(view: View, branch: str, shortcut: str) -> np.ndarray:
    """Which channels are added where two layers meet: (2, n), of the shortcut and of the branch."""
    return np.stack([np.flatnonzero(view.outputs[name]) for name in (shortcut, branch)])


def strangers(view: View) -> int:
    """How many sums there are of two channels that do not belong together."""
    both = [pairs(view, "conv2", "stem"), pairs(view, "conv4", "down")]
    return int(sum((one != other).sum() for one, other in both))


def what_is_kept(setting: Setting, share: float) -> str:
    """The setting in a few words, with no verb."""
    part = f"{100 * share:.4g} %"
    if setting.granularity == "2:4":
        return "two of each four weights"
    if not setting.removes_filters:
        return f"{part} of the weights, by {setting.granularity}"
    how = {"each its own": "each layer its own", "zeros only": "the others set to zero"}
    return f"{part} of the filters, {how.get(setting.removal, setting.removal)}"


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    chosen = ", <b>chosen by your function</b>" if view.mine else ""
    if view.setting.removes_filters and not view.mine:
        chosen = f", by {view.setting.score}"
    norms = ", norms anew" if view.anew else ""
    kept = what_is_kept(view.setting, view.share)
    first = (
        f"<b>{kept[0].upper()}{kept[1:]}</b>{chosen}{norms}: <b>{100 * view.accuracy:.1f} %</b> "
        f"right of {view.images:,} validation images, the whole network "
        f"{100 * view.dense_accuracy:.1f} %{_seeds(view)}. {_sameness(view)}"
    )
    paragraphs = [first, _cost(view)]
    if view.runs:
        paragraphs.insert(0, _summarise_run(view.runs[-1], view))
    return "<br>".join(paragraphs)


def _seeds(view: View) -> str:
    at = np.flatnonzero(view.share == CURVE)
    if not len(at):
        return ""
    return f"; all seeds {_ends(view.band[:, at[0]])}"


def _sameness(view: View) -> str:
    if view.difference is None:
        return "A mask is no surgery: the network has the size that it had."
    its = "With the norms as they were its" if view.anew else "Its"
    off = f"{its} outputs differ from the masked network's by up to {view.difference:.2g}"
    if view.difference < SAME:
        smaller = ", only smaller" if view.macs[0] < view.macs[1] else ""
        return f"{off}: <b>the same network</b>{smaller}."
    if view.setting.removal == "zeros only":
        return f"{off}: <b>another network</b>, as norms turn a zero into a constant."
    return (
        f"{off}: <b>another network</b>; {strangers(view)} sums add two channels that do not "
        "belong together."
    )


def _cost(view: View) -> str:
    macs, whole = view.macs
    left, every = view.parameters
    size, bytes = view.bytes
    if macs == whole:
        saved = f"All {whole:,} multiply-accumulates are made and the file has {size:,} bytes"
        return f"{saved}, as before; {left:,} of {every:,} parameters are not zero."
    return (
        f"{macs:,} multiply-accumulates per image, {100 * macs / whole:.0f} % of {whole:,}"
        f"{_measured(view)}; {left:,} of {every:,} parameters; {size:,} bytes, not {bytes:,}."
    )


def _measured(view: View) -> str:
    times = view.times_here
    if times is None:
        return ""
    parts = ", ".join(
        f"{100 * times.small[n] / times.whole[n]:.0f} % for {n} image{'s' * (n > 1)}"
        for n in times.whole
    )
    return f", and of its time <b>{parts}</b> ({times.conditions})"


def _summarise_run(run: Run, view: View) -> str:
    chosen = ", your choice" if run.mine else f", by {run.setting.score}"
    chosen = chosen if run.setting.removes_filters else ""
    scratch = ""
    if view.scratch:
        scratch = f"; half of the channels from scratch {_ends(view.scratch)}"
    return (
        f"<b>Fine-tuned</b>, {what_is_kept(run.setting, run.share)}{chosen}, {run.steps:,} steps"
        f"{', stopped' if run.stopped else ''}: <b>{100 * run.accuracy:.1f} %</b>, before "
        f"{100 * run.before:.1f} %{scratch}. The figure shows the network before."
    )


def describe(view: View) -> str:
    """The picture in a few sentences, for those who do not see it."""
    by = f", by {view.setting.score}" if view.setting.removes_filters else ""
    chosen = ", your choice" if view.mine else by
    kept = what_is_kept(view.setting, view.share)
    anew = "computed anew" if view.anew else "as they were"
    return (
        f"A map of all weights: {kept}{chosen}, {view.parameters[0]:,} of {view.parameters[1]:,} "
        f"parameters are not zero. {_difference(view)} Norms {anew}: {100 * view.accuracy:.1f} % "
        f"right at a share of {view.share:.4g}, the whole network "
        f"{100 * view.dense_accuracy:.1f} %. "
        f"{100 * view.macs[0] / view.macs[1]:.0f} % of the multiply-accumulates; "
        f"{_times(view)}{_trained(view)}"
    )


def _trained(view: View) -> str:
    words = f" {len(view.runs)} fine-tuned" if view.runs else ""
    words += f", the last {100 * view.runs[-1].accuracy:.1f} %." if view.runs else ""
    if view.scratch:
        words += f" From scratch {_ends(view.scratch)}."
    return words


def _ends(fractions: Sequence[float]) -> str:
    return f"{100 * min(fractions):.1f} to {100 * max(fractions):.1f} %"


def _difference(view: View) -> str:
    if view.difference is None:
        return "No surgery."
    crossed = strangers(view)
    sums = f", {crossed} lines of the shortcuts are slanted" if crossed else ""
    return f"Off the masked network by {view.difference:.1g}{sums}."


def _times(view: View) -> str:
    if view.times is None:
        return "no time is measured."
    found = view.times.convolution
    shares = ", ".join(
        f"{k} {100 * found[k] / found[CHANNELS]:.0f} %" for k in (16, 17, 32, 33, 48)
    )
    return f"the time of a convolution by its channels, of that with {CHANNELS}: {shares}."
