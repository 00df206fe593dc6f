"""The loop: early stopping, resume after a kill, logs, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from torch import nn

from seqlore.errors import ConfigError, DataError
from seqlore.training import TrainConfig, train


class Line(nn.Module):
    """y = w·x with dropout, so that random states matter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, batch):
        x, y = batch
        return ((self.layer(self.drop(x)).squeeze(1) - y) ** 2).mean()


def batches(epoch, shard):
    g = torch.Generator().manual_seed(epoch)
    for _ in range(3):
        x = torch.randn(8, 4, generator=g)
        yield x, x.sum(1)


def fresh() -> Line:
    torch.manual_seed(0)
    return Line()


def weights(net: nn.Module) -> list[float]:
    return net.state_dict()["layer.weight"].flatten().tolist()


def test_it_learns_and_logs(tmp_path: Path):
    net = fresh()
    rows = train(
        net, batches, TrainConfig(epochs=5, learning_rate=0.05, warmup_steps=0), log=tmp_path / "a" / "log.jsonl"
    )
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    logged = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in logged] == [1, 2, 3, 4, 5]
    assert logged == rows


def test_it_stops_after_patience_and_keeps_the_best():
    net = fresh()
    seen: list[list[float]] = []
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2])

    def validate():
        seen.append(weights(net))
        return {"ndcg@10": next(scores)}

    rows = train(net, batches, TrainConfig(epochs=50, patience=2, warmup_steps=0), validate=validate)
    assert len(rows) == 4
    assert weights(net) == seen[1]


def test_the_last_epoch_is_validated_whatever_lies_between():
    scores = iter([0.1, 0.2])
    config = TrainConfig(epochs=5, validate_every=3, warmup_steps=0)
    rows = train(fresh(), batches, config, validate=lambda: {"ndcg@10": next(scores)})
    assert [row["epoch"] for row in rows if "valid" in row] == [3, 5]


@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_run_ends_exactly_as_it_would_have(tmp_path: Path, killed_after: int):
    config = TrainConfig(epochs=6, warmup_steps=4, schedule="cosine", learning_rate=0.02)
    whole = fresh()
    history = train(whole, batches, config)

    def kill(row):
        if row["epoch"] == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), batches, config, checkpoint=tmp_path, progress=kill)
    torch.manual_seed(99)  # a new process starts from other random states
    resumed = Line()
    rows = train(resumed, batches, config, checkpoint=tmp_path)
    assert [r["train_loss"] for r in rows] == [r["train_loss"] for r in history]
    assert weights(resumed) == weights(whole)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_the_cosine_falls_by_step_once_their_number_is_known():
    rows = train(fresh(), batches, TrainConfig(epochs=3, warmup_steps=0, schedule="cosine", learning_rate=1.0))
    behind = [0, 1 + 2 / 3, 2 + 2 / 3]  # at the last of three steps of an epoch
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * epochs / 3)) for epochs in behind]
    )


def test_a_fit_that_ends_earlier_keeps_the_course_of_its_learning_rate():
    config = TrainConfig(epochs=6, warmup_steps=0, schedule="cosine")
    whole = train(fresh(), batches, config)
    short = train(fresh(), batches, TrainConfig(epochs=3, warmup_steps=0, schedule="cosine", schedule_epochs=6))
    assert [row["learning_rate"] for row in short] == [row["learning_rate"] for row in whole[:3]]
    assert [row["train_loss"] for row in short] == [row["train_loss"] for row in whole[:3]]
    assert "schedule_epochs" not in config.model_dump(), "digests of settings without it stay as they were"


def test_an_average_of_the_weights_is_validated_kept_and_resumed(tmp_path: Path):
    config = TrainConfig(epochs=4, warmup_steps=0, learning_rate=0.05, ema_decay=0.9)
    start, seen = fresh(), []
    expected = torch.tensor(weights(start))

    class Watched(Line):
        def forward(self, batch):
            seen.append(torch.tensor(weights(self)))
            return super().forward(batch)

    torch.manual_seed(0)
    net = Watched()
    train(net, batches, config)
    plain = fresh()
    train(plain, batches, config.model_copy(update={"ema_decay": None}))
    for step, weight in enumerate([*seen[1:], torch.tensor(weights(plain))], start=1):
        expected += (weight - expected) * (1 - min(0.9, (1 + step) / (10 + step)))
    assert weights(net) == pytest.approx(expected.tolist(), abs=1e-6)
    train(fresh(), batches, config.model_copy(update={"epochs": 2}), checkpoint=tmp_path)
    resumed = fresh()
    train(resumed, batches, config, checkpoint=tmp_path)
    assert weights(resumed) == weights(net)


