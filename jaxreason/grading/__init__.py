"""Grading on the host: text in, arrays out. No jax in this room, since its workers must start fast and fork nothing."""
