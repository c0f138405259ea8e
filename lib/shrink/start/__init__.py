"""The start page: one picture with one slider, and the map of the chapters.

It is the first thing that a student sees, so what it shows must be there in a moment: nothing here
imports torch, trains or fetches.
"""
