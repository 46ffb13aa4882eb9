"""What emitted source calls: special functions, maps of pixels, and the walk over pairs of samples; needs jax only."""

from ntkc.runtime.arc_cosine import (
    angle_over_pi,
    arc_cosine,
    arc_cosine_even,
    arc_cosine_near,
    arccos_over_pi,
    gap_of,
    gap_of_cosine,
)
from ntkc.runtime.attention import between, inner, positions, softmax_of_keys
from ntkc.runtime.data import cleaned, cosine_gap, distances, present, products
from ntkc.runtime.erf import angle_gap, gram_determinant, span
from ntkc.runtime.gram import Kernels, kernels
from ntkc.runtime.graphs import adjacency, gathered
from ntkc.runtime.kinks import kink_coefficients, kink_moment, kink_sum, kink_tails, split_mean
from ntkc.runtime.loops import Values, scanned, stacked, unrolled
from ntkc.runtime.pixel_data import pixel_distances
from ntkc.runtime.pixels import (
    contracted,
    contracted_values,
    embedded,
    left,
    levelled,
    multiplied,
    narrowed,
    of_pixels,
    patched,
    permuted,
    picked,
    placed,
    pooled,
    right,
    same_pixels,
    taken,
    total,
)
from ntkc.runtime.polynomials import polynomial
from ntkc.runtime.port import continued
from ntkc.runtime.predict import predictor
from ntkc.runtime.roots import angle, cosine, exact_minor, exp_sinh, ratio, root, safe_sqrt
from ntkc.runtime.series import chunks_needed, coefficients, gaussian_mean, hermite_sum
from ntkc.runtime.steps import density, edge, orthant, ridge, safe, steps, tail
from ntkc.runtime.together import as_one, filled, held

__all__ = [
    "Kernels",
    "Values",
    "adjacency",
    "angle",
    "angle_gap",
    "angle_over_pi",
    "arc_cosine",
    "arc_cosine_even",
    "arc_cosine_near",
    "arccos_over_pi",
    "as_one",
    "between",
    "chunks_needed",
    "cleaned",
    "coefficients",
    "continued",
    "contracted",
    "contracted_values",
    "cosine",
    "cosine_gap",
    "density",
    "distances",
    "edge",
    "embedded",
    "exact_minor",
    "exp_sinh",
    "filled",
    "gap_of",
    "gap_of_cosine",
    "gathered",
    "gaussian_mean",
    "gram_determinant",
    "held",
    "hermite_sum",
    "inner",
    "kernels",
    "kink_coefficients",
    "kink_moment",
    "kink_sum",
    "kink_tails",
    "left",
    "levelled",
    "multiplied",
    "narrowed",
    "of_pixels",
    "orthant",
    "patched",
    "permuted",
    "picked",
    "pixel_distances",
    "placed",
    "polynomial",
    "pooled",
    "positions",
    "predictor",
    "present",
    "products",
    "ratio",
    "ridge",
    "right",
    "root",
    "safe",
    "safe_sqrt",
    "same_pixels",
    "scanned",
    "softmax_of_keys",
    "span",
    "split_mean",
    "stacked",
    "steps",
    "tail",
    "taken",
    "total",
    "unrolled",
]
