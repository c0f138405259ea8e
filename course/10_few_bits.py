# %% [markdown] title
# # 10 · Few bits: train a network in one, two or sixteen bits
#
# **You will** train networks whose weights are rounded at each step, down to one bit, and others whose numbers are all
# floats of 16 bits.
#
# **You will be able to**
# - send a gradient through a rounding, for the weights and for their scale,
# - turn what was trained into integers and a file, and say which numbers the network needs and which only its training,
# - tell what a float format can hold, what it loses on the way, and what has to stay in 32 bits.
#
# **You need** chapter 03, and 90 minutes, 40 of them for the three core exercises. What is marked *more* takes another
# 60. Run the cells from the top. No GPU is needed.

# %% setup
import copy

import numpy as np
import torch

from shrink import latency
from shrink.chapters.few_bits import (
    EXPERIMENT,
    break_the_gradient,
    fake_quantize_ste,
    folding,
    halves,
    latent_step,
    latents,
    learned_step_gradient,
    networks,
    round_to_bf16,
    scaled_step,
    signs_and_scale,
    trainings,
    yours,
)
from shrink.chapters.few_bits.explorer import explore_few_bits
from shrink.classroom import (
    class_work,
    formats,
    integer_formats,
    measure,
    models,
    plots,
    training,
)
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load, ten_digits
from shrink.papers import reproduce
from shrink.quantization import (
    aware,
    aware_conversion,
    binary,
    learned_step,
    number_formats,
    ternary,
    xnor,
)

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# Chapter 03 rounded the weights of a trained network. With 4 bits and one scale per layer it lost next to nothing. Here
# is the same with 2 bits, on the validation images:

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
arrays = formats.pack_quantized(net.state_dict(), 2, symmetric=True)
rounded = copy.deepcopy(net)
rounded.load_state_dict(formats.unpack_quantized(arrays))
for name, model in {"float32": net, "2 bits": rounded}.items():
    print(f"{name}: {100 * training.accuracy(model, data.validation):.1f} % right")

# %% problem-digits
ten = ten_digits(data)
answers = training.predict(rounded, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [f"says {answer}" for answer in answers])

# %% [markdown] problem-question
# Chapter 02 mended a pruned network by training it further. Can training mend this one too? For that it must know
# how the loss changes when a weight changes a little. We ask PyTorch for the derivative of a rounding:

# %% problem-gradient
w = torch.tensor([-0.8, 0.2, 0.6], requires_grad=True)
w.round().sum().backward()
w.grad

# %% [markdown] problem-staircase
# Rounding is a staircase. Where it is flat its derivative is 0, and at the edge of a step it has none. So no weight
# learns in which direction it should move.

# %% [markdown] by-hand
# ## Four weights by hand
#
# One unit has four weights, and its output is $y = \sum_i \hat w_i x_i$. Each weight exists twice. The *latent* weight
# $w$ is a float, and training changes it. The rounded one, $\hat w$, is −1, 0 or 1, and the unit multiplies by it. (What
# lies beyond −1 or 1 is clipped, as in chapter 03.) The output should be 2, and the loss is $\frac{1}{2}(y - 2)^2$. So
# the gradient with respect to $\hat w_i$ is $(y - 2)\,x_i$.
#
# This gradient cannot pass through the rounding. We act as if it could, and give it to the latent weight, unless that
# lies outside of −1 to 1. Then we take a step against it: the rate is 0.2.
#
# | | 1 | 2 | 3 | 4 | |
# |---|---|---|---|---|---|
# | inputs $x$ | 1 | 1 | 1 | −1 | |
# | latent weights | 0.25 | −0.95 | 0.9 | −1.6 | |
# | rounded | 0 | −1 | 1 | −1 | $y$ = 1, too small by 1 |
# | gradient of the rounded ones | −1 | −1 | −1 | 1 | |
# | passes to the latent ones | −1 | −1 | −1 | 0: it lies outside | |
# | latent after step 1 | 0.45 | −0.75 | 1.1 | −1.6 | |
# | rounded | 0 | −1 | 1 | −1 | $y$ = 1, as before |
# | passes | −1 | −1 | 0: outside now | 0 | |
# | latent after step 2 | 0.65 | −0.55 | 1.1 | −1.6 | |
# | rounded | **1** | −1 | 1 | −1 | $y$ = 2 |
#
# The first step has changed no rounded weight, but it counts: in the second one weight *flips*. **Why does
# a weight outside of the range get no gradient?**
#
# <details><summary>Answer</summary>
#
# It is clipped: if it moves a little, its rounded value stays at the end of the range, and the loss stays the same.
# </details>

# %% by-hand-code
x, rate = torch.tensor([1.0, 1, 1, -1]), 0.2
w = torch.tensor([0.25, -0.95, 0.9, -1.6])
for step in (0, 1, 2):
    w_hat = w.round().clamp(-1, 1)
    y = w_hat @ x
    print(f"after {step} steps: {w.numpy().round(2)} → {w_hat.int().tolist()}, y = {y:.0f}")
    inside = w.abs() <= 1
    w = w - rate * (y - 2) * x * inside

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $w$ | `w` | latent weights, $N$ floats in any shape |
# | $s$ | `s` | the scale, a float above 0, one per layer (or one per channel); papers call it the *step size* |
# | $q_{\min}$, $q_{\max}$ | `q_min`, `q_max` | the lowest and the highest integer: of 2 bits here −1 and 1, of 4 bits −7 and 7 |
# | $q$ | `q` | the integers, in the shape of $w$ |
# | $\hat w$ | `w_hat` | the weights that the network multiplies by |
# | $g$ | `g` | the gradient of the loss $L$ with respect to $\hat w$, in the shape of $w$ |
#
# **Forward** is what chapter 03 has (symmetric and narrow, so there is no zero point):
#
# $$q = \mathrm{clamp}(\mathrm{round}(w / s),\; q_{\min},\; q_{\max}) \qquad \hat w = s\,q$$
#
# **Backward, to the weights.** The gradient passes *straight through* the rounding where the weight lies inside the
# range. The bracket is 1 where that is true, else 0:
#
# $$\frac{\partial L}{\partial w} \approx g \cdot [\,q_{\min} \le w / s \le q_{\max}\,]$$
#
# **Backward, to the scale.** The scale can learn as well. With the rounding error $e = q - w / s$ we have
# $\hat w = w + s\,e$ inside the range. We hold $e$ fixed and differentiate by $s$. Outside, $\hat w$ is $s\,q_{\min}$ or
# $s\,q_{\max}$:
#
# $$\frac{\partial \hat w}{\partial s} \approx \begin{cases} q - w / s & \text{inside} \\ q & \text{outside}\end{cases}
# \qquad \frac{\partial L}{\partial s} \approx \frac{1}{\sqrt{N q_{\max}}} \sum g\,\frac{\partial \hat w}{\partial s}$$
#
# All $N$ weights add to the gradient of one scale. The root brings the sum down to a size at which the scale can be
# trained at the same rate as the weights. This is *learned step size quantization*, LSQ (Esser et al. 2020).

# %% mathematics-code
s, q_min, q_max = 0.5, -1, 1
w, g = torch.tensor([0.1, -0.4, 0.8, -0.3]), torch.tensor([1.0, 2.0, 1.0, 0.5])
q = (w / s).round().clamp(q_min, q_max)
w_hat = s * q
inside = (w / s >= q_min) & (w / s <= q_max)
to_w = g * inside
to_s = (g * torch.where(inside, q - w / s, q)).sum() / (len(w) * q_max) ** 0.5
w_hat, to_w, to_s

# %% [markdown] mathematics-one
# **One bit** leaves a sign: $b = 1$ where $w \ge 0$, else −1, and $\hat w = \alpha\,b$ with one scale $\alpha$ per
# channel (or per layer). Which $\alpha$ has the least squared error $\sum (w - \alpha b)^2$? Its derivative is 0 where
#
# $$\alpha = \frac{\sum w\,b}{\sum b^2} = \frac{1}{N} \sum |w|$$
#
# **Three values** (*ternary* weights, −1, 0 and 1) do the same with the weights that are not small. Li et al. (2016)
# set those to 0 whose magnitude is at most 0.7 times the mean magnitude; $\alpha$ is the mean magnitude of the others.
# With 2 bits and a scale we have the same three values: only the scale is found in another way.

