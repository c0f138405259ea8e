# %% [markdown] title
# # 03 · Quantize: fewer bits per number
#
# **You will** store the weights of a trained network in 8 bits and in fewer, and then run the network on
# whole numbers alone.
#
# **You will be able to**
# - turn floats into small integers and back, and say what rounding costs and what clipping costs,
# - tell when a whole layer can share one range, and when it cannot,
# - follow an image through a network that computes without floats, and say what would overflow.
#
# **You need** chapter 01, and 90 minutes, 40 of them for the three core exercises. What is marked
# *more* takes another 100, and nothing later depends on it. Run the cells from the top. No GPU is needed.

# %% setup
import copy

import numpy as np
import torch

from shrink import latency, quantization
from shrink.chapters.quantize import (
    EXPERIMENT,
    accumulate,
    best_clip,
    break_the_quantizers,
    entropy_threshold,
    fixed_point,
    fold_batch_norm,
    integer_linear,
    pack_bits,
    quantize,
    quantize_channels,
    scale_and_zero_point,
)
from shrink.chapters.quantize.explorer import explore_quantization
from shrink.classroom import class_work, formats, measure, models, plots, training
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load, ten_digits
from shrink.quantization import calibration, conversion, integer

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# A float32 has 32 bits. LeNet-300-100 has 266,200 weights; how many *different* numbers are among them?

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
weights = {name: w.detach() for name, w in models.weights(net).items()}
everything = torch.cat([w.flatten() for w in weights.values()])

print(f"{len(everything):,} weights, {len(everything.unique()):,} different ones")
print(f"the largest magnitude is {everything.abs().max():.3f}")
print(f"{measure.size(net.state_dict()):,} bytes on disk")

# %% [markdown] problem-why
# Almost every weight has a distinct value. Does a network need so many? With 8 bits there are
# 256 different numbers, with 4 bits there are 16. Here are the ten digits of every chapter, and above each
# the answer of this network:

# %% problem-digits-shown
ten = ten_digits(data)
answers = training.predict(net, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [str(answer) for answer in answers])

# %% [markdown] by-hand
# ## Four numbers by hand
#
# We want to store four numbers in 2 bits each:
#
# | −0.9 | 0.0 | 0.4 | 2.1 |
# |---|---|---|---|
#
# Two bits hold four integers: −2, −1, 0 and 1. So we lay a ruler with four marks over the numbers.
#
# **How far apart are the marks?** The numbers reach from −0.9 to 2.1, a width of 3, and between four marks there are
# three steps. One step is 3 / 3 = 1. This is the *scale*. A number divided by the scale is counted in steps: 2.1 is
# 2.1 steps from 0.
#
# **Which integer stands for the number 0?** The lowest number, −0.9 steps from 0, should become the lowest integer, −2.
# For that we add −2 − (−0.9) = −1.1 to every number of steps. We round it to −1, a whole number, and call it the
# *zero point*: now the number 0 becomes the integer −1, and comes back as exactly 0. That matters, because padding,
# pruned weights and the outputs of a ReLU are full of zeros, and should stay zeros.
#
# | | −0.9 | 0.0 | 0.4 | 2.1 | and 5.0? |
# |---|---|---|---|---|---|
# | divide by the scale, round | −1 | 0 | 0 | 2 | 5 |
# | add the zero point, −1 | −2 | −1 | −1 | 1 | 4, too large for 2 bits: **1** |
# | back: subtract the zero point, multiply by the scale | −1 | 0 | 0 | 2 | 2 |
#
# Two kinds of error will follow us through the chapter. 0.4 came back as 0: that is *rounding*. 5.0 came back as 2: that
# is *clipping*. Why did we store 1 for 4? Keeping only the lowest two bits of 4 would give 0, which comes back as 1, and
# that is worse. So a number beyond the last mark takes the last mark: it *saturates*.

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $x$ | `x` | the numbers, any shape |
# | $b$ | `num_bits` | how many bits; they hold $2^b$ integers, from $q_{\min} = -2^{b-1}$ to $q_{\max} = 2^{b-1} - 1$ |
# | $s$ | `scale` | the width of a step, a float above 0 |
# | $z$ | `zero_point` | the integer that stands for 0 |
# | $q$ | `q` | the integers, in x's shape |
# | $\hat x$ | `dequantize(q, qparams)` | the numbers that the integers stand for |
#
# For numbers from $x_{\min} \le 0$ to $x_{\max} \ge 0$,
#
# $$s = \frac{x_{\max} - x_{\min}}{q_{\max} - q_{\min}} \qquad
# z = \mathrm{round}\!\left(q_{\min} - \frac{x_{\min}}{s}\right)$$
#
# $$q = \mathrm{clamp}\!\left(\mathrm{round}(x / s) + z,\; q_{\min},\; q_{\max}\right) \qquad
# \hat x = s\,(q - z)$$
#
# This is *affine* quantization. Halves are rounded to even, as torch does it.
#
# If we fix $z = 0$, it is called *symmetric*. There is no zero point to store or to add, and one scale must reach both
# ends: $s = \max(x_{\max} / q_{\max},\; x_{\min} / q_{\min})$. The lowest integer has no partner among the positive ones.
# *Narrow* quantization leaves it out, and then $s = \max|x| / q_{\max}$ (exercises 3 and 8 do so).
#
# In code `choose_qparams` finds $s$ and $z$ for a range. It returns both in one object, the `qparams` of the table.

# %% mathematics-code
x = torch.tensor([-0.9, 0.0, 0.4, 2.1, 5.0])
p = quantization.choose_qparams(-0.9, 2.1, num_bits=2)
q = quantization.quantize(x, p)
q, quantization.dequantize(q, p)

# %% [markdown] naive
# ## First in slow motion, then at once
#
# A loop that reads like the table above, and the line that does it for a million numbers.

# %% naive-code
s, z = p.scale.item(), p.zero_point.item()
one_by_one = []
for number in x.tolist():
    steps = round(number / s) + z
    one_by_one.append(max(-2, min(1, steps)))
at_once = ((x / s).round() + z).clamp(-2, 1).to(torch.int8)
at_once.tolist() == one_by_one == q.tolist()

# %% [markdown] real
# ## On the real network
#
# We give the weights of each layer one scale, symmetric. Here are some weights of the first layer, fc1, in 8 bits.
# `qparams_of` takes the range from the tensor itself. Look at the type of the result.

# %% real-int8
p = quantization.qparams_of(weights["fc1.weight"], num_bits=8, symmetric=True)
q = quantization.quantize(weights["fc1.weight"], p)
print(f"one step is {p.scale.item():.5f}")
q[:3, 400:408]

# %% [markdown] real-type
# **int8 is a type, not a habit.** A float tensor that holds whole numbers from −128 to 127 takes four bytes per
# number like any other:

