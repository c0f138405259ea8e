"""What a student learns from how a teacher's features of several images relate.

No gradient goes to the teacher's. Features in 16 bits are compared in 32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.distillation.features import shape
from shrink.tensors import check_floating, check_one_device, wide


def distance_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """How much the distances between the images differ, each network's divided by their mean.

    The mean of Huber's loss over all pairs: half the square up to 1, linear beyond. Where two
    images of the student coincide, their distance has no gradient, and it is taken as 0.

    Args:
        student_features, teacher_features: float (n, ...), n at least 2; an image's features may be
            of any shape, and of different ones.

    Returns:
        The loss, without axes.

    Source: Park et al. 2019, "Relational Knowledge Distillation", section 3.2.
    Differs: the paper sums over the pairs. Where all images coincide, all distances are 0.

    Raises:
        TypeError: features are not floating point.
        ValueError: the numbers of images differ, there are fewer than two, or their features
            have nothing in them.

    >>> student = torch.tensor([[0.0], [1.0], [2.0]])  # distances 1, 1, 2: 3/4, 3/4, 6/4
    >>> teacher = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 0.0]])  # 5, 5, 0: 6/4, 6/4, 0
    >>> distance_loss(student, teacher)  # (1/2 · 9/16 + 1/2 · 9/16 + 3/2 - 1/2) / 3
    tensor(0.5208)
    """
    _check_images(student_features, teacher_features, 2)
    ours, theirs = _distances(student_features), _distances(teacher_features.detach())
    return F.huber_loss(ours, theirs)


def angle_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """How much the angles differ that each three images make, at each of the three.

    The mean of Huber's loss of the cosines, over all triples. Where two images of one network
    coincide there is no angle; its cosine is 0, and has no gradient. The work grows with n³ · d for
    n images of d features: part of a large batch will do.

    Args:
        student_features, teacher_features: float (n, ...), n at least 3; an image's features may be
            of any shape, and of different ones.

    Returns:
        The loss, without axes.

    Source: Park et al. 2019, section 3.2.
    Differs: the paper sums over the triples.

    Raises:
        TypeError: features are not floating point.
        ValueError: the numbers of images differ, there are fewer than three, or their features
            have nothing in them.

    >>> right = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # 90, 45 and 45 degrees
    >>> flat = torch.tensor([[0.0], [1.0], [-1.0]])  # 180, 0 and 0
    >>> angle_loss(right, flat)  # (1/2 + (1 - 0.7071)²) / 3
    tensor(0.1953)
    """
    _check_images(student_features, teacher_features, 3)
    ours, theirs = _cosines(student_features), _cosines(teacher_features.detach())
    n = len(ours)
    return F.huber_loss(ours, theirs, reduction="sum") / (n * (n - 1) * (n - 2))


def _distances(features: Tensor) -> Tensor:
    """Of each pair of rows once, divided by their mean: (n · (n - 1) / 2,)."""
    distances = F.pdist(_vectors(features))  # its gradient is 0 where two coincide
    mean = distances.mean()
    return distances / mean.where(mean > 0, 1)


def _cosines(features: Tensor) -> Tensor:
    """At each image j, of the directions to i and to k: (n, n, n) at [j, i, k].

    The direction to itself is 0, as to an image that coincides with it, and so is each cosine with
    it. Where i is k there is no angle: 0, too.
    """
    x = _vectors(features)
    away = x - x.unsqueeze(1)  # at [j, i] from j to i
    squares = away.square().sum(2, keepdim=True)
    directions = away * squares.where(squares > 0, torch.inf).rsqrt()
    with torch.autocast(x.device.type, enabled=False):  # which would multiply in 16 bits
        cosines = directions @ directions.mT
    return cosines * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))


def _vectors(features: Tensor) -> Tensor:
    """(n, d), the largest magnitude 1, so that no square overflows: the losses know no scale."""
    x = wide(features).reshape(len(features), -1)
    largest = x.detach().abs().max()
    return x / largest.where(largest > 0, 1)


def _check_images(student: Tensor, teacher: Tensor, least: int) -> None:
    for features in (student, teacher):
        check_floating(features, "features")
    check_one_device(student, teacher)
    sizes = [features.shape[0] if features.dim() else 0 for features in (student, teacher)]
    if len(set(sizes)) > 1 or sizes[0] < least or not (student.numel() and teacher.numel()):
        raise ValueError(
            f"features must be of the same images, at least {least}, "
            f"not {shape(student)} and {shape(teacher)}"
        )
