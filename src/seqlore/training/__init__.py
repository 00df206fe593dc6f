"""One training loop for every net, the objectives, and the batches. Knows no model."""

from seqlore.training.loop import TrainConfig, kept, outcome, train

__all__ = ["TrainConfig", "kept", "outcome", "train"]
