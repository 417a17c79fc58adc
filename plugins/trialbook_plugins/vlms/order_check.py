"""Do tokens stand where they are said to stand?

Tried first with tokens kept apart, where it shows exactly and for every token, whatever the weights are (``coded``). Models that
mix tokens by other means than attention and convolution are tried as they are, with a picture or a token changed in one place
(``stirred``).
"""

from __future__ import annotations

import torch

from trialbook.contracts import OrderResult
from trialbook_plugins.vlms.layer_reader import TappedModel
from trialbook_plugins.vlms.perturbation_check import stir
from trialbook_plugins.vlms.position_code_check import read_places


def check_order(tapped: TappedModel, rows: int, device: torch.device) -> dict[str, OrderResult]:
    """Whether the tokens of every tap stand where they are said to stand.

    Args:
        tapped: the model with its taps.
        rows: images of one forward pass.
        device: where the model is.
    """
    placed = [tap for tap in tapped.taps if tap.area.order != "none"]
    exact = read_places(tapped, placed, rows, device)
    results = {name: result for name, result in exact.items() if result is not None}
    results |= stir(tapped, [tap for tap in placed if exact[tap.name] is None], rows, device)
    return {tap.name: results.get(tap.name, OrderResult(True, 1.0, 0)) for tap in tapped.taps}