# %% mathematics-one-code
w = torch.tensor([[0.5, -1.5, 0.1, 0.3]])  # one channel
b, alpha = binary.signs(w), binary.binary_scale(w)
t, alpha_3 = ternary.ternary_signs(w, axis=0)
alpha * b, alpha_3 * t

# %% [markdown] naive
# ## First in slow motion, then at once
#
# A loop over 1000 weights that reads like the equations, and the library's function: forward and backward it has to
# give the same. `fake_quantize_lsq` returns $\hat w$, and autograd finds the two gradients above.

# %% naive-loop
generator = torch.Generator().manual_seed(seed)
w = torch.randn(1000, generator=generator).requires_grad_()
g = torch.randn(1000, generator=generator)
s = torch.tensor(0.8, requires_grad=True)
slow, to_w, to_s = [], [], 0.0
for number, gradient in zip(w.tolist(), g.tolist(), strict=True):
    steps = number / s.item()
    q = max(-1, min(1, round(steps)))
    slow.append(s.item() * q)
    to_w.append(gradient if -1 <= steps <= 1 else 0.0)
    to_s += gradient * (q - steps if -1 <= steps <= 1 else q)
to_s /= (1000 * 1) ** 0.5

# %% naive-agree
fast = learned_step.fake_quantize_lsq(w, s, q_min=-1, q_max=1)
fast.backward(g)
pairs = [(fast, slow), (w.grad, to_w), (s.grad, to_s)]
[torch.allclose(found.detach(), torch.tensor(by_loop)) for found, by_loop in pairs]

# %% [markdown] straight-through
# ## Is straight through a trick?
#
# The derivative of `round` is 0 on each step and does not exist at the edges, and we have put 1 in its place. Is that
# allowed? Shake a number before it is rounded: add $u$, drawn uniformly between $-\frac12$ and $\frac12$. Then 0.3
# becomes 1 if $u \ge 0.2$, which happens 3 times in 10, and otherwise 0. The mean of the results is 0.3 again. Does
# this hold for every $x$? And what if the integers end at −1 and 1?

# %% straight-through-mean
x = torch.linspace(-2, 2, 400, dtype=torch.float64)
u = (torch.arange(1000) + 0.5) / 1000 - 0.5  # 1000 places between -1/2 and 1/2
shaken = (x[:, None] + u).round()
float((shaken.mean(1) - x).abs().max())

# %% straight-through-clipped
staircases = {"rounded": x.round().clamp(-1, 1), "mean, shaken": shaken.clamp(-1, 1).mean(1)}
plot, (panel,) = plots.new(alt="A clipped staircase, and its mean, which is a ramp")
plots.curves(panel, x.numpy(), {name: y.numpy() for name, y in staircases.items()})
panel.lines[0].set_linestyle(":")
panel.set(xlabel="x, in steps", ylabel="integer", title="on average the staircase is a ramp")
plot

# %% [markdown] straight-through-reading
# The mean is $x$, up to the spacing of the 1000 places. So 1 is the exact derivative of a rounding that is shaken, on
# average over $u$, and beyond the last integer it is 0, as in the bracket above. We round without shaking. But a unit
# adds up hundreds of weights, which lie at different places between their integers, and their errors average out in
# much the same way.

# %% [markdown] real
# ## On the real network
#
# `aware.prepare` copies a network and puts a quantizer before each weight, and one before the input of each layer if we
# ask for that. Here the weights get 2 bits and the activations 4. Each scale is learned, and starts where the squared
# error is least. This is *quantization-aware training*. Below are six latent weights of the second layer, and what the
# layer multiplies by:

# %% real-prepared
few_bits = aware.prepare(
    net,
    weight_bits=2,
    activation_bits=4,
    range="learned",
    calibration_data=data.train.images[:500],
)
layer = few_bits.fc2
latent = layer.layer.weight.detach()
torch.stack([latent[0, :6], layer.weight_quantizer(latent)[0, :6].detach()])

# %% [markdown] real-train-text
# It trains like any other network; only the way through a weight has changed. `take_steps` trains for four epochs of
# 12,000 images.

# %% real-train
print(f"before {100 * training.accuracy(few_bits, data.validation):.1f} % right")
networks.take_steps(few_bits, data, seed)
print(f"after  {100 * training.accuracy(few_bits, data.validation):.1f} % right")

# %% [markdown] real-convert-text
# The network of the first cell had the min-max scale, and this one began at the least squared error: that alone is most
# of the gain. Training did the rest. So far floats *stand for* integers. `convert` builds chapter 03's network of
# integers from the trained one, and leaves the latent weights behind:

# %% real-convert
integers = aware_conversion.convert(few_bits)
answers = [training.predict(model, data.validation.images) for model in (few_bits, integers)]
print(integers.layers[1].weight[:3, 400:416])
print(f"{int((answers[0] == answers[1]).sum())} of {len(data.validation)} answers are the same")

# %% [markdown] real-convert-reading
# **Both round at the same places, and yet an answer may differ now and then. How can that be?**
#
# <details><summary>Answer</summary>
#
# A sum of floats has rounding errors of its own. Next to the edge of a step it may fall to the other side, and the next
# layer gets a neighbouring integer. That changes the answer only if two logits are almost equal.
# </details>

# %% [markdown] real-file-text
# What does it take to store this network? For each weight one of three values, and $3^5 = 243$, so five of them fit
# into a byte. Biases and scales stay floats. `aware.quantized_weights` says what goes into the file:

# %% real-file
state, q = aware.quantized_weights(few_bits)
for name, part in aware.aware_layers(few_bits).items():
    state[f"{name}.input_scale"] = part.input_quantizer.step.detach()
dense = measure.size(net.state_dict())
packed = measure.size(integer_formats.pack_integers(state, q))
print(f"{dense:,} bytes in float32, {packed:,} now: {dense / packed:.1f} times smaller")

# %% [markdown] control
# ## Predict: is it the training?
#
# Our network has been trained for four epochs more than the one of the first cell. So it needs a *control*: the same
# network takes the same steps in floats, on the same images in the same order, and is rounded at the end. From here on
# only weights are rounded, and the networks were trained when the course was made, by
# `shrink/chapters/few_bits/trainings.py`. *After training* is rounded at once, with the scale of the least squared
# error, and *learned* is trained as above. Three networks of 2 bits each:


# %% control-known
def wrong(way, bits, **more):
    """Validation images that the networks of three seeds get wrong, in %."""
    return [100 * trainings.error(data, way, bits, s, **more) for s in trainings.SEEDS]


def row(name, errors):
    """A line of a table: each seed, and the mean."""
    cells = "".join(f"{error:8.1f}" for error in errors)
    print(f"{name:26}{cells}   mean {np.mean(errors):.1f}")


print("% wrong, 2 bits             seed 0  seed 1  seed 2")
for way in ("after training", "learned"):
    row(way, wrong(way, 2))

# %% [markdown] control-predict
# How many % does the control get wrong? Write your guess in place of `None`. It is not marked.

# %% control-guess
my_guess = None

# %% control-answer
print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}")
row("trained on, then rounded", wrong("trained on, then rounded", 2))

# %% [markdown] control-reading
# **What has the control gained by its four epochs? Where, then, does the gain of the other network come from?**
#
# <details><summary>Answer</summary>
#
# Nothing, or next to nothing: it is about as bad as the one that was rounded at once. The steps and the images are the
# same, so the gain comes from rounding *while* it learns. The loss of the control sees floats, and no gradient tells it
# that they will be rounded.
# </details>

# %% [markdown] grid
# ## Predict: does training mend any grid?
#
# Rounded while they learn, weights adapt to the values that they may take, the *grid*. Then perhaps any grid will do.
# Three kinds of scale, all else equal:
#
# - *follows*: the largest magnitude of the layer is the end of the grid, as in chapter 03, at each step anew;
# - *fixed*: the scale of the least squared error before training, and there it stays;
# - *learned*: it starts there, and has the gradient of the mathematics above.
#
# How many % does the network get wrong whose scale follows?

