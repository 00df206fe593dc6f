"""Rerankers: candidates → order. One file a backbone, one a way to augment it.

``seqlore.rerank.PRM`` imports only what it needs.
"""

from __future__ import annotations

from typing import Any

from seqlore.recommender import RERANKERS, named

#: What is not a reranker: name → "module:attribute".
_HOME = {
    **{name: f"seqlore.rerank.reranker:{name}" for name in ("Reranker", "reranker_class")},
    **{name: f"seqlore.rerank.candidates:{name}" for name in ("CandidateSource", "Retrieved", "Uniform")},
    **{name: f"seqlore.rerank.lists:{name}" for name in ("ListBatch", "ListData", "listwise_softmax")},
    **{
        name: f"seqlore.rerank.augment:{name}"
        for name in ("Augmentation", "Continuation", "NoAugmentation", "augmentation_class")
    },
    "UserTexts": "seqlore.rerank.texts:UserTexts",
    "TextAugmentation": "seqlore.rerank.text_augmentation:TextAugmentation",
    **{name: f"seqlore.rerank.text_baselines:{name}" for name in ("BERTAug", "LLMAug")},
    "KAR": "seqlore.rerank.kar:KAR",
    "UR4Rec": "seqlore.rerank.ur4rec:UR4Rec",
    "Knowledge": "seqlore.rerank.knowledge:Knowledge",
    "KnowledgeSettings": "seqlore.rerank.gathering:KnowledgeSettings",
    "TwoStage": "seqlore.rerank.two_stage:TwoStage",
}


def __getattr__(name: str) -> Any:
    target = RERANKERS.get(name) or _HOME.get(name)
    if target is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return named(target)


def __dir__() -> list[str]:
    return sorted([*RERANKERS, *_HOME])
