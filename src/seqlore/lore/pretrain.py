"""A small language model of the data's own: tokenizer and Llama-architecture model, trained from scratch in minutes.

The decoder of Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023), arXiv 2302.13971, with
tied embeddings. Documents are packed into blocks, ``<s> … </s>`` one after another, and attention is not cut at their
borders, as in Brown et al., "Language Models are Few-Shot Learners" (2020), arXiv 2005.14165, section 2.3: so every
position of the context is learned, although most documents are short. Perplexity is measured on single documents.

The result is an ordinary Hugging Face folder. It knows the words of its shop and nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.lore.corpus import Corpus, CorpusConfig, read_split
from seqlore.lore.packing import PackedTokens
from seqlore.lore.perplexity import Perplexity, perplexities, surprise
from seqlore.lore.tokenizer import as_transformers, encode, token_bytes, train_tokenizer
from seqlore.text.encodable import encodable
from seqlore.text.quiet import quiet
from seqlore.training import TrainConfig, train
from seqlore.training.device import check_name, device_of
from seqlore.training.loop import Progress
from seqlore.training.objectives import full_softmax

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True, slots=True)
class Preset:
    """A size of model, and what it takes to train it."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    learning_rate: float
    tokens: int


#: About 1, 5 and 30 million parameters.
PRESETS = {
    "tiny": Preset(128, 4, 4, 352, 2048, 3e-3, 3_000_000),
    "small": Preset(256, 5, 4, 704, 4096, 2e-3, 4_000_000),
    "base": Preset(512, 8, 8, 1376, 8192, 1e-3, 20_000_000),
}
#: Steps that are timed to translate minutes into tokens, and the share of the time that is not spent in such steps.
TIMED_STEPS, OVERHEAD = 3, 0.15
#: Most tokens of a sample on the card.
SAMPLE_TOKENS = 60


