# %% [markdown] title
# # 02 · Prune: take weights away
#
# **You will** remove nine of ten weights from a trained network, and find out what that costs and what it really saves.
#
# **You will be able to**
# - choose which weights go, exactly as many as you want, and keep them gone while the rest is trained,
# - say which layers a ranking by magnitude spares, and when it empties one,
# - store the remaining weights in fewer bytes, and say how many must be gone before that pays.
#
# **You need** chapter 01, and 90 minutes, 40 of them for the three core exercises. What is marked *more* takes another
# 35. Run the cells from the top. No GPU is needed.

# %% setup
import copy
import timeit
import warnings

import numpy as np
import torch

from shrink import pruning
from shrink.chapters.prune import (
    EXPERIMENT,
    break_the_masks,
    drawings,
    global_masks,
    magnitude_mask,
    masked_step,
    relative_indices,
    sensitivity,
)
from shrink.chapters.prune.explorer import explore_pruning
from shrink.classroom import class_work, formats, measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load, ten_digits
from shrink.coding import sparse
from shrink.papers import reproduce

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# The data and their three parts are those of chapter 01, and so is the network, LeNet-300-100: 784 pixels go into 300
# units, these into 100, these into 10. It comes trained. How long is its file, and how many of its weights are near
# zero? We call a weight small when its magnitude is less than a tenth of the largest in its layer. (We count and prune
# weights only. The 410 biases of the units stay.)

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
weights = {name: w.detach() for name, w in models.weights(net).items()}

n = sum(w.numel() for w in weights.values())
small = sum(int((w.abs() < 0.1 * w.abs().max()).sum()) for w in weights.values())
print(f"{n:,} weights, {measure.size(net.state_dict()):,} bytes on disk")
print(f"{100 * training.accuracy(net, data.validation):.2f} % of the validation images right")
print(f"{100 * small / n:.0f} % of the weights are small")

# %% [markdown] problem-digits
# The ten digits of chapter 01. Above each stands the answer of this network.

# %% problem-digits-shown
ten = ten_digits(data)
answers = training.predict(net, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [str(answer) for answer in answers])

# %% [markdown] by-hand
# ## Eight weights by hand
#
# The simplest idea: the weights nearest to zero matter least, so they go first. Here are eight.
#
# | 0.1 | −3.0 | 0.2 | 1.0 | −0.05 | 0.7 | −0.4 | 2.0 |
# |---|---|---|---|---|---|---|---|
#
# At a *sparsity* of 0.5, half of them go. Which four? By magnitude the order is 0.05, 0.1, 0.2, 0.4,
# then 0.7, 1, 2, 3. So 0.1, 0.2, −0.05 and −0.4 become zero, and −3.0 stays: it is the most
# negative weight, but the largest in magnitude. After pruning:
#
# | 0 | −3.0 | 0 | 1.0 | 0 | 0.7 | 0 | 2.0 |
# |---|---|---|---|---|---|---|---|

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $w$ | `weight` | the weights of a layer, $n$ numbers in any shape |
# | $s$ | `sparsity` | the fraction of zeros that we want, 0 to 1 |
# | $k$ | `k` | how many weights go |
# | $m$ | `mask` | a bool for each weight, True where it is kept |
#
# We count, we choose the $k$ smallest magnitudes, and we multiply:
#
# $$k = \mathrm{round}(s\,n) \qquad
# m_i = \text{False for the } k \text{ smallest } |w_i| \qquad
# \hat w_i = m_i\, w_i$$
#
# Pruning only decides $m$. Because the mask is kept apart from the weights, we can count it, compare
# it with another, and apply it again after each training step. (In the output below, −0 is zero with
# a sign.)

# %% mathematics-code
weight = torch.tensor([0.1, -3.0, 0.2, 1.0, -0.05, 0.7, -0.4, 2.0])
k = round(0.5 * weight.numel())
mask = pruning.magnitude_mask(weight, sparsity=0.5)
weight * mask

# %% [markdown] naive
# ## First in slow motion, then at once
#
# The obvious way is a threshold: take the $k$-th smallest magnitude, and keep what is above it.
# First as a loop that reads like the sentence, then as the line that runs on a million weights.

# %% naive-code
threshold = sorted(abs(w) for w in weight.tolist())[k - 1]
one_by_one = [abs(w) > threshold for w in weight.tolist()]
at_once = weight.abs() > weight.abs().kthvalue(k).values
at_once.tolist() == one_by_one == mask.tolist()

# %% [markdown] naive-warning
# Three ways, one mask. But a threshold fails on some weights, and at some sparsities. In the exercises
# you will find such weights, and write a function that does not fail on them.

# %% [markdown] real
# ## On the real network
#
# We prune 80 % of LeNet-300-100. We rank all weights together, so that the ranking decides how much
# each layer loses. That is *global* pruning.

