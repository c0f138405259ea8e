"""The record of lottery tickets as tables, with three verdicts."""

from shrink.chapters.tickets import rounds
from shrink.papers.tables import Record

ARMS = rounds.ARMS[:3]
TICKET, ANEW, RANDOM = ARMS
EARLY, LAST = 7, 15  # rounds: 21 % and 3.6 % of the weights are left
RULES = {
    "words": (
        "stopped means at the step of the least validation loss, the first if there are several; "
        "the test error there counts, and the one at the end is told beside it"
    ),
    "a": (
        "the ticket errs on fewer test images, stopped, than the same masks with new initial "
        "values, seed by seed after rounds 7 (21 % left) and 15 (3.6 %): reproduced if in all "
        "seeds at both, partly if in all seeds at one, else not"
    ),
    "b": (
        "the step at which the ticket of round 7 stops minus that of the dense network, paired "
        "over seeds: reproduced if the 95 % interval lies below 0, not if it lies above, else "
        "unclear"
    ),
    "c": (
        "the accuracy of the ticket of round 15 minus the dense network's, both stopped, in points "
        "and paired over seeds: reproduced if the 95 % interval begins above -margin, not if it "
        "ends below, else unclear"
    ),
}
Difference = tuple[float, float, float]  # mean over seeds, 95 % interval


class Result(Record):
    """The record of a run as tables over seeds, and what the three claims come to."""
