"""Chapters as notebooks: built from their text, copied for students, brought up to date."""

START = "00_start"  # built and copied as the chapters are; it is the first page, and no chapter