# %% real-type-code
{"int8": measure.size({"q": q}), "the same in floats": measure.size({"q": q.float()})}

# %% [markdown] real-bits
# Below 8 bits there is no type: a computer addresses nothing smaller than a byte. So we *pack*: two numbers of
# 4 bits into one byte, eight numbers of 3 bits into three bytes. `formats.pack_quantized` packs the weights, and keeps
# scales and biases in float32. How long is the file, and how many images does the network read back from it get right?

# %% real-measure
scratch = models.build("lenet-300-100", seed).to(data.train.images.device).eval()


def evaluate(state):
    """The accuracy on the validation images in %, with these weights in place of the trained ones."""
    scratch.load_state_dict({**net.state_dict(), **state})
    return 100 * training.accuracy(scratch, data.validation)


full = measure.size(net.state_dict())
print(f"float32: {full:9,} bytes        {evaluate({}):.2f} % right")
for bits in (8, 6, 4, 3, 2):
    arrays = formats.pack_quantized(net.state_dict(), bits, symmetric=True)
    state, length = formats.unpack_quantized(arrays), measure.size(arrays)
    print(f"{bits} bits:  {length:9,} bytes, {full / length:4.1f}x {evaluate(state):.2f} % right")
    if bits == 8:
        print(f"         {length - full // 4:9,} of these are more than a quarter of float32's")

# %% [markdown] real-reading
# A quarter of the bytes costs nothing that we can see, and half of that next to nothing. At 2 bits it is over. **Why is
# the file of 8 bits a little longer than a quarter?**
#
# <details><summary>Answer</summary>
#
# The biases stay in 32 bits, and the header with names and shapes does not shrink.
# </details>

# %% [markdown] noise
# ## What does one more bit buy?
#
# We compare the weights with the errors that rounding makes. The *signal-to-noise ratio* is the mean square of the
# numbers over the mean square of their errors. It is given in *decibels* (dB): $10 \log_{10}$ of the ratio.
#
# A calculation first. Rounding moves a number by at most half a step. If every error up to that is equally likely, the
# mean square of the errors is $s^2/12$. One more bit halves the step $s$, so the mean square falls to a quarter, and
# the ratio gains $10 \log_{10} 4 = 6.02$ dB. **That is a rule for small steps without clipping. Do our weights follow it?**
#
# `quantization.fake_quantize` quantizes and dequantizes in one call: it returns floats, with the rounding errors in them.
# Besides one scale for the whole layer we try finer scales: one for each of the 300 units (a *channel*), and one for
# every 64 weights of a unit (a *group*).


# %% noise-measured
def decibels(x, x_hat):
    """The signal-to-noise ratio: mean square of the numbers over that of their errors, in dB."""
    return 10 * np.log10(float(x.square().mean() / (x - x_hat).square().mean()))


w = weights["fc1.weight"]
bits = np.arange(2, 11)
options = {"one scale": {}, "one per channel": {"axis": 0}, "one per 64 weights": {"group": 64}}
ratios = {name: [] for name in options}
print(f"{'dB gained by one more bit, to':30}", *(f"{b:5}" for b in bits[1:]), "bits")
for name, how in options.items():
    for b in bits.tolist():
        p = quantization.qparams_of(w, b, symmetric=True, **how)
        ratios[name].append(decibels(w, quantization.fake_quantize(w, p)))
    print(f"{name:30}", *(f"{gain:5.2f}" for gain in np.diff(ratios[name])))

# %% noise-shown
plot, (panel,) = plots.new(alt="Signal to noise of fc1 over bits, three kinds of scales", width=6)
plots.curves(panel, bits, ratios)
rule = ratios["one scale"][-1] + 6.02 * (bits - bits[-1])
panel.plot(bits, rule, color="black", ls=":", lw=1, label="the rule: 6.02 dB per bit")
panel.legend(fontsize="small")
panel.set(xlabel="bits", ylabel="signal to noise, dB", title="fc1: measured, and by the rule")
plot

# %% [markdown] noise-reading
# **At 8 bits, how many bits are finer scales worth, one per channel and one per 64 weights? And with how few bits does
# the rule no longer hold?**
#
# <details><summary>Answer</summary>
#
# Divide the distance between two lines, in dB, by 6: one scale per channel is worth more than one bit, one per 64 weights
# about two. The rule fails where the printed gains are far from 6.02; with one scale that is earlier, at more bits. Many
# weights are then smaller than half a step. They are rounded to zero, and their errors are the weights themselves: most
# of them far below half a step, so the error is smaller than by the rule.
# </details>

# %% [markdown] outlier
# ## Rounding against clipping
#
# The *largest* magnitude sets the scale. So an *outlier*, a weight far larger than the rest, makes the steps of all others
# coarse. We make the largest weight of fc1 thirty times as large:

# %% outlier-shown
disturbed = w.clone()
disturbed.view(-1)[w.abs().argmax()] *= 30
for name, some in {"as trained": w, "one weight 30 times as large": disturbed}.items():
    p = quantization.qparams_of(some, num_bits=8, symmetric=True)
    q = quantization.quantize(some, p)
    print(
        f"{name}: {len(q.unique())} of 256 integers used, {100 * (q == 0).float().mean():.0f} % zeros"
    )

# %% [markdown] outlier-clip
# Instead we can clip: choose a smaller range on purpose, and let the outlier saturate. A range that is *too* small
# clips too much. Somewhere in between the error is least, even without an outlier. Here are the weights as trained, in
# 4 bits:

# %% outlier-tradeoff
clips = np.geomspace(0.02, 1, 60) * float(w.abs().max())
clipping, rounding = [], []
for clip in clips:
    p = quantization.choose_qparams(-clip, clip, num_bits=4, symmetric=True, narrow=True)
    error = (w - quantization.fake_quantize(w, p)).square()
    outside = w.abs() > clip
    clipping.append(float(error[outside].sum() / w.square().sum()))
    rounding.append(float(error[~outside].sum() / w.square().sum()))
both = np.add(clipping, rounding)
plot, (panel,) = plots.new(
    alt="Clipping and rounding error of fc1 at 4 bits over the clip", width=6
)
plots.curves(panel, clips, {"clipping": clipping, "rounding": rounding, "together": both})
panel.set(xscale="log", ylim=(0, 0.3), xlabel="clip, the largest magnitude that is kept")
panel.set(ylabel="squared error, part of the signal", title="fc1 in 4 bits: too narrow, too wide")
plot

# %% outlier-best
best = both.argmin()
print(f"largest weight {float(w.abs().max()):.3f}, best clip {clips[best]:.3f}")
print(f"{100 * (w.abs() > clips[best]).float().mean():.2f} % of the weights are clipped there")

# %% [markdown] channels
# ## More scales
#
# More scales are another way out: with one scale per channel, an outlier spoils only its own channel. (A *channel* is the
# set of weights that make one output: a row of a linear layer's weights, or a kernel of a convolution.) With one scale for
# every 64 weights of a row it spoils still fewer. Each scale takes 4 bytes of our file.

