"""Coding: what pruned, shared and quantized weights take as bits, in one file at the end."""
