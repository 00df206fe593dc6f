"""The one training loop: warm-up, clipping, mixed precision, early stopping, JSONL log, checkpoints, exact resume.

It knows no model: a net's ``forward(batch)`` returns its loss, batches and validation come in as functions. Runs on
CPU, one GPU or several through ``accelerate``. Checkpoints are safetensors and JSON, never pickles, and hold the
random states, so that a run that was killed ends exactly as it would have.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.errors import ConfigError, DataError
from seqlore.training.device import check_name, device_of
from seqlore.training.memory import trim

#: Steps after which freed memory is given back; each time costs some: at 16, a few per cent of SASRec's.
TRIMMED = 64

Progress = Callable[[dict[str, Any]], None]


class TrainConfig(Config):
    """Settings of the loop."""

    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(
        default=0.01, ge=0, description="Decoupled weight decay, on all but row-sparse tables and what a net exempts."
    )
    warmup_steps: int = Field(
        default=100, ge=0, description="Steps over which the learning rate rises linearly from 0."
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant",
        description="Course of the learning rate after warm-up; the cosine falls by step from the second epoch on, "
        "since the first one tells how many steps there are.",
    )
    schedule_epochs: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda epochs: epochs is None,
        description="Epochs over which the cosine falls; None = ``epochs``.",
    )
    clip_norm: float | None = Field(default=5.0, gt=0, description="Largest gradient norm; None = no clipping.")
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Validate and keep an exponential moving average of the weights; None = the last.",
    )
    epochs: int = Field(
        default=100, ge=1, description="Most epochs; exactly this many where there are no validation cases."
    )
    patience: int = Field(default=5, ge=1, description="Validations without improvement after which training stops.")
    validate_every: int = Field(
        default=1, ge=1, description="Epochs between validations; the last one allowed is validated in any case."
    )
    monitor: str = Field(default="ndcg@10", description="Validation metric that chooses the epoch.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="Arithmetic of forward and backward."
    )
    device: str | None = Field(
        default=None,
        description="'cpu' keeps a net off the GPU, 'cuda' and 'mps' insist on one; None = the best there is.",
    )
    seed: int = Field(default=0, description="Of initialisation, batches, masks, negatives and dropout.")

    @field_validator("device")
    @classmethod
    def _device(cls, device: str | None) -> str | None:
        return check_name(device)


def train(
    net: nn.Module,
    batches: Callable[[int, tuple[int, int]], Iterable[Any]],
    config: TrainConfig,
    *,
    validate: Callable[[], dict[str, float]] | None = None,
    log: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    validate_after: int = 0,
) -> list[dict[str, Any]]:
    """Train ``net`` in place; it ends with the weights of the best validated epoch.

    Args:
        batches: (epoch, (rank, world)) → batches; must depend on nothing else, so that a resumed run sees the same.
        validate: metrics of the net as it stands; without it training takes exactly ``config.epochs``.
        validate_after: epochs at the start that are not validated, and so try nobody's patience.
        log: JSONL file, one object an epoch. checkpoint: folder, written after each epoch and resumed from.
        progress: called with each epoch's row. on_epoch: called before each epoch, for nets that train in phases.

    Returns: one row an epoch: epoch (from 1), train_loss, valid, seconds, learning_rate.

    Raises: DataError: the loss is not finite; or the checkpoint belongs to other settings, or is damaged. ConfigError:
        the device that the settings insist on is not there.
    """
    accelerator = _accelerator(config)
    net.to(accelerator.device)
    dense, sparse = _parameters(net)
    made: list[torch.optim.Optimizer] = []
    if dense:
        groups = _groups(dense, config.weight_decay)
        made.append(torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True))
    if sparse:
        made.append(torch.optim.SparseAdam(sparse, lr=config.learning_rate))
    model, *optimizers = accelerator.prepare(net, *made)
    state = _State(net, optimizers, config)
    if checkpoint is not None and (checkpoint / "state.json").is_file():
        state.read(checkpoint)
    if log is not None and accelerator.is_main_process:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(json.dumps(row) + "\n" for row in state.history))

    while not state.finished:
        epoch = len(state.history) + 1
        if on_epoch is not None:
            on_epoch(epoch, net)
        model.train()
        usual = state.steps / (epoch - 1) if epoch > 1 else math.inf  # steps of an epoch
        started, total, count, rate = time.perf_counter(), torch.zeros((), device=accelerator.device), 0, 0.0
        for batch in batches(epoch, (accelerator.process_index, accelerator.num_processes)):
            rate = _rate(state.steps + count + 1, epoch - 1 + min(count / usual, 1.0), config)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get("rate_scale", 1.0)
            with accelerator.autocast():
                loss = model(_move(batch, accelerator.device))
            accelerator.backward(loss)
            if config.clip_norm is not None:
                accelerator.clip_grad_norm_(dense, config.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            total += loss.detach()
            count += 1
            state.average(state.steps + count)
            if count % TRIMMED == 0:
                trim()
        state.steps += count
        if not count:
            raise DataError("training has no batch: every sequence is too short to predict anything from")
        mean = torch.as_tensor(accelerator.reduce(total / count, "mean")).item()
        if not math.isfinite(mean):
            raise DataError(f"the loss became {mean} in epoch {epoch}: lower learning_rate, or use precision='fp32'")
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": mean,
            "seconds": time.perf_counter() - started,
            "learning_rate": rate,
        }
        due = epoch % config.validate_every == 0 or epoch == config.epochs
        if validate is not None and due and epoch > validate_after:
            model.eval()
            trim()  # whole catalogues are scored, in other shapes than steps have
            with torch.no_grad(), state.averaged():
                row["valid"] = validate()
        state.add(row)
        if accelerator.is_main_process:
            if checkpoint is not None:
                state.write(checkpoint)
            if log is not None:
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            if progress is not None:
                progress(row)
    state.take_best()
    net.eval()
    return state.history


def _accelerator(config: TrainConfig) -> Accelerator:
    """Accelerate keeps device and precision for the whole process, so those of the fit before are forgotten first."""
    wanted = None if config.device is None else device_of(config.device)
    if wanted is not None and wanted.type == "cuda" and wanted.index not in (None, torch.cuda.current_device()):
        raise ConfigError(
            f"device={config.device!r}: a fit takes the first GPU that it sees; show it another one with "
            f"CUDA_VISIBLE_DEVICES={wanted.index}, and set device='cuda'"
        )
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"fp32": "no"}.get(config.precision, config.precision)
    return Accelerator(mixed_precision=precision, cpu=wanted is not None and wanted.type == "cpu")


def kept(history: list[dict[str, Any]], monitor: str) -> dict[str, Any]:
    """The row of the epoch whose weights the loop kept: the best by validation, without validation the last."""
    scored = [row for row in history if "valid" in row]
    return max(scored, key=lambda row: row["valid"][monitor]) if scored else history[-1]


def outcome(history: list[dict[str, Any]], monitor: str) -> dict[str, Any]:
    """What a model's ``about`` tells of its training: ``epochs``, ``best_epoch`` and that epoch's ``valid``."""
    best = kept(history, monitor)
    return {"epochs": len(history), "best_epoch": best["epoch"], "valid": best.get("valid")}


def _rate(step: int, epochs: float, config: TrainConfig) -> float:
    """Linear warm-up, then the schedule, where ``epochs`` lie behind: one that stood still within them would end four
    epochs at 0.15 of the peak, and what a net holds then is shaken by its last batches."""
    rate = config.learning_rate * min(1.0, step / max(config.warmup_steps, 1))
    if config.schedule == "cosine":
        whole = config.schedule_epochs or config.epochs
        rate *= 0.5 * (1 + math.cos(math.pi * min(epochs, whole) / whole))
    return rate


def _parameters(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(dense, row-sparse) trainable parameters; a table marks itself with ``weight.row_sparse = True``."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    return (
        [p for p in trainable if not getattr(p, "row_sparse", False)],
        [p for p in trainable if getattr(p, "row_sparse", False)],
    )


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups of the optimiser; a parameter may learn at a share of the rate (``parameter.rate_scale = 0.1``) and decay
    by a share of ``weight_decay`` (``parameter.decay_scale = 0.0``: not at all, for what does not start near zero)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for each in parameters:
        groups.setdefault((getattr(each, "rate_scale", 1.0), getattr(each, "decay_scale", 1.0)), []).append(each)
    return [
        {"params": each, "rate_scale": rate, "weight_decay": decay * weight_decay}
        for (rate, decay), each in groups.items()
    ]


def _move(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, (tuple, list)):
        parts = [_move(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)  # named tuples take arguments
    return batch


class _State:
    """What a run has come to: weights, optimisers, random states, history, and the best weights so far."""

    def __init__(self, net: nn.Module, optimizers: list[Any], config: TrainConfig) -> None:
        self.net, self.optimizers, self.config = net, optimizers, config
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        self.best: dict[str, Tensor] = {}
        self.weights: list[Tensor] = [p for p in net.parameters() if p.requires_grad]
        self.mean = [p.detach().clone() for p in self.weights] if config.ema_decay else []

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Move the average towards the weights; early on it forgets faster, so that the start does not linger."""
        if self.mean:
            decay = min(self.config.ema_decay or 0.0, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.mean, self.weights, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The net with the average in place of its weights, where one is kept."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self.weights, self.mean, strict=False):  # none without an average
            held = weight.clone()
            weight.copy_(mean)
            mean.copy_(held)

    @property
    def best_epoch(self) -> int | None:
        scored = [row for row in self.history if "valid" in row]
        return kept(scored, self.config.monitor)["epoch"] if scored else None

    @property
    def finished(self) -> bool:
        if len(self.history) >= self.config.epochs:
            return True
        best = self.best_epoch
        since = sum("valid" in row for row in self.history[best:]) if best else 0
        return since >= self.config.patience

    def add(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.best_epoch == row["epoch"]:
            with self.averaged():
                self.best = _snapshot(self.net)

    def take_best(self) -> None:
        if self.best:
            self.net.load_state_dict(self.best)
        else:
            self._swap()

    def write(self, folder: Path) -> None:
        """Tensors first, under a new name; then ``state.json``, which names them, in one atomic step."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"net.{k}": v for k, v in _snapshot(self.net).items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"mean.{i}": v.cpu() for i, v in enumerate(self.mean)}
        for i, optimizer in enumerate(self.optimizers):
            for j, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{j}.{k}": torch.as_tensor(v).detach().cpu() for k, v in slots.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        name = f"epoch-{len(self.history):05d}.safetensors"
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / name)
        head = {
            "settings": self.config.model_dump(mode="json"),
            "steps": self.steps,
            "history": self.history,
            "tensors": name,
        }
        (folder / "state.tmp").write_text(json.dumps(head))
        os.replace(folder / "state.tmp", folder / "state.json")
        for old in folder.glob("epoch-*.safetensors"):
            if old.name != name:
                old.unlink()

    def read(self, folder: Path) -> None:
        try:
            head = json.loads((folder / "state.json").read_text())
            steps, history, told = head["steps"], list(head["history"]), {**head["settings"], "epochs": None}
            tensors = load_file(folder / head["tensors"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(
                f"{folder}: this checkpoint is damaged ({error}); delete the folder, and training begins anew"
            ) from error
        # "epochs" may grow, so that a finished run can be carried on; every other setting must be the same.
        if told != {**self.config.model_dump(mode="json"), "epochs": None}:
            raise DataError(
                f"{folder}: this checkpoint was made with other settings; delete it, or name another folder"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.steps, self.history, self.best = steps, history, part("best.")
        self.net.load_state_dict(part("net."))
        for i, value in part("mean.").items():
            self.mean[int(i)].copy_(value)
        for i, optimizer in enumerate(self.optimizers):
            slots: dict[int, dict[str, Any]] = {}
            for key, value in part(f"optimizer.{i}.").items():
                index, _, slot = key.partition(".")
                # SparseAdam counts its steps in a Python int, and computes differently from a tensor.
                plain = value.ndim == 0 and not value.is_floating_point()
                slots.setdefault(int(index), {})[slot] = value.item() if plain else value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])


def _snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in net.state_dict().items()}
