"""A whole hub with the people of a small commons, as `./manage.py up --no-demo` and operator commands make it.

The weights are tiny and random, so that every station of the line takes seconds; everything else is as on a real hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.training.line import CHOICES, SUITE, as_jsonl, make_tiny_llama

ORGANIZATION = "commons"
BASE = f"{ORGANIZATION}/tiny-base"
TARGET = f"{ORGANIZATION}/tide-assistant"
SUITE_NAME = f"{ORGANIZATION}/core-suite"
CARD = f"""---
license: apache-2.0
language: en
base_model: {BASE}
tags: [tides]
---
# Tide assistant

A small model that answers beginners' questions about tides. Propose better data or a better recipe.
"""
TEXTS = [{"text": f"When is tide {tide}? Tide {tide} is at {tide} o'clock."} for tide in range(1, 24, 4)]
ROWS = 900  # of the data that is brought; three passes over them train for longer than a page waits to look again
DATA_CARD = """---
license: cc0-1.0
language: en
---
# Questions about tides

Questions of pupils, answered at the harbour. Collected by hand; nobody's name is in it.
"""
# Name -> full name, role in the organization, flags of the operator's command.
PEOPLE = {
    "ada": ("Ada Lindqvist", "admin", ()),
    "ben": ("Ben Okafor", "write", ()),
    "noor": ("Noor Haddad", "", ("--moderator",)),
    "jun": ("Jun Park", "", ("--moderator",)),
    "sam": ("Sam Stranger", "", ()),
}


@dataclass
class Town:
    """Where the hub is, and how its people sign in."""

    line: Any  # hub.site.demo.line.Line
    folder: Path  # files that people have at home
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.line.address

    def operate(self, *arguments: str) -> None:
        from hub.site.demo.line import operate

        operate(self.line, *arguments)

    def api(self, method: str, path: str, by: str, body: Any = None) -> Any:
        """The REST door, for what a test only needs to be there."""
        from hub.site.demo.people import Person

        return self.line.api(method, path, Person(by, by, ""), body)

    def client(self, name: str) -> Any:
        """The stock client of one of the people."""
        from hub.site.demo.people import Person

        return self.line.client(Person(name, name, ""))


@contextmanager
def open_town(folder: Path) -> Iterator[Town]:
    """Start the hub, make its people and what they own; stop it at the end."""
    from hub.site.demo.line import Line, running_hub

    home = folder / "home"
    home.mkdir()
    line = Line(folder=folder, data_dir=folder / "hub", say=print)
    with running_hub(line):
        town = Town(line, home)
        furnish(town)
        yield town


def furnish(town: Town) -> None:
    for name, (fullname, _, flags) in PEOPLE.items():
        town.passwords[name] = f"{name}-tides-2026"
        town.line.tokens[name] = f"hf_{name}{'x' * 30}"
        credentials = ("--password", town.passwords[name], "--token", town.line.tokens[name])
        town.operate("account", "create", name, "--fullname", fullname, *credentials, *flags)
    roles = [part for name, (_, role, _) in PEOPLE.items() if role for part in ("--member", f"{name}:{role}")]
    town.operate("organization", "create", ORGANIZATION, "--fullname", "Commons", *roles)
    model = make_tiny_llama(town.folder / "tiny-base")
    town.operate("import_folder", str(model), BASE, "--type", "model")
    suite = {"suite.yaml": SUITE.encode(), "choices.jsonl": as_jsonl(CHOICES), "texts.jsonl": as_jsonl(TEXTS)}
    upload(town, SUITE_NAME, "dataset", write_files(town.folder / "suite", suite))
    upload(town, TARGET, "model", write_files(town.folder / "card", {"README.md": CARD.encode()}))


def upload(town: Town, name: str, type: str, folder: Path) -> None:
    """As Ada would with the stock client."""
    ada = town.client("ada")
    ada.create_repo(name, repo_type=type)
    ada.upload_folder(repo_id=name, repo_type=type, folder_path=str(folder))


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def write_tide_data(town: Town) -> Path:
    """What a contributor has on her disk: a card, and enough rows that the training can be watched."""
    rows = [
        {"question": f"When is tide {tide}?", "answer": f"Tide {tide} is at {tide % 24} o'clock."}
        for tide in range(ROWS)
    ]
    return write_files(town.folder / "tides", {"README.md": DATA_CARD.encode(), "train.jsonl": as_jsonl(rows)})