# %% grid-guess
my_guess = None

# %% grid-answer
print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}")
print("% wrong, 2 bits             seed 0  seed 1  seed 2")
for way in ("follows", "fixed", "learned"):
    row(way, wrong(way, 2))

# %% [markdown] grid-reading
# **There are three values only. What is wrong with a scale that follows the largest weight?**
#
# <details><summary>Answer</summary>
#
# Every weight below half of the largest magnitude becomes 0, and that is nearly all of them. The other two grids begin
# where the weights are. Is learned better than fixed? It is in all three seeds: a scale that is best for the squared
# error is not yet best for the loss.
# </details>

# %% [markdown] grid-bits-text
# All ways, from 4 bits to one. (Of one bit, the scale that follows is the mean magnitude.) The bands show the range of
# the three seeds.

# %% grid-bits
plot, (panel,) = plots.new(alt="Error over bits for five ways to few bits", width=6, height=3.4)
ways = trainings.WAYS[1:]
found = {way: np.array([wrong(way, bits) for bits in trainings.BITS]) for way in ways}
float32 = [100 * trainings.outcome(data, ways[0], 4, s).floats for s in trainings.SEEDS]
means = {way: errors.mean(1) for way, errors in found.items()}
plots.curves(panel, trainings.BITS, means, baseline=("float32", np.mean(float32)))
for errors in found.values():
    panel.fill_between(trainings.BITS, errors.min(1), errors.max(1), alpha=0.15)
panel.set(yscale="log", xticks=trainings.BITS, xlabel="bits", ylabel="wrong, %")
panel.set_yticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"], minor=False)
panel.set_yticks([], minor=True)
panel.invert_xaxis()
panel.set_title("LeNet-300-100, one scale per layer")
plot

# %% [markdown] grid-bits-reading
# **At how many bits does training pay? What does one bit cost, even with training?**
#
# <details><summary>Answer</summary>
#
# At 4 bits there is next to nothing to give back, at 3 something, and at 2 and 1 nearly everything. With a learned scale
# one bit costs about a point. (*After training*, the scale of the least squared error is not always the best. In the
# explorer, compare it at 4 bits with *min-max*, the scale of chapter 03.)
# </details>

# %% [markdown] grid-networks-text
# Is LeNet-300-100 a typical network? Here are two more, rounded after training, with the scale of chapter 03, *min-max*,
# and with that of the least squared error (*more*). Each number is the mean of three seeds.

# %% grid-networks
kinds = {
    "lenet-300-100": {},
    "lenet-5": {"model": "lenet-5"},
    "separable": {"model": "separable"},
    "separable, per channel": {"model": "separable", "per_channel": True},
}
print(f"{'% wrong':40}" + "".join(f"{bits:4} bits" for bits in trainings.BITS))
for name, more in kinds.items():
    for scale, way in zip(("min-max", "least squares"), trainings.AFTER[:2], strict=True):
        cells = "".join(f"{np.mean(wrong(way, bits, **more)):9.1f}" for bits in trainings.BITS)
        print(f"{name:24}{scale:15}{cells}")

# %% [markdown] grid-networks-reading
# **Which network bears few bits best, and which worst? Is the scale of the least squared error the best one?**
#
# <details><summary>Answer</summary>
#
# LeNet-5 loses next to nothing with three bits, and little with two. *separable* with one scale per layer has lost much
# with four. With two bits least squares is far better than min-max in both LeNets. With four it gains nothing that is
# more than the seeds differ, and in some it loses: a small error of the weights is not yet a small error of the
# answers. (Of one bit both are the mean magnitude.)
# </details>

# %% [markdown] latent
# ## Predict: must the latent weights be kept?
#
# In training each weight has 32 bits, and the network multiplies by a sign. That looks wasteful. Why not round the
# weights after each step, and keep nothing else? So we train a binary network: a step changes its weights a little, and
# then each becomes its sign times the scale again. How many of the 266,200 signs have changed after four epochs? Write
# your guess.

# %% latent-guess
my_guess = None

# %% latent-answer
print(f"your guess: {my_guess}")
count = sum(w.numel() for w in models.weights(net).values())
for s in trainings.SEEDS:
    without, kept = latents.without_latents(data, s), trainings.outcome(data, "fixed", 1, s)
    print(f"seed {s}, {100 * without.before:.1f} % wrong before the four epochs")
    for name, share, error in (
        ("without", without.flipped, without.error),
        ("with", kept.moved, kept.error),
    ):
        print(f"   {name:7} latent weights {round(share * count):6,} signs have changed, ", end="")
        print(f"{100 * error:.1f} % wrong")

# %% [markdown] latent-reading
# **Why does no sign change? And the error falls all the same: what has learned?**
#
# <details><summary>Answer</summary>
#
# A step is far shorter than the distance from the scale to 0, and after it the weight is put back where it was. A
# latent weight adds up many small steps until they reach the other side, as weight 1 did by hand. The biases are not
# rounded, so these have learned.
# </details>

# %% [markdown] floats
# ## Predict: are the latent weights the network?
#
# All that training learns goes into the latent weights, 32 bits each, and only the sign of each remains. Then with the
# latent weights themselves in its layers the network should be better still. The binary networks (the scale follows,
# which of one bit is the mean magnitude and does better than a fixed one) get this many images wrong; how many do their
# latent weights?

# %% floats-known
print("% wrong, 1 bit              seed 0  seed 1  seed 2")
one_bit = [trainings.outcome(data, "follows", 1, s) for s in trainings.SEEDS]
row("signs times the scale", [100 * outcome.error for outcome in one_bit])

# %% floats-guess
my_guess = None

# %% floats-answer
print(f"your guess: {'none' if my_guess is None else f'{my_guess} %'}")
row("latent weights", [100 * outcome.floats for outcome in one_bit])

# %% [markdown] floats-reading
# **Why are 32 bits worse than one here? What is a latent weight, then?**
#
# <details><summary>Answer</summary>
#
# The loss has seen nothing but the rounded weights, and the biases have learned to go with these. How large a latent
# weight is only says how far it is from changing its sign: it is a counter for the training. After the training nobody
# needs it, and a test with it is a test of another network.
# </details>

# %% [markdown] cost
# ## Predict: 32 times smaller, and faster?
#
# One bit in place of 32. By which factor is the file of the binary LeNet-300-100 shorter than in floats? And how many
# times as fast as floats is the product of a layer if its weights and its inputs are signs? Two guesses.

# %% cost-guess
my_guess = None, None


# %% cost-bytes
def binary_file(model):
    """The bytes of a model's file with each weight as signs and one scale."""
    integers = {
        name: (binary.signs(w.detach()).to(torch.int8), binary.binary_scale(w, axis=None))
        for name, w in models.weights(model).items()
    }
    return measure.size(integer_formats.pack_integers(model.state_dict(), integers))


print(f"your guesses: {my_guess}")
for name in ("lenet-300-100", "separable"):
    model = baseline(name, data, seed=seed)
    dense, one_bit = measure.size(model.state_dict()), binary_file(model)
    print(f"{name:14}{dense:10,} bytes{one_bit:8,} binary: {dense / one_bit:.1f} times smaller")

# %% [markdown] cost-xnor
# And the time? A float product does not get faster when its numbers are ±1 (chapter 03). But if the inputs are signs as
# well, 64 of them fit into one word of the machine. Write 1 for a set bit and −1 for the other. The product of two
# signs is 1 where the bits are equal, which is the logical operation XNOR. So a sum of $k$ products is $k$ minus twice
# the number of bits that differ, and processors have an instruction that counts bits:

# %% cost-xnor-hand
a, b = torch.tensor([[1.0, -1, 1, 1]]), torch.tensor([[1.0, -1, -1, 1]])
words = xnor.pack_signs(a), xnor.pack_signs(b)
[bin(int(word)) for word in words], xnor.matmul(*words, k=4), a @ b.T

# %% [markdown] cost-time-text
# We time the product of a layer with as many inputs as outputs, for one image, and for 256 at once. (Its inputs are
# packed beforehand.)


