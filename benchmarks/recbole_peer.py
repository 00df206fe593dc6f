"""RecBole 1.2.1 on the same data, for comparison: seconds, peak memory and test NDCG@10 after each epoch.

Run it with a Python that has RecBole (it needs ``setuptools<80``, ``pandas<3`` and pyarrow), not with Seqlore's:

    python benchmarks/recbole_peer.py DATASET_FOLDER --model SASRec --epochs 3

``spent`` is the time of training so far; ``cpu_spent``, the processor time of all threads, is the one to compare where
other work runs on the machine. Order of events, split (leave-one-out), net size and loss (full softmax) are those of
``benchmarks/nets.py``; sizes are those of ``parity_settings.py``, other settings RecBole's own unless ``--set`` gives
them (``parity.py`` gives all). FDSA and S3Rec read the items' categories; S3Rec's ``spent`` has its pre-training in it,
whose epochs are not rows. RecBole does not mask seen items for sequential models; on Beauty nobody buys twice, so its
figures lose a little by that.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

for old, new in (("bool8", "bool_"), ("float_", "float64"), ("complex_", "complex128"), ("unicode_", "str_")):
    if not hasattr(np, old):  # names that RecBole still uses and NumPy 2 dropped
        setattr(np, old, getattr(np, new))

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from parity_settings import MODELS, peer_sizes  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

ATTRIBUTED = {"FDSA", "S3Rec"}


def attributes(item: object) -> str:
    """Every level of every path in the categories of an item, written with those above it, as one column of tokens."""
    found = []
    for text in [item] if isinstance(item, str) else [] if item is None else list(item):  # type: ignore[call-overload]
        levels = [level.strip() for level in str(text).split(">")]
        found += [">".join(levels[:n]) for n in range(1, len(levels) + 1) if levels[n - 1]]
    return " ".join(dict.fromkeys(each.replace(" ", "_") for each in found))


def value(text: str) -> object:
    """JSON where it is, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pretrained(config: Config, train: object, dataset: object, root: str) -> tuple[float, float]:
    """S3-Rec's first stage, left in a file that the second one reads; (seconds, processor seconds)."""
    model = get_model("S3Rec")(config, dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], "S3Rec")(config, model)
    torch.autograd.set_detect_anomaly(False)
    started, worked = time.perf_counter(), time.process_time()
    for epoch in range(config["pretrain_epochs"]):
        trainer._train_epoch(train, epoch, show_progress=False)
    spent = time.perf_counter() - started, time.process_time() - worked
    torch.save({"state_dict": model.state_dict()}, Path(root) / "pretrained.pth")
    config["train_stage"], config["pre_model_path"] = "finetune", str(Path(root) / "pretrained.pth")
    return spent


def main() -> None:
    """Print one JSON object an epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", choices=sorted(MODELS), default="SASRec")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of RecBole's")
    parser.add_argument("--anomaly", action="store_true", help="keep RecBole's anomaly detection, on as shipped")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "beauty"
        folder.mkdir()
        events = pd.read_parquet(args.dataset / "interactions.parquet")
        time_column = "position" if "position" in events else "timestamp"
        events = events[["user_id", "item_id", time_column]].rename(
            columns={"user_id": "user_id:token", "item_id": "item_id:token", time_column: "timestamp:float"}
        )
        events.to_csv(folder / "beauty.inter", sep="\t", index=False)
        load = {"inter": ["user_id", "item_id", "timestamp"]}
        if args.model in ATTRIBUTED:
            items = pd.read_parquet(args.dataset / "items.parquet")
            found = [attributes(each) for each in items["categories"]]
            common = set.intersection(*(set(each.split()) for each in found))
            told = [" ".join(a for a in each.split() if a not in common) for each in found]
            frame = pd.DataFrame({"item_id:token": items["item_id"], "class:token_seq": told})
            frame.to_csv(folder / "beauty.item", sep="\t", index=False)
            load["item"] = ["item_id", "class"]
        settings = {
            **peer_sizes(args.model),
            "data_path": root,
            "load_col": load,
            "MAX_ITEM_LIST_LENGTH": args.length,
            "loss_type": "CE",
            "train_neg_sample_args": None,
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
            "metrics": ["Hit", "NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "checkpoint_dir": root,
            "show_progress": False,
            "state": "ERROR",
            **{key: value(text) for key, text in (pair.split("=", 1) for pair in args.set)},
        }
        if args.model == "S3Rec":
            settings["train_stage"] = "pretrain"
        config = Config(model=args.model, dataset="beauty", config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train, _, test = data_preparation(config, dataset)
        spent = cpu = 0.0
        if args.model == "S3Rec":
            spent, cpu = pretrained(config, train, train.dataset, root)
        model = get_model(config["model"])(config, train.dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        for epoch in range(args.epochs):
            if not args.anomaly:
                torch.autograd.set_detect_anomaly(False)
            started, worked = time.perf_counter(), time.process_time()
            loss = trainer._train_epoch(train, epoch, show_progress=False)
            seconds = time.perf_counter() - started
            spent += seconds
            cpu += time.process_time() - worked
            started = time.perf_counter()
            result = trainer.evaluate(test, load_best_model=False, show_progress=False)
            row = {
                "peer": "recbole",
                "model": args.model,
                "epoch": epoch + 1,
                "seconds": round(seconds, 2),
                "spent": round(spent, 2),
                "cpu_spent": round(cpu, 2),
                "evaluate_seconds": round(time.perf_counter() - started, 2),
                "loss": float(loss),
                "ndcg@10": result["ndcg@10"],
                "hr@10": result["hit@10"],
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "threads": torch.get_num_threads(),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
