# %% [markdown] title
# # 01 · Measure: what a network costs
#
# **You will** count what two small networks compute for one image, measure how long it takes them, and
# estimate the energy. The three figures do not agree, and you will find out why.
#
# **You will be able to**
# - count parameters, bytes and multiplications of any network, and say what each count is good for,
# - time a network so that others can judge the figure, and say what limits it on your machine,
# - tell a count from a measurement and a measurement from an estimate.
#
# **You need** some PyTorch (five cells near the top tell you whether it is enough) and 90 minutes, 40 of
# them for the three core exercises; those marked *more* take another 25. Run the cells from the
# top; where a cell says *exercise*, write the function yourself. No GPU is needed.

# %% setup
import math
import time

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost, latency
from shrink.chapters.measure import (
    EXPERIMENT,
    conv_macs,
    drawings,
    fewer_but_slower,
    layer_energy,
    parameters_and_bytes,
    time_call,
)
from shrink.chapters.measure.explorer import explore_costs
from shrink.chapters.measure.units_explorer import explore_units
from shrink.classroom import class_work, measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load, ten_digits

seed = 0
data = load(device=training.pick_device())

# %% [markdown] first-look
# ## A first look
#
# Take a network with one hidden layer: 784 numbers, one for each pixel of an image, go into the *units* of that
# layer, and the units into 10 outputs, one for each digit. Each of its weights takes one *multiply-accumulate* for an
# image: a product, added to a sum. The slider sets the number of units. The multiply-accumulates are counted, the time
# for an image is measured on your machine.
#
# **Halve the units again and again. What becomes of the count, and what of the time? Where do the two part?** Why
# they do is what this chapter is about.

# %% first-look-explorer
explore_units(device=data.validation.images.device)

# %% [markdown] selftest
# ## Five cells of PyTorch
#
# Before you run each of the next five cells, say what it will show. If two or more do not come out as you said,
# spend an hour with PyTorch's own
# [beginner's tutorial](https://docs.pytorch.org/tutorials/beginner/basics/intro.html) first. It will be
# well spent.
#
# **1.** Which shape?

# %% selftest-1
images = torch.rand(64, 1, 28, 28)
images.flatten(1).shape

# %% [markdown] selftest-2-text
# **2.** True or False? And what is `torch.no_grad()` good for?

# %% selftest-2
layer = nn.Linear(784, 300)
with torch.no_grad():
    y = layer(images.flatten(1))
y.requires_grad

# %% [markdown] selftest-3-text
# (`torch.no_grad()` saves the time and memory that gradients would need. We measure under it.)
#
# **3.** A *hook* is called each time a layer runs. How many lines are printed?

# %% selftest-3
hook = layer.register_forward_hook(lambda layer, inputs, output: print(output.shape))
layer(torch.rand(2, 784))
hook.remove()
_ = layer(torch.rand(3, 784))

# %% [markdown] selftest-4-text
# **4.** Which names and shapes? (This dictionary is what a file of the network holds.)

# %% selftest-4
{name: tuple(tensor.shape) for name, tensor in nn.Linear(3, 2).state_dict().items()}

# %% [markdown] selftest-5-text
# **5.** How many bits does it take to number 300 units? (Later chapters store such numbers.)

# %% selftest-5
math.ceil(math.log2(300))

# %% [markdown] problem
# ## The problem in one number
#
# LeNet-300-100 recognises a digit of 28 by 28 pixels. The 784 pixels feed 300 units, these feed 100, and these 10.
#
# The digits are the handwritten ones of MNIST or, if that has not been downloaded, *glyphs*: synthetic digits, drawn
# from fonts. The line that begins with `data:` at the top says which. They are split in three: networks are trained on
# one part, every choice is made on the *validation* images, and the *test* images are kept for the final figures.
#
# For one image LeNet-300-100 does 784 · 300 + 300 · 100 + 100 · 10 = 266,200 multiply-accumulates, or *MACs*.
#
# How many of them can your machine do in a second? We measure it on two products of large matrices, which is
# what it does best. (`measure_roofs` also measures how fast memory is; we need that later.) So we know how
# long an image should take, and we measure how long it does take.

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
image = data.validation.images[:1]

roofs = latency.measure_roofs(image.device)
should = 2 * 266_200 / roofs.flops  # a multiply-accumulate is two operations
takes = latency.latency(net, image)
print(f"the machine: {roofs.flops / 2e9:.0f} billion multiply-accumulates a second")
print(f"an image should take {1e6 * should:.1f} µs, and takes {1e6 * takes.median:.1f} µs")
print(f"that is {takes.median / should:.0f} times as long")

