"""Chapters as notebooks: built from their text, copied for students, brought up to date."""
