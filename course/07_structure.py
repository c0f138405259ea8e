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
# **You need** chapters 01 and 02, and 90 minutes, 40 of them for the three core exercises. One section and three
# exercises are marked *more* and take another 50. Run the cells from the top. No GPU is needed.

# %% setup
import copy

import numpy as np
import torch
import torch.nn.functional as F

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
from shrink.chapters.structure.ways import WORTH, each_its_own, finished, tested
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
# The last two have about equally many weights that are not 0. But only the one with fewer *channels* computes less, and
# its file is short without any sparse format. **What if we take whole channels out of the trained network?**
#
# These are the ten images of every chapter, and above each the network's answer:

# %% problem-digits-shown
ten = ten_digits(data)
answers = training.predict(net, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [str(answer) for answer in answers])

# %% [markdown] by-hand
# ## Two filters by hand
#
# A *filter* is the part of a convolution's weights that makes one channel. In this network a batch norm follows each
# convolution, then a ReLU, and then the next layer reads the channel. Once it is trained, a batch norm has four fixed
# numbers per channel: it subtracts a mean, divides by a standard deviation, multiplies by a scale and adds a shift. We
# take two filters with one weight each, and an image of one pixel, 3:
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
# With a mean of 8 in place of 4 the norm would give (0 − 8) / 2 + 3 = −1, the ReLU would make 0 of it, and nobody would
# notice.

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
# | $W$ | `W` | the filters, (out, in, height, width) |
# | $\mu, \sigma^2$ | `norm.running_mean`, `norm.running_var` | the mean and the variance of each channel, (out,) each |
# | $\gamma, \beta$ | `norm.weight`, `norm.bias` | its scale and its shift, (out,) each |
# | $V$ | `V` | the next layer's weights, (next, out, height, width) |
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
# left in every layer, *in* and *out* both shrink, and about $r^2$ of the products remain.

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
x = F.conv2d(h, W).relu()
gone = [u for u in range(4) if u not in kept]
x[:, gone] = 0
torch.allclose(F.conv2d(x, V), F.conv2d(F.conv2d(h, small_W).relu(), small_V), atol=1e-4)

# %% [markdown] groups
# ## What belongs to one channel
#
# In a chain of layers nothing else belongs to it. Our network is no chain. This is its first half, with a *block* of
# two convolutions beside a *shortcut*:
#
# ```
# image → stem → norm0 → ReLU ─┬→ conv1 → norm1 → ReLU → conv2 → norm2 ─┬→ + → ReLU → down → …
#                              └─────────────────────────────────────────┘
# ```
#
# The second half has the same layers again, down, conv3 and conv4 in the places of stem, conv1 and conv2. Then come a
# 2 × 2 max pooling, `flatten` and the linear layer fc. Stem and down have stride 2: they halve the height and the
# width, 28 at first.
#
# At the plus, channel 3 of the stem is added to channel 3 of conv2. If the stem loses its channel 3, conv2 must lose
# its channel 3 too. We call what must go together a *dependency group*. `pruning.dependency_groups` finds the groups
# from the network itself: it runs it once, with marks that say which units a number comes from.

# %% groups-shown
groups = pruning.dependency_groups(net, image)
for group in groups.values():
    print(group)

# %% [markdown] groups-reading
# *Made by* names the layers that compute the units, as rows of their weights; *scaled by* the norms; and *read by* the
# layers that take the units in, as columns.
#
# **Why does a channel of `down` have nine columns in fc? And which units of the network are in no group?**
#
# <details><summary>Answer</summary>
#
# After the pooling each of these channels is an image of 3 × 3 numbers, and flattened they are nine inputs of fc, one
# after the other. In no group are the input's one channel and the ten outputs of fc: nobody may remove
# a digit.
# </details>

# %% [markdown] real
# ## On the real network
#
# In each group half of the units go, those with the smallest L1 norm. Where several layers make a unit, as the stem and
# conv2 do, their L1 norms are added. `pruning.remove_units` copies what stays into a new, smaller network.

# %% real-remove
asked = Split(data.validation.images[:1000], data.validation.labels[:1000])


def right(model):
    """How many % of 1000 validation images the network gets right."""
    return 100 * training.accuracy(model, asked)


def strongest(net, share=0.5):
    """The groups of a network, and the numbers of the units with the largest L1 norms."""
    groups = pruning.dependency_groups(net, image)
    scores = {name: pruning.group_scores(net, group, "l1") for name, group in groups.items()}
    return groups, pruning.keep_per_group(scores, share)


groups, kept = strongest(net)
small = pruning.remove_units(net, groups, kept)
for name, model in {"whole": net, "half of the units": small}.items():
    print(f"{name:17} {measure.size(model.state_dict()):7,} bytes", end=", ")
    print(f"{macs(model):9,} MACs, {right(model):.1f} % right")

# %% [markdown] real-equal
# A quarter of the work is left, and most of the accuracy is lost. Is that what pruning costs, or have we made a
# mistake? The accuracy cannot tell. There is a test that can: `pruning.mask_units` leaves the network as large as it
# is, and sets **everything** to zero that belongs to the units that go, the norm's numbers too. If the surgery is
# right, both networks give the same logits for every image, up to rounding.


# %% real-equal-measured
@torch.no_grad()
def apart(model, other):
    """The largest difference between any two logits of the networks, over 1000 images."""
    return (model(asked.images) - other(asked.images)).abs().max().item()


masked = pruning.mask_units(net, groups, kept)
with torch.no_grad():
    lowest, highest = net(asked.images).aminmax()
print(f"removed and masked: {apart(small, masked):.2g} apart")
print(f"removed and whole:  {apart(small, net):.2g} apart")
print(f"the logits of the whole network lie between {lowest:.0f} and {highest:.0f}")

# %% [markdown] norms
# So the surgery is right, and the damage is real. But part of it is easy to repair. A batch norm subtracts the mean of
# its channel and divides by the standard deviation, and both were measured with *all* channels in front of it. With
# half of these gone they are wrong. `pruning.recompute_norms` runs images through the network and computes them anew.
# It needs no label, and no weight changes.
#
# To see more than luck we look at three networks that differ in their seed.