# %% [markdown] problem-where
# **Where does the rest of the time go?** Keep your guess; we come back to it. A network has several costs, and
# they are not proportional to each other. We take them one by one.
#
# Several of them depend on *memory*. A processor computes with numbers on its own chip. There it has little room, some
# megabytes of *SRAM*, which a PC uses as a *cache*: it holds copies of the numbers used last. All other numbers
# lie in *DRAM*, on other chips. That is gigabytes large, but slow and costly to reach.

# %% [markdown] by-hand
# ## One layer by hand
#
# A linear layer with 3 inputs and 2 outputs, in 32-bit floats. Cover the last column, and count.
#
# | | how many | |
# |---|---|---|
# | parameters | 3 · 2 weights and 2 biases | 8 |
# | bytes | 4 each | 32 |
# | multiply-accumulates for one image | one for each weight | 6 |
# | numbers read or written | 8 parameters, 3 inputs, 2 outputs | 13 |
# | operations per byte, two for each multiply-accumulate | 2 · 6 / (4 · 13) | 0.23 |
# | energy of the arithmetic, 4.6 pJ per multiply-accumulate | 6 · 4.6 pJ | 27.6 pJ |
# | energy to fetch the parameters from DRAM, 640 pJ each | 8 · 640 pJ | 5120 pJ |
#
# A picojoule (pJ) is a millionth of a millionth of a joule. The two prices are those of Horowitz (2014),
# for the chips of that time. **The layer spends 186 times as much energy on fetching its parameters as on computing
# with them.** That is why it pays to make a network small, even where nobody minds a long file.

# %% by-hand-code
tiny = nn.Linear(3, 2)
(layer,) = cost.layers(tiny, torch.zeros(1, 3))
print(parameters_and_bytes(tiny), layer, f"{cost.intensity(layer):.2f} operations per byte")

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $C, K$ | `in_channels`, `out_channels` | channels that go in, channels that come out |
# | $g$ | `groups` | the channels fall into $g$ groups that do not see each other; usually 1 |
# | $h, w$ | `kernel_size` | height and width of the kernel, a window of weights that moves over the image |
# | $H, W$ | `size` | height and width of the image |
# | $s, p$ | `stride`, `padding` | the kernel moves by $s$; $p$ zeros stand on each side |
# | $B$ | `batch` | images that go through a layer together |
#
# From top to bottom of an image of height $H$, a kernel stops at
#
# $$H' = \left\lfloor \frac{H + 2p - h}{s} \right\rfloor + 1$$
#
# places; from left to right at $W'$, by the same formula. At each place the layer gives one number for each of its $K$
# output channels: a sum over the kernel and over the input channels of one group. So
#
# $$\text{MACs} = K\,H'\,W' \cdot \frac{C}{g}\,h\,w$$
#
# A linear layer has only one place: its MACs are inputs times outputs.
#
# The *arithmetic intensity* $I$ of a layer is the number of operations that it does for each byte that it moves.
# Parameters move once for the whole batch, inputs and outputs once for each image. A multiply-accumulate is two
# operations, and a float32 is four bytes:
#
# $$I = \frac{2 \cdot B \cdot \text{MACs}}{4\,\big(\text{parameters} + B\,(\text{inputs} + \text{outputs})\big)}
# \text{ operations per byte}$$

# %% mathematics-code
conv = nn.Conv2d(20, 50, kernel_size=5)
conv_macs(conv, (12, 12))  # 50 x 8 x 8 numbers, each the sum of 20 x 5 x 5 products

# %% [markdown] naive
# ## First in slow motion, then at once
#
# A convolution as loops, without padding and groups, with a counter in the innermost loop. It is the definition, and far
# too slow to use.


# %% naive-code
def convolve(image, kernel, stride):
    """image (C, H, W), kernel (K, C, h, w) → the output, and the multiply-accumulates it took."""
    (k_out, channels, h, w), macs = kernel.shape, 0
    places = [range(0, n - k + 1, stride) for n, k in zip(image.shape[1:], (h, w), strict=True)]
    output = torch.zeros(k_out, len(places[0]), len(places[1]))
    for k in range(k_out):
        for i, top in enumerate(places[0]):
            for j, left in enumerate(places[1]):
                for c in range(channels):
                    patch = image[c, top : top + h, left : left + w]
                    output[k, i, j] += (patch * kernel[k, c]).sum()
                    macs += patch.numel()
    return output, macs


# %% [markdown] naive-agree-text
# The loops, PyTorch's convolution and the formula agree. So does PyTorch's own counter. It watches the layers run,
# and counts two operations for each multiply-accumulate.

# %% naive-agree
small = nn.Conv2d(2, 3, kernel_size=3, stride=2, bias=False)
picture = torch.rand(2, 9, 8)
output, counted = convolve(picture, small.weight.detach(), stride=2)
with FlopCounterMode(display=False) as counter, torch.no_grad():
    same = torch.allclose(small(picture[None])[0], output, atol=1e-5)