# %% channels-measured
print("                      bits  bytes    % right")
for bits in (8, 4, 3, 2):
    for name, how in options.items():
        arrays = formats.pack_quantized(net.state_dict(), bits, symmetric=True, **how)
        right = evaluate(formats.unpack_quantized(arrays))
        print(f"{name:20} {bits:4} {measure.size(arrays):9,} {right:8.2f}")

# %% [markdown] channels-reading
# **Are bytes better spent on finer scales, or on one more bit?** Compare a row of finer scales with the row that has
# one more bit and one scale.
#
# <details><summary>Answer</summary>
#
# From 4 bits up, one scale leaves nothing to gain (a difference of a few images is no effect). At 2 bits one more bit is
# clearly better. In between, at 3 bits, finer scales come within a point of 4 bits or reach it, in fewer bytes.
# </details>

# %% [markdown] activations
# ## Weights are one thing, activations another
#
# Weights do not change once trained, so we can look their range up. The numbers between the layers, the
# *activations*, depend on the image. There are two ways to choose their range:
#
# - **dynamic**: choose it anew for each batch. Nothing is clipped, but finding the range takes time, and an answer
#   depends on the other images of the batch;
# - **static**: run a few hundred images beforehand, which is called *calibration*, and keep the range. Everything is
#   known before the network runs, so it can run on integers alone. Numbers outside the range are clipped.
#
# A static range can be chosen in several ways. Here are five:
#
# - *min-max*: from the lowest to the highest number seen,
# - *moving average*: a running mean of the lowest and of the highest number of each batch,
# - *percentile*: the range that all but the most extreme numbers fall into (here one in ten thousand is left out),
# - *squared error*: the range for which rounding and clipping together cost the least squared error,
# - *entropy*: the range that keeps the most information (exercise 11).
#
# We find the ranges of the inputs of the three layers, on 500 training images, for 4 bits, where the choice matters more
# than for 8. That needs no labels.

# %% activations-ranges
chain = [torch.nn.Flatten(), net.fc1, torch.nn.ReLU(), net.fc2, torch.nn.ReLU()]
calibration_images = data.train.images[:500]
print("upper end of the range of  pixels   after fc1   after fc2")
for method in calibration.METHODS:
    ends = []
    with torch.no_grad():
        for depth in (1, 3, 5):
            calibrator = calibration.Calibrator(method, num_bits=4)
            for batch in calibration_images.split(100):
                calibrator.see(torch.nn.Sequential(*chain[:depth])(batch))
            ends.append(calibrator.range()[1])
    print(f"{method:22} {ends[0]:10.2f} {ends[1]:11.2f} {ends[2]:11.2f}")

# %% [markdown] activations-reading
# Activations after a ReLU are never negative, so all integers should stand for 0 and above: with 8 bits the zero
# point is −128, the lowest integer. **How many of the 256 integers would symmetric quantization waste?**
#
# <details><summary>Answer</summary>
#
# Half of them, the negative ones: one bit.
# </details>

# %% [markdown] integers
# ## No float at all
#
# So far we have rounded numbers and then computed in floats as before. That makes the *file* small, and nothing
# fast. Now the layers compute on integers as well (Jacob et al. 2018). It takes four steps.
#
# **1. The sum.** A unit of a layer computes $y = \sum_k x_k w_k + b$ from its inputs $x_k$, its weights $w_k$ and its bias
# $b$. The integers $q_x$ and $q_w$ stand for $x = s_x (q_x - z_x)$ and $w = s_w q_w$ (weights are symmetric: no zero
# point). We put both in, and the two scales come out of the sum:
#
# $$y = s_x s_w \sum_k (q_{x,k} - z_x)\, q_{w,k} \; + \; b$$
#
# **2. The bias.** We count it in steps of $s_x s_w$ too, and round it to a whole number, $q_b$, stored as an int32. Now
# everything that is added up is whole. We call the result $a$:
#
# $$a = \sum_k (q_{x,k} - z_x)\, q_{w,k} + q_b \qquad
# q_b = \mathrm{round}\!\left(\frac{b}{s_x s_w}\right) \qquad y \approx s_x s_w\, a$$
#
# **3. Back to int8.** The next layer takes int8, with a scale $s_y$ and a zero point $z_y$ of its own. We divide $y$ by
# $s_y$, and quantize as always:
#
# $$q_y = \mathrm{clamp}\!\left(\mathrm{round}(M a) + z_y,\; q_{\min},\; q_{\max}\right) \qquad M = \frac{s_x s_w}{s_y}$$

# %% [markdown] integers-shift
# **4. The factor.** Only $M$ is not an integer yet; it is usually between 0 and 1. It is known before the network runs, so
# we write it as a fraction whose denominator is a power of two. To divide by $2^n$ is to shift the bits by $n$ places:
#
# $$M \approx \frac{\texttt{multiplier}}{2^{\texttt{shift}}} \qquad
# 2^{30} \le \texttt{multiplier} < 2^{31}$$
#
# An example with a multiplier of 3 bits instead of 31, from 4 to 7: $0.3 \cdot 2^4$ is 4.8, so $M = 0.3$ is nearly
# $5 / 2^4$. For $a = 26$ we compute $26 \cdot 5 = 130$ and shift by 4 places. A shift rounds down, so we add half of
# $2^4$ before it, and it rounds to the nearest: $(130 + 8) \gg 4 = 8$. In floats $0.3 \cdot 26$ is 7.8, which rounds to
# 8 as well. The same in code, with 3 bits and with 31:

# %% integers-shift-code
multiplier, shift = map(int, integer.fixed_point(0.3))
(26 * 5 + 2**3) >> 4, (26 * multiplier + 2 ** (shift - 1)) >> shift

# %% [markdown] integers-ends
# **A ReLU costs nothing.** After it no number is negative, so $z_y$ is $q_{\min}$, and the clamp of step 3 sets all
# negative numbers to it. **The last layer** is not brought back to int8. Its sums times $s_x s_w$ are the *logits*: ten
# floats, of which the largest is the answer.
#
# `conversion.quantize_model` calibrates on the images that it is given, and builds such a network.

# %% integers-built
whole = conversion.quantize_model(net, calibration_images)
whole

# %% [markdown] integers-walk
# We follow one image through it. Only its pixels and its logits are floats.

# %% integers-walk-shown
image = data.validation.images[:1]
p = quantization.QParams(whole.input_scale, whole.input_zero_point)
q = quantization.quantize(image, p)
print("image:", image.dtype, "→", q.dtype)
for layer in whole.layers:
    q = layer(q)
    print(
        f"{type(layer).__name__:16} {q.dtype}, {tuple(q.shape)}, {int(q.min())} to {int(q.max())}"
    )