# %% norms-measured
def renewed(model):
    """A copy whose norms have the statistics of 1000 training images."""
    model = copy.deepcopy(model)
    pruning.recompute_norms(model, data.train.images[:1000].split(500))
    return model


nets = [baseline("residual", data, seed=s) for s in (0, 1, 2)]
print("% right     whole   half removed   norms computed anew")
for s, one in enumerate(nets):
    removed = pruning.remove_units(one, *strongest(one))
    print(f"seed {s}: {right(one):10.1f} {right(removed):14.1f} {right(renewed(removed)):21.1f}")

# %% [markdown] constant
# ## Predict: a filter of zeros
#
# It is easier to set the weights of a filter to 0 than to remove its channel. We do that to half of the filters of
# conv1 and conv3, the first layers of the two blocks, and compare with the network from which these channels are
# *removed*. We ask both the same 1000 images. By how much do their logits differ at most? (Those of the whole network
# lie between the two numbers above.) Write your guess in place of `None`. It is not marked.

# %% constant-guess
my_guess = None

# %% constant-answer
inner = {name: kept[name] for name in ("conv1", "conv3")}
removed = pruning.remove_units(net, groups, inner)
print(f"your guess: {'none' if my_guess is None else my_guess}")
print(f"only the filters are 0:    {apart(pruning.mask_filters(net, groups, inner), removed):.2g}")
print(f"the filters and the norms: {apart(pruning.mask_units(net, groups, inner), removed):.2g}")

# %% [markdown] constant-why
# The second line is the control. The first comes from the constant in the mathematics, $\mathrm{ReLU}(\beta_u -
# \gamma_u \mu_u/\sigma_u)$. The next cell prints it for the channels of conv1 that went. (`eps` is a tiny number that
# keeps the norm from dividing by 0.)

# %% constant-shown
norm = net.norm1
deviation = (norm.running_var + norm.eps).sqrt()
constants = torch.relu(norm.bias - norm.weight * norm.running_mean / deviation).detach()
gone = [u for u in range(16) if u not in kept["conv1"].tolist()]
[round(x, 2) for x in constants[gone].tolist()]

# %% [markdown] constant-accuracy
# And what does it do to the accuracy?

# %% constant-measured
print("% right         removed   only filters 0     norms anew: removed   only filters 0")
for s, one in enumerate(nets):
    parts, stay = strongest(one)
    inner = {name: stay[name] for name in ("conv1", "conv3")}
    removed = pruning.remove_units(one, parts, inner)
    zeroed = pruning.mask_filters(one, parts, inner)
    print(f"seed {s}: {right(removed):15.1f} {right(zeroed):16.1f}", end="")
    print(f"{right(renewed(removed)):24.1f} {right(renewed(zeroed)):16.1f}")

# %% [markdown] constant-reading
# **Somebody masks filters, measures the accuracy, then removes the channels and ships the small network. What have they
# measured?**
#
# <details><summary>Answer</summary>
#
# Another network. It may be better or worse than the one they ship, and nothing says which. Often the constants even
# help: a constant may be nearer to what the next layer is used to than nothing at all. With the norms computed anew the
# two nearly agree, because the new means take the constants in.
# </details>

# %% [markdown] shapes
# ## Predict: the shapes fit
#
# Somebody prunes the stem and conv2 one by one: each keeps the half of *its own* filters that is strongest. At the plus
# eight channels meet eight channels, every shape fits, and the network runs. But the third channel of the one may have
# been channel 5, and the third of the other channel 7.
#
# Both this network and one with the right surgery are then *fine-tuned*: trained for three more epochs. By how many
# points of accuracy is the wrong one behind after that, on the test images? Write your guess (below 0 if you think that
# it is ahead).

# %% shapes-guess
my_guess = None

# %% shapes-answer
print(
    "                     % right: cut   norms anew   fine-tuned   logits, off the masked network"
)
for s, one in enumerate(nets):
    parts, stay = strongest(one)
    stem = {"stem": stay["stem"]}
    masked = pruning.mask_units(one, parts, stem)
    surgeries = {
        "linked": pruning.remove_units(one, parts, stem),
        "each its own": each_its_own(one, seed=s),
    }
    for name, cut in surgeries.items():
        (tuned,) = tested(name, data, seeds=[s])
        print(f"seed {s}, {name:12} {right(cut):11.1f} {right(renewed(cut)):12.1f}", end=" ")
        print(f"{tuned:12.2f} {apart(cut, masked):18.2g}")
behind = tested("linked", data) - tested("each its own", data)
print(f"your guess: {'none' if my_guess is None else f'{my_guess} points'}", end="; ")
print(f"behind by {behind.mean():.2f} points, {behind.min():.2f} to {behind.max():.2f}")

# %% [markdown] shapes-reading
# (The fine-tuned networks were trained and tested when the course was made, by `tested` in
# `shrink/chapters/structure/ways.py`. The last column is the largest difference of a logit from that of the masked
# network.)
#
# **Somebody has made only the wrong surgery and has no right one to compare it with. Which column shows the mistake?**
#
# <details><summary>Answer</summary>
#
# Only the last: it needs no other surgery to compare with, because it must be 0 up to rounding. Any accuracy after the
# cut could be what pruning costs. And fine-tuning repairs most of it or all, as it trains whatever it is given. **That
# a network runs and recovers does not show that the surgery was right.**
# </details>

# %% [markdown] time
# ## Predict: a quarter of the work
#
# The network with half of its units takes about a quarter of the MACs. How many times as fast as the whole network is
# it on your machine, for a batch of 64 images? Write your guess.

# %% time-guess
my_guess = None


# %% time-answer
def milliseconds(models, images):
    """How long each model takes: the best of five turns, as other programs only add to a time."""
    turns = [[latency.latency(model, images, 2, 8).low for model in models] for _ in range(5)]
    return [1000 * min(times) for times in zip(*turns, strict=True)]


