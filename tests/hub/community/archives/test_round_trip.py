"""A repository goes as one file and comes back whole, on this hub or another."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hub.common.errors import Forbidden
from tests.hub.community.archives.packed import BYTES, export, take, talks_of, unpack
from tests.hub.scenes import clear, members_head, withhold

pytestmark = pytest.mark.django_db


def test_what_comes_back_is_what_went(tides: Any, alice: Any, bob: Any) -> None:
    from hub.community.contributions import reader_for
    from hub.repos.places import pair, store

    again = take(export(tides), bob)
    shown = lambda repo: {r: o for r, o in pair(repo).members.refs().items() if not r.startswith("refs/convert/")}  # noqa: E731
    assert shown(again) == shown(tides) and again.full_name == "bob/again"
    reader = reader_for(again, bob.user)
    entry = reader.entry(reader.resolve(), "big.bin")
    assert b"".join(reader.read_entry(reader.resolve(), entry)) == BYTES == b"".join(store().read(entry.lfs.sha256))
    assert talks_of(again) == talks_of(tides) != []
    assert [row.number for row in again.discussions.order_by("number")] == [1, 3, 4]  # the private one stayed
    assert (again.next_number, again.head) == (5, members_head(tides))
    assert not again.discussions.filter(author__isnull=False).exists()  # a name in an archive is nobody's account
    assert export(again) and talks_of(take(export(again), alice, "third")) == talks_of(tides)


def run_documented_commands(archive: bytes, folder: Path) -> None:
    """What docs/portability.md says to type, in an empty home."""
    (folder / "tides.tar").write_bytes(archive)
    block = (Path(__file__).parents[4] / "docs" / "portability.md").read_text().split("```sh\n")[1].split("```")[0]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["sh", "-e", "-c", block], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_plain_tools_read_it(tides: Any, tmp_path: Any) -> None:
    archive = export(tides)
    run_documented_commands(archive, tmp_path)
    assert (tmp_path / "tides" / "big.bin").read_bytes() == BYTES
    files = unpack(archive)
    assert (
        hashlib.sha256(files[f"files/{hashlib.sha256(BYTES).hexdigest()}"]).digest() == hashlib.sha256(BYTES).digest()
    )
    for row in json.loads(files["manifest.json"])["entries"]:
        assert hashlib.sha256(files[row["name"]]).hexdigest() == row["sha256"]
    told = files["records.jsonl"].decode()
    assert "How **low**?" in told
    for secret in ("phone number", "do not tell", "@example.org", "hf_"):
        assert secret not in told, secret


def test_an_open_proposal_goes_on_here(tides: Any, bob: Any) -> None:
    from hub.community.models import PullRequest
    from hub.community.pull_requests import merge

    again = take(export(tides), bob)
    clear(again)
    merge(pull_request=PullRequest.objects.get(discussion__repo=again, discussion__number=4), by=bob.user)
    assert again.discussions.get(number=4).status == "merged"


def test_weights_that_wait_for_their_release_go_with_an_operator_only(tides: Any, alice: Any) -> None:
    from hub.accounts.people import hub_account
    from hub.community.archives.writing import export_repo
    from hub.repos.lifecycle import update_settings

    tides.contents.filter(path="big.bin").update(added_by=hub_account())
    update_settings(repo=tides, by=alice.user, is_private=True)
    with pytest.raises(Forbidden, match="wait for their release"):
        export_repo(tides)
    assert b"".join(export_repo(tides, is_operator=True).pieces)


def test_what_a_purge_told_its_pull_requests_goes_and_comes_too(tides: Any, alice: Any, bob: Any) -> None:
    from hub.repos.purging import purge_files

    purge_files(repo=tides, by=alice.user, paths=["tides.csv"])
    tides.refresh_from_db()
    again = take(export(tides), bob)
    told = again.discussions.get(number=4).events.filter(kind="comment").last()
    assert "Files were purged" in told.data["text"] and "purge" not in told.data


def test_what_is_withheld_goes_with_its_admin_only_and_private_stays_private(tides: Any, alice: Any, bob: Any) -> None:
    from hub.repos.lifecycle import update_settings

    withhold(tides, "big.bin")
    update_settings(repo=tides, by=alice.user, is_private=True)
    again = take(export(tides), bob)
    assert again.is_private and not again.contents.filter(clearance="withheld").exists()
    assert not take(export(tides), bob, "open", is_private=False).is_private


def test_operators_and_owners_have_a_door_for_both(
    tides: Any, alice: Any, bob: Any, tmp_path: Any, capsys: Any
) -> None:
    from django.test import Client

    from hub.repos.models import Repo

    to = tmp_path / "tides.tar"
    call_command("export_repository", "alice/tides", "--type", "dataset", "--to", str(to))
    written = to.read_bytes()
    with pytest.raises(CommandError, match="add --force"):
        call_command("export_repository", "alice/tides", "--type", "dataset", "--to", str(to))
    call_command("export_repository", "alice/tides", "--type", "dataset", "--to", str(to), "--force")
    assert len(to.read_bytes()) == len(written)
    (tmp_path / "recipe.yaml").write_text("a: 1")
    with pytest.raises(CommandError, match="This is no archive of a repository"):
        call_command("import_repository", str(tmp_path / "recipe.yaml"), "bob/recipe")
    call_command("import_repository", str(to), "bob/tides")
    assert "bob/tides is there, a dataset, with 3 discussions" in capsys.readouterr().out
    client, headers = Client(), {"HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    answer = client.get("/api/v1/repos/datasets/alice/tides/export", **headers)
    data = b"".join(answer.streaming_content)
    assert (answer.status_code, int(answer["Content-Length"])) == (200, len(data))
    assert (
        client.get("/api/v1/repos/datasets/alice/tides/export", HTTP_AUTHORIZATION=f"Bearer {bob.token}").status_code
        == 403
    )
    made = client.post("/api/v1/imports?name=alice/back&is_private=true", data, "application/x-tar", **headers)
    assert (made.status_code, made.json()["name"], made.json()["is_private"]) == (201, "alice/back", True)
    refused = client.post("/api/v1/imports?name=alice/no", data[:5000], "application/x-tar", **headers)
    assert refused.status_code == 400 and "ends early" in refused.json()["error"]
    assert Repo.everything.count() == 3
    client.force_login(alice.user)
    for address in (
        "/datasets/alice/back/discussions/1",
        "/datasets/alice/back/discussions?status=closed",
        "/api/datasets/alice/back/discussions",
    ):
        assert b"charlie (imported)" in client.get(address).content, address