# %% cost-time
def random_signs(rows, columns):
    return torch.randn(rows, columns, generator=generator).sign()


for batch, width in ((1, 1024), (1, 4096), (256, 1024)):
    x, w = random_signs(batch, width), random_signs(width, width)
    packed = xnor.pack_signs(x), xnor.pack_signs(w)
    same = torch.equal(x @ w.T, xnor.matmul(*packed, k=width).float())
    _, floats, _ = latency.time_call(lambda: x @ w.T, warm_up=1, runs=9)
    _, counted, _ = latency.time_call(lambda: xnor.matmul(*packed, k=width), warm_up=1, runs=9)
    print(f"batch {batch:3}, {width} wide: float32 {1e3 * floats:6.2f} ms, ", end="")
    print(f"XNOR {1e3 * counted:6.2f} ms, {floats / counted:.1f} times as fast, same sums: {same}")

# %% [markdown] cost-reading
# **What keeps the file from being 32 times smaller? Why does counting bits win for one image, and not for many?**
#
# <details><summary>Answer</summary>
#
# Biases, scales and names do not shrink, and in *separable*, which has few weights, they are most of the file (the batch
# norms, too). For one image the time goes into reading the weights once, and they are 32 times shorter. For many
# images a float product reads each weight once for all of them and has its own fast instructions, which numpy's bit
# counting has not. (And our LeNet has signs for weights only; its inputs are floats, and nothing gets faster.)
# </details>

# %% [markdown] channels
# ## One scale per layer, or per channel (more)
#
# Chapter 03 has a network that one scale per layer ruins: *separable*, with its batch norms folded into its layers.
# `aware.prepare` folds them *before* the training, and they stay folded. So the weights that are rounded are those that
# the integers will have. The last two lines try it the other way round: trained with rounded weights and the norms
# apart, then folded, and rounded again.

# %% channels-shown
print("% wrong                     seed 0  seed 1  seed 2")
floats = [trainings.outcome(data, "after training", 4, s, "separable") for s in trainings.SEEDS]
row("float32", [100 * outcome.floats for outcome in floats])
for bits, per_channel in folding.PREPARED:
    print(f"{bits} bits, one scale per {'channel' if per_channel else 'layer'}:")
    for way in ("after training", "trained on, then rounded", "learned"):
        row(way, wrong(way, bits, model="separable", per_channel=per_channel))
    found = [folding.folded_afterwards(data, bits, per_channel, s) for s in trainings.SEEDS]
    row("learned, norms apart", [100 * one.apart for one in found])
    row("    and then folded", [100 * one.folded for one in found])

# %% [markdown] channels-reading
# **What has training given back? And folded afterwards, why does one of the two get worse, and the other not at all?**
#
# <details><summary>Answer</summary>
#
# Most of what rounding had taken, in both. Folding multiplies each channel by a number of its own. If each channel has
# a scale, the scale takes this number, and the integers stay what they were. If all share one scale, the weights are
# rounded anew, on a grid that they were not trained for. So train the network in the form in which it will be used.
# </details>

# %% [markdown] halves
# ## Halves: floats of 16 bits
#
# So far training itself has counted in floats of 32 bits: latent weights, activations, gradients. Floats of 16 bits
# take half the memory, and many GPUs multiply them faster. What is a float? It has one bit for the sign, $e$ bits for
# an exponent and $m$ bits for a mantissa, *1-e-m* for short.
#
# | symbol | in code | what it is |
# |---|---|---|
# | $S$, $E$, $M$ | `S`, `E`, `M` | the three groups of bits, each read as a whole number |
# | $e$, $m$ | `exponent_bits`, `mantissa_bits` | 5 and 10 in fp16, 8 and 7 in bf16 (bfloat16), 8 and 23 in float32 |
# | $c$ | `bias` | $2^{e-1} - 1$, which makes small exponents negative |
#
# $$x = (-1)^S \cdot 2^{E - c} \cdot \left(1 + \frac{M}{2^m}\right) \quad \text{for } E \ge 1 \qquad
# x = (-1)^S \cdot 2^{1 - c} \cdot \frac{M}{2^m} \quad \text{for } E = 0$$
#
# Numbers with $E = 0$ are *subnormal*: they go down to 0 in equal steps. The largest $E$ is kept for infinity and for
# NaN (in e4m3 only one code of it, for NaN). `encode` rounds a number to the nearest code of a format:

# %% halves-formula
fp16 = number_formats.FP16
code = int(number_formats.encode(torch.tensor(0.3), fp16))
S, E, M = code >> 15, code >> 10 & 31, code & 1023
print(f"{code:016b}: S = {S}, E = {E}, M = {M}")
(-1) ** S * 2.0 ** (E - fp16.bias) * (1 + M / 2**10)

# %% halves-formats
print("            1-e-m    largest  least normal    least  after 1 comes")
for f in number_formats.FORMATS.values():
    fields = f"1-{f.exponent_bits}-{f.mantissa_bits}"
    print(f"{f.name:9}{fields:>8}{f.largest:11.5g}{f.least_normal:14.2g}{f.least:9.1g}", end="")
    print(f"{1 + 2.0**-f.mantissa_bits:15.7g}")

# %% [markdown] safe
# ## Predict: which half is safe?
#
# In bf16 almost nothing becomes infinite or 0: it has the exponents of float32. It is often called the safe half. We
# train LeNet-300-100 from new initial values, four epochs at a small learning rate. *All* numbers are in one format:
# what goes into a layer, what comes out, the gradients, and the weights when a step has changed them. How many % do
# fp16 and bf16 get wrong? Write two guesses.

# %% safe-known
small, usual = halves.RATES
print(f"% wrong, rate {small:<12}  seed 0  seed 1  seed 2")
row("float32", [100 * halves.run(data, "float32", small, s).error for s in halves.SEEDS])

# %% safe-guess
my_guess = None, None

# %% safe-answer
print(f"your guesses: {my_guess}")
for way in ("fp16", "bf16"):
    row(way, [100 * halves.run(data, way, small, s).error for s in halves.SEEDS])

# %% [markdown] safe-swallowed-text
# Why? Add a small step to a weight of 1, and round. Then see how many weights a step of the training leaves as they
# were, halfway through, in fc1, fc2 and fc3; and how much of the way that all weights should have gone is lost.

# %% safe-swallowed-hand
moved = torch.tensor(1 + 0.003)
[float(number_formats.round_to(moved, number_formats.FORMATS[name])) for name in ("fp16", "bf16")]

# %% safe-swallowed
half = halves.WATCHED.index(188)
print("        % of the weights that stay      % of the way that is lost")
for way in ("fp16", "bf16"):
    found = halves.run(data, way, small, seed)
    shares = (found.swallowed[half], found.swallowed_amount[half])
    print(
        f"{way:8}" + "        ".join("".join(f"{100 * x:8.0f}" for x in share) for share in shares)
    )

# %% [markdown] safe-master-text
# There is a remedy, and we know it already: the steps change weights in float32, and the layers compute with a rounded
# copy. Here these floats are called *master weights*. And at a larger rate, are they needed? (In *fp8* layers compute
# in e4m3, and gradients are e5m2.)

# %% safe-master
for rate, ways in ((small, ["bf16, master weights"]), (usual, halves.ways(usual))):
    print(f"% wrong, rate {rate:<14}seed 0  seed 1  seed 2")
    for way in ways:
        row(way, [100 * halves.run(data, way, rate, s).error for s in halves.SEEDS])

# %% [markdown] safe-reading
# **fp16 swallows the steps of many weights, too. Why does it hurt in bf16 and not there? And what do master weights and
# latent weights have in common?**
#
# <details><summary>Answer</summary>
#
# bf16 has 7 bits of mantissa: from 1 to the next number it is 1/128, and a step of less than half of that is
# *swallowed*. The weight stays, and the same happens in the next step. fp16 swallows only the smallest steps, which
# together are a small part of the way. At the larger rate bf16 loses a few tenths of a point at most. Master weights
# are latent weights: floats that add up many small steps until the rounded value changes. In bf16 the range is safe,
# and the sum is not.
# </details>