# %% real-prune
masks = pruning.global_masks(weights, sparsity=0.8)
pruned = models.build("lenet-300-100", seed).to(data.train.images.device)
pruned.load_state_dict({**net.state_dict(), **pruning.apply_masks(weights, masks)})
for name, w in weights.items():
    kept, size = 100 * masks[name].float().mean(), w.abs().mean()
    print(f"{name}: {w.numel():7,} weights, mean magnitude {size:.3f}, {kept:.1f} % kept")

# %% [markdown] real-plot-text
# The counts are on a logarithmic scale, where each tick is ten times the one below: most of the weights lie in the
# shaded band.

# %% real-plot
everything = torch.cat([w.flatten() for w in weights.values()]).cpu().numpy()
gone = np.concatenate([(~m).flatten().cpu().numpy() for m in masks.values()])
plot, (panel,) = plots.new(alt="Histogram of all weights; the smallest 80 % lie in a narrow band")
drawings.histogram(panel, everything, np.abs(everything[gone]).max(), title="the shaded 80 % go")
plot

# %% [markdown] real-cost
# Four of five weights are gone. What did that do to the accuracy, and what to the file?

# %% real-measure
for name, model in {"dense": net, "pruned": pruned}.items():
    right = 100 * training.accuracy(model, data.validation)
    print(f"{name:7} {right:.2f} % right, {measure.size(model.state_dict()):,} bytes")

# %% [markdown] real-file
# The file is as long as before, to the byte. **A zero in float32 takes four bytes, like any other
# number.** After pruning, the weights *could* be stored in fewer bytes; to do so is another step.

# %% [markdown] formats
# ## Zeros that are not stored
#
# A sparse format lists the nonzero values and says where they belong. There are three usual
# ways to say it. Here are our eight weights as a matrix of one row; bytes are given as *count × bytes*:
#
# | format | where the values belong | bytes for that | values | shape |
# |---|---|---|---|---|
# | dense | every place is filled | 0 | 8 × 4 | 0 |
# | bitmap | one bit per weight: `01010101` | 1 | 4 × 4 | 8 |
# | CSR (compressed sparse rows) | the column of each value, `1 3 5 7`, and where each row starts and ends, `0 4` | 4 × 1 + 2 × 4 | 4 × 4 | 8 |
# | relative | the zeros skipped before each value, `1 1 1 1`, in 5 bits each | 3, and 1 to say "5 bits" | 4 × 4 | 8 |
#
# The shape is two integers of 4 bytes, which a dense matrix has in the header of its file. Columns take
# the smallest integer that holds them: one byte here, two for 784 columns.
#
# A gap of 5 bits counts up to 31 zeros. Where more zeros come, we store a *filler*: the gap 31 with the
# value 0. It takes 32 places, 31 for the zeros and one for its own value. With fewer bits each gap is
# shorter, but more fillers are needed.

# %% formats-by-hand
row = (weight * mask)[None]
{format: sparse.num_bytes(sparse.encode(row, format)) for format in sparse.FORMATS}

# %% [markdown] formats-network
# Even for eight weights two formats are shorter than dense. CSR is not: its row bounds and its shape
# cost more than four zeros save. Now we take the network that has lost 80 % and write its weights in
# each format. The length is that of the whole file, with names, shapes and biases.

# %% formats-network-sizes
for format in sparse.FORMATS:
    print(f"{format:9} {measure.size(formats.pack(pruned.state_dict(), format)):9,} bytes")

# %% [markdown] formats-curves
# How sparse must a layer be before a format pays? Each zero that is not stored saves 32 bits, and the bits for
# "where" must cost less than that saves in all. For the first layer, counted to the byte:

# %% formats-break-even
for format in sparse.FORMATS[1:]:
    at = sparse.break_even(format, *weights["fc1.weight"].shape)
    print(f"{format:9} pays from a sparsity of {100 * at:.1f} % on")

# %% formats-curves-measured
grid = np.array([*range(0, 80, 5), *np.arange(80, 100, 0.5)])
sizes = {format: [] for format in sparse.FORMATS[1:]}
for percent in grid:
    masks = pruning.global_masks(weights, percent / 100)
    state = {**net.state_dict(), **pruning.apply_masks(weights, masks)}
    for format, found in sizes.items():
        found.append(measure.size(formats.pack(state, format)) / 1000)

# %% formats-curves-shown
dense_file = ("dense", measure.size(net.state_dict()) / 1000)
plot, panels = plots.new(2, alt="File size over sparsity in four formats; the sparse ones fall")
for panel in panels:
    plots.curves(panel, grid, sizes, baseline=dense_file)
    panel.set(xlabel="sparsity, %", ylabel="file, KB", title="the whole network's file")
