"""Explorers: controls and one figure that keeps up with them."""
