"""What a student does, on a CUDA device: checks, training with held masks, the explorer."""

import copy

import pytest
import torch

from shrink import distillation, pruning, sharing
from shrink.chapters import quantize as of_quantizing
from shrink.chapters import share as share_exercises
from shrink.chapters.code import explorer as code
from shrink.chapters.code import file_explorer as file
from shrink.chapters.distil import teacher
from shrink.chapters.prune import explorer as prune
from shrink.chapters.prune import masks as exercises
from shrink.chapters.quantize import explorer as quantize
from shrink.chapters.share import explorer as share
from shrink.chapters.structure import explorer as structure
from shrink.classroom import data, models, training
from shrink.coding import codec
from shrink.quantization.aware import RANGES, prepare
from shrink.quantization.aware_conversion import convert
from shrink.quantization.mixed_bits import ROUNDINGS, quantize_mixed

pytestmark = pytest.mark.gpu


@pytest.fixture
def digits():
    return data.load("digits", device="cuda", announce=False)


@pytest.mark.parametrize(
    "name", ["magnitude_mask", "global_masks", "relative_indices", "sensitivity"]
)
def test_the_reference_passes_on_cuda_inputs_too(name):
    exercise = getattr(exercises, name)
    exercise.answer(exercise.reference)
    assert exercise.judge(0).state == "done"


@pytest.mark.parametrize("name", ["quantize", "quantize_channels", "pack_bits", "fold_batch_norm"])
def test_a_quantizer_passes_on_cuda_inputs_too(name):
    exercise = getattr(of_quantizing, name)
    exercise.answer(exercise.reference)
    assert exercise.judge(0).state == "done"


@pytest.mark.parametrize("name", ["assign", "update", "codebook_gradient"])
def test_sharing_passes_on_cuda_inputs_too(name):
    exercise = getattr(share_exercises, name)
    exercise.answer(exercise.reference)
    assert exercise.judge(0).state == "done"


def test_a_mask_on_the_cpu_for_a_weight_on_the_gpu_is_told_so():
    exercises.magnitude_mask.answer(lambda w, s: pruning.magnitude_mask(w, s).cpu())
    outcome = exercises.magnitude_mask.judge(0)
    assert outcome.state == "wrong" and "shape and device" in outcome.message


