# %% look
# How much of a network does it take to tell digits apart? Press ▶ in the bar above, then move the slider.
from shrink.start.explorer import explore

explore()

# %% [markdown] course
# # Shrink: make neural networks small
#
# The network above tells digits apart. The slider takes its smallest weights away; nothing is trained again. **How far
# can you go until the first answer is wrong? How long is the file then?** And what would you do to go further?
#
# That is what this course is about. In each chapter you make a guess, move sliders, write a method yourself, one
# function at a time, and have each function checked. Each chapter ends with a bill: the bytes of a file, accuracy,
# arithmetic, energy and time. All of it runs on this machine; no GPU and no network connection are needed.
#
# ## The chapters, and how far you are

# %% map
from shrink.start.overview import chapters

chapters()

# %% [markdown] how
# A square is an exercise: □ is open, ◧ is written, ■ has passed its check (and is ◧ again once you change it). The map
# shows your notebooks as they were last saved and runs nothing; run its cell again to bring it up to date.
#
# - Click a chapter, and run its cells from the top, each with ▶ or Shift+Enter.
# - These notebooks are yours. Nothing overwrites what you write in them. When the course has changed, `shrink update` in
#   a terminal brings them up to date and keeps your answers.
# - The files that chapters write, and those to hand in, lie in the folder `results`.
# - `shrink check 2` in a terminal runs chapter 02 from top to bottom and says how each exercise stands.
