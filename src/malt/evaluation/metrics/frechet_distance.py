"""Frechet distance between two sets of features, each taken as a Gaussian (Dowson and Landau 1982; Heusel et al. 2017).

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)

What the distance is called is up to the features: FVD only with the I3D network of its authors (`fvd`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of a set of features, in double precision."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]


def gaussian_of(features: Float[Tensor, "n d"]) -> Gaussian:
    """The Gaussian with the mean and (unbiased) covariance of a set of features.

    Raises:
        ValueError: for fewer than 2 features.
    """
    if len(features) < 2:
        raise ValueError(f"got {len(features)} features; a covariance needs at least 2")
    values = features.double().cpu()
    return Gaussian(values.mean(0), torch.cov(values.T).reshape(values.shape[1], values.shape[1]))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """The squared distance of two Gaussians, 0 for equal ones."""
    root = _root(one.covariance)
    middle = torch.linalg.eigvalsh(root @ other.covariance @ root).clamp(min=0).sqrt().sum()
    traces = one.covariance.trace() + other.covariance.trace()
    return max(0.0, float((one.mean - other.mean).square().sum() + traces - 2 * middle))


def frechet_of(one: Float[Tensor, "n d"], other: Float[Tensor, "m d"]) -> float:
    """The distance of two sets of features."""
    return frechet_distance(gaussian_of(one), gaussian_of(other))


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric square root; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
