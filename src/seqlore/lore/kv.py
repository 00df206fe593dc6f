"""What a model of transformers remembers of the texts it is writing: three kinds of batch, one interface.

``Slots``: causal models whose every layer attends to everything (Llama, Qwen, GPT-2, …). A row that is done gives its
    place to another while the rest are being written, and a beginning that prompts share is read once and copied.
``Batch``: other causal models, say with sliding windows. Rows only go; the next batch begins when all are done.
``Seq2Seq``: encoder and decoder (T5, BART, …). As ``Batch``; the encoder reads the prompt.

Keys and values of ``Slots`` stand right-aligned in buffers with room for growth, so that a step writes one column in
place, and a new row is written over the one before it. Columns to the left of a row, and between its shared beginning
and its rest, are masked; what stands there is finite.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

#: Columns by which a full buffer grows.
ROOM = 64


class Rows(Protocol):
    """A batch of texts in the making."""

    #: New rows may come while others are being written; if not, ``places`` are always 0, 1, … and all others are gone.
    refills: bool

    def admit(self, prompts: Sequence[list[int]], shared: int, places: Sequence[int]) -> Tensor:
        """Read ``prompts`` into rows ``places``, done ones or new ones at the end; logits [new, vocabulary] of each.

        ``shared``: so many first tokens are the same in all ``prompts``.
        """
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """The latest token [B] of each row → logits [B, vocabulary] of the next."""
        ...

    def keep(self, kept: Tensor) -> None:
        """Rows ``kept`` (int64) stay, the others leave."""
        ...


def open_rows(model: Any) -> Rows:
    """The kind of batch that fits the model."""
    if model.config.is_encoder_decoder:
        return Seq2Seq(model)
    takes = inspect.signature(model.forward).parameters
    layers = DynamicCache(config=model.config).layers
    plain = all(type(layer) is DynamicLayer for layer in layers) and {"position_ids", "logits_to_keep"} <= set(takes)
    return Slots(model) if plain else Batch(model)


def context_of(model: Any) -> int | None:
    """Most tokens that the model can read and write together; None = no limit."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    known = (getattr(config, name, None) for name in names)
    return next((value for value in known if isinstance(value, int) and value > 0), None)


def last_position(model: Any) -> int:
    """The greatest position that may be asked of the model."""
    return (context_of(model) or 1 << 40) - 1


