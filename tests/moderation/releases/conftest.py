"""Fixtures of releases."""

from typing import Any

import pytest


@pytest.fixture
def world(db: None) -> Any:
    from tests.moderation.releases.world import World

    return World.build()
