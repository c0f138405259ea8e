# %% [markdown] title
# # 07 · Structure: take whole units away
#
# **You will** remove whole channels from a trained network, so that every machine has less to compute, and find out
# what that buys and what the weights that stay are worth.
#
# **You will be able to**
# - say which filters, columns and statistics belong to one channel, also where layers are added,
# - remove channels so that nothing else changes, and test that nothing else did,
# - say what fewer multiply-accumulates do to the time, and name the control that pruning has to beat.
#
# **You need** chapters 01 and 02, and 90 minutes, 40 of them for the three core exercises; those marked *more* take
# another 40. Run the cells from the top. No GPU is needed.

# %% setup
import copy

import numpy as np
import torch

from shrink import cost, latency, pruning
from shrink.chapters.structure import (
    EXPERIMENT,
    break_the_surgery,
    filters_to_keep,
    n_of_m,
    remove_channels,
    remove_inputs,
    shrink_residual,
)
from shrink.chapters.structure.explorer import explore_structure
from shrink.chapters.structure.ways import KINDS, each_its_own, trained, tuning
from shrink.classroom import class_work, measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.data import Split, load, ten_digits
from shrink.papers import reproduce

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# Chapter 02 made most weights zero, and the network computed as much as before: it multiplied by the zeros. Here is a
# new network, a small relative of ResNet: six convolutions and one linear layer. We make three quarters of its
# weights zero. Beside it we put a network of the same kind that has half as many channels in each layer. How many
# multiply-accumulates (MACs) does an image take?

# %% problem-number
net = baseline("residual", data, seed=seed)
image = data.validation.images[:1]


def macs(model):
    """The multiply-accumulates for one image."""
    return sum(layer.macs for layer in cost.layers(model, image))


weights = {name: w.detach() for name, w in models.weights(net).items()}
zeros = copy.deepcopy(net)
masks = pruning.global_masks(weights, 0.75)
zeros.load_state_dict(pruning.apply_masks(weights, masks), strict=False)
half = models.build("residual", seed, hidden=(8, 8, 16, 16)).to(image.device)
for name, model in {"trained": net, "75 % zeros": zeros, "half the channels": half}.items():
    print(f"{name:17} {cost.nonzeros(model):6,} parameters not 0", end=", ")
    print(f"{measure.size(model.state_dict()):7,} bytes, {macs(model):9,} MACs")

# %% [markdown] problem-why
# The two small ones have about as many weights, but only the one with fewer *channels* computes less, and its file is
# short without any sparse format. **What if we take whole channels out of the trained network?**
#
# These are the ten images of every chapter, and above each the network's answer:

# %% problem-digits-shown
ten = ten_digits(data)
answers = training.predict(net, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [str(answer) for answer in answers])

# %% [markdown] by-hand
# ## Two filters by hand
#
# A *filter* is the part of a convolution's weights that makes one channel. In this network a batch norm and a ReLU
# follow each convolution, and then the next layer reads the channel. We take two filters with one weight each, and an
# image of one pixel, 3:
#
# | | channel 1 | channel 2 |
# |---|---|---|
# | filter | 1 | 2 |
# | after the filter | 1 · 3 = 3 | 2 · 3 = 6 |
# | the norm's mean and standard deviation | 1, 2 | 4, 2 |
# | minus the mean, divided by the deviation | 1 | 1 |
# | the norm's scale and shift | times 1, plus 0 | times 1, plus 3 |
# | after norm and ReLU | 1 | 4 |
# | the next layer's weight | 5 | 1 |
#
# The next layer adds up 5 · 1 + 1 · 4 = 9.
#
# Now channel 2 goes. If we *remove* it, 5 · 1 = **5** is left. If we *set its filter to 0*, the norm still does its
# work: (0 − 4) / 2 = −2, and −2 + 3 = 1. The ReLU lets the 1 pass, and the next layer adds up 5 · 1 + 1 · 1 = **6**.
#
# With a mean of 8 in place of 4 it would have been (0 − 8) / 2 + 3 = −1, the ReLU would have made 0 of it, and nobody
# would have noticed anything.

