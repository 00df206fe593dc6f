"""Size and habits of a simulated shop."""

from __future__ import annotations

from pydantic import Field, model_validator

from seqlore.config import Config


class ShopConfig(Config):
    """Settings of :func:`seqlore.data.simulate.simulate`, and of a recipe's ``[dataset.simulate]`` table."""

    users: int = Field(default=2000, ge=1, description="Shoppers.")
    items: int = Field(default=800, ge=20, description="Products; those that nobody buys belong to the dataset, too.")
    interactions_per_user: float = Field(default=12.0, ge=1, description="Mean events of a shopper (long-tailed).")
    seed: int = Field(default=0, ge=0, description="Same settings and seed, same shop.")
    reviews: bool = Field(default=True, description="Write reviews and summaries; all else is the same without.")
    shortest: int = Field(default=5, ge=1, description="Fewest events of a shopper, where the mean is not lower.")
    days: int = Field(default=1096, ge=30, description="Days that the shop is open.")
    zipf: float = Field(
        default=0.3, ge=0, description="Exponent of the law by which products are looked at; 0 = alike."
    )
    taste: float = Field(default=0.45, ge=0, description="Weight of a shopper's taste in a choice.")
    continuity: float = Field(default=1.0, ge=0, description="Weight of likeness to the product bought before.")
    routine: float = Field(default=3.0, ge=0, description="How much more a type is looked at when a routine brings it.")
    half_life: float = Field(default=180.0, gt=0, description="Days after which a shopper's own taste is half another.")
    consideration: int = Field(default=48, ge=1, description="Products looked at before one is taken.")

    @model_validator(mode="after")
    def _enough_to_buy(self) -> ShopConfig:
        if self.interactions_per_user > self.items / 4:
            raise ValueError(
                f"{self.interactions_per_user:g} interactions a user exhaust {self.items} items, because nobody buys "
                "an item twice: ask for at least four items an interaction of a user"
            )
        return self