# %% [markdown] explore
# ## Explore
#
# One explorer has two scenes. *weights in few bits* is LeNet-300-100 with weights of one to four bits; *halves* is the
# same network in floats of 16 and 8 bits.
#
# *weights in few bits*: at the top left is the rounded weight over the latent one; the dashed line is the function that
# the gradient takes it for. The gradient is below it, by the weight and, where the scale is learned, by the scale
# (dotted). At the bottom are the weights of the first layer or of one of its units, counted on a logarithmic axis;
# those outside the range of the integers are hatched. At the top right one unit of the first layer learns, live, to
# answer 128 images as it does with float weights: thin lines are three of its latent weights, thick ones what they are
# rounded to, both divided by the scale. At the bottom right are the prepared trainings of the whole network: the error
# on validation images over the number of bits. *after training* rounds the trained network (with the least-squares
# scale, or min-max), *floats trained on* takes the extra steps in floats and rounds then, and the last three round at
# each step. *rounds* (reference, mine) has your `fake_quantize_ste` round, from two bits on.
#
# *halves*: at the top are magnitudes over the range of a format: hatched is what becomes 0, dotted what is subnormal
# and loses bits, crossed what is too large. The loss scale moves gradients to the right. At the bottom left is the
# error of fp16 with float32 master weights over the loss scale; beside it are trainings at a small learning rate, with
# the share of the updates of the first layer that are *swallowed*, that is, leave a weight of the format as it was.

# %% explore-few-bits
explorer = explore_few_bits(data, fake_quantize_ste)
explorer

# %% [markdown] explore-questions
# The buttons beside *try* set what the questions are about. *Train once more* trains what is on show in a few seconds:
# weights with this many bits and this scale (per layer or per channel), in another order of the images; or a new
# network in this format and at this loss scale. It adds a diamond.
#
# 1. *gradient*: The staircase is flat except where it jumps. **For which function does training take it instead? Go to
#    everywhere: which weights have a gradient now that had none, and can their rounded values follow?**
# 2. *latent weights*: **How many steps does a latent weight take until its rounded value changes? How far does the
#    largest first step move a weight, in scales, and how many weights would change if only rounded values were
#    stored?**
# 3. *scale*: The scale follows the largest weight. **Which share of the weights becomes 0, and how much of that does
#    training mend? Go on to fixed and learned: what does each of them change?**
# 4. *extra steps*: Four of the lines have taken the same extra steps. **What are these worth to floats that are rounded
#    only afterwards, and what to weights that are rounded at each step? From how many bits on does it matter?**
# 5. *loss scale*: **Which share of the gradients becomes 0 in fp16, and what does that cost? Move the slider: from
#    which loss scale to which is the error the same, and what goes wrong at either end?**
# 6. *swallowed*: Nothing leaves the range of bf16. **Why is it the worst at the small learning rate when it stores the
#    weights as well, and what do float32 master weights change?**
#
# <details><summary>Answers</summary>
#
# 1. For the straight line through it, cut off at the ends of the range: the gradient is 1 inside and 0 outside. Under
#    *everywhere* the weights in the hatched bars have a gradient as well. Their rounded values cannot follow: they are
#    the largest ones already, and a step further out changes nothing. Such a weight may walk far away, and then has as
#    far to come back.
# 2. Those of the drawn ones that change take some 15 and 40 steps; most weights do not change in 60. The largest first
#    step is less than a tenth of the scale, and the two signs lie two scales apart. None would change if only rounded
#    values were stored: each step would be rounded away before the next. The latent weights add the steps up. (With
#    more bits the values lie closer together, and it is still none.)
# 3. Almost all of them: the largest weight of the layer is many times as large as most. Training moves some across the
#    threshold and mends a part, and still ends above the network that is merely rounded with the least-squares scale.
#    *fixed* begins with that scale, with which half of the weights or more become 0 instead of all, and ends near the
#    float network. *learned* begins there too, lets the scale change with the weights, and ends a little lower still.
# 4. Nothing: floats that trained on and are rounded then are no better than those that did not, because these steps
#    never saw the rounding. Weights that are rounded at each step end near the float network with two bits and a scale
#    that fits. With four bits there is hardly anything to give back, as min-max after training shows; with three it
#    matters, and with two or one most.
# 5. Some do, and most of the others are subnormal, and it costs nothing that the seeds would show: these gradients are
#    so small that the others outweigh them. The error is the same over a wide window, and loss scale 1 lies well inside
#    it: none is needed here, and none gains anything. Far to the left all gradients become 0 and the network learns
#    nothing; far to the right they are too large and steps are skipped, at last all of them.
# 6. bf16 has the range of float32 but keeps 8 bits of a number, fp16 keeps 11. An update below about 1/512 to 1/256 of
#    its weight is rounded away: nine of ten and more are, most of the whole movement is lost, and the network learns
#    far more slowly. fp16 loses many updates, too, but the small ones: most of their sum is left. Master weights of
#    float32 add the same updates up, as the latent weights of the first scene do, and the error is that of float32. The
#    format with the largest range is not the safe half, then: it is the one that needs master weights most.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function until your own passes
# its check. After the first, go back to the explorer and set *by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`, `itertools`, `functools`,
# `operator`, `collections`, `heapq`, `bisect`, `statistics`, `fractions`, `random`, `re`, `copy`, `time`, `typing`,
# `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Round, and let the gradient through (core, 12 minutes)
#
# Write `fake_quantize_ste(x, scale, zero_point, q_min, q_max)`. It quantizes and dequantizes `x` as in chapter 03:
# $q = \mathrm{clamp}(\mathrm{round}(x / s) + z, q_{\min}, q_{\max})$, and the result is $s\,(q - z)$. `x` is a float
# tensor of any shape, `scale` a number above 0, and the other three are whole numbers. The result has the shape and the
# type of `x`. Autograd must be able to go back through it: the gradient of the result passes to `x` unchanged where `x`
# lies inside the range of the integers, from $s\,(q_{\min} - z)$ to $s\,(q_{\max} - z)$, and is 0 outside.
#
# Example: with the scale 0.5, the zero point 1 and the integers from 0 to 3, `x = [-0.9, -0.2, 0.7, 1.4]` becomes
# `[-0.5, 0.0, 0.5, 1.0]`. The range is −0.5 to 1. If the gradients `[1.0, 2.0, 3.0, 4.0]` come back to the result, `x`
# gets `[0.0, 2.0, 3.0, 0.0]`.
#
# <details><summary>Hint</summary>
#
# Which `x` still moves its own output? What is clipped gives the same output when it moves a little, so nothing
# passes.
#
# For autograd, `x + (y - x).detach()` has the value of `y` and the gradient of `x`. What must stand in place of `x`, so
# that no gradient passes outside the range? What is the gradient of `torch.clamp`?
# </details>


# %% exercise-1-answer
@fake_quantize_ste.answer
def fake_quantize_ste(x, scale, zero_point, q_min, q_max):
    """Return the rounded numbers, of x's shape and type, through which gradients pass."""
    ### BEGIN SOLUTION
    inside = x.clamp(scale * (q_min - zero_point), scale * (q_max - zero_point))
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    rounded = scale * (q - zero_point)
    return inside + (rounded - inside).detach()
    ### END SOLUTION


# %% exercise-1-check
fake_quantize_ste.check()

