"""Weight sharing: each weight becomes one of a few values, and is stored as that value's number."""

from shrink.sharing.codebooks import MOST, assign, distortion, num_bytes, rebuild
from shrink.sharing.kmeans import BINS, INITS, STEPS, fit_codebook, initial_codebook
from shrink.sharing.optimal import near_optimal_codebook, optimal_codebook, optimal_codebooks
from shrink.sharing.shared import Shared, share
from shrink.sharing.training import centroid_gradient, hold_shared

__all__ = [
    "BINS",
    "INITS",
    "MOST",
    "STEPS",
    "Shared",
    "assign",
    "centroid_gradient",
    "distortion",
    "fit_codebook",
    "hold_shared",
    "initial_codebook",
    "near_optimal_codebook",
    "num_bytes",
    "optimal_codebook",
    "optimal_codebooks",
    "rebuild",
    "share",
]