# %% by-hand-code
filters, following = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 1.0])
mean, deviation = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])
scale, shift = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 3.0])


def channels(filters, pixel=3):
    return torch.relu(scale * (filters * pixel - mean) / deviation + shift)


whole = following @ channels(filters)
removed = following[:1] @ channels(filters)[:1]
zeroed = following @ channels(torch.tensor([1.0, 0.0]))
whole.item(), removed.item(), zeroed.item()

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $W$ | `conv["weight"]` | the filters, (out, in, height, width) |
# | $\mu, \sigma^2$ | `norm["running_mean"]`, `norm["running_var"]` | the mean and the variance of each channel, (out,) each |
# | $\gamma, \beta$ | `norm["weight"]`, `norm["bias"]` | its scale and its shift, (out,) each |
# | $V$ | `following["weight"]` | the next layer's weights, (next, out, height, width) |
# | $s$ | `scores` | how strong each filter is, (out,) |
# | $K$ | `kept` | the numbers of the channels that stay, int64, rising |
#
# Let $h$ be what the convolution reads, and $*$ its sum of products. Channel $u$, and output $o$ of the next layer:
#
# $$x_u = \mathrm{ReLU}\Big(\gamma_u\, \frac{W_u * h - \mu_u}{\sigma_u} + \beta_u\Big) \qquad
# y_o = \sum_u V_{o,u} * x_u$$
#
# Whatever has the index $u$ belongs to channel $u$: a filter, four numbers of the norm, and a *column* of the next
# layer. To remove the channel is to leave $u$ out of the sum. If only $W_u$ becomes zero, $u$ stays in the sum with a
# constant,
#
# $$x_u = \mathrm{ReLU}\Big(\beta_u - \gamma_u\, \frac{\mu_u}{\sigma_u}\Big)$$
#
# Which channels should go? Li et al. (2017) score a filter by the sum of its magnitudes, the *L1 norm*, and keep the
# strongest:
#
# $$s_u = \sum_{i,a,b} |W_{u,i,a,b}|$$
#
# A convolution takes in · out · height · width products for each place of its output. With a share $r$ of the channels
# left in every layer, *in* and *out* both shrink, and $r^2$ of the products remain.

# %% mathematics-code
generator = torch.Generator().manual_seed(seed)
W = torch.randn(4, 3, 3, 3, generator=generator)
V = torch.randn(5, 4, 3, 3, generator=generator)
scores = W.abs().sum((1, 2, 3))
kept = scores.argsort(descending=True)[:2].sort().values
scores, kept, W[kept].shape, V[:, kept].shape

# %% [markdown] naive
# ## First in slow motion, then at once
#
# First filter by filter and kernel by kernel, then by indexing: `W[kept]` takes rows, `V[:, kept]` columns. Both must
# be the same, and so must the sum of products: the small layers give what the large ones give without the other two
# channels.

# %% naive-code
by_one = [sum(abs(x) for x in W[u].flatten().tolist()) for u in range(4)]
small_W, small_V = torch.empty(2, 3, 3, 3), torch.empty(5, 2, 3, 3)
for place, u in enumerate(kept.tolist()):
    small_W[place] = W[u]
    for o in range(5):
        small_V[o, place] = V[o, u]
print(torch.allclose(torch.tensor(by_one), scores))
print(torch.equal(small_W, W[kept]), torch.equal(small_V, V[:, kept]))

h = torch.randn(1, 3, 8, 8, generator=generator)
conv2d, gone = torch.nn.functional.conv2d, torch.ones(4, dtype=torch.bool)
gone[kept] = False
x = conv2d(h, W).relu().masked_fill(gone[:, None, None], 0)
torch.allclose(conv2d(x, V), conv2d(conv2d(h, small_W).relu(), small_V), atol=1e-4)

