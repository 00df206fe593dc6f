"""Language models that recommend, rate and explain."""