panels[1].set(yscale="log", xlim=(80, 100), title="above 80 %, on a log scale")
plot

# %% [markdown] formats-reading
# A bitmap costs one bit for each weight, kept or not. CSR and relative indices cost bits only for the weights that are
# kept: a column of 16 bits in CSR, a gap of 5 bits in relative indices. **So why do the short gaps lose to CSR when few
# weights are left?** (Think of the fillers.)
#
# <details><summary>Answer</summary>
#
# Every 32 zeros in a row cost a filler: a gap and a value, 37 bits, for nothing. At a sparsity of 99 % one place in
# a hundred holds a weight, so there are more fillers than weights.
# </details>

# %% [markdown] latency
# ## Is it faster now?
#
# Four of five multiplications are with zero. We time the product of the first layer with one image on
# the CPU, in three ways: dense, with our `sparse.csr_matmul`, which touches only the nonzero weights,
# and with PyTorch's own sparse product.

# %% latency-measured
image = data.validation.images[:1].flatten(1).cpu()
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


def microseconds(function, *args):
    """The median of nine timings, each the mean of 20 calls."""
    return 1e6 / 20 * np.median(timeit.repeat(lambda: function(*args), number=20, repeat=9))


for s in (0.8, 0.95, 0.99):
    w = pruning.apply_masks(weights, pruning.global_masks(weights, s))["fc1.weight"].cpu()
    arrays, csr = sparse.encode_csr(w), w.to_sparse_csr()
    dense = microseconds(torch.matmul, image, w.T)
    ours = microseconds(sparse.csr_matmul, arrays, image)
    torchs = microseconds(torch.matmul, csr, image.T)
    print(f"{100 * s:.0f} %: dense {dense:.0f} µs, ours {ours:.0f} µs, PyTorch's {torchs:.0f} µs")

# %% [markdown] latency-reading
# A dense product walks through memory in order and multiplies many numbers at once; a sparse one has
# to look up where each number belongs. **Sparse is not faster by itself.** Ours skips every zero and
# is slower all the same; PyTorch's, which is tuned, needs a high sparsity before it can win. At 99 % we
# might hope for a hundred times the speed. **How many times as fast is it on your machine?**
#
# <details><summary>Answer</summary>
#
# At best a few times. Only a hundredth of the arithmetic is left, but looking up the places takes time, and so does
# calling the product at all. (Chapter 01: at batch 1 the dense product was not limited by arithmetic to begin with.)
# </details>

# %% [markdown] predict
# ## Predict
#
# We take the trained network as it came, prune more and more of it by the global ranking, and train
# nothing. At which sparsity, in percent, has it lost **five points** of its accuracy (from 98 % to 93 %, say)?
# Write your guess in place of `None`. It is not marked.

# %% predict-guess
my_guess = None

# %% predict-answer
scratch = models.build("lenet-300-100", seed).to(data.train.images.device)


def evaluate(state):
    """The accuracy on the validation images, with these weights in place of the trained ones."""
    scratch.load_state_dict({**net.state_dict(), **state})
    return training.accuracy(scratch, data.validation)


dense = training.accuracy(net, data.validation)
for percent in range(80, 101):
    masks = pruning.global_masks(weights, percent / 100)
    if evaluate(pruning.apply_masks(weights, masks)) < dense - 0.05:
        break
print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}; measured: {percent} %")

# %% [markdown] sensitivity-text
# ## Which layer can lose how much?
#
# We prune one layer at a time and leave the others whole. The *sensitivity* of a layer is how fast
# the accuracy falls. We measure it on the validation images, because sparsities are chosen by such curves, and a
# choice must not see the test images (the end of the chapter shows why). The accuracy axis is
# stretched towards 100 %.


# %% sensitivity-shown
grid = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1]
curves = sensitivity(weights, evaluate, grid)
plot, (panel,) = plots.new(
    alt="Accuracy with one layer pruned, over that layer's sparsity", width=6
)
plots.accuracy_axis(panel)
percents = {name: 100 * np.array(curve) for name, curve in curves.items()}
plots.curves(panel, 100 * np.array(grid), percents, baseline=("dense", percents["fc1.weight"][0]))
panel.set(xlabel="sparsity of this layer alone, %", xlim=(48, 101), title="one layer pruned")
print(f"one validation image is {100 / len(data.validation):.2f} points of accuracy")
plot

# %% [markdown] sensitivity-reading
# **Which layer is the most fragile, and how much of it did the global ranking keep, above, at 80 %?** The
# ranking knows nothing of accuracy, and spares that layer all the same. (Where a line lies a little above dense, compare
# the difference with the share of one image, which the cell prints.)
#
# <details><summary>Answer</summary>
#
# fc3, whose weights are few and large. The ranking by magnitude kept most of it, more than of any other layer.
# </details>