# %% [markdown] groups
# ## What belongs to one channel
#
# In a chain of layers that is all. Our network is no chain. This is its first half:
#
# ```
# image → stem → norm0 → ReLU ─┬→ conv1 → norm1 → ReLU → conv2 → norm2 ─┬→ + → ReLU → down → …
#                              └─────────────────────────────────────────┘
# ```
#
# At the plus, channel 3 of the stem is added to channel 3 of conv2. If the stem loses its channel 3, conv2 must lose its
# channel 3 too. We call what must go together a *dependency group*. `pruning.dependency_groups` finds the groups from
# the network itself: it runs it once, with marks that say which units a number comes from.

# %% groups-shown
groups = pruning.dependency_groups(net, image)
for group in groups.values():
    print(group)

# %% [markdown] groups-reading
# *makes* are the layers that compute the units, *scales* the tensors of a norm, *reads* the layers that take the units
# in, on their second axis.
#
# **Why does a channel of `down` have nine columns in fc? And which units of the network are in no group?**
#
# <details><summary>Answer</summary>
#
# After the pooling each of these channels is an image of 3 × 3 numbers, and flattened they are nine inputs of fc, one
# after the other. In no group are the pixel of the input and the ten outputs of fc: nobody may remove a digit.
# </details>

# %% [markdown] real
# ## On the real network
#
# In each group half of the units go, those with the smallest L1 norm. Where several layers make a unit, as the stem and
# conv2 do, their norms are added. `pruning.remove_units` copies what stays into a new, smaller network.


# %% real-remove
def half_of(net, by="l1"):
    """Which units of each group stay, when half of them do."""
    groups = pruning.dependency_groups(net, image)
    scores = {
        name: pruning.group_scores(
            net, group, by, images=data.validation.images[:500], seed=seed
        )
        for name, group in groups.items()
    }
    return groups, pruning.keep_per_group(scores, 0.5)


groups, kept = half_of(net)
small = pruning.remove_units(net, groups, kept)
for name, model in {"whole": net, "half of the units": small}.items():
    parameters, _ = cost.parameters_and_bytes(model)
    right = 100 * training.accuracy(model, data.validation)
    print(f"{name:17} {parameters:6,} parameters, {measure.size(model.state_dict()):7,} bytes", end="")
    print(f", {macs(model):9,} MACs, {right:.1f} % right")

# %% [markdown] real-equal
# A quarter of the work, and little is left of the accuracy. Is that what pruning costs, or have we made a mistake? The
# accuracy cannot tell. There is a test that can: `pruning.mask_units` leaves the network as large as it is, and sets
# **everything** to zero that belongs to the units that go, the norm's numbers too. If the surgery is right, both
# networks give the same logits for every image.

# %% real-equal-measured
images = data.validation.images[:500]


@torch.no_grad()
def apart(model, other):
    """The largest difference between the logits of two networks."""
    return (model.eval()(images) - other.eval()(images)).abs().max().item()


masked = pruning.mask_units(net, groups, kept)
print(f"removed and masked are {apart(small, masked):.0e} apart")
print(f"removed and whole are  {apart(small, net):.0e} apart")

# %% [markdown] norms
# So the surgery is right, and the damage is real. But part of it is easy to repair. Each norm subtracts the mean of its
# channel, and divides by the standard deviation, as they were *with all channels* in front of it. With half of them
# gone, both are wrong. `pruning.recompute_norms` runs images through the network and measures them anew. It needs no
# label, and no weight changes.
#
# To see more than luck we look at three networks that differ in their seed.


# %% norms-measured
def renewed(model):
    """A copy whose norms have the statistics of 2000 training images."""
    model = copy.deepcopy(model)
    pruning.recompute_norms(model, data.train.images[:2000].split(500))
    return model


nets = [baseline("residual", data, seed=s) for s in (0, 1, 2)]
print("% right     whole   half removed   norms computed anew")
for s, one in enumerate(nets):
    removed = pruning.remove_units(one, *half_of(one))
    right = [
        100 * training.accuracy(model, data.validation)
        for model in (one, removed, renewed(removed))
    ]
    print(f"seed {s}: {right[0]:10.1f} {right[1]:14.1f} {right[2]:21.1f}")

