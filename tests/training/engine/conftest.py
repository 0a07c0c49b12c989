"""One thread: tiny models gain nothing from more, and the sums keep their order. No hub is ever asked."""

import pytest
import torch

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "ENGINE_THREADS": "1"}


@pytest.fixture(autouse=True)
def engine_environment(monkeypatch):
    """For these tests only: the clients that other tests start in the same run have a hub to reach."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def restore_torch_settings():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
