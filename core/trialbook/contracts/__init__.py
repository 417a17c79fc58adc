"""Interfaces of what plugins implement and yield.

Names are imported when they are first used; records, datasets, conversations, predictions, findings, plots and metric names
need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook._lazy import lazy_names

if TYPE_CHECKING:
    from trialbook.contracts.components import *
    from trialbook.contracts.conversations import *
    from trialbook.contracts.datasets import *
    from trialbook.contracts.decoders import *
    from trialbook.contracts.encoders import *
    from trialbook.contracts.findings import *
    from trialbook.contracts.language import *
    from trialbook.contracts.metric_names import *
    from trialbook.contracts.plots import *
    from trialbook.contracts.predictions import *
    from trialbook.contracts.probes import *
    from trialbook.contracts.records import *
    from trialbook.contracts.tasks import *
    from trialbook.contracts.tensors import *

#: Submodule to the names that it defines.
HOMES = {
    "components": "Builder Encoder Features Loss Metric Prepared Projector",
    "conversations": "Conversation IMAGE Role Turn conversation_hash",
    "datasets": (
        "Dataset Modality Overlap Raw Rows Split assign_splits content_hash find_overlaps modalities_of pair_names"
    ),
    "decoders": "Decodes LatentShape",
    "encoders": "OrderResult Point Reconstruction Reconstructs Taps",
    "findings": "Finding SEVERITIES Severity by_severity",
    "language": "Captioner Generated LanguageModel Piece",
    "metric_names": "expand_produces",
    "plots": "HeatMap Profile Shown declare_pictures declare_plots fill look_up read_pictures read_plots",
    "predictions": "ABSTENTIONS Prediction Scorer UNANSWERABLE exact_match is_abstention normalize normalized_match score",
    "probes": "FindsBoxes PredictedBoxes Probe Probed TellsLimits",
    "records": "Arrays Artifact Event Facts Item Measured Predictions Record Timing Vitals answer_name curve_name",
    "tasks": "Answers Exports Measures Notes Shows Step Task Trains Weighs",
    "tensors": "CPU as_float64 counting_operations device_of float64_device places_of to_device",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, HOMES)