# %% [markdown] constant
# ## Predict: a filter of zeros
#
# Many programs "remove" a filter by setting its weights to 0; some pruning tools do no more than that. We do it to half
# of the filters of conv1 and conv3, the two layers inside the blocks, and compare with the network from which these
# channels are *removed*. Both are asked the same 500 images. The logits of the whole network lie between about −15 and
# 25. By how much do the logits of the two differ at most? Write your guess in place of `None`. It is not marked.

# %% constant-guess
my_guess = None

# %% constant-answer
inner = {name: kept[name] for name in ("conv1", "conv3")}
removed = pruning.remove_units(net, groups, inner)
print(f"your guess: {'none' if my_guess is None else my_guess}")
print(f"only the filters are 0:   {apart(pruning.mask_filters(net, groups, inner), removed):.1e} apart")
print(f"the filters and the norm: {apart(pruning.mask_units(net, groups, inner), removed):.1e} apart")

# %% [markdown] constant-why
# The second line is the control. The first is the constant of the mathematics, $\mathrm{ReLU}(\beta_u - \gamma_u
# \mu_u/\sigma_u)$. Here it is for the channels of conv1 that went, and below it what it does to the accuracy of the
# three networks.

# %% constant-shown
norm = net.norm1
with torch.no_grad():
    deviation = (norm.running_var + norm.eps).sqrt()
    left_over = torch.relu(norm.bias - norm.weight * norm.running_mean / deviation)
gone = [u for u in range(groups["conv1"].units) if u not in inner["conv1"].tolist()]
print("left over of conv1:", [round(x, 2) for x in left_over[gone].tolist()])

print("% right   removed   only filters 0   removed, norms anew")
for s, one in enumerate(nets):
    parts, chosen = half_of(one)
    some = {name: chosen[name] for name in ("conv1", "conv3")}
    removed = pruning.remove_units(one, parts, some)
    models_ = (removed, pruning.mask_filters(one, parts, some), renewed(removed))
    right = [100 * training.accuracy(model, data.validation) for model in models_]
    print(f"seed {s}: {right[0]:9.1f} {right[1]:16.1f} {right[2]:21.1f}")

# %% [markdown] constant-reading
# **Is the network with zeroed filters always worse than the one without the channels? What follows for somebody who
# masks filters, measures the accuracy, and then ships the network with the channels removed?**
#
# <details><summary>Answer</summary>
#
# No. The constants may even help: they take the place of a channel's mean. But it is *another network*. Whoever masks
# and then removes ships a network that nobody has measured. With the norms computed anew the constant plays no part
# any more, as a mean takes every constant in.
# </details>

# %% [markdown] shapes
# ## Predict: the shapes fit
#
# Somebody prunes the stem and conv2 layer by layer: each keeps the half of *its own* filters that is strongest. Eight
# channels are added to eight channels, every shape fits, and the network runs. But the third channel of one may have been
# channel 5, and the third of the other channel 7.
#
# Both this network and the one with the right surgery are then *fine-tuned*, trained for three more epochs. By how many
# points of accuracy is the wrong one behind after that, on the test images? Write your guess in place of `None`.

# %% shapes-guess
my_guess = None

# %% shapes-answer
print(f"your guess: {'none' if my_guess is None else f'{my_guess} points'}")
print("% right                 as cut   norms anew   fine-tuned   logits, off the masked network")
for s, one in enumerate(nets):
    parts = pruning.dependency_groups(one, image)
    scores = pruning.group_scores(one, parts["stem"], "l1")
    stem_half = {"stem": pruning.keep_strongest(scores, 8)}
    masked = pruning.mask_units(one, parts, stem_half)
    surgeries = {"linked": pruning.remove_units(one, parts, stem_half), "each its own": each_its_own(one)}
    for name, cut in surgeries.items():
        right = [100 * training.accuracy(model, data.test) for model in (cut, renewed(cut))]
        tuned = tested(name, data, seeds=[s])[0]
        print(f"seed {s}, {name:12} {right[0]:8.1f} {right[1]:12.1f} {tuned:12.2f}", end="")
        print(f" {apart(cut, masked):18.0e}")

