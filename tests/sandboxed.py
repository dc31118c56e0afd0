"""For tests that run programs: whether this machine can. Where it cannot they are skipped and say why."""

import pytest

from jaxreason.grading import sandbox

needs_sandbox = pytest.mark.skipif(bool(sandbox.unavailable()), reason=f"no sandbox here: {sandbox.unavailable()}")
