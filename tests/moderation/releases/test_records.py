"""The tag of a release and its signed manifest, which stay as they are."""

import copy
import random
from pathlib import Path

import pytest

from hub.common.errors import Conflict, Forbidden
from hub.repos.places import pair
from hub.repos.refs import create_branch, create_tag, delete_tag
from moderation import signing
from moderation.models import Release
from moderation.releasing import manifests
from moderation.releasing.releases import (
    propose_release,
)
from tests.moderation.scenes import Workshop, bring, reader

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_tag_of_a_release_is_the_gates_alone(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    with pytest.raises(Forbidden):
        delete_tag(repo=repo, by=releasable.owner, name="v1.0.0")
    for name in ("v2.0.0", "v-mine"):
        with pytest.raises(Forbidden, match="propose a release"):
            create_tag(repo=repo, by=releasable.owner, name=name, start=repo.head)
    with pytest.raises(Forbidden, match="name of a release"):
        create_branch(repo=repo, by=releasable.owner, name="v1.0.0", start=repo.head)
    create_tag(repo=repo, by=releasable.owner, name="mine", start=repo.head)
    create_branch(repo=repo, by=releasable.owner, name="versions", start=repo.head)
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") == published.commit


def test_a_release_does_not_change_when_main_goes_on(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    bring(repo, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Later\n"})
    assert reader(repo).resolve("v1.0.0") == reader(repo).resolve("main") == published.commit
    assert reader(repo, releasable.owner).resolve("main") != published.commit
    with pytest.raises(Conflict, match="exists already"):
        propose_release(repo=repo, by=releasable.owner, version="1.0.0")


def test_the_signature_speaks_of_every_byte_of_the_manifest(published: Release) -> None:
    assert signing.is_signed(manifests.canonical(published.manifest), published.signature)
    data = bytearray(manifests.canonical(published.manifest))
    for place in random.Random(3).sample(range(len(data)), 40):
        spoilt = bytearray(data)
        spoilt[place] ^= 1
        assert not signing.is_signed(bytes(spoilt), published.signature)


def test_approvals_in_the_manifest_are_bound_to_its_digest(published: Release) -> None:
    assert [row["by"] for row in published.manifest["approvals"]] == ["bob", "dora"]
    assert {row["digest"] for row in published.manifest["approvals"]} == {published.digest}
    assert manifests.digest(manifests.approved_part(published.manifest)) == published.digest
    spoilt = copy.deepcopy(published.manifest)
    spoilt["files"]["model.safetensors"]["sha256"] = "0" * 64
    assert manifests.digest(manifests.approved_part(spoilt)) != published.digest


def test_a_signature_names_its_algorithm_and_whole_fields(published: Release) -> None:
    data = manifests.canonical(published.manifest)
    for change in ({"algorithm": "none"}, {"signature": ""}, {"public_key": "AAAA"}, {"signature": "é"}):
        assert not signing.is_signed(data, {**published.signature, **change})
    assert not signing.is_signed(data, {})


def test_the_signing_key_is_readable_by_its_owner_only(published: Release, data_dir: Path) -> None:
    assert (data_dir / "signing_key").stat().st_mode & 0o777 == 0o600
