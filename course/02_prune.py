# %% [markdown] title
# # 02 · Prune: take weights away
#
# **You will** remove four of five weights from a trained network and look at what that costs.
#
# **You will be able to**
# - choose which weights go, exactly as many as you want, in one layer or over the whole network,
# - say which layers a global ranking spares, and when it empties one,
# - tell what pruning saves from what it only seems to save.
#
# **You need** Python and PyTorch tensors, and 60 minutes. Run the cells from the top; where a cell
# says *exercise*, write the function yourself. No GPU is needed.

# %% setup
import numpy as np
import torch

from shrink import pruning
from shrink.classroom import measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.checks.prune import break_the_masks, global_masks, magnitude_mask
from shrink.classroom.data import load, ten_digits
from shrink.classroom.explorers.prune import explore_pruning

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# Our network is LeNet-300-100: 784 pixels go into 300 units, these into 100, these into 10. It
# comes trained. How long is its file, and how many of its weights are near zero? We call a weight
# small when it has less than a tenth of the magnitude of the largest in its layer. (Weights are what
# we count and prune; the 410 biases of the units stay.)

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
weights = {name: w.detach() for name, w in models.weights(net).items()}

n = sum(w.numel() for w in weights.values())
small = sum(int((w.abs() < 0.1 * w.abs().max()).sum()) for w in weights.values())
print(f"{n:,} weights, {measure.size(net.state_dict()):,} bytes on disk")
print(f"{100 * training.accuracy(net, data.validation):.2f} % of the validation images right")
print(f"{100 * small / n:.0f} % of the weights are small")

# %% [markdown] problem-digits
# These ten images, one of each digit, come back in every chapter. Above each stands the answer of
# the network.

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
# negative weight, and the largest. What is left:
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
# Pruning only decides $m$. That the mask is a thing of its own is what makes it useful: we can
# count it, compare it with another, and put it on again after each training step. (In the output
# below, −0 is zero with a sign.)

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
# you will find such weights, and write a mask that does not fail.

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
# Counts stand on a logarithmic scale, each tick ten times the last: most of the weights lie in the
# shaded band.

# %% real-plot
everything = torch.cat([w.flatten() for w in weights.values()]).cpu().numpy()
gone = np.concatenate([(~m).flatten().cpu().numpy() for m in masks.values()])
plot, (panel,) = plots.new(alt="Histogram of all weights; the smallest 80 % lie in a narrow band")
plots.histogram(panel, everything, np.abs(everything[gone]).max(), title="the shaded 80 % go")
plot

# %% [markdown] real-cost
# Four of five weights are gone. What did that do to the accuracy, and what to the file?

# %% real-measure
for name, model in {"dense": net, "pruned": pruned}.items():
    right = 100 * training.accuracy(model, data.validation)
    print(f"{name:7} {right:.2f} % right, {measure.size(model.state_dict()):,} bytes")

# %% [markdown] real-file
# The file is as long as before, to the byte. **A zero in float32 takes four bytes, like any other
# number.** Pruning makes weights that *could* be stored in less; the storing is another step. Nor is
# there a reason to be faster: the same matrix product is computed, with zeros in it.

# %% [markdown] predict
# ## Predict
#
# We go on pruning and train nothing. At which sparsity, in percent, has this network lost **five
# points** of its accuracy? Write your guess in place of `None`. It is not marked.

# %% predict-guess
my_guess = None

# %% predict-answer
dense = training.accuracy(net, data.validation)
for percent in range(80, 101):
    masks = pruning.global_masks(weights, percent / 100)
    pruned.load_state_dict({**net.state_dict(), **pruning.apply_masks(weights, masks)})
    if training.accuracy(pruned, data.validation) < dense - 0.05:
        break
print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}; measured: {percent} %")