print("logits:", (q * whole.output_scale).dtype)

# %% integers-accuracy
for name, model in {"float32": net, "integers": whole}.items():
    print(f"{name:8} {100 * training.accuracy(model, data.validation):.2f} % right")
changed = training.predict(net, data.validation.images) != training.predict(
    whole, data.validation.images
)
print(f"{int(changed.sum())} of {len(changed)} answers changed")

# %% [markdown] overflow
# ### How many bits does a sum need?
#
# The integers of one product are small. $q_x - z_x$ lies between −255 and 255, and a weight between −127 and 127, so a
# product is at most 255 · 127 = 32,385. That takes 15 bits and one for the sign. The sum of 784 products can be 784 times
# as large, which takes 25 bits and one for the sign.
#
# The place that holds the sum while it grows is the *accumulator*. What happens if it is too small? It keeps the lowest
# bits and forgets the others; we say that the number *wraps*. In 8 bits 300 becomes 44. We take the sums of fc1 on real
# images, and wrap them to 8, 16 and 32 bits.

# %% overflow-shown
q = quantization.quantize(data.validation.images[:500].flatten(1), p)
sums = integer.matmul(q, whole.layers[1].weight) + whole.layers[1].bias
print(f"largest sum of fc1: {int(sums.abs().max()):,}")
for bits in (8, 16, 32):
    wrong = integer.wrap(sums, bits) != sums
    print(f"accumulator of {bits:2} bits: {100 * wrong.float().mean():.1f} % of the sums are wrong")

# %% [markdown] overflow-reading
# **Why do 16 bits fail for only some of the sums? And would 32 bits be enough for a layer of 10,000 inputs?**
#
# <details><summary>Answer</summary>
#
# Products of both signs cancel, so many sums stay far below the worst case. In the worst case 32 bits hold
# 2³¹ / 32,385, or about 66,000, products: yes.
# </details>

# %% [markdown] latency
# ## Is it faster now?
#
# We time the same network in three ways, on 1000 images: in floats; with weights that were rounded to 8 bits and are floats
# again; and on integers. Then we time its first layer alone, with the same whole numbers held in int8, in int32 and in float32.
#
# Some processors have instructions that multiply many int8 at once and add them up (on x86 they are called VNNI). On others
# our network multiplies in int32: the results are the same, but the time is not. (The line for int8 below is torch's own
# product, which is slow without such instructions.)

# %% latency-measured
images = data.validation.images[:1000]
rounded = copy.deepcopy(net)
rounded.load_state_dict(
    formats.unpack_quantized(formats.pack_quantized(net.state_dict(), 8, symmetric=True))
)
for name, model in {"float32": net, "rounded, in floats": rounded, "integers": whole}.items():
    print(f"{name:20} {latency.latency(model, images, warm_up=2, runs=9)}")
print("fast int8 product on this CPU:", "yes" if integer.has_int8_product() else "no")
q8, w8 = quantization.quantize(images.flatten(1), p).cpu(), whole.layers[1].weight.cpu()
for kind in (torch.int8, torch.int32, torch.float32):
    a, b = q8.to(kind), w8.to(kind).T
    product = torch._int_mm if kind == torch.int8 else torch.mm
    _, median, _ = latency.time_call(lambda: product(a, b), warm_up=1, runs=9)
    print(f"fc1 alone, in {str(kind)[6:]:7} {1000 * median:8.2f} ms")

# %% [markdown] latency-reading
# **Fewer bits are not faster by themselves.** Rounded weights in floats take as long as before. Integers can be faster
# where the machine has a fast product for int8. Where it has none they are slower: floats have had fast products for
# decades. **Which row would a network resemble whose weights and activations have 4 bits?**
#
# <details><summary>Answer</summary>
#
# That of the integers: nothing here multiplies numbers of 4 bits, so they are unpacked to int8 first. The file is half as
# long, and the time is the same, or longer.
# </details>

# %% [markdown] predict
# ## Predict
#
# One scale for each layer, symmetric, weights only, nothing trained afterwards. Look at the table of *On the real network*:
# at how many bits has the network first lost more than **five points**? Now we make the largest weight of fc1 eight times as
# large, and go from 8 bits down again. At how many bits has it lost five points now? Write your guess in place of
# `None`. It is not marked.

# %% predict-guess
my_guess = None

# %% predict-answer
for times in (1, 8):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["fc1.weight"].view(-1)[w.abs().argmax()] *= times
    before = evaluate(state)
    for bits in range(8, 1, -1):
        arrays = formats.pack_quantized(state, bits, symmetric=True)
        if evaluate(formats.unpack_quantized(arrays)) < before - 5:
            break
    print(
        f"largest weight times {times}: in floats {before:.2f} % right, five points lost at {bits} bits"
    )
print(f"your guess: {'none' if my_guess is None else f'{my_guess} bits'}")

# %% [markdown] predict-reading
# **Where does the difference come from?**
#
# <details><summary>Answer</summary>
#
# The range is eight times as wide, and so is each step. Three bits fewer would do the same: 8 = 2³.
# </details>

# %% [markdown] explore
# ## Explore
#
# Either the weights of all three layers are rounded and activations stay floats, or the other way round. The figures are
# for the first 1000 validation images, which we may look at as often as we like. *outlier* makes the largest weight of
# fc1 so many times larger, or the largest activation in one batch of the images for calibration, as a faulty image would.
# *clip* cuts the range off at a percentile of the magnitudes. Each button sets the state that a question begins with.
#
# *Levels* are the marks of our ruler. The squared error is summed over fc1, its weights or its outputs. The axis under it
# shows the clip in % of the largest magnitude, not as a percentile; ▼ marks the least error. The pale band holds
# three seeds without an outlier. *Another seed* is a yardstick: so many answers differ between two networks in floats.

# %% explore-quantization
explorer = explore_quantization(data, scale_and_zero_point, quantize)
explorer

