# %% [markdown] title
# # 06 · Distil: what the wrong answers know
#
# **You will** let a large network teach a small one by all ten of its answers, the wrong ones too.
#
# **You will be able to**
# - soften answers by a temperature, and say what it does and what its limits are,
# - write the loss of distillation, and say what each of its factors does to the gradient,
# - tell a fair comparison with the student alone from an unfair one, and say when distilling does not help.
#
# **You need** chapter 01, of 05 what entropy is, for the bill at the end the pruned, shared and coded files of 02, 04
# and 05; and 90 minutes, 40 of them for the three core exercises. What is marked *more*, one section and four
# exercises, takes another 50. Run the cells from the top. No GPU is needed.

# %% setup
import math

import numpy as np
import torch
import torch.nn.functional as F

from shrink import distillation, pruning, sharing
from shrink.chapters.distil import (
    EXPERIMENT,
    best_bias,
    break_the_loss,
    distance_loss,
    distillation_loss,
    hint_loss,
    soft_losses,
    soften,
)
from shrink.chapters.distil.explorer import explore_distillation
from shrink.chapters.distil.guided import each_guided
from shrink.chapters.distil.pupils import Lesson, Pupils, build, taught
from shrink.chapters.distil.students import accuracies
from shrink.chapters.distil.teacher import ask
from shrink.classroom import class_work, measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.data import Split, load, ten_digits
from shrink.coding import codec
from shrink.papers import reproduce

seed = 0
data = load(device=training.pick_device())

# %% [markdown] predict
# ## Predict
#
# A small network, two hidden layers of 30 units, is to read digits. It learns in three ways, for as many steps each:
#
# 1. from 100 images and their labels;
# 2. from the same 100 images, and in place of the label all ten answers that a good network, the *teacher*, gives to
#    each;
# 3. from the teacher's answers to 10,000 images. No label is told.
#
# How many % of the validation images does it get wrong, each time? Write three guesses in place of the `None`s. They are
# not marked, and the answer comes further down.

# %% predict-guess
my_guesses = [None, None, None]

# %% [markdown] problem
# ## The problem in one number
#
# Chapters 02 to 05 made a large network small after it had been trained. What if it is small *before*? The teacher is
# LeNet-5, and the student has a seventeenth of its parameters.

# %% problem-number
teacher = baseline("lenet-5", data, seed=seed)
for name, net in {"teacher": teacher, "student": build(seed)}.items():
    parameters = sum(p.numel() for p in net.parameters())
    print(f"{name}: {parameters:7,} parameters, {measure.size(net.state_dict()):9,} bytes")
wrong = 100 * (1 - training.accuracy(teacher, data.validation))
print(f"of the validation images the teacher gets {wrong:.2f} % wrong")

# %% [markdown] problem-why
# Small networks that learn from labels get more wrong; how much, we shall see. From here on we count *errors*, what
# is wrong in %, as papers do. But a label is little to learn from: it says that an image is a 3. A teacher may say
# more: that it is a 3, *and that it might have been an 8, and never a 0*. These are the ten images of every chapter;
# above each, the teacher's first answer and its second.

# %% problem-digits
ten = ten_digits(data)
v_ten = ask(teacher, ten.images)
first_two = v_ten.topk(2).indices.tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [f"{a}, then {b}" for a, b in first_two])

# %% [markdown] by-hand
# ## One answer by hand
#
# The teacher sees an image and says: 3 with odds of 16, 8 with odds of 4, 1 with odds of 1. That is 16/21, 4/21 and
# 1/21. Its *logits*, the ten numbers of the last layer, are the logarithms of the odds; the *softmax* makes the
# answer of them: e to the power of each, divided by their sum.
#
# To *soften* the answer, divide the logits by a *temperature* T. At T = 2 that takes the square root of all odds.
#
# | | 3 | 8 | 1 |
# |---|---|---|---|
# | odds at T = 1 | 16 | 4 | 1 |
# | answer at T = 1 | 0.76 | 0.19 | 0.05 |
# | odds at T = 2 | 4 | 2 | 1 |
# | answer at T = 2, q | 4/7 | 2/7 | 1/7 |
# | a student that knows nothing, p | 1/3 | 1/3 | 1/3 |
# | p − q | −5/21 | 1/21 | 4/21 |
# | p − label | −2/3 | 1/3 | 1/3 |
#
# The last two rows are the gradients of a loss, as the mathematics below will show, but for a factor: training lowers what
# is above zero and raises what is below. The label pushes 8 and 1 down alike. The soft answer pushes the 1 down four times
# as hard as the 8. **The label treats all wrong answers alike; the teacher does not.**

# %% by-hand-code
odds = torch.tensor([[16.0, 4.0, 1.0]])
q = soften(odds.log(), temperature=2)
p = soften(torch.zeros(1, 3), temperature=2)
print("q:", q[0].tolist(), " 4/7 is", 4 / 7)
print("21 (p - q):", (21 * (p - q))[0].round().tolist())

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $z$ | `student_logits` | the student's logits for a batch of $n$ images, $(n, 10)$ |
# | $v$ | `teacher_logits` | the teacher's, $(n, 10)$ |
# | $y$ | `labels` | whole numbers, $(n,)$ |
# | $T$ | `temperature` | a number above 0 |
# | $p$ | `soften(z, T)` | the student's softened answers, $(n, 10)$, each row's sum 1 |
# | $q$ | `soften(v, T)` | the teacher's |
# | $\alpha$ | `alpha` | the weight of the teacher's answers, 0 to 1 |
# | $L$ | `distillation_loss(z, v, y, T, alpha)` | the loss, a number |
#
# $$q_i = \frac{e^{v_i/T}}{\sum_j e^{v_j/T}} \qquad
# \mathrm{KL}(q \,\|\, p) = \sum_i q_i \ln \frac{q_i}{p_i} \qquad
# L = (1-\alpha)\, \mathrm{CE}(y, z) + \alpha\, T^2\, \mathrm{KL}(q \,\|\, p)$$
#
# CE is the cross entropy with the label, $-\ln p_y$ at temperature 1: the *hard* part. The other is the *soft* part.
# Both are means over the batch. KL is 0 where the two agree, and above 0 elsewhere. It is the cross entropy of $p$
# with $q$, less the entropy of $q$, which the student cannot change (chapter 03, exercise 11, calls it relative
# entropy). The gradient of the soft part, for one image:
#
# $$\frac{\partial}{\partial z}\, T^2\, \mathrm{KL}(q \,\|\, p) = T\,(p - q)$$
#
# What T does: near 0 the answers are *one-hot*, 1 for the largest logit, where one is the largest, and 0 for all else. For a
# large $T$ they are nearly even, and $T\,(p-q)$ comes near one tenth of $(z - \bar z) - (v - \bar v)$, with $\bar z$ the
# mean of the ten logits: the student is to match the teacher's *logits*, but for a number that is added to all.