# %% [markdown] schedule
# ## At once, or little by little
#
# A pruned network can be trained further while its zeros are held: that is *fine-tuning*. In *one-shot* pruning all
# weights go at once, and fine-tuning follows. In *gradual* pruning (Zhu and Gupta 2017) training goes on while the
# sparsity rises every hundred steps or so: fast at first, when many weights can be spared, then more slowly. The
# sparsity $s_t$ at training step $t$ is
#
# $$s_t = s_f + (s_i - s_f)\left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3$$
#
# from step $t_0$ (`begin`) to step $t_1$ (`end`). Before that it is $s_i$ (`initial`), and afterwards
# $s_f$ (`final`). `pruning.prune_gradually` follows the schedule; in the explorer below you can compare the two.

# %% schedule-shown
steps = np.arange(1000)
slope = [100 * pruning.cubic_sparsity(t, begin=100, end=700, final=0.9) for t in steps.tolist()]
plot, (panel,) = plots.new(alt="The cubic schedule: sparsity rises fast, then slowly, then stays")
plots.curves(panel, steps, {"sparsity": slope})
panel.set(
    xlabel="training step", ylabel="sparsity, %", title="fast at first, then slower, then constant"
)
plot

# %% [markdown] explore
# ## Explore
#
# The dot is the network on show, on the validation images, which we may look at as often as we like; the line is the mean
# of three networks that differ in their seed, the band reaches over all three. *global* ranks all weights together,
# *local* takes the same share from each layer. Each button sets the state that a question begins with.

# %% explore-pruning
explorer = explore_pruning(data, magnitude_mask, global_masks)
explorer

# %% [markdown] explore-questions
# 1. *ranking*: Move the sparsity up from 0.7 under *global*, then under *local*. **Which layer does the global ranking
#    spare? Compare with the sizes and magnitudes printed above: why does that help?**
# 2. *damage*: **Are more images wrong now than another seed's network gets wrong, which is not pruned? From which
#    sparsity on? Which file is the shortest, here and at 0.99?**
# 3. *fine-tune*: Press *Fine-tune*: the pruned network is trained on while its zeros are held, and the dense one for
#    the same steps. **How much of the lost accuracy comes back?**
# 4. *gradual*: Press *Fine-tune* again. **Does it matter here whether the weights go at once or little by little? And
#    at 0.99?** (One run each is one seed each.)
# 5. *untrained*: The weights are as they were before any training: move the sparsity on to 0.96. **In which layer do
#    the weights spread least, and what happens to it? What does the trained network keep of it there?** (The three
#    steps in the histogram are the three layers. Untrained, the network answers by chance: look at the layers and not
#    at the answers.)
#
# <details><summary>Answers</summary>
#
# 1. fc3, and fc2 a little. A small layer with large weights costs little to keep, and all signals pass through it.
# 2. Yes, at 0.9. The two are equal somewhere between 0.7 and 0.8: up to there the damage is no more than that of a change
#    of the seed. At 0.9 *bitmap*; at 0.99 *CSR*.
# 3. Nearly all.
# 4. Whether at once or little by little makes a difference that one seed cannot show; we promise none.
# 5. In fc1, whose weights lie between ±1/28. At 0.96 none of them is left, and no signal passes. The trained network
#    still keeps some of every layer.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function
# until your own passes its check. The library is there to be read, too. After the first two, go
# back to the explorer and set *masks by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`,
# `itertools`, `functools`, `operator`, `collections`, `heapq`, `bisect`, `statistics`,
# `fractions`, `random`, `re`, `copy`, `time`, `typing`, `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Exactly k (core, 15 minutes)
#
# Write `magnitude_mask(weight, sparsity)`: a bool tensor of the shape and on the device of
# `weight`, with exactly `round(sparsity * n)` False, where no pruned weight is larger in magnitude
# than a kept one. Where magnitudes are equal you may choose which of them go. (Python's `round` turns
# 2.5 into 2: use it as it is.)
#
# Example: `magnitude_mask(torch.tensor([2.0, -2.0, 2.0, 2.0]), 0.5)` has exactly two False.
#
# <details><summary>Hint</summary>
#
# A threshold cannot tell equal weights apart; an order can. `argsort` gives one: the positions of the
# weights, smallest first. Mind sparsity 0 and 1, and weights of any shape.
# </details>


# %% exercise-1-answer
@magnitude_mask.answer
def magnitude_mask(weight, sparsity):
    """Return a bool tensor of the shape of weight, True = keep."""
    ### BEGIN SOLUTION
    k = round(sparsity * weight.numel())
    order = weight.detach().abs().flatten().argsort()
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[:k]] = False
    return mask.view(weight.shape)
    ### END SOLUTION


# %% exercise-1-check
magnitude_mask.check()

