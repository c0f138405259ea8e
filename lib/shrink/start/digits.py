"""Makes the file of the course's ten digits that the start page shows (for authors).

`python -m shrink.start.digits` writes it anew.
"""

from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from shrink.classroom.data import load, ten_digits
from shrink.files import write_atomically


def drawn() -> np.ndarray:
    """The ten digits of `glyphs` as they are drawn here: uint8 (10, 28, 28), 0 to 255."""
    images = ten_digits(load("glyphs", announce=False)).images[:, 0].numpy()
    return np.round(255 * images).astype(np.uint8)


if __name__ == "__main__":
    file = Path(str(resources.files("shrink.start") / "digits.safetensors"))
    print(f"wrote {write_atomically(file, save({'images': drawn()})):,} bytes to {file}")