# %% mathematics-code
generator = torch.Generator().manual_seed(seed)
z = (3 * torch.randn(4, 10, generator=generator)).requires_grad_()
v = 3 * torch.randn(4, 10, generator=generator)
y = torch.tensor([3, 1, 4, 1])


def centred(logits):
    return logits - logits.mean(1, keepdim=True)


for T in (0.5, 4, 100):
    loss = distillation_loss(z, v, y, temperature=T, alpha=1)
    (gradient,) = torch.autograd.grad(loss, z)
    by_formula = T * (soften(z, T) - soften(v, T)) / len(z)
    limit = (centred(z) - centred(v)) / 10 / len(z)
    off = [(gradient - other).abs().max().item() for other in (by_formula, limit)]
    print(f"T = {T:5}: off T (p - q) by {off[0]:.0e}, off the limit of large T by {off[1]:.0e}")

# %% [markdown] naive
# ## First in slow motion, then at once
#
# Image by image and class by class, as the equation has it. Then the library's loss, which takes the logarithm of
# the softmax in one step, with the largest logit taken off first, so that nothing overflows.

# %% naive-code
T, alpha = 4, 0.9
total = 0.0
for own, theirs, label in zip(z.tolist(), v.tolist(), y.tolist(), strict=True):
    p, q = ([math.exp(x / T) for x in logits] for logits in (own, theirs))
    p, q = ([x / sum(row) for x in row] for row in (p, q))
    hard = math.log(sum(map(math.exp, own))) - own[label]
    soft = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    total += (1 - alpha) * hard + alpha * T**2 * soft
at_once = distillation_loss(z, v, y, temperature=T, alpha=alpha)
print(f"{total / len(y):.6f} {at_once.item():.6f}")

# %% [markdown] soft
# ## Soft targets to look at
#
# The teacher's answers to the ten images, a row each, at three temperatures. At T = 1 they say little that the label does not.

# %% soft-shown
plot, panels = plots.new(3, alt="The teacher's ten answers at T = 1, 4 and 20", width=3, height=3)
for panel, T in zip(panels, (1, 4, 20), strict=True):
    panel.imshow(soften(v_ten, T).cpu(), cmap="gray_r", vmin=0, vmax=1)
    panel.set(xticks=range(10), yticks=range(10), xlabel="answer", title=f"T = {T}")
panels[0].set_ylabel("image of a")
plot

# %% [markdown] soft-temperature
# One image: the one whose second answer the teacher finds most likely. And the mean entropy (chapter 05) of all ten
# answers, which says how open they are: 0 bits where one answer has it all, 3.3 where all ten are alike.

# %% soft-temperature-shown
i = int(soften(v_ten, 4).topk(2).values[:, 1].argmax())
temperatures = np.geomspace(0.1, 100, 40)
over = torch.stack([soften(v_ten, T) for T in temperatures])  # (40, images, answers)
entropies = torch.special.entr(over).sum(-1).mean(1) / math.log(2)
plot, panels = plots.new(
    2, alt="Answers over T: one at 1, then all near 0.1; entropy from 0 to 3.3"
)
a, b = first_two[i]
rest = [digit for digit in range(10) if digit not in (a, b)]
lines = {str(a): over[:, i, a], str(b): over[:, i, b], "each other": over[:, i, rest].mean(1)}
plots.curves(panels[0], temperatures, {k: line.cpu() for k, line in lines.items()}, ("even", 0.1))
panels[0].set(xscale="log", xlabel="temperature", ylabel="answer", title=f"the image of a {i}")
plots.curves(panels[1], temperatures, {"entropy": entropies.cpu()}, ("even", math.log2(10)))
panels[1].set(
    xscale="log", xlabel="temperature", ylabel="bits", title="few answers, then all alike"
)
plot

# %% [markdown] soft-reading
# **What do soft targets say at T = 0.1 that the label does not, and what at T = 100?**
#
# <details><summary>Answer</summary>
#
# Nothing at 0.1: they are the teacher's first answer. At 100 they are all close to 0.1, but not equal: what is left
# are differences of up to four hundredths, in proportion to the logits, and $T^2$ in the loss makes them large again.
# So a high temperature does not wash the knowledge out. It weighs it otherwise: all logits count alike, also those of
# answers that the teacher has long ruled out.
# </details>

# %% [markdown] gradient
# ## What T² is for
#
# The soft part without $T^2$ has the gradient $(p - q)/T$, and for a large $T$ the difference $p - q$ shrinks as $1/T$,
# too. How large is it beside the gradient of the hard part? For a student before its first step, over all images
# that it will see, the first 10,000 of the training images, which we call the *transfer set*:

# %% gradient-measured
shown = Split(data.train.images[:10_000], data.train.labels[:10_000])
v_shown = ask(teacher, shown.images)
z_shown = ask(build(seed).to(v_shown.device), shown.images)
one_hot = F.one_hot(shown.labels, 10)
hard = (soften(z_shown, 1) - one_hot).norm(dim=1).mean()
lengths = {"with T²": [], "without": []}
for T in temperatures:
    soft = (soften(z_shown, T) - soften(v_shown, T)).norm(dim=1).mean()
    lengths["with T²"].append(float(T * soft / hard))
    lengths["without"].append(float(soft / T / hard))
plot, (panel,) = plots.new(alt="Length of the soft gradient over T, with and without T²", width=6)
plots.curves(panel, temperatures, lengths, ("gradient of the hard part", 1))
panel.set(xscale="log", yscale="log", xlabel="temperature", ylabel="length, hard part = 1")
panel.set_title("T² holds the gradient where T is large")
spread = (v_shown.amax(1) - v_shown.amin(1)).median()
print(f"the teacher's largest logit is above its least by {spread:.0f}, in the median")
for T in (0.1, 1, 4, 20, 100):
    i = int(np.abs(np.log(temperatures / T)).argmin())
    print(f"T = {T:5}: {lengths['with T²'][i]:8.2f} with T², {lengths['without'][i]:10.5f} without")
plot

# %% [markdown] gradient-reading
# **From where on does the gradient without T² fall as 1/T², and what does T² do below that?**
#
# <details><summary>Answer</summary>
#
# From about a quarter of the spread of the logits on: that is a T of 8 on glyphs and of 6 on MNIST. Below 2, p − q hardly
# depends on T, so that the gradient falls as 1/T only, and T² makes it *grow* with T. "T² keeps the gradients
# comparable" is true of high temperatures, and off by a factor T for low ones.
# </details>

# %% [markdown] rates
# ## A fair comparison
#
# So at T = 4 the first steps are about three times as long as without a teacher. For a comparison nothing in this chapter
# matters more. Here is the student, alone and with the teacher, at learning rates from low to high; all see the same
# batches of 32 images, for six epochs of the 10,000. Three students, with different initial weights, for each point.
#
# `taught` gives a student for each lesson. What these get right was counted when the course was made, so that you need
# not wait; a student that is asked anything else, or has another lesson, is trained here, with a progress bar.

