"""What every test shares: the one table of tolerances. A test takes its entry from here and never loosens it."""

TOLERANCE = {
    "elementwise": 1e-6,  # float32, one operation an element
    "sum": 1e-5,  # float32, after a reduction or a matrix product
    "mesh": 1e-5,  # float32, the same program on another arrangement of devices
    "logits": 1e-4,  # float32, through a whole model, against another implementation
    "bfloat16": 2e-2,  # of the largest number, after a few roundings to bfloat16's eight bits
}
"""Relative or absolute tolerance by the kind of arithmetic compared."""