# %% [markdown] shapes-reading
# **Which of the columns would have shown the mistake to somebody who has no right surgery to compare with?**
#
# <details><summary>Answer</summary>
#
# Only the last. Any accuracy right after the cut could be what pruning costs, and fine-tuning repairs nearly all of it:
# it trains the wrong network as it would train any other. The last column needs no comparison, as it must be 0 up to
# rounding.
# </details>

# %% [markdown] time
# ## Predict: a quarter of the work
#
# The network with half of its units takes about a quarter of the MACs. How many times as fast as the whole one is it
# on your machine, for a batch of 64 images? Write your guess in place of `None`.

# %% time-guess
my_guess = None

# %% time-answer
batch = data.validation.images[:64]


def milliseconds(model, images, runs=40):
    """The median time of a batch."""
    return 1000 * latency.latency(model, images, warm_up=5, runs=runs).median


base = macs(net), milliseconds(net, image), milliseconds(net, batch)
print(f"your guess: {'none' if my_guess is None else f'{my_guess} times'}")
print("units left   MACs less   faster, batch 1   faster, batch 64")
for share in (0.75, 0.5, 0.25):
    scores = {name: pruning.group_scores(net, group, "l1") for name, group in groups.items()}
    model = pruning.remove_units(net, groups, pruning.keep_per_group(scores, share))
    now = macs(model), milliseconds(model, image), milliseconds(model, batch)
    times = [before / after for before, after in zip(base, now, strict=True)]
    print(f"{100 * share:6.0f} % {times[0]:10.1f}x {times[1]:16.1f}x {times[2]:17.1f}x")

# %% [markdown] time-why
# Part of the time does not depend on the number of channels: each layer must be called, and norms, ReLUs and pooling
# shrink with the channels, not with their square. For one image, calling is nearly all there is (chapter 01).
#
# And a convolution itself is not as fast as its MACs are few. Here is one alone, from 64 channels to $k$, on 64 images
# of 14 × 14. The last column is what the time would be if it followed the MACs.

# %% time-steps
x = torch.randn(64, 64, 14, 14, device=image.device)
found = {}
for k in (8, 12, 16, 17, 24, 31, 32, 33, 48, 64):
    layer = torch.nn.Conv2d(64, k, 3, padding=1, bias=False).to(image.device)
    found[k] = milliseconds(layer, x, runs=15)
print("channels   time, ms   by its MACs")
for k, time in found.items():
    print(f"{k:8} {time:10.2f} {found[64] * k / 64:13.2f}")

# %% [markdown] time-reading
# **Does one channel less ever make it faster on your machine? At which numbers is it worth to stop?**
#
# <details><summary>Answer</summary>
#
# A processor computes several channels at once, often 8 or 16, and pads the rest. So the time climbs in steps, and 17
# channels may take as long as 24 or 32. That is why `keep_per_group` has `multiple_of=8`: a count that the machine
# likes. Where your steps are only a measurement says.
# </details>

# %% [markdown] patterns
# ## Predict: half is half
#
# Whole units are one extreme, and the single weights of chapter 02 the other. In between we can remove *vectors* (a row
# of a kernel, three weights), *kernels* (nine), or a *group* (the same places in all filters of a layer). And there is
# *2:4*: of each four weights in a row, the two largest stay. Graphics cards have circuits for that.
#
# | | what goes at once | bits to say what stays, in a layer of $n$ weights |
# |---|---|---|
# | weight | one weight | $n$ |
# | vector | a row of a kernel | $n / 3$ |
# | kernel | what one channel does to another | $n / 9$ |
# | group | one place in all filters | $n$ / filters |
# | filter | all that makes a channel | filters |
# | 2:4 | two of four weights along the input channels | $n$ (two bits for each of $n / 2$) |
#
# Half of the weights of the five convolutions behind the stem become zero, each time those with the smallest sums of
# magnitudes. Nothing is trained. With single weights the first network loses next to nothing. How many % of the
# validation images does it get right when half of the *filters* go? Write your guess in place of `None`.