print(same, counted, conv_macs(small, (9, 8)), counter.get_total_flops() // 2)

# %% [markdown] real
# ## Two real networks
#
# Beside LeNet-300-100 we take LeNet-5, a convolutional network for the same images: two convolutions, each
# followed by pooling, then two linear layers. Both come trained. These ten images, one of each digit, come
# back in every chapter, and above each stands LeNet-5's answer.

# %% real-digits
net5 = baseline("lenet-5", data, seed=seed)
networks = {"lenet-300-100": net, "lenet-5": net5}
ten = ten_digits(data)
plots.digits(
    ten.images[:, 0].cpu().numpy(), [str(a) for a in training.predict(net5, ten.images).tolist()]
)

# %% [markdown] real-counts-text
# `cost.layers` sends an image through a network and looks at each layer with a hook.

# %% real-counts
for name, model in networks.items():
    print(f"{name}: {parameters_and_bytes(model)[0]:,} parameters")
    for layer in cost.layers(model, image):
        print(f"  {layer.name:6} {layer.parameters:8,} parameters {layer.macs:10,} MACs per image")

# %% real-shares
plot, panels = plots.new(2, alt="Share of parameters and of multiply-accumulates, layer by layer")
for panel, (name, model) in zip(panels, networks.items(), strict=True):
    found = cost.layers(model, image)
    shares = {
        "parameters": [layer.parameters for layer in found],
        "MACs": [layer.macs for layer in found],
    }
    shares = {what: 100 * np.array(n) / sum(n) for what, n in shares.items()}
    plots.bars(panel, [layer.name for layer in found], shares)
    panel.set(ylabel="share of the network, %", title=name, ylim=(0, 115))
plot

# %% [markdown] real-reading
# LeNet-300-100 uses each weight once per image, so the two shares are nearly the same. In LeNet-5 they are
# not. **Which of its layers would you shrink to make the file shorter, and which to save arithmetic?**
#
# <details><summary>Answer</summary>
#
# For the file fc1, for arithmetic conv2: a kernel has few weights, and uses each at every place.
# "How many parameters?" is one question of several.
# </details>
#
# How long is the file? It holds the bytes of the parameters, and a header with their names and shapes.

# %% real-file
for name, model in networks.items():
    _, in_memory = parameters_and_bytes(model)
    on_disk = measure.write("results/model.safetensors", model.state_dict())
    print(f"{name}: {in_memory:,} bytes of numbers, {on_disk:,} bytes on disk")

# %% [markdown] latency
# ## Time: how to measure it
#
# We take a network that has not run before, and time the same call 200 times.

# %% latency-first
fresh = models.build("lenet-5", seed=1).to(image.device).eval()
microseconds = []
with torch.no_grad():
    for _ in range(200):
        began = time.perf_counter()
        fresh(image).argmax().item()  # .item() waits for a GPU
        microseconds.append(1e6 * (time.perf_counter() - began))

# %% latency-first-shown
plot, panels = plots.new(
    2, alt="Times of 200 calls in order, and their histogram with mean and median"
)
panels[0].plot(microseconds, ".", ms=4)
panels[0].set(xlabel="call", ylabel="time, µs", ylim=0, title="200 calls in order")
panels[1].hist(microseconds, bins=60)
panels[1].axvline(np.mean(microseconds), color="black", ls=":", label="mean")
panels[1].axvline(np.median(microseconds), color="black", label="median")
panels[1].set(xlabel="time, µs", ylabel="calls", title="how often each time came")
panels[1].legend()
plot

# %% [markdown] latency-rule
# The first calls ask for memory, fill caches, choose an algorithm, and often take longer. Some later ones are
# interrupted, because the machine has other things to do. A mean mixes all that, and a single call may be any
# of these dots. So we **make some calls before we time any, time many, report the median, and say between which times
# the middle half lies** (the quartiles). We add how many images went through together (the *batch*), the device,
# and the number of *threads*: the cores that work at the same time.
#
# Such a time can be judged, but it does not hold for ever. The quartiles say how calls differ within a second; a
# minute later all of them may be slower. **So compare only times that were taken side by side.**

# %% latency-networks
for name, model in networks.items():
    print(f"{name:13} {latency.latency(model, image)}")

# %% [markdown] latency-layers-text
# Now each layer alone, on the input that it gets inside the network, for 64 images. The last two lines are LeNet-5's
# poolings, which multiply nothing at all.

# %% latency-layers
batch = data.validation.images[:64]
for name, model in networks.items():
    macs = {layer.name: 64 * layer.macs for layer in cost.layers(model, batch)}
    for layer, found in latency.layer_latencies(model, batch).items():
        us = 1e6 * found.median
        print(
            f"{name:13} {layer:6} {macs[layer]:11,} MACs {us:6.0f} µs {macs[layer] / us:8,.0f} MACs per µs"
        )
for name, shape in {"pool1": (64, 20, 24, 24), "pool2": (64, 50, 8, 8)}.items():
    pool = latency.latency(nn.MaxPool2d(2), torch.rand(shape, device=image.device))
    print(f"lenet-5       {name:6} {0:11,} MACs {1e6 * pool.median:6.0f} µs")

# %% [markdown] latency-layers-reading
# If time followed arithmetic, every layer would do as many MACs per microsecond as the others, and pooling would be
# free. **Which layers do the most per microsecond, which the fewest? What do the slow ones have in common?**
#
# <details><summary>Answer</summary>
#
# Usually the large linear layers do the most, and fc3, with 1,000 MACs per image, the fewest: each call takes time to
# start, and the last layers have little to do once it has. The convolutions compute more than any other layer, and may
# still do only a third as many per microsecond as a large linear layer: how well PyTorch's code for a layer fits the
# processor counts too. Pooling multiplies nothing, but has to read every number all the same.
# </details>

# %% [markdown] roofline
# ## What limits a layer
#
# A processor computes, and it waits for numbers. It does at most $P$ operations a second, and gets at most $M$ bytes a
# second from memory. A layer that does $I$ operations for each byte cannot be faster than
#
# $$\min(P,\; M \cdot I) \text{ operations a second}$$
#
# That is the *roofline* (Williams et al. 2009). In the picture below, layers on the left are limited by memory, and
# layers on the right by arithmetic. We measured both roofs at the top: $P$ on products of large matrices, $M$ on
# the sum over an array too large for most caches. A second, faster $M$ comes from an array of four megabytes, which
# may fit into a cache, as our networks may. Each point is a layer as it ran.

# %% roofline-measured
points = {}
for batch in (1, 64):
    some = data.validation.images[:batch]
    for name, model in networks.items():
        times = latency.layer_latencies(model, some)
        points[f"{name}, batch {batch}"] = {
            layer.name: (
                cost.intensity(layer, batch),
                2 * layer.macs * batch / times[layer.name].median,
            )
            for layer in cost.layers(model, some)
        }

# %% roofline-shown
plot, (panel,) = plots.new(
    alt="Roofline with each layer's measured speed at batch 1 and 64", width=7, height=3.6
)
ceilings = {"memory": roofs.memory, "cache": roofs.cache}
drawings.roofline(panel, roofs.flops, ceilings, points)
panel.set(title=f"measured in float32, {takes.conditions}")
plot

# %% [markdown] roofline-reading
# A batch moves a linear layer to the right: its parameters are fetched once and used for each image.
# **Which points lie near a roof? Which lie far below, and why?**
#
# <details><summary>Answer</summary>
#
# Usually the large linear layers at batch 64 come nearest to the roof of arithmetic. At batch 1 they lie near a roof of
# memory. The smallest layers lie far below: each call of a layer takes some microseconds, however little it computes. A
# roof is a limit, not a promise.
#
# A point *above* the flat roof means that the machine was busy with something else while the roof was measured. Run the
# cell under *The problem in one number* again, and then the cells of this section.
# </details>
#
# Now we can say where the time of our one image went.

# %% roofline-answer
in_bytes = 4 * parameters_and_bytes(net)[0]
print(f"measured:                                {1e6 * takes.median:6.1f} µs")
print(f"to compute, at best:                     {1e6 * should:6.1f} µs")
print(f"to fetch the parameters from memory:     {1e6 * in_bytes / roofs.memory:6.1f} µs")
print(f"to fetch them from the cache, if there:  {1e6 * in_bytes / roofs.cache:6.1f} µs")

# %% [markdown] roofline-answer-reading
# **One image uses each weight once, and each weight has to come from somewhere.** Compare the lines. If
# fetching from memory would take longer than what we measured, some of the parameters came from the cache. A processor
# computes while it fetches, so a network of fewer bytes can be faster even if it computes as much. The rest of the time
# goes into calling the layers, some microseconds each; on a GPU that is most of it. It is also why count and time part
# in *A first look*: even a tiny network takes the time of its calls.

# %% [markdown] energy
# ## Energy: an estimate
#
# Nobody has a power meter at hand that resolves a microjoule. So we estimate, from a table that Horowitz published
# in 2014, for chips of 45 nm. In pJ:
#
# | | 32-bit float | 16-bit float | 8-bit integer |
# |---|---|---|---|
# | multiply | 3.7 | 1.1 | 0.2 |
# | add | 0.9 | 0.4 | 0.1 (to a 32-bit sum) |
#
# | read 32 bits from | 8 KB of SRAM, on the chip | 32 KB | 1 MB | DRAM |
# |---|---|---|---|---|
# | | 5 | 10 | 50 | 640 |
#
# (45 nm is the width of the smallest structures. A KB of memory is 1024 bytes, and a MB 1024 KB; where the course
# gives the length of a *file* in KB, a KB is 1000 bytes.) Each access to a large memory costs more than one to a small
# memory; between the sizes of the table we interpolate, on logarithmic scales. For a product of integers of fewer than
# 8 bits the table has no price: we take 0.2 pJ times (bits / 8)². Newer chips need less of everything, but fetching a
# number from far away still costs much more than computing with it.
#
# To get from prices to the energy of a network we need a machine, and we assume a simple one. For each image a layer
# reads its parameters and inputs from SRAM once, and writes its outputs there once. The inputs and outputs of the whole
# batch have the first claim on SRAM; then come as many parameters as fit, of all layers together. Parameters that do not
# fit come from DRAM once per batch. Outputs that do not fit are written to DRAM, and the next layer reads them there. We
# leave out instructions, control and leakage. **So compare these figures with each other; do not plan a battery with
# them.** (In exercise 3 you write this machine.)

# %% energy-price
price = cost.prices(on_chip=64 * 1024)
print(
    f"64 KB of SRAM: {price.sram:.1f} pJ for 32 bits; DRAM {price.dram:.0f}; a MAC {price.mac:.1f}"
)

# %% energy-networks
for name, model in networks.items():
    for batch in (1, 64):
        parts = cost.energy(cost.layers(model, image), on_chip=64 * 1024, batch=batch)
        micro = {
            part: sum(getattr(e, part) for e in parts) / 1e6
            for part in ("arithmetic", "sram", "dram")
        }
        print(
            f"{name:13} batch {batch:2}, estimate:",
            ", ".join(f"{p} {e:.1f} µJ" for p, e in micro.items()),
        )

# %% [markdown] energy-reading
# All these figures are per image. **For one image at a time, which part is largest? And for 64? Which parts have not
# changed?**
#
# <details><summary>Answer</summary>
#
# DRAM, by far. In a batch of 64, one fetch from DRAM serves 64 images: for LeNet-300-100 SRAM and DRAM then cost
# about the same, while LeNet-5 still pays most for DRAM. Arithmetic and SRAM have not changed.
# </details>

# %% [markdown] predict
# ## Predict
#
# We send 256 images through LeNet-300-100 at once. How many times as long does that take as sending one?
# Write your guess in place of `None`. It is not marked.

# %% predict-guess
my_guess = None

# %% predict-answer
one, many = (latency.latency(net, data.validation.images[:n]).median for n in (1, 256))
print(f"your guess: {'none' if my_guess is None else my_guess}; measured: {many / one:.1f} times")

# %% [markdown] predict-reading
# **Where does this factor come from?**
#
# <details><summary>Answer</summary>
#
# It is far below 256: each layer is called once for the whole batch, and its parameters come from memory once. Only the
# arithmetic grows 256 times, and it was only a part of the time of one image.
# </details>

# %% [markdown] explore
# ## Explore
#
# On the left energy is estimated and bytes are counted, over the same axis: the grey line marks the memory on the
# chip in both. On the right this machine is measured: each point is a layer in float32, at batches of 1 to 256. Each
# button beside *try* sets the state that a question begins with.

# %% explore-costs
explorer = explore_costs(layer_energy, device=image.device, roofs=roofs)
explorer

# %% [markdown] explore-questions
# 1. *memory*: Move the memory on chip up from 8 KB. **Where does the DRAM part vanish, and why there? Why does the
#    total rise again after that?**
# 2. *batch*: Move the batch up from 1. **Which part falls, and which stay?**
# 3. *LeNet-5*: LeNet-5, batch 256: **why has its DRAM part not vanished?**
# 4. *bits*: 256 KB on chip: go from 32 bits down. **At how many bits do all the parameters stay on the chip, and
#    what does that do to the energy?** The rest of this course is about getting there without losing the accuracy.
# 5. *roofs*: Move the batch down from 256. **Which layer is nearest to the roof of arithmetic, and which is always far
#    below? Why do neither the memory nor the bits move a point?**
#
# <details><summary>Answers</summary>
#
# 1. Where all parameters fit beside the inputs and outputs, at about 1 MB: just beyond the end of the parameters' bar.
#    After that a still larger SRAM only makes each access dearer.
# 2. DRAM falls, because the images of a batch share the parameters' way; arithmetic and SRAM stay.
# 3. LeNet-5's first layer gives 11,520 numbers for each image. For 256 images they do not fit on the chip, and go to
#    DRAM and back.
# 4. At 4 bits; at 8 they just do not fit. Fewer bits make every part cheaper, and where all fits, DRAM is gone.
# 5. Usually fc1, the largest; fc3 has too little to do in one call. The points were measured in float32 on this machine,
#    whose memory no slider changes.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function
# until your own passes its check. The library is there to be read, too. After the third, go back to
# the explorer and set *energy by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`,
# `itertools`, `functools`, `operator`, `collections`, `heapq`, `bisect`, `statistics`,
# `fractions`, `random`, `re`, `copy`, `time`, `typing`, `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Parameters and bytes (core, 10 minutes)
#
# Write `parameters_and_bytes(model)`: return two whole numbers, the number of parameters of a model, and the bytes
# of all numbers that its file must hold. These are the parameters and the *buffers*: numbers that belong to a model
# and are not trained, such as the running means of batch norm. The type of a number says how many bytes it takes. A
# tensor that is used in two places counts once. The function must work for any model.
#
# Example: `parameters_and_bytes(nn.Linear(3, 2))` is `(8, 32)`.
#
# <details><summary>Hint</summary>
#
# `model.parameters()` gives each tensor once, however often it is used; `state_dict()` does not. Where are the
# buffers? Which type has half the bytes?
# </details>


# %% exercise-1-answer
@parameters_and_bytes.answer
def parameters_and_bytes(model):
    """Return (parameters, bytes)."""
    ### BEGIN SOLUTION
    parameters = sum(p.numel() for p in model.parameters())
    tensors = [*model.parameters(), *model.buffers()]
    return parameters, sum(t.numel() * t.element_size() for t in tensors)
    ### END SOLUTION


# %% exercise-1-check
parameters_and_bytes.check()

# %% [markdown] exercise-2
# ### 2 · Multiply-accumulates of a convolution (core, 15 minutes)
#
# Write `conv_macs(layer, size)`: the multiply-accumulates of an `nn.Conv2d` for one image; `size` is its height and
# width. The layer knows its `in_channels`, `out_channels` and `groups`, and four pairs (height, width):
# `kernel_size`, `stride`, `padding` and `dilation`. Products with the zeros of the padding count, adding the bias
# does not.
#
# With a `dilation` of $d$ the kernel's numbers stand $d$ pixels apart, so the kernel reaches over $d\,(h - 1) + 1$
# pixels instead of $h$.
#
# Example: `conv_macs(nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=8), (4, 4))` is 288: 8
# channels of 2 by 2 numbers, each the sum of 9 products.
#
# <details><summary>Hint</summary>
#
# At how many places does the kernel stop down, and at how many across? (They may differ: everything is a pair.) So how
# many numbers does the layer give, and how many products add up to each of them? `//` rounds down.
# </details>


# %% exercise-2-answer
@conv_macs.answer
def conv_macs(layer, size):
    """Return the multiply-accumulates of the layer for one image."""
    ### BEGIN SOLUTION
    outputs = layer.out_channels
    products = layer.in_channels // layer.groups
    for d in range(2):
        reach = layer.dilation[d] * (layer.kernel_size[d] - 1) + 1
        outputs *= (size[d] + 2 * layer.padding[d] - reach) // layer.stride[d] + 1
        products *= layer.kernel_size[d]
    return outputs * products
    ### END SOLUTION


# %% exercise-2-check
conv_macs.check()

# %% [markdown] exercise-3
# ### 3 · The energy of a layer (core, 15 minutes)
#
# Write `layer_energy(layer, price, room, batch)`: return three numbers in pJ, `(arithmetic, sram, dram)`, for
# **one** image of the batch.
#
# `layer` has `macs`, `inputs` and `outputs`, for one image, and `parameters`. `price` gives costs in pJ: `mac` for one
# multiply-accumulate, `sram` and `dram` for one number read or written there. `room` is how many numbers fit into SRAM
# (it need not be whole). The machine:
#
# 1. For each image, each parameter is read from SRAM once (wherever it came from), each input is read there once,
#    and each output is written there once.
# 2. The inputs and outputs of the **whole batch** take their room in SRAM first. Parameters fill the room that is left,
#    and stay there from one batch to the next.
# 3. The parameters that do not fit come from DRAM, once for the whole batch.
# 4. Each input of the batch that does not fit comes from DRAM once, each output that does not fit goes there once.
#
# Example: 6 MACs, 8 parameters, 3 inputs, 2 outputs, prices 1, 10 and 100, room for 9, batch 1: `(6, 130, 400)`.
# Five of the nine places go to inputs and outputs, four parameters stay, four come from DRAM.
#
# <details><summary>Hint</summary>
#
# Say the unit of each line aloud: numbers or pJ, for the batch or for one image? With too little room no count may
# become negative, and with plenty no more parameters can stay than there are.
# </details>


# %% exercise-3-answer
@layer_energy.answer
def layer_energy(layer, price, room, batch):
    """Return (arithmetic, sram, dram) in pJ for one image."""
    ### BEGIN SOLUTION
    live = batch * (layer.inputs + layer.outputs)
    spilled = max(live - room, 0)
    resident = min(layer.parameters, max(room - live, 0))
    arithmetic = layer.macs * price.mac
    sram = (layer.parameters + layer.inputs + layer.outputs) * price.sram
    dram = (layer.parameters - resident + spilled) / batch * price.dram
    return arithmetic, sram, dram
    ### END SOLUTION


# %% exercise-3-check
layer_energy.check()

# %% [markdown] exercise-4
# ### 4 · A stopwatch that can be trusted (more, 15 minutes)
#
# Write `time_call(function, warm_up, runs, clock)`: first call `function()` `warm_up` times without timing
# it, then `runs` times, and time each of these calls by itself. `clock()` returns the time in seconds. Return the
# quartiles of the times, `(low, median, high)`: a quarter of the calls took less than the first, half less than the
# second, a quarter more than the third, by the rule of `np.quantile`.
#
# Example: with `warm_up=0` and three calls that take 9, 1 and 3 seconds, the answer is `(2.0, 3.0, 6.0)`.
#
# <details><summary>Hint</summary>
#
# Read the clock before and after each call, and keep the difference. `np.quantile` takes a list of times and
# a list of fractions. The clock is an argument so that the check can bring one of its own.
# </details>


# %% exercise-4-answer
@time_call.answer
def time_call(function, warm_up, runs, clock):
    """Return the quartiles of the function's time in seconds: (low, median, high)."""
    ### BEGIN SOLUTION
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(runs):
        began = clock()
        function()
        times.append(clock() - began)
    return tuple(np.quantile(times, [0.25, 0.5, 0.75]).tolist())
    ### END SOLUTION


# %% exercise-4-check
time_call.check()

# %% [markdown] exercise-5
# ### 5 · Fewer, and slower (more, 10 minutes)
#
# "It has fewer multiply-accumulates, so it is faster." Break that sentence on this machine. Return two networks
# `(fewer, more)`, built of PyTorch's own layers (`nn.Sequential` of `nn.` layers). Each takes an image of shape
# (1, 1, 28, 28) and gives 10 numbers. The first must have fewer multiply-accumulates than the second, but not none,
# and still take at least 1.5 times as long for one image. The check counts and measures, here and now, on one
# thread of the CPU.
#
# <details><summary>Hint</summary>
#
# Look once more at the points far below the roofs. What does each of those layers spend its time on?
# </details>


# %% exercise-5-answer
@fewer_but_slower.answer
def fewer_but_slower():
    """Return (fewer, more)."""
    ### BEGIN SOLUTION
    deep = [nn.Linear(16, 16) for _ in range(60)]
    fewer = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), *deep, nn.Linear(16, 10))
    wide = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    return fewer, nn.Sequential(nn.Flatten(), *wide)
    ### END SOLUTION


