"""Item tables: what is frozen stays, what is learned starts where it should."""

from __future__ import annotations

import pytest
import torch

from seqlore.models.items import item_table
from seqlore.text.source import TextInit

TEXT = torch.cat([torch.zeros(1, 6), torch.arange(18.0).reshape(3, 6) / 10])


def trained(table: torch.nn.Module) -> torch.nn.Module:
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    (table.table() - 1).pow(2).sum().backward()
    optimizer.step()
    return table


def test_init_starts_from_the_text_and_trains():
    table = item_table(4, 6, TextInit(), TEXT)
    assert torch.equal(table.table(), TEXT)
    assert not torch.equal(trained(table).table(), TEXT)


def test_frozen_keeps_the_text_and_learns_the_adapter():
    table = item_table(4, 2, TextInit(mode="frozen"), TEXT)
    before = table.table().clone()
    assert before.shape == (4, 2)
    assert torch.equal(trained(table).text, TEXT)
    assert not torch.equal(table.table(), before)


def test_null_space_ids_leave_the_meaning_alone():
    table = item_table(4, 6, TextInit(mode="nullspace", null_share=1 / 3), TEXT)
    assert torch.equal(table.table(), TEXT)
    after = trained(table).table()
    assert torch.equal(after[:, :4], TEXT[:, :4])
    assert not torch.equal(after[:, 4:], TEXT[:, 4:])


@pytest.mark.parametrize("mode", ["init", "frozen", "nullspace", None])
def test_a_lookup_is_a_row_of_the_table(mode):
    init = None if mode is None else TextInit(mode=mode)
    table = item_table(4, 6, init, None if init is None else TEXT)
    items = torch.tensor([[3, 0], [1, 1]])
    torch.testing.assert_close(table(items), table.table()[items])


def test_without_text_padding_is_zero():
    assert item_table(5, 3, None, None, init_std=1.0).table()[0].abs().sum() == 0