# %% patterns-guess
my_guess = None

# %% patterns-answer
patterns = ("weight", "vector", "kernel", "group", "filter")
behind = [name for name, w in weights.items() if w.dim() == 4 and name != "stem.weight"]


def masked_by(net, pattern):
    """A copy whose convolutions have lost half of their weights in this pattern."""
    model = copy.deepcopy(net)
    for name, weight in models.weights(model).items():
        if name in behind:
            flat = weight.detach()
            if pattern == "2:4":
                mask = pruning.n_of_m_mask(flat, 2, 4)
            else:
                mask = pruning.pattern_mask(flat, 0.5, pattern)
            weight.data.mul_(mask)
    return model


print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}")
print("% right        as masked: seed 0, 1, 2       norms anew: seed 0, 1, 2")
for pattern in (*patterns, "2:4"):
    six = [masked_by(one, pattern) for one in nets]
    six += [renewed(model) for model in six]
    right = [100 * training.accuracy(model, data.validation) for model in six]
    print(f"{pattern:8}" + "".join(f"{x:{10 + 6 * (i == 3)}.1f}" for i, x in enumerate(right)))

# %% [markdown] patterns-reading
# **In which order do the patterns lose accuracy, and why? What do the coarse ones have for it?**
#
# <details><summary>Answer</summary>
#
# The finer the pattern, the more freely the small weights can be picked out; in a filter small and large ones go
# together. For that, a filter that goes leaves a smaller dense network (and its norm and its readers can go too), a
# bitmap of filters takes no space, and no program has to look anything up. 2:4 lies in between: it is fine, and half of
# the products can be left out by machines that are made for it. An ordinary CPU or PyTorch on it gains nothing.
# </details>

# %% [markdown] worth
# ## Predict: the weights that stay
#
# We remove half of the units, and fine-tune for three epochs.
# Here are five ways:
#
# - *smallest removed*: the units with the smallest L1 norm go, as above;
# - *random removed*: any units go;
# - *largest removed*: the ones with the **largest** L1 norm go;
# - *from scratch*: no trained weight stays. A network of the small size begins with new weights, and is trained for as
#   many epochs as the dense network and the fine-tuning took together;
# - *not pruned*: the whole network, trained three epochs longer.
#
# The first four networks end with the same shape. How many points of accuracy is *smallest removed* ahead of *from
# scratch*? Write your guess (below 0 if you think that it is behind) in place of `None`.

# %% worth-guess
my_guess = None

# %% worth-answer
results = {way: tested(way, data) for way in WORTH}
print("test images right, %      seed 0      1      2     mean")
for way, right in results.items():
    print(f"{way:24}" + "".join(f"{x:7.2f}" for x in right) + f"{right.mean():9.2f}")
ahead = results["smallest removed"] - results["from scratch"]
print(f"your guess: {'none' if my_guess is None else my_guess}; measured: {ahead.mean():+.2f} points,")
print(f"from {ahead.min():+.2f} to {ahead.max():+.2f}")

# %% [markdown] worth-reading
# These networks were trained when the course was made; the code is `finished` in
# [ways.py](../lib/shrink/chapters/structure/ways.py).
#
# **What have the weights that we kept been worth? And is the comparison fair?**
#
# <details><summary>Answer</summary>
#
# Less than nothing, here: the same shape with new weights gets further in the same number of epochs. It has also cost
# *less*, as most of its epochs were spent on the small network and not on the large one. So what pruning has found is
# at best a *shape*, and half of everything is a shape that we could have written down without it. Liu et al. (2019)
# found the same on large networks; the section on the papers has five seeds.
#
# Pruning still has its place: when a trained network is at hand and the data or the time to train are not. How few
# epochs of fine-tuning are enough?
# </details>
