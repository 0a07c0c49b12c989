"""One proposal by the doors that people use: the stock client and its program, git, REST. (The wizard: test_wizard.py.)"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.community.models import PullRequest
from tests.training.line import Line, checks_of, run_waiting_jobs, summary_of
from training.engine.recipe import parse_recipe
from training.models import Run


def give_recipe(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def by_program(hub_url: str, person: Any, recipe: Path) -> None:
    """hf upload alice/tides ./recipe.yaml --create-pr"""
    program = Path(sys.executable).with_name("hf")
    environment = os.environ | {"HF_ENDPOINT": hub_url, "HF_TOKEN": person.token, "HF_HOME": str(recipe.parent / "hf")}
    command = [str(program), "upload", "alice/tides", str(recipe), "--create-pr", "--commit-message", "Learn the tides"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def by_client(hub_url: str, person: Any, recipe: Path) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    operation = CommitOperationAdd("recipe.yaml", recipe)
    made = HfApi(hub_url, person.token).create_commit(
        "alice/tides", [operation], commit_message="Learn the tides", create_pr=True
    )
    assert made.pr_num == 1


def by_git(hub_url: str, person: Any, recipe: Path) -> None:
    """git push origin HEAD:refs/for/main"""
    address = hub_url.replace("//", f"//{person.name}:{person.token}@", 1) + "/alice/tides"
    folder = recipe.parent / "clone"
    environment = {"PATH": os.environ["PATH"], "HOME": str(recipe.parent), "GIT_TERMINAL_PROMPT": "0"}
    names = ("-c", "user.name=Somebody", "-c", "user.email=s@example.org")
    for command in (
        ["git", "clone", "-q", address, str(folder)],
        ["cp", str(recipe), str(folder)],
        ["git", "-C", str(folder), "add", "recipe.yaml"],
        ["git", "-C", str(folder), *names, "commit", "-qm", "Learn the tides"],
        ["git", "-C", str(folder), "push", "-q", "origin", "HEAD:refs/for/main"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def by_rest(hub_url: str, person: Any, recipe: Path) -> None:
    import requests

    body = {"repo": "alice/tides", "recipe": recipe.read_text(), "title": "Learn the tides"}
    headers = {"Authorization": f"Bearer {person.token}"}
    answer = requests.post(f"{hub_url}/api/v1/proposals", json=body, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("door", [by_program, by_client, by_git, by_rest])
def test_a_recipe_becomes_the_same_proposal_by_every_door(
    line: Line, hub_url: str, charlie: Any, tmp_path: Path, door: Callable[[str, Any, Path], None]
) -> None:
    """As far as its inputs are pinned; from there on nothing knows the door, and one of the four goes on."""
    text = line.recipe()
    door(hub_url, charlie, give_recipe(tmp_path, text))
    pull_request = PullRequest.objects.get()
    assert (pull_request.discussion.author, pull_request.discussion.title) == (charlie.user, "Learn the tides")
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    assert (run.state, run.proposed_by, run.pull_request) == (Run.State.PREPARING, charlie.user, pull_request)
    assert (checks_of(pull_request)["prepare"], checks_of(pull_request)["train"]) == ("running", "waiting")
    from training.engine.lock import parse_lock
    from training.proposals.parents import read_inputs_lock

    proposed, pinned = parse_recipe(text), parse_recipe(parse_lock(read_inputs_lock(run)).recipe)
    assert [row.repo for row in pinned.contributions] == [row.repo for row in proposed.contributions]
    assert (pinned.base, pinned.train, pinned.evaluate) == (proposed.base, proposed.train, proposed.evaluate)
    if door is by_program:
        run_waiting_jobs(kinds=("training.prepare",))
        run.refresh_from_db()
        assert (checks_of(pull_request)["prepare"], checks_of(pull_request)["train"]) == ("passed", "waiting")
        assert run.state == Run.State.HELD


@pytest.mark.parametrize("door", [by_program, by_client, by_git])
def test_a_typo_that_a_door_cannot_refuse_stands_in_the_check(
    line: Line, hub_url: str, charlie: Any, tmp_path: Path, door: Callable[[str, Any, Path], None]
) -> None:
    door(hub_url, charlie, give_recipe(tmp_path, line.recipe().replace("method: full", "method: ful")))
    run_waiting_jobs(kinds=("training.rebuild",))
    sentence = summary_of(PullRequest.objects.get(), "prepare")
    assert sentence.startswith("recipe.yaml:7:17: 'ful' is not one of pretrain, full, lora")
