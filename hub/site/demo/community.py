"""The demo community: real weights, real data by a second person, a suite, and one open proposal that starts to run.

Every step looks first whether it is done, so a start that was interrupted goes on where it stopped."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from hub.accounts.models import Organization, User
from hub.accounts.organizations import create_organization, set_member
from hub.accounts.people import create_user
from hub.common.errors import HubError
from hub.community.contributions import commit
from hub.community.imports import import_folder
from hub.community.models import PullRequest
from hub.repos.find import lookup
from hub.repos.lifecycle import create_repo
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.site.bootstrap.assets import ensure_smollm2
from hub.site.demo.people import ADA, ASSISTANT, BASE, BEN, DATASET, MARIA, ORGANIZATION, PEOPLE, SUITE
from hub.storage.git import AddFile
from training.models import Run
from training.proposals import recipes
from training.proposals.candidates import rebuild
from training.running import runs

STARTERS = settings.BASE_DIR / "training" / "starters"
Say = Callable[[str], None]

ASSISTANT_CARD = """---
license: apache-2.0
language: en
base_model: {organization}/{base}
tags: [tides, demo]
---
# Tide assistant

A small model that answers beginners' questions about tides, harbours and the weather at sea.
It is made here, in the open: propose better data or a better recipe.
"""

RECIPE = """version: 1
base: {organization}/{base}@main
contributions:
  - data: {owner}/{dataset}@main
    format: chat
train:
  method: lora
  rank: 8
  epochs: 1
  seed: 17
evaluate:
  - suite: {organization}/{suite}@main
    margin: 0.1
output: merged
"""

PROPOSAL = """I have collected questions that my pupils ask at the harbour, with answers that we checked together.
This teaches them to the model. The recipe is the small starter, one pass over the data."""


def seed(*, say: Say) -> None:
    """Make what is missing. Raises nothing for what is there already."""
    people = make_people()
    say("Accounts and the organization are there.")
    owner, ada, maria = make_organization(people), people[ADA.name], people[MARIA.name]
    make_dataset(maria)
    say(f"{MARIA.name}/{DATASET}: a dataset of questions and answers.")
    make_suite(owner, ada)
    say(f"{ORGANIZATION}/{SUITE}: an evaluation suite.")
    make_base(owner, ada)
    say(f"{ORGANIZATION}/{BASE}: the base model.")
    assistant = make_assistant(owner, ada)
    pull_request = make_proposal(assistant, maria)
    start(pull_request, ada)
    say(f"{assistant.full_name}: the open proposal {pull_request.discussion.path} is running.")


def make_people() -> dict[str, User]:
    """Accounts with random passwords, written down once for the operator of the demo."""
    path = Path(settings.DATA_DIR) / "demo_accounts.json"
    known = json.loads(path.read_text())["accounts"] if path.exists() else []
    passwords = {account["name"]: account["password"] for account in known}
    people: dict[str, User] = {}
    for person in PEOPLE:
        passwords.setdefault(person.name, "-".join(secrets.token_hex(2) for _ in range(3)))
    accounts = [{"name": p.name, "password": passwords[p.name], "about": p.about} for p in PEOPLE]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"accounts": accounts}, file, indent=1)
    for person in PEOPLE:
        user = User.objects.filter(username=person.name).first() or create_user(
            username=person.name,
            fullname=person.fullname,
            password=passwords[person.name],
            is_moderator=person.is_moderator,
            is_staff=person.is_staff,
        )
        people[person.name] = user
    return people


def make_organization(people: dict[str, User]) -> Organization:
    organization = Organization.objects.filter(name=ORGANIZATION).first()
    if organization is None:
        organization = create_organization(name=ORGANIZATION, fullname="Commons", created_by=people[ADA.name])
    set_member(organization=organization, user=people[BEN.name], role="write")
    return organization


def find_or_make(type: str, owner: User | Organization, name: str, by: User, description: str) -> Repo:
    return lookup(type, f"{owner.name}/{name}") or create_repo(
        type=type, name=name, by=by, owner=owner, is_private=False, description=description
    )


def holds(repo: Repo, path: str) -> bool:
    members = pair(repo).members
    head = members.read_ref("refs/heads/main")
    return head is not None and members.entry(head, path) is not None


def make_dataset(maria: User) -> None:
    repo = find_or_make("dataset", maria, DATASET, maria, "Questions about tides, harbours and weather, answered")
    if not holds(repo, "train.jsonl"):
        import_folder(
            folder=STARTERS / "datasets" / DATASET, repo=repo, by=maria, title="Questions of two school years"
        )


def make_suite(owner: Organization, ada: User) -> None:
    repo = find_or_make("dataset", owner, SUITE, ada, "A small evaluation suite for first experiments")
    if not holds(repo, "suite.yaml"):
        import_folder(folder=STARTERS / "suites" / "core", repo=repo, by=ada, title="First version of the suite")


def make_base(owner: Organization, ada: User) -> None:
    repo = find_or_make("model", owner, BASE, ada, "SmolLM2 135M Instruct, a small chat model to start from")
    if not holds(repo, "config.json"):
        import_folder(folder=ensure_smollm2(), repo=repo, by=ada, title="Import SmolLM2-135M-Instruct")


def make_assistant(owner: Organization, ada: User) -> Repo:
    repo = find_or_make("model", owner, ASSISTANT, ada, "Answers beginners' questions about tides")
    if not holds(repo, "README.md"):
        card = ASSISTANT_CARD.format(organization=ORGANIZATION, base=BASE)
        operations = [AddFile("README.md", card.encode())]
        commit(repo=repo, by=ada, revision=None, operations=operations, title="Describe the assistant", door="hub")
    return repo


def make_proposal(assistant: Repo, maria: User) -> PullRequest:
    existing = PullRequest.objects.filter(discussion__repo=assistant, discussion__author=maria).first()
    if existing is not None:
        return existing
    text = RECIPE.format(organization=ORGANIZATION, base=BASE, owner=MARIA.name, dataset=DATASET, suite=SUITE)
    title = "Teach it the tide questions of my class"
    made = recipes.propose(repo=assistant, by=maria, recipe_text=text, title=title, description=PROPOSAL, door="hub")
    assert made.pull_request is not None
    return made.pull_request


def start(pull_request: PullRequest, ada: User) -> None:
    """Press "run" as the maintainer: the candidate is built here, so that there is a run to press it for."""
    if not Run.objects.filter(pull_request=pull_request).exists():
        rebuild(pull_request)
    run = Run.objects.filter(pull_request=pull_request, is_superseded=False).last()
    if run is None:
        raise HubError("The demo proposal could not be prepared; see its checks.")
    if run.approved_by is None and run.state in (Run.State.HELD, Run.State.PREPARING):
        runs.start_run(run=run, by=ada)
