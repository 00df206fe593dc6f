"""From a dataset to lore with the extractive model: on the simulated shop, and on published sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqlore.data import Dataset, leave_one_out
from seqlore.data.simulate import simulate
from seqlore.lore import Prompt, Sampling
from seqlore.lore.book import load_lore
from seqlore.lore.extractive import ExtractiveModel
from seqlore.lore.make import LoreSettings, check_task, make_lore
from seqlore.lore.material import known_texts
from seqlore.lore.store import LoreStore

TASKS = ("item-knowledge", "item-attributes", "item-label", "user-preference", "user-label")


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return simulate(users=60, items=40, interactions_per_user=8, seed=1)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_on_the_simulated_shop(shop: Dataset, tmp_path: Path, task: str) -> None:
    split = leave_one_out(shop)
    model = ExtractiveModel.fit(known_texts(split, check_task(task)))
    settings = LoreSettings() if task == "item-attributes" else LoreSettings(denoise=True, versions=3)
    store = LoreStore(tmp_path / "lore.sqlite")
    lore = make_lore(split, check_task(task), model, store, settings)
    kind = task.split("-")[0]
    texts = lore.texts(kind)
    assert sum(map(bool, texts)) >= 0.9 * lore.about["asked"] >= 27
    if settings.versions > 1:
        worded = [{lore.texts(kind, version)[i] for version in range(3)} for i, text in enumerate(texts) if text]
        assert sum(len(versions) == 3 for versions in worded) >= 0.8 * len(worded)
    assert load_lore(lore.save(tmp_path / "lore.parquet"), split).frame.equals(lore.frame)


class Tired(ExtractiveModel):
    """Stops after so many answers."""

    left = 0

    def generate(self, prompts: list[Prompt], sampling: Sampling):  # type: ignore[override]
        for i, answer in super().generate(prompts, sampling):
            if self.left == 0:
                raise RuntimeError("tired")
            self.left -= 1
            yield i, answer


def made_in_two_goes(dataset: Dataset, task: str, settings: LoreSettings, path: Path, after: int) -> tuple[int, int]:
    """Break off after so many answers, go on; (answers asked in the second go, texts), checked against one go."""
    split = leave_one_out(dataset)
    tired = Tired()
    tired.left = after
    with pytest.raises(RuntimeError, match="tired"):
        make_lore(split, check_task(task), tired, LoreStore(path), settings)
    second = make_lore(split, check_task(task), ExtractiveModel(), LoreStore(path), settings)
    whole = make_lore(split, check_task(task), ExtractiveModel(), LoreStore(path.with_name("whole")), settings)
    assert second.frame.equals(whole.frame)
    assert second.about["fresh"] == whole.about["fresh"] - after
    return second.about["fresh"], len(second.frame)


@pytest.mark.realdata
def test_labels_of_musical_instruments_in_two_goes(data_root: Path, tmp_path: Path) -> None:
    reviews = Dataset.load(data_root / "amazon2014-musical-instruments-reviews")
    settings = LoreSettings(denoise=True, versions=2, limit=40)
    asked, texts = made_in_two_goes(reviews, "item-label", settings, tmp_path / "lore.sqlite", after=55)
    assert asked == 3 * 40 - 55
    assert texts == 80


@pytest.mark.realdata
def test_knowledge_of_beauty_in_two_goes(beauty: Dataset, tmp_path: Path) -> None:
    asked, texts = made_in_two_goes(beauty, "item-knowledge", LoreSettings(limit=200), tmp_path / "lore.sqlite", 120)
    assert (asked, texts) == (80, 200)