# %% exercise-5-check
fewer_but_slower.check()

# %% [markdown] bill
# ## What they cost
#
# Each chapter ends with a bill. A network is written to a file and read back, and the network that was read is
# counted, timed, and tested on the **test** images, which, apart from the ten digits above, are used for nothing else.
# The row goes into
# `results/running_table.json`, where the next chapters add theirs: whatever a chapter writes lies in the folder
# `results`, beside the notebooks.
#
# Three kinds of figures stand side by side. Parameters, bytes and MACs are *counted*, and are the same everywhere. Accuracy
# and time are *measured*, and have a spread. Energy is *estimated*, here for a machine with 64 KB of SRAM that
# fetches the bytes of the file for one image at a time. Beside the accuracy stands its 95 % interval: how far it
# might move with other test images. *nonzero* counts the parameters that are not 0. The time is for one image, the
# median with the quartiles.

# %% bill-table
for name, model in networks.items():
    path = "results/model.safetensors"
    report = measure.measure(f"dense, {name}", model, data.test, data.name, path)
    table = measure.record(report)
table

# %% [markdown] bill-reading
# **LeNet-5 has 1.6 times the parameters. What does that say about the other columns?**
#
# <details><summary>Answer</summary>
#
# The file is 1.6 times as long. The energy grows by about as much, because most of it goes into fetching the file. About
# MACs and time the parameters say nothing: divide the rows and see.
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **An estimate is as good as its assumptions.** We assumed that each weight is read from SRAM once per image, however
# often it is used. For that it must stay in a *register*, right where the processor computes, and registers are few.
# Suppose there are none, so that each product reads its weight and its input from SRAM. Real chips lie
# between the two. With 2 MB of SRAM and one image nothing comes from DRAM, and the four layers of LeNet-5 cost:

# %% breaks-assumption
price = cost.prices(on_chip=2 * 2**20)
with_registers, without = [], []
for layer in (found := cost.layers(net5, image)):
    energy = cost.layer_energy(layer, price, room=2**19)
    with_registers.append(energy.total / 1e6)
    without.append((energy.arithmetic + (2 * layer.macs + layer.outputs) * price.sram) / 1e6)
plot, (panel,) = plots.new(
    alt="Estimated energy of LeNet-5's layers with and without registers", width=6
)
plots.bars(
    panel, [layer.name for layer in found], {"registers": with_registers, "no registers": without}
)
panel.set(ylabel="energy, µJ, estimate", title="which layer costs the most?")
plot

# %% [markdown] breaks-reading
# **Which layer would you shrink to save energy?**
#
# <details><summary>Answer</summary>
#
# With registers fc1, without them conv2: the answer depends on one sentence of the assumptions. An energy quoted without
# its assumptions says little.
# </details>
#
# **A measurement is as good as its conditions.** Here are the same network and the same machine, with one thread and
# with all:

# %% breaks-threads
threads = torch.get_num_threads()
for n in sorted({1, threads}):
    torch.set_num_threads(n)
    for batch in (1, 256):
        print(latency.latency(net, data.validation.images[:batch]))