shares = (1, 0.75, 0.5, 0.25)
smaller = [pruning.remove_units(net, *strongest(net, share)) for share in shares]
work = [macs(model) for model in smaller]
one, many = (milliseconds(smaller, asked.images[:n]) for n in (1, 64))
print(f"your guess: {'none' if my_guess is None else f'{my_guess} times'}")
print("units left   fewer MACs   faster, one image   faster, 64 images")
for i, share in enumerate(shares):
    times = [column[0] / column[i] for column in (work, one, many)]
    print(f"{100 * share:8.0f} % {times[0]:11.1f}x {times[1]:18.1f}x {times[2]:18.1f}x")

# %% [markdown] time-why
# Part of the time has nothing to do with the number of channels: each layer must be called. For one image that is most
# of it (chapter 01). And norms, ReLUs and pooling shrink like the channels, not like their square.
#
# But a convolution alone does not follow its MACs either. Here is one from 64 channels to $k$, on 64 images of 14 × 14.
# The dashed line is the time that $k$ channels would take if time followed MACs.

# %% time-steps
x = torch.randn(64, 64, 14, 14, generator=generator).to(image.device)
counts = (8, 12, 16, 17, 24, 31, 32, 33, 48, 64)
layers = [torch.nn.Conv2d(64, k, 3, padding=1, bias=False).to(x.device) for k in counts]
times = milliseconds(layers, x)
plot, (panel,) = plots.new(alt="Time of a convolution over its channels, beside a line", width=6)
plots.curves(panel, counts, {"measured": times})
panel.plot([0, 64], [0, times[-1]], "--", color=plots.COLOURS["dense"], label="by its MACs")
panel.set(xlabel="channels", ylabel="time, ms", title="one convolution", xticks=range(0, 65, 16))
panel.legend(fontsize="small")
print(", ".join(f"{k}: {time:.2f} ms" for k, time in zip(counts, times, strict=True)))
plot

# %% [markdown] time-reading
# **Between which neighbours does the time jump on your machine, and where does a channel less gain nothing?**
#
# <details><summary>Answer</summary>
#
# A processor computes several channels at once, often 8 or 16, and fills up the rest. So the time may climb in steps:
# where we measured, 17 channels took as long as 24 or 32. Only a measurement says where your steps are. For that
# `keep_per_group` has `multiple_of`: with `multiple_of=8` it leaves a multiple of 8 in each group.
# </details>

# %% [markdown] patterns
# ## Predict: half is half
#
# Whole filters are one extreme, and the single weights of chapter 02 the other. In between lie
#
# - *vector*: a row of a kernel goes, three weights;
# - *kernel*: what a filter does to one channel goes, nine weights;
# - *group*: the same place goes in all filters of a layer (not to be confused with a dependency group);
# - *2:4*: of each four weights that belong to four neighbouring input channels, the two largest stay. Some graphics
#   cards have circuits for that.
#
# The more freely a pattern chooses, the more bits must say what it has chosen. For a layer of $n$ weights that is $n$
# bits for single weights, $n/3$ for vectors, $n/9$ for kernels, one bit per place of a filter for groups, one bit per
# filter for filters, and $n$ for 2:4 (two bits for each weight that stays).
#
# Half of the weights of the five convolutions behind the stem become zero, each time those with the smallest sums of
# magnitudes. Nothing is trained. By how many points is *filter* behind single weights, on average over the three
# networks? Write your guess.

# %% patterns-guess
my_guess = None


# %% patterns-masked
def masked_by(net, pattern):
    """A copy in which the convolutions behind the stem have lost half of their weights."""
    model = copy.deepcopy(net)
    for layer in (model.conv1, model.conv2, model.down, model.conv3, model.conv4):
        weight = layer.weight.detach()
        if pattern == "2:4":
            weight *= pruning.n_of_m_mask(weight, 2, 4, axis=1)
        else:
            weight *= pruning.pattern_mask(weight, 0.5, pattern)
    return model


# %% patterns-answer
print("% right       as they are: seed 0, 1, 2, mean      norms anew: seed 0, 1, 2, mean")
means = {}
for pattern in ("weight", "vector", "kernel", "group", "filter", "2:4"):
    cut = [masked_by(one, pattern) for one in nets]
    as_is, anew = [right(one) for one in cut], [right(renewed(one)) for one in cut]
    means[pattern] = sum(as_is) / 3
    row = [*as_is, means[pattern], *anew, sum(anew) / 3]
    print(f"{pattern:9}" + "".join(f"{x:9.1f}" for x in row))
print(f"your guess: {'none' if my_guess is None else f'{my_guess} points'}", end="; ")
print(f"measured: {means['weight'] - means['filter']:.0f}")

# %% [markdown] patterns-reading
# **In which order do the patterns lose accuracy, and why? What do we get for the loss?**
#
# <details><summary>Answer</summary>
#
# The coarser, the more: in a filter large weights must go along with small ones. In the mean groups and filters lose
# most, and which of the two is worse depends on the network. 2:4 comes out near the vectors: single weights go, but
# only two of each four. For the loss the coarse patterns need fewer bits to say which weights are gone, and only the
# coarsest can become a network that is smaller for every machine. With 2:4 a machine that has the circuits can leave
# out half of the products; an ordinary processor gains nothing. (Filters are only zeroed here, so that all patterns are
# treated alike. And with norms anew the differences become much smaller.)
# </details>

# %% [markdown] worth
# ## Predict: the weights that stay
#
# We remove half of the units and fine-tune for three epochs. Does it matter which half? Here are five ways:
#
# - *smallest removed*: the units with the smallest L1 norm go, as above;
# - *random removed*: any units go;
# - *largest removed*: the ones with the **largest** L1 norm go;
# - *from scratch*: no trained weight stays. A network of the small size begins with new weights, and is trained for as
#   many epochs as the dense network and the fine-tuning took together;
# - *not pruned*: the whole network, trained three epochs longer.
#
# The first four networks end with the same shape. How many points of accuracy is *smallest removed* ahead of *from
# scratch*? Write your guess (below 0 if you think that it is behind).