# %% [markdown] explore-questions
# 1. *outlier*: Raise the outlier from 1 to 32, then to 128. **By how many bits does the curve of accuracy move to the
#    right? Do more answers change than with another seed?**
# 2. *scales*: The outlier is at 128: **what does a scale per channel give back, and for how many bytes?**
# 3. *clip*: Lower the clip from 100 to 90. **At which percentile is the squared error least? Is the accuracy best there
#    as well? And at 2 bits?**
# 4. *calibrate*: The outlier is at 64: go through the calibrations. **Which of the six keep the accuracy, and why does
#    *dynamic* not mind?**
# 5. *symmetric*: Set the range to symmetric. **How many bits does that cost?**
#
# <details><summary>Answers</summary>
#
# 1. By four or five bits at 32, by six or so at 128: each doubling of the range costs one. At 8 bits and 32 no more answers
#    change than with another seed; at 128 many more.
# 2. The accuracy: one row of 300 suffers, and the network does not notice. It takes 2 KB of scales and zero points.
# 3. Between the 98th and the 99th percentile. The accuracy is not best there, but between 99.5 and 99.95: the squared error
#    counts all weights alike, and the few large ones do more than their share. At 2 bits the squared error is least near 95
#    or below, and the accuracy is best from 98 to 99.5.
# 4. *percentile*, for which one number is nothing, and *dynamic*, which never sees those images; the moving average partly.
#    Min-max takes the outlier as it comes. *Squared error* takes it too, and loses the accuracy: to clip one number 64
#    times as large costs more than to round all others coarsely. *Entropy* keeps the accuracy at 4 bits and loses it at 5
#    and 6: the outlier stands so far out that often nothing lies between to be compared.
# 5. One, exactly: half of the integers are for negative numbers, and after a ReLU there are none.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function
# until your own passes its check. After the first two, go back to the explorer and set *by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`, `itertools`, `functools`,
# `operator`, `collections`, `heapq`, `bisect`, `statistics`, `fractions`, `random`, `re`, `copy`, `time`, `typing`,
# `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Scale and zero point (core, 10 minutes)
#
# Write `scale_and_zero_point(x_min, x_max, num_bits)` for signed integers, $-2^{b-1}$ to $2^{b-1}-1$, not
# symmetric. The range that you are given need not include 0: widen it until it does. The zero point is one of the
# integers; exactly between two, either is right. A range of no width, 0 to 0, has scale 1, and any of the
# integers as its zero point. Return a float and an int.
#
# Example: `scale_and_zero_point(-0.9, 2.1, 2)` is `(1.0, -1)`, as in the table above.
#
# <details><summary>Hint</summary>
#
# Between $2^b$ integers lie $2^b - 1$ steps. The zero point is where 0 falls when `x_min` falls on the lowest integer;
# Python's `round` makes it whole.
# </details>


# %% exercise-1-answer
@scale_and_zero_point.answer
def scale_and_zero_point(x_min, x_max, num_bits):
    """Return (scale, zero_point)."""
    ### BEGIN SOLUTION
    x_min, x_max = min(x_min, 0.0), max(x_max, 0.0)
    if x_min == x_max:
        return 1.0, 0
    lowest, highest = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = (x_max - x_min) / (highest - lowest)
    return scale, round(lowest - x_min / scale)
    ### END SOLUTION


# %% exercise-1-check
scale_and_zero_point.check()

# %% [markdown] exercise-2
# ### 2 · Quantize (core, 15 minutes)
#
# Write `quantize(x, scale, zero_point, num_bits)`: the nearest integers to `x / scale`, plus the zero point, as a
# tensor of type int8 and x's shape. Numbers beyond the integers of `num_bits`, however far, saturate. `num_bits` is 2 to
# 8. Exactly between two integers you may take either. x may have any shape and float type; do not change it.
#
# Example: with scale 0.5, zero point 3 and 8 bits, `[0.0, 0.6, 100.0]` becomes `[3, 4, 127]`.
#
# <details><summary>Hint</summary>
#
# A cast to int8 does not ask whether a number fits: 300 becomes 44. So the order matters: first the zero point, then
# the clamp, and the cast last.
# </details>


# %% exercise-2-answer
@quantize.answer
def quantize(x, scale, zero_point, num_bits):
    """Return int8 of x's shape."""
    ### BEGIN SOLUTION
    lowest, highest = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    q = torch.round(x / scale) + zero_point
    return q.clamp(lowest, highest).to(torch.int8)
    ### END SOLUTION


# %% exercise-2-check
quantize.check()

# %% [markdown] exercise-3
# ### 3 · A scale for each channel (core, 15 minutes)
#
# Write `quantize_channels(weight, num_bits)`. `weight` has one to four axes, and the first counts the channels.
# Quantize symmetrically and without the lowest integer, so from $-(2^{b-1}-1)$ to $2^{b-1}-1$: the scale of a channel
# is its largest magnitude divided by $2^{b-1}-1$. A channel of zeros has scale 1. Return the integers, int8 of the
# weight's shape, and the scales, float32 of shape `(channels,)`.
#
# Example: `[[1.0, -2.0], [0.0, 0.0], [0.5, 0.1]]` in 2 bits gives `[[0, -1], [0, 0], [1, 0]]` and the scales
# `[2.0, 1.0, 0.5]`. (1.0 lies exactly between 0 and 1; either is right.)
#
# <details><summary>Hint</summary>
#
# `flatten(1)` makes each channel one row, but fails on a weight with one axis; `reshape(len(weight), -1)`
# takes both. To divide, the scales need as many axes as the weight: `view(-1, 1, 1, 1)` gives them four. Or work on the
# rows, and give the result its shape at the end.
# </details>


# %% exercise-3-answer
@quantize_channels.answer
def quantize_channels(weight, num_bits):
    """Return (q, scales)."""
    ### BEGIN SOLUTION
    highest = 2 ** (num_bits - 1) - 1
    rows = weight.reshape(len(weight), -1)
    scales = rows.abs().amax(1) / highest
    scales = torch.where(scales > 0, scales, 1.0)
    q = torch.round(rows / scales[:, None]).clamp(-highest, highest)
    return q.to(torch.int8).view(weight.shape), scales
    ### END SOLUTION


# %% exercise-3-check
quantize_channels.check()

# %% [markdown] exercise-4
# ### 4 · Pack (more, 15 minutes)
#
# Write `pack_bits(q, num_bits)`: `q` is uint8 of one axis, $n$ values from 0 to $2^b - 1$; `num_bits`, $b$, is 1 to 7.
# Return $\lceil n b / 8 \rceil$ bytes as uint8. The numbers follow one another without a gap, the highest bit of each
# first. The last byte is filled up with zeros at its low end.
#
# Example: 1, 2, 3, 0, 2 in 2 bits are 01 10 11 00 | 10, so `[0b01101100, 0b10000000]`.
#
# <details><summary>Hint</summary>
#
# `np.unpackbits(q.numpy()[:, None], axis=1)` is a row of eight bits for each number, the highest first. Which of the
# eight columns do you need? `np.packbits` makes bytes of bits, and fills the last one up.
# </details>


# %% exercise-4-answer
@pack_bits.answer
def pack_bits(q, num_bits):
    """Return uint8, ceil(n * num_bits / 8) of them."""
    ### BEGIN SOLUTION
    bits = np.unpackbits(q.cpu().numpy()[:, None], axis=1)
    return torch.from_numpy(np.packbits(bits[:, 8 - num_bits :])).to(q.device)
    ### END SOLUTION


# %% exercise-4-check
pack_bits.check()

