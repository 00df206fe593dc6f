"""What a training step of ReLRec costs on a body of a given shape, beside the same body with an item table alone.

    python benchmarks/relrec.py                                   # a GPU: Llama-2-7b's shape, bf16; a CPU: a small one
    python benchmarks/relrec.py --width 2048 --layers 24 --heads 16 --inner 5632 --dtype fp32

Weights are random, for speed does not depend on them. The arms: "Llama2-seq" (Na et al. 2024, Table 12: items alone, no
projection), "ReLRec, no labels" (user token and projection) and "ReLRec", whose batch holds as many labels of users and
of items beside the sequences. Of each: batches a second in training (forward, backward, AdamW) and in listing (the
states of as many sequences, and their scores; the paper has 0.2579 of 16 on an A6000), the most memory of a training
step, and the share of the peak of both: the arithmetic of the body's matrices (in training 4 operations a weight and
position, since a frozen body has no weight gradients, else 2) and of the heads, over the rate that a plain matrix
product of the same type reaches on this machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.label_rows import averaging_weights
from seqlore.language.relrec import ReLRecConfig, ReLRecNet

ARMS: dict[str, dict[str, Any]] = {
    "Llama2-seq": {"users": "none", "beta": 0, "gamma": 0, "projection": {"layers": 0}},
    "ReLRec, no labels": {"beta": 0, "gamma": 0},
    "ReLRec": {},
}
LARGE = {"width": 4096, "layers": 32, "heads": 32, "inner": 11008, "vocabulary": 32000}
SMALL = {"width": 128, "layers": 2, "heads": 4, "inner": 352, "vocabulary": 2048}
#: Tokens of a label row before the label.
PROMPT = 8


def make_shape(folder: Path, a: argparse.Namespace) -> None:
    """A model folder without weights, which ``weights = "random"`` does not read."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=a.vocabulary, hidden_size=a.width, num_hidden_layers=a.layers, num_attention_heads=a.heads,
        num_key_value_heads=a.heads, intermediate_size=a.inner, tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    shape.save_pretrained(folder)
    save_file({}, folder / "model.safetensors")


def batch_of(net: ReLRecNet, a: argparse.Namespace, device: torch.device) -> tuple[torch.Tensor, ...]:
    """What ``ReLRecNet.forward`` takes, by chance: sequences, their weights, labels, theirs."""
    rng, tokens = np.random.default_rng(0), net.tokens
    rows = tokens.of_items(rng.integers(1, a.items, (a.batch, a.tokens)))
    if net.users is not None:
        rows[:, 0] = tokens.of_users(rng.integers(1, a.users, a.batch))
    read = np.ones(rows.shape, bool)
    read[:, -1] = False
    labels, shares = np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)
    if net.config.label_weights:
        labels = rng.integers(0, tokens.words, (2 * a.batch, a.tokens))
        labels[: a.batch, PROMPT - 1] = tokens.of_users(rng.integers(1, a.users, a.batch))
        labels[a.batch :, PROMPT - 1] = tokens.of_items(rng.integers(1, a.items, a.batch))
        told = np.zeros(labels.shape, bool)
        told[:, PROMPT - 1 : -1] = True
        shares = averaging_weights(told)
    arrays = (rows, averaging_weights(read), labels, shares)
    return tuple(torch.from_numpy(each).to(device) for each in arrays)


def operations(body: Backbone, batch: tuple[torch.Tensor, ...], a: argparse.Namespace) -> float:
    """Of a training step: forward and backward through the body, and through the heads where a loss reads them."""
    positions = sum(t.shape[0] * max(0, t.shape[1] - 1) for t in (batch[0], batch[2]))
    items, words = int((batch[1] > 0).sum()), int((batch[3] > 0).sum())
    # Items learn, so their product is made three times; words do not.
    return 4 * matrices(body) * positions + 6 * a.width * a.items * items + 4 * a.width * a.vocabulary * words


def matrices(body: Backbone) -> int:
    """Weights of the body that every position is multiplied by."""
    return sum(p.numel() for p in body.decoder.parameters() if p.ndim == 2) - body.words.numel()


