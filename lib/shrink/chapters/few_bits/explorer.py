"""The explorer of chapter 10: weights in few bits, and halves."""

import ipywidgets as widgets

from shrink.chapters.few_bits import halves, trainings
from shrink.chapters.few_bits.figure import SIZE, draw, update
from shrink.chapters.few_bits.halves_lab import NUMBERS
from shrink.chapters.few_bits.lab import CLIPS, SCENES, FewBitsLab, without_effect
from shrink.chapters.few_bits.view import describe, summarise
from shrink.chapters.few_bits.weights_lab import PER
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try
from shrink.quantization import aware
from shrink.quantization.number_formats import FORMATS

HALVES = SCENES[1]
TRIES = (
    Try(
        "1 gradient",
        "The staircase is flat except where it jumps. For which function does training take it "
        "instead? Go to everywhere: which weights have a gradient now that had none, and can their "
        "rounded values follow?",
        bits=2,
        scale="fixed",
    ),
    Try(
        "2 latent weights",
        "How many steps does a latent weight take until its rounded value changes? How far does "
        "the largest first step move a weight, in scales, and how many weights would change if "
        "only rounded values were stored?",
        bits=1,
        scale="fixed",
    ),
    Try(
        "3 scale",
        "The scale follows the largest weight. Which share of the weights becomes 0, and how much "
        "of that does training mend? Go on to fixed and learned: what does each of them change?",
        bits=2,
        scale="follows",
    ),
    Try(
        "4 extra steps",
        "Four of the lines have taken the same extra steps. What are these worth to floats that "
        "are rounded only afterwards, and what to weights that are rounded at each step? From how "
        "many bits on does it matter?",
        bits=2,
        scale="learned",
    ),
    Try(
        "5 loss scale",
        "Which share of the gradients becomes 0 in fp16, and what does that cost? Move the slider: "
        "from which loss scale to which is the error the same, and what goes wrong at either end?",
        scene=HALVES,
        format="fp16",
        numbers=NUMBERS[0],
    ),
    Try(
        "6 swallowed",
        "Nothing leaves the range of bf16. Why is it the worst at the small learning rate when it "
        "stores the weights as well, and what do float32 master weights change?",
        scene=HALVES,
        format="bf16",
    ),
)


def explore_few_bits(
    dataset: Dataset,
    fake_quantize_ste: Exercise | None = None,
    *,
    seeds: tuple[int, ...] = trainings.SEEDS,
) -> Explorer:
    """The explorer of chapter 10: LeNet-300-100 with weights of one to four bits, and in halves.

    Args:
        dataset: its training images are learned, its validation images are asked; the test set
            stays unread.
        fake_quantize_ste: the exercise, for the switch *mine / reference*.
        seeds: the networks behind the bands; the weights of the first are on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = FewBitsLab(dataset, fake_quantize_ste, seeds)
    low, high = halves.EXPONENTS[0], halves.EXPONENTS[-1]
    controls = {
        "bits": widgets.IntSlider(
            3,
            min=min(trainings.BITS),
            max=max(trainings.BITS),
            description="bits",
            **wide(320, words=70),
        ),
        "loss_scale": widgets.FloatLogSlider(
            1, base=2, min=low, max=high, step=1, description="loss scale", **wide(320, words=70)
        ),
        "scene": toggle("show", list(SCENES), width=None),
        "scale": toggle("scale", list(aware.SCALES), width=None, value="learned"),
        "per": toggle("one per", list(PER), width=None),
        "clip": toggle("gradient passes", list(CLIPS), width=None),
        "format": toggle("format", list(FORMATS), width=None),
        "numbers": toggle("of", list(NUMBERS), width=None),
        "step": toggle("after", list(halves.MOMENTS), width=None, value=halves.MOMENTS[-1]),
        "source": whose("rounds", fake_quantize_ste),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=TRIES,
        hidden=without_effect,
        job=Job("Train once more", lab.work),
        size=SIZE,
    )
