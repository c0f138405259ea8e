"""Exercises: what a student writes, how it is checked and graded."""
