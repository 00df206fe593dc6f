"""The one table of settings with which ``parity.py`` compares our nets with RecBole's, for both interpreters.

A row is (what, value, our setting, RecBole's setting); a pair of values where the two write it differently, None where
one side has no such setting. Not pairable, and so a difference: RecBole trains prefixes one by one, and ours all
positions of a sequence in one pass; its blocks are post-norm, ours as our defaults have them; only ours read a tenth of
the sequences as a stranger's (HGN, Caser).
"""

from __future__ import annotations

from typing import Any

Row = tuple[str, Any, str | None, str | None]

COMMON: list[Row] = [
    ("learning rate", 1e-3, "learning_rate", "learning_rate"),
    ("weight decay", 0.0, "weight_decay", "weight_decay"),
    ("largest gradient norm", (5.0, {"max_norm": 5.0}), "clip_norm", "clip_grad_norm"),
    ("steps of warm-up", 0, "warmup_steps", None),
    ("targets in a batch", 2048, "batch_tokens", "train_batch_size"),
    ("loss over the catalogue", ("full", "CE"), "loss", "loss_type"),
]
#: What a net reads of a history; for HGN and Caser RecBole reads one window and no more.
LONG: list[Row] = [("history", 50, "max_length", "MAX_ITEM_LIST_LENGTH")]
WINDOW: list[Row] = [("history", 50, "max_length", None), ("window", 5, "window", "MAX_ITEM_LIST_LENGTH")]
BLOCKS: list[Row] = [
    ("width", 64, "embedding_size", "hidden_size"),
    ("layers", 2, "layers", "n_layers"),
    ("heads", 2, "heads", "n_heads"),
    ("feed-forward", 256, "inner_size", "inner_size"),
    ("dropout", 0.5, "dropout", "hidden_dropout_prob"),
    ("dropout of attention", 0.5, None, "attn_dropout_prob"),
]
WIDTH: list[Row] = [("width", 64, "embedding_size", "embedding_size")]

MODELS: dict[str, list[Row]] = {
    "SASRec": [*LONG, *BLOCKS],
    "BERT4Rec": [
        *LONG,
        *BLOCKS,
        ("share masked", 0.2, "mask_probability", "mask_ratio"),
        ("maskings in an epoch", 1, "maskings", None),
    ],
    "GRU4Rec": [
        *LONG,
        *WIDTH,
        ("state", 128, "hidden_size", "hidden_size"),
        ("layers", 1, "layers", "num_layers"),
        ("dropout", 0.3, "dropout", "dropout_prob"),
    ],
    "NARM": [
        *LONG,
        *WIDTH,
        ("state", 128, "hidden_size", "hidden_size"),
        ("layers", 1, "layers", "n_layers"),
        ("dropout of items and states", [0.25, 0.5], None, "dropout_probs"),
        ("dropout of items", 0.25, "input_dropout", None),
        ("dropout of states", 0.5, "dropout", None),
    ],
    "STAMP": [*LONG, *WIDTH, ("dropout", 0.0, "dropout", None)],
    "HGN": [*WINDOW, *WIDTH, ("dropout", 0.0, "dropout", None)],
    "Caser": [
        *WINDOW,
        *WIDTH,
        ("vertical filters", 4, "vertical", "nv"),
        ("horizontal filters of a height", 8, "horizontal", "nh"),
        ("dropout", 0.4, "dropout", "dropout_prob"),
    ],
    "FDSA": [
        *LONG,
        *BLOCKS,
        ("dropout of blocks", 0.5, "block_dropout", None),
        ("attributes", ["class"], None, "selected_features"),
    ],
    "S3Rec": [
        *LONG,
        *BLOCKS,
        ("epochs of pre-training", 20, "pretrain_epochs", "pretrain_epochs"),
        ("rate of pre-training", 1e-3, "pretrain_rate", None),
        ("share masked", 0.2, "pretrain_mask", "mask_ratio"),
        ("weight of AAP", 0.2, "aap_weight", "aap_weight"),
        ("weight of MIP", 1.0, "mip_weight", "mip_weight"),
        ("weight of MAP", 1.0, "map_weight", "map_weight"),
        ("weight of SP", 0.5, "sp_weight", "sp_weight"),
        ("attributes", "class", None, "item_attribute"),
    ],
}
#: What RecBole is told by ``recbole_peer.py`` alone; its own defaults stand for the rest.
SIZES = ("width", "state", "layers", "heads", "feed-forward", "vertical filters", "horizontal filters of a height")


def settings(model: str, side: int) -> dict[str, Any]:
    """All settings of a model, by their names on one side (0 = ours, 1 = RecBole's)."""
    return {row[2 + side]: _of(row, side) for row in [*COMMON, *MODELS[model]] if row[2 + side] is not None}


def peer_sizes(model: str) -> dict[str, Any]:
    """RecBole's settings of size alone, and the attributes that a model cannot do without."""
    rows = [row for row in MODELS[model] if row[0] in (*SIZES, "attributes", "epochs of pre-training")]
    return {row[3]: _of(row, 1) for row in rows if row[3] is not None}


def _of(row: Row, side: int) -> Any:
    return row[1][side] if isinstance(row[1], tuple) else row[1]
