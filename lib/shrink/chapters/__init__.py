"""What is in each chapter: its exercises, explorer and experiment, in a folder of its name."""
