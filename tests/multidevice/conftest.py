"""What the tests on eight devices share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quickly_compiled():
    """What is compared is how XLA splits programs over devices; most of the time would go into polishing the parts."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # nobody else gets these programs, whose last digits may differ
