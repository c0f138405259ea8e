"""What the tests of the reproductions share."""

import zlib

import pytest

from shrink.coding import codec
from shrink.papers import deep_compression, deep_compression_smaller


@pytest.fixture
def in_process(monkeypatch):
    """Figures without a process of its own for each file, where they are not what is tested."""

    def measured(name, dataset, write, content):
        raw = codec.encode(content)
        return {"file_bytes": len(raw), "checksum": zlib.crc32(raw[:-4])}  # all but its own CRC

    for paper in (deep_compression, deep_compression_smaller):
        monkeypatch.setattr(paper, "measured", measured)
