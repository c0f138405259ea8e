"""Chapter 09, Tickets."""

from shrink.chapters.tickets.breaking import break_the_round
from shrink.chapters.tickets.controls import make_controls
from shrink.chapters.tickets.stopping import stopping_step
from shrink.chapters.tickets.survivors import prune_survivors
from shrink.chapters.tickets.three_phases import dense_sparse_dense
from shrink.chapters.tickets.ticket import find_ticket
from shrink.classroom.class_work import DATASETS, Experiment

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    prune_survivors,
    find_ticket,
    make_controls,
    dense_sparse_dense,
    stopping_step,
    break_the_round,
)

EXPERIMENT = Experiment(
    name="09-tickets",
    title="does a ticket learn better than its controls?",
    x=(100, 50, 25, 12.6, 6.3, 3.2),
    x_label="weights left, %",
    y_label="accuracy on validation images, %",
    x_scale="log",
    y_scale="accuracy",
    limits=(0, 100),
    series=("ticket", "re-initialised", "random places"),
    datasets=DATASETS,
    one_series=True,
)
