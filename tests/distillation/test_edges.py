"""What distillation is given at its edges: the part that is there, or refused by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.distillation import (
    angle_loss,
    attention_map,
    attention_transfer_loss,
    average_targets,
    best_bias,
    build_regressor,
    captured,
    distance_loss,
    distillation_loss,
    hint_loss,
    soft_loss,
    soften,
)


def logits(seed, n=4, classes=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, classes, generator=generator)).to(dtype)


LABELS = torch.tensor([2, 0, 1, 2])
NONE = torch.full((4,), -100)

# ---- labels


@pytest.mark.parametrize("alpha", [0.3, 0.9, 1])
def test_without_labels_the_teachers_part_is_left(alpha):
    z = logits(0).requires_grad_()
    loss = distillation_loss(z, logits(1), NONE, 2, alpha)
    assert loss.item() == pytest.approx(alpha * soft_loss(z, soften(logits(1), 2), 2).item())
    loss.backward()
    assert z.grad.isfinite().all()


def test_without_labels_and_teacher_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="alpha is 0 and all labels are -100"):
        distillation_loss(logits(0), logits(1), NONE, 2, 0)
    with pytest.raises(ValueError, match="all labels are -100"):
        best_bias(logits(0), NONE, 2)


def test_images_without_a_label_count_in_the_teachers_part_alone():
    some = torch.tensor([2, -100, 1, -100])
    hard = F.cross_entropy(logits(0), some)
    soft = soft_loss(logits(0), soften(logits(1), 2), 2)
    found = distillation_loss(logits(0), logits(1), some, 2, 0.4)
    assert found.item() == pytest.approx((0.6 * hard + 0.4 * soft).item())
    assert best_bias(logits(0), some, 2) == best_bias(logits(0)[::2], some[::2], 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_of_any_whole_type_count(dtype):
    right = distillation_loss(logits(0), logits(1), LABELS, 2, 0.5)
    assert distillation_loss(logits(0), logits(1), LABELS.to(dtype), 2, 0.5).equal(right)
    assert best_bias(logits(0), LABELS.to(dtype), 1) == best_bias(logits(0), LABELS, 1)


BAD_LABELS = [
    (torch.tensor([2, 0, 3, 1]), ValueError, "0 to 2, or -100 for none, not 3"),
    (torch.tensor([2, 0, -1, 1]), ValueError, "0 to 2, or -100 for none, not -1"),
    (LABELS.float(), TypeError, "whole numbers, not torch.float32"),
    (LABELS.bool(), TypeError, "whole numbers, not torch.bool"),
    (F.one_hot(LABELS, 3).float(), TypeError, "whole numbers, not torch.float32"),
    (F.one_hot(LABELS, 3), ValueError, r"\(4, 3\) and labels \(n,\).* not \(4, 3\) and \(4, 3\)"),
    (LABELS[:3], ValueError, r"\(4, 3\) and \(3,\)"),
    (LABELS[None], ValueError, r"\(4, 3\) and \(1, 4\)"),
    ([2, 0, 1, 2], TypeError, "dense tensor of whole numbers, not list"),
    (LABELS.numpy(), TypeError, "whole numbers, not"),
    (LABELS.to("meta"), ValueError, "on one device, not on meta and cpu"),
]


@pytest.mark.parametrize(("labels", "error", "said"), BAD_LABELS)
def test_labels_that_are_no_classes_are_named(labels, error, said):
    said = said.replace(r"\(4, 3\) and labels \(n,\).* ", "")
    with pytest.raises(error, match=said):
        distillation_loss(logits(0), logits(1), labels, 2, 0.5)
    with pytest.raises(error, match=said):
        best_bias(logits(0), labels, 1)
    assert distillation_loss(logits(0), logits(1), labels, 2, 1)  # they are not looked at


# ---- numbers


@pytest.mark.parametrize("bad", ["2", None, [2], True, 1j, np.array([2.0]), torch.tensor([2.0])])
def test_a_temperature_that_is_no_number_is_named(bad):
    z, labels = logits(0), LABELS
    for act in (
        lambda: soften(z, bad),
        lambda: average_targets([z], bad),
        lambda: soft_loss(z, soften(z, 1), bad),
        lambda: distillation_loss(z, z, labels, bad, 0.5),
        lambda: distillation_loss(z, z, labels, bad, 0),
    ):
        with pytest.raises(TypeError, match="temperature must be a number, not"):
            act()


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_named_where_it_counts_nothing(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        distillation_loss(logits(0), logits(1), LABELS, temperature, 0)


@pytest.mark.parametrize(
    ("alpha", "error"),
    [(-0.1, ValueError), (1.1, ValueError), (float("nan"), ValueError), (np.inf, ValueError)]
    + [(bad, TypeError) for bad in ("0.5", None, True, 1j, [0.5])],
)
def test_an_alpha_that_is_no_part_is_named(alpha, error):
    with pytest.raises(error, match="alpha must be"):
        distillation_loss(logits(0), logits(1), LABELS, 2, alpha)


@pytest.mark.parametrize("kind", [int, np.float64, np.float32, np.int64, torch.tensor])
def test_numbers_of_any_kind_are_taken(kind):
    right = distillation_loss(logits(0), logits(1), LABELS, 2, 1)
    assert distillation_loss(logits(0), logits(1), LABELS, kind(2), 1).item() == right.item()
    if kind is not torch.tensor:
        again = distillation_loss(logits(0), logits(1), LABELS, 2, kind(1))
        assert again.item() == right.item()


def test_a_temperature_may_be_a_very_large_whole_number():
    z = logits(0)
    assert soften(z, 10**30).equal(soften(z, 1e30)) and soften(z, 10**30).allclose(
        z.new_ones(()) / 3
    )
    with pytest.raises(ValueError, match="above 0 and finite, not 10000"):
        soften(z, 10**400)


def test_a_temperature_may_learn():
    temperature = nn.Parameter(torch.tensor(2.0))
    distillation_loss(logits(0), logits(1), LABELS, temperature, 0.5).backward()
    assert temperature.grad.abs() > 0


# ---- logits and features: none, of other types, of other shapes

NO_IMAGES = {
    "distillation": lambda z: distillation_loss(z, z, torch.zeros(len(z)).long(), 2, 0.5),
    "soft": lambda z: soft_loss(z, z.softmax(-1), 2),
    "best bias": lambda z: best_bias(z, torch.zeros(len(z)).long(), 1),
    "hint": lambda z: hint_loss(z, z, nn.Identity()),
    "attention": lambda z: attention_transfer_loss(z[..., None], z[..., None]),
    "distances": lambda z: distance_loss(z, z),
    "angles": lambda z: angle_loss(z, z),
}


@pytest.mark.parametrize("what", NO_IMAGES)
@pytest.mark.parametrize("n_and_classes", [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_average_is_named(what, n_and_classes):
    with pytest.raises(ValueError, match=r"not .*\d, \d|of shape \(\d, \d\) have nothing"):
        NO_IMAGES[what](torch.zeros(n_and_classes))


def test_the_answers_to_no_images_are_none():
    assert soften(torch.zeros(0, 3), 2).shape == (0, 3)
    assert average_targets([torch.zeros(0, 3)], 2).shape == (0, 3)
    assert attention_map(torch.zeros(0, 3, 5)).shape == (0, 5)
    for bad in (torch.tensor(1.0), torch.zeros(4, 0)):
        with pytest.raises(ValueError, match="at least one, not"):
            soften(bad, 2)


@pytest.mark.parametrize(("what", "n"), [("distances", 1), ("angles", 1), ("angles", 2)])
def test_relations_need_images_enough(what, n):
    with pytest.raises(ValueError, match="features must be of the same images, at least"):
        NO_IMAGES[what](torch.ones(n, 3))


def test_one_number_an_image_is_a_feature():
    x, y = (torch.tensor(row) for row in ([1.0, 2.0, 4.0], [1.0, 3.0, 3.5]))
    for loss in (distance_loss, angle_loss):
        assert loss(x, y).equal(loss(x[:, None], y[:, None]))
    with pytest.raises(ValueError, match=r"not \(\) and \(\)"):
        distance_loss(torch.tensor(1.0), torch.tensor(1.0))


WRONG_TYPES = {
    "whole": (lambda z: z.long(), "floating point of 16, 32 or 64 bits, not torch.int64"),
    "bool": (lambda z: z > 0, "floating point of 16, 32 or 64 bits, not torch.bool"),
    "complex": (lambda z: z * 1j, "floating point of 16, 32 or 64 bits, not torch.complex64"),
    "sparse": (lambda z: z.to_sparse(), "dense tensor, not torch.sparse_coo"),
    "numpy": (lambda z: z.numpy(), "must be a tensor, not a ndarray"),
}
GIVEN = {
    "soften": (0, lambda z: soften(z, 2)),
    "average": (0, lambda z: average_targets([z], 2)),
    "student": (1, lambda z: distillation_loss(z, logits(1), LABELS, 2, 0.5)),
    "teacher": (1, lambda z: distillation_loss(logits(1), z, LABELS, 2, 0.5)),
    "soft student": (1, lambda z: soft_loss(z, logits(1).softmax(1), 2)),
    "targets": (1, lambda z: soft_loss(logits(1), z, 2)),
    "best bias": (1, lambda z: best_bias(z, LABELS, 1)),
    "hint": (1, lambda z: hint_loss(logits(1), z, nn.Identity())),
    "attention": (1, lambda z: attention_map(z[..., None])),
    "distances": (1, lambda z: distance_loss(z, logits(1))),
    "angles": (1, lambda z: angle_loss(logits(1), z)),
}


@pytest.mark.parametrize("kind", ["whole", "bool", "complex"])
@pytest.mark.parametrize("what", GIVEN)
def test_what_is_not_floating_point_is_named(what, kind):
    change, said = WRONG_TYPES[kind]
    with pytest.raises(TypeError, match=said):
        GIVEN[what][1](change(logits(0)))


@pytest.mark.parametrize("kind", ["sparse", "numpy"])
@pytest.mark.parametrize("what", ["soften", "student", "soft student", "best bias", "distances"])
def test_what_is_no_dense_tensor_is_named(what, kind):
    change, said = WRONG_TYPES[kind]
    with pytest.raises(TypeError, match=said):
        GIVEN[what][1](change(logits(0)))


@pytest.mark.parametrize("student", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("teacher", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_student_and_teacher_may_be_of_two_types(student, teacher):
    z, v = logits(0, dtype=student), logits(1, dtype=teacher)
    found = distillation_loss(z, v, LABELS, 2, 0.5)
    assert found.dtype == (torch.float64 if torch.float64 in (student, teacher) else torch.float32)
    exact = distillation_loss(z.double(), v.double(), LABELS, 2, 0.5)
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)
    for loss in (distance_loss, angle_loss):
        assert loss(z, v).item() == pytest.approx(loss(z.double(), v.double()).item(), rel=1e-4)


def test_logits_on_two_devices_are_named():
    with pytest.raises(ValueError, match="on one device, not on cpu and meta"):
        distillation_loss(logits(0), logits(1).to("meta"), LABELS, 2, 0.5)


@pytest.mark.parametrize("p", ["2", None, True, float("nan"), 0])
def test_a_power_that_is_none_is_named(p):
    with pytest.raises((TypeError, ValueError), match="p must be"):
        attention_map(torch.ones(2, 3, 4), p)


def test_sizes_of_a_regressor_are_whole():
    made = build_regressor(np.array([16, 8, 8]), torch.tensor([64, 6, 6]), seed=np.int64(1))
    same = build_regressor((16, 8, 8), (64, 6, 6), seed=1)
    assert str(made) == str(same) and made.weight.equal(same.weight)
    with pytest.raises(TypeError, match=r"whole number, not 4\.0"):
        build_regressor((4.0,), (3,))
    with pytest.raises(ValueError, match="at least 1, not 0"):
        build_regressor((0,), (3,))


def test_one_name_is_no_list_of_names():
    model = nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()})
    told = pytest.raises(TypeError, match="names must be a list of names, not 'ab'")
    with told, captured(model, "ab"):
        pytest.fail("entered")


def test_a_complex_temperature_is_no_number():
    with pytest.raises(TypeError, match="the temperature must be a number, not"):
        soften(torch.zeros(1, 2), torch.tensor(2 + 0j))
