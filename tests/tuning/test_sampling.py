"""Places, draws and pruning, worked out by hand."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from seqlore.tuning.sampling import ERROR, LowestPruner, ResumableTPE, place

optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(*firsts: float, share: float = 0.2, starts: int = 5) -> optuna.Study:
    """Trials with so much after their first fold; every other one was pruned there."""
    study = optuna.create_study(direction="maximize", pruner=LowestPruner(share, starts))
    for i, value in enumerate(firsts):
        trial = study.ask()
        trial.report(value, 0)
        study.tell(trial, None if i % 2 else value, state=TrialState.PRUNED if i % 2 else TrialState.COMPLETE)
    return study


@pytest.mark.parametrize(("value", "ended"), [(0.17, True), (0.19, False), (0.9, False)])
def test_the_lowest_fifth_ends(value: float, ended: bool) -> None:
    trial = study_of(0.1, 0.2, 0.3, 0.4, 0.5).ask()  # the fifth of them lies at 0.18
    trial.report(value, 0)
    assert trial.should_prune() is ended


def test_a_trial_is_compared_with_what_others_had_after_as_many_folds() -> None:
    trial = study_of(0.1, 0.2, 0.3, 0.4, 0.5).ask()
    trial.report(0.9, 0)
    trial.report(0.0, 1)  # nobody else came so far
    assert not trial.should_prune()


@pytest.mark.parametrize(("share", "starts"), [(0.2, 6), (0.0, 5)])
def test_none_ends_before_enough_came_or_where_nobody_wants_it(share: float, starts: int) -> None:
    trial = study_of(0.1, 0.2, 0.3, 0.4, 0.5, share=share, starts=starts).ask()
    trial.report(0.0, 0)
    assert not trial.should_prune()


def test_a_killed_trial_lowers_no_bar() -> None:
    study = study_of(0.1, 0.2, 0.3, 0.4, 0.5)
    for _ in range(3):
        half = study.ask()
        half.report(0.0, 0)
        study.tell(half, state=TrialState.FAIL)
    trial = study.ask()
    trial.report(0.17, 0)  # with the three the fifth of them would lie at 0
    assert trial.should_prune()


def test_a_killed_trial_has_no_place_and_is_drawn_anew() -> None:
    def tried(kill: bool) -> list[float]:
        study = optuna.create_study(sampler=ResumableTPE(seed=7, starts=2))
        out = []
        for i in range(5):
            if kill and i == 3:
                half = study.ask()
                half.suggest_float("x", 0, 1)
                study.tell(half, state=TrialState.FAIL)
            trial = study.ask()
            out.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, (out[-1] - 0.5) ** 2)
            assert place(study, study.trials[trial.number]) == i
        return out

    assert tried(kill=False) == tried(kill=True)
    assert len(set(tried(kill=False))) == 5


def test_a_trial_that_failed_by_itself_keeps_its_place() -> None:
    study = optuna.create_study()
    first = study.ask()
    first.set_user_attr(ERROR, "the loss is not finite")
    study.tell(first, state=TrialState.FAIL)
    study.ask()
    assert place(study, study.trials[1]) == 1