# %% worth-guess
my_guess = None

# %% worth-answer
results = {way: tested(way, data) for way in WORTH}
print("test images right, %    seed 0      1      2     mean")
for way, found in results.items():
    print(f"{way:22}" + "".join(f"{x:7.2f}" for x in found) + f"{found.mean():9.2f}")
ahead = results["smallest removed"] - results["from scratch"]
print(f"your guess: {'none' if my_guess is None else my_guess}", end="; ")
print(f"measured: {ahead.mean():+.2f} points, {ahead.min():+.2f} to {ahead.max():+.2f}")

# %% worth-shown
plot, (panel,) = plots.new(alt="Accuracy of three seeds, for each of the five ways", width=7)
for place, (way, found) in enumerate(results.items()):
    kind = {"from scratch": "fine-tuned", "not pruned": "dense"}.get(way, "pruned")
    panel.plot([place] * len(found), found, "o", color=plots.COLOURS[kind])
panel.set_xticks(range(len(results)), results)
panel.set(ylabel="test images right, %", title="each dot is a network; blue ones were pruned")
plot

# %% [markdown] worth-reading
# (We read the test images for these figures, and decide nothing by them.)
#
# **What have the weights that we kept been worth? And is the comparison fair?**
#
# <details><summary>Answer</summary>
#
# Nothing that three seeds could show. The same shape with new weights is better after as many epochs, or as good up to
# two images in a thousand. And it has cost *less*, because most epochs of the pruned one were spent on the large
# network. So what pruning has found is at best a *shape*, and half of everything is a shape that we could have written
# down without it. Zhuang Liu et al. (2019) found the same on large networks. The section on the papers has five seeds,
# and asks how much it matters which half goes.
#
# Is it fair? In epochs, yes. More epochs of fine-tuning may close a gap, and they would not be free. Pruning still has
# its place: when a trained network is at hand, and the data or the time to train another are not.
# </details>

# %% [markdown] explore
# ## Explore
#
# Above: every weight of the network is a pixel, blue where it stays. In each layer the rows make channels and the
# columns read them. Marks at the right side are the channels that a layer makes, those above it the channels that it
# reads, in the colour of their group. At each plus thin lines join the channels that are added. The sentence on top
# compares the network with the masked one, which has zeros in everything that goes.
#
# Below, left: the accuracy over the share that is kept, on 500 validation images, which we may look at as often as we
# like. The band is three networks of different seeds. The stars are networks with half of the channels that began with
# new weights (*from scratch* above). Right: how long one convolution from 64 channels takes, over the channels that it
# makes, once you have measured it; the thin line is the share on show.
#
# *linked* removes channels as the dependency groups say. Under *each its own* every layer chooses for itself, and
# *zeros only* sets filters to 0 and removes nothing. *by* is the score; *gamma* is the magnitude of the norm's scale.
# Filters go from all four dependency groups, weights from the five convolutions behind the stem. Under *mine* your
# function chooses the filters of each group; where two layers make it, it is given the filters of both side by side,
# as one tensor.

# %% explore-structure
explorer = explore_structure(data, filters_to_keep)
explorer

# %% [markdown] explore-questions
# The buttons beside *try* set what the questions are about. *Start* does what stands above it: it fine-tunes the
# network on show for three epochs, or it measures times.
#
# 1. *zeros*: A quarter of the filters is zero. **How far is that from the network without these channels?** Press
#    *linked*, and then *anew*: **how much of the damage was the norms'?**
# 2. *own choice*: **Which channels do the lines of the shortcuts add?** Press *Start*, here and under *linked*: **which
#    number tells the wrong surgery from the right one, before and after?**
# 3. *time*: Press *Start*. **Which part of the multiply-accumulates is left, and which of the time? At which numbers of
#    channels does the time of a convolution jump?**
# 4. *scratch*: Press *Start*, then once more by *random*. **Where do the two lie beside the stars, the same small
#    network with new weights?** (One run is one seed.)
# 5. *patterns*: Go on to *vector*, *kernel*, *group*, *2:4* and to *filter* with *zeros only*. **What does the pattern
#    cost, and which of them saves multiply-accumulates?**
#
# <details><summary>Answers</summary>
#
# 1. As far as two networks that have little in common: the logits differ by numbers as large as they are themselves.
#    The marks show why: with *zeros only* every channel is still there, and every reader still reads it. *linked* is
#    equal to the masked network up to rounding, and its accuracy may still be low. With the norms anew most of the
#    damage is gone, also under *zeros only*: there the new means take the constants in.
# 2. Slanted lines join channels of different numbers, so the network adds what was never added. Accuracy tells nothing:
#    both are bad before, and after three epochs both are good. Only the difference from the masked network tells, and
#    only *before* the fine-tuning, when it should be 0.
# 3. About a quarter of the multiply-accumulates, and more than a quarter of the time, most so for one image. In steps,
#    behind 16, 32 and 48 on processors that compute 16 channels at once; on others the steps may be 8 wide, or smooth.
#    Between two steps fewer channels save nothing.
# 4. Below the stars, or within a few images of them; it depends on the data. The stars have had as many epochs as the
#    dense network and the fine-tuning together, most of them cheap ones, so the weights that were kept are worth little
#    or nothing.
# 5. Single weights lose least; rows, kernels and 2:4 lie between; groups and whole filters lose most (and one network
#    of the three far more than another: look at the band). None of these masks saves a multiply-accumulate; only
#    channels that are *removed* do.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function until your own
# passes its check. After the first, go back to the explorer and set *filters by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`, `itertools`, `functools`,
# `operator`, `collections`, `heapq`, `bisect`, `statistics`, `fractions`, `random`, `re`, `copy`, `time`, `typing`,
# `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Filters to keep (core, 10 minutes)
#
# Write `filters_to_keep(weight, count)`: the numbers of the `count` filters with the largest L1 norm, the sum of the
# absolute values of all weights of the filter. `weight` is float, (out, in, height, width), and filter $i$ is
# `weight[i]`. Return int64, (count,), in ascending order. Where norms are equal, any of these filters may stay.
#
# Example: three filters of one weight each, `[3.0, -5.0, 1.0]`, have the norms 3, 5 and 1. With `count=2` the answer
# is `[0, 1]`.
#
# <details><summary>Hint</summary>
#
# `sum` takes several axes at once: which of the four are added up, and which one is left? `argsort` or `topk` gives
# you positions, in the order of the norms.
# </details>