# %% [markdown] exercise-2
# ### 2 · One ranking for all (core, 10 minutes)
#
# Write `global_masks(weights, sparsity)`: `weights` is a dict of names and tensors of different
# shapes. Return a dict of masks with the same names. All masks together hold exactly
# `round(sparsity * n)` False, for the $n$ weights of all layers: the smallest magnitudes go, whichever
# layer they are in. You may call `magnitude_mask`.
#
# Example: for `{"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([1.0, 2.0])}` and sparsity 0.5 all
# of `a` goes and all of `b` stays.
#
# <details><summary>Hint</summary>
#
# `flatten` each weight, lay them end to end with `torch.cat`, choose one mask, cut it with `split`,
# and give each piece its shape back with `view`.
# </details>


# %% exercise-2-answer
@global_masks.answer
def global_masks(weights, sparsity):
    """Return one bool mask a layer, under the same names."""
    ### BEGIN SOLUTION
    sizes = [w.numel() for w in weights.values()]
    everything = torch.cat([w.flatten() for w in weights.values()])
    parts = magnitude_mask(everything, sparsity).split(sizes)
    return {name: part.view(weights[name].shape) for name, part in zip(weights, parts, strict=True)}
    ### END SOLUTION


# %% exercise-2-check
global_masks.check()

# %% [markdown] exercise-3
# ### 3 · One step that keeps the zeros (core, 15 minutes)
#
# Write `masked_step(weights, masks, optimizer)`. `loss.backward()` has been called, so the gradients
# are there. Take one step of the optimizer. After it every pruned weight is exactly zero, and every
# kept weight has the value that this step gives it. The optimizer may be any: SGD, SGD with momentum or
# weight decay, Adam. (Momentum is a running mean of past gradients. It moves a weight even when the
# gradient is zero, and it may date from the time before the weight was pruned.)
# `weights` is a dict of names and parameters, `masks` a dict of bool tensors, True = keep. A weight
# without a mask is trained as usual. Change the weights in place; what you return is ignored.
#
# Example: SGD with a learning rate of 0.1, the weight `[1.0, 2.0]`, its gradient `[1.0, 1.0]` and the
# mask `[True, False]`: afterwards the same parameter holds `[0.9, 0.0]`.
#
# <details><summary>Hint</summary>
#
# You cannot know what an optimizer remembers, nor what it adds to the gradient. Let it take its step. What is left to
# do then? A parameter is changed in place inside `with torch.no_grad():`.
# </details>


# %% exercise-3-answer
@masked_step.answer
def masked_step(weights, masks, optimizer):
    """Take one step of the optimizer; change the weights in place."""
    ### BEGIN SOLUTION
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)
    ### END SOLUTION


# %% exercise-3-check
masked_step.check()

# %% [markdown] exercise-4
# ### 4 · Gaps instead of zeros (more, 15 minutes)
#
# Write `relative_indices(weight, gap_bits)`: go through the weight row by row and return two tensors
# of one axis, `(gaps, values)`, with one entry for each nonzero.
#
# - A *gap* is the number of zeros since the entry before: a whole number from 0 to
#   `2**gap_bits - 1`, in any integer type.
# - Where more zeros come, store a *filler*: the greatest gap, with the value 0. Its zero takes a place
#   as well, so a filler covers `2**gap_bits` places. Use no filler that is not needed.
# - Zeros after the last nonzero are not stored. Values have the weight's type.
#
# Example: sixteen weights are 0 except those at places 1, 4 and 15 (counted from 0), which are 3.4, 0.9 and 1.7.
# With `gap_bits=3`, `gaps` is `[1, 2, 7, 2]` and `values` is `[3.4, 0.9, 0.0, 1.7]`.
#
# With gaps packed to their bits and values in float32, $e$ entries take
# $\lceil e \cdot \mathtt{gap\_bits} / 8 \rceil + 4\,e$ bytes. So with fewer bits the gaps are shorter, but there
# are more fillers.
#
# <details><summary>Hint</summary>
#
# A loop over `weight.flatten().tolist()` with a count of zeros will do. At a nonzero: *while* more zeros
# have been counted than fit, append a filler and subtract the places that it covers. Which type does
# `torch.tensor([])` have, for a weight of zeros only?
# </details>


# %% exercise-4-answer
@relative_indices.answer
def relative_indices(weight, gap_bits):
    """Return (gaps, values), with fillers where a gap does not fit."""
    ### BEGIN SOLUTION
    gaps, values, zeros = [], [], 0
    for value in weight.flatten().tolist():
        if value == 0:
            zeros += 1
            continue
        while zeros > 2**gap_bits - 1:
            gaps.append(2**gap_bits - 1)
            values.append(0)
            zeros -= 2**gap_bits
        gaps.append(zeros)
        values.append(value)
        zeros = 0
    return torch.tensor(gaps, dtype=torch.uint8), torch.tensor(values, dtype=weight.dtype)
    ### END SOLUTION