def padded(rows: Sequence[list[int]], *, left: bool = True) -> tuple[Tensor, Tensor]:
    """Ids and mask (1 = a token), int64 [B, T], filled with 0 at the left or right."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        at = slice(ids.shape[1] - len(row), None) if left else slice(len(row))
        ids[i, at] = torch.tensor(row)
        mask[i, at] = 1
    return ids, mask


class _Layer(DynamicLayer):
    """Keys and values [B, heads, columns, d] of one layer, in buffers that are longer than what is in use."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []  # keys, values
        if keys is not None and values is not None:
            self.update(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns; returns all that are in use."""
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if not self._buffers or stop > self._buffers[0].shape[-2]:
            old, self._buffers = self._buffers, [_zeros(x, stop + ROOM) for x in (key_states, value_states)]
            for buffer, before in zip(self._buffers, old, strict=False):
                buffer[:, :, :start] = before[:, :, :start]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:stop] = new
        return self._use(stop)

    def _use(self, columns: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, :columns] for buffer in self._buffers)
        self.keys, self.values, self.is_initialized = keys, values, True
        return keys, values

    @property
    def in_use(self) -> list[Tensor]:
        """Keys and values without the room behind them."""
        return [buffer[:, :, : self.get_seq_length()] for buffer in self._buffers]

    def laid_out(self, rows: Tensor, width: int) -> _Layer:
        """A copy of ``rows`` (a place that is −1 is empty) that ends at column ``width``."""
        layer, kept = _Layer(), rows >= 0
        for used in self.in_use:
            buffer = used.new_zeros(len(rows), used.shape[1], width + ROOM, used.shape[3])
            length = min(used.shape[2], width)
            of = rows[kept].to(used.device)  # layers may be spread over devices
            buffer[kept.to(used.device), :, width - length : width] = used[of, :, used.shape[2] - length :]
            layer._buffers.append(buffer)
        layer._use(width)
        return layer

    def put(self, places: Tensor, other: _Layer, rows: Tensor) -> None:
        """Write ``rows`` of ``other`` over the rows ``places``, so that they end where these end."""
        for used, new in zip(self.in_use, other.in_use, strict=True):
            used[places.to(used.device), :, used.shape[2] - new.shape[2] :] = new[rows.to(new.device)]


def _zeros(like: Tensor, columns: int) -> Tensor:
    return like.new_zeros(*like.shape[:2], columns, like.shape[3])


def _cache(layers: Sequence[_Layer]) -> DynamicCache:
    cache: Any = DynamicCache()
    cache.layers = list(layers)
    return cache


class Slots:
    """See the top of this file."""

    refills = True

    def __init__(self, model: Any) -> None:
        self._model, self._device = model, model.device
        self._layers: list[_Layer] = []
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self._device)  # [B, columns], 1 = a token
        self._next = torch.zeros(0, dtype=torch.long, device=self._device)  # [B], position of the next token
        self._last = last_position(model)
        self._beginning: tuple[list[int], list[_Layer]] = ([], [])

    @torch.inference_mode()
    def admit(self, prompts: Sequence[list[int]], shared: int, places: Sequence[int]) -> Tensor:
        """See ``Rows``. Equal prompts that follow one another are read once."""
        first = [i for i, prompt in enumerate(prompts) if not i or prompt != prompts[i - 1]]
        copies = torch.tensor([*first[1:], len(prompts)]) - torch.tensor(first)
        beginning = self._shared(list(prompts[0][:shared]))
        ids, mask = (x.to(self._device) for x in padded([prompts[i][shared:] for i in first]))
        mask = torch.cat([mask.new_ones(len(first), shared), mask], 1)
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        layers = [_Layer(*(x.expand(len(first), -1, -1, -1) for x in layer.in_use)) for layer in beginning]
        layers = layers or [_Layer() for _ in range(self._depth)]
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions[:, shared:],
            past_key_values=_cache(layers),
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        copy = torch.arange(len(first)).repeat_interleave(copies).to(self._device)
        self._place(torch.tensor(places, device=self._device), layers, mask, positions[:, -1] + 1, copy)
        return logits[copy]

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """See ``Rows``."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], 1)
        logits = self._model(
            input_ids=tokens[:, None].to(self._device),
            attention_mask=self._mask,
            position_ids=self._next[:, None].clamp_max(self._last),  # rows that are done may run over
            past_key_values=_cache(self._layers),
            use_cache=True,
        ).logits
        self._next = self._next + 1
        return logits[:, -1]

    @torch.inference_mode()
    def keep(self, kept: Tensor) -> None:
        """See ``Rows``. Columns that are then empty are dropped."""
        if not len(kept):
            self._layers, self._mask, self._next = [], self._mask[:0, :0], self._next[:0]
            return
        self._lay_out(kept.to(self._device), 0)

    @property
    def _depth(self) -> int:
        return self._model.config.num_hidden_layers

    def _shared(self, ids: list[int]) -> list[_Layer]:
        """Keys and values [1, …] of a beginning; the latest one is kept."""
        if ids and ids != self._beginning[0]:
            layers = [_Layer() for _ in range(self._depth)]
            self._model(
                input_ids=torch.tensor([ids], device=self._device),
                past_key_values=_cache(layers),
                use_cache=True,
                logits_to_keep=1,
            )
            self._beginning = (ids, layers)
        return self._beginning[1] if ids else []

    def _place(self, places: Tensor, layers: list[_Layer], mask: Tensor, after: Tensor, copy: Tensor) -> None:
        """Rows ``copy`` of what was read go to ``places``; all is laid out anew only where it must be."""
        rows, (old, width) = int(places.max()) + 1, self._mask.shape
        self._mask[places[places < old]] = 0  # what was there is gone
        if rows > old or mask.shape[1] > width or 4 * _used(self._mask) < 3 * width:
            order = torch.arange(max(rows, old), device=self._device)
            order[order >= old] = -1
            if not old:
                self._layers, self._mask, self._next = layers, mask[:0], after[:0]
            self._lay_out(order, mask.shape[1])
        for mine, new in zip(self._layers, layers, strict=True):
            mine.put(places, new, copy)
        self._mask[places] = _fitted(mask, self._mask.shape[1])[copy]
        self._next[places] = after[copy]

    def _lay_out(self, rows: Tensor, least: int) -> None:
        """Keep ``rows`` in this order (−1 = an empty place) and the columns they use, but not fewer than ``least``."""
        kept = rows >= 0
        mask = self._mask[rows[kept]]
        width = max(_used(mask), least)
        self._layers = [layer.laid_out(rows, width) for layer in self._layers]
        old, after = self._next, mask.new_zeros(len(rows))
        self._mask = mask.new_zeros(len(rows), width)
        self._mask[kept], after[kept] = _fitted(mask, width), old[rows[kept]]
        self._next = after


def _used(mask: Tensor) -> int:
    """Columns from the first that any row uses; 0 where none is."""
    return mask.shape[1] - int(mask.any(0).int().argmax()) if mask.any() else 0


def _fitted(mask: Tensor, width: int) -> Tensor:
    """``mask`` cut or filled at the left to ``width`` columns."""
    mask = mask[:, max(mask.shape[1] - width, 0) :]
    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))


