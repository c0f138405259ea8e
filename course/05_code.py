# %% [markdown] title
# # 05 · Code: short words for what comes often
#
# **You will** write a pruned and shared network into one file, as short as its numbers allow, and read it back as if
# it came from a stranger.
#
# **You will be able to**
# - make the shortest prefix code for given counts, and say how far it stays above the entropy, and why,
# - choose how many bits a gap gets, and say what gaps cost,
# - say what each byte of a file is for, what a checksum is for, and what a reader must not believe.
#
# **You need** chapters 02 and 04 (gaps, shared values), and 110 minutes, 40 of them for the three core exercises;
# those marked *more* take another 32. Run the cells from the top. No GPU is needed.

# %% setup
import random
import zlib

import numpy as np
import torch

from shrink import pruning, sharing
from shrink.chapters.code import (
    EXPERIMENT,
    break_the_codes,
    canonical_codes,
    code_lengths,
    crc32,
    decode_bits,
    drawings,
    gaps,
)
from shrink.chapters.code.explorer import explore_coding
from shrink.chapters.code.file_explorer import explore_file
from shrink.classroom import class_work, formats, measure, models, plots, training
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.data import load, ten_digits
from shrink.coding import ans, codec, huffman
from shrink.papers import reproduce

seed = 0
data = load(device=training.pick_device())

# %% [markdown] problem
# ## The problem in one number
#
# Chapter 04 pruned LeNet-300-100 to 8 % of its weights, and let those of a layer share a few values. Here we do both
# again, with 32 values per layer besides the zero. To say which of 33 values a weight has takes 6 bits. But do all of
# them come equally often?

# %% problem-number
net = baseline("lenet-300-100", data, seed=seed)
pruned = pruned_baseline("lenet-300-100", data, seed=seed)
weights = {name: w.detach() for name, w in models.weights(pruned).items()}
shared = {name: sharing.share(w, k=32) for name, w in weights.items()}

for name, layer in shared.items():
    counts = torch.bincount(layer.assignments.flatten().long(), minlength=len(layer.codebook))
    others = torch.cat([counts[: layer.zero], counts[layer.zero + 1 :]])
    print(
        f"{name}: the zero {int(counts[layer.zero]):,} times; of the {len(others)} others the "
        f"commonest {int(others.max())} times, the rarest {int(others.min())}"
    )

# %% [markdown] problem-why
# A value that comes a thousand times takes as many bits each time as one that comes once. That is waste: Morse gave
# the E, the commonest letter, a single dot.
#
# The ten digits, and above each the answer of the pruned and shared network:

# %% problem-digits-shown
scratch = models.build("lenet-300-100", seed).to(data.train.images.device).eval()


def evaluate(state):
    """The accuracy on the validation images in %, with these weights in place of the trained ones."""
    scratch.load_state_dict({**pruned.state_dict(), **state})
    return 100 * training.accuracy(scratch, data.validation)


evaluate({name: layer.weight for name, layer in shared.items()})
ten = ten_digits(data)
answers = training.predict(scratch, ten.images).tolist()
plots.digits(ten.images[:, 0].cpu().numpy(), [str(answer) for answer in answers])

# %% [markdown] by-hand
# ## Twelve numbers by hand
#
# Twelve weights share four values, which we call a, b, c and d. (What is coded is called a *symbol*.)
#
# | symbol | a | b | c | d |
# |---|---|---|---|---|
# | how often it comes | 8 | 2 | 1 | 1 |
#
# With 2 bits each they take 24 bits. Now we merge the two rarest, c and d, into one group, which counts 2. Of a, b
# and this group the two rarest are b (2) and the group (2), so we merge them too; the new group counts 4. Only a and
# this group are left, and we merge them last. Every merger gives each symbol in it one more bit:
#
# | symbol | a | b | c | d |
# |---|---|---|---|---|
# | mergers it was in: its *length* | 1 | 2 | 3 | 3 |
# | a code of that length | 0 | 10 | 110 | 111 |
# | bits for all of them | 8 | 4 | 3 | 3 |
#
# That makes 18 bits in place of 24. No code is the beginning of another, so nothing has to stand between them:
# `0100110` can only be a (0), b (10), a (0), c (110). Such a code is a *prefix code*, and the one from merging is
# Huffman's.
#
# Is there a shorter one? A symbol that comes in half of the places deserves one bit. a comes in two thirds of them
# and deserves less. **But there is no code of less than one bit.** The whole chapter turns on this.

# %% [markdown] mathematics
# ## The mathematics
#
# | symbol | in code | what it is |
# |---|---|---|
# | $n_i$ | `counts` | how often symbol $i$ comes, whole numbers of shape (symbols,) |
# | $p_i$ | | its share, $n_i / \sum_j n_j$ |
# | $\ell_i$ | `lengths` | the bits of its code, whole numbers, 0 for a symbol that never comes |
# | $L$ | | the mean length, in bits per symbol |
# | $H$ | `huffman.entropy(counts)` | the *entropy*, in bits per symbol |
# | $K$ | | the *Kraft sum* |
#
# $$L = \sum_i p_i\,\ell_i \qquad H = \sum_i p_i \log_2 \frac{1}{p_i} \qquad
# K = \sum_{i:\,\ell_i > 0} 2^{-\ell_i}$$
#
# **Which lengths are possible?** Think of all long rows of bits. One half of them begins with 0, a quarter with 10,
# and a share of $2^{-\ell}$ with any given code of $\ell$ bits. No two codes of a prefix code may claim the same row,
# so their shares, added up, are at most 1. This sum is $K$. A prefix code has $K \le 1$; and for any lengths with
# $K \le 1$ there is one.
#
# **Which lengths are best?** The ideal length of a symbol is $\log_2 (1/p_i)$: one bit for a share of a half, two
# bits for a quarter. Its mean is the entropy, and no code of single symbols has a smaller mean length (Shannon 1948).
# But lengths are whole numbers. Huffman's (1952) are the best whole ones, and where at least two symbols come,
#
# $$H \le L < H + 1.$$
#
# **What goes into the file?** The lengths are enough if we agree on an order. Shorter codes come first, and among
# equal lengths the lower symbol. Each code is the one before plus one, with zeros put at its end where the length
# grows. These codes are called *canonical*. Our file stores four bits per length, so no code has more than 15. (Where
# Huffman's would be longer, the file takes the best lengths within 15.)