# %% [markdown] exercise-2
# ### 2 · The gradient of a step (core, 15 minutes)
#
# Write `learned_step_gradient(gradient, x, step, q_min, q_max)`: how the loss changes with the scale, LSQ's *step*.
# Forward, $\hat x = s\,q$ with $q = \mathrm{clamp}(\mathrm{round}(x / s), q_{\min}, q_{\max})$. `x` is a float tensor,
# `gradient` is that of the loss by $\hat x$, in the same shape. `step` is one number above 0 as a tensor of shape `()`,
# or one per output channel, in a shape such as `(300, 1)` that broadcasts against `x`. Return a tensor of the shape and
# type of `step`: for each step the sum over its numbers of `gradient` times the derivative of $\hat x$ by $s$, times
# $1 / \sqrt{N \, q_{\max}}$, where $N$ is how many numbers share the step.
#
# The derivative is that of the straight-through estimator. Where $x / s$ lies from $q_{\min}$ to $q_{\max}$, the
# rounding error $q - x / s$ counts as a constant; beyond these ends $q$ itself is one. Work out the two formulas
# before you write code.
#
# Example: `x = [0.2, 0.9, 5.0, -3.0]` with the step 0.5 and the integers from −2 to 1. In steps `x` is
# `[0.4, 1.8, 10, -6]`: three of the numbers are clipped. The derivatives are `[-0.4, 1, 1, -2]`. With the gradients
# `[1.0, 1.0, 2.0, 1.0]` the sum is 0.6, and times $1 / \sqrt{4 \cdot 1}$ that is 0.3.
#
# <details><summary>Hint</summary>
#
# Call the rounding error $e = q - x / s$, so $\hat x = s\,q = s\,(x / s + e) = x + s\,e$. Hold $e$ fixed and
# differentiate by $s$. Where $x$ is clipped, $\hat x = s\,q_{\max}$ or $s\,q_{\min}$.
#
# `t.sum_to_size(step.shape)` adds up over the axes along which `step` was broadcast. How many numbers does each step
# have, if there is one per channel?
# </details>


# %% exercise-2-answer
@learned_step_gradient.answer
def learned_step_gradient(gradient, x, step, q_min, q_max):
    """Return the gradient of each step, in step's shape."""
    ### BEGIN SOLUTION
    ratio = x / step
    q = ratio.round().clamp(q_min, q_max)
    inside = (ratio >= q_min) & (ratio <= q_max)
    derivative = torch.where(inside, q - ratio, q)
    numbers = x.numel() // step.numel()
    return (gradient * derivative).sum_to_size(step.shape) / (numbers * q_max) ** 0.5
    ### END SOLUTION


# %% exercise-2-check
learned_step_gradient.check()

# %% [markdown] exercise-3
# ### 3 · Two values, or three (core, 12 minutes)
#
# Write `signs_and_scale(weight, ternary)`, which returns a pair. `weight` is a float tensor whose first axis is that of
# the output channels: `(300, 784)`, or `(50, 20, 5, 5)`.
#
# - The first of the pair are the *signs*, in the weight's shape. If `ternary` is False, each is −1 or 1; a weight of 0
#   gets one of them too. If `ternary` is True, a weight whose magnitude is at most 0.7 times the mean magnitude of its
#   channel becomes 0, and the others −1 or 1.
# - The second is the *scale*, one per output channel, float, in the shape `(300, 1)` or `(50, 1, 1, 1)`: the number
#   with which `scale * signs` has the least squared error. The scale of a channel of zeros is 0.
#
# Example: `[[0.5, -1.5, 0.1, -0.3]]` has the mean magnitude 0.6. Its binary signs are `[[1, -1, 1, -1]]` with the scale
# 0.6. For the ternary ones the threshold is 0.42: the signs are `[[1, -1, 0, 0]]`, and the scale is 1.0.
#
# <details><summary>Hint</summary>
#
# With the signs $t$ of a channel fixed, project its weights $w$ on them: the error $\sum (w - \alpha t)^2$ is least
# where its derivative by $\alpha$ is 0, at $\alpha = \sum w\,t \,/ \sum t^2$. What is $w\,t$, if $t$ is the sign of
# $w$? And how many terms does $\sum t^2$ count?
#
# `mean` and `sum` take several axes: `weight.sum((1, 2, 3), keepdim=True)`. `weight.flatten(1)` has two axes, whatever
# the weight has.
# </details>


# %% exercise-3-answer
@signs_and_scale.answer
def signs_and_scale(weight, ternary):
    """Return the signs, of weight's shape, and one scale per output channel."""
    ### BEGIN SOLUTION
    rows = weight.flatten(1)
    magnitudes = rows.abs()
    signs = torch.where(rows >= 0, 1.0, -1.0)
    if ternary:
        signs = signs * (magnitudes > 0.7 * magnitudes.mean(1, keepdim=True))
    scale = (rows * signs).sum(1) / (signs**2).sum(1).clamp(min=1)
    return signs.view(weight.shape), scale.view(-1, *[1] * (weight.dim() - 1))
    ### END SOLUTION


# %% exercise-3-check
signs_and_scale.check()

# %% [markdown] exercise-4
# ### 4 · A training step with latent weights (more, 12 minutes)
#
# Write `latent_step(latent, bias, scale, loss, rate, decay)`: one step of SGD for a layer whose weights have one bit.
#
# - `latent` holds the latent weights, float32 of any shape, and `bias` the biases, one for each `latent[i]`.
# - The layer computes with the weight `scale` where a latent weight is 0 or more, and `-scale` where it is below 0.
#   `scale` is a number, and is not trained.
# - `loss(weight, bias)` gives the loss of a layer that computes with this weight and this bias. It may be, for a
#   batch `x, y`, the mean of `(x @ weight.T + bias - y) ** 2`.
#
# The step:
#
# 1. Take the gradients of the loss by weight and bias, at the weight with which the layer computes.
# 2. Subtract from each latent weight `rate` times (its gradient + `decay` times the latent weight). The gradient of
#    the weight is used as it is, straight through; the second term is *weight decay*.
# 3. Clip the latent weights to the range from `-scale` to `scale`. Further out they would change nothing, and take
#    longer to come back.
# 4. Subtract from each bias `rate` times its gradient. Biases do not decay and are not clipped.
#
# Return three new tensors, `(latent, bias, weight)`. The third is the weight with which the layer computes after the
# step: this one is tested and stored. Do not change what you are given.
#
# Example: `latent` is `[[0.1, -0.5]]`, `bias` is `[0.0]` and `scale` is 0.5. The layer computes with `[[0.5, -0.5]]`.
# Suppose the gradients there are `[[3.0, 1.0]]` and `[1.0]`. With `rate=0.1` and `decay=0` the new latent weights are
# `[[-0.2, -0.5]]`, the biases `[-0.1]` and the weight `[[-0.5, -0.5]]`. The first sign has flipped. The second latent
# weight came to -0.6 and was clipped.
#
# <details><summary>Hint</summary>
#
# `torch.where(latent >= 0, scale, -scale)` is a new tensor, and `.requires_grad_()` makes it take a gradient. The
# bias needs a copy for that. `torch.autograd.grad(value, (weight, bias))` returns both gradients. At which tensor is
# the gradient taken, and which tensor does it move?
# </details>


# %% exercise-4-answer
@latent_step.answer
def latent_step(latent, bias, scale, loss, rate, decay):
    """Return (latent weights, biases, weight), all of them after the step."""
    ### BEGIN SOLUTION
    weight = torch.where(latent >= 0, scale, -scale).requires_grad_()
    bias = bias.clone().requires_grad_()
    of_weight, of_bias = torch.autograd.grad(loss(weight, bias), (weight, bias))
    latent = latent - rate * (of_weight + decay * latent)
    latent = latent.clamp(-scale, scale)
    return latent, (bias - rate * of_bias).detach(), torch.where(latent >= 0, scale, -scale)
    ### END SOLUTION


# %% exercise-4-check
latent_step.check()

# %% [markdown] exercise-5
# ### 5 · Round to bf16 (more, 10 minutes)
#
# A float32 has a sign, 8 bits of exponent and 23 bits of mantissa. bf16 keeps the sign, the exponent, and the first 7
# bits of the mantissa: its numbers are the float32 numbers whose lower 16 bits are 0. Write `round_to_bf16(x)`. `x`
# is a float32 tensor of any shape. Return a float32 tensor of this shape, with the nearest number of bf16 for each
# number. Of two that are equally near take the *even* one, whose last bit (of the 16 that stay) is 0. Also:
#
# - what rounds up beyond the largest number of bf16 becomes infinity,
# - infinity and NaN stay what they are,
# - a sign stays, that of -0.0 too.
#
# Use integers: `x.view(torch.int32)` has the same bits as `x`. A cast to `torch.bfloat16` is not accepted.
#
# Example, in bits: `0x3f818000` lies halfway between `0x3f810000` and `0x3f820000`, and the second is even.
# `0x3f808000` lies halfway between `0x3f800000` and `0x3f810000`, and the first is even. `0x3fffffff`, just below 2,
# becomes `0x40000000`, which is 2: the mantissa overflows into the exponent, as it should.
#
# <details><summary>Hint</summary>
#
# Suppose halves were all to go up. What would you add to the integers before you set the lower 16 bits to 0 with
# `& ~0xFFFF`? With one less, halves all go down. Add this smaller number, and one more where the last bit that stays,
# `(bits >> 16) & 1`, is 1.
#
# `bits.view(torch.float32)` leads back. Sign, carry, subnormal numbers and infinity then come out right by
# themselves. NaN does not always: which of its bits may be ones?
# </details>


