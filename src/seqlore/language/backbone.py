"""A frozen causal language model that is fed vectors instead of words.

The body keeps no weight gradients and no optimiser state, yet gradients cross it on their way to the vectors that
went in. It stands outside the module tree of the net that uses it, so that snapshots, checkpoints and saved folders
hold what was trained and nothing else; ``trained`` are the weights of an adapter, or of the whole body where it is
tuned. Sequences are padded on the right, where a causal body never looks: no mask is made, and what else is in a
batch changes nothing.

Any Hugging Face causal model by folder or hub name; weights are read from safetensors only.
"""

from __future__ import annotations

import copy
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.text.cache import file_digest

#: Fetched from the hub, and part of the digest: weights, settings and tokenizer.
FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "vocab*", "merges.txt", "*.model")


class BackboneConfig(Config):
    """Which language model, and how it is held."""

    name: str = Field(description="Folder or hub name of a causal model; ${NAME} and ~ are filled in.")
    revision: str | None = Field(default=None, description="Of the hub's repository; None = its main branch.")
    weights: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="Random keeps shape and tokenizer: the control for what the pretraining is worth.",
    )
    tune: Literal["none", "lora", "full"] = Field(
        default="none", description="What of the body is trained; none = frozen."
    )
    lora_rank: int = Field(default=16, ge=1, description="Rank of the adapter (tune='lora').")
    lora_alpha: int = Field(default=16, ge=1, description="Scale of the adapter, divided by its rank.")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    lora_targets: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="Names of the layers that get an adapter."
    )
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Type of the body's weights and arithmetic.")
    quantize: Literal["8bit", "4bit"] | None = Field(default=None, description="Load weights so; needs bitsandbytes.")
    device_map: str | None = Field(
        default=None, description="Spread the body over devices ('auto', …); None = with the net."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute layers backwards: less memory, more time."
    )


def locate(config: BackboneConfig) -> tuple[Path, str | None]:
    """(folder, the hub's commit or None) of a model.

    Raises: ConfigError: there is none of that name, or its weights are pickled.
    """
    name = os.path.expandvars(config.name)
    folder, commit = Path(name).expanduser(), None
    if not folder.is_dir():
        if "$" in name:
            raise ConfigError(f"backbone {config.name!r}: an environment variable in it is not set; export it")
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ConfigError(
                f"backbone {config.name!r}: there is no such folder; make one with `seqlore lore pretrain`"
            )
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, revision=config.revision, allow_patterns=list(FILES)))
        except Exception as error:  # the hub's client raises its own, httpx's and the system's
            raise ConfigError(
                f"backbone {config.name!r} is no folder here and the hub did not give it ({type(error).__name__}): "
                "check the name, or make a small model with `seqlore lore pretrain`"
            ) from error
        commit = folder.name
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"backbone {config.name!r}: {folder} holds no causal model with safetensors weights (pickled ones are not "
            "loaded); save one there with save_pretrained"
        )
    return folder, commit


def digest(folder: Path) -> str:
    """32 hex digits over weights, settings and tokenizer: equal for equal models, wherever they lie."""
    total = hashlib.sha256()
    for path in sorted({p for pattern in FILES for p in folder.glob(pattern)}):
        total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()[:32]