# %% exercise-1-answer
@filters_to_keep.answer
def filters_to_keep(weight, count):
    """Return the numbers of the filters that stay, int64 (count,), ascending."""
    ### BEGIN SOLUTION
    norms = weight.detach().abs().sum((1, 2, 3))
    return norms.topk(count).indices.sort().values
    ### END SOLUTION


# %% exercise-1-check
filters_to_keep.check()

# %% [markdown] exercise-2
# ### 2 · Remove channels (core, 15 minutes)
#
# A convolution, its batch norm and the next convolution, each a dict of tensors:
#
# | dict | name and shape of each tensor |
# |---|---|
# | `conv` | `"weight"` (out, in, height, width), `"bias"` (out,) |
# | `norm` | `"weight"` and `"bias"` (scale and shift), `"running_mean"`, `"running_var"`, each (out,) |
# | `following` | `"weight"` (next, out, height, width), `"bias"` (next,) |
#
# Write `remove_channels(conv, norm, following, kept)`. `kept` are the numbers of the channels that stay: int64, (k,),
# rising. Return the three smaller dicts, `(conv, norm, following)`, with the same names in them and the channels in
# the order of `kept`. They must compute what the large layers compute when everything of the other channels is zero.
# Do not change the dicts and tensors that you are given.
#
# Example with three filters of one weight each, 1, 2 and 3, and biases 10, 20 and 30. The next layer has one filter,
# which reads the three channels with 4, 5 and 6. With `kept = [0, 2]` the filters 1 and 3 are left, with biases 10 and
# 30 and the first and third number of each tensor of the norm, and the next layer reads with 4 and 6.
#
# <details><summary>Hint</summary>
#
# Of each tensor ask which axis has one entry per channel: `t[kept]` takes entries along axis 0, `t[:, kept]` along
# axis 1. One of the eight tensors has no such axis.
# </details>


# %% exercise-2-answer
@remove_channels.answer
def remove_channels(conv, norm, following, kept):
    """Return (conv, norm, following), smaller."""
    ### BEGIN SOLUTION
    conv = {name: tensor[kept] for name, tensor in conv.items()}
    norm = {name: tensor[kept] for name, tensor in norm.items()}
    following = {"weight": following["weight"][:, kept], "bias": following["bias"]}
    return conv, norm, following
    ### END SOLUTION


# %% exercise-2-check
remove_channels.check()

# %% [markdown] exercise-3
# ### 3 · A linear layer after flatten (core, 15 minutes)
#
# `flatten` turns each image of (channels, height, width) numbers into one row. All places of channel 0 come first, then
# all places of channel 1, and so on. A linear layer that reads such rows has one column per channel *and* place.
#
# Write `remove_inputs(weight, kept, places)`. `weight` is float, (outputs, channels · places); `places` is height ·
# width; `kept` are the numbers of the channels that stay, int64, (k,), rising. Return the new weight, (outputs, k ·
# places). From the channels that stay, the layer must compute what it computed from all of them when the others were
# zero. (The bias, one number per output, stays as it is.) Do not change `weight`.
#
# Example with three channels of two places: `[[1, 2, 3, 4, 5, 6]]`, `kept = [0, 2]` and `places = 2` give
# `[[1, 2, 5, 6]]`.
#
# <details><summary>Hint</summary>
#
# Which column belongs to channel c and place p? Or give the weight the axis that `flatten` took away:
# `weight.unflatten(1, (-1, places))` is (outputs, channels, places).
# </details>


# %% exercise-3-answer
@remove_inputs.answer
def remove_inputs(weight, kept, places):
    """Return the new weight, (outputs, k * places)."""
    ### BEGIN SOLUTION
    return weight.unflatten(1, (-1, places))[:, kept].flatten(1)
    ### END SOLUTION


# %% exercise-3-check
remove_inputs.check()

# %% [markdown] exercise-4
# ### 4 · A residual block (more, 15 minutes)
#
# This is how our network begins; its convolutions have no bias:
#
# ```
# h = relu(norm0(stem(x)))
# h = relu(h + norm2(conv2(relu(norm1(conv1(h))))))
# down(h)
# ```
#
# Write `shrink_residual(state, count)`. `state` maps names to tensors as `state_dict()` does: `"stem.weight"`,
# `"norm0.weight"`, `"norm0.bias"`, `"norm0.running_mean"`, `"norm0.running_var"`, `"norm0.num_batches_tracked"`, and
# so on for conv1, norm1, conv2, norm2 and down. Only `count` of the channels that are added at the plus stay: those
# with the largest scores, where a channel's score is the L1 norm of its filter in the stem *plus* that of its filter
# in conv2. Return a new dict with the same names. Where channels tie, either may stay. The channels may stand in any
# order, the same in all tensors. Tensors without these channels stay as they are, and so does `num_batches_tracked`,
# one number for the whole norm. Do not change what you are given.
#
# Example with three channels: their scores are 5, 1, 2 in the stem and 1, 4, 4 in conv2, so 6, 5, 6 together. With
# `count = 2` channels 0 and 2 stay, though conv2 alone would have kept 1 and 2.
#
# <details><summary>Hint</summary>
#
# Follow the channels through the three lines: two convolutions *make* them, two norms scale them, and two convolutions
# *read* them. `topk(count).indices` finds the largest scores.
# </details>


# %% exercise-4-answer
@shrink_residual.answer
def shrink_residual(state, count):
    """Return the new state."""
    ### BEGIN SOLUTION
    scores = sum(state[name].abs().sum((1, 2, 3)) for name in ("stem.weight", "conv2.weight"))
    kept = scores.topk(count).indices.sort().values
    new = dict(state)
    for name, tensor in state.items():
        layer = name.split(".")[0]
        if layer in ("stem", "norm0", "conv2", "norm2") and tensor.dim() > 0:
            new[name] = tensor[kept]
        if layer in ("conv1", "down"):
            new[name] = tensor[:, kept]
    return new
    ### END SOLUTION