# %% rates-measured
RECIPE = training.Recipe(epochs=6, learning_rate=0.05, weight_decay=0, batch_size=32)
ALONE = {"temperature": 1.0, "alpha": 0.0}


def errors(students, split=data.validation):
    """The errors of the students in %."""
    return 100 * (1 - accuracies(students, split))


rates = np.array([0.05, 0.1, 0.2, 0.4, 1.0, 2.0])
plans = [
    Lesson(s, **how, rate=float(rate))
    for how in (ALONE, {"temperature": 4.0, "alpha": 0.9})
    for rate in rates
    for s in range(3)
]
found = errors(taught(shown, teacher, plans, RECIPE)).reshape(2, len(rates), 3).mean(2)
plot, (panel,) = plots.new(alt="Error over the learning rate: two valleys in two places", width=6)
plots.curves(panel, 0.05 * rates, dict(zip(("alone", "T = 4, alpha = 0.9"), found, strict=True)))
panel.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="error, %")
panel.set_xticks(0.05 * rates, [f"{0.05 * rate:g}" for rate in rates])
panel.set_xticks([], minor=True)
panel.set_yticks([3, 5, 10, 30, 90], [3, 5, 10, 30, 90])
panel.set_yticks([], minor=True)
panel.set_title("two valleys in two places")
plot

# %% [markdown] rates-reading
# **Somebody compares the two at a learning rate of 0.05, somebody else at 0.005. What do they publish?**
#
# <details><summary>Answer</summary>
#
# One that distilling does harm (on glyphs, that it ruins the network), the other that it is worth 2.6 points on glyphs and
# 3.9 on MNIST. Each has compared a well trained network with a badly trained one. At the best rate of each it is 0.4 and
# 0.6 points.
# </details>
#
# From here on the learning rate follows the length of the gradient, by a rule that was chosen on validation images: 0.05
# over $1 - \alpha + \alpha \min(T, 5)$. So it is 0.05 for the student alone ($\alpha = 0$), 0.0135 at T = 4 and
# $\alpha = 0.9$. Initial weights, images, their order and the number of steps are the same for both.


# %% lesson-defined
def lesson(s, temperature=4.0, alpha=0.9, **more):
    """What student number s learns from, at the rate that suits it."""
    return Lesson(s, temperature, alpha, rate=1 / (1 - alpha + alpha * min(temperature, 5)), **more)


def alone(s, **more):
    """The same student without a teacher."""
    return lesson(s, **ALONE, **more)


# %% [markdown] real
# ## On the real network: how high a temperature?
#
# Five students, alone and with the teacher at six temperatures. The band is that of the five alone, from best to worst.

# %% real-measured
seeds = range(5)
hot = np.array([0.5, 1, 2, 4, 8, 20])
plans = [alone(s) for s in seeds] + [lesson(s, float(T)) for T in hot for s in seeds]
students = taught(shown, teacher, plans, RECIPE)
by_T = errors(students).reshape(1 + len(hot), len(seeds))
own, with_teacher = by_T[0], by_T[1:]

# %% real-shown
plot, (panel,) = plots.new(alt="Error over temperature, above and below the student alone", width=6)
colour = plots.COLOURS["distilled"]
panel.axhspan(own.min(), own.max(), color=plots.COLOURS["dense"], alpha=0.2, lw=0)
panel.axhline(own.mean(), color=plots.COLOURS["dense"], ls="--", label="alone, mean and range")
panel.plot(hot, with_teacher.mean(1), "o-", color=colour, label="with the teacher, mean")
panel.plot(hot, with_teacher, ".", color=colour, alpha=0.6)
panel.legend(fontsize="small")
panel.set(
    xscale="log", xlabel="temperature", ylabel="error, %", title="warm is best, hot is not better"
)
panel.set_xticks(hot, [f"{T:g}" for T in hot])
panel.set_xticks([], minor=True)
plot

# %% [markdown] paired
# Is a difference real, or luck? Each student is compared with *itself* alone: five differences, on the test images
# now. The interval to either side of their mean is 2.776 times their standard deviation over $\sqrt 5$ (Student's t
# for five). It holds the true mean in 95 of 100 such trials, if differences are normal. The test images are read here
# and further down for figures, and decide nothing: T = 4 and the rates were chosen on validation images.


# %% paired-measured
def paired(students, others):
    """Points of test error that the students have more than the others: mean, and half interval."""
    gaps = errors(students, data.test) - errors(others, data.test)
    return gaps.mean(), 2.776 * gaps.std(ddof=1) / len(gaps) ** 0.5


by_kind = [students[i : i + 5] for i in range(0, len(students), 5)]
print(f"alone: {errors(by_kind[0], data.test).mean():.2f} % wrong")
for T, kind in zip(hot, by_kind[1:], strict=True):
    mean, half = paired(kind, by_kind[0])
    print(f"T = {T:4g}: {errors(kind, data.test).mean():.2f} %, {mean:+.2f} ± {half:.2f} points")

# %% [markdown] paired-reading
# **At which temperatures does the interval leave no room for "it does nothing"? Are the teacher's *labels* what helps? Is a
# higher temperature better?**
#
# <details><summary>Answer</summary>
#
# At T = 4, on both data sets; on MNIST at 2, 8 and 20 as well. At T = 0.5 soft targets are nearly the teacher's labels, and
# nothing is gained: the labels are not what helps. And higher is not better: from 4 to 20 the mean loses about half of the
# gain. The paper found the same for 30 units. One reason may be that so small a student cannot match all logits, and a
# high temperature makes it try.
# </details>

# %% [markdown] transfer
# ## What is it that helps? The transfer set
#
# Now the prediction. In the first two ways the student sees the same 100 images again and again, in the third
# 10,000, for as many steps. Five students learn in each way, in the first two from five different hundreds of images.
# The teacher's answers are all they get in the second and the third: $\alpha = 1$, and T = 4.

# %% transfer-measured
ways = {"100 labels": [], "the teacher's answers to 100": []}
for s in seeds:
    rows = 100 * s + torch.arange(10_000) % 100
    few = Split(shown.images[rows], shown.labels[rows])
    pair = taught(few, teacher, [alone(s), lesson(s, alpha=1.0)], RECIPE)
    for way, wrong in zip(ways.values(), errors(pair), strict=True):
        way.append(wrong)
many = taught(shown, teacher, [lesson(s, alpha=1.0) for s in seeds], RECIPE)
ways["to 10,000, no label"] = errors(many)
print("your guesses:", ", ".join("none" if g is None else f"{g} %" for g in my_guesses))
for name, way in ways.items():
    print(f"{name}: {np.mean(way):5.1f} % wrong, from {min(way):.1f} to {max(way):.1f}")
print(f"all 10,000 labels, alone: {own.mean():.1f} %")

