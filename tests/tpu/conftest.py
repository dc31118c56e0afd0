"""A played slice for each test, whose processes end with it."""

import pytest

from tests.tpu.slice import Slice


@pytest.fixture
def cloud(tmp_path):
    made = Slice(tmp_path)
    yield made
    made.close()
