"""The export of what was trained, in the formats of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def export(parts: nn.ModuleDict, modality: str, llm: Any, folder: Path, *, merged: bool) -> list[str]:
    """Write the connector and the language model.

    Args:
        parts: ``encoder``, ``projector`` and ``llm``.
        modality: of the images.
        llm: has ``save_adapter(folder)`` and ``save_merged(folder)``, which say what they write; ``adapted`` says whether it
            has an adapter.
        folder: where; it is there and empty.
        merged: write the language model whole, its adapter put into its weights.
    """
    said = []
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().contiguous()
        for kind in ("encoder", "projector")
        for name, tensor in parts[kind].state_dict().items()
    }
    save_file(tensors, folder / "connector.safetensors")
    widths = {name: list(tensor.shape) for name, tensor in tensors.items()}
    (folder / "connector.json").write_text(json.dumps({"modality": modality, "tensors": widths}, indent=1) + "\n")
    said.append(f"connector.safetensors: {len(tensors)} tensors of the projector and of an encoder that was trained")
    if merged or not llm.adapted:
        said.append(f"llm/: {llm.save_merged(folder / 'llm')}")
    else:
        said.append(f"adapter/: {llm.save_adapter(folder / 'adapter')}")
    return said
