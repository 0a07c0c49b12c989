"""Commands to copy: what they say follows the card."""

from types import SimpleNamespace
from typing import Any

import pytest

from hub.web.snippets import list_configurations, load_dataset

REPO: Any = SimpleNamespace(full_name="alice/tides")


@pytest.mark.parametrize(
    ("configs", "names"),
    [
        ([{"config_name": "high"}, {"config_name": "low"}], ["high", "low"]),
        ([{"config_name": "high"}], []),  # load_dataset takes the only one
        ([{"config_name": "default"}, {"config_name": "low"}], []),
        ([{"config_name": "high", "default": True}, {"config_name": "low"}], []),
        ([{"config_name": 7}, "low", None], []),
        ("high", []),
        (None, []),
        ([{"config_name": str(number)} for number in range(50)], [str(number) for number in range(10)]),
    ],
)
def test_the_configurations_that_have_to_be_named(configs: Any, names: list[str]):
    assert list_configurations({"configs": configs}) == names


def test_each_configuration_has_a_line():
    code = load_dataset(REPO, "https://hub.example", ["high", 'lo"w'])
    assert code.endswith('rows = load_dataset("alice/tides", "high")\nrows = load_dataset("alice/tides", "lo\\"w")')
    assert load_dataset(REPO, "https://hub.example", []).endswith('\n\nrows = load_dataset("alice/tides")')