def test_training_holds_masks_and_resumes(digits, tmp_path):
    model = models.build("lenet-300-100", seed=0).cuda()
    weights = models.weights(model)
    masks = pruning.global_masks(weights, 0.9)
    checkpoint = tmp_path / "checkpoint"

    def killed(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    arguments = {
        "hold": lambda optimizer: pruning.hold_masks(weights, masks, optimizer),
        "checkpoint": checkpoint,
    }
    recipe = training.Recipe(epochs=4)
    with pytest.raises(KeyboardInterrupt):
        training.train(model, digits.train, recipe, progress=killed, **arguments)
    assert checkpoint.exists()
    assert not training.train(model, digits.train, recipe, **arguments).stopped
    assert all(not weights[name][~mask].any() for name, mask in masks.items())
    assert training.accuracy(model, digits.test) > 0.5


def test_the_explorer_moves(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    explorer = prune.explore_pruning(digits, seeds=(0, 1))
    explorer.controls["sparsity"].value = 0.9
    assert explorer.error is None and explorer.redraws == 2
    assert torch.cuda.memory_allocated() > 0


def test_the_explorer_of_quantization_moves(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    explorer = quantize.explore_quantization(digits, seeds=(0, 1))
    for what in ("weights", "activations"):
        explorer.controls["what"].value = what
        explorer.controls["bits"].value = 3
        assert explorer.error is None


def test_the_explorer_of_structure_moves_and_trains(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    explorer = structure.explore_structure(digits, seeds=(0, 1))
    for values in ({"removal": "each its own", "kept": 4}, {"granularity": "2:4"}):
        explorer.move(**values)
        assert explorer.error is None
        explorer.work.start_button.click()
        explorer.work.wait(120)
        assert explorer.work.status.value == "finished"


def test_codebooks_are_trained_and_stored(digits):
    model = models.build("lenet-300-100", seed=0).cuda()
    weights = models.weights(model)
    shared = {name: sharing.share(w, k=4) for name, w in weights.items()}
    training.train(
        model,
        digits.train,
        training.Recipe(epochs=2, weight_decay=0),
        augment=training.shifted,
        hold=lambda sgd: sharing.hold_shared(weights, shared, sgd, "mean"),
    )
    found = codec.decode(codec.encode(shared))
    assert all(found[name].equal(w.detach().cpu()) for name, w in weights.items())


def test_the_explorers_of_sharing_and_coding_move(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    shared = share.explore_sharing(digits, seeds=(0, 1))
    shared.controls["k"].value = 4
    coded = code.explore_coding(digits)
    coded.controls["gap_bits"].value = 3
    content = codec.encode(models.build("lenet-300-100", seed=0).state_dict())
    flipped = file.explore_file(content, digits)
    flipped.controls["byte"].value = 1000
    assert shared.error is coded.error is flipped.error is None


def test_a_student_learns_from_answers_on_disk_as_from_the_teacher(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    net = models.build("lenet-300-100", seed=1).cuda()

    def trained(examples):
        student = models.build("lenet-300-100", seed=0).cuda()
        loss = lambda z, _, labels, v: distillation.distillation_loss(z, v, labels, 4, 0.9)  # noqa: E731
        training.train(student, digits.train, training.Recipe(2), loss=loss, examples=examples)
        return student.fc1.weight

    live = trained(teacher.with_answers(digits.train, net, augment=training.shifted))
    for _ in range(2):  # made, and read
        assert trained(teacher.with_cached_answers(digits.train, net)).allclose(live, atol=1e-4)


def test_features_and_relations_are_compared_on_the_gpu():
    student, other = (torch.rand(6, 2, 3, 3, device="cuda", requires_grad=True) for _ in range(2))
    layer = distillation.build_regressor((2, 3, 3), (2, 3, 3)).cuda()
    for loss in (
        distillation.distance_loss,
        distillation.angle_loss,
        distillation.attention_transfer_loss,
        lambda x, y: distillation.hint_loss(x, y, layer),
    ):
        found = loss(student, other)
        (gradient,) = torch.autograd.grad(found, student)
        layer.cpu()
        assert found.item() == pytest.approx(loss(student.cpu(), other.cpu()).item(), rel=1e-3)
        layer.cuda()
        assert gradient.any()


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "separable", "residual"])
def test_scores_and_paths_are_those_of_the_cpu(name, digits):
    net, images, labels = models.build(name, 0), digits.train.images[:60], digits.train.labels[:60]
    shape = (1, 28, 28)
    masks = pruning.global_masks(models.weights(net), 0.7)
    cpu, gpu = copy.deepcopy(net).double(), copy.deepcopy(net).double().cuda()
    on_gpu = {layer: mask.cuda() for layer, mask in masks.items()}
    assert pruning.count_paths(gpu, on_gpu, shape) == pruning.count_paths(cpu, masks, shape) > 0
    live = pruning.live_masks(cpu, masks, shape)
    assert all(m.cpu().equal(live[n]) for n, m in pruning.live_masks(gpu, on_gpu, shape).items())
    for score in (
        lambda m, x, y: pruning.snip_scores(m, x, y),
        lambda m, x, y: pruning.grasp_scores(m, x, y),
        lambda m, x, y: pruning.synflow_scores(m, shape),
    ):
        expected = score(cpu, images.double().cpu(), labels.cpu())
        found = score(gpu, images.double(), labels)
        for layer, s in found.items():
            assert s.is_cuda
            torch.testing.assert_close(s.cpu(), expected[layer], rtol=1e-6, atol=1e-12)


def test_pruning_in_steps_keeps_what_it_keeps_on_the_cpu():
    for dtype in (torch.float32, torch.bfloat16):  # whole numbers, many of them equal
        draw = torch.Generator().manual_seed(0)
        rounds = [torch.randint(-9, 9, (40, 30), generator=draw).to(dtype) for _ in range(4)]
        found = []
        for device in ("cpu", "cuda"):
            net, scores = torch.nn.Linear(30, 40).to(device), iter(rounds)
            score = lambda _, s=scores, d=device: {"weight": next(s).to(d)}  # noqa: E731
            found.append(pruning.prune_by_score(net, score, 0.9, steps=4)["weight"])
        assert found[1].is_cuda and found[0].equal(found[1].cpu())


def test_units_conserve_saliency_on_the_gpu():
    net = models.build("lenet-5", 0).double().cuda()
    scores = pruning.synflow_scores(net, (1, 28, 28))
    for group in pruning.dependency_groups(net, torch.zeros(2, 1, 28, 28).double().cuda()).values():
        into, out_of = pruning.unit_saliency(scores, group)
        assert into.is_cuda
        torch.testing.assert_close(into, out_of, rtol=1e-10, atol=0)


@pytest.mark.parametrize("by", pruning.DIAGONALS)
def test_second_derivatives_are_those_of_the_cpu(digits, by):
    model = models.build("tiny-tanh", seed=0, hidden=(6, 5)).cuda().double()
    images, labels = digits.train.images[:50].double(), digits.train.labels[:50]
    found = pruning.hessian_diagonal(model, images, labels, by)
    weights = models.weights(model)
    masks = pruning.global_masks(pruning.obd_saliency(weights, found), 0.5)
    rise = pruning.predicted_rise(weights, masks, found)
    assert all(h.is_cuda for h in found.values())
    model.cpu()
    expected = pruning.hessian_diagonal(model, images.cpu(), labels.cpu(), by)
    for name, h in expected.items():
        assert found[name].cpu().allclose(h, rtol=1e-6, atol=1e-12)
    masks = {name: mask.cpu() for name, mask in masks.items()}
    assert pruning.predicted_rise(models.weights(model), masks, expected) == pytest.approx(rise)


def test_convolutions_and_the_whole_hessian_too(digits):
    images, labels = digits.train.images[:20], digits.train.labels[:20]
    lenet = models.build("lenet-5", seed=0, hidden=(2, 3, 8)).cuda()
    found = pruning.hessian_diagonal(lenet, images, labels)
    expected = pruning.hessian_diagonal(lenet.cpu(), images.cpu(), labels.cpu())
    for name, h in expected.items():
        assert found[name].cpu().allclose(h, rtol=1e-2, atol=1e-3 * float(h.abs().max()))
    tiny = models.build("tiny-relu", seed=0, hidden=(3, 2)).cuda()
    hessian = pruning.full_hessian(tiny, images, labels)
    assert hessian.is_cuda and hessian.allclose(hessian.T)
    expected = pruning.full_hessian(tiny.cpu(), images.cpu(), labels.cpu())
    assert hessian.cpu().allclose(expected, rtol=1e-6, atol=1e-10)


def test_the_surgeon_works_on_the_gpu():
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(40, 6, generator=draw), torch.randn(4, 6, generator=draw)
    found, mask = pruning.surgeon_layer(weight.cuda(), x.cuda(), 0.5)
    expected, kept = pruning.surgeon_layer(weight, x, 0.5)
    assert mask.cpu().equal(kept) and found.cpu().allclose(expected, atol=1e-4)
    hessian = (x.T @ x / len(x)).cuda()
    assert all(part.is_cuda for part in pruning.brain_surgeon(weight[0].cuda(), hessian, 2))


@pytest.mark.parametrize("rewind_to", [0, 3, None])
def test_tickets_are_found_and_rewound_on_the_gpu(rewind_to):
    net = models.build("residual", 0).cuda()  # its norms keep statistics
    weights = models.weights(net)
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    cpu = {name: mask.cpu() for name, mask in masks.items()}
    state = {name: tensor.cpu() for name, tensor in pruning.snapshot(net).items()}
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 28, 28, generator=draw).cuda()

    def train(net, masks, watch):
        optimizer = torch.optim.Adam(net.parameters(), 0.01, fused=True)
        with pruning.hold_masks(weights, masks, optimizer):
            for step in range(1, 6):
                optimizer.zero_grad()
                net(images).square().mean().backward()
                optimizer.step()
                watch(step)

    for found in pruning.find_tickets(net, train, masks, 0.3, 2, rewind_to=rewind_to):
        for mask in found.masks.values():
            assert mask.is_cuda
            assert int(mask.sum()) == pruning.count_survivors(mask.numel(), 0.3, 2)[found.number]
        if found.number == 0:  # the first round, ranked as on the CPU
            trained = {name: w.detach().cpu() for name, w in weights.items()}
        elif found.number == 1:
            expected = pruning.prune_survivors(trained, cpu, 0.3)
            assert all(m.cpu().equal(expected[n]) for n, m in found.masks.items())
    overlap = pruning.mask_overlap(found.masks, pruning.shuffle_masks(found.masks, 0))
    assert overlap["fc.weight"].shared <= int(found.masks["fc.weight"].sum())
    pruning.rewind(net, state, found.masks)  # from a snapshot that lies on the CPU
    for name, tensor in pruning.snapshot(net).items():
        kept = state[name] * found.masks[name].cpu() if name in weights else state[name]
        assert tensor.is_cuda and tensor.cpu().equal(kept)
    signed = pruning.signed_constants({name: state[name].cuda() for name in weights})
    assert all(w.is_cuda and w.abs().unique().numel() == 1 for w in signed.values())


@pytest.mark.parametrize("range_", RANGES)
def test_a_network_trains_aware_of_its_integers_on_the_gpu_and_converts_there(range_):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4))
        x = torch.rand(64, 8)
    options = {"weight_bits": 4, "activation_bits": 4, "range": range_, "per_channel": True}
    on_cpu = prepare(net, calibration_data=x, **options)
    prepared = prepare(net.cuda(), calibration_data=x.cuda(), **options)
    torch.testing.assert_close(prepared(x.cuda()).cpu(), on_cpu(x), rtol=1e-4, atol=1e-4)
    for which, given in ((on_cpu, x), (prepared, x.cuda())):
        which(given).square().sum().backward()
    for (name, p), q in zip(prepared.named_parameters(), on_cpu.parameters(), strict=True):
        assert p.is_cuda, name
        torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=1e-3, atol=1e-3)
    assert (convert(prepared)(x.cuda()) - prepared(x.cuda())).abs().max() < 0.1


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_mixed_bits_are_those_of_the_cpu(digits, rounding):
    net, x = models.build("lenet-300-100", 0, hidden=(12, 8)), digits.train.images[:60].cpu()
    bits = {"fc1": (3, 8), "fc2": (4, 8), "fc3": (8, 8)}
    options = {"rounding": rounding, "correct_bias": True}
    on_cpu = quantize_mixed(net, bits, x, **options)
    on_gpu = quantize_mixed(net.cuda(), bits, x.cuda(), **options)
    assert next(on_gpu.buffers()).is_cuda
    for name in bits:
        mine, theirs = (
            m.get_submodule(name).weight_quantizer.q.cpu().int() for m in (on_gpu, on_cpu)
        )
        assert (mine - theirs).abs().max() <= 1
        most = 0.1 if rounding == "adaround" else 0.02  # sums in another order, float32 or float64
        assert (mine != theirs).float().mean() < most
    with torch.no_grad():
        off = on_gpu(x.cuda()).cpu() - on_cpu(x)
    assert off.square().mean().sqrt() < 0.1 * on_cpu(x).square().mean().sqrt()