# %% mathematics-code
counts = torch.tensor([8, 2, 1, 1])
lengths = huffman.code_lengths(counts)
print("lengths:", lengths.tolist(), " codes:", canonical_codes(lengths.tolist()))
print("Kraft sum:", float((0.5 ** lengths[lengths > 0]).sum()))
print(f"mean length {float((counts * lengths).sum() / counts.sum()):.3f} bits")
print(f"entropy     {huffman.entropy(counts):.3f} bits")

# %% [markdown] naive
# ## First in slow motion, then at once
#
# First we code as one reads the table: we look up the text of each symbol, and lay the texts end to end. Then comes
# `huffman.encode`, which does it for whole arrays. The last byte is filled with zeros.

# %% naive-code
symbols = torch.tensor([0, 1, 0, 2, 0, 0, 0, 3, 0, 1, 0, 0])
codes = canonical_codes(lengths.tolist())
bits = "".join(codes[symbol] for symbol in symbols.tolist())
one_by_one = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
stream = huffman.encode(symbols, lengths)
print(bits, "→", stream.tolist())
one_by_one == stream.tolist() and huffman.decode(stream, lengths, count=12).equal(symbols.byte())

# %% [markdown] one-bit
# ## A symbol costs at least one bit
#
# Take two symbols, one of which comes with probability $p$. Huffman's code for them is 0 and 1, whatever $p$ is.
#
# Another coder can do better: `ans`, short for *asymmetric numeral systems* (Duda 2013). It keeps one large number,
# the *state*, in place of a row of codes, and each symbol multiplies the state by about $1/p$. So a symbol costs
# $\log_2 (1/p)$ bits, which may be a fraction of a bit. We write both streams and measure their lengths.

# %% one-bit-measured
shares = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99])
found = {"Huffman": [], "ANS": [], "entropy": []}
generator = torch.Generator().manual_seed(seed)
for p in shares:
    two = (torch.rand(20_000, generator=generator) > p).long()
    counts = torch.bincount(two, minlength=2)
    streams = {
        "Huffman": huffman.encode(two, huffman.code_lengths(counts)),
        "ANS": ans.encode(two, ans.quantize_counts(counts)),
    }
    for name, stream in streams.items():
        found[name].append(8 * len(stream) / len(two))
    found["entropy"].append(huffman.entropy(counts))
plot, (panel,) = plots.new(
    alt="Bits per symbol over p: Huffman at 1, ANS on the entropy, which falls to nearly 0", width=6
)
plots.curves(panel, shares, found)
panel.set(xlabel="share of the commoner symbol", ylabel="bits per symbol", ylim=(0, 1.1))
panel.set_title("Huffman stays at one bit")
plot

# %% [markdown] one-bit-reading
# At $p = 0.95$ the entropy is 0.29 bits, and Huffman pays 1. Does that happen in a real network? We code each layer
# twice: first only whether each weight is kept, which has two symbols; then all its assignments, with the zero as one
# of 33 values.

# %% one-bit-real
print("bits per weight              entropy  Huffman      ANS")
for name in ("fc1.weight", "fc2.weight", "fc3.weight"):
    numbers = shared[name].assignments.flatten().long()
    kept = (numbers != shared[name].zero).long()
    for what, row in {"kept or not": kept, "all 33 values": numbers}.items():
        counts = torch.bincount(row)
        streams = (
            huffman.encode(row, huffman.code_lengths(counts)),
            ans.encode(row, ans.quantize_counts(counts)),
        )
        each = " ".join(f"{8 * len(stream) / len(row):8.3f}" for stream in streams)
        print(f"{name}, {what:14}  {huffman.entropy(counts):8.3f} {each}")

# %% [markdown] one-bit-real-reading
# **In which layer does Huffman lose most, and why does it lose so little on the values of fc3? It always stays within
# one bit of the entropy: is that good?**
#
# <details><summary>Answer</summary>
#
# It loses most in fc1. More than nine in ten of its weights are zero, and a zero deserves about a tenth of a bit and
# gets a whole one. In fc3 no value comes in half of the places, so none deserves less than a bit. (For "kept or not"
# one of the two symbols does.) Huffman is always within one bit, but one bit is much where the entropy is little more
# than half a bit. ANS nearly reaches the entropy. The exception is "kept or not" in fc3: for its thousand weights the
# four bytes of the coder's last state are no longer small.
# </details>

# %% [markdown] gaps
# ## Gaps
#
# Huffman must not be given the zeros one by one. Chapter 02 has the remedy: we store a *gap*, the number of zeros
# before each entry, in a fixed number of bits. Where more zeros come we store a *filler*, the greatest gap with the
# value 0. One symbol then stands for many zeros.
#
# How many bits should a gap have? We try it on fc1, with its 235,200 weights in one row:

# %% gaps-counted
places = (weights["fc1.weight"].flatten() != 0).nonzero().flatten().tolist()
print(f"fc1 has {len(places):,} weights left")
print("gap bits   gaps  of them fillers   bytes, with numbers of 6 bits")
for gap_bits in range(1, 9):
    stored = len(gaps(places, gap_bits))
    fillers = stored - len(places)
    size = -(-stored * (gap_bits + 6) // 8)
    print(f"{gap_bits:8} {stored:6,} {100 * fillers / stored:14.0f} % {size:12,}")

# %% [markdown] gaps-reading
# Gaps are not free. With few bits nearly all of them are fillers; with many bits they are wide, although most gaps
# are small. The best width lies between.
#
# Now the same for the file of the whole network, with and without Huffman's code for gaps and values. (`code="fixed"`
# gives each symbol the same number of bits.)

# %% gaps-curve
parts = {**pruned.state_dict(), **shared}
widths = np.arange(1, 9)
sizes = {
    name: [len(codec.encode(parts, code=code, gap_bits=int(bits))) / 1000 for bits in widths]
    for name, code in {"fixed": "fixed", "Huffman": "huffman"}.items()
}
chosen = {name: len(codec.encode(parts, code=name.lower())) for name in ("Huffman", "ANS")}
plot, (panel,) = plots.new(
    alt="File over gap bits: fixed falls and rises again, Huffman falls and stays down", width=6
)
plots.curves(panel, widths, sizes)
panel.set(xlabel="bits of a gap", yscale="log", ylabel="file, KB", title="a U, and half of one")
panel.set_yticks([20, 30, 40, 60, 80, 120], [20, 30, 40, 60, 80, 120])
panel.set_yticks([], minor=True)
print("file, gap bits chosen layer by layer:", end=" ")
print(", ".join(f"{name} {length:,} bytes" for name, length in chosen.items()))
plot

# %% [markdown] gaps-curve-reading
# **Where is the lowest point of the fixed code? And why does the right arm of the U not rise with Huffman?**
#
# <details><summary>Answer</summary>
#
# At 6 bits. A wide gap that seldom occurs costs the fixed code bits in *every* gap. Huffman gives small gaps short
# codes, however wide the widest is. Wider gaps cost it only a longer table of lengths: half a byte for each of $2^b$
# gaps, so 128 bytes per layer at 8 bits. The left arm stays, because a filler costs at least one bit for its gap and
# one for its value.
# </details>
#
# And ANS? The last line above says what it makes of this file: a little *more* than Huffman. With gaps, no symbol
# deserves much less than a bit, so ANS has nothing to win, and its tables are longer. **A coder cannot do more than
# the choice of the symbols has left for it.** With badly chosen symbols it is the other way round, and ANS wins by
# far, as the first explorer below shows.

# %% [markdown] model
# ## The entropy of what?
#
# One word of Shannon's theorem matters here: no code of *single symbols* beats the entropy of the symbols. But what
# the symbols are, is our choice. Here is the whole of fc1, in three ways:

# %% model-measured
layer = shared["fc1.weight"]
whole = torch.bincount(layer.assignments.flatten().long())
print(f"entropy of its 235,200 numbers:  {huffman.entropy(whole) * 235_200 / 8:8,.0f} bytes")
for name, options in {
    "gaps of 5 bits, Huffman": {"gap_bits": 5},
    "of 8 bits": {"gap_bits": 8},
}.items():
    content = codec.encode({"fc1.weight": layer}, code="huffman", **options)
    print(f"{name + ', measured:':32} {len(content):8,} bytes, tables and all")

# %% [markdown] model-reading
# With wide gaps a real file is shorter than "the entropy". **How can that be?**
#
# <details><summary>Answer</summary>
#
# The entropy of single assignments knows how often each comes, but not where. Zeros come in long runs: the pixels at
# the edge of the images have lost all their weights. A gap is one symbol for a whole run. Entropy is a bound for a
# way to look at the data, not for the data.
# </details>

# %% [markdown] tree
# ## The tree
#
# fc3 has too few zeros for gaps, so its values are coded one by one. The plot shows their code as a tree. From the
# top each step down is one bit: 0 to the left (dotted), 1 to the right. A value hangs where its code ends, and its
# dot is the larger, the more often it comes.

# %% tree-shown
layer = shared["fc3.weight"]
counts = torch.bincount(layer.assignments.flatten().long(), minlength=len(layer.codebook))
codes = canonical_codes(code_lengths(counts).tolist())
plot, (panel,) = plots.new(
    alt="The code tree of fc3: frequent values near the top, rare ones far down", width=9, height=4
)
names = [f"{value:.2f}" for value in layer.codebook.tolist()]
drawings.code_tree(panel, codes, names, (counts / counts.sum()).tolist())
panel.set_title("fc3: what comes often hangs high")
plot

# %% [markdown] file
# ## One file
#
# Everything goes into one file: the name and shape of each tensor; its codebook; its gaps and values with the tables
# of their codes; the biases as they are; and a checksum at the end. `codec.regions` says what each byte is.

# %% file-written
content = codec.encode(parts, code="huffman")
length = codec.save(parts, "results/network.shrk", code="huffman")
decoded = codec.load("results/network.shrk")
print(f"{length:,} bytes, {evaluate(decoded):.2f} % right with the network in the file")
print(
    f"           {evaluate({name: layer.weight for name, layer in shared.items()}):.2f} % in memory"
)
print(f"           {evaluate(pruned.state_dict()):.2f} % before the weights were shared")

# %% file-regions
kinds = {}
for region in codec.regions(content):
    what = region.what.replace("numbers", "biases").replace(", lengths of codes", ", their tables")
    kinds[what] = kinds.get(what, 0) + region.end - region.start
for what, size in sorted(kinds.items(), key=lambda item: -item[1]):
    print(f"{what:22} {size:6,} bytes {100 * size / length:5.1f} %")

# %% [markdown] file-reading
# (We gave no `gap_bits`, so each layer gets the width that should make it shortest; fc3, which has few zeros, is
# stored without gaps.) **What would you shorten next?**
#
# And where did the bytes go, stage by stage? Each length in the plot is that of a file. The last row is what zlib, a
# general compressor, makes of the pruned weights as floats, zeros and all.

# %% file-stages
measure.write("results/pruned.safetensors", pruned.state_dict())
with open("results/pruned.safetensors", "rb") as file:
    zipped = len(zlib.compress(file.read(), 9))
stages = {
    "dense, float32": measure.size(net.state_dict()),
    "pruned, relative": measure.size(formats.pack(pruned.state_dict(), "relative")),
    "shared, fixed code": len(codec.encode(parts, code="fixed")),
    "Huffman": length,
}
plot, panels = plots.new(2, alt="Bytes of the file stage by stage", width=5.5)
for panel, first in zip(panels, (0, 1), strict=True):
    some = dict(list(stages.items())[first:])
    drawings.stages(panel, some, {"zlib of the pruned": zipped}, whole=stages["dense, float32"])
panels[0].set_title("each stage saves the pale part")
panels[1].set_title("the same without the first")
plot

# %% [markdown] file-stages-reading
# zlib finds the runs of zeros, and has Huffman codes inside as well. **Why is its file so much longer than ours? And
# which of our stages saves the most bytes, which divides by the most?**
#
# <details><summary>Answer</summary>
#
# zlib must give back each float bit for bit, and the bits of a trained float look like noise. We have decided that 33
# values are enough. That is no compression but a loss, and we have measured it.
#
# Pruning saves the most by far, and divides by the most; sharing comes second, and Huffman third. (Part of Huffman's
# share is our choice of 33 values: 6 bits could tell 64 apart. With 31 values and the zero the fixed code takes 5
# bits, and Huffman has less to win.)
#
# To shorten next: the 410 biases, which still have 32 bits. And note that zlib beats the relative indices, because
# they code nothing.
# </details>

# %% [markdown] checksum
# ## What a checksum is for
#
# A bit may flip: on a worn disk, on a bad line, in memory. We flip one in the middle of the file and read it:


# %% checksum-believed
def flip(content, bit):
    """The content with one bit turned over."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 128 >> bit % 8
    return bytes(damaged)


def repaired(content):
    """The content with the checksum that fits it, as an attacker would write it."""
    return content[:-4] + zlib.crc32(content[:-4]).to_bytes(4, "little")


try:
    codec.decode(flip(content, bit=8 * 9000 + 3))
except codec.CodecError as error:
    print("CodecError:", error)

# %% [markdown] predict
# ## Predict
#
# Would we notice without the checksum? The reader checks much besides: that each code is one of the table, that
# streams end where they should, that gaps do not lead out of the layer. We flip **one** bit at a random place, repair
# the checksum so that it says nothing, and read the file; we do this a hundred times. How many of the hundred files
# does the reader refuse? Write your guess in place of `None`. It is not marked.

# %% predict-guess
my_guess = None

# %% predict-answer
rng = random.Random(seed)
bits_flipped = rng.sample(range(8 * (len(content) - 4)), 100)
before, lost, said, with_checksum = evaluate(decoded), [], [], 0
for bit in bits_flipped:
    try:
        codec.decode(flip(content, bit))
    except codec.CodecError:
        with_checksum += 1
    try:
        state = codec.decode(repaired(flip(content, bit)))
        lost.append(before - evaluate(state))
    except (codec.CodecError, RuntimeError) as error:  # RuntimeError: names or shapes do not fit
        said.append(str(error))
print(f"refused: {len(said)} of 100; your guess: {'none' if my_guess is None else my_guess}")
print(f"read without a word: {len(lost)}; of these {sum(x > 1 for x in lost)} networks have lost")
print(f"more than a point of accuracy, the worst {max(lost):.1f} points")
print(f"with the checksum as it was: {with_checksum} of 100 are refused")

# %% predict-shown
plot, (panel,) = plots.new(alt="Points lost by each damaged network that was read", width=6)
panel.plot(range(len(lost)), sorted(lost, reverse=True), "o", color=plots.COLOURS["coded"], ms=4)
panel.set(xlabel="files that were read, the worst first", ylabel="accuracy lost, points")
panel.set_title("one bit, and no message")
plot

# %% [markdown] predict-reading
# **Why can a single bit ruin a whole network? And why does most of the damage do nothing?**
#
# <details><summary>Answer</summary>
#
# Codes have no marks between them. After a wrong bit the reader takes other codes, until by chance it falls into step
# again. In the values that happens soon, and only one or two weights change. In the gaps, a single wrong one moves
# *every* weight after it to another place.
#
# A float has a sign, an *exponent*, which says how large it is, and a *mantissa*, its digits. Flip the highest bit of
# the exponent of a bias of 0.1, and it becomes 3 · 10³⁷. But the lower bits of a bias, or of a value in a codebook,
# hardly matter.
# </details>
#
# Without measuring nobody would have noticed. A checksum of four bytes sees every single flipped bit, and of other
# damage all but one case in four billion. **It does not see intent**: we repaired it in one line. Against an attacker
# a reader has to defend itself.

# %% [markdown] trust
# ## A reader trusts no length
#
# Here are three files of some thirty bytes, each with a checksum that fits. The first says that it holds a tensor of
# 268,435,455 by 268,435,455 numbers; a reader that believes it asks for 288 petabytes. The second says that a stream
# of 268 million bytes follows. The third is a zip. (Our reader stops as soon as a number is beyond its limit, and
# names what it has read by then.)

# %% trust-shown
head = b"SHRK\x01\x01\x0afc1.weight"
huge = b"\xff\xff\xff\x7f"  # 268,435,455 in bytes of seven bits
files = {
    "a huge shape": head + b"\x00\x02" + huge + huge,
    "a long stream": head + b"\x02\x01\x08\x01\x02" + bytes(4) + b"\x01\x11" + huge,
    "no such file": b"PK\x03\x04" + bytes(20),
}
for name, start in files.items():
    stranger = repaired(start + bytes(4))
    try:
        codec.decode(stranger)
    except codec.CodecError as error:
        print(f"{name}, {len(stranger)} bytes: {error}")

# %% [markdown] trust-reading
# Each message says what was wrong, and where. `codec_reader.py` reads each length, compares it with a limit and with
# the bytes that are left, and only then takes memory. Nothing in such a file is *run*. Loading a pickle, as
# `torch.load` used to do, runs whatever its author put into it.

# %% [markdown] explore
# ## Explore: the bits
#
# Above: the bytes of a file by part, over the gap bits, and the length that it would have at the entropy of its gaps
# and values, tables left out. Below, for the gaps and the values of one layer: a bar for each symbol, the commonest
# first, as wide as its share and as high as its code is long. The black line is what it deserves, $\log_2 (1 / p)$.

# %% explore-coding
explorer = explore_coding(data, code_lengths)
explorer

# %% [markdown] explore-questions
# The buttons beside *try* set what the questions are about.
#
# 1. *parts*: Fixed codes: move the gap bits from 1 to 8. **Which parts shrink, and which one turns round?** The same
#    with Huffman: **what is left to grow?**
# 2. *sparsity*: Fixed codes, the sparsity at 71, at 92 and at 98 %: **where is the shortest bar each time, and why
#    does it move?**
# 3. *fillers*: 98 %, one gap bit: **what does a filler cost with Huffman, and what does it deserve? How many bytes
#    does ANS save?**
#
# <details><summary>Answers</summary>
#
# 1. Values shrink all the way, as the fillers go. Gaps take about as many bytes up to 6 bits, where they get fewer
#    and wider, and then grow. With Huffman both shrink to the end, and only the tables grow.
# 2. At 3 bits, at 6 and at 8: the sparser the network, the longer the runs of zeros.
# 3. In fc1 98 of 100 entries are fillers. They deserve 0.02 or 0.03 bits for the gap and for the value, and pay a
#    whole one for each: so Huffman's file is longer by far, and the black line far below its top. With 16 values
#    ANS saves 27 KB of 38.
# </details>

# %% [markdown] explore-file-text
# ## Explore: the bytes
#
# Every byte of the file that you wrote above, as a pixel, coloured by what it is part of. Pick a byte (*go to* leads
# to the beginning of a region) and a bit, 7 being the highest: it is flipped. With *checksum* at *repaired* you see
# what the checksum would have hidden from you.

# %% explore-file
file_explorer = explore_file(content, data)
file_explorer

# %% [markdown] explore-file-questions
# 1. *values*: Flip bits in the values of fc1, here and elsewhere: **how many weights change each time?**
# 2. *gaps*: **And how many in the gaps of fc1?**
# 3. *bias*: The last byte of a bias above 0, with its sign and exponent: flip each of its eight bits. **Which one ruins
#    the network?**
# 4. *below 0*: The same of a bias below 0: **why does it not ruin the network?**
# 5. Press *Flip a hundred random bits*: **in which parts is nearly every flip refused, and in which is nearly none?**
#
# <details><summary>Answers</summary>
#
# 1. Mostly one, two or three, as the codes soon fall into step again; now and then thousands, when by then there is
#    one value too many or too few.
# 2. Thousands: everything after that place moves.
# 3. The highest of the exponent, bit 6: it makes 3 · 10³⁷ of 0.1, which drowns all else.
# 4. It becomes as large below 0, and the ReLU makes 0 of it: one unit of 300 is lost.
# 5. Refused: names, shapes and the tables, where a single change no longer fits the rest. Never: biases and
#    codebooks, for which any bits are a number.
# </details>

# %% [markdown] exercises
# ## Exercises
#
# The chapter works before you have solved them: an exercise answers with the library's function
# until your own passes its check. After the second, go back to the first explorer and set *by* to *mine*.
#
# Your answers may import the following, and nothing else when a teacher grades them: `math`, `itertools`, `functools`,
# `operator`, `collections`, `heapq`, `bisect`, `statistics`, `fractions`, `random`, `re`, `copy`, `time`, `typing`,
# `numpy` and `torch`.

# %% [markdown] exercise-1
# ### 1 · Gaps with fillers (core, 10 minutes)
#
# In chapter 02 (exercise 4, *more*) we went through all weights and counted zeros. Here you get the positions of the
# weights that are left, and never see a zero. Write `gaps(positions, gap_bits)`: `positions` is a list of whole
# numbers, rising, counted from 0. Return the list of gaps by the rule of chapter 02, which the file uses too:
#
# - A gap is the number of zeros since the entry before, from 0 to `2**gap_bits - 1`; an entry is a weight or a
#   filler. Before the first entry there are as many zeros as its position says.
# - Where more zeros come, *fillers* go first. A filler is the greatest gap; it leads `2**gap_bits` places on, its own
#   place included. Use as few as possible, and none after the last weight.
#
# Example: `gaps([1, 4, 15], 3)` is `[1, 2, 7, 2]`: between 4 and 15 lie ten zeros, and the filler 7 takes eight of
# them.
#
# <details><summary>Hint</summary>
#
# Between two positions lie `b - a - 1` zeros; begin as if a weight stood at −1. `divmod(zeros, 2**gap_bits)` says how
# many fillers they need, and what is left.
# </details>


# %% exercise-1-answer
@gaps.answer
def gaps(positions, gap_bits):
    """Return a list of whole numbers."""
    ### BEGIN SOLUTION
    found, before = [], -1
    for position in positions:
        fillers, rest = divmod(position - before - 1, 2**gap_bits)
        found += [2**gap_bits - 1] * fillers + [rest]
        before = position
    return found
    ### END SOLUTION


# %% exercise-1-check
gaps.check()

# %% [markdown] exercise-2
# ### 2 · Lengths from counts (core, 18 minutes)
#
# Write `code_lengths(counts)`: `counts` is a tensor of whole numbers, one per symbol. Return a tensor of whole
# numbers of the same shape: the lengths of a prefix code for which all symbols together take as few bits as possible.
# A symbol that never comes has length 0, and one that is alone has length 1; where nothing comes all lengths are 0.
# Where counts are equal there may be several such codes, and any is right.
#
# Example: `code_lengths(torch.tensor([8, 2, 0, 1, 1]))` is `[1, 2, 0, 3, 3]`. Look at the Kraft sum of yours: for two
# symbols or more it is exactly 1. (Below 1 there is room left; above 1 there is no such code.)
#
# <details><summary>Hint</summary>
#
# Keep a list of groups, each a count and a list of symbols; at first each symbol is a group. While there are at least
# two groups: sort them by count, take the first two out, give one bit to each symbol in them, and put both back as
# one group with the sum of the counts. You need no tree.
# </details>


# %% exercise-2-answer
@code_lengths.answer
def code_lengths(counts):
    """Return a tensor of whole numbers, one a symbol."""
    ### BEGIN SOLUTION
    lengths = [0] * len(counts)
    groups = [(count, [symbol]) for symbol, count in enumerate(counts.tolist()) if count]
    if len(groups) == 1:
        lengths[groups[0][1][0]] = 1
    while len(groups) > 1:
        groups.sort(key=lambda group: group[0])
        (a, some), (b, others), *groups = groups
        for symbol in some + others:
            lengths[symbol] += 1
        groups.append((a + b, some + others))
    return torch.tensor(lengths)
    ### END SOLUTION


# %% exercise-2-check
code_lengths.check()

# %% [markdown] exercise-3
# ### 3 · Canonical codes (core, 12 minutes)
#
# Write `canonical_codes(lengths)`: `lengths` is a list of whole numbers with a Kraft sum of at most 1. Return a list
# of texts of 0 and 1, one per symbol, `""` where the length is 0. Shorter codes come first, and among equal lengths
# the lower symbol. The first code is all zeros. Each further one is the code before plus one, with zeros put at its
# end where the length grows.
#
# Example: `canonical_codes([2, 1, 0, 3, 3])` is `["10", "0", "", "110", "111"]`: after 0 comes 1, in two bits 10;
# after 10 comes 11, in three bits 110.
#
# <details><summary>Hint</summary>
#
# Go through the symbols that have a code in the order of `sorted((length, symbol) …)`, and keep the code as a number.
# Add 1 to it after each symbol, and shift it (`<<=`) by as many bits as the length grows. `f"{6:04b}"` is `"0110"`.
# </details>


# %% exercise-3-answer
@canonical_codes.answer
def canonical_codes(lengths):
    """Return a list of texts of 0 and 1."""
    ### BEGIN SOLUTION
    codes, code, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes
    ### END SOLUTION


# %% exercise-3-check
canonical_codes.check()

# %% [markdown] exercise-4
# ### 4 · Read it back (more, 12 minutes)
#
# Write `decode_bits(bits, codes, count)`: `bits` is a text of 0 and 1, `codes` a prefix code as above (an empty text
# is a symbol without a code), `count` how many symbols to read. Return the list of the symbols, and stop after
# `count`: the bits that follow only fill up the last byte. `count` may be 0. If the bits end too early, or begin no
# code, they are not `count` symbols: return `None`. A reader must not make up what is not there.
#
# Example: `decode_bits("100110000", ["10", "0", "", "110", "111"], 4)` is `[0, 1, 3, 1]`.
#
# <details><summary>Hint</summary>
#
# Collect bits in a text until it is one of the codes; then note the symbol, and begin again with an empty text.
# </details>


# %% exercise-4-answer
@decode_bits.answer
def decode_bits(bits, codes, count):
    """Return a list of symbols, or None."""
    ### BEGIN SOLUTION
    symbols, text = [], ""
    for bit in bits:
        if len(symbols) == count:
            break
        text += bit
        if text in codes:
            symbols.append(codes.index(text))
            text = ""
    return symbols if len(symbols) == count else None
    ### END SOLUTION


# %% exercise-4-check
decode_bits.check()

# %% [markdown] exercise-5
# ### 5 · A checksum by hand (more, 12 minutes)
#
# First some background. The sum of all bytes would be a checksum too, but a poor one: two bytes that change places
# leave it as it is. CRC-32 takes the bits of the file as one very long number and keeps the remainder of a division.
# In this division subtracting is XOR (`^`): bit by bit, nothing is carried. The remainder has 32 bits, and every bit
# of the file has its own effect on it. It stands at the end of our files, and in PNG and zip.
#
# Write `crc32(content)` for bytes of any length, without `zlib`:
#
# - A *register* begins as 32 ones, `0xFFFFFFFF`.
# - For each byte, XOR it into the lowest eight bits of the register. Then, eight times, shift the register to the
#   right by one; if the bit that fell out was a 1, XOR the register with `0xEDB88320`.
# - At the end invert all 32 bits, so that each 0 becomes a 1 and each 1 a 0. Return the register, a whole number.
#
# Example: `crc32(b"123456789")` is `0xCBF43926`.
#
# <details><summary>Hint</summary>
#
# `register & 1` is the bit that is about to fall out: look at it before you shift. To invert all bits, XOR with 32
# ones.
# </details>


# %% exercise-5-answer
@crc32.answer
def crc32(content):
    """Return a whole number of 32 bits."""
    ### BEGIN SOLUTION
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            last = register & 1
            register >>= 1
            if last:
                register ^= 0xEDB88320
    return register ^ 0xFFFFFFFF
    ### END SOLUTION


# %% exercise-5-check
crc32.check()

# %% [markdown] exercise-6
# ### 6 · Break the codes (more, 8 minutes)
#
# Here are five ways to choose lengths. All of them give prefix codes, and none is Huffman's:
#
# | | what it does |
# |---|---|
# | fixed length | gives all symbols the same length, as few bits as can number them |
# | one bit more each | gives the commonest symbol 1 bit, the next 2, then 3, …; the last two have the same length |
# | Shannon | rounds $\log_2 (1 / p)$ up |
# | not put back in order | merges the two rarest, and puts the group at the end of the row, wherever its count belongs |
# | split from the top | sorts the symbols, cuts where the two halves come most nearly equally often, and cuts each half again (Shannon and Fano) |
#
# On many counts some of them are right by luck. Return a list of at most six counts, 1 to 1000, on which **all five**
# take more bits than necessary. (It does not matter which of two *equal* counts is merged first: the lengths may
# differ, but the number of bits does not.)
#
# <details><summary>Hint</summary>
#
# Counts that halve suit a chain, and two, four or eight equal counts suit a fixed length. So take one symbol that
# comes often, and four that come equally often. For the cut in the middle to go wrong, one of the four must fall on
# the side of the frequent one: that one comes between two and three times as often as each of the others.
# </details>


# %% exercise-6-answer
@break_the_codes.answer
def break_the_codes():
    """Return a list of counts."""
    ### BEGIN SOLUTION
    return [5, 2, 2, 2, 2]
    ### END SOLUTION


# %% exercise-6-check
break_the_codes.check()

# %% [markdown] bill
# ## What it cost and what it bought
#
# Each row is written to a file, read back and tested on the **test** images, which we have not looked at apart from
# the ten digits. The last two rows are the codec's own file, and their bytes are its length. (Chapter 01 explains the
# columns.)


# %% bill-table
def relative(state):
    return formats.pack(state, "relative")


def unpacked(arrays):
    return formats.unpack(arrays, "relative")


def coded(code):
    return {
        "encode": lambda state: codec.encode({**state, **shared}, code=code),
        "decode": codec.decode,
    }


rows = {
    "dense, lenet-300-100": (net, {}),
    "8 % left, relative": (pruned, {"encode": relative, "decode": unpacked}),
    "8 % left, 32 values and 0": (pruned, coded("fixed")),
    "8 % left, 32 values and 0, Huffman": (pruned, coded("huffman")),
}
for name, (model, how) in rows.items():
    report = measure.measure(name, model, data.test, data.name, "results/network.file", **how)
    table = measure.record(report)
table

# %% [markdown] bill-reading
# **Which rows hold the same network, to the bit? What does that say about coding as against pruning and sharing?**
#
# <details><summary>Answer</summary>
#
# The last two. Coding loses nothing, so it costs no accuracy and needs no fine-tuning; it only asks how often each
# symbol comes. It costs time when the file is read, but only once, and not for each image. The network that is read
# back is dense. So its MACs are those of the first row, and so is its time, apart from what else the machine is
# doing. (Where the energy falls from the second row to the third, the file has become short enough for the 64 KB of
# SRAM. The estimate counts fetching the file's bytes, and leaves out the decoding.)
# </details>

# %% [markdown] breaks
# ## Where it breaks
#
# **There is nothing to gain where all symbols come equally often.** Before training, weights are spread evenly
# between two bounds. Shared among 32 values by k-means they come almost equally often: 5 bits of entropy in 5 bits.
# The weights of the trained dense network make a bell, and the values in its middle come more often.

# %% breaks-even
untrained = models.weights(models.build("lenet-300-100", seed))
print("32 values per layer, no zeros        entropy of fc1    fixed  Huffman      ANS  (bytes)")
for name, some in {"before training": untrained, "trained, dense": models.weights(net)}.items():
    few = {key: sharing.share(w.detach(), k=32, keep_zeros=False) for key, w in some.items()}
    entropy = huffman.entropy(torch.bincount(few["fc1.weight"].assignments.flatten().long()))
    found = [len(codec.encode({**net.state_dict(), **few}, code=code)) for code in codec.CODES]
    print(f"{name:36} {entropy:10.2f} bits " + " ".join(f"{size:8,}" for size in found))

# %% [markdown] breaks-floats-text
# On the untrained network both coders are *longer* than the fixed code, because of their tables. **Could we code the
# floats as they are, byte by byte?** A float32 is four bytes. Here is the entropy of each of them, over the weights
# of the trained dense network:

# %% breaks-floats
raw = np.concatenate([w.detach().cpu().numpy().ravel() for w in models.weights(net).values()])
columns = raw.astype("<f4").view(np.uint8).reshape(-1, 4)
each = [huffman.entropy(torch.bincount(torch.from_numpy(c).long())) for c in columns.T[::-1]]
names = ["sign, exponent", "exponent, mantissa", "mantissa", "mantissa"]
plot, (panel,) = plots.new(alt="Entropy of the four bytes of a float32 weight", width=6)
plots.bars(panel, names, {"entropy": each})
panel.set(ylabel="bits of 8", ylim=(0, 9.5), title="three of the four bytes look like noise")
plot

# %% [markdown] breaks-floats-reading
# Only the byte with most of the exponent, the order of magnitude, is uneven. That is why zlib gets so little out of a
# dense network, and why rounding, a loss that we choose, has to come before coding.
#
# **A table costs more than it saves where there is little to code.** Here are the first $n$ weights of fc3 as 33
# values; each file has the same codebook.

# %% breaks-small
layer = shared["fc3.weight"]
print("   n      fixed  Huffman      ANS  (bytes)")
for n in (10, 30, 60, 100, 200, 500, 1000):
    few = sharing.Shared(layer.codebook, layer.assignments.flatten()[:n])
    found = [len(codec.encode({"w": few}, code=code)) for code in codec.CODES]
    print(f"{n:4} " + " ".join(f"{size:8,}" for size in found))

# %% [markdown] breaks-small-reading
# **From how many weights on does a table of lengths pay? Which other bytes of our file describe the data rather than
# hold it?** (With `code=None`, `codec.encode` tries all three for each part and keeps the shortest.)
#
# <details><summary>Answer</summary>
#
# Huffman's table pays from somewhere between 60 and 100 weights on. The table of ANS is twice as long, so it pays
# later, and ANS saves less here: no value of fc3 deserves less than a bit. Codebooks, tables, names and shapes
# describe the data; the table in *One file* says how many bytes each takes.
# </details>

# %% [markdown] class
# ## The class is the experiment: the byte league
#
# Who has the shortest file that still reads digits? You make a LeNet-300-100 with any weights, in at most 300,000
# bytes. Below is a beginning. Your name (a nickname will do) is the seed of the network; `kept` is the fraction of
# the weights that stays, and `values` how many a layer shares. **Which of the two would you lower first?**
#
# Change what you like (biases in half precision? tuned codebooks, chapter 04? more rounds of pruning?), as long as
# only training images train. You hand in the file itself, inside the one that then lies in `results`. Your teacher's
# machine reads it as we read a stranger's, and measures the network in it on the validation images, so nobody has to
# claim an accuracy. It takes half a minute or more on glyphs and about three on MNIST.

# %% class-name
my_name = None
kept, values = 0.08, 32

# %% class-run
if my_name is not None:
    mine = baseline("lenet-300-100", data, seed=class_work.seed_of(my_name))
    live = models.weights(mine)
    masks = pruning.global_masks(live, 1 - kept)
    training.train(
        mine,
        data.train,
        training.Recipe(epochs=4),
        hold=lambda optimizer: pruning.hold_masks(live, masks, optimizer),
    )
    few = {name: sharing.share(w.detach(), values) for name, w in live.items()}
    my_file = codec.encode({**mine.state_dict(), **few})
    mine.load_state_dict(codec.decode(my_file))
    right = 100 * training.accuracy(mine, data.validation)
    print(f"{len(my_file):,} bytes, {100 - right:.2f} % wrong on the validation images")
    print(class_work.hand_in(EXPERIMENT, my_name, {"file": my_file}, data.name))

# %% [markdown] paper
# ## The paper
#
# Han, Mao and Dally, *Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and
# Huffman Coding*, ICLR 2016, [arXiv 1510.00149](https://arxiv.org/abs/1510.00149). Read section 3 for shared weights
# and section 4, which is half a page, for Huffman coding; then the tables with bits layer by layer. On MNIST it
# claims:
# - LeNet-300-100 in 27 KB, 40 times less than its 1070 KB, at 1.58 % error (1.64 % before);
# - LeNet-5 in 44 KB, 39 times less, at 0.74 % (0.80 %).
#
# A KB is 1000 bytes, as in our figures of files.
#
# Read its tables with a pencil, because in places they contradict themselves. One "total" of coded bits per weight
# lies outside the range of the layers that it is the mean of, which is impossible. And the weights of one layer take
# more bits with Huffman's code than with the fixed code that it replaces, which the best prefix code never does. The
# paper gives no file either: its sizes are counted, ours are lengths of files.
#
# Does the claim hold? Below is what `shrink reproduce deep-compression` gave on MNIST: each stage is a file, and each
# error is that of the network read back from it, on test images.

# %% paper-table
result = reproduce.stored("deep-compression")
result

# %% [markdown] paper-reading
# **Verdict: reproduced.** Over three seeds, LeNet-300-100 takes at most 19,858 bytes at 0.99 % error at most, and
# LeNet-5 34,516 at 0.61 %; both are shorter and better than the paper's. Two things help us, so read the rows with
# care.
#
# We train on images that are randomly shifted by a pixel, so our *dense* networks already err less. Whether accuracy
# is kept must be judged against our own dense row, from which the last row differs by less than the seeds do. And our
# layers share 16 values, where the paper has 32 to 256; that explains a part of the difference in bytes. (The second
# table has bits per weight, fillers and tables included. Where layers have few zeros, no gaps are stored.)
#
# ## How small can it get?
#
# 27 KB is the result of the paper's three steps. **What would you try next to make the file smaller, at the paper's
# error: keep fewer weights, share fewer values, find a better code? Which of the three is worth most?**
#
# `shrink reproduce deep-compression-smaller` tries them all, and two things more. Before single weights are pruned,
# weak hidden units are removed whole; the file stores nothing of them, and the reader puts zeros in their place. And
# three trained LeNet-5 tell the small network, beside each label, how sure they are of each class (chapter 06).

# %% smaller-table
smaller = reproduce.stored("deep-compression-smaller")
smaller

# %% smaller-plot
plot, panels = plots.new(
    2, alt="Test error over bytes: the files of both recipes, beside the paper's", height=3.2
)
for panel, network in zip(panels, ["lenet-300-100", "lenet-5"], strict=True):
    recipes = {"the paper's way": result.files(network), "smaller": smaller.files(network)}
    drawings.files_of_seeds(panel, recipes, result.paper(network))
    panel.set_title(network)
plot

# %% [markdown] smaller-reading
# LeNet-300-100 takes at most 4,279 bytes at 1.12 % error at most, six times less than the paper's 27 KB; LeNet-5
# takes 4,874 bytes at 0.67 %, nine times less than 44 KB. The last column has the limits that we had set before we
# began. Three of the four are kept. The fourth is not: LeNet-5 in 3,000 bytes at 0.74 %, where one seed of three errs
# 0.81 %.
#
# Nearly all of it comes from **fewer weights**. The smaller LeNet-300-100 has 4,075 of them, where 21,296 were left
# before. One weight costs 7.7 bits, not fewer than the 7.1 of before: 8 values in place of 16 save up to a bit, but
# between two weights of a sparser layer there are more zeros to write down. Biases in 6 bits, where they had 8, and
# fewer of them, save some 270 bytes more.
#
# So the question was less how to write a weight than how a network does with so few. This table cannot say which part
# of that is the teachers' doing, since it has no row without them. Chapter 06 asks what a teacher is worth, with the
# student alone beside it.
#
# You have now seen every byte of a small network. The next chapter makes the network small before it is trained.