# %% exercise-4-check
relative_indices.check()

# %% [markdown] exercise-5
# ### 5 · What each layer can lose (more, 10 minutes)
#
# Write `sensitivity(weights, evaluate, sparsities)`: prune one layer at a time, by magnitude and
# exactly `round(sparsity * n)` of its weights, and leave all other layers whole. `weights` is a dict of
# names and tensors; do not change it. `evaluate` takes a dict with **all** the names and
# returns the accuracy on the validation images. Return a dict with the same names; each holds a list
# of accuracies, one for each of `sparsities`, in their order. You may call `magnitude_mask`.
#
# Example: `sensitivity(weights, evaluate, [0.0, 0.5])["fc1"]` holds the accuracy of the whole network,
# and that of the network in which half of `fc1` is gone.
#
# <details><summary>Hint</summary>
#
# `{**weights, name: pruned}` is a new dict with one entry replaced. `weights` does not change.
# </details>


# %% exercise-5-answer
@sensitivity.answer
def sensitivity(weights, evaluate, sparsities):
    """Return a list of accuracies for each layer."""
    ### BEGIN SOLUTION
    accuracies = {}
    for name, weight in weights.items():
        accuracies[name] = []
        for sparsity in sparsities:
            pruned = weight * magnitude_mask(weight, sparsity)
            accuracies[name].append(evaluate({**weights, name: pruned}))
    return accuracies
    ### END SOLUTION


# %% exercise-5-check
sensitivity.check()

# %% [markdown] exercise-6
# ### 6 · Break the masks (more, 10 minutes)
#
# Here are four masks that are easy to write, and all of them are wrong:
#
# | | what it does |
# |---|---|
# | threshold | keeps the magnitudes at or above the (k+1)-th smallest |
# | strict threshold | keeps the magnitudes above the k-th smallest |
# | k off by one | prunes k − 1 weights |
# | signed | prunes the k smallest values, not magnitudes |
#
# On many weights some of them are right by luck. Return one pair `(weight, sparsity)`, with at most
# twelve weights, for which **all four** give a mask that is wrong by the rule of exercise 1.
#
# <details><summary>Hint</summary>
#
# What must the k-th and the (k+1)-th smallest magnitude have in common, for a threshold between
# them to fail? And for *signed* to fail, which sign must a weight that stays have?
# </details>


# %% exercise-6-answer
@break_the_masks.answer
def break_the_masks():
    """Return (weight, sparsity)."""
    ### BEGIN SOLUTION
    return torch.tensor([-3.0, 1.0, 1.0, 1.0]), 0.5
    ### END SOLUTION


# %% exercise-6-check
break_the_masks.check()

# %% [markdown] rounds
# ## Prune, train, prune
#
# Han et al. prune in rounds, which lies between one-shot and gradual: some weights go, the rest is trained, more go.
# Here are five rounds, each two epochs long. A weight that is gone does not come back. **Beside the pruned network, the
# dense one is trained for the same extra steps.** Without that control we would credit pruning with what the training
# did.

# %% rounds-prepare
rounds = [0.6, 0.8, 0.9, 0.95, 0.98]
recipe = training.Recipe(epochs=2)
control = models.build("lenet-300-100", seed).to(data.train.images.device)
for model in (pruned, control):
    model.load_state_dict(net.state_dict())
live = models.weights(pruned)
tuned, same_steps, states = [], [], []

# %% [markdown] rounds-hold
# `hold_masks` sets the pruned weights to zero at once, and again after each step of the optimizer. We note
# the accuracy after each round, and keep the states for later.


# %% rounds-run
def fine_tune(masks):
    number = len(states) + 1

    def hold(optimizer):
        return pruning.hold_masks(live, masks, optimizer)

    training.train(pruned, data.train, recipe, seed=number, hold=hold)
    training.train(control, data.train, recipe, seed=number)
    tuned.append(100 * training.accuracy(pruned, data.validation))
    same_steps.append(100 * training.accuracy(control, data.validation))
    states.append([copy.deepcopy(model.state_dict()) for model in (pruned, control)])
    print(f"round {number}: pruned {tuned[-1]:.2f} %, dense {same_steps[-1]:.2f} %", flush=True)


masks = pruning.prune_iteratively(live, rounds, fine_tune)
{name: f"{100 * m.float().mean():.1f} % kept" for name, m in masks.items()}

