"""Learning to hash, hands on: the functions that more than one notebook of the series needs."""

from grh_helpers.checkpoints import checkpoint
from grh_helpers.codes import pack_bits, unpack_bits
from grh_helpers.cross_modal import CrossModalGRH
from grh_helpers.datasets import Dataset, Split, load_dataset
from grh_helpers.evaluation import (
    average_precision,
    bootstrap_ci,
    budget_sweep,
    mean_average_precision,
    precision_at_k,
    precision_recall_curve,
    radius_sweep,
)
from grh_helpers.gist import gist
from grh_helpers.hashing import GRH, ITQ, LSH, graph_step
from grh_helpers.index import HammingIndex

__all__ = ["GRH", "ITQ", "LSH", "Dataset", "HammingIndex", "Split", "average_precision"]
__all__ += ["CrossModalGRH", "bootstrap_ci", "budget_sweep", "checkpoint", "gist", "graph_step"]
__all__ += ["load_dataset", "mean_average_precision", "pack_bits", "precision_at_k"]
__all__ += ["precision_recall_curve", "radius_sweep", "unpack_bits"]