# %% exercise-4-check
shrink_residual.check()

# %% [markdown] exercise-5
# ### 5 · N of M (more, 12 minutes)
#
# Sparse tensor cores, which NVIDIA builds into its GPUs, are made to multiply twice as fast where of *each* four
# neighbours in a row two are zero: 2:4 (Mishra et al. 2021). Write `n_of_m(weight, n, m)`: a bool mask, True = keep,
# that keeps of each m neighbours in a row the n with the largest magnitudes. `weight` is float, (rows, columns), and m
# divides the number of columns, so that the first m columns are the first block. Exactly n stay in each block. Where
# magnitudes are equal, any of these weights may stay.
#
# Example: with n = 2 and m = 4, `[[0.5, -4.0, 2.0, 1.0]]` becomes `[[False, True, True, False]]`.
#
# <details><summary>Hint</summary>
#
# `weight.reshape(-1, m)` has one block per row. Give `topk` the magnitudes and it finds n positions in each row;
# `scatter_` writes True at positions. What would a threshold do with the block `[1.0, 3.0, 3.0, 3.0]`?
# </details>


# %% exercise-5-answer
@n_of_m.answer
def n_of_m(weight, n, m):
    """Return a bool mask of the weight's shape."""
    ### BEGIN SOLUTION
    blocks = weight.detach().abs().reshape(-1, m)
    kept = blocks.topk(n).indices
    mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, kept, True)
    return mask.reshape(weight.shape)
    ### END SOLUTION


# %% exercise-5-check
n_of_m.check()

# %% [markdown] exercise-6
# ### 6 · Break the surgery (more, 10 minutes)
#
# A test is worth something if wrong code fails it. Here is a net that is small enough to write by hand. `image` has
# one number per place, and the two convolutions have kernels of one weight, so channel u of the first has `stem[u] *
# image`, and `conv` is a matrix, (channels, channels):
#
# ```
# h = relu(gamma * (stem * image - mean) / sqrt(var + 1e-5) + beta)     (channels, places)
# h = relu(h + conv @ h)                                               (channels, places)
# output = sum(fc * h.flatten())                                       one number
# ```
#
# The channels `kept` stay, k of them. The right surgery takes their entries of `stem`, `gamma`, `beta`, `mean` and
# `var`, their rows *and* columns of `conv`, and all their columns of `fc`. These four surgeries are wrong:
#
# | | what it does |
# |---|---|
# | filters only | sets `stem[u]` and row u of `conv` to 0 for each channel u that goes, and removes nothing |
# | first statistics | takes `mean[:k]` and `var[:k]`; all else is right |
# | own choice | keeps those k rows of `conv` that have the largest L1 norms, whatever `kept` says; all else is right |
# | one column per channel | takes `fc[kept]`; all else is right |
#
# Return a pair `(net, kept)` on which **each of the four** differs from the right surgery: its output is at least 0.1
# away, or it does not run at all. `kept` is a list of numbers that rise: not empty, and not all channels. At most four
# channels and four places; numbers from -10 to 10, those in `var` at least 0.1. On this pair all four are right:
#
# ```
# net = {
#     "stem": [1, 1], "gamma": [1, 1], "beta": [0, 0], "mean": [0, 0], "var": [1, 1],
#     "conv": [[1, 0], [0, 1]], "fc": [1, 1], "image": [1],
# }
# return net, [0]
# ```
#
# <details><summary>Hint</summary>
#
# Begin with this pair, and change something for one surgery at a time; the check says which still hide. What does the
# norm make of a filter of zeros? Which channels must stay so that they are not the first k? How many columns of `fc`
# belong to a channel when there are two places?
# </details>


# %% exercise-6-answer
@break_the_surgery.answer
def break_the_surgery():
    """Return (net, kept)."""
    ### BEGIN SOLUTION
    net = {
        "stem": [1, 1],
        "gamma": [1, 1],
        "beta": [1, 0],  # channel 0 goes, and its zeros become 1
        "mean": [0, 1],  # that of channel 1 is not the first
        "var": [1, 1],
        "conv": [[2, 2], [0, 1]],  # row 0 is stronger than row 1
        "fc": [1, 1, 1, 1],
        "image": [1, 2],  # two places, two columns per channel
    }
    return net, [1]
    ### END SOLUTION


# %% exercise-6-check
break_the_surgery.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# Three rows for the running table, each written to a file, read back and tested on the **test** images. (Chapter 01
# explains the columns.)

# %% bill-table
rows = {
    "dense, residual": net,
    "half the units, fine-tuned": finished("smallest removed", data, seed),
    "half the units, from scratch": finished("from scratch", data, seed),
}
for name, model in rows.items():
    report = measure.measure(name, model, data.test, data.name, "results/model.safetensors")
    table = measure.record(report)
table

# %% [markdown] bill-reading
# **Which columns have moved that no row of chapter 02 moved? And what would you tell somebody who sees only the first
# two rows?**
#
# <details><summary>Answer</summary>
#
# Parameters and MACs: the network is smaller for everybody, without a sparse format and without a program that knows of
# zeros. The file and the energy follow. The time does too, by less. The first two rows lack the control: without the
# third they look like a success of pruning.
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **The weights that pruning keeps are worth no more than new ones**, as we have seen: that is the main failure of this
# chapter. Here is another.
#
# **One ranking for all groups starves some of them.** Chapter 02 ranked the weights of all layers together. We do the
# same with units: rank those of all groups by their L1 norm, and remove the lower half. But an L1 norm is a sum, and it
# is larger where a unit has more weights. So we also rank by means: each sum divided by its number of weights.

