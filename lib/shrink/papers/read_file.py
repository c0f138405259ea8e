"""Reads a network from its file, in a process that knows nothing else of it, and tests it.

    python -m shrink.papers.read_file FILE NETWORK DATA DEVICE

prints as JSON the `errors` among so many `images` of the test set, and how many weights of each
layer are `kept`, of how many. Where the file has fewer hidden units, zeros stand for the others.
"""

import json
import sys
from pathlib import Path

from torch import Tensor

from shrink.classroom import arrays, data, formats, models, training
from shrink.coding import codec
from shrink.pruning import units


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of the codec, or of safetensors, with dense or relative weights.

    Raises `CodecError` or `CourseError`, which name the file, if it is none of these.
    """
    with path.open("rb") as file:
        begin = file.read(len(codec.MAGIC))
    if begin == codec.MAGIC:
        return codec.load(path)
    return formats.unpack(arrays.read(path), "relative")


def main(path: str, network: str, dataset: str, device: str) -> None:
    net = models.build(network, seed=0)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    tensors = read(Path(path))
    net.load_state_dict({name: units.fill_up(t, shapes[name]) for name, t in tensors.items()})
    net = net.to(device).eval()
    test = data.load(dataset, device, announce=False).test
    found = {
        "errors": int((training.predict(net, test.images) != test.labels).sum()),
        "images": len(test),
        "kept": {n: [int(w.count_nonzero()), w.numel()] for n, w in models.weights(net).items()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
