"""The mechanism on an ordinary causal language model, which stays what it is until it learns otherwise.

Chu et al. 2023 (arXiv 2308.10837): "our model can also be adapted to other large language models with minor
modifications", which the paper does not name. Here parts A and B are read one after the other, causally in both, at
the model's own positions; inter and intra ids are two learned tables that are added to the input and start at zero.
Marks that the tokenizer lacks are added to its words.

Any Hugging Face causal model that takes a four-dimensional mask and position ids, by folder; weights are read from
safetensors only.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from seqlore.errors import ConfigError
from seqlore.glm.marks import NAMES, load_tokenizer
from seqlore.glm.model import picked
from seqlore.text.quiet import quiet

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class CausalCache:
    """What a transformers model has read, with the one operation that beams need."""

    def __init__(self, inner: Any = None) -> None:
        from transformers import DynamicCache

        self.inner = DynamicCache() if inner is None else inner

    def select(self, rows: Tensor) -> CausalCache:
        """The cache of these rows (indices, which may repeat, or a mask)."""
        chosen = copy.deepcopy(self.inner)
        chosen.batch_select_indices(rows.nonzero().flatten() if rows.dtype == torch.bool else rows)
        return CausalCache(chosen)


class CausalBody(nn.Module):
    """A causal model that reads parts A and B. Attributes: longest: position ids that there are, and so tokens of A;
    half of the model's positions, since B needs some too."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        words = model.get_input_embeddings()
        self.longest = int(model.config.max_position_embeddings) // 2
        self.position_embeddings = nn.Embedding(self.longest + 1, words.embedding_dim)
        self.block_position_embeddings = nn.Embedding(self.longest + 1, words.embedding_dim)
        nn.init.zeros_(self.position_embeddings.weight)
        nn.init.zeros_(self.block_position_embeddings.weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.position_embeddings.weight.device

    @property
    def size(self) -> int:
        """Rows of the word table."""
        return len(self.model.get_input_embeddings().weight)

    def widen(self, size: int) -> Tensor:
        """As :meth:`seqlore.glm.model.GLM.widen`, but new rows are drawn as its own were, also in its output."""
        if size > self.size:
            self.model.resize_token_embeddings(size, mean_resizing=False)
        return self.model.get_input_embeddings().weight

    @property
    def lora_targets(self) -> list[str]:
        """Names of the linear layers within the blocks."""
        decoder = self.model.get_decoder()
        kinds = (nn.Linear, _conv1d())
        return sorted({name.rsplit(".", 1)[-1] for name, layer in decoder.named_modules() if isinstance(layer, kinds)})

    @property
    def own(self) -> list[Tensor]:
        """Weights that learn also where the model has an adapter: nothing else could tell the ids."""
        return [self.position_embeddings.weight, self.block_position_embeddings.weight]

    def new_cache(self) -> CausalCache:
        """An empty one."""
        return CausalCache()

    def forward(
        self,
        ids: Tensor,
        inter: Tensor,
        intra: Tensor,
        sight: Tensor,
        cache: CausalCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [B, T, d], or [B, M, d]; arguments as those of :class:`seqlore.glm.model.GLM`, but nothing is
        seen ahead, and ``at`` saves nothing."""
        length = ids.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        before = torch.zeros(length, sight.shape[2] - length, dtype=torch.bool, device=ids.device)
        sight = sight & ~torch.cat([before, ahead], 1)
        words = self.model.get_input_embeddings()(ids)
        told = self.position_embeddings(inter) + self.block_position_embeddings(intra)
        mask = torch.zeros(sight.shape, dtype=words.dtype, device=ids.device)
        mask.masked_fill_(~sight, torch.finfo(words.dtype).min)
        out = self.model.get_decoder()(
            inputs_embeds=words + told.to(words.dtype),
            attention_mask=mask[:, None],
            position_ids=sight.sum(2) - 1,  # how much stands before a token on its own way through the tree
            past_key_values=None if cache is None else cache.inner,
            use_cache=cache is not None,
        )
        return out.last_hidden_state if at is None else picked(out.last_hidden_state, at)

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, d] → […, size]."""
        return self.model.get_output_embeddings()(hidden)

    def head(self) -> str:
        """What must be known to build it again, as JSON."""
        return json.dumps(self.model.config.to_dict(), default=str)

    @classmethod
    def from_head(cls, head: str) -> CausalBody:
        """The same with random weights."""
        from transformers import AutoConfig, AutoModelForCausalLM

        settings = json.loads(head)
        return cls(AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)))


def _conv1d() -> type[nn.Module]:
    from transformers.pytorch_utils import Conv1D  # what GPT-2 has in place of linear layers

    return Conv1D


def load_causal(folder: str | Path, seed: int = 0) -> tuple[CausalBody, Tokenizer]:
    """A causal model from a folder, in eval mode, and its tokenizer with all marks.

    Raises: ConfigError: it cannot be loaded, or its length is not known.
    """
    from transformers import AutoModelForCausalLM

    folder = Path(folder).expanduser()
    tokenizer = load_tokenizer(folder)
    missing = [names[-1] for names in NAMES.values() if all(tokenizer.token_to_id(n) is None for n in names)]
    tokenizer.add_special_tokens(missing)
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{folder}: no causal model could be loaded ({str(error).splitlines()[0]})") from error
    if getattr(model.config, "max_position_embeddings", None) is None:
        raise ConfigError(f"{folder}: config.json does not say how many positions the model has")
    words: Any = model.get_input_embeddings()
    if tokenizer.get_vocab_size() > len(words.weight):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # new rows are drawn
            model.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=True)
    return CausalBody(model).eval(), tokenizer
