"""One thread: tiny models gain nothing from more, and the sums keep their order. No hub is ever asked."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("ENGINE_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def restore_torch_settings():
    yield
    torch.use_deterministic_algorithms(False)
