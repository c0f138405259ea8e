"""The class is the experiment: results handed in as small files, and gathered as figures.

Each name seeds a network of its own. `hand_in` writes what that network gave; `shrink gather`
puts a class's files into one figure for each experiment. A chapter says what its class does in
`EXPERIMENT`.
"""

from shrink.classroom.class_work.experiment import DATASETS, Experiment
from shrink.classroom.class_work.handing_in import HandedIn, hand_in, seed_of

__all__ = ["DATASETS", "Experiment", "HandedIn", "hand_in", "seed_of"]
