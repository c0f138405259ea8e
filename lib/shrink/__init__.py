"""Shrink: the techniques that make neural networks small, each from scratch in a short file."""

from shrink import earlier

if shell := earlier.running_shell():
    earlier.told_in_one_line(shell)