# %% exercise-5-answer
@round_to_bf16.answer
def round_to_bf16(x):
    """Return float32 numbers that bf16 has, the nearest to x."""
    ### BEGIN SOLUTION
    bits = x.view(torch.int32)
    odd = (bits >> 16) & 1
    rounded = (bits + 0x7FFF + odd) & ~0xFFFF
    return torch.where(x.isnan(), torch.nan, rounded.view(torch.float32))
    ### END SOLUTION


# %% exercise-5-check
round_to_bf16.check()

# %% [markdown] exercise-6
# ### 6 · Find the loss scale while training (more, 15 minutes)
#
# A loss was multiplied by a scale, and `backward()` was called. Write `scaled_step(scaler, parameters, optimizer)`,
# which does the rest, in place: it takes the step or skips it, and adapts the scale.
#
# - `parameters` is a list of tensors, each with a gradient of the scaled loss in `.grad`.
# - `optimizer` is SGD with momentum and moves these parameters.
# - `scaler.scale` is the scale, and `scaler.good_steps` counts the good steps in a row since the scale last changed.
# - `scaler.interval` and `scaler.max_norm` do not change.
#
# If any number of any gradient is infinite or NaN, *skip* the step: weights and momentum stay as they are, the scale
# is halved, and the count starts again at 0.
#
# Otherwise the step is *good*. Divide the gradients by the scale, clip them so that the norm of all of them together
# is at most `scaler.max_norm`, let the optimizer take its step, and count it. When the count reaches
# `scaler.interval`, double the scale and start the count again at 0. Return nothing.
#
# Example: `scale` is 1024.0, `good_steps` is 3 and `interval` is 4. A good step makes them 2048.0 and 0. A skipped
# step makes them 512.0 and 0.
#
# <details><summary>Hint</summary>
#
# `p.grad.isfinite().all()` asks the gradient of one parameter. `p.grad /= scaler.scale` divides it in place, and
# `torch.nn.utils.clip_grad_norm_(parameters, max_norm)` clips all of them in place. It knows nothing of the scale, so
# which of the two comes first? A skipped step does not call `optimizer.step()`. What would momentum do with gradients
# of 0?
# </details>


# %% exercise-6-answer
@scaled_step.answer
def scaled_step(scaler, parameters, optimizer):
    """Take a step or skip it, and change the scale, in place."""
    ### BEGIN SOLUTION
    if not all(p.grad.isfinite().all() for p in parameters):
        scaler.scale /= 2
        scaler.good_steps = 0
        return
    for p in parameters:
        p.grad /= scaler.scale
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)
    optimizer.step()
    scaler.good_steps += 1
    if scaler.good_steps == scaler.interval:
        scaler.scale *= 2
        scaler.good_steps = 0
    ### END SOLUTION


# %% exercise-6-check
scaled_step.check()

# %% [markdown] exercise-7
# ### 7 · Break the gradient (more, 8 minutes)
#
# Three numbers `x` are quantized with the integers -1, 0 and 1: `q` is `x / step`, rounded and clipped, and the
# outputs are `q * step`. `upstream` holds the gradients of the loss by these outputs. A number is *inside* if
# `x / step` lies from -1 to 1. The right way back, without LSQ's factor:
#
# - a number has the gradient `upstream` inside, and 0 outside;
# - the step has the sum of `upstream` times (`q - x / step` inside, `q` outside).
#
# Here are seven ways to get that wrong. Each does one thing differently, and the rest is right:
#
# | | what it does instead |
# |---|---|
# | identity | numbers outside have the gradient `upstream` too |
# | clipped at 1 | a number has the gradient `upstream` if `x` itself lies from -1 to 1, and otherwise 0 |
# | no gradient | all numbers have the gradient 0, the derivative of rounding |
# | q alone | the step has the sum of `upstream` times `q` |
# | q - x/s everywhere | numbers outside add `upstream` times (`q - x / step`) to the sum for the step, too |
# | ends forgotten | numbers outside add nothing to the sum for the step |
# | upstream forgotten | as if all three numbers of `upstream` were 1 |
#
# Return `(x, step, upstream)`: a list of three numbers, a number, and a list of three numbers. The numbers of the
# lists lie from -10 to 10, the step from 0.01 to 10. **Each of the seven** must give other gradients than the right
# way, and **no two of them** the same ones: a good test says which mistake it has found. Here some of the mistakes
# hide:
#
# ```
# return [0.4, 0.9, 3.0], 1.0, [1.0, 1.0, 1.0]
# ```
#
# <details><summary>Hint</summary>
#
# Begin with the gradients of the three numbers. The right way, *identity*, *clipped at 1* and *no gradient* must give
# four different lists. Which numbers do they treat differently: inside or outside, from -1 to 1 or beyond? With a
# step of 1 these two questions have the same answer. Then choose `upstream`, and work out the sum for the step in all
# four ways.
# </details>


# %% exercise-7-answer
@break_the_gradient.answer
def break_the_gradient():
    """Return (x, step, upstream)."""
    ### BEGIN SOLUTION
    x = [0.5, 1.5, 3.0]  # inside, and not beyond 1; inside and beyond 1; outside
    return x, 2.0, [1.0, 2.0, 3.0]  # a step that is not 1, gradients that are not all 1
    ### END SOLUTION


# %% exercise-7-check
break_the_gradient.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# Four rows for the running table: the float network with as many epochs as the others, and 4, 2 and 1 bits, their
# scales learned. Each is trained now, written to a file, read back and tested on the **test** images.


# %% bill-networks
def trained(way, bits):
    """The network of a way to few bits, after its four epochs."""
    model = networks.folded(data, seed)
    if way is not None:
        model = aware.prepare(model, **networks.options(way, bits))
    networks.take_steps(model, data, seed)
    return model


rows = {"float32, 4 more epochs": trained(None, 32)}
rows |= {f"{bits} bit{'s' * (bits > 1)}, learned": trained("learned", bits) for bits in (4, 2, 1)}

# %% bill-table
for name, model in rows.items():
    floats = model is rows["float32, 4 more epochs"]
    q = {} if floats else aware.quantized_weights(model)[1]
    report = measure.measure(
        name,
        model if floats else aware.as_plain(model),
        data.test,
        data.name,
        "results/model.safetensors",
        encode=lambda state, q=q: integer_formats.pack_integers(state, q),
        decode=integer_formats.unpack_integers,
    )
    table = measure.record(report)
    print(f"{name:24}{report.file_bytes:12,} bytes")
table

# %% [markdown] bill-reading
# **Which row would you put on a small device? And what have the short files not bought?**
#
# <details><summary>Answer</summary>
#
# Two bits, if a few images more may be wrong: the file is less than a fifteenth of the one in floats. (Its weights are
# ternary, so five of them share a byte.) One bit saves another third of that, and costs more answers. Time and
# multiply-accumulates are what they were, because the weights are unpacked to floats before they are used. What the
# files have bought is bytes that need not be stored or loaded; the estimate of the energy shows it.
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# The weak side of fp16 is its range. A gradient below half of the least number becomes 0, it *underflows*. So
# mixed-precision training multiplies the loss by a *loss scale* before the gradients are taken, which multiplies every
# gradient, and divides by it before the step. Is that needed? How many of the gradients that are not 0 underflow
# without it?

