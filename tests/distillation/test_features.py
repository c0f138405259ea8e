"""Hints, attention and relations against loops and finite differences; what is captured."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from shrink.classroom import models
from shrink.distillation import (
    angle_loss,
    attention_map,
    attention_transfer_loss,
    build_regressor,
    captured,
    distance_loss,
    hint_loss,
)

RELATIONS = {"distances": distance_loss, "angles": angle_loss}


def numbers(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(n=4):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def hooks_of(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def huber(difference):
    size = abs(difference)
    return size**2 / 2 if size <= 1 else size - 1 / 2


def distances_by_loops(student, teacher):
    pairs = list(itertools.combinations(range(len(student)), 2))
    relative = []
    for x in (student, teacher):
        lengths = np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs])
        relative.append(lengths / lengths.mean() if lengths.any() else lengths)
    return np.mean([huber(a - b) for a, b in zip(*relative, strict=True)])


def angles_by_loops(student, teacher):
    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / lengths if lengths else 0.0

    triples = list(itertools.permutations(range(len(student)), 3))
    return np.mean([huber(cosine(student, *t) - cosine(teacher, *t)) for t in triples])


BY_LOOPS = {"distances": distances_by_loops, "angles": angles_by_loops}


@pytest.mark.parametrize("what", RELATIONS)
@pytest.mark.parametrize("n", [3, 4, 9])
def test_relations_are_those_of_the_loops(what, n):
    student, teacher = numbers(n, n, 5), 100 * numbers(n + 1, n, 2, 4)
    oracle = BY_LOOPS[what](student.numpy(), teacher.flatten(1).numpy())
    assert RELATIONS[what](student, teacher).item() == pytest.approx(oracle, rel=1e-9)
    single = RELATIONS[what](student.float(), teacher.float())
    assert single.dtype == torch.float32 and single.item() == pytest.approx(oracle, rel=1e-4)


@pytest.mark.parametrize("what", RELATIONS)
def test_relations_are_those_of_the_loops_where_images_coincide(what):
    student, teacher = numbers(1, 6, 5), numbers(2, 6, 3)
    student[3] = student[1]
    teacher[5] = teacher[4] = teacher[1]
    oracle = BY_LOOPS[what](student.numpy(), teacher.numpy())
    assert RELATIONS[what](student, teacher).item() == pytest.approx(oracle, rel=1e-9)


def test_two_images_have_a_distance():
    assert distance_loss(numbers(1, 2, 3), numbers(2, 2, 3)).item() == 0


@pytest.mark.parametrize("what", RELATIONS)
def test_relations_do_not_see_where_how_large_and_which_way_up_features_are(what):
    x, teacher = numbers(1, 7, 5), numbers(2, 7, 4)
    turned = 7.5 * x @ torch.linalg.qr(numbers(3, 5, 5)).Q + 3
    assert RELATIONS[what](turned, x).item() == pytest.approx(0, abs=1e-12)
    ours, again = (RELATIONS[what](features, teacher).item() for features in (x, turned))
    assert ours == pytest.approx(again) and ours > 1e-3


@pytest.mark.parametrize("what", RELATIONS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_relations_of_tiny_and_of_huge_features_neither_vanish_nor_overflow(what, scale):
    x, teacher = (numbers(seed, 7, 5, dtype=torch.float32) for seed in (1, 2))
    expected = RELATIONS[what](x, teacher).item()
    assert RELATIONS[what](scale * x, teacher).item() == pytest.approx(expected, rel=1e-4)
    assert RELATIONS[what](x, scale * teacher).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("what", RELATIONS)
def test_relations_have_the_gradient_of_finite_differences(what):
    student, teacher = numbers(1, 6, 4).requires_grad_(), numbers(2, 6, 3)
    assert torch.autograd.gradcheck(lambda x: RELATIONS[what](x, teacher), (student,))


@pytest.mark.parametrize("what", RELATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_coinciding_images_leave_the_gradient_finite_and_of_ordinary_size(what, dtype):
    usual = numbers(1, 8, 4, dtype=torch.float32).to(dtype).requires_grad_()
    teacher = numbers(2, 8, 3, dtype=torch.float32).to(dtype)
    RELATIONS[what](usual, teacher).backward()
    for alike in ([0, 1], [0, 1, 2, 5], range(8)):
        student = usual.detach().clone()
        student[list(alike)] = 0  # as a dead ReLU leaves them
        student.requires_grad_()
        for against in (teacher, torch.ones_like(teacher)):
            (gradient,) = torch.autograd.grad(RELATIONS[what](student, against), student)
            assert gradient.isfinite().all()
            assert gradient.abs().max() <= 20 * usual.grad.abs().max()


def test_the_gradient_with_a_coinciding_pair_is_that_of_all_other_pairs():
    """The two images move together: their distance is 0 and stays so."""
    student, teacher = numbers(1, 5, 3), numbers(2, 5, 3)
    student[1] = student[0]
    for what, loss in RELATIONS.items():
        x = student.clone().requires_grad_()
        loss(x, teacher).backward()
        along = numbers(3, 5, 3)
        along[1] = along[0]
        moved = [
            BY_LOOPS[what]((student + s * along).numpy(), teacher.numpy()) for s in (1e-6, -1e-6)
        ]
        slope = (moved[0] - moved[1]) / 2e-6
        assert (x.grad * along).sum().item() == pytest.approx(slope, rel=1e-5)


def test_a_direction_between_coinciding_images_has_no_gradient():
    """Of three images two coincide, and the third sees both one way: the cosine is at its peak."""
    student, teacher = numbers(1, 3, 4), numbers(2, 3, 4)
    student[1] = student[0]
    angle_loss(student.requires_grad_(), teacher).backward()
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("what", RELATIONS)
def test_relations_teach(what):
    student, teacher = numbers(1, 12, 3).requires_grad_(), numbers(2, 12, 6)
    before = RELATIONS[what](student, teacher).item()
    adam = torch.optim.Adam([student], lr=0.05)
    for _ in range(100):
        adam.zero_grad()
        RELATIONS[what](student, teacher).backward()
        adam.step()
    assert RELATIONS[what](student, teacher).item() < before / 2


@pytest.mark.parametrize(("what", "least"), [("distances", 2), ("angles", 3)])
def test_too_few_images_or_other_ones_are_named(what, least):
    with pytest.raises(ValueError, match=rf"at least {least}, not \({least - 1}, 4\)"):
        RELATIONS[what](numbers(1, least - 1, 4), numbers(2, least - 1, 4))
    with pytest.raises(ValueError, match=r"not \(5, 4\) and \(6, 4\)"):
        RELATIONS[what](numbers(1, 5, 4), numbers(2, 6, 4))


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
def test_attention_is_that_of_the_loops(p):
    student, teacher = numbers(1, 3, 2, 4, 5), numbers(2, 3, 7, 4, 5)
    maps = []
    for x in (student.numpy(), teacher.numpy()):
        q = np.array(
            [[sum(abs(image[:, i, j]) ** p) for i in range(4) for j in range(5)] for image in x]
        )
        maps.append(q / np.sqrt((q**2).sum(1, keepdims=True)))
    assert np.allclose(attention_map(student, p), maps[0])
    loss = attention_transfer_loss(student, teacher, p)
    assert loss.item() == pytest.approx(np.mean((maps[0] - maps[1]) ** 2))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_attention_has_the_gradient_of_finite_differences(p):
    student, teacher = numbers(1, 2, 3, 4).requires_grad_(), numbers(2, 2, 5, 4)
    assert torch.autograd.gradcheck(lambda x: attention_transfer_loss(x, teacher, p), (student,))


@pytest.mark.parametrize("p", [1, 2, 8])
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e30])
def test_attention_does_not_see_the_scale(p, scale):
    x = numbers(1, 2, 3, 4, 4, dtype=torch.float32)
    assert attention_map(scale * x, p).allclose(attention_map(x, p), atol=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_an_image_without_activations_has_no_attention_and_no_gradient(p):
    student, teacher = numbers(1, 3, 2, 4, 4), numbers(2, 3, 2, 4, 4)
    student[1] = teacher[2] = 0
    student.requires_grad_()
    loss = attention_transfer_loss(student, teacher, p)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()
    assert not student.grad[1].any() and student.grad[0].any()


def test_maps_that_cannot_be_compared_are_named():
    with pytest.raises(ValueError, match=r"not \(2, 3, 4, 4\) and \(2, 3, 5, 5\)"):
        attention_transfer_loss(numbers(1, 2, 3, 4, 4), numbers(1, 2, 3, 5, 5))
    with pytest.raises(ValueError, match=r"not \(2, 3, 4\) and \(5, 3, 4\)"):
        attention_transfer_loss(numbers(1, 2, 3, 4), numbers(1, 5, 3, 4))
    with pytest.raises(ValueError, match=r"with axes of space, not \(2, 3\)"):
        attention_map(numbers(1, 2, 3))
    with pytest.raises(ValueError, match=r"p must be at least 1, not 0\.5"):
        attention_map(numbers(1, 2, 3, 4), 0.5)


@pytest.mark.parametrize("shapes", [((6,), (9,)), ((2, 5, 5), (4, 5, 5)), ((2, 7, 6), (4, 5, 6))])
def test_a_hint_costs_half_the_mean_square(shapes):
    student, teacher = (
        numbers(i, 3, *shape, dtype=torch.float32) for i, shape in enumerate(shapes)
    )
    regressor = build_regressor(*shapes)
    loss = hint_loss(student.requires_grad_(), teacher.requires_grad_(), regressor)
    difference = (regressor(student) - teacher).detach().double().numpy()
    assert loss.item() == pytest.approx((difference**2).mean() / 2)
    loss.backward()
    assert teacher.grad is None and student.grad.any()
    assert all(p.grad.any() for p in regressor.parameters())


def test_a_hint_has_the_gradient_of_finite_differences():
    regressor = build_regressor((4,), (3,)).double()
    student, teacher = numbers(1, 5, 4).requires_grad_(), numbers(2, 5, 3)
    weight = regressor.weight
    assert torch.autograd.gradcheck(
        lambda x, w: hint_loss(x, teacher, lambda z: z @ w.T), (student, weight)
    )


def test_a_regressor_follows_from_its_seed_and_leaves_the_random_state():
    before = torch.get_rng_state()
    first, again, other = (build_regressor((4,), (3,), seed) for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(before)
    assert first.weight.equal(again.weight) and not first.weight.equal(other.weight)


@pytest.mark.parametrize(
    "shapes", [((4,), (4, 2, 2)), ((4, 2, 2), (4,)), ((4, 2, 3), (4, 3, 3)), ((4, 9), (4, 9))]
)
def test_shapes_that_no_regressor_joins_are_named(shapes):
    with pytest.raises(ValueError, match="vectors or maps") as caught:
        build_regressor(*shapes)
    assert f"{shapes[0]} and {shapes[1]}" in str(caught.value)


def test_a_regressor_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"makes \(5, 4\) of \(5, 4\).* are \(5, 3\)"):
        hint_loss(numbers(1, 5, 4), numbers(2, 5, 3), nn.Identity())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_in_16_bits_are_compared_in_32(dtype):
    student, teacher = (numbers(i, 6, 2, 3, 3).to(dtype) for i in (1, 2))
    for loss in (
        distance_loss,
        angle_loss,
        attention_transfer_loss,
        lambda x, y: hint_loss(x, y, nn.Identity()),
    ):
        found = loss(student, teacher)
        assert found.dtype == torch.float32 and found.equal(loss(student.float(), teacher.float()))
    large = torch.full((4, 3), 300.0, dtype=torch.float16) * torch.eye(4, 3, dtype=torch.float16)
    assert distance_loss(large, large).item() == 0  # 300² overflows in 16 bits


def test_no_gradient_reaches_the_teachers_features():
    for loss in (distance_loss, angle_loss, attention_transfer_loss):
        student, teacher = (numbers(i, 4, 2, 3).requires_grad_() for i in (1, 2))
        loss(student, teacher).backward()
        assert teacher.grad is None and student.grad.any()


def test_outputs_are_captured_with_their_gradients():
    net, x = models.build("lenet-5", seed=0), images()
    with captured(net, ["conv2", "fc1"]) as found:
        assert found == {}
        logits = net(x)
    assert list(found) == ["conv2", "fc1"]
    assert net.fc2(found["fc1"].relu()).equal(logits)
    assert found["conv2"].equal(net.conv2(nn.functional.max_pool2d(net.conv1(x), 2)))
    found["conv2"].square().mean().backward()
    assert net.conv1.weight.grad.any() and net.fc1.weight.grad is None


def test_the_last_call_is_the_one_that_is_captured():
    net = models.build("lenet-300-100", seed=0)
    with captured(net, ["fc1"]) as found:
        for n in (2, 5):
            net(images(n))
            assert found["fc1"].shape == (n, 300)
    net(images(3))
    assert found["fc1"].shape == (5, 300)


def test_nested_and_shared_modules_are_found_by_each_name():
    layer = nn.Linear(3, 3)
    net = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)})
    net.forward = lambda x: net["b"](net["a"](x))
    with captured(net, ["a", "b", "b.0"]) as found:
        y = net(torch.ones(1, 3))
    assert found.keys() == {"a", "b", "b.0"} and found["b"].equal(y) and found["b.0"].equal(y)


def test_hooks_are_removed_whatever_happens():
    net = models.build("lenet-300-100", seed=0)
    other = net.fc2.register_forward_hook(lambda *_: None)  # someone else's stays
    with captured(net, ["fc1", "fc2"]):
        assert hooks_of(net) == 3
    assert hooks_of(net) == 1
    with pytest.raises(KeyError), captured(net, ["fc1", "fc2"]):
        raise KeyError
    assert hooks_of(net) == 1
    with pytest.raises(RuntimeError), captured(net, ["fc1", "fc2"]):
        net(torch.zeros(2, 3))
    assert hooks_of(net) == 1
    other.remove()


def test_a_name_that_is_not_there_is_named_with_those_that_are():
    net = models.build("lenet-300-100", seed=0)
    message = r"'fc4', 'fc1\.x'; there are fc1, fc2, fc3$"
    with pytest.raises(ValueError, match=message), captured(net, ["fc1", "fc4", "fc1.x"]):
        pytest.fail("entered")
    assert hooks_of(net) == 0
