"""Shrink: the techniques that make neural networks small, each from scratch in a short file."""
