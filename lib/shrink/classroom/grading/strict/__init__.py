"""`shrink check --strict`: grading notebooks without trusting them."""