# %% [markdown] exercise-5
# ### 5 · The accumulator (more, 10 minutes)
#
# The next three exercises build an integer layer. First the sums: write `accumulate(q_x, z_x, q_w, q_b)` with
# `q_x` int8 $(n, k)$, its zero point `z_x`, an int, `q_w` int8 $(m, k)$ with zero point 0, and `q_b` int32 $(m,)$.
# Return $a = \sum_k (q_{x,k} - z_x)\,q_{w,k} + q_b$, exactly, as int32 $(n, m)$. All sums fit into int32.
#
# Example: `[[100, -100]]` with zero point −28, weights `[[100, 100]]` and bias `[5]` gives
# 128 · 100 − 72 · 100 + 5 = 5605.
#
# <details><summary>Hint</summary>
#
# The difference of two int8 is int8 again, and wraps. Make them wider first. `q.int() @ w.int().T` works on integers on a
# CPU.
# </details>


# %% exercise-5-answer
@accumulate.answer
def accumulate(q_x, z_x, q_w, q_b):
    """Return int32 (n, m)."""
    ### BEGIN SOLUTION
    differences = q_x.int() - z_x
    products = differences[:, None, :] * q_w.int()[None, :, :]
    return (products.sum(-1) + q_b).int()
    ### END SOLUTION


# %% exercise-5-check
accumulate.check()

# %% [markdown] exercise-6
# ### 6 · A multiplier and a shift (more, 10 minutes)
#
# Write `fixed_point(real)` for a float between $2^{-20}$ and $2^{10}$. Return two ints, `multiplier` and `shift`, with
# real ≈ multiplier / $2^{\text{shift}}$ and $2^{30} \le$ multiplier $< 2^{31}$. The multiplier is rounded to the
# nearest.
#
# Example: 0.75 is $0.75 \cdot 2^{31} / 2^{31}$, so `(1610612736, 31)`; 3.0 is `(1610612736, 29)`.
#
# <details><summary>Hint</summary>
#
# `math.frexp(0.3)` is `(0.6, -1)`: 0.3 = 0.6 · 2⁻¹, and the first number is always at least a half and less than 1. What
# if the multiplier rounds up to $2^{31}$?
# </details>


# %% exercise-6-answer
@fixed_point.answer
def fixed_point(real):
    """Return (multiplier, shift)."""
    ### BEGIN SOLUTION
    shift = 0
    while real * 2**shift < 2**30:
        shift += 1
    multiplier = round(real * 2**shift)
    if multiplier == 2**31:
        return 2**30, shift - 1
    return multiplier, shift
    ### END SOLUTION


# %% exercise-6-check
fixed_point.check()

# %% [markdown] exercise-7
# ### 7 · An integer layer (more, 15 minutes)
#
# Put them together: `integer_linear(q_x, z_x, q_w, q_b, multiplier, shift, z_y)`. Multiply the sums of exercise 5 by
# `multiplier`, shift them right by `shift` so that they are rounded once, to the nearest (halves up or down, as you
# like), add `z_y`, and saturate at −128 and 127. Return int8 $(n, m)$. Use no floats. You may call `accumulate`.
#
# Example: a sum of 25, multiplier $5 \cdot 2^{28}$, shift 32 and zero point −10: 25 · 5 / 16 is 7.8, so the result is −2.
#
# <details><summary>Hint</summary>
#
# A sum of up to 31 bits times a multiplier of 31 bits: which type holds that? `>>` rounds down. If you add half of
# $2^{\text{shift}}$ before the shift, it rounds to the nearest.
# </details>


