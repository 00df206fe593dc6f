"""Experiments: a recipe → dataset → splits → models → leaderboard, report, winner."""

from seqlore.experiment.bulk import recommend_all
from seqlore.experiment.recipe import Recipe
from seqlore.experiment.runner import RunResult, run
from seqlore.experiment.split import SplitSettings
from seqlore.experiment.winner import model_folder, refit

__all__ = ["Recipe", "RunResult", "SplitSettings", "model_folder", "recommend_all", "refit", "run"]
