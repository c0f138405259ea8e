"""Chapter 01, Measure."""

from shrink.chapters.measure.energy import layer_energy
from shrink.chapters.measure.macs import conv_macs
from shrink.chapters.measure.parameters import parameters_and_bytes
from shrink.chapters.measure.slower import fewer_but_slower
from shrink.chapters.measure.stopwatch import time_call
from shrink.classroom.class_work import Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    parameters_and_bytes,
    conv_macs,
    layer_energy,
    time_call,
    fewer_but_slower,
)

EXPERIMENT = Experiment(
    name="01-measure",
    title="how long does an image take?",
    x=(1, 4, 16, 64, 256),
    x_label="images at once",
    x_scale="log",
    y_label="time per image, µs",
    y_scale="log",
    limits=(1e-9, 1e9),
    series=("lenet-300-100", "lenet-5"),
)
