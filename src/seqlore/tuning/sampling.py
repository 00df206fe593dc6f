"""Which settings are tried, and which trials end early.

Sampling: the tree-structured Parzen estimator of Bergstra et al., "Algorithms for hyper-parameter optimization",
NeurIPS 2011, setting by setting, as in Optuna (Akiba et al., KDD 2019, 10.1145/3292500.3330701), after random starts.

Pruning: after each fold but the last, a trial ends whose mean over the folds so far is in the lowest share of the
trials that came so far. Optuna's ``PercentilePruner`` compares the best fold of a trial with trials that were never
pruned; then each pruned trial would raise the bar for the next, and one easy fold would save any trial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

#: User attribute of a failed trial: its sentence. One that failed without it was killed.
ERROR = "error"


def killed(trial: FrozenTrial) -> bool:
    """The trial was under way when the search was killed."""
    return trial.state == TrialState.FAIL and ERROR not in trial.user_attrs


def place(study: Study, trial: FrozenTrial) -> int:
    """The number that a trial would have if none had been killed."""
    return trial.number - sum(killed(t) for t in study.get_trials(deepcopy=False)[: trial.number])


class ResumableTPE(BaseSampler):
    """TPE whose draws in a trial depend on seed, place and earlier trials alone, and so survive a kill."""

    def __init__(self, seed: int, starts: int) -> None:
        """Args: starts: finished trials (failed ones are none) before which settings are drawn at random."""
        self._seed, self._starts = seed, starts
        self._sampler: tuple[int, TPESampler] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        seed = int(np.random.SeedSequence((self._seed, place(study, trial))).generate_state(1)[0])
        sampler = TPESampler(seed=seed, n_startup_trials=self._starts, multivariate=False, constant_liar=True)
        self._sampler = trial.number, sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}  # setting by setting: a space may have settings that not every trial has

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        assert self._sampler is not None
        assert self._sampler[0] == trial.number, "one trial at a time: a sampler for each worker"
        return self._sampler[1].sample_independent(study, trial, param_name, param_distribution)


class LowestPruner(BasePruner):
    """Ends a trial that is among the lowest ``share`` after as many folds, once ``starts`` others came as far."""

    def __init__(self, share: float, starts: int) -> None:
        self._share, self._starts = share, starts

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._share:
            return False
        others = [
            t.intermediate_values[step]
            for t in study.get_trials(deepcopy=False)
            if t.number != trial.number and step in t.intermediate_values and not killed(t)
        ]
        if len(others) < self._starts:
            return False
        return trial.intermediate_values[step] < float(np.quantile(others, self._share))
