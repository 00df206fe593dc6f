"""Folds, and that nothing of the test part is in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqlore.data import Dataset, leave_one_out, temporal_sessions
from seqlore.errors import DataError
from seqlore.tuning.objective import _all_rows, validation_folds


def test_leave_one_out_has_one_fold_without_its_test_part(shop_data: Dataset) -> None:
    split = leave_one_out(shop_data)
    (fold,) = validation_folds(split)
    assert split.test is not None
    assert split.test.rows is not None
    assert fold.on == "valid"
    assert fold.split.test is None
    assert fold.split.valid is split.valid
    assert not np.isin(split.test.rows, _all_rows(fold.split)).any()


def test_temporal_sessions_have_three_folds_that_hold_no_test_session(shop_data: Dataset) -> None:
    split = temporal_sessions(shop_data)
    folds = validation_folds(split)
    assert split.test is not None
    assert [fold.on for fold in folds] == ["test"] * 3
    sizes = [len(fold.split.train.items) for fold in folds]
    assert sizes == sorted(sizes)
    hidden = set(split.test.histories.users.tolist())
    for fold in folds:
        assert fold.split.test is not None
        assert hidden.isdisjoint(fold.split.train.users.tolist())
        assert hidden.isdisjoint(fold.split.test.histories.users.tolist())


def test_a_fold_that_holds_a_test_interaction_is_refused(shop_data: Dataset) -> None:
    split = temporal_sessions(shop_data)
    with pytest.raises(DataError, match="validation fold 2 of 2 holds interactions of the test part"):
        validation_folds(replace(split, folds=[split.folds[0], replace(split.folds[1], test=split.test)]))


def test_empty_folds_are_refused(shop_data: Dataset) -> None:
    split = temporal_sessions(shop_data)
    assert split.folds[0].test is not None
    empty = replace(split.folds[0], test=split.folds[0].test.take(np.zeros(0, np.int64)))
    with pytest.raises(DataError, match="validation fold 1 of 1 has no cases"):
        validation_folds(replace(split, folds=[empty]))
    with pytest.raises(DataError, match=r"split\.folds = 0"):
        validation_folds(temporal_sessions(shop_data, folds=0))
    with pytest.raises(DataError, match="validation fold 1 of 1 has no cases"):
        validation_folds(leave_one_out(shop_data).with_validation())