class PretrainConfig(Config):
    """Settings. Equal settings and texts give equal weights on equal hardware and threads."""

    preset: Literal["tiny", "small", "base"] = Field(default="tiny", description="About 1, 5 or 30 million parameters.")
    corpus: CorpusConfig = Field(default_factory=CorpusConfig, description="Which texts of a split are read.")
    vocabulary: int | None = Field(default=None, ge=300, description="Tokens of the tokenizer; None = by the preset.")
    context: int = Field(default=1024, ge=16, description="Longest text in tokens, and length of the packed blocks.")
    tokens: int | None = Field(
        default=None, ge=1, description="Tokens to train on, repeats counted; None = by the preset."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="Instead of tokens: as many as this machine should manage, timed at the start."
    )
    batch_tokens: int = Field(default=4096, ge=16, description="Tokens of a step.")
    rounds: int = Field(
        default=20, ge=1, description="Parts of the training; each ends with a validation and a checkpoint."
    )
    patience: int = Field(
        default=5, ge=1, description="Rounds without better held-out perplexity before training stops."
    )
    learning_rate: float | None = Field(default=None, gt=0, description="At its peak; None = by the preset.")
    warmup_steps: int = Field(default=50, ge=0, description="Steps over which the learning rate rises from 0.")
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled weight decay.")
    held_out: float = Field(
        default=0.02, gt=0, lt=1, description="Share of each corpus kept for perplexity, at the most …"
    )
    held_out_limit: int = Field(default=300, ge=1, description="… so many documents of each.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Arithmetic of training; 'auto' = bf16 where processor or GPU have it."
    )
    device: str | None = Field(default=None, description="'cpu' keeps the model off the GPU; None = the best there is.")
    samples: int = Field(default=3, ge=0, description="Texts that the finished model writes for its card.")
    seed: int = Field(default=0, description="Of held-out documents, initial weights, order and samples.")

    _named = field_validator("device")(check_name)

    @property
    def rows(self) -> int:
        """Blocks of a step."""
        return max(1, self.batch_tokens // self.context)

    @property
    def step_tokens(self) -> int:
        """Tokens of a step: ``batch_tokens``, as whole blocks."""
        return self.rows * self.context


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What came of it.

    Attributes:
        folder: the Hugging Face folder. config: as given. parameters, vocabulary: of the model.
        corpora: name, dataset, hash, split, kind, digest, weight and documents of each that was read.
        corpus_tokens: distinct ones trained on; trained_tokens: with repeats. precision: of training.
        rounds: the log of the loop. best_round: whose weights were kept, by held-out perplexity. seconds: of training.
        perplexity: of all held-out documents, then by corpus. samples: texts that the model wrote by itself.
    """

    folder: Path
    config: PretrainConfig
    parameters: int
    vocabulary: int
    corpora: list[dict[str, Any]]
    corpus_tokens: int
    trained_tokens: int
    precision: str
    rounds: list[dict[str, Any]]
    best_round: int
    seconds: float
    perplexity: list[Perplexity]
    samples: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "folder": str(self.folder),
            "config": self.config.model_dump(mode="json"),
            "perplexity": [asdict(each) for each in self.perplexity],
        }


def pretrain(
    sources: Split | Corpus | Sequence[Split | Corpus],
    out: str | Path,
    config: PretrainConfig | None = None,
    *,
    progress: Progress | None = None,
) -> PretrainReport:
    """Train tokenizer and model from scratch and write them as a Hugging Face folder, with a card.

    A run that was stopped goes on from its last round when it is started again with the same texts and settings.

    Args:
        sources: splits, of which the training part alone is read, or texts of your own as ``Corpus``. Several are
            mixed by weight; that of a split is set by ``read_split(split, weight=2)``.
        out: the folder to write. progress: called after each round with its row of the log.

    Raises: DataError: ``out`` holds a model already, or the checkpoint of another run, or is no folder; or there is too
        little text. ConfigError: both tokens and minutes are given, the device is not there, or the sources are no
        splits and texts.
    """
    from seqlore.lore.pretrain_card import pretrain_card

    config, out = config or PretrainConfig(), Path(out)
    if config.tokens is not None and config.minutes is not None:
        raise ConfigError("tokens and minutes both say how long to train: leave one of them out")
    device_of(config.device)
    if file := next((path for path in (out, *out.parents) if path.is_file()), None):
        raise DataError(f"{out}: a model is a folder, and {file} is a file; name another folder")
    checkpoint = out / "checkpoint"
    if (out / "config.json").exists() and not checkpoint.exists():
        raise DataError(f"{out}: there already is a model; name another folder, or delete this one")
    corpora = _corpora(sources, config)
    learned, held = _divide(corpora, config)
    preset = PRESETS[config.preset]
    tokenizer = train_tokenizer([d for part in learned for d in part], config.vocabulary or preset.vocabulary)
    text = PackedTokens(
        [encode(tokenizer, part) for part in learned],
        [c.weight for c in corpora],
        length=config.context,
        rows=config.rows,
        seed=config.seed,
    )
    asked = {c.name: _fitting(encode(tokenizer, part), config) for c, part in zip(corpora, held, strict=True)}
    torch.manual_seed(config.seed)
    net = _Net(build(tokenizer.get_vocab_size(), config))
    loop = _loop(config)
    steps = _steps(checkpoint, net, text, corpora, config, loop.precision)

    def batches(epoch: int, shard: tuple[int, int]) -> Iterator[Tensor]:
        for step in range((epoch - 1) * steps, epoch * steps):
            yield text.batch(step)[shard[0] :: shard[1]]

    everything = Sequences.concat(asked.values())

    def validate() -> dict[str, float]:
        return {"log_likelihood": -float(surprise(net.model, everything).mean())}

    rounds = train(net, batches, loop, validate=validate, checkpoint=checkpoint, progress=progress)
    model = net.model.cpu()
    wrapped = as_transformers(tokenizer, config.context)
    report = PretrainReport(
        folder=out,
        config=config,
        parameters=sum(p.numel() for p in model.parameters()),
        vocabulary=tokenizer.get_vocab_size(),
        corpora=[
            {"name": c.name, **c.source, "digest": c.digest, "weight": c.weight, "documents": len(c.documents)}
            for c in corpora
        ],
        corpus_tokens=len(text.documents.items),
        trained_tokens=len(rounds) * steps * config.step_tokens,
        precision=loop.precision,
        rounds=rounds,
        best_round=max(rounds, key=lambda row: row["valid"]["log_likelihood"])["epoch"],
        seconds=sum(row["seconds"] for row in rounds),
        perplexity=perplexities(model, asked, text.documents.items, token_bytes(tokenizer)),
        samples=_samples(model, wrapped, config),
    )
    wrapped.save_pretrained(out)
    told = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
    for name, page in (("pretraining.json", told), ("README.md", pretrain_card(report))):
        (out / name).write_text(encodable(page), encoding="utf-8")
    with quiet():
        model.save_pretrained(out)
    shutil.rmtree(checkpoint)  # last: until then a run that is killed only has to write its results again
    return report


def build(vocabulary: int, config: PretrainConfig) -> LlamaForCausalLM:
    """The untrained model, on the CPU; its weights come from torch's generator as it stands."""
    from transformers import LlamaConfig, LlamaForCausalLM

    preset = PRESETS[config.preset]
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=preset.width,
            num_hidden_layers=preset.layers,
            num_attention_heads=preset.heads,
            intermediate_size=preset.feed_forward,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


class _Net(nn.Module):
    """The model as the loop has it: ``forward`` gives the loss."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, blocks: Tensor) -> Tensor:
        """Mean cross-entropy of the next token. blocks: [B, T + 1]."""
        hidden = self.model.model(input_ids=blocks[:, :-1], use_cache=False).last_hidden_state  # [B, T, d]
        table = F.pad(self.model.lm_head.weight, (0, 0, 1, 0))  # the objective's class 0 is none: tokens move by one
        return full_softmax(hidden.flatten(0, 1), blocks[:, 1:].flatten() + 1, table)


def _corpora(sources: Any, config: PretrainConfig) -> list[Corpus]:
    found: list[Corpus] = []
    for source in sources if isinstance(sources, (list, tuple)) else [sources]:
        if isinstance(source, Corpus):
            found.append(source)
        elif isinstance(source, Split):
            found += read_split(source, config.corpus)
        else:
            raise ConfigError(
                f"pretrain reads splits and corpora, not {type(source).__name__}: split a dataset first, so that no "
                "held-out review is read, and give strings as Corpus(name, documents)"
            )
    if len({corpus.name for corpus in found}) < len(found):
        raise ConfigError("two corpora have the same name: give datasets that are mixed different names")
    return found


def _divide(corpora: list[Corpus], config: PretrainConfig) -> tuple[list[list[str]], list[list[str]]]:
    """Documents to learn from, and those held out, of each corpus. What is held out anywhere is learned nowhere."""
    rng = np.random.default_rng(config.seed)
    held = []
    for corpus in corpora:
        n = len(corpus.documents)
        count = min(math.ceil(config.held_out * n), config.held_out_limit) if n > 1 else 0
        held.append([corpus.documents[i] for i in np.sort(rng.choice(n, count, replace=False))])
    hidden = {document for part in held for document in part}
    learned = [[d for d in corpus.documents if d not in hidden] for corpus in corpora]
    if not hidden or not any(learned):
        raise DataError("there is too little text: a model needs at least two different documents")
    return learned, held


def _fitting(documents: Sequences, config: PretrainConfig) -> Sequences:
    """Documents cut to the context."""
    starts = documents.offsets[:-1]
    return documents.slice(starts, np.minimum(starts + config.context, documents.offsets[1:]))


def _loop(config: PretrainConfig) -> TrainConfig:
    """The settings of the training loop; a round is one of its epochs."""
    precision = config.precision
    if precision == "auto":
        on_gpu = torch.cuda.is_available() and config.device != "cpu"
        has_bf16 = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    settings = {
        "learning_rate": config.learning_rate or PRESETS[config.preset].learning_rate,
        "weight_decay": config.weight_decay,
        "warmup_steps": config.warmup_steps,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "epochs": config.rounds,
        "patience": config.patience,
        "monitor": "log_likelihood",
        "precision": precision,
        "device": config.device,
        "seed": config.seed,
    }
    return TrainConfig.parse(settings, "pretraining")


def _steps(
    checkpoint: Path, net: _Net, text: PackedTokens, corpora: list[Corpus], config: PretrainConfig, precision: str
) -> int:
    """Steps of a round. Decided once and kept beside the checkpoint, because minutes are timed."""
    made_of = [config.model_dump_json(), precision, *(corpus.digest for corpus in corpora)]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    path = checkpoint / "plan.json"
    if path.is_file():
        plan = json.loads(path.read_text())
        if plan["digest"] != digest:
            raise DataError(
                f"{checkpoint}: the checkpoint was made from other texts or settings; delete it, or name another folder"
            )
        return plan["steps"]
    tokens = config.tokens or PRESETS[config.preset].tokens
    if config.minutes is not None:
        tokens = (
            60 * config.minutes * (1 - OVERHEAD) / _seconds_a_step(net, text, config, precision) * config.step_tokens
        )
    steps = max(1, round(tokens / config.rounds / config.step_tokens))
    checkpoint.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps({"digest": digest, "steps": steps}))
    os.replace(path.with_suffix(".tmp"), path)
    return steps


def _seconds_a_step(net: _Net, text: PackedTokens, config: PretrainConfig, precision: str) -> float:
    """Wall seconds of a forward and backward pass, tried on a copy."""
    device = device_of(config.device)
    trial, blocks = copy.deepcopy(net).to(device), text.batch(0).to(device)
    started = 0.0
    for step in range(1 + TIMED_STEPS):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = trial(blocks)
        loss.backward()
        loss.item()  # waits for the device
        if step == 0:  # the first one pays for what is set up once
            started = time.perf_counter()
    return (time.perf_counter() - started) / TIMED_STEPS


@torch.inference_mode()
def _samples(model: Any, tokenizer: Any, config: PretrainConfig) -> list[str]:
    """What the model writes when nothing is asked, drawn at temperature 0.8."""
    if not config.samples:
        return []
    torch.manual_seed(config.seed)
    start = torch.full((config.samples, 1), tokenizer.bos_token_id)
    length = min(SAMPLE_TOKENS, config.context - 1)
    drawn = model.generate(start, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=length)
    return tokenizer.batch_decode(drawn, skip_special_tokens=True)
