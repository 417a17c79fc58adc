"""Interfaces of what plugins implement and yield.

Names are imported when they are first used; records, datasets, conversations, predictions, findings, plots and metric names
need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialbook._lazy import lazy_names

if TYPE_CHECKING:
    from trialbook.contracts.answers import *
    from trialbook.contracts.components import *
    from trialbook.contracts.conversation_folder import *
    from trialbook.contracts.conversations import *
    from trialbook.contracts.data_files import *
    from trialbook.contracts.datasets import *
    from trialbook.contracts.decoders import *
    from trialbook.contracts.distributed import *
    from trialbook.contracts.encoders import *
    from trialbook.contracts.evidence import *
    from trialbook.contracts.features import *
    from trialbook.contracts.files import *
    from trialbook.contracts.findings import *
    from trialbook.contracts.frozen import *
    from trialbook.contracts.language import *
    from trialbook.contracts.metric_names import *
    from trialbook.contracts.metric_values import *
    from trialbook.contracts.plots import *
    from trialbook.contracts.predictions import *
    from trialbook.contracts.probes import *
    from trialbook.contracts.randomness import *
    from trialbook.contracts.records import *
    from trialbook.contracts.risk import *
    from trialbook.contracts.tasks import *
    from trialbook.contracts.tensors import *
    from trialbook.contracts.trackers import *

#: Submodule to the names that it defines.
HOMES = {
    "answers": "judged_match reading",
    "components": "Builder Encoder Loss Metric Prepared Projector",
    "conversation_folder": "ConversationFolder IMAGES Line MANIFEST SPLITS read_folder read_manifest",
    "conversations": "Conversation IMAGE Role Turn conversation_hash",
    "data_files": "NotedFiles find_files note_files noting_files",
    "datasets": (
        "Dataset LeftOut Modality Overlap Raw Rows Split assign_splits content_hash find_overlaps has_label modalities_of "
        "row_identities "
        "pair_names"
    ),
    "decoders": "Decodes LatentShape",
    "distributed": "everyone gather_with_grad gathering spread spread_in_turns",
    "encoders": "OrderResult LayerPoint Reconstruction Reconstructs LayerEncoder",
    "evidence": "RunEvidence component_of",
    "features": "FeatureTable Features",
    "files": "UnreadableFile read_json read_lines sync_folder to_json write_whole",
    "findings": "Finding SEVERITIES Severity by_severity",
    "frozen": "read_only",
    "language": "Captioner Generated LanguageModel Piece",
    "metric_names": "CEILINGS ENDS FLOORS expand_produces fitting is_ceiling is_recorded references with_ends",
    "metric_values": "MetricValues checked_values per_sample_of",
    "plots": "HeatMap Profile Shown declare_pictures declare_plots fill look_up read_pictures read_plots",
    "predictions": "ABSTENTIONS Prediction Scorer UNANSWERABLE exact_match is_abstention normalize normalized_match score",
    "probes": "FindsBoxes PredictedBoxes Probe Probed TellsLimits",
    "randomness": "derive_seed epoch_uniform",
    "records": "Arrays Artifact Event Facts Item Measured Predictions Record Timing ModuleStats answer_name curve_name",
    "risk": "RiskCurve RiskPoint risk_curve",
    "tasks": "SupportsAnswers SupportsExport Measurable SupportsNotes SupportsEvidence Step Task Trainable SupportsWeights",
    "tensors": "CPU Handover as_float64 counting_operations device_of float64_device places_of to_device",
    "trackers": "TrackedRun Tracker",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, HOMES)
