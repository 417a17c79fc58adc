"""Do tokens stand where they are said to stand?

Tried first with isolated tokens, where it shows exactly and for every token, whatever the weights are
(``position_code_check``). Models that mix tokens by other means than attention and convolution are tried as they are, with a
picture or a token changed in one place (``perturbation_check``).
"""

from __future__ import annotations

import torch

from trialbook.contracts import OrderResult
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.perturbation_check import check_by_perturbation
from trialbook_plugins.vlms.position_code_check import check_by_position_codes


def check_order(reader: LayerReader, rows: int, device: torch.device) -> dict[str, OrderResult]:
    """Check whether the tokens of every hook stand where they are said to stand.

    Args:
        reader: the model with its hooks.
        rows: images of one forward pass.
        device: where the model is.
    """
    placed = [hook for hook in reader.hooks if hook.area.order != "none"]
    exact = check_by_position_codes(reader, placed, rows, device)
    results = {name: result for name, result in exact.items() if result is not None}
    results |= check_by_perturbation(reader, [hook for hook in placed if exact[hook.name] is None], rows, device)
    return {hook.name: results.get(hook.name, OrderResult(True, 1.0, 0)) for hook in reader.hooks}
