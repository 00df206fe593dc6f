"""What an augmentation is: extra vectors for candidates, and for items of the history, beside a backbone's own.

Zhang et al., COLING 2025, equation 9: the augmented vector of an item is concatenated to its embedding in the input of
the backbone. An augmentation knows no backbone and a backbone no augmentation, so that any pair combines.

The life of one, in the order in which :class:`seqlore.rerank.ranker.NetReranker` calls it:

    __init__(config)    settings; knowledge (vectors of texts) may be handed over here
    suited(…)           settings that go by the backbone are filled in
    gather(lists)       or is gathered here, for the samples that ``lists`` will ask for and for those of the split
    build(…)            parameters, after the seed was set, so that a fit is a function of its seed
    pretrain(…)         phases before joint training, where ``needs_base``: with the item vectors of a trained base
    forward(…)          in joint training and whenever the reranker is asked
    rebuilt(…)          in place of the first three when a saved reranker is loaded

No leak: knowledge about a user that behind a sample may have been written from no more than its first ``batch.known``
events; hold such texts in a :class:`seqlore.rerank.texts.UserTexts`, which looks them up by that and asserts it.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config, nearest
from seqlore.errors import ConfigError
from seqlore.recommender import named
from seqlore.rerank.lists import ListBatch, ListData

#: Registered name → "module:Class", as for models.
AUGMENTATIONS: dict[str, str] = {
    "NoAugmentation": "seqlore.rerank.augment:NoAugmentation",
    "Continuation": "seqlore.rerank.augment:Continuation",
    "TextAugmentation": "seqlore.rerank.text_augmentation:TextAugmentation",
    "BERTAug": "seqlore.rerank.text_baselines:BERTAug",
    "LLMAug": "seqlore.rerank.text_baselines:LLMAug",
    "KAR": "seqlore.rerank.kar:KAR",
    "UR4Rec": "seqlore.rerank.ur4rec:UR4Rec",
}


class Host(NamedTuple):
    """What of a backbone an augmentation's settings may go by."""

    name: str = "a backbone"
    #: It scores candidates by the state after a long history; a listwise backbone does not.
    sequential: bool = False
    #: Latest events that reach the augmentation in joint training; None = not known.
    history_length: int | None = None
    seed: int = 0
    #: Joint training goes on from a whole trained base, item vectors and all.
    goes_on: bool = False


class Augmented(NamedTuple):
    """Extra vectors of a batch: of its candidates [B, C, a] and, where asked for, of its history items [B, T, a]."""

    candidates: Tensor
    history: Tensor | None


class Augmentation(nn.Module):
    """Base of all augmentations. Subclasses set ``Config`` and implement ``width`` and ``forward``."""

    paper: ClassVar[str] = ""
    Config: ClassVar[type[Config]] = Config
    #: The reranker first trains its backbone without augmentation, and hands over its item vectors (phase 0).
    needs_base: ClassVar[bool] = False

    def __init__(self, config: Config | None = None, /, **settings: Any) -> None:
        super().__init__()
        #: Item vectors [size, d] that joint training starts from, where ``pretrain`` changed the base's.
        self.start: Tensor | None = None
        self.config: Any = self.Config.parse(settings, type(self).__name__) if config is None else config

    def fresh(self) -> Self:
        """Another one with the same knowledge, to be built anew; so one object may be given to several rerankers."""
        other = copy.copy(self)
        for held in ("_parameters", "_buffers", "_modules"):
            other.__dict__[held] = dict(self.__dict__[held])
        return other

    @property
    def name(self) -> str:
        """The class name, under which the augmentation is registered."""
        return type(self).__name__

    @property
    @abstractmethod
    def width(self) -> int:
        """a, of the vectors that ``forward`` gives; known before ``build``."""

    @classmethod
    def suited(cls, config: Any, host: Host) -> Any:
        """``config`` with what is None, for "by backbone", filled in.

        Raises: ConfigError: a setting asks for what the backbone does not give.
        """
        return config

    def gather(self, lists: ListData) -> None:
        """Bring together what is still missing of the knowledge: texts, their vectors.

        Training asks ``lists.cases(epoch)`` in each epoch, a phase before it those of ``lists.pretraining()``;
        ``lists.split`` has the valid and test cases. A text about the user behind a case may be written from
        ``case.histories`` only.
        """

    def build(self, size: int, item_width: int) -> None:
        """Make the parameters, anew at each fit.

        Args: size: ``catalog.size``. item_width: d of the backbone's item vectors.
        """

    def pretrain(
        self,
        items: Tensor,
        lists: ListData,
        *,
        device: str | None = None,
        checkpoint: Path | None = None,
        log: Path | None = None,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """The phases before joint training. Returns what the loop returned. Called where ``needs_base``.

        Args: items: [size, d], input vectors of the trained base, h_i; to be copied and not changed.
        """
        raise NotImplementedError

    def untold(self, users: Tensor, known: Tensor) -> Tensor | None:
        """bool [n]: no text about the user was written from all of these events; None: it reads no such texts.

        Args: users, known: as in a batch.
        """
        return None

    @abstractmethod
    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        """Extra vectors of a batch.

        Args: items: the backbone's own input vectors as they stand: indices [...] → [..., d]. history: whether the
            backbone reads the history items' vectors too.
        """

    @classmethod
    def rebuilt(cls, config: Config, state: Mapping[str, Tensor]) -> Self:
        """One whose knowledge has the shapes in ``state`` (names as in its ``state_dict``), before it is built."""
        return cls(config)


class NoAugmentation(Augmentation):
    """Nothing: vectors of width 0."""

    paper = "No paper: the plain backbone."

    @property
    def width(self) -> int:
        return 0

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        device = batch.items.device
        nothing = torch.zeros(*batch.candidates.shape, 0, device=device)
        return Augmented(nothing, torch.zeros(*batch.items.shape, 0, device=device) if history else None)


class Continuation(NoAugmentation):
    """Nothing either, with a base of its own to go on from: the control of all that are ``continued``."""

    paper = "No paper: the plain backbone, trained on."

    @classmethod
    def suited(cls, config: Any, host: Host) -> Any:
        if not host.goes_on:
            raise ConfigError(
                f"Continuation on {host.name}: there is nothing to go on from: set continued on the backbone, or take "
                "NoAugmentation"
            )
        return config


def augmentation_class(name: str) -> type[Augmentation]:
    """The class registered under ``name``. Raises: ConfigError: no such one; the message names the nearest."""
    if name not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise ConfigError(f"there is no augmentation {name!r}{nearest(name, AUGMENTATIONS)}; there are {known}")
    return named(AUGMENTATIONS[name])


class AugmentationSettings(Config):
    """Which augmentation, as a recipe and a saved reranker name it."""

    name: str = Field(default="NoAugmentation", description="Its registered name.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Of the augmentation.")

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        self.parsed()
        return self

    def parsed(self) -> Config:
        """The augmentation's own settings."""
        return augmentation_class(self.name).Config.parse(self.settings, self.name)

    def make(self) -> Augmentation:
        """A new augmentation, without knowledge."""
        return augmentation_class(self.name)(self.parsed())

    def on(self, host: Host) -> Self:
        """The same with the augmentation's settings suited to a backbone. Raises: ConfigError: they do not fit it."""
        given = self.parsed()
        suited = augmentation_class(self.name).suited(given, host)
        return self if suited == given else type(self)(name=self.name, settings=suited.model_dump(mode="json"))

    @classmethod
    def of(cls, augmentation: Augmentation) -> Self:
        """The settings that name ``augmentation``."""
        return cls(name=augmentation.name, settings=augmentation.config.model_dump(mode="json"))
