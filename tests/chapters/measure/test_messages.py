"""What chapter 01's checks show of a model."""

import re

from shrink.chapters import measure
from tests.chapters.judging import rejected
from tests.chapters.wrong import mistake


def test_the_message_names_what_the_model_holds():
    forgotten = mistake(measure.parameters_and_bytes, "buffers forgotten")
    text = rejected(measure.parameters_and_bytes, forgotten.function)
    assert re.search(r"expected: \(\d+, \d+\), for 0\.weight \d+x\d+x3x\d+ float32, ", text)
    assert re.search("1.running_mean .*1.num_batches_tracked 1 int64", text)
    assert re.search(r"called:   parameters_and_bytes\(Sequential\( \(0\): Conv2d\(", text)
