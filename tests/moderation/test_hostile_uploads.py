"""Hostile files come by the stock client: they reach no stranger, and who may see them reads which rule refused each."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from django.test import Client
from huggingface_hub import CommitOperationAdd
from safetensors.numpy import save as save_safetensors

from moderation.models import Screening
from moderation.screens.findings import Screen
from moderation.templatetags.moderation_format import spaced
from tests.moderation.scenes import bring, content_at, make_repo, run_jobs
from tests.moderation.screens.hostile import BENIGN, HOSTILE
from tests.people import make_organization

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("without_xet"),
    pytest.mark.filterwarnings("ignore:It seems that you are about to commit a data file"),
]


@pytest.fixture
def upload(alice: Any, bob: Any, client_of: Callable[..., Any]) -> Callable[..., str]:
    """`upload("traps", files)`: Bob, a member of Tide Watch, brings them in one commit; returns its id."""
    make_organization(admin=alice, writers=(bob,))

    def bring(name: str, files: dict[str, bytes]) -> str:
        client = client_of(bob)
        client.create_repo(f"tidewatch/{name}")
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        made = client.create_commit(f"tidewatch/{name}", operations, commit_message="Bring files")
        run_jobs("moderation.screen_data")
        return str(made.oid)

    return bring


def headers_of(person: Any) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {person.token}"} if person else {}


def statuses(address: str, *people: Any) -> set[int]:
    return {Client().get(address, **headers_of(person)).status_code for person in people}


@pytest.mark.slow
def test_hostile_uploads_reach_no_stranger_and_their_page_names_the_rule(
    bob: Any, charlie: Any, upload: Callable[..., str]
) -> None:
    commit = upload("traps", {name: make() for name, (make, _) in HOSTILE.items()})
    member = Client()
    member.force_login(bob.user)
    problems = []
    for name, (_, rule) in HOSTILE.items():
        seen = statuses(f"/tidewatch/traps/resolve/main/{name}", charlie, None)
        seen |= statuses(f"/tidewatch/traps/resolve/{commit}/{name}", charlie)
        if not seen <= {403, 404}:
            problems.append(f"{name}: {seen}")
        shown = member.get(f"/tidewatch/traps/blob/main/{name}")
        if shown.status_code != 200 or f", {spaced(rule)}" not in shown.content.decode():
            problems.append(f"{name}: its page ({shown.status_code}) does not name {rule}")
    assert not problems, "\n".join(problems)


def test_honest_uploads_that_look_like_them_are_public(charlie: Any, upload: Callable[..., str]) -> None:
    files = {name: make() for name, make in BENIGN.items()}
    upload("harbour", files)
    for name, data in files.items():
        answer = Client().get(f"/tidewatch/harbour/resolve/main/{name}", follow=True, **headers_of(charlie))
        assert answer.status_code == 200, (name, answer.content)
        assert answer.getvalue() == data, name


def test_a_configuration_that_disagrees_with_the_weights_is_held_whichever_comes_first(alice: Any) -> None:
    small = save_safetensors({"model.embed_tokens.weight": np.zeros((8, 4), np.float32)})
    honest, lie = b'{"vocab_size": 8, "hidden_size": 4}', b'{"vocab_size": 8, "hidden_size": 400000}'
    fine = make_repo("model", "fine", alice.user, {"config.json": honest, "model.safetensors": small})
    run_jobs("moderation.screen_data")
    assert {content_at(fine, path).clearance for path in ("config.json", "model.safetensors")} == {"cleared"}
    late = bring(fine, alice.user, {"config.json": lie})
    assert late and "disagree" in content_at(fine, "config.json").reason
    first = make_repo("model", "first", alice.user, {"sub/config.json": lie})
    bring(first, alice.user, {"sub/model.safetensors": small})
    run_jobs("moderation.screen_data")
    weights = content_at(first, "sub/model.safetensors")
    assert weights.clearance == "pending" and "the configuration says 8x400000" in weights.reason


def test_a_screening_records_the_version_and_source_of_its_screens(alice: Any) -> None:
    repo = make_repo("dataset", "tides", alice.user, {"notes.md": b"The tide turns.\n"})
    run_jobs("moderation.screen_data")
    for screening in Screening.objects.filter(repo=repo):
        made_by = screening.report["screens"]
        assert set(made_by) == set(get_args(Screen))
        assert all(screen["version"] >= 1 and screen["source"] for screen in made_by.values())
    assert made_by["unsafe_files"]["packages"]["modelaudit-picklescan"][:1].isdigit()
