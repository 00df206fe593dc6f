"""Masks by hand, and what the retriever's forms promise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqlore.errors import ConfigError
from seqlore.rerank import masks
from seqlore.rerank.body import Body
from seqlore.rerank.retriever import Form, Retriever

BODY = Body(16, 2, 32)


def retriever(layers: int = 2, proxies: int = 3, body: Body = BODY) -> Retriever:
    """One with large weights: with those of a beginner a test could not see what reads what."""
    torch.manual_seed(0)
    made = Retriever(body, layers=layers, proxies=proxies, item_width=6, text_width=5, dropout=0.1).eval()
    for part in made.blocks.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.3)
    return made


@pytest.fixture(scope="module")
def asked() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Items [2, 4, 6] with one that pads, and Z [2, 3, 5] with one that is not there."""
    torch.manual_seed(1)
    listed = torch.tensor([[True] * 4, [True, True, True, False]])
    there = torch.tensor([[True, True, True], [True, False, True]])
    return torch.randn(2, 4, 6), listed, torch.randn(2, 3, 5), there


def outputs(model: Retriever, asked: tuple[Tensor, ...], form: Form) -> Tensor:
    """[B, C, 2w]"""
    items, listed, z, there = asked
    proxies, own = model.retrieve(model.enter(items), listed, model.memory(z, there), form)
    assert proxies is not None
    return torch.cat([proxies.expand_as(own), own], -1)


def test_masks_by_hand():
    assert masks.together(2).tolist() == [[True, True], [True, True]]
    assert masks.together(1, 1).tolist() == [[True, True], [True, True]]
    listed = torch.tensor([[True, True], [True, False]])
    x, o = True, False
    assert masks.apart(2, listed).tolist() == [
        [[x, x, x, x], [x, x, x, x], [x, x, x, o], [x, x, o, x]],
        [[x, x, x, o], [x, x, x, o], [x, x, x, o], [x, x, o, x]],
    ]
    assert masks.blind(2, listed)[0].tolist() == [[x, x, o, o], [x, x, o, o], [x, x, x, o], [x, x, o, x]]
    assert masks.apart(2, listed[:1, :1])[0].tolist() == masks.together(2, 1).tolist(), "with one item, (c) is (b)"


def test_it_starts_as_the_body_it_was_made_of(tiny_encoder: Path):
    from transformers import BertModel

    bert = BertModel.from_pretrained(tiny_encoder).eval()
    body = Body.read(str(tiny_encoder), 1)
    assert (body.width, body.heads, body.inner) == (24, 2, 32)
    made = Retriever(body, layers=1, proxies=3, item_width=6, text_width=5, dropout=0.1).eval()
    x, z = torch.randn(2, 1, 7, 24), torch.randn(2, 4, 5)
    block, memory = made.blocks[0], made.memory(z, torch.ones(2, 4, dtype=torch.bool))
    theirs = bert.encoder.layer[0](x[:, 0])
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    everything = masks.together(7)
    assert torch.allclose(block(x, everything, None, None)[:, 0], theirs, atol=1e-5)
    near = block(x, everything, memory.blocks[0], memory.there)[:, 0]
    assert 0 < (near - theirs).abs().max() < 0.02, "cross-attention starts near zero, and not at it"


def test_mistakes_about_the_body_are_named(tiny_encoder: Path):
    with pytest.raises(ConfigError, match="has 1 blocks, fewer than layers = 2"):
        Body.read(str(tiny_encoder), 2)
    with pytest.raises(ConfigError, match="cannot have 3 heads"):
        Body(16, 3, 32)


def renamed(encoder: Path, folder: Path, names: Callable[[str], str | None]) -> str:
    """A copy of an encoder whose weights are called otherwise; what has no name is left out."""
    shutil.copytree(encoder, folder)
    path = next(folder.rglob("model.safetensors"))
    weights = load_file(path)
    save_file({new: value for name, value in weights.items() if (new := names(name))}, path)
    return str(folder)


def test_a_body_whose_norms_bear_the_names_of_the_first_bert(tiny_encoder: Path, tmp_path: Path):
    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    mine = Body.read(renamed(tiny_encoder, tmp_path / "old", old), 1).blocks[0]
    theirs = Body.read(str(tiny_encoder), 1).blocks[0]
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    less = renamed(tiny_encoder, tmp_path / "less", lambda name: None if "intermediate" in name else name)
    with pytest.raises(ConfigError, match=r"block 0 has no 'intermediate\.dense\.weight'"):
        Body.read(less, 1)


def test_isolated_is_one_candidate_at_a_time(asked: tuple[Tensor, ...]):
    model, (items, listed, z, there) = retriever(), asked
    whole = outputs(model, asked, "isolated")
    for c in range(4):
        alone = outputs(model, (items[:, c : c + 1], listed[:, c : c + 1], z, there), "isolated")
        assert torch.allclose(whole[:, c : c + 1], alone, atol=1e-5)


def test_one_item_is_alike_in_one_pass_and_alone(asked: tuple[Tensor, ...]):
    model, (items, listed, z, there) = retriever(), asked
    one = (items[:, :1], listed[:, :1], z, there)
    assert torch.allclose(outputs(model, one, "joint"), outputs(model, one, "single"), atol=1e-5)
    assert not torch.allclose(outputs(model, asked, "joint"), outputs(model, asked, "single"), atol=1e-3)


def test_a_batched_pass_an_item_is_that_item_alone(asked: tuple[Tensor, ...]):
    model, (items, listed, z, there) = retriever(), asked
    for model_of in (model, retriever(proxies=0)):
        whole = model_of.retrieve(model_of.enter(items), listed, model_of.memory(z, there), "single")[1]
        for c in range(4):
            cut = slice(c, c + 1)
            alone = model_of.retrieve(
                model_of.enter(items[:, cut]), listed[:, cut], model_of.memory(z, there), "single"
            )[1]
            assert torch.allclose(whole[:, cut], alone, atol=1e-5)