class Backbone:
    """A causal model between vectors: [B, T, d] in, hidden states [B, T, d] out.

    Attributes:
        trained: the weights of the body that learn, by name; empty where it is frozen.
        identity: name, revision and digest, for the model folder.
        width: d. size: rows of the word table.
    """

    def __init__(self, config: BackboneConfig, *, seed: int = 0) -> None:
        """Args: seed: of random weights and of an adapter. Raises: ConfigError, MissingExtraError: see :func:`load`."""
        folder, commit = locate(config)
        self.config = config
        self.identity = {"name": config.name, "revision": commit, "digest": digest(folder)}
        fixed = config.model_copy(update={"name": "", "revision": None})
        shared = config.tune == "none" and not config.gradient_checkpointing
        # A frozen body never changes, so every model of a run may read the same one.
        draw = seed if config.weights == "random" else 0
        self.model, self.tokenizer = (_shared if shared else _open)(str(folder), self.identity["digest"], fixed, draw)  # type: ignore[arg-type]
        self.trained = _tuned(self.model, config, seed)
        self.decoder: nn.Module = self.model.get_decoder()
        self._layers = _checkpointed(self.model) if config.gradient_checkpointing else []
        self._fixed_place = config.device_map is not None or config.quantize is not None

    @property
    def words(self) -> Tensor:
        """The input vectors of words, [size, d]."""
        return self.model.get_input_embeddings().weight

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def width(self) -> int:
        return self.words.shape[1]

    def check_length(self, positions: int, why: str) -> None:
        """Raises: ConfigError: the body cannot read so many; ``why`` names the settings that ask for them."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and positions > limit:
            raise ConfigError(
                f"{why} needs {positions} positions, and backbone {self.config.name!r} reads {limit}: lower it"
            )

    def vocabulary_mean(self) -> tuple[Tensor, float]:
        """(mean of the word vectors [d], standard deviation of their entries around it), in fp32."""
        words = self.words.detach().float().cpu()
        mean = words.mean(0)
        return mean, float((words - mean).square().mean().sqrt())

    def place(self, device: torch.device) -> None:
        """Go where the net is, unless a device map or a quantised load has fixed the place."""
        if not self._fixed_place and self.words.device != device:
            self.model.to(device)

    def train(self, mode: bool) -> None:
        """Dropout where weights learn; a frozen body has none."""
        if self.config.tune == "full":
            self.model.train(mode)
        for name, module in self.model.named_modules():
            if "lora_dropout" in name:
                module.train(mode)

    def hidden(self, vectors: Tensor, prefix: Any = None) -> Tensor:
        """Hidden states [B, T, d] in fp32 for [B, T, d] after ``prefix``, on the device of ``vectors``."""
        for layer in self._layers:
            layer.training = torch.is_grad_enabled()
        if prefix is not None:
            prefix = copy.deepcopy(prefix)  # the body appends to what it is given
            prefix.batch_repeat_interleave(len(vectors))
        out = self.decoder(
            inputs_embeds=vectors.to(self.words.device, self.words.dtype),
            past_key_values=prefix,
            use_cache=prefix is not None,
        )
        return out.last_hidden_state.to(vectors.device, torch.float32)

    @torch.no_grad()
    def prefix(self, tokens: Tensor) -> Any:
        """Keys and values of ``tokens`` [P], computed once for all rows that begin with them; None where P = 0."""
        if not len(tokens):
            return None
        for layer in self._layers:
            layer.training = False
        return self.decoder(input_ids=tokens[None].to(self.words.device), use_cache=True).past_key_values

    def word_logits(self, hidden: Tensor) -> Tensor:
        """[M, d] → [M, size] in fp32. Ask only for positions that a loss or a decoder reads."""
        head = self.model.get_output_embeddings()
        return head(hidden.to(self.words.device, self.words.dtype)).to(hidden.device, torch.float32)

    def write(self, vectors: Tensor, max_tokens: int) -> list[str]:
        """Texts that follow [B, T, d], the likeliest word each time, [B]."""
        from transformers import GenerationConfig

        end = self.tokenizer.eos_token_id
        how = GenerationConfig(
            do_sample=False, max_new_tokens=max_tokens, eos_token_id=end, pad_token_id=0 if end is None else end
        )
        fed = vectors.to(self.words.device, self.words.dtype)
        mask = torch.ones(fed.shape[:2], dtype=torch.int64, device=fed.device)
        written = self.model.generate(inputs_embeds=fed, attention_mask=mask, generation_config=how)
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def encode(self, text: str) -> list[int]:
        """Word tokens of a text, no special ones."""
        return self.tokenizer.encode(text, add_special_tokens=False, verbose=False)  # length is the caller's affair

    @property
    def begin(self) -> list[int]:
        """The token that begins a text, as the tokenizer sets it; [] for families that have none (Qwen, …)."""
        first = self.tokenizer("").input_ids[:1]
        return first if first and first[0] == self.tokenizer.bos_token_id else []


def _open(folder: str, content: str, config: BackboneConfig, seed: int) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder whose digest is ``content``.

    Raises: ConfigError: not a causal model. MissingExtraError: a quantised load without bitsandbytes.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available, logging

    options: dict[str, Any] = {"dtype": torch.bfloat16 if config.dtype == "bf16" else torch.float32}
    if config.quantize is not None:
        if not is_bitsandbytes_available():
            raise MissingExtraError(
                f"backbone.quantize = {config.quantize!r} needs bitsandbytes: pip install bitsandbytes"
            )
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=config.quantize == "8bit",
            load_in_4bit=config.quantize == "4bit",
            bnb_4bit_compute_dtype=options["dtype"],
        )
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if config.weights == "random":
            shape = AutoConfig.from_pretrained(folder, local_files_only=True)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModelForCausalLM.from_config(shape, dtype=options["dtype"])
        else:
            model = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, device_map=config.device_map, **options
            )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"backbone {folder!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return model.requires_grad_(False).eval(), tokenizer


#: One body is kept between the models of a run; more would fill the memory where they are large.
_shared = lru_cache(maxsize=1)(_open)


def _tuned(model: Any, config: BackboneConfig, seed: int) -> dict[str, nn.Parameter]:
    """Make the weights learn that ``config.tune`` asks for; returns them."""
    if config.tune == "full":
        model.requires_grad_(True)
    elif config.tune == "lora":
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingExtraError("backbone.tune = 'lora' needs peft: pip install 'seqlore[llm]'") from error
        targets = config.lora_targets if isinstance(config.lora_targets, str) else list(config.lora_targets)
        adapter = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,  # type: ignore[arg-type]
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(adapter, model)
        for name, weight in model.named_parameters():
            weight.requires_grad_("lora_" in name)
            if weight.requires_grad:
                weight.data = weight.data.float()
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _checkpointed(model: Any) -> list[nn.Module]:
    """Switch recomputation on; returns the layers, which do it only while they are in training mode."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
