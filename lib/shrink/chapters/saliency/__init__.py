"""Chapter 08, Saliency."""

from shrink.chapters.saliency.diagonal import hessian_diagonal
from shrink.chapters.saliency.obd import obd_saliency
from shrink.chapters.saliency.snip import snip_scores

EXERCISES = (obd_saliency, hessian_diagonal, snip_scores)
