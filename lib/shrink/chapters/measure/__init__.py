"""Chapter 01, Measure."""

from shrink.chapters.measure.energy import layer_energy
from shrink.chapters.measure.macs import conv_macs
from shrink.chapters.measure.parameters import parameters_and_bytes
from shrink.chapters.measure.slower import fewer_but_slower
from shrink.chapters.measure.stopwatch import time_call

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    parameters_and_bytes,
    conv_macs,
    layer_energy,
    time_call,
    fewer_but_slower,
)