def pace(step: Callable[[], Any], device: torch.device, times: int) -> float:
    """Calls a second, after two that are not counted."""

    def settled() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(2):
        step()
    started = settled()
    for _ in range(times):
        step()
    return times / (settled() - started)


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a plain matrix product."""
    n = 8192 if device.type == "cuda" else 1024
    one = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 * pace(lambda: one @ one, device, 10)


def memory(device: torch.device) -> float:
    """The most that was in use, GiB: of the GPU since it was last asked, or of this process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str, body: Backbone, a: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One arm; ``share`` is filled in by the caller."""
    settings = ReLRecConfig(backbone=body.config, max_length=a.tokens, **ARMS[name])
    net = ReLRecNet(body, np.ones(a.items, np.int64), a.users, settings).to(device)
    net.trained.fill_(True)
    batch = batch_of(net, a, device)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3, fused=True)

    def train() -> None:
        net(batch).backward()  # type: ignore[arg-type]
        optimizer.step()
        optimizer.zero_grad()

    histories = torch.from_numpy(np.random.default_rng(1).integers(1, a.items, (a.batch, a.tokens - 1))).to(device)
    lengths, users = torch.full((a.batch,), a.tokens - 1, device=device), torch.arange(a.batch, device=device) + 1

    @torch.inference_mode()
    def listing() -> None:
        (net.states(histories, lengths, users, vectors, None) @ vectors.T).topk(10)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    net.train()
    trained, most = pace(train, device, a.steps), memory(device)
    net.eval()
    with torch.inference_mode():
        vectors = net.item_vectors()  # once for all batches, as in `ReLRec.rank`
    listed = pace(listing, device, a.steps)
    return {
        "arm": name,
        "learned": sum(p.numel() for p in learned),
        "train_batches_s": trained,
        "list_batches_s": listed,
        "memory_gib": most,
        "operations_s": trained * operations(body, batch, a),
        "list_operations_s": listed * 2 * a.batch * (matrices(body) * a.tokens + a.width * a.items),
    }


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = LARGE if device.type == "cuda" else SMALL
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for key, value in shape.items():
        parser.add_argument(f"--{key}", type=int, default=value)
    parser.add_argument("--tokens", type=int, default=32, help="of a sequence, and of a label with its prompt")
    parser.add_argument("--batch", type=int, default=16, help="sequences; as many labels of users, and of items")
    parser.add_argument("--items", type=int, default=11_012 if shape is LARGE else 500)
    parser.add_argument("--users", type=int, default=11_093 if shape is LARGE else 500)
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16" if device.type == "cuda" else "fp32")
    parser.add_argument("--steps", type=int, default=20 if device.type == "cuda" else 3)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    with TemporaryDirectory() as folder:
        make_shape(Path(folder), a)
        config = BackboneConfig(name=folder, weights="random", dtype=a.dtype)
        with device:  # so large a body is not first made where it does not stay
            body = Backbone(config)
        top = peak(device, torch.bfloat16 if a.dtype == "bf16" else torch.float32)
        rows = [measure(name, body, a, device) for name in ARMS]
    for row in rows:
        row["share"], row["list_share"] = row.pop("operations_s") / top, row.pop("list_operations_s") / top
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    if a.json:
        print(json.dumps({"machine": machine, "settings": vars(a), "peak_tflops": top / 1e12, "arms": rows}, indent=2))
        return
    weights = sum(p.numel() for p in body.model.parameters())
    print(f"{machine}, {a.dtype}; {weights:,} weights; {a.batch} × {a.tokens} tokens; product {top / 1e12:.2f} TFLOP/s")
    for r in rows:
        print(
            f"{r['arm']:20} train {r['train_batches_s']:8.3f} batches/s, {r['share']:6.1%} of the product's rate, "
            f"{r['memory_gib']:6.2f} GiB; lists {r['list_batches_s']:8.3f} batches/s, {r['list_share']:6.1%}; "
            f"{r['learned']:,} learned"
        )


if __name__ == "__main__":
    main()
