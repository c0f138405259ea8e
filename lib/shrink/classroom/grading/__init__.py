"""How exercises stand: notebooks run and checked, and graded without trusting them."""

# What `running` and the plugin that it gives to pytest, `patience`, say to each other.
ENDED = "Python has ended"  # said of the cell in which it did
FOLDER = "SHRINK_CHECK_FOLDER"  # names where the kernel works