# %% rounds-shown
one_shot = [
    100 * evaluate(pruning.apply_masks(weights, pruning.global_masks(weights, s))) for s in rounds
]
plot, (panel,) = plots.new(alt="Accuracy over sparsity: at once, in rounds, dense control", width=6)
plots.accuracy_axis(panel)
found = {"at once, not trained": one_shot, "in rounds": tuned, "dense, trained as long": same_steps}
plots.curves(panel, 100 * np.array(rounds), found, baseline=("dense", percents["fc1.weight"][0]))
panel.set(xlabel="sparsity, %", title="fine-tuning against its control", ylim=(50, 99.7))
plot

# %% [markdown] rounds-reading
# Compare the two trained lines with each other, not with the dashed one. **Up to which sparsity does the pruned
# network keep up with the dense one that was trained as long? And what would you have claimed without
# that control?** This is one seed; the table at the end of the chapter has five.
#
# <details><summary>Answer</summary>
#
# Up to 90 % within a few validation images. At 95 % it begins to fall behind, and at 98 % it is clearly behind. Without
# the control we might have claimed that pruning to 80 % improves the network.
# </details>

# %% [markdown] bill
# ## What it cost and what it bought
#
# The network of the third round has lost 90 % of its weights; the control has had the same steps. Each
# is written to a file, read back and tested on the **test** images. We have not looked at these before, except for
# the ten digits at the top, which decided nothing. The rows go into the running table. (Chapter 01 explains its
# columns.)

# %% bill-table
for model, state in zip((pruned, control), states[rounds.index(0.9)], strict=True):
    model.load_state_dict(state)
rows = {
    "dense, lenet-300-100": (net, "dense"),
    "dense, 6 more epochs": (control, "dense"),
    "90 % pruned": (pruned, "dense"),
    "90 % pruned, bitmap": (pruned, "bitmap"),
    "90 % pruned, relative": (pruned, "relative"),
}
for name, (model, format) in rows.items():
    report = measure.measure(
        name,
        model,
        data.test,
        data.name,
        "results/model.safetensors",
        encode=lambda state, format=format: formats.pack(state, format),
        decode=lambda arrays, format=format: formats.unpack(arrays, format),
    )
    table = measure.record(report)
table

# %% [markdown] bill-reading
# The interval says how far an accuracy might move with other test images. All rows here see the same ones, and each
# network is one training run: another seed could reverse a small difference. So from this table alone we claim
# neither that pruning costs accuracy nor that it improves it; the table below, after the paper, has five seeds. (Two rows
# may agree to the image by chance.)
#
# The bytes are another matter. Three rows hold the same weights, decoded from three files. Pruning
# alone has not shortened the first file at all. The formats have shortened the other two, and the estimated energy
# follows the bytes. **Which columns has pruning not moved at all?** The decoded network is dense again, so it computes
# with its zeros.
#
# <details><summary>Answer</summary>
#
# Parameters, MACs and time (its differences are noise).
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **Before training, a global ranking empties a layer.** PyTorch draws the first weights of a layer
# from the range $\pm 1/\sqrt{\text{inputs}}$: ±1/28 in fc1, which has 784 inputs, ±1/17 in fc2 and
# ±1/10 in fc3. A rising threshold passes the end of fc1's range first. Once one layer is empty, no signal
# passes, and no training brings it back. Training spreads the weights, and the largest of every layer
# grow:

# %% breaks-largest
untrained = models.weights(models.build("lenet-300-100", seed))
fresh = {name: w.detach() for name, w in untrained.items()}
for name, w in weights.items():
    before, after = fresh[name].abs().max(), w.abs().max()
    print(f"{name}: largest magnitude {before:.3f} before training, {after:.3f} after")

# %% [markdown] breaks-empty-text
# The picture shows how much of each layer is kept, over the sparsity of the network. Where a line ends, nothing of that
# layer is left.

# %% breaks-empty
grid = np.round(np.arange(0.8, 1, 0.005), 3)
plot, panels = plots.new(2, alt="Kept per layer over global sparsity, initial and trained weights")
for panel, title, start in zip(
    panels, ["before training", "trained"], [fresh, weights], strict=True
):
    kept = {name: [] for name in start}
    for s in grid:
        for name, m in pruning.global_masks(start, s).items():
            kept[name].append(100 * float(m.float().mean()) or np.nan)
    plots.curves(panel, 100 * grid, kept)
    panel.set(yscale="log", ylim=(0.005, 150), xlabel="sparsity of the network, %", title=title)
    panel.set(ylabel="kept in the layer, %")
plot

# %% [markdown] breaks-choice
# **A choice made on the test set flatters itself.** We make 100 networks that are pruned to 90 %, each by
# a ranking with a little noise in it. Someone picks the one that does best on 500 images and reports its
# accuracy *on those images*. How does it do on images that had no part in the choice? We play this with the
# validation images, 300 times, so that the test set stays unread.