# %% [markdown] explore
# ## Explore
#
# All figures are on the validation images, which we may look at as often as we like.
#
# - *accuracy*: the mean over three networks that differ in their seed, and the range between them.
#   The scale is stretched towards 100 %. The dot is the network on show.
# - *weights and threshold*: what goes lies between the lines. *kept in each layer* says what that
#   leaves.
# - *pixels still seen*: for each input pixel, how many of its 300 connections are left.
# - *right before, wrong now*: the first ten images that the dense network gets right and the pruned
#   one does not. Beside them, per digit, the share of answers that pruning changed (blue) and, as a
#   yardstick, the share in which two unpruned networks of different seeds differ (grey).
#
# Three things to try:
# 1. Move the sparsity from 0.7 up under *global*, then under *local*, which takes the same share from
#    each layer. **Which layer does the global ranking spare? Compare with the sizes and magnitudes
#    printed above: why does that help?**
# 2. Set the sparsity to 0.97 and press *Fine-tune*: the pruned network is trained on for some epochs
#    while its zeros are held, and the dense one for the same steps. **How much of the lost accuracy
#    comes back? Why is the dense network trained on as well?** Press it again at 0.98 and 0.99:
#    **where does fine-tuning stop helping?**
# 3. Switch to *initial* weights, as they are before any training, under *global*. The three steps in
#    the histogram are the three layers. (Untrained, the network answers by chance, so look at the
#    layers and not at the answers.) Go up from 0.9. **Which layer is the narrowest, and what happens
#    to it between 0.95 and 0.96? What does the trained network keep of it there?**

# %% explore-pruning
explorer = explore_pruning(data, magnitude_mask, global_masks)
explorer

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function
# until your own passes its check. The library is there to be read, too. After each exercise go
# back to the explorer and set *masks by* to *mine*.

# %% [markdown] exercise-1
# ### 1 · Exactly k (core, 15 minutes)
#
# Write `magnitude_mask(weight, sparsity)`: a bool tensor of the shape and on the device of
# `weight`, with exactly `round(sparsity * n)` False, where no pruned weight is larger in magnitude
# than a kept one. Where magnitudes are equal you may choose which of them go. (Python's `round` takes
# 2.5 to 2: use it as it is.)
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
# shapes; return a dict of masks with the same names, with exactly `round(sparsity * n)` False over
# all layers together, the smallest magnitudes wherever they are. You may call `magnitude_mask`.
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
# ### 3 · Break the masks (more, 10 minutes)
#
# Four masks that are easily written, all of them wrong:
#
# | | what it does |
# |---|---|
# | threshold | keeps the magnitudes at or above the (k+1)-th smallest |
# | strict threshold | keeps the magnitudes above the k-th smallest |
# | k off by one | prunes k − 1 weights |
# | signed | prunes the k smallest values, not magnitudes |
#
# On many weights some of them are right by luck. Return one pair `(weight, sparsity)`, with at most
# twelve weights, on which **all four** give a wrong mask.
#
# <details><summary>Hint</summary>
#
# What must the k-th and the (k+1)-th smallest magnitude have in common, for a threshold between
# them to fail?
# </details>


# %% exercise-3-answer
@break_the_masks.answer
def break_the_masks():
    """Return (weight, sparsity)."""
    ### BEGIN SOLUTION
    return torch.tensor([-3.0, 1.0, 1.0, 1.0]), 0.5
    ### END SOLUTION


# %% exercise-3-check
break_the_masks.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# We prune 80 % once more, train on for three epochs with the zeros held, and give the dense network
# the same three epochs: otherwise we would credit pruning with what the extra training did. Each
# model is written to a file, read back and tested, on the **test** images. Apart from the ten digits
# at the top, which decided nothing, we have not looked at them. The rows go into
# `running_table.json` beside this notebook, where the other chapters add theirs.

# %% bill-train
recipe = training.Recipe(epochs=3)
masks = pruning.global_masks(weights, sparsity=0.8)
pruned.load_state_dict(net.state_dict())
training.train(  # hold_masks zeroes the pruned weights now, and again after every step
    pruned,
    data.train,
    recipe,
    seed=1,
    hold=lambda optimizer: pruning.hold_masks(models.weights(pruned), masks, optimizer),
)

control = models.build("lenet-300-100", seed).to(data.train.images.device)
control.load_state_dict(net.state_dict())
training.train(control, data.train, recipe, seed=1).steps

# %% bill-table
for name, model in {
    "dense": net,
    "dense, 3 more epochs": control,
    "80 % pruned, 3 epochs": pruned,
}.items():
    table = measure.record(measure.measure(name, model, data.test, data.name, "model.safetensors"))
table

# %% [markdown] bill-reading
# The interval says how far the accuracy might move with other test images. All rows see the same
# images, and each is one training run: another seed could turn a small difference round. So from
# this table we claim neither that pruning costs accuracy nor that it improves it.
#
# What it does show stands in two columns. Four fifths of the weights are zero, and the file is not
# one byte shorter. Until the zeros are stored in less, pruning has bought nothing.
