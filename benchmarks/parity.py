"""Our nets beside RecBole's, with paired settings: one table of accuracy, seconds, their ratio, and time to catch up.

    python benchmarks/parity.py DATASET_FOLDER --peer-python VENV_WITH_RECBOLE/bin/python --epochs 10 --format markdown

runs ``nets.py`` with this interpreter and ``recbole_peer.py`` with the other, one after the other, each model with the
settings of ``parity_settings.py``. Test figures after each epoch are for this comparison only; nothing was chosen by
them. With ``--out`` every epoch is kept as JSON lines, and a model that is there with as many epochs is not run again.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity_settings import MODELS, settings

HERE = Path(__file__).parent
Epochs = list[dict[str, Any]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--peer-python", type=Path, required=True, help="a Python that has RecBole")
    parser.add_argument("--model", action="append", choices=sorted(MODELS), help="repeatable; default: all")
    parser.add_argument("--epochs", type=int, default=10, help="of each side")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: where other work runs too")
    parser.add_argument("--format", choices=("markdown", "csv"), default="markdown")
    parser.add_argument("--out", type=Path, help="folder for the epochs of each run")
    args = parser.parse_args()
    lines = []
    for model in args.model or MODELS:
        runs = []
        for side, python, script in ((0, Path(sys.executable), "nets.py"), (1, args.peer_python, "recbole_peer.py")):
            command = [str(python), str(HERE / script), str(args.dataset), "--model", model]
            command += ["--epochs", str(args.epochs)]
            command += [f"--set={key}={_written(value)}" for key, value in settings(model, side).items()]
            runs.append(_run(command, args.epochs, args.out and args.out / f"{model}-{'ours' if not side else 'peer'}"))
        lines.append(joined(model, *runs, clock=args.clock))
    print(written(lines, args.format), end="")


def joined(model: str, ours: Epochs, peer: Epochs, clock: str = "wall") -> dict[str, Any]:
    """One line of the table.

    Seconds are those of training, of the same number of epochs, with S3Rec's pre-training; ratio: the peer's over ours.
    Catching up: our seconds until test NDCG@10 first is what the peer has after its last epoch; None where it never is.
    """
    spent = "spent" if clock == "wall" else "cpu_spent"
    seconds, goal = (ours[-1][spent], peer[-1][spent]), peer[-1]["ndcg@10"]
    return {
        "model": model,
        "epochs": len(ours),
        "NDCG@10": ours[-1]["ndcg@10"],
        "NDCG@10, RecBole": goal,
        "HR@10": ours[-1]["hr@10"],
        "HR@10, RecBole": peer[-1]["hr@10"],
        "seconds": seconds[0],
        "seconds, RecBole": seconds[1],
        "ratio": round(seconds[1] / seconds[0], 2),
        "seconds to RecBole's NDCG@10": next((row[spent] for row in ours if row["ndcg@10"] >= goal), None),
        "peak GB": ours[-1]["peak_gb"],
        "peak GB, RecBole": peer[-1]["peak_gb"],
    }


def written(lines: Sequence[dict[str, Any]], format: str) -> str:
    """The table as Markdown or CSV; "never" where ours did not come so far."""
    heads = list(lines[0])
    if format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, heads, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return out.getvalue()
    rows = [["never" if value is None else str(value) for value in line.values()] for line in lines]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, rule, *rows))


def _run(command: list[str], epochs: int, keep: Path | None) -> Epochs:
    """The rows that a script printed; those of ``keep``.jsonl where it was run before."""
    path = None if keep is None else keep.with_name(f"{keep.name}.jsonl")
    if path is not None and path.is_file():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        if len(rows) == epochs:
            return rows
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(rows) != epochs:
        sys.exit(f"{' '.join(command)}: ended with status {done.returncode} after {len(rows)} of {epochs} epochs")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    main()
