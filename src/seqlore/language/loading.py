"""A causal language model from a folder or the hub: its settings, where it lies, opening it, what of it learns.

Weights are read from safetensors only.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from seqlore.config import Config
from seqlore.errors import ConfigError, MissingExtraError
from seqlore.text.cache import file_digest
from seqlore.text.quiet import quiet
from seqlore.training.device import check_map

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
    any_corpus: bool = Field(
        default=False,
        description="Take a body of `seqlore lore pretrain` that read another dataset, or what the split holds out.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute layers backwards: less memory, more time."
    )

    @model_validator(mode="after")
    def _random_weights_are_made_here(self) -> BackboneConfig:
        if self.weights == "random" and (self.quantize is not None or self.device_map is not None):
            raise ValueError("weights = 'random' are drawn, not loaded: leave quantize and device_map out")
        return self


def locate(config: BackboneConfig) -> tuple[Path, str | None]:
    """(folder, the hub's commit or None) of a model.

    Raises: ConfigError: there is none of that name, its weights are pickled, or a folder is given a revision.
    """
    name = os.path.expandvars(config.name)
    folder, commit = Path(name).expanduser(), None
    if folder.is_dir() and config.revision is not None:
        raise ConfigError(
            f"backbone {config.name!r} is a folder, and revision = {config.revision!r} is for the hub: leave it out"
        )
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


def check_here(config: BackboneConfig) -> None:
    """What the settings need beside the model itself is on this machine.

    Raises: ConfigError: ``device_map`` names a device that is not. MissingExtraError: peft or bitsandbytes is not.
    """
    if config.device_map is not None:
        check_map(config.device_map, "backbone.device_map")
    if config.quantize is not None:
        from transformers.utils import is_bitsandbytes_available

        if not is_bitsandbytes_available():
            raise MissingExtraError(
                f"backbone.quantize = {config.quantize!r} needs bitsandbytes: pip install 'seqlore[quantize]'"
            )
    if config.tune == "lora":
        adapters("backbone.tune")


def adapters(setting: str) -> Any:
    """The module peft. Raises: MissingExtraError: it is not installed, and ``setting`` = 'lora' needs it."""
    try:
        with quiet():
            import peft
    except ImportError as error:
        raise MissingExtraError(f"{setting} = 'lora' needs peft: pip install 'seqlore[llm]'") from error
    return peft


def digest(folder: Path) -> str:
    """32 hex digits over weights, settings and tokenizer: equal for equal models, wherever they lie."""
    total = hashlib.sha256()
    for path in sorted({p for pattern in FILES for p in folder.glob(pattern)}):
        total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()[:32]


def opened(folder: str, content: str, config: BackboneConfig, seed: int) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder whose digest is ``content``.

    Raises: ConfigError: not a causal model.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

    options: dict[str, Any] = {"dtype": torch.bfloat16 if config.dtype == "bf16" else torch.float32}
    if config.quantize is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=config.quantize == "8bit",
            load_in_4bit=config.quantize == "4bit",
            bnb_4bit_quant_type="nf4",  # Dettmers et al., "QLoRA", NeurIPS 2023: better than fp4 for weights
            bnb_4bit_compute_dtype=options["dtype"],
        )
    try:
        with quiet():
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
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"backbone {folder!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    # What a folder sets for writing, say a penalty on words that come again, is no part of the model: `write` decides.
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.requires_grad_(False).eval()
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":  # in eval mode a CPU repacks it for a kernel without gradients
            module.training = True
    return model, tokenizer


#: One body is kept between the models of a run; more would fill the memory where they are large.
open_shared = lru_cache(maxsize=1)(opened)


def tuned(model: Any, config: BackboneConfig, seed: int) -> dict[str, nn.Parameter]:
    """Make the weights learn that ``config.tune`` asks for; returns them."""
    if config.tune == "full":
        model.requires_grad_(True)
    elif config.tune == "lora":
        peft = adapters("backbone.tune")
        targets = config.lora_targets if isinstance(config.lora_targets, str) else list(config.lora_targets)
        adapter = peft.LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                peft.inject_adapter_in_model(adapter, model)
        except ValueError as error:
            raise ConfigError(f"backbone.lora_targets = {targets!r}: {str(error).splitlines()[0]}") from error
        for name, weight in model.named_parameters():
            weight.requires_grad_("lora_" in name)
            if weight.requires_grad:
                weight.data = weight.data.float()
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def checkpointed(model: Any) -> list[nn.Module]:
    """Switch recomputation on; returns the layers, which do it only while they are in training mode."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
