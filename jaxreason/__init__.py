"""Train reasoning language models to think in fewer tokens without losing accuracy, in JAX."""

__version__ = "0.1.0"