# %% breaks-ranking
terms = {"stem": 9 + 16 * 9, "conv1": 16 * 9, "down": 16 * 9 + 32 * 9, "conv3": 32 * 9}
print("% right, norms anew      the units that stay of", ", ".join(terms))
for s, one in enumerate(nets):
    parts, stay = strongest(one)
    sums = {name: pruning.group_scores(one, part, "l1") for name, part in parts.items()}
    means = {name: score / terms[name] for name, score in sums.items()}
    ways = {"per group": stay}
    ways |= {"sums": pruning.keep_across_groups(sums, 0.5)}
    ways |= {"means": pruning.keep_across_groups(means, 0.5)}
    for name, kept in ways.items():
        small = renewed(pruning.remove_units(one, parts, kept))
        print(f"seed {s}, {name:10} {right(small):5.1f}", [len(units) for units in kept.values()])

# %% [markdown] breaks-reading
# **What has each ranking done to the groups?**
#
# <details><summary>Answer</summary>
#
# By sums a group with many weights per unit stays whole, and the first block is left with very little: conv1 keeps a
# single channel, through which all that the block computes must pass. By means it is another group that is emptied.
# `keep_across_groups` always leaves a group its strongest unit; with a plain threshold even that one would go, and no
# signal would pass. Weights of different layers are simply not on one scale, and norms behind them undo whatever scale
# they have.
# </details>

# %% [markdown] meta
# ## Which widths? (more)
#
# We have taken the same share from every group. But nothing says that all groups should lose alike, and to try out a
# choice of widths we would have to train a network. *MetaPruning* (Zechun Liu et al. 2019) wants to know without
# training each. It trains **one network that makes the weights of all others**:
#
# - The *generator* gets the widths, each divided by the largest, and makes each layer's whole weight, for the largest
#   widths. The weight is then *cropped*: only its first rows and columns are used.
# - In each step of training the widths are drawn at random. The loss of the cropped network trains the generator.
# - A candidate is a crop. Its batch norm has no statistics of its own, so these are computed anew, as above.
# - *Evolution* then looks for the best widths within a band of MACs: the best candidates so far get children, by
#   *mutation* (a width is drawn anew) and *crossover* (each width comes from one of two parents).
#
# We try it on a small case that trains in seconds: three hidden layers of 4 to 64 units, with batch norm, on the
# images at half their height and width.

# %% meta-trained
space = pruning.SearchSpace(196, choices=[range(4, 65)] * 3, outputs=10)
generator = pruning.WeightGenerator(196, space.largest, 10, seed=seed)
few = Split(F.avg_pool2d(data.train.images[:12_000], 2), data.train.labels[:12_000])
drawn = pruning.RandomWidths(generator, space, seed=seed).to(few.images.device)
recipe = training.Recipe(epochs=12, weight_decay=0, batch_size=256)
training.train(drawn, few, recipe, seed=seed)
[tuple(w.shape) for w in generator((24, 24, 24))], space.macs((24, 24, 24))

# %% [markdown] meta-norm
# No network of 24, 24 and 24 units was trained by itself, and most likely none was drawn. How good are the weights
# that the generator makes for it, before and after batch norm is computed anew?

# %% meta-norm-shown
shown = Split(F.avg_pool2d(data.validation.images, 2), data.validation.labels)


def generated(widths, norms=True):
    """The accuracy in % of the network that the generator makes, on validation images."""
    net = pruning.perceptron(generator(widths))
    if norms:
        pruning.recompute_norms(net, few.images[:4000].split(1000))
    return 100 * training.accuracy(net, shown)


for widths in ((24, 24, 24), (10, 56, 54), (25, 5, 54)):
    before, after = generated(widths, norms=False), generated(widths)
    print(f"{widths}: {space.macs(widths)} MACs, {before:.1f} % right, then {after:.1f} %")

# %% [markdown] meta-search
# Now evolution, within 6000 MACs ± 5 %. It asks for the accuracy of a hundred candidates and trains none of them.

# %% meta-searched
near = pruning.SearchSpace(196, space.choices, 10, least_macs=5700, most_macs=6300)
found = pruning.evolve(generated, near, seed=seed, population=20, generations=5)
best = sorted(found, key=found.get, reverse=True)
for widths in (*best[:3], best[-1]):
    print(f"{widths}: {near.macs(widths)} MACs, {found[widths]:.1f} % by generated weights")

# %% [markdown] meta-predict
# A list of candidates with accuracies, made in seconds. But does the generator *rank* them as training would? A
# choice of widths is called a *structure*. On MNIST we drew 24 structures from this band, trained each by itself,
# twice, and did all of it for three seeds. Spearman's rank correlation says how well two orders agree: 1 is the same
# order, 0 none, -1 the reverse. Two trainings of the *same* 24 structures do not agree fully either: what they reach
# is the most that we can ask of any ranking, its *ceiling*.
#
# **What is the rank correlation of the generator's losses with those of the trained networks?**

# %% meta-guess
my_guess = None

# %% meta-ranked
ranked = reproduce.stored("metapruning")
plot, panels = plots.new(2, alt="Ranks of networks trained alone over the generator's, and again")
for panel, by, name in zip(panels, ("generator", "again"), ("generator", "ceiling"), strict=True):
    panel.plot(*ranked.ranks(by), ".")
    rho = np.mean(ranked.correlations(by))
    panel.set(ylabel="rank by loss, trained", title=f"{name}: rank correlation {rho:.2f}")
panels[0].set(xlabel="rank by loss, generated weights")
panels[1].set(xlabel="rank by loss, trained again")
print(f"your guess: {'none' if my_guess is None else my_guess}")
plot

# %% [markdown] meta-reading
# Each point is one structure of one seed; 1 is the best of 24. **Where do generator and training agree, among the good
# structures or among the bad ones? And two trainings?**
#
# <details><summary>Answer</summary>
#
# Among the bad ones: from rank 15 on nearly all points lie near the diagonal. The order of its first ten says next to
# nothing. Two trainings agree a little better there, but not much: good structures are too much alike for one training
# to tell them apart. So such a ranking helps to throw out bad structures.
# </details>

# %% meta-table
ranked