# %% [markdown] transfer-reading
# **Which step is the larger one: from labels to answers, or from few images to many? And how can a student that was told
# no label know the digits' names?**
#
# <details><summary>Answer</summary>
#
# From few to many: 15 points on glyphs and 20 on MNIST. Images without labels are cheap, and the teacher makes them useful.
# From labels to answers it is ten points on glyphs and five on MNIST. The names came through the teacher, which has learned
# from the labels of all training images (12,000 on glyphs, 55,000 on MNIST). What it says of an image is more than a
# label: its students get fewer wrong, in the mean, than those that were told all 10,000 labels.
# </details>

# %% [markdown] missing
# ## A digit that the student never saw
#
# We take all 3s out of the transfer set. The student never sees one, nor a label that says 3. It sees the teacher's
# answers to the *other* digits. How much of a 3 is in them, at T = 4, by digit?

# %% missing-targets
MISSING = 3
target = soften(v_shown, 4)[:, MISSING]
shares = [100 * float(target[shown.labels == digit].mean()) for digit in range(10)]
print(", ".join(f"{d}: {x:.2f} %" for d, x in enumerate(shares) if d != MISSING))

# %% [markdown] missing-students
# How many of the test 3s can the student know from that?

# %% missing-measured
plans = [alone(s, missing=MISSING) for s in seeds] + [lesson(s, missing=MISSING) for s in seeds]
without = taught(shown, teacher, plans, RECIPE)
kinds = {"alone": without[:5], "with the teacher": without[5:]}
threes = data.test.labels == MISSING


def wrong_by(logits):
    """Test images that are wrong: 3s, and others."""
    wrong = logits.argmax(1) != data.test.labels
    return int((wrong & threes).sum()), int((wrong & ~threes).sum())


print(
    f"{int(threes.sum())} of the {len(threes):,} test images are 3s; wrong, mean of five students:"
)
for name, kind in kinds.items():
    counts = np.array([wrong_by(ask(student, data.test.images)) for student in kind])
    told = f"{counts[:, 0].mean():.0f} 3s ({counts[:, 0].min()} to {counts[:, 0].max()})"
    print(f"{name}: {told}, and {counts[:, 1].mean():.0f} others")

# %% [markdown] missing-bias
# They may know more than they say. The logit of the 3 is too low, because no image ever asked for a high one: one
# number, the *bias* of that class, is off. `best_bias` (exercise 3) finds the number with which the most **validation**
# images are right. That takes labelled images, 3s among them. Or we use what we know without any label, that every
# tenth image is a 3, and raise the bias until a tenth of the answers are.


# %% missing-raised
def shortfalls(logits):
    """What each image needs to become a 3: the largest other logit, less that of the 3."""
    others = logits.clone()
    others[:, MISSING] = -torch.inf
    return others.amax(1) - logits[:, MISSING]


print(f"{'wrong, mean of five':36} bias     3s   others    all, from     to")
for name, kind in kinds.items():
    found = {"no bias": [], "best on validation": [], "a tenth are 3s": []}
    for student in kind:
        z_val, z_test = ask(student, data.validation.images), ask(student, data.test.images)
        best = best_bias(z_val, data.validation.labels, MISSING)
        tenth = float(shortfalls(z_val).quantile(0.1))
        for rows, bias in zip(found.values(), (0, best, tenth), strict=True):
            raised = z_test.clone()
            raised[:, MISSING] += bias
            rows.append((bias, *wrong_by(raised)))
    for how, rows in found.items():
        bias, of_threes, of_others = np.mean(rows, axis=0)
        whole = [row[1] + row[2] for row in rows]
        print(
            f"{name + ', ' + how:36} {bias:+4.1f} {of_threes:6.0f} {of_others:8.0f}"
            f" {min(whole):12} {max(whole):6}"
        )

# %% [markdown] missing-reading
# **From which images has the student learned what a 3 looks like? And why does the bias do so little for the student
# alone?**
#
# <details><summary>Answer</summary>
#
# From those that are a little like a 3, the 8s and 5s above all: their targets say how much. With one number put right it
# reads more than four of five 3s on glyphs, and about two of three on MNIST. The student alone was told of every image
# that it is no 3 at all. What it has to go by is where the other nine answers are weak; for each three 3s that it gains it
# loses at least two other digits. For the taught student a tenth of the answers, without any label, is as good a choice as
# the one made with labels: in the mean the two are within two images of 10,000.
# </details>

# %% [markdown] others
# ## Other teachers, other lessons (more)
#
# The idea has many relatives. Each below is one call of the library, for five students, as many steps, T = 4 and
# α = 0.9 as above; the interval is against plain distilling.
#
# - *Three teachers*: LeNet-5, LeNet-300-100 and the small MobileNet of chapter 03; their softened answers are averaged.
# - *A teacher's assistant* (Mirzadeh et al. 2020): LeNet-5 teaches a student of 100 units, which teaches ours.
# - *Hints* (Romero et al. 2015): *features* are what a hidden layer computes of an image. A linear map of those of the
#   student's second layer is to be near the 500 of the teacher's layer fc1 (both before the ReLU).
# - *Relations* (Park et al. 2019): how far apart any two images of a batch lie inside the teacher, they are to lie inside
#   the student.

# %% others-measured
plans = [lesson(s) for s in seeds]
plain = by_kind[1 + hot.tolist().index(4)]
three = [v_shown, *(ask(baseline(n, data), shown.images) for n in ("lenet-300-100", "separable"))]
averaged = 4 * distillation.average_targets(three, 4).log()  # logits that soften to the mean
assistant = taught(shown, teacher, [lesson(seed)], RECIPE, width=100)
features = []
with distillation.captured(teacher, ["fc1"]) as inside:
    for some in shown.images.split(2000):
        ask(teacher, some)
        features.append(inside["fc1"])
features = torch.cat(features)

relatives = {
    "three teachers": taught(shown, averaged, plans, RECIPE),
    "an assistant": taught(shown, assistant, plans, RECIPE),
}
for way, weight in {"hint": 0.1, "distance": 1.0}.items():
    relatives[f"{way}, weight {weight:g}"] = each_guided(
        shown, v_shown, features, plans, RECIPE, way=way, weight=weight
    )
print(f"plain distilling: {errors(plain, data.test).mean():.2f} % wrong")
for name, kind in relatives.items():
    mean, half = paired(kind, plain)
    print(f"{name}: {errors(kind, data.test).mean():.2f} %, {mean:+.2f} ± {half:.2f} points")

# %% [markdown] others-reading
# **Which of them helps, as far as five students can tell?**
#
# <details><summary>Answer</summary>
#
# None by much. The assistant does *harm* on both data sets; it gets more wrong than LeNet-5, and may pass that on. Hints
# gain a tenth of a point on MNIST and show nothing on glyphs. Three teachers show nothing on either; distances show
# nothing on glyphs and lose a little on MNIST. The weights are not tuned, and of eight intervals one may be off by chance.
# The papers have other networks: assistants were made for a teacher that is *too* large for its student, hints for
# students that are deep and thin. Ours is neither.
# </details>