class Batch:
    """See the top of this file."""

    refills = False

    def __init__(self, model: Any) -> None:
        self._model, self._device = model, model.device
        self._positions = "position_ids" in inspect.signature(model.forward).parameters
        self._last = last_position(model)

    @torch.inference_mode()
    def admit(self, prompts: Sequence[list[int]], shared: int, places: Sequence[int]) -> Tensor:
        """See ``Rows``."""
        self._start(prompts)
        return self._forward(self._ids)

    def step(self, tokens: Tensor) -> Tensor:
        """See ``Rows``."""
        return self._forward(tokens[:, None].to(self._device))

    @torch.inference_mode()
    def keep(self, kept: Tensor) -> None:
        """See ``Rows``."""
        kept = kept.to(self._device)
        if len(kept):  # of none the cache would keep all; the next batch has a new one
            self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]

    def _start(self, prompts: Sequence[list[int]]) -> None:
        self._ids, self._mask = (x.to(self._device) for x in padded(prompts))
        self._cache: Any = DynamicCache(config=self._model.config)

    @torch.inference_mode()
    def _forward(self, ids: Tensor) -> Tensor:
        new = ids.shape[1]
        if ids is not self._ids:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), new)], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(0, self._last)[:, -new:]
        extra = {"position_ids": positions} if self._positions else {}
        logits = self._model(
            input_ids=ids, attention_mask=self._mask, past_key_values=self._cache, use_cache=True, **extra
        ).logits
        return logits[:, -1]


class Seq2Seq(Batch):
    """See the top of this file."""

    @torch.inference_mode()
    def _start(self, prompts: Sequence[list[int]]) -> None:
        self._ids, self._mask = (x.to(self._device) for x in padded(prompts, left=False))
        self._read = self._model.get_encoder()(input_ids=self._ids, attention_mask=self._mask)
        self._cache = EncoderDecoderCache(
            DynamicCache(config=self._model.config), DynamicCache(config=self._model.config)
        )
        settings, config = self._model.generation_config, self._model.config
        first = settings.decoder_start_token_id
        first = config.decoder_start_token_id if first is None else first
        self._ids = self._ids.new_full((len(prompts), 1), config.bos_token_id if first is None else first)

    @torch.inference_mode()
    def keep(self, kept: Tensor) -> None:
        """See ``Rows``."""
        super().keep(kept)
        self._read.last_hidden_state = self._read.last_hidden_state[kept.to(self._device)]

    @torch.inference_mode()
    def _forward(self, ids: Tensor) -> Tensor:
        return self._model(
            encoder_outputs=self._read,
            attention_mask=self._mask,
            decoder_input_ids=ids,
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