torch.set_num_threads(threads)

# %% [markdown] breaks-threads-reading
# **Are more threads always faster here?** Run the cell twice: which differences come back, and which do not?
#
# <details><summary>Answer</summary>
#
# For 256 images usually yes. One image leaves so little to share out that a second thread may gain nothing, or cost
# time. A difference that does not come back is not a finding.
# </details>

# %% [markdown] class
# ## The class is the experiment
#
# Do the same networks take the same time for everyone? Your name (a nickname will do) is the seed of *your* two
# networks. Write it in place of `None`, run both cells and send the file, which then lies in `results`, to your
# teacher, who puts the whole class into one picture. The networks are not trained: **does that matter for the time?**
#
# <details><summary>Answer</summary>
#
# No. A product takes as long whatever the numbers are.
# </details>

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    found = {}
    for name in networks:
        mine = models.build(name, class_work.seed_of(my_name)).to(image.device)
        batches = {
            n: latency.latency(mine, data.validation.images[:n], runs=30)
            for n in (1, 4, 16, 64, 256)
        }
        found[name] = {n: 1e6 * t.median / n for n, t in batches.items()}
    print(class_work.hand_in(EXPERIMENT, my_name, found))

# %% [markdown] paper
# ## The papers
#
# Mark Horowitz, *Computing's Energy Problem (and what we can do about it)*, ISSCC 2014. Read it for the table, and for
# the argument that follows from it: arithmetic is cheap, and moving numbers is not. Its claim for us: fetching a
# 32-bit number from DRAM costs more than a hundred times as much as multiplying by it.
#
# Samuel Williams, Andrew Waterman and David Patterson, *Roofline: An Insightful Visual Performance Model for Multicore
# Architectures*, Communications of the ACM, 2009. Read it for the picture. Its claim: no program is faster than the
# lower of the two roofs.

# %% paper-verdict
print(f"DRAM over multiply, from the table: {cost.DRAM / cost.MULTIPLY[32]:.0f}")
reached = {f"{layer} of {name}": xy for name, some in points.items() for layer, xy in some.items()}
over_memory = [name for name, (i, f) in reached.items() if roofs.at(i) < f <= roofs.flops]
over_arithmetic = [name for name, (_, f) in reached.items() if f > roofs.flops]
print(f"of {len(reached)} points above the roof of memory: {'; '.join(over_memory) or 'none'}")
print(f"above the roof of arithmetic: {'; '.join(over_arithmetic) or 'none'}")

# %% [markdown] paper-reading
# Our verdicts. *Energy*: **not reproduced**, because we have nothing to measure it with. We use the table, and call the
# result an estimate. *Roofline*: **as far as the cell above says**. A point above the roof of memory does not refute it:
# our networks are so small that they can stay in the cache, which is faster. A point above the roof of arithmetic would
# refute it on a machine that does nothing else; here it mostly means that the machine was busy while the roof was
# measured. And the points far below show that a roof is a limit and not a forecast.
#
# You can now say what a network costs, in which sense, and how you know. The next chapter makes one smaller.