# %% [markdown] explore
# ## Explore
#
# Above: the softened answers to an image, of the teacher and of a student; and how much is right of the validation
# images, which we may look at as often as we like, over the temperature of teaching (the bands are five students
# each). Below: what is wrong of each class when a digit was *missing*, with a *bias* added to that class; and the
# students that you train.

# %% explore-distillation
explorer = explore_distillation(data, soften)
explorer

# %% [markdown] explore-questions
# The buttons beside *try* set what the questions are about. *Train students* trains five, each with the teacher and
# alone; *labels* is how many of the 10,000 images have one, while the teacher answers to all.
#
# 1. *Saw every digit*: move the temperature. **From which on can you see the second answer, and where can you
#    no longer tell the answers apart? Where in between is teaching best?**
# 2. *Saw no 3*: raise the bias from 0. **At which are most images right? What do the other digits pay beyond
#    that, and what does the student alone do?**
# 3. *50 labels* and *10,000 labels*: train. **How many points is the teacher worth?** *300 units*: train. **Do larger
#    students need no teacher?** (These take a minute or two.)
#
# <details><summary>Answers</summary>
#
# 1. At 4 the second answer has one or two hundredths. At 20 the first still has a third or a quarter, at 100 all lie between 8
#    and 14 %. Teaching is best at 4. At 100 no difference to the student alone is shown.
# 2. At about 6 on glyphs and 7 on MNIST. Beyond that 5s and 8s above all turn into 3s: at 10 about a quarter of the 8s are wrong,
#    and of the 5s a seventh on glyphs and more than a quarter on MNIST. The student alone gains less than a point at the best
#    bias.
# 3. At 50 labels 36 points on glyphs and 37 on MNIST, at 10,000 half a point and 0.6. Students of 300 units gain as well, 0.5
#    and 1.0: they are wider, and still no LeNet-5.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function until your own
# passes its check. After the first, go back to the explorer and set *soften by* to *mine*.
#
# When a teacher grades, an answer may import what needs no file and no process: `math`, `itertools`, `functools`,
# `operator`, `collections`, `heapq`, `bisect`, `statistics`, `fractions`, `random`, `re`, `copy`, `time`, `typing`,
# `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Soften (core, 10 minutes)
#
# Write `soften(logits, temperature)`: the softmax over the last axis of the logits divided by the temperature. `logits`
# is float, $(\dots, \text{classes})$, the temperature a number above 0; the result has the shape of the logits. It must
# be right for logits far from 0 and for any temperature: no NaN.
#
# Example: `soften(torch.tensor([16.0, 4.0, 1.0]).log(), 2)` is `[4/7, 2/7, 1/7]`. And the logits `[1000.0, 999.0]` at
# temperature 1 give `[0.7311, 0.2689]`, as the logits `[1.0, 0.0]` do.
#
# <details><summary>Hint</summary>
#
# `exp(1000)` is infinite. A number that is taken off all logits of a row changes nothing: take the largest.
# `amax(-1, keepdim=True)`. Or let `torch.softmax` do it; then say which axis.
# </details>


# %% exercise-1-answer
@soften.answer
def soften(logits, temperature):
    """Return probabilities of the logits' shape."""
    ### BEGIN SOLUTION
    lowered = logits - logits.amax(-1, keepdim=True)
    powers = (lowered / temperature).exp()
    return powers / powers.sum(-1, keepdim=True)
    ### END SOLUTION


# %% exercise-1-check
soften.check()

# %% [markdown] exercise-2
# ### 2 · The loss (core, 15 minutes)
#
# Write `distillation_loss(student_logits, teacher_logits, labels, temperature, alpha)`, as in the mathematics: $1 -
# \alpha$ times the cross entropy with the labels, at temperature 1, plus $\alpha\, T^2$ times $\mathrm{KL}(q \,\|\, p)$;
# both means over the images. Logits are float, $(n, \text{classes})$, labels int64, $(n,)$. Return a float tensor without
# axes; its gradient must reach the student's logits. The check looks at the gradient, too.
#
# Example: student `[[0, 0]]`, teacher `[[0, ln 3]]`, label `[1]`: with T = 1 the loss is ln 2 = 0.6931 for α = 0, and 0.1308
# for α = 1; with T = 2 it is 0.1454 for α = 1, and 0.4193 for α = ½. Logits may lie 300 apart: no NaN.
#
# <details><summary>Hint</summary>
#
# `F.cross_entropy`, `torch.log_softmax`. Or `F.kl_div(log_p, q, reduction=…)`: it wants the *logarithms* of the
# student's answers first, and of its reductions `"mean"` is not the one you want. Where q is 0, `q.log()` is minus
# infinity, and 0 times that is NaN: take both logarithms from `torch.log_softmax`.
# </details>


