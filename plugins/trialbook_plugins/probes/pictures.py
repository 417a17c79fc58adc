"""Measures between pictures, float [n, 3, H, W] in 0 to 1: SSIM, edges, foreground, and the direction of clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d

from trialbook import TrialbookError
from trialbook.contracts import as_float64, to_device

_RADIUS, _SIGMA = 5, 1.5


def ssim(a: Tensor, b: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity of each pair of pictures [n, C, H, W] -> [n]; differentiable, in the precision of ``a``.

    Gaussian weights of σ 1.5 over 11 × 11 pixels, population covariance, mean over channels and over the pixels whose window
    lies within the picture.

    Args:
        a: pictures.
        b: pictures of the same size.
        data_range: distance of the brightest from the darkest value that there can be.
    Raises:
        TrialbookError: the sizes differ, or are below 11 pixels.

    Source: Wang et al. 2004, with K₁ = 0.01 and K₂ = 0.03.
    """
    _check_pair(a, b)
    if min(a.shape[2:]) < 2 * _RADIUS + 1:
        raise TrialbookError(f"SSIM needs pictures of at least 11 × 11 pixels, not {tuple(a.shape[2:])}")
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights = to_device((weights / weights.sum()).to(a.dtype), a.device)

    def blur(values: Tensor) -> Tensor:
        planes = values.flatten(0, 1)[:, None]
        return conv2d(conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1)).view(len(a), -1)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return values.mean(1)


def edge_f1(found: Tensor, true: Tensor, *, tolerance: int = 2, sigma: float = 1.0) -> NDArray[np.float64]:
    """F1 of Canny edges of each pair of pictures [n, 3, H, W] -> [n].

    A found edge pixel is right within ``tolerance`` pixels of a true one, a true one is found within as many of a found one.
    1 where neither has edges, 0 where only one has.

    Args:
        found: pictures that are judged.
        true: pictures that they should be.
        tolerance: pixels, Euclidean.
        sigma: of Canny's blur in pixels.

    Source: Canny 1986 as scikit-image has it; precision and recall with a tolerance as in Martin et al. 2004, without their
    one-to-one matching.
    """
    from scipy.ndimage import distance_transform_edt

    canny = _canny()
    _check_pair(found, true)
    scores = np.empty(len(found))
    for i in range(len(found)):
        edges = [canny(_grey(picture[i]), sigma=sigma) for picture in (found, true)]
        if not edges[0].any() or not edges[1].any():
            scores[i] = float(edges[0].any() == edges[1].any())
            continue
        near = [distance_transform_edt(~one) <= tolerance for one in edges]
        precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
        scores[i] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def foreground(pictures: Tensor, threshold: float = 0.2) -> Tensor:
    """Pixels that differ from their picture's background: [n, 3, H, W] -> bool [n, H, W].

    The background is each channel's median; a pixel is foreground where a channel is further than ``threshold`` from it.
    """
    background = pictures.flatten(2).median(2).values[:, :, None, None]
    return (pictures - background).abs().amax(1) > threshold


def spatial_iou(found: Tensor, true: Tensor) -> Tensor:
    """IoU of masks bool [n, H, W] -> [n]; 1 where both are empty.

    There is no standard by this name: say which masks these are (``foreground`` and its threshold).
    """
    if found.shape != true.shape:
        raise TrialbookError(f"masks of {tuple(found.shape)} and {tuple(true.shape)} cannot be compared")
    inner, union = (as_float64(both.flatten(1).sum(1)) for both in (found & true, found | true))
    return torch.where(union > 0, inner / union.clamp(min=1), 1.0)


def directions(clips: Tensor, threshold: float = 0.2) -> NDArray[np.int64]:
    """Find the direction in which each clip's foreground moves: [n, T, 3, H, W] -> 0 right, 1 left, 2 down, 3 up; -1 where
    nothing moves or is there.

    Sign of the displacement of its centre from the first to the last frame that shows it, along the axis of the larger one.
    """
    found = np.full(len(clips), -1, dtype=np.int64)
    for i, clip in enumerate(clips):
        masks = foreground(clip, threshold)
        shown = masks.flatten(1).any(1).nonzero().flatten().tolist()
        if len(shown) > 1:
            found[i] = _direction(_centre(masks[shown[-1]]) - _centre(masks[shown[0]]))
    return found


def direction_accuracy(found: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score whether each direction is right [n]: 1 or 0; -1 is never right."""
    return ((np.asarray(found) == np.asarray(true)) & (np.asarray(found) >= 0)).astype(np.float64)


def _direction(moved: Tensor) -> int:
    axis = int(moved.abs().argmax())
    if abs(float(moved[axis])) < 1e-9:
        return -1
    return 2 * axis + int(moved[axis] < 0)


def _centre(mask: Tensor) -> Tensor:
    rows, columns = mask.nonzero(as_tuple=True)
    return torch.stack([columns.double().mean(), rows.double().mean()])


def _grey(picture: Tensor) -> NDArray[np.float64]:
    weights = torch.tensor([0.2125, 0.7154, 0.0721], dtype=torch.float64)
    grey: NDArray[np.float64] = torch.einsum("chw,c->hw", picture.detach().cpu().double(), weights).numpy()
    return grey


def _canny() -> Any:
    try:
        from skimage.feature import canny
    except ImportError as error:
        raise TrialbookError("edge F1 needs scikit-image: pip install 'trialbook[spatial]'") from error
    return canny


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise TrialbookError(f"pictures must be [n, C, H, W] of one size, not {tuple(a.shape)} and {tuple(b.shape)}")
