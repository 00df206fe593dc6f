"""The simulated shop: its words (``vocabulary.toml``), its shelves, its shoppers and what is written there."""