# %% exercise-2-answer
@distillation_loss.answer
def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    """Return the loss, a float tensor without axes."""
    ### BEGIN SOLUTION
    log_p = F.log_softmax(student_logits / temperature, -1)
    log_q = F.log_softmax(teacher_logits / temperature, -1)
    soft = (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    hard = F.cross_entropy(student_logits, labels)
    return (1 - alpha) * hard + alpha * temperature**2 * soft
    ### END SOLUTION


# %% exercise-2-check
distillation_loss.check()

# %% [markdown] exercise-3
# ### 3 · A missing class, restored (core, 15 minutes)
#
# Write `best_bias(logits, labels, missing)`: the number that, added to the logit of class `missing`, makes the most
# images right. `logits` is float, $(n, \text{classes})$, `labels` are int64, $(n,)$; return a number. It may be below 0.
# If one image in a hundred is wrong that need not be, that is good enough. Logits may lie within 0.1 of each other, or
# 100 apart.
#
# Example: the two logits are `[2, 0]`, `[9, 1]`, `[3, 0]`, `[1, 0]`, the labels 1, 0, 1, 0, and class 1 is missing. With a
# bias between 3 and 8 three of four are right, and no bias makes it four.
#
# <details><summary>Hint</summary>
#
# An image becomes one of the class when the bias passes its *shortfall*: the largest other logit, less its own.
# Between two neighbouring shortfalls nothing changes. So sort them, try the middle between each two and one more
# beyond each end, and count. Leave the logits as they are: work on a copy.
# </details>


# %% exercise-3-answer
@best_bias.answer
def best_bias(logits, labels, missing):
    """Return a number."""
    ### BEGIN SOLUTION
    raised = logits.clone()
    raised[:, missing] = -torch.inf
    shortfalls = (raised.amax(1) - logits[:, missing]).sort().values
    found = []
    ends = torch.cat([shortfalls[:1] - 2, shortfalls, shortfalls[-1:] + 2])
    for bias in ((ends[1:] + ends[:-1]) / 2).tolist():
        raised[:, missing] = logits[:, missing] + bias
        found.append((int((raised.argmax(1) == labels).sum()), bias))
    return max(found)[1]
    ### END SOLUTION


# %% exercise-3-check
best_bias.check()

# %% [markdown] exercise-4
# ### 4 · Cross entropy and KL (more, 8 minutes)
#
# Hinton et al. have the cross entropy $-\sum_i q_i \ln p_i$ where we have $\mathrm{KL}(q \,\|\, p)$. Write
# `soft_losses(student_logits, teacher_logits, temperature)`: return the pair (cross entropy, KL), both means over the
# images, without the factor $T^2$, as float tensors without axes. The check sees to it that both have the same
# gradient. **By what do they differ?**
#
# Example: where student and teacher both have `[[0, ln 3]]`, at T = 1, KL is 0, and the cross entropy is the entropy of
# q: 0.5623, in nats, since the logarithms are natural (chapter 05 had bits: 0.8113).
#
# <details><summary>Hint</summary>
#
# $\ln (q/p) = \ln q - \ln p$. Take both logarithms from `torch.log_softmax`: where q is 0, `q.log()` is minus infinity, and
# 0 times that is NaN.
# </details>


# %% exercise-4-answer
@soft_losses.answer
def soft_losses(student_logits, teacher_logits, temperature):
    """Return (cross entropy, KL)."""
    ### BEGIN SOLUTION
    log_p = torch.log_softmax(student_logits / temperature, -1)
    log_q = torch.log_softmax(teacher_logits / temperature, -1)
    q = log_q.exp()
    cross_entropy = -(q * log_p).sum(-1).mean()
    return cross_entropy, cross_entropy + (q * log_q).sum(-1).mean()
    ### END SOLUTION


# %% exercise-4-check
soft_losses.check()

# %% [markdown] exercise-4-reading
# <details><summary>Answer</summary>
#
# By the entropy of q, which depends on the teacher alone. So its gradient for the student is 0, and one may train with
# either. KL has the better zero: at 0 there is nothing more to learn.
# </details>

# %% [markdown] exercise-5
# ### 5 · A hint (more, 10 minutes)
#
# Write `hint_loss(student_features, teacher_features, regressor)`: half the mean of the squared differences between
# `regressor(student_features)` and the teacher's features. Both are float, with the images along the first axis and any
# further axes; `regressor` is a function (a layer) that makes the teacher's shape of the student's. The mean is over
# everything. A gradient goes to the student's features and to the regressor's weights, and none to the teacher's
# features.
#
# Example: student `[[1, 2]]`, teacher `[[1, 4]]`, a regressor that changes nothing: ½ · (0 + 4) / 2 = 1.
#
# <details><summary>Hint</summary>
#
# What would the teacher learn if its features had a gradient? `.detach()`.
# </details>


# %% exercise-5-answer
@hint_loss.answer
def hint_loss(student_features, teacher_features, regressor):
    """Return the loss, a float tensor without axes."""
    ### BEGIN SOLUTION
    guided = regressor(student_features)
    return (guided - teacher_features.detach()).square().mean() / 2
    ### END SOLUTION


# %% exercise-5-check
hint_loss.check()

# %% [markdown] exercise-6
# ### 6 · Relations (more, 12 minutes)
#
# Write `distance_loss(student_features, teacher_features)`: for each network the Euclidean distances of all pairs of two
# different images, each pair once, divided by their mean; then the mean over the pairs of *Huber's loss* of the two
# networks' distances: half the square of their difference $d$ where $|d| \le 1$, and $|d| - ½$ beyond. Features are
# float, $(n, \dots)$, $n \ge 2$; the two networks may have different shapes behind $n$. No gradient goes to the
# teacher's.
#
# Example: three images at 0, 1 and 2: the pairs (first, second), (first, third), (second, third) have distances 1, 2
# and 1, of mean 4/3, so ¾, 1½ and ¾. A teacher that has them at 0, 5 and 0 has 1½, 0 and 1½. The loss is
# (9/32 + 1 + 9/32) / 3 = 0.5208.
#
# <details><summary>Hint</summary>
#
# `flatten(1)`, `torch.pdist`, `F.huber_loss`.
# </details>


# %% exercise-6-answer
@distance_loss.answer
def distance_loss(student_features, teacher_features):
    """Return the loss, a float tensor without axes."""
    ### BEGIN SOLUTION
    ours = torch.pdist(student_features.flatten(1))
    theirs = torch.pdist(teacher_features.detach().flatten(1))
    return F.huber_loss(ours / ours.mean(), theirs / theirs.mean())
    ### END SOLUTION


# %% exercise-6-check
distance_loss.check()

# %% [markdown] exercise-7
# ### 7 · Break the loss (more, 10 minutes)
#
# Six ways to write the loss, all of them found in published code or in a student's, all wrong:
#
# | | what it does |
# |---|---|
# | no T² | leaves the factor out |
# | summed | sums the soft part over the images |
# | arguments exchanged | takes $\mathrm{KL}(p \,\|\, q)$ |
# | teacher not softened | does not divide the teacher's logits by T |
# | alpha exchanged | weighs the soft part with $1 - \alpha$ |
# | over the images | takes the softmax along the wrong axis |
#
# On many inputs some of them are near the right loss. Return `(student_logits, teacher_logits, labels, temperature,
# alpha)`, with at most three images and four classes, logits from −20 to 20, T from 0.1 to 20 and a right loss from
# 0.01 to 100, on which **each of the six** is less than half the right loss, or more than twice.
#
# <details><summary>Hint</summary>
#
# How many images does it take for a sum to be more than twice a mean? Which α makes the soft part count? For exchanged
# arguments: a teacher that has *two* peaks, and a student that has one of them. KL(q ‖ p) minds very much what the
# student leaves out, KL(p ‖ q) hardly.
# </details>


# %% exercise-7-answer
@break_the_loss.answer
def break_the_loss():
    """Return (student_logits, teacher_logits, labels, temperature, alpha)."""
    ### BEGIN SOLUTION
    student = torch.tensor([[16.0, 0.0, 0.0]] * 3)
    teacher = torch.tensor([[10.0, 8.0, 0.0]] * 3)
    return student, teacher, torch.tensor([0, 0, 0]), 2, 0.9
    ### END SOLUTION


# %% exercise-7-check
break_the_loss.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# The test error over the bytes of the file, for students of 10, 30 and 120 units a layer, alone and distilled, mean of
# five; then distilled students that share 16 values a layer (chapter 04) in the codec's file (chapter 05); and the teacher
# itself: dense, and with 20 and 10 % of its weights left (chapter 02), shared and coded likewise. Nothing is trained after
# pruning or sharing.

# %% bill-measured
points = {
    name: [] for name in ("student alone", "distilled", "distilled, shared, coded", "the teacher")
}


def coded(state, network):
    """The codec's file of a state with 16 values a layer: its bytes, and the test error in %."""
    few = {name: sharing.share(state[name], 16) for name in models.weights(network)}
    content = codec.encode({**state, **few})
    network.load_state_dict(codec.decode(content))
    return len(content), errors([network], data.test)[0]


widths = (10, 30, 120)
for width in widths:
    plans = [alone(s) for s in seeds] + [lesson(s) for s in seeds]
    both = taught(shown, teacher, plans, RECIPE, width=width)
    length = measure.size(both[0].state_dict())
    points["student alone"].append((length, errors(both[:5], data.test).mean()))
    points["distilled"].append((length, errors(both[5:], data.test).mean()))
    files = [coded(student.state_dict(), student) for student in both[5:]]
    points["distilled, shared, coded"].append(tuple(np.mean(files, axis=0)))
live = {name: w.detach() for name, w in models.weights(teacher).items()}
for sparsity in (0.9, 0.8):
    masks = pruning.global_masks(live, sparsity)
    left = {name: w * masks[name] for name, w in live.items()}
    points["the teacher"].append(coded(teacher.state_dict() | left, baseline("lenet-5", data)))
points["the teacher"].append((measure.size(teacher.state_dict()), errors([teacher], data.test)[0]))

# %% bill-shown
plot, (panel,) = plots.new(
    alt="Test error over bytes: students and the teacher", width=7, height=3.4
)
for (name, some), marker, kind in zip(
    points.items(), "os^D", ("dense", "distilled", "coded", "pruned"), strict=True
):
    panel.plot(*zip(*some, strict=True), marker=marker, color=plots.COLOURS[kind], label=name)
panel.set(xscale="log", yscale="log", xlabel="file, bytes", ylabel="test error, %")
panel.set_yticks([0.5, 1, 2, 3, 5, 8], [0.5, 1, 2, 3, 5, 8])
panel.set_yticks([], minor=True)
panel.set_title("further down and to the left is better")
panel.legend(fontsize="small")
for name, some in points.items():
    told = ", ".join(f"{wrong:.2f} % in {size:,.0f}" for size, wrong in some)
    print(f"{name}: {told} bytes")
plot

# %% [markdown] bill-reading
# Four rows for the running table, each read back from its file (the columns are explained in chapter 01):

# %% bill-table
own_way, distilled = by_kind[0][seed], plain[seed]
few = {name: sharing.share(w.detach(), 16) for name, w in models.weights(distilled).items()}
as_code = {"encode": lambda state: codec.encode({**state, **few}), "decode": codec.decode}
rows = {
    "dense, lenet-5": (teacher, {}),
    "30 units, alone": (own_way, {}),
    "30 units, distilled": (distilled, {}),
    "30 units, distilled, 16 values, coded": (distilled, as_code),
}
for name, (model, how) in rows.items():
    report = measure.measure(name, model, data.test, data.name, "network.file", **how)
    table = measure.record(report)
table

# %% [markdown] bill-table-reading
# **What is the better way to a small file: a small network that was taught, or the teacher, pruned? What can the student
# do that the pruned teacher cannot?**
#
# <details><summary>Answer</summary>
#
# The teacher, pruned. In about 44 KB it gets 1.29 % wrong on glyphs and 1.00 % on MNIST; the student of 120 units,
# shared and coded, takes a little more and gets 2.54 and 2.94 % wrong, about twice and three times as many. But the
# bytes are all that the teacher saves: read back it is a dense network with zeros in it, of 2.3 million
# multiply-accumulates an image. The student of 120 units has 109,680, that of 30 units 24,720, on any machine and
# without a sparse format, and their time is shorter. Below 40 KB these points do not compare the two. But the
# smallest LeNet-5 of chapter 05, pruned further and trained on, takes 5 KB on MNIST at 0.67 %.
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **A teacher that knows no more has nothing to teach.** LeNet-5 is far better than any of our students. The same
# students, by width, with LeNet-5 and with other teachers: LeNet-300-100, and a *twin*, a student alone of 30 units with
# another seed. The interval is against the same student alone.

# %% breaks-teachers
(twin,) = taught(shown, teacher, [alone(9)], RECIPE)
dense = baseline("lenet-300-100", data, seed=seed)
teachers = {"LeNet-5": teacher, "LeNet-300-100": dense, "a twin": twin}
known = dict(zip(teachers, errors(teachers.values(), data.test), strict=True))
plans = [alone(s) for s in seeds] + [lesson(s) for s in seeds]
cases = [("LeNet-5", width) for width in widths] + [("LeNet-300-100", 120), ("a twin", 30)]
for name, width in cases:
    both = taught(shown, teachers[name], plans, RECIPE, width=width)
    mean, half = paired(both[5:], both[:5])
    print(
        f"{name} ({known[name]:.2f} % wrong) teaches {width:3} units: {mean:+.2f} ± {half:.2f} points"
    )

# %% [markdown] breaks-teachers-reading
# **When is it not worth while to distil?**
#
# <details><summary>Answer</summary>
#
# When the teacher is no better than the student: the twin, of the same size and the same images, does *harm* on both
# data sets. And LeNet-300-100 gives 120 units nothing on glyphs, where it is 0.8 points better than they are alone.
# On MNIST, where it is 2.2 points better, it gives them as much as LeNet-5 does: there it has learned from 55,000
# images, and its students see 10,000. A wide student is no reason here, since 120 units still gain from LeNet-5, 0.3
# points on glyphs and 0.9 on MNIST; 10 units, on MNIST, show no gain. So ask what the teacher can do, or has seen,
# that the student cannot, and whether the student can take it in.
# </details>

# %% [markdown] breaks-scale-text
# **Mistakes of scale** (no $T^2$, the sum in place of the mean) are mistakes of the learning rate, and of the balance
# of the two parts. With SGD and α below 1 they show. With Adam, which divides each step by the usual size of the
# gradient, and α = 1, where there is no balance, they do not. The right loss and both mistakes, the same student
# three times, for two epochs of the 10,000 images (asked are 2,000 of the validation images):


# %% breaks-scale
def no_square(z, v, y, T, alpha):
    """Without T²."""
    soft = F.kl_div(F.log_softmax(z / T, -1), soften(v, T), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * soft


def summed(z, v, y, T, alpha):
    """The soft part summed over the images."""
    soft = F.kl_div(F.log_softmax(z / T, -1), soften(v, T), reduction="sum")
    return (1 - alpha) * F.cross_entropy(z, y) + alpha * T**2 * soft


def side_by_side(losses, optimizer, alpha, T=4):
    """The validation error of one student, trained three times with these losses, in %."""
    three = Pupils([build(seed)] * len(losses)).to(shown.images.device)
    steps = optimizer(three.parameters())
    order = torch.Generator().manual_seed(seed)
    for _ in range(2):
        for batch in torch.randperm(len(shown), generator=order).split(32):
            logits, v, y = three(shown.images[batch]), v_shown[batch], shown.labels[batch]
            total = sum(loss(z, v, y, T, alpha) for z, loss in zip(logits, losses, strict=True))
            steps.zero_grad()
            total.backward()
            steps.step()
    answers = ask(three, data.validation.images[:2000]).argmax(-1)
    return (100 * (answers != data.validation.labels[:2000]).float().mean(1)).tolist()


optimizers = {
    "SGD, alpha 0.9": (lambda p: torch.optim.SGD(p, lr=0.05 / 3.7, momentum=0.9), 0.9),
    "Adam, alpha 1": (lambda p: torch.optim.Adam(p, lr=0.002), 1),
}
for name, (optimizer, alpha) in optimizers.items():
    wrong = side_by_side((distillation_loss, no_square, summed), optimizer, alpha)
    print(
        f"{name:15}: right {wrong[0]:5.2f} %, no T² {wrong[1]:5.2f} %, summed {wrong[2]:5.2f} % wrong"
    )

# %% [markdown] breaks-kl-text
# In the first line the mistakes cost points; in the second all three are within a quarter of a point, five images.
#
# **Exchanged arguments** of KL are hard to see in the accuracy. They are easy to see where the teacher has two peaks. The
# teacher holds an image for a 4 or a 9, half and half. The student is sure of the 4. What does each loss tell it to do?

# %% breaks-kl
two_peaks = torch.tensor([[8.0, 8.0, 0.0]])  # 4, 9, something else
for first, second in (("q", "p"), ("p", "q")):
    z = torch.tensor([[8.0, 0.0, 0.0]], requires_grad=True)
    logs = {"p": z.log_softmax(-1), "q": two_peaks.log_softmax(-1)}
    kl = (logs[first].exp() * (logs[first] - logs[second])).sum()
    (gradient,) = torch.autograd.grad(kl, z)
    pushes = ", ".join(f"{-g:+.3f}" for g in gradient[0].tolist())
    print(f"KL({first} ‖ {second}) = {kl:.2f}; pushes 4, 9, else by {pushes}")

# %% [markdown] breaks-kl-reading
# **Which of the two leaves the student content with half of the truth?**
#
# <details><summary>Answer</summary>
#
# KL(p ‖ q): what the student says, the teacher says too, and of what the student leaves out it hears nothing. KL(q ‖ p)
# weighs by the teacher's answers, and pulls the 9 up with a push of nearly one half. On digits, where the teacher rarely
# has two peaks, little of this is seen in the accuracy, and we promise none.
# </details>

# %% [markdown] class
# ## The class is the experiment
#
# How many labelled images are worth a teacher? Your name (a nickname will do) is the seed of *your* student. It learns
# from the first 50, 200, 1000 and 5000 images, once from their labels and once from the teacher's answers to the same
# images and the labels, in as many steps. **At which number do you expect the two curves of the class to be furthest apart,
# in points?** Write the name in place of `None`, run both cells, and send the file to your teacher. It takes 20 seconds
# on a free core.

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    mine = class_work.seed_of(my_name)
    from_teacher = ask(baseline("lenet-5", data), data.train.images[:5000])
    # The rule of this chapter: at T = 4 and alpha = 0.9 the rate is lower by 0.1 + 0.9 * 4 = 3.7.
    plans = [Lesson(mine, 1.0, 0.0), Lesson(mine, 4.0, 0.9, rate=1 / 3.7)]
    recipe = training.Recipe(epochs=6, learning_rate=0.05, weight_decay=0, batch_size=32)
    found = {"labels": {}, "labels and answers": {}}
    for n in (50, 200, 1000, 5000):
        rows = torch.arange(10_000) % min(n, len(from_teacher))
        few = Split(data.train.images[rows], data.train.labels[rows])
        pair = taught(few, from_teacher[rows], plans, recipe)
        for by_n, student in zip(found.values(), pair, strict=True):
            by_n[n] = 100 * training.accuracy(student, data.validation)
    print(class_work.hand_in(EXPERIMENT, my_name, found, data.name))

# %% [markdown] paper
# ## The paper
#
# Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015, [arXiv
# 1503.02531](https://arxiv.org/abs/1503.02531). Nine pages; read section 2, the method, and section 3, MNIST. Section
# 2.1 is the limit of high temperature. Errors are counted on the 10,000 test images:
#
# | | errors | of them 3s |
# |---|---|---|
# | teacher: two layers of 1200 units, dropout, images shifted | 67 | |
# | small net: two layers of 800 units, alone | 146 | |
# | the same, distilled at T = 20 | 74 | |
# | distilled, without any 3 in the transfer set | 206 | 133 |
# | the same, the bias of the 3 corrected | 109 | 14 |
#
# It also says that with 30 units a layer temperatures of 2.5 to 4 worked better than higher or lower ones.
#
# Read it with a pencil:
# - The corrected bias was chosen **on the test set**. It is one number and does little harm; ours is chosen on validation
#   images, or without labels.
# - "The gradients scale as 1/T²": for T above about a quarter of the spread of the logits, as the plot under *What
#   T² is for* shows.
# - Each figure is of one network. Where 70 errors are to be expected, chance alone moves the count by eight or so, $\sqrt{70}$.
# - The small net learned alone *without* the shifted images that the teacher had. How much of the step from 146 to 74 is
#   the soft targets, and how much the knowledge of shifts that came with them? That is the point of the paper: it comes
#   with them. But as a comparison it wants a third row, the small net alone *with* shifts.

# %% [markdown] paper-ours
# Below is what `shrink reproduce distillation` gave on MNIST, for five students each. Ours have seen 55,000 images, the
# paper's 60,000, and learn for ten epochs. The second table has the missing 3; the third 30 units at each temperature,
# at the best of three rates; the fourth few images; the last the relatives of this chapter, at as many steps, with a
# teacher that knows no convolution.

# %% paper-table
result = reproduce.stored("distillation")
result

# %% [markdown] paper-verdict
# **Verdict.** All four claims hold here, on a smaller scale. Distilled at T = 20, on images that never moved, the net
# of 800 units gets 114 wrong where alone it gets 151: 63 % of the way to its teacher (which is behind the paper's, 92
# wrong where that had 67). And here is the third row that we missed: the same net alone, *with* shifts, gets 114
# wrong as well. So what came with the soft targets is worth as much as the shifts themselves, to within 18 images.
# The teacher had learned from them, and its answers to images that stand still pass that on. A net that never saw a 3
# gets all but some 53 of the 1010 right as it is, and 97.9 % or more with its bias right. Thirty units learn better
# at 2.5 than at 1, 8 and 20. And of all the relatives none shows a gain or a loss, though hints and distances were
# best at the ends of the weights tried, so that others may do better.
#
# And at the size of this chapter: with 30 units T = 4 is the best of six on both data sets, within the paper's 2.5 to 4. A
# network that never saw a 3 knows most of them once its bias is right, though fewer than the paper's (14 wrong of 1010):
# on glyphs one in six is wrong, on MNIST one in three.
#
# You now have a small network that was born small, and a fair way to say what its teacher was worth.