# %% breaks-underflow
sizes = halves.magnitudes(data)
print(
    "% of gradients that become 0 in fp16, after step" + "".join(f"{m:7}" for m in halves.MOMENTS)
)
for kind in halves.KINDS[2:]:
    gone = [halves.lost(sizes.of(m, kind), number_formats.FP16)[0] for m in halves.MOMENTS]
    print(f"{kind:48}" + "".join(f"{100 * share:7.1f}" for share in gone))

# %% [markdown] breaks-predict
# Now we train for two epochs in fp16, with master weights, with loss scales from $2^{-20}$ to $2^{24}$ that stay as
# they are, and with one that is found while training, as in exercise 6. How many points better than without a scale,
# $2^0$, is the best of them? Write your guess.

# %% breaks-guess
my_guess = None

# %% breaks-measured
scales = halves.EXPONENTS
found = {k: [halves.at_scale(data, k, s) for s in halves.SEEDS] for k in (*scales, "float32", None)}
errors = {k: np.array([100 * run.error for run in runs]) for k, runs in found.items()}
gain = errors[0].mean() - min(errors[k].mean() for k in scales)
print(f"your guess: {my_guess}; the best is {gain:.1f} points better than 2^0")
for k, name in ((0, "loss scale 2^0"), (None, "found while training"), ("float32", "float32")):
    row(name, errors[k])

# %% breaks-window
plot, (panel,) = plots.new(
    alt="Error over the loss scale: a flat floor with a wall on each side", width=6
)
seeds = {f"seed {s}": [errors[k][s] for k in scales] for s in halves.SEEDS}
plots.curves(panel, scales, seeds, baseline=("float32, mean", errors["float32"].mean()))
panel.set_xticks(scales[::2], [f"$2^{{{k}}}$" for k in scales[::2]])
panel.set(xlabel="loss scale", ylabel="wrong, %", yscale="log")
panel.set_yticks([5, 10, 20, 50, 90], ["5", "10", "20", "50", "90"], minor=False)
panel.set_yticks([], minor=True)
panel.set_title("fp16 with master weights, fixed loss scales")
plot

# %% breaks-sum
counts = sizes.of(halves.MOMENTS[2], halves.KINDS[2])
for k in (-16, -8, 0):
    gone = halves.lost(counts, number_formats.FP16, k)[0]
    amount = halves.lost(counts * halves.MIDDLES, number_formats.FP16, k)[0]
    print(f"2^{k}: {100 * gone:.1f} % of the {halves.KINDS[2]} become 0, ", end="")
    print(f"{100 * amount:.4f} % of the sum of their magnitudes")

# %% [markdown] breaks-reading
# **In which window does training work? What has the loss scale gained here? And the gradients that became 0, why has
# nobody missed them?**
#
# <details><summary>Answer</summary>
#
# Over more than twenty powers of two any scale gives the error of float32, within the spread of the seeds, and $2^0$
# lies inside this window: here the loss scale gains nothing. What underflows is so small that the rest outweighs it by
# far. Outside of the window training fails. At the low end the gradients become 0; at the high end they become
# infinite, and the steps are skipped. Where the window lies depends on the network. A scale that is found while training
# gets into it, wherever it is, and here the search even costs a little: an insurance, and not a gain.
# </details>

# %% [markdown] class
# ## The class is the experiment
#
# Your name (a nickname will do) is the seed of *your* LeNet-300-100. It is trained from scratch and rounded to 4, 3, 2
# and 1 bits; then, from the same floats, it is trained with rounded weights.
# **At how many bits do the networks of the class break, and what does training give back?** Write the name in place of
# `None`, run both cells, and send the file in `results` to your teacher. It takes about half a minute, longer if the
# machine is busy.

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    found = yours.in_few_bits(data, class_work.seed_of(my_name))
    print(class_work.hand_in(EXPERIMENT, my_name, found, data.name))

# %% [markdown] paper
# ## The papers
#
# - Bengio, Léonard and Courville, *Estimating or Propagating Gradients Through Stochastic Neurons*, 2013, [arXiv
#   1308.3432](https://arxiv.org/abs/1308.3432): where straight through comes from, and what it was compared with.
# - Courbariaux, Bengio and David, *BinaryConnect*, NeurIPS 2015, [arXiv 1511.00363](https://arxiv.org/abs/1511.00363).
#   Read section 2: signs in both passes, latent weights for the steps. It claims that weights of one bit act as a
#   regularizer and come near the state of the art on MNIST, CIFAR-10 and SVHN.
# - Rastegari and others, *XNOR-Net*, ECCV 2016, [arXiv 1603.05279](https://arxiv.org/abs/1603.05279). Read section 3.1
#   for the scale. It claims 32 times less memory and convolutions 58 times as fast; AlexNet with binary weights loses
#   2.9 points on ImageNet.
# - Li, Zhang and Liu, *Ternary Weight Networks*, 2016, [arXiv 1605.04711](https://arxiv.org/abs/1605.04711): three values
#   are only slightly worse than floats, and better than two. Zhu and others, *Trained Ternary Quantization*, ICLR 2017,
#   [arXiv 1612.01064](https://arxiv.org/abs/1612.01064), learn a scale for each sign: AlexNet gets 0.3 points better than
#   with floats.
# - Choi and others, *PACT*, 2018, [arXiv 1805.06085](https://arxiv.org/abs/1805.06085), learn where to clip activations:
#   4 bits for these and for weights are comparable to floats.
# - Esser and others, *Learned Step Size Quantization*, ICLR 2020, [arXiv 1902.08153](https://arxiv.org/abs/1902.08153).
#   Read section 2, which is exercise 2. It claims that networks of 3 bits reach the accuracy of floats on ImageNet.
# - Micikevicius and others, *Mixed Precision Training*, ICLR 2018, [arXiv 1710.03740](https://arxiv.org/abs/1710.03740).
#   Read section 3: master weights, the loss scale, sums in float32. It claims that many kinds of networks train in fp16
#   as they do in float32.
#
# Of chapter 03's paper, Jacob et al. (2018), section 3 was left over. It is on training, and can be read now.
#
# Read them with a pencil:
# - From what does each training start, random weights or a trained network, and how long is it?
# - Which layers stay in floats? Which numbers are counted where a paper says *32 times*?
# - Which claim stands beside a control with as many steps?

# %% [markdown] paper-tables
# We have run three of them on MNIST, with `shrink reproduce binaryconnect`, `ternary` and `lsq`. Recipes and rules of
# the verdicts were fixed before a test error was read.

# %% paper-binaryconnect-table
reproduce.stored("binaryconnect")

# %% paper-ternary-table
reproduce.stored("ternary")

# %% paper-lsq-table
reproduce.stored("lsq")

# %% [markdown] paper-verdict
# **Verdict.** *A network of signs errs as little as its floats* (BinaryConnect): reproduced. The binary network gets
# 1.30 % wrong and its float control 1.28; three seeds cannot tell which of the two is better. Almost half of its signs
# are not the initial ones. Here the latent weights are nearly as good as the signs, 1.39 %, because they are clipped at
# the scale, and because the batch norms were measured anew. So our *they are another network* holds where nothing
# adapts to them. The paper trains for up to 1000 epochs, we for 12.
#
# *Three values lose little to floats, and less than two*: reproduced, in each of three seeds, on LeNet-5. Ternary minus
# float is -0.07 points of accuracy, with an interval from -0.16 to +0.03, and ternary minus binary +0.10. That is ten
# images in 10,000.
#
# *Learned beats fixed, and fixed beats following* (our question about LSQ, in 2 bits): reproduced in each of three
# seeds, with weights alone and with activations. The floats that take the same steps and are rounded afterwards gain
# nothing. What the paper reports for ImageNet is out of our reach.
#
# We have not tried the claims on speed, on AlexNet, and on networks that train in fp16. And our own loss scale gained
# nothing.
#
# What remains? A weight of few bits is trained in many. Small steps add up in a latent weight, in a master weight, in
# a learned scale, and what the network computes with is their rounding. All layers had the same number of bits here.
# Yet one of them may bear two bits, and another need eight. The next chapter, Mixed, asks where bits matter, and
# spends them there.