# %% exercise-7-answer
@integer_linear.answer
def integer_linear(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    """Return int8 (n, m)."""
    ### BEGIN SOLUTION
    products = accumulate(q_x, z_x, q_w, q_b).long() * multiplier
    rounded = (products + (1 << (shift - 1))) >> shift
    return (rounded + z_y).clamp(-128, 127).to(torch.int8)
    ### END SOLUTION


# %% exercise-7-check
integer_linear.check()

# %% [markdown] exercise-8
# ### 8 · The best clip (more, 12 minutes)
#
# Write `best_clip(x, num_bits)`: the clip $c > 0$ for which quantizing `x` costs the least squared error, rounding and
# clipping together. Quantize symmetrically, with scale $c / (2^{b-1} - 1)$ and integers from $-(2^{b-1} - 1)$ to
# $2^{b-1} - 1$. `x` is a float tensor of any shape with some thousand numbers; a few may be outliers, a hundred times as
# large as the rest. An error within 5 % of the least is accepted.
#
# Example: for numbers spread evenly, the best clip is close to the largest magnitude; for a bell curve in 4 bits it is about
# two and a half times the standard deviation.
#
# <details><summary>Hint</summary>
#
# Try many clips and keep the best. If an outlier is a hundred times as large as the rest, clips at equal *distances* are
# nearly all larger than the rest. Try clips at equal *ratios*: from the largest magnitude down to a thousandth of it,
# each at most 5 % smaller than the one before.
# </details>


# %% exercise-8-answer
@best_clip.answer
def best_clip(x, num_bits):
    """Return the clip, a float."""
    ### BEGIN SOLUTION
    highest = 2 ** (num_bits - 1) - 1
    largest = float(x.abs().max())
    errors = {}
    for part in np.geomspace(0.001, 1, 700):
        scale = part * largest / highest
        rounded = torch.round(x / scale).clamp(-highest, highest) * scale
        errors[part * largest] = float((x - rounded).square().mean())
    return min(errors, key=errors.get)
    ### END SOLUTION


# %% exercise-8-check
best_clip.check()

# %% [markdown] exercise-9
# ### 9 · Break the quantizers (more, 8 minutes)
#
# Here are four ways to quantize to 8 bits that are easy to write, and all of them are wrong:
#
# | | what it does |
# |---|---|
# | cast before clamp | casts to int8 first, so that 300 becomes 44, and clamps after that |
# | no clamp | leaves out the clamp, and returns wide integers |
# | truncation | drops the digits of `x / scale` after the point instead of rounding |
# | wrong sign | subtracts the zero point |
#
# Return one triple `(x, scale, zero_point)`: x is a float tensor of one axis with at most four numbers, and the zero point
# is from −128 to 127. **Each of the four** must be wrong somewhere in x, by the rules of exercise 2.
#
# <details><summary>Hint</summary>
#
# Which zero point hides a wrong sign? Which numbers does truncation change, and which only a missing clamp?
# </details>


# %% exercise-9-answer
@break_the_quantizers.answer
def break_the_quantizers():
    """Return (x, scale, zero_point)."""
    ### BEGIN SOLUTION
    return torch.tensor([0.7, 300.0]), 1.0, 5
    ### END SOLUTION


# %% exercise-9-check
break_the_quantizers.check()

# %% [markdown] exercise-10
# ### 10 · Fold a batch norm (more, 10 minutes)
#
# Five lines of background. *Batch norm* follows a layer. It brings each channel's outputs $y$ to mean 0 and variance 1,
# then scales and shifts them by learnt numbers: $\gamma\,(y - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$. In training, the mean
# $\mu$ and the variance $\sigma^2$ are those of the batch. In use they are fixed: averages from the training. Batch norm
# is then one multiplication and one addition per channel, and the layer before it can do both. So before a network is
# quantized, its batch norms are *folded* into the layers before them, and the integers have nothing more to do.
#
# Write `fold_batch_norm(weight, bias, gamma, beta, mean, var, eps)`. `weight` has two or four axes, outputs first; the
# others have the shape `(outputs,)`, `var` is $\sigma^2$, `eps` a float. Return the weight and the bias of the one layer
# that does the work of both, in their shapes. Do not change the arguments.
#
# Example: one output with weight 2, bias 1, γ = 3, β = 0.5, μ = 4, σ² = 3, ε = 1: the factor is 3 / √4 = 1.5, so the
# weight becomes 3 and the bias 1.5 · (1 − 4) + 0.5 = −4.
#
# <details><summary>Hint</summary>
#
# Put $y = w \cdot x + b$ into the formula. Which terms are multiplied by $x$, and which are not?
# </details>


# %% exercise-10-answer
@fold_batch_norm.answer
def fold_batch_norm(weight, bias, gamma, beta, mean, var, eps):
    """Return (weight, bias)."""
    ### BEGIN SOLUTION
    factor = gamma / torch.sqrt(var + eps)
    per_output = factor.view(-1, *[1] * (weight.dim() - 1))
    return weight * per_output, factor * (bias - mean) + beta
    ### END SOLUTION


# %% exercise-10-check
fold_batch_norm.check()

# %% [markdown] exercise-11
# ### 11 · Keep the information (more, 20 minutes)
#
# A range can also be chosen by how much information is lost; TensorRT did so (Migacz 2017). We have a histogram of the
# magnitudes of the activations: `counts`, one count per bin, from 0 outwards. How many bins should the range keep?
#
# For each number of bins `i` we compare two histograms. $P$ is the histogram after clipping: everything beyond the range
# has moved into its last bin. $Q$ is the histogram after rounding: there are only `levels` integers, fewer than bins, so
# neighbouring bins share one integer and look alike. The *relative entropy* measures how much $Q$ differs from $P$:
#
# $$\mathrm{KL}(P \,\|\, Q) = \sum_j P_j \ln (P_j / Q_j)$$
#
# It is 0 if both are equal, and grows when $Q$ has little in a bin in which $P$ has much.
#
# Write `entropy_threshold(counts, levels)`. `counts` is a tensor, whole or float, with a first count above 0; do not change
# it. `levels` is smaller than the number of bins, or equal to it. For each `i` from `levels` to the number of bins, both
# included:
#
# 1. $P$: take `counts[:i]`, and add all counts beyond it to its last bin.
# 2. $Q$: take `counts[:i]` alone, and cut it into `levels` parts: bin `j` belongs to part `j * levels // i`. Spread the
#    sum of each part evenly over those of its bins in which `counts` is not 0; the other bins stay 0.
# 3. Divide $P$ and $Q$ by their own sums.
# 4. Compute KL. Bins in which $P$ is 0 add nothing. If $Q$ is 0 in a bin where $P$ is not, KL is infinite: skip this `i`.
#
# Return the `i` with the least KL.
#
# Example: `entropy_threshold(torch.tensor([5, 9, 2, 7, 0, 0, 0, 1]), 4)` is 4. There $P$ is 5, 9, 2, 8, divided by 24,
# and $Q$ is 5, 9, 2, 7, divided by 23. With `i` = 8 nothing is clipped, $P$ is the histogram itself, and $Q$ is 7, 7, 4.5,
# 4.5, 0, 0, 0, 1, divided by 24.
#
# <details><summary>Hint</summary>
#
# `np.asarray(counts)` makes the tensor an array. `np.bincount(part, weights)` sums `weights` for each part. You need it
# twice: for the sum of the counts of each part, and for the number of its bins that are not 0.
# </details>


# %% exercise-11-answer
@entropy_threshold.answer
def entropy_threshold(counts, levels):
    """Return the number of bins to keep."""
    ### BEGIN SOLUTION
    counts = np.asarray(counts, dtype=float)
    losses = {}
    for i in range(levels, len(counts) + 1):
        kept, filled = counts[:i], counts[:i] > 0
        p = kept.copy()
        p[-1] += counts[i:].sum()
        part = np.arange(i) * levels // i
        share = np.bincount(part, kept) / np.maximum(np.bincount(part, filled), 1)
        q = np.where(filled, share[part], 0)
        some = p > 0
        if (q[some] > 0).all():
            p, q = p[some] / p.sum(), q[some] / q.sum()
            losses[i] = (p * np.log(p / q)).sum()
    return min(losses, key=losses.get)
    ### END SOLUTION


# %% exercise-11-check
entropy_threshold.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# Each network is written to a file, read back and tested on the **test** images, which we have not looked at except for the
# ten digits. The rows *weights in n bits* compute in floats, from weights that took n bits in the file; the row *integers*
# computes in int8. Its ranges come from min-max, which we chose before we looked. (Chapter 01 explains the columns. A product
# has the energy of 8 bits only where it is computed in 8 bits.)


# %% bill-table
def packed(bits, **how):
    return {
        "encode": lambda state: formats.pack_quantized(state, bits, symmetric=True, **how),
        "decode": formats.unpack_quantized,
    }


rows = {
    "dense, lenet-300-100": (net, {}),
    "weights in 8 bits": (net, packed(8)),
    "weights in 4 bits, one scale per channel": (net, packed(4, axis=0)),
    "integers, 8 bits": (whole, {"num_bits": 8}),
}
for name, (model, how) in rows.items():
    report = measure.measure(name, model, data.test, data.name, "results/model.safetensors", **how)
    table = measure.record(report)
table

# %% [markdown] bill-reading
# **Which of these four rows differ in accuracy by more than the interval? And which columns tell *integers* from *weights
# in 8 bits*?**
#
# <details><summary>Answer</summary>
#
# None differs by more. The bytes are nearly the same. The energy is a little less: most of it goes into fetching the file,
# which both need, but the products and the activations cost less. The time for a *single* image is longer: each layer makes
# a dozen small calls instead of one. With 1000 images, above, it depends on the CPU.
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **One scale per layer can ruin a network.** *MobileNets* split a convolution in two: a *depthwise* one, in which each channel
# has a small kernel of its own, and a *pointwise* one, which mixes channels. Batch norms follow. In use, a batch norm is one
# multiplication and one addition per channel, and we *fold* it: we multiply it into the weights of the layer before
# (exercise 10). Folded into a depthwise layer, it multiplies each channel by another number, and the ranges of the channels
# drift apart. Here is a small network of this kind, trained like the others.

# %% breaks-network
separable = baseline("separable", data, seed=seed)
folded = conversion.fold_batch_norm(separable.depthwise1, separable.norm1).weight.detach()
print(f"{100 * training.accuracy(separable, data.validation):.2f} % right in floats")
print("range of each channel of the first depthwise layer:")
print([round(r, 2) for r in folded.abs().amax((1, 2, 3)).tolist()])

# %% breaks-bits
print("weights    one scale  one per channel   (% right, on integers, activations in 8 bits)")
for bits in (8, 6, 5, 4, 3):
    right = [
        100
        * training.accuracy(
            conversion.quantize_model(
                separable, calibration_images, weight_bits=bits, per_channel=per_channel
            ),
            data.validation,
        )
        for per_channel in (False, True)
    ]
    print(f"{bits} bits {right[0]:14.2f} {right[1]:16.2f}")

# %% [markdown] breaks-rescaled-text
# With fewer bits one scale fails before one per channel does; at 8 bits this network survives. Larger ones need not:
# in MobileNetV2 the ranges differ so much that 8 bits with one scale end at chance (Nagel et al. 2019). We give our network
# such ranges, **without changing what it computes**. We take the channel with the widest range, divide its signal by 256
# before a ReLU, and multiply its depthwise kernel by 256 after it. ReLU(x / 256) · 256 is ReLU(x), so in floats nothing
# changes.

# %% breaks-rescaled
stretched = copy.deepcopy(separable)
widest = folded.abs().amax((1, 2, 3)).argmax()
with torch.no_grad():
    stretched.norm0.weight[widest] /= 256
    stretched.norm0.bias[widest] /= 256
    stretched.depthwise1.weight[widest] *= 256
print(f"in floats: {100 * training.accuracy(stretched, data.validation):.2f} % right")
for name, per_channel in {"one scale": False, "one scale per channel": True}.items():
    model = conversion.quantize_model(stretched, calibration_images, per_channel=per_channel)
    print(f"8 bits, {name}: {100 * training.accuracy(model, data.validation):.2f} % right")

# %% [markdown] breaks-rescaled-reading
# Chance is about 10 %. **With one scale per channel a little is lost all the same. Where, if not in the weights?** (And if
# the ranges of a network have drifted apart and you may have only one scale, what would you do?)
#
# <details><summary>Answer</summary>
#
# In the activations: they have one range for all channels, in which the signal that was divided by 256 is rounded to
# zero. One channel of 16 is lost. Our trick also works the other way round and brings ranges together: that is the
# *cross-layer equalization* of Nagel et al.
# </details>

# %% [markdown] breaks-uneven-text
# **Is the damage spread evenly?** An average hides who pays. Here are the answers that change when weights go to 3 bits,
# by digit, beside a yardstick: the answers in which two unquantized networks of different seeds differ. Only
# what goes clearly beyond the yardstick is the work of the missing bits.

# %% breaks-uneven
labels, floats = data.validation.labels, training.predict(net, data.validation.images)
evaluate(formats.unpack_quantized(formats.pack_quantized(net.state_dict(), 3, symmetric=True)))
three = training.predict(scratch, data.validation.images)
other = training.predict(baseline("lenet-300-100", data, seed=1), data.validation.images)
changes = {
    name: [100 * float((answers != floats)[labels == digit].float().mean()) for digit in range(10)]
    for name, answers in {"3 bits": three, "another seed": other}.items()
}
plot, (panel,) = plots.new(alt="Answers changed by 3 bits and by another seed, by digit", width=8)
plots.bars(panel, [str(digit) for digit in range(10)], changes)
panel.set(xlabel="digit", ylabel="answers changed, %", title="which digits pay?")
plot

# %% [markdown] class
# ## The class is the experiment
#
# At how many bits a network breaks depends on the network. Your name (a nickname will do) is the seed of *yours*: it is
# trained from scratch, and its weights are rounded to 8, 6, 5, 4, 3 and 2 bits, with one scale per layer and with one
# per channel. **At which number of bits do you expect the results of the class to differ most?** Write the name in place of
# `None`, run both cells, and send the file, which then lies in `results`, to your teacher.

# %% class-name
my_name = None

# %% class-run
if my_name is not None:
    mine = baseline("lenet-300-100", data, seed=class_work.seed_of(my_name))
    coarse = copy.deepcopy(mine)
    found = {series: {} for series in EXPERIMENT.series}
    for series, how in zip(found, ({}, {"axis": 0}), strict=True):
        for bits in (2, 3, 4, 5, 6, 8):
            arrays = formats.pack_quantized(mine.state_dict(), bits, symmetric=True, **how)
            coarse.load_state_dict(formats.unpack_quantized(arrays))
            found[series][bits] = 100 * training.accuracy(coarse, data.validation)
    print(class_work.hand_in(EXPERIMENT, my_name, found, data.name))

# %% [markdown] paper
# ## The paper
#
# Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam and Kalenichenko, *Quantization and Training of Neural Networks for Efficient
# Integer-Arithmetic-Only Inference*, CVPR 2018, [arXiv 1712.05877](https://arxiv.org/abs/1712.05877). Read section 2 for the
# arithmetic, which is the one above: equation 1 is our affine map, 5 and 6 the multiplier and the shift. Section 3 is on
# training with quantization, which this chapter leaves out. Its claim: a network on integers alone is nearly as accurate as
# on floats, and a better trade between accuracy and time on phones.
#
# Two things differ here. Its weights are unsigned and asymmetric; ours are symmetric, as is now usual
# (Krishnamoorthi 2018, [arXiv 1806.08342](https://arxiv.org/abs/1806.08342)). And it trains with quantization in the loop;
# we quantize after training. Does its arithmetic keep the accuracy of our network? Three seeds, test images:

# %% paper-seeds
print("seed   float32   integers   answers that differ   (test error, %)")
for s in (0, 1, 2):
    trained = baseline("lenet-300-100", data, seed=s)
    quantized = conversion.quantize_model(trained, calibration_images)
    a, b = (training.predict(model, data.test.images) for model in (trained, quantized))
    errors = [100 * float((answers != data.test.labels).float().mean()) for answers in (a, b)]
    print(f"{s:4} {errors[0]:9.2f} {errors[1]:10.2f} {int((a != b).sum()):12} of {len(a)}")

# %% [markdown] paper-reading
# **Verdict: the arithmetic is reproduced; the paper's tables are not.** From the same parameters ONNX Runtime computes the
# same integers for each layer, except for a few that differ by one (the tests of this course check it). The
# accuracy stays. The paper works with ImageNet, on phones, and trains with quantization in the loop; we have done none of
# that, and a network of 266,200 weights for digits has bits to spare.
#
# A weight now takes four bits instead of 32. The next chapters ask which 16 values those bits should stand for, and how
# to store the frequent ones in fewer bits.