# %% [markdown] meta-verdict
# **Verdict: not reproduced**, and yet the generator ranks. Its order has a correlation of 0.77 with the loss of
# networks trained alone, where a second training of the same networks reaches 0.85. So it is nearly as good as a
# ranking can be.
#
# But the claim asked for more: the generator had to rank better than shared weights and better than the MACs, each
# time by an interval above 0. In the second row each layer has one weight, the same for all widths and cropped like
# the generated ones. It was trained with random widths too, and it ranks as well: the difference is -0.02, with an
# interval from -0.20 to +0.15. So it is not the *generator* that does it. The difference from the MACs is above 0 for
# each of the three seeds, but it varies so much that its interval reaches from -0.09 to +1.23.
#
# Evolution pays: what it finds errs 0.9 points less than structures drawn at random. The shared weights find networks
# as good. And three layers of 24 units, which nobody searched for, are within 0.2 points of both. **Before you believe
# in a search, try the plainest choice.**

# %% [markdown] class
# ## The class is the experiment
#
# Is the small network from scratch better for every seed, and at every size? Your name (a nickname will do) is the seed
# of *your* network. It learns from 4000 images for four epochs. Then a quarter, a half or three quarters of its
# channels stay, and it is fine-tuned for two epochs. Beside it stands a network of the same shape from scratch, with
# six epochs on the same images. **At which size do you expect the two to be furthest apart?** Write the name in place
# of `None`, run both cells, and send the file in `results` to your teacher. It takes about half a minute.

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    number = class_work.seed_of(my_name)
    few = Split(data.train.images[:4000], data.train.labels[:4000])

    def taught(model, epochs):
        """The accuracy on the validation images in %, after so many epochs."""
        recipe = training.Recipe(epochs, learning_rate=0.05, batch_size=32)
        training.train(model, few, recipe, seed=number)
        return 100 * training.accuracy(model, data.validation)

    mine = models.build("residual", number).to(few.images.device)
    taught(mine, epochs=4)
    parts = pruning.dependency_groups(mine, few.images[:1])
    scores = {name: pruning.group_scores(mine, part, "l1") for name, part in parts.items()}
    found = {"pruned, fine-tuned": {}, "from scratch": {}}
    for percent in (25, 50, 75):
        stay = pruning.keep_per_group(scores, percent / 100)
        hidden = tuple(len(units) for units in stay.values())
        fresh = models.build("residual", number, hidden=hidden).to(few.images.device)
        pruned = pruning.remove_units(mine, parts, stay)
        found["pruned, fine-tuned"][percent] = taught(pruned, epochs=2)
        found["from scratch"][percent] = taught(fresh, epochs=6)
    print(class_work.hand_in(EXPERIMENT, my_name, found, data.name))

# %% [markdown] paper
# ## The papers
#
# Two papers on the same question, which answer it differently:
#
# - Li, Kadav, Durdanovic, Samet and Graf, *Pruning Filters for Efficient ConvNets*, ICLR 2017, [arXiv
#   1608.08710](https://arxiv.org/abs/1608.08710). Read section 3: 3.1 is the L1 norm, 3.3 what to do across layers and
#   with residual blocks. Its claim: filters of small norm are the ones to remove. VGG-16 on CIFAR-10 has 6.75 % of the
#   test images wrong, and 6.60 % when 64 % of its parameters and 34 % of its operations are gone.
# - Liu, Sun, Zhou, Huang and Darrell, *Rethinking the Value of Network Pruning*, ICLR 2019, [arXiv
#   1810.05270](https://arxiv.org/abs/1810.05270). Read the introduction, and section 3 for what they call a fair
#   comparison. Its claim: the small network, trained from scratch, is as good as the one that was pruned and
#   fine-tuned, or better. ResNet-34 on ImageNet, pruned as Li et al. do it: 72.56 % right fine-tuned, 72.77 % from
#   scratch.
#
# Read both with a pencil:
# - From 6.75 to 6.60 % are 15 test images of 10,000. Where 660 errors are expected, chance alone moves the count by
#   about 26, $\sqrt{660}$.
# - Which epochs count? Before the pruned network was fine-tuned, the large one was trained. Liu et al. give the small
#   network as many epochs as the large one had. We give it those of the fine-tuning too.
# - In a residual block Li et al. let the shortcut decide which channels stay. We add up the norms of all layers that
#   make the channel.

# %% [markdown] paper-ours
# Below is what `shrink reproduce structured` gave on MNIST, for five networks each: the network of this chapter, half
# of the units of each group removed, in three ways. The recipe and the rules of the verdict were fixed before a test
# error was read. *No worse* leaves room for 0.1 points, ten images of 10,000. Brackets have the range over the seeds;
# intervals are paired, 95 %.

# %% paper-table
result = reproduce.stored("structured")
result

# %% [markdown] paper-verdict
# **Verdict.** *From scratch is no worse*: reproduced. At as many epochs the small network errs on 0.68 % of the test
# images from scratch and on 0.91 % pruned and fine-tuned; the interval of the difference, -0.41 to -0.04 points, lies
# below zero. Two epochs of fine-tuning are few. And the pruned network's six epochs are two schedules, one of four
# and one of two, where the six from scratch are a single one. So more or longer fine-tuning may close the gap. It
# would not be free.
#
# *The smallest are the ones to remove*: partly. Fine-tuned, the network without its smallest units errs less than the
# one without random ones, 0.91 against 1.09 %, but with these five seeds the interval of the difference, -0.46 to
# +0.09, includes zero.
#
# So does the L1 norm say nothing? Look at the second table. Right after the removal all answer little better than by
# guessing. With batch norm computed anew, 24 % are wrong without the smallest units, 67 % without random ones and 86 %
# without the largest. The L1 norm does say which units matter. Then two epochs of fine-tuning make up for almost all of
# it.
#
# What we did not do: Liu et al. also grant the small network as much *computation* as the large one had.
#
# You can now take whole units away, test that nothing else has changed, and say what that buys. The magnitude of a
# weight has been our only guide to what matters. The next chapter looks for a better one.
