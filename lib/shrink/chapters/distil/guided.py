"""Students guided by the teacher's features: by hints, or by the distances between images."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from shrink import distillation
from shrink.chapters.distil.pupils import Lesson, build
from shrink.chapters.distil.students import Students
from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from shrink.classroom.made_of import fingerprint
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, train
from shrink.distillation import distillation_loss

WAYS = ("hint", "distance")
LAYER = "fc2"  # of the student
SECONDS = 0.0015  # of a step, about


class _Guided(nn.Module):
    """A student, and the regressor that is trained with it and thrown away."""

    def __init__(self, student: nn.Module, regressor: nn.Module) -> None:
        super().__init__()
        self.student, self.regressor = student, regressor

    def forward(self, images: Tensor) -> Tensor:
        return self.student(images)


def guided(
    split: Split,
    answers: Tensor,
    features: Tensor,
    lesson: Lesson,
    recipe: Recipe,
    *,
    way: str,
    weight: float,
    width: int = 30,
    order: int = 0,
) -> nn.Module:
    """A student that learns its lesson, and from the teacher's features besides.

    Its loss gets one more term: `weight` times `hint_loss`, or `distance_loss`, between its second
    hidden layer before the ReLU and the teacher's features. It is trained with a progress bar,
    unless it is in the cache, and comes in evaluation mode.

    Args:
        answers, features: the teacher's on the split's images, (n, 10) and (n, features).
        way: one of `WAYS`.
        order: the seed of the order of the images.

    Raises:
        ValueError: there is no such way, or the lesson misses a digit.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, not {way!r}")
    if lesson.missing is not None:
        raise ValueError(f"a guided student sees every digit; missing is {lesson.missing!r}")
    student = build(lesson.seed, width).to(split.images.device)
    told = fingerprint(answers), fingerprint(features)
    made_of = (split, *told, lesson, recipe, way, weight, width, order, guided)

    def make() -> dict[str, Tensor]:
        shapes = (width,), features.shape[1:]
        regressor = (
            distillation.build_regressor(*shapes, lesson.seed) if way == "hint" else nn.Identity()
        )
        both = _Guided(student, regressor.to(split.images.device))

        def loss(logits: Tensor, images: Tensor, labels: Tensor, *theirs: Tensor) -> Tensor:
            theirs, known = theirs
            own = found[LAYER]
            taught = distillation_loss(logits, theirs, labels, lesson.temperature, lesson.alpha)
            if way == "hint":
                return taught + weight * distillation.hint_loss(own, known, both.regressor)
            return taught + weight * distillation.distance_loss(own, known)

        title = f"a student guided by {way}, seed {lesson.seed}"
        steps = recipe.epochs * -(-len(split) // recipe.batch_size)
        with (
            distillation.captured(student, [LAYER]) as found,
            new_bar(title, seconds=SECONDS * steps, unit="step") as bar,
        ):
            train(
                both,
                split,
                replace(recipe, learning_rate=recipe.learning_rate * lesson.rate),
                seed=order,
                loss=loss,
                examples=lambda batch, _: (
                    split.images[batch],
                    split.labels[batch],
                    answers[batch],
                    features[batch],
                ),
                progress=bar_progress(bar),
            )
        return student.state_dict()

    student.load_state_dict(kept(f"pupils/guided-by-{way}", make, *made_of))
    return student.eval()


def each_guided(
    split: Split,
    answers: Tensor,
    features: Tensor,
    lessons: Sequence[Lesson],
    recipe: Recipe,
    *,
    way: str,
    weight: float,
) -> Students:
    """One student per lesson, each `guided` by itself; arguments and errors as there."""
    parts = (split, answers, features)
    told = fingerprint(answers), fingerprint(features)
    made_of = (split, *told, tuple(lessons), recipe, way, weight, guided)

    def networks() -> list[nn.Module]:
        return [guided(*parts, one, recipe, way=way, weight=weight) for one in lessons]

    return Students.of(networks, len(lessons), made_of)
