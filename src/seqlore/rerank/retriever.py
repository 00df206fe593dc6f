"""The user preference retriever of UR4Rec: a small transformer that reads knowledge with items as queries.

Zhang et al., "Enhancing Reranking for Recommendation with LLMs through User Preference Retrieval", COLING 2025, section
3.2 and equation 4. A block is self-attention, cross-attention over Z, feed-forward. Positions are K learned proxies and
items, whose vectors h_i come from a recommender; Z are vectors of texts about the user and the items of the history.

Self-attention and feed-forward start from a BERT encoder and keep its post-norm. The paper prints no norms, and does
not say where the one of the cross-attention is: here it has none, and starts near zero, so that at the start a block is
BERT's block (a test holds this). Further deviations: dropout after each sublayer and not on attention weights; a layer
norm before Z is read, as encoders differ in length; a learned vector where a user has no knowledge at all; layers that
come from no body start by Glorot's rule, since BERT's 0.02 is made for a width of 768; h_i is projected by what starts
as a whitening; a layer norm and dropout on what enters the first block, as BERT's embeddings have them. Beyond the
paper, where Z is a set: its vectors may say how old each event is (``oldest``).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlore.models.layers import Dropout
from seqlore.rerank import masks
from seqlore.rerank.body import EPSILON, Body

#: joint: one pass, proxies read all items (mask c). isolated: one pass, proxies read none. single: a pass an item (b).
Form = Literal["joint", "isolated", "single"]
#: Standard deviation of the cross-attention's output weights at the start.
NEAR_ZERO = 1e-3
#: Directions of h_i with less than this share of the widest one's spread are not stretched further.
LEAST = 1e-2


class Memory(NamedTuple):
    """Z as the blocks read it, shared by all items: keys and values of each block, [B, H, L, d/H], and which are there.

    there: bool [B, 1, 1, L].
    """

    blocks: list[tuple[Tensor, Tensor]]
    there: Tensor


class RetrieverBlock(nn.Module):
    """Equation 4, post-norm."""

    def __init__(self, body: Body, text_width: int, dropout: float) -> None:
        super().__init__()
        w = body.width
        self.heads = body.heads
        self.query_key_value, self.attention_output = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.cross_query, self.cross_key_value = nn.Linear(w, w), nn.Linear(text_width, 2 * w)
        self.cross_output = nn.Linear(w, w)
        self.feed_forward = nn.Sequential(nn.Linear(w, body.inner), nn.GELU(), nn.Linear(body.inner, w))
        self.attention_norm, self.output_norm = nn.LayerNorm(w, EPSILON), nn.LayerNorm(w, EPSILON)
        self.dropout = Dropout(dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        nn.init.normal_(self.cross_output.weight, std=NEAR_ZERO)

    @torch.no_grad()
    def start_from(self, block: dict[str, Tensor]) -> None:
        """Copy a block of BERT. Args: block: names below ``encoder.layer.N.``"""
        parts = ("query", "key", "value")
        for kind in ("weight", "bias"):
            own = torch.cat([block[f"attention.self.{part}.{kind}"] for part in parts])
            getattr(self.query_key_value, kind).copy_(own)
            for mine, theirs in (
                (self.attention_output, "attention.output.dense"),
                (self.attention_norm, "attention.output.LayerNorm"),
                (self.feed_forward[0], "intermediate.dense"),
                (self.feed_forward[2], "output.dense"),
                (self.output_norm, "output.LayerNorm"),
            ):
                getattr(mine, kind).copy_(block[f"{theirs}.{kind}"])

    def remember(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of Z [B, L, d_text]: each [B, H, L, d/H]."""
        k, v = self.cross_key_value(z).chunk(2, -1)
        return self._heads(k), self._heads(v)

    def forward(self, x: Tensor, mask: Tensor, memory: tuple[Tensor, Tensor] | None, there: Tensor | None) -> Tensor:
        """x [B, G, N, w]: groups that do not see one another → the same. mask: bool, broadcast to [B·G, H, N, N].

        memory None: no cross-attention.
        """
        b, g, n, w = x.shape
        q, k, v = self.query_key_value(x.reshape(b * g, n, w)).chunk(3, -1)
        read = F.scaled_dot_product_attention(self._heads(q), self._heads(k), self._heads(v), attn_mask=mask)
        x = self.attention_norm(x + self.dropout(self.attention_output(self._joined(read))).view(b, g, n, w))
        if memory is not None:
            q = self._heads(self.cross_query(x).reshape(b, g * n, w))
            read = F.scaled_dot_product_attention(q, *memory, attn_mask=there)
            x = x + self.dropout(self.cross_output(self._joined(read))).view(b, g, n, w)
        return self.output_norm(x + self.dropout(self.feed_forward(x)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Retriever(nn.Module):
    """Proxies and items over Z."""

    def __init__(
        self,
        body: Body,
        *,
        layers: int,
        proxies: int,
        item_width: int,
        text_width: int,
        dropout: float,
        text_dropout: float = 0.0,
        item_texts: bool = False,
        oldest: int = 0,
    ) -> None:
        """Args: proxies: K; 0 = items read Z by themselves. item_width: of h_i. text_width: of Z, and of items' texts.
        text_dropout: on their vectors. item_texts: whether items enter through those, too. oldest: age of the oldest
        event in Z, where its vectors say how old they are; 0 = Z is a set.
        """
        super().__init__()
        w = body.width
        self.width, self.count = w, proxies
        self.project, self.norm = nn.Linear(item_width, w), nn.LayerNorm(w, EPSILON)
        self.describe = nn.Linear(text_width, w, bias=False) if item_texts else None
        if self.describe is not None:
            nn.init.xavier_uniform_(self.describe.weight)
        self.proxies = nn.Parameter(torch.empty(proxies, w))
        self.nothing, self.text_norm = nn.Parameter(torch.zeros(text_width)), nn.LayerNorm(text_width)
        self.ages = nn.Parameter(torch.zeros(1 + oldest, text_width)) if oldest else None
        self.blocks = nn.ModuleList(RetrieverBlock(body, text_width, dropout) for _ in range(layers))
        self.dropout, self.text_dropout = Dropout(dropout), Dropout(text_dropout)
        self.new_proxies()
        for block, start in zip(self.blocks, body.blocks, strict=False):  # a random body has none
            block.start_from(start)  # type: ignore[operator]

    def new_proxies(self) -> None:
        """Draw the proxies anew."""
        nn.init.normal_(self.proxies, std=0.02)

    @torch.no_grad()
    def tell_apart(self, items: Tensor) -> None:
        """Start the projection as a whitening of h_i [size, d] (row 0 pads), turned at random.

        What a blind base learns is how popular an item is: its vectors lie along one direction, and after the norm they
        would look alike.
        """
        h = items[1:].double()
        centre = h.mean(0)
        _, spread, axes = torch.linalg.svd(h - centre, full_matrices=False)
        turn = nn.init.orthogonal_(torch.empty(self.width, len(spread), dtype=h.dtype, device=h.device))
        weight = (turn * (len(h) ** 0.5 / spread.clamp_min(LEAST * spread[0]))) @ axes
        self.project.weight.copy_(weight)
        self.project.bias.copy_(-weight @ centre)

    def memory(self, z: Tensor, there: Tensor, ages: Tensor | None = None) -> Memory:
        """What the blocks read of Z [B, L, d_text]; there: bool, and ages: int64 [B, L], see knowledge.Z.

        A user of whom nothing is known has one vector that says so.
        """
        z = self.text_dropout(self.text_norm(torch.cat([z, self.nothing.expand(len(z), 1, -1)], 1)))
        if self.ages is not None:
            assert ages is not None
            z = z + F.pad(self.ages[ages], (0, 0, 0, 1))  # nothing has no age
        there = torch.cat([there, ~there.any(1, keepdim=True)], 1)
        return Memory([block.remember(z) for block in self.blocks], there[:, None, None, :])  # type: ignore[operator]

    def filtered(self, memory: Memory) -> Tensor:
        """e^pref, equation 6: proxies alone over Z, [B, K, w]."""
        start = self.proxies.expand(len(memory.there), 1, -1, -1)
        return self._run(start, masks.together(self.count), memory)[:, 0]

    def enter(self, items: Tensor, texts: Tensor | None = None) -> Tensor:
        """Items as the blocks read them: h_i [B, C, d] → [B, C, w]; texts: [B, C, d_text], where items enter so too."""
        h = self.project(items)
        return h if self.describe is None else h + self.describe(self.text_dropout(texts))

    def alone(self, h: Tensor) -> Tensor:
        """e_i, equation 7: each item [B, C, w] as a sequence of its own without cross-attention → [B, C, w]."""
        return self._run(h[:, :, None], masks.together(0, 1), None)[:, :, 0]

    def retrieve(self, h: Tensor, listed: Tensor, memory: Memory, form: Form) -> tuple[Tensor | None, Tensor]:
        """Proxies and items over Z, equation 9.

        Args: h: what ``enter`` gave, [B, C, w]. listed: bool [B, C], an item stands here.

        Returns: mean of the proxies' outputs, [B, 1, w], or [B, C, w] in the single form (None where K = 0); outputs at
            the items' own positions, [B, C, w].
        """
        k = self.count
        if form == "single" or k == 0:
            own = self.proxies.expand(*h.shape[:2], -1, -1)
            out = self._run(torch.cat([own, h[:, :, None]], 2), masks.together(k, 1), memory)  # [B, C, K + 1, w]
            return (out[:, :, :k].mean(2) if k else None), out[:, :, k]
        mask = (masks.apart if form == "joint" else masks.blind)(k, listed)
        x = torch.cat([self.proxies.expand(len(h), -1, -1), h], 1)[:, None]
        out = self._run(x, mask[:, None], memory)[:, 0]
        return out[:, :k].mean(1, keepdim=True), out[:, k:]

    def _run(self, x: Tensor, mask: Tensor, memory: Memory | None) -> Tensor:
        x, mask = self.dropout(self.norm(x)), mask.to(x.device)
        for number, block in enumerate(self.blocks):
            x = block(x, mask, *((None, None) if memory is None else (memory.blocks[number], memory.there)))
        return x