# %% breaks-choice-played
generator = torch.Generator().manual_seed(seed)
right = []
for _ in range(100):
    noisy = {
        name: w * torch.exp(0.2 * torch.randn(w.shape, generator=generator)).to(w.device)
        for name, w in weights.items()
    }
    state = pruning.apply_masks(weights, pruning.global_masks(noisy, 0.9))
    scratch.load_state_dict({**net.state_dict(), **state})
    answers = training.predict(scratch, data.validation.images)
    right.append((answers == data.validation.labels).cpu().numpy())
right = np.stack(right)

rng = np.random.default_rng(seed)
reported, on_others = [], []
for _ in range(300):
    looked_at = np.isin(np.arange(right.shape[1]), rng.permutation(right.shape[1])[:500])
    best = right[:, looked_at].mean(1).argmax()
    reported.append(100 * right[best, looked_at].mean())
    on_others.append(100 * right[best, ~looked_at].mean())
print(f"all 100 on average:                 {100 * right.mean():.2f} %")
print(f"reported, on the images that chose: {np.mean(reported):.2f} %")
print(f"the same networks on other images:  {np.mean(on_others):.2f} %")

# %% [markdown] breaks-choice-reading
# The network that was picked is at best a little better than the average, but it is reported as much better than it is.
# Repetition does not cure that: whoever picks the best picks good luck along with it. Sparsity,
# number of epochs, seed: any choice made on the test images spoils them in the same way.
# That is why the validation images are a part of their own.

# %% [markdown] class
# ## The class is the experiment
#
# One network is one throw of the dice. A class has thirty. Your name (a nickname will do) is the seed of *your*
# network: it is trained from scratch, pruned to 90 %, and fine-tuned; a copy that was not pruned takes
# the same steps. **Do you expect yours to recover?** Write the name in place of `None`, run both cells, and send
# the file, which then lies in `results`, to your teacher, who puts the whole class into one picture. The training may take some minutes; a
# bar shows how far it is.

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    mine = baseline("lenet-300-100", data, seed=class_work.seed_of(my_name))
    longer, live = copy.deepcopy(mine), models.weights(mine)
    found = {"dense": 100 * training.accuracy(mine, data.validation)}
    masks = pruning.global_masks(live, 0.9)
    mine.load_state_dict(pruning.apply_masks(live, masks), strict=False)
    found["90 % pruned"] = 100 * training.accuracy(mine, data.validation)

    recipe = training.Recipe(epochs=4)
    training.train(
        mine,
        data.train,
        recipe,
        hold=lambda optimizer: pruning.hold_masks(live, masks, optimizer),
    )
    training.train(longer, data.train, recipe)
    found["fine-tuned"] = 100 * training.accuracy(mine, data.validation)
    found["dense, same steps"] = 100 * training.accuracy(longer, data.validation)
    print(class_work.hand_in(EXPERIMENT, my_name, {"lenet-300-100": found}, data.name))

# %% [markdown] paper
# ## The paper
#
# Han, Pool, Tran and Dally, *Learning both Weights and Connections for Efficient Neural Networks*,
# NeurIPS 2015, [arXiv 1506.02626](https://arxiv.org/abs/1506.02626). Read section 3 for the three steps
# train, prune, retrain, and figure 6 for the sensitivity of layers. Its claim for our network: 22 K of
# 267 K weights are enough, with no loss of accuracy.
#
# Does that hold? Below are the results of `shrink reproduce pruning` on MNIST: five networks from five seeds,
# each read back from its file and measured. It prunes to 92 % in four rounds of five epochs, and stores the remaining
# weights in relative indices. Three controls stand beside it: the dense network with the same extra
# steps, a network that keeps as many weights of each layer at *random* places, and a small dense network whose file is
# no longer than the pruned one's. "No loss" means less than 0.1 points, ten of the 10,000 test images; that margin and
# the recipe were fixed before the test errors of these runs were read. (The *test error* is the share of test
# images that are answered wrongly, in %. ± is the standard deviation over seeds.) You can run it
# yourself; it resumes where you stop it.

# %% paper-table
result = reproduce.stored("pruning")
result

# %% paper-plot
plot, (panel,) = plots.new(
    alt="Test error of each seed, for the pruned network and its controls", width=6
)
drawings.dots(panel, result.errors)
panel.set(ylabel="test error, %", title="each dot is a seed; the bar is their mean")
plot

# %% [markdown] paper-reading
# We read three things off. *Against the network it came from*, pruning cost nothing that five seeds can show.
# *Against the dense network with the same extra steps* it gained nothing either: what looks like a gain
# comes from the training. *Against random places and the small dense network* it wins clearly: it matters
# which weights are kept, and a small network, trained as long from the start, did not get there.
#
# You can now choose the weights that go, keep them gone, and store the rest in far fewer bytes.
# The next chapters spend fewer bits on each weight that remains.