@pytest.mark.parametrize("harm", ["gone", "cut", "empty", "no history"])
def test_a_damaged_checkpoint_is_refused_with_the_remedy(harm: str, tmp_path: Path):
    train(fresh(), batches, TrainConfig(epochs=1), checkpoint=tmp_path)
    (tensors,), state = tmp_path.glob("*.safetensors"), tmp_path / "state.json"
    if harm == "gone":
        tensors.unlink()
    elif harm == "cut":
        tensors.write_bytes(tensors.read_bytes()[:40])
    else:
        state.write_text("" if harm == "empty" else state.read_text().replace('"history"', '"story"'))
    with pytest.raises(DataError, match=f"{tmp_path}: this checkpoint is damaged .*; delete the folder, and training"):
        train(fresh(), batches, TrainConfig(epochs=2), checkpoint=tmp_path)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path):
    train(fresh(), batches, TrainConfig(epochs=1), checkpoint=tmp_path)
    with pytest.raises(DataError, match="other settings"):
        train(fresh(), batches, TrainConfig(epochs=1, learning_rate=0.5), checkpoint=tmp_path)
    longer = train(fresh(), batches, TrainConfig(epochs=3), checkpoint=tmp_path)
    assert [r["epoch"] for r in longer] == [1, 2, 3]


def test_row_sparse_tables_train_and_resume(tmp_path: Path):
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.rows = nn.Embedding(10, 2, sparse=True)
            self.rows.weight.row_sparse = True
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, batch):
            return (self.rows(batch) * self.scale).pow(2).sum()

    def rows_of(epoch, shard):
        yield torch.tensor([1, 2, 2])

    config = TrainConfig(epochs=4, warmup_steps=0)
    whole, start = Table(), Table().rows.weight.detach().clone()
    train(whole, rows_of, config)
    train(Table(), rows_of, config.model_copy(update={"epochs": 2}), checkpoint=tmp_path)
    resumed = Table()
    train(resumed, rows_of, config, checkpoint=tmp_path)
    assert torch.equal(resumed.rows.weight, whole.rows.weight)
    assert torch.equal(whole.rows.weight[3:], start[3:])
    assert not torch.equal(whole.rows.weight[1:3], start[1:3])


def test_a_parameter_learns_and_decays_by_a_share():
    class Still(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.kept, self.slow = (nn.Parameter(torch.ones(2)) for _ in range(3))
            self.kept.decay_scale, self.slow.rate_scale = 0.0, 0.5

        def forward(self, batch):
            return 0 * (self.plain + self.kept + self.slow).sum()

    net, config = Still(), TrainConfig(epochs=1, learning_rate=0.1, weight_decay=2.0, warmup_steps=0)
    train(net, lambda epoch, shard: [torch.zeros(1)], config)
    assert [p[0].item() for p in (net.plain, net.kept, net.slow)] == pytest.approx([0.8, 1.0, 0.9])


def test_a_loss_that_is_not_finite_is_one_sentence():
    class Broken(Line):
        def forward(self, batch):
            return super().forward(batch) * float("nan")

    with pytest.raises(DataError, match="lower learning_rate"):
        train(Broken(), batches, TrainConfig(epochs=1))


def test_no_batch_is_one_sentence():
    with pytest.raises(DataError, match="too short"):
        train(fresh(), lambda epoch, shard: iter(()), TrainConfig(epochs=1))


def test_a_fit_on_the_processor_leaves_later_fits_their_choice() -> None:
    for device in ("cpu", None):
        train(fresh(), batches, TrainConfig(epochs=1, device=device))
        assert PartialState()._cpu is (device == "cpu")


def test_devices_that_are_none_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in ("foo", "cpu:", "gpu", ""):
        with pytest.raises(ConfigError, match=f"{nonsense!r} is no device: use 'cpu', 'cuda' or 'mps'"):
            TrainConfig.parse({"device": nonsense}, "settings")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device='cuda:1': there is none here"):
        train(fresh(), batches, TrainConfig(epochs=1, device="cuda:1"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device='cuda:2': there is none here"):
        train(fresh(), batches, TrainConfig(epochs=1, device="cuda:2"))
    with pytest.raises(ConfigError, match="with CUDA_VISIBLE_DEVICES=1, and set device='cuda'"):
        train(fresh(), batches, TrainConfig(epochs=1, device="cuda:1"))
