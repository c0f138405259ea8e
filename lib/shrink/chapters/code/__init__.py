"""Chapter 05, Code."""

from shrink.chapters.code.breaking import break_the_codes
from shrink.chapters.code.canonical import canonical_codes
from shrink.chapters.code.checksum import crc32
from shrink.chapters.code.gapping import gaps
from shrink.chapters.code.huffman_lengths import code_lengths
from shrink.chapters.code.league import League
from shrink.chapters.code.stream import decode_bits
from shrink.classroom.class_work.experiment import DATASETS

# In the order of the text, in which `shrink check` lists them.
EXERCISES = (
    gaps,
    code_lengths,
    canonical_codes,
    decode_bits,
    crc32,
    break_the_codes,
)

EXPERIMENT = League(
    name="05-code",
    title="the byte league: how short, and how good?",
    model="lenet-300-100",
    most=300_000,
    datasets=DATASETS,
)