def test_in_the_joint_form_items_hear_of_one_another_from_the_second_block_on(asked: tuple[Tensor, ...]):
    items, listed, z, there = asked
    moved = items.clone()
    moved[:, 1] += 3
    for layers, hears in ((1, False), (2, True)):
        model, memory = retriever(layers), retriever(layers).memory(z, there)
        before, after = (model.retrieve(model.enter(h), listed, memory, "joint")[1][0, 0] for h in (items, moved))
        assert (not torch.allclose(before, after, atol=1e-5)) == hears


@pytest.mark.parametrize("form", ["joint", "isolated", "single"])
def test_what_pads_says_nothing(asked: tuple[Tensor, ...], form: Form):
    model, (items, listed, z, there) = retriever(), asked
    other_items = torch.where(listed[..., None], items, 9.0)
    other_z = torch.where(there[..., None], z, 9.0)
    before, after = outputs(model, asked, form), outputs(model, (other_items, listed, other_z, there), form)
    assert torch.allclose(before[listed], after[listed], atol=1e-5)
    other_z = torch.where(there[..., None], 9 + z.flip(-1), z)
    assert not torch.allclose(before, outputs(model, (items, listed, other_z, there), form), atol=1e-3), "Z is read"


def test_a_user_of_whom_nothing_is_known_is_served(asked: tuple[Tensor, ...]):
    model, (items, listed, z, there) = retriever(), asked
    nothing = torch.zeros_like(there)
    out = outputs(model, (items, listed, z, nothing), "joint")
    assert out.isfinite().all()
    none = outputs(model, (items, listed, z[:, :0], there[:, :0]), "joint")
    assert torch.allclose(out, none, atol=1e-5)


def test_items_alone_are_sequences_of_their_own(asked: tuple[Tensor, ...]):
    model, items = retriever(), asked[0]
    whole = model.alone(model.enter(items))
    assert whole.shape == (2, 4, 16)
    assert torch.allclose(whole[:, 2:3], model.alone(model.enter(items[:, 2:3])), atol=1e-5)


def test_proxies_filter_what_is_known(asked: tuple[Tensor, ...]):
    model, (_, _, z, there) = retriever(), asked
    one = model.filtered(model.memory(z, there))
    assert one.shape == (2, 3, 16)
    assert not torch.allclose(one[0], one[1], atol=1e-3)


@pytest.mark.parametrize("width", [4, 16])
def test_the_projection_starts_as_a_whitening(width: int):
    torch.manual_seed(0)
    popular = 2 * torch.randn(200, 1) * torch.ones(1, 6) + 0.1 * torch.randn(200, 6) + 3
    retriever = Retriever(Body(width, 2, 8), layers=1, proxies=2, item_width=6, text_width=3, dropout=0.0)
    retriever.tell_apart(torch.cat([torch.zeros(1, 6), popular]))
    projected = retriever.project(popular)
    spread = torch.linalg.svdvals(projected - projected.mean(0)) / 200**0.5
    assert projected.mean(0).abs().max() < 1e-3
    assert spread[: min(width, 6)].tolist() == pytest.approx([1] * min(width, 6), abs=0.02), "all directions are alike"


def test_z_is_a_set_unless_it_says_how_old_its_events_are():
    torch.manual_seed(0)
    h, z, there = torch.randn(2, 4, 6), torch.randn(2, 3, 5), torch.ones(2, 3, dtype=torch.bool)
    ages = torch.tensor([[0, 2, 1]]).expand(2, 3)
    swapped = z[:, [0, 2, 1]]
    for oldest in (0, 2):
        made = Retriever(BODY, layers=2, proxies=2, item_width=6, text_width=5, dropout=0.0, oldest=oldest)
        with torch.no_grad():
            for block in made.blocks:
                block.cross_output.weight.normal_()  # type: ignore[union-attr]

        def own(z: Tensor, made: Retriever = made) -> Tensor:
            return made.retrieve(
                made.enter(h), torch.ones(2, 4, dtype=torch.bool), made.memory(z, there, ages), "joint"
            )[1]

        assert torch.allclose(own(z), own(swapped), atol=1e-5), "a set, and so is what nothing has been learned of yet"
        if oldest:
            own(z).square().sum().backward()
            assert made.ages is not None
            assert (made.ages.grad.abs().sum(1) > 0).all()  # type: ignore[union-attr]
            with torch.no_grad():
                made.ages.normal_()
            assert (own(z) - own(swapped)).abs().max() > 0.1


def test_texts_are_dropped_in_training_alone():
    torch.manual_seed(0)
    made = Retriever(
        BODY, layers=1, proxies=2, item_width=6, text_width=64, dropout=0.0, text_dropout=0.5, item_texts=True
    )
    with torch.no_grad():
        made.describe.weight.copy_(torch.eye(16, 64))  # type: ignore[union-attr]  # lets a vector's beginning through
        made.project.weight.zero_()
        made.project.bias.zero_()
        made.blocks[0].cross_key_value.weight.copy_(torch.eye(32, 64))  # type: ignore[union-attr]
    texts, there = torch.randn(40, 3, 64), torch.ones(40, 3, dtype=torch.bool)

    def read() -> tuple[Tensor, Tensor]:
        entered = made.enter(torch.zeros(40, 3, 6), texts)
        return entered, made.memory(texts, there).blocks[0][0]

    entered, keys = read()
    assert (entered == 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (keys[:, :, :3] == 0).float().mean() == pytest.approx(0.5, abs=0.05)  # the fourth says that there is none
    made.eval()
    assert torch.equal(read()[0], texts[..., :16])
