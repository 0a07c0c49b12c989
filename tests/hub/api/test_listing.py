"""Lists of repositories, people and likes through the stock client, and what they cost."""

import base64

import pytest
from django.db import connection
from django.test import Client
from huggingface_hub.errors import HfHubHTTPError

from hub.repos.models import Repo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]


@pytest.fixture
def repos(alice, bob, organization):
    """Rows alone: lists read nothing else."""

    def make(owner, name, **more):
        holder = {"owner_organization": owner} if owner is organization else {"owner_user": owner.user}
        return Repo.objects.create(name=name, **holder, **{"type": "model", **more})

    return [
        make(alice, "tiny-poet", tags=["text-generation", "de", "license:mit"], likes=3, downloads=10),
        make(alice, "diary", is_private=True, tags=["de"]),
        make(bob, "poem-scorer", tags=["text-classification"], likes=5, card={"pipeline_tag": "text-classification"}),
        make(organization, "tide-model", description="Forecasts for poets", downloads=50),
        make(organization, "tides", type="dataset", tags=["language:en", "task_categories:text-generation"]),
    ]


def names(items):
    return [item.id for item in items]


@pytest.mark.covers("HfApi.list_spaces")
def test_everybody_sees_what_is_public_and_members_what_is_theirs(client_of, repos, alice, charlie):
    public = ["bob/poem-scorer", "alice/tiny-poet", "tidewatch/tide-model"]
    assert names(client_of(None).list_models()) == public
    assert names(client_of(charlie).list_models()) == public
    assert set(names(client_of(alice).list_models())) == {*public, "alice/diary"}
    assert names(client_of(None).list_datasets()) == ["tidewatch/tides"]
    assert names(client_of(None).list_spaces()) == []


@pytest.mark.covers("HfApi.list_models")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"author": "ALICE"}, ["alice/tiny-poet"]),
        ({"author": "tidewatch"}, ["tidewatch/tide-model"]),
        ({"author": "nobody"}, []),
        ({"search": "poe"}, ["bob/poem-scorer", "alice/tiny-poet", "tidewatch/tide-model"]),
        ({"search": "alice/tiny"}, ["alice/tiny-poet"]),
        ({"filter": "de"}, ["alice/tiny-poet"]),
        ({"filter": ["de", "license:mit"]}, ["alice/tiny-poet"]),
        ({"filter": "d"}, []),
        ({"filter": 'de"'}, []),
        ({"pipeline_tag": "text-classification"}, ["bob/poem-scorer"]),
        ({"sort": "downloads"}, ["tidewatch/tide-model", "alice/tiny-poet", "bob/poem-scorer"]),
        ({"sort": "created_at"}, ["tidewatch/tide-model", "bob/poem-scorer", "alice/tiny-poet"]),
        ({"sort": "likes", "limit": 1}, ["bob/poem-scorer"]),
        ({"gated": True}, []),
    ],
)
def test_models_are_filtered_and_sorted(client_of, repos, filters, expected):
    assert names(client_of(None).list_models(**filters)) == expected


def test_a_filter_that_cannot_be_applied_is_refused(client_of, repos):
    with pytest.raises(HfHubHTTPError) as refusal:
        list(client_of(None).list_models(num_parameters="min:6B"))
    assert refusal.value.response.status_code == 501


@pytest.mark.covers("HfApi.list_datasets")
def test_datasets_are_filtered_by_the_clients_own_words(client_of, repos):
    client = client_of(None)
    assert names(client.list_datasets(task_categories="text-generation", language="en")) == ["tidewatch/tides"]
    assert names(client.list_datasets(language="fr")) == []


def test_a_long_list_comes_in_pages_that_keep_their_filters(client_of, alice, monkeypatch):
    from hub.api.hf import listing

    monkeypatch.setattr(listing, "PAGE", 3)
    for number in range(8):
        Repo.objects.create(type="model", owner_user=alice.user, name=f"m{number}", likes=number // 3, tags=["x"])
    Repo.objects.create(type="model", owner_user=alice.user, name="other", likes=1)
    found = names(client_of(None).list_models(filter="x", sort="likes"))
    assert sorted(found) == [f"alice/m{number}" for number in range(8)]
    assert [name[-1] for name in found] == list("76543210")


def test_only_what_was_asked_for_is_sent(client_of, repos):
    (item,) = client_of(None).list_models(author="bob", expand=["likes", "pipeline_tag"])
    assert (item.likes, item.pipeline_tag, item.downloads) == (5, "text-classification", None)
    with pytest.raises(HfHubHTTPError, match="cannot be expanded"):
        list(client_of(None).list_models(expand=["nonsense"]))


def test_a_page_of_a_list_costs_few_queries(repos, alice, organization, django_assert_num_queries):
    for number in range(30):
        Repo.objects.create(type="model", owner_organization=organization, name=f"m{number}", tags=["x"])
    with django_assert_num_queries(1):  # repositories with their owners
        assert len(Client().get("/api/models?limit=20&full=false").json()) == 20
    header = {"HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    Client().get("/api/models", **header)  # remembers when the token was used
    with django_assert_num_queries(2):  # token, repositories with their owners
        assert len(Client().get("/api/models?limit=20", **header).json()) == 20
    with django_assert_num_queries(3):  # token, name of the author, repositories
        assert len(Client().get("/api/models?limit=20&author=tidewatch&filter=x", **header).json()) == 20


def test_a_list_of_discussions_costs_few_queries(client_of, alice, django_assert_num_queries):
    client = client_of(alice)
    client.create_repo("alice/poems")
    for number in range(12):
        client.create_discussion("alice/poems", f"Question {number}")
    with django_assert_num_queries(5):  # name, repository, discussions with their authors, count, closed ones
        answer = Client().get("/api/models/alice/poems/discussions").json()
    assert len(answer["discussions"]) == 12


def test_the_front_of_a_repository_costs_few_queries(client_of, alice, django_assert_num_queries):
    client = client_of(alice)
    client.create_repo("alice/poems")
    with django_assert_num_queries(3):  # name, repository, bytes it holds
        assert Client().get("/api/models/alice/poems").status_code == 200
    with django_assert_num_queries(2):  # name, repository
        assert Client().head("/alice/poems/resolve/main/.gitattributes").status_code == 200


@pytest.mark.covers("HfApi.unlike", "HfApi.list_liked_repos", "HfApi.list_repo_likers")
def test_likes_are_counted_once_and_taken_back(client_of, hub_url, alice, charlie):
    import requests

    client_of(alice).create_repo("alice/poems")
    header = {"Authorization": f"Bearer {charlie.token}"}
    for _ in range(2):
        requests.post(f"{hub_url}/api/models/alice/poems/like", headers=header, timeout=10).raise_for_status()
    client = client_of(charlie)
    assert client.repo_info("alice/poems").likes == 1
    assert [user.username for user in client.list_repo_likers("alice/poems")] == ["charlie"]
    assert client.list_liked_repos("charlie").models == ["alice/poems"]
    client.unlike("alice/poems")
    assert client.repo_info("alice/poems").likes == 0


@pytest.mark.covers("HfApi.get_user_overview", "HfApi.get_organization_overview", "HfApi.list_organization_members")
def test_people_and_organizations_have_an_overview(client_of, repos, alice):
    client = client_of(None)
    person = client.get_user_overview("alice")
    assert (person.username, person.fullname, person.num_models, person.num_datasets) == ("alice", "Alice", 1, 0)
    assert [org.name for org in person.orgs] == ["tidewatch"]
    assert client_of(alice).get_user_overview("alice").num_models == 2
    organization = client.get_organization_overview("tidewatch")
    assert (organization.fullname, organization.num_users, organization.num_datasets) == ("Tide Watch", 2, 1)
    assert [user.username for user in client.list_organization_members("tidewatch")] == ["alice", "bob"]
    with pytest.raises(HfHubHTTPError) as refusal:
        client.get_user_overview("nobody")
    assert refusal.value.response.status_code == 404


@pytest.mark.covers("HfApi.list_user_repos")
def test_one_sees_the_storage_of_ones_own(client_of, alice, organization):
    client = client_of(alice)
    client.create_repo("alice/poems", private=True)
    client.upload_file(path_or_fileobj=b"x" * 1000, path_in_repo="a.txt", repo_id="alice/poems")
    (row,) = client.list_user_repos()
    assert (row.id, row.type, row.visibility) == ("alice/poems", "model", "private")
    assert row.storage >= 1000
    assert list(client.list_user_repos("tidewatch")) == []


@pytest.mark.parametrize("cursor", ["[Infinity, 1]", "[1, Infinity]", "[NaN, 1]", "[" * 20_000, "[1]", "null"])
def test_a_cursor_that_is_none_is_refused(client, repos, cursor):
    answer = client.get("/api/models", {"cursor": base64.urlsafe_b64encode(cursor.encode()).decode()})
    assert answer.status_code == 400


def test_a_fine_grained_token_lists_only_what_it_names(client, repos, alice):
    """Each private repository refused the token, and every list named them all to it."""
    from hub.accounts.tokens import create_token

    Repo.objects.create(type="model", name="draft", owner_user=alice.user, is_private=True)
    _, token = create_token(user=alice.user, name="ci", role="fineGrained", scopes={"models/alice/draft": "read"})
    header = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    assert client.get("/api/models/alice/diary", **header).status_code == 404
    for address in ("/api/models", "/api/v1/repos", "/models", "/api/settings/repositories"):
        page = client.get(address, **header).content.decode()
        assert "diary" not in page and "draft" in page, address


def test_what_moderation_disabled_is_in_nobodys_likes(client, repos, alice, charlie):
    from hub.community.likes import set_like

    for repo in (repos[0], repos[2]):
        set_like(repo=repo, by=charlie.user, likes=True)
    Repo.objects.filter(pk=repos[0].pk).update(is_disabled=True)
    liked = [row["repo"]["name"] for row in client.get("/api/users/charlie/likes").json()]
    assert liked == ["bob/poem-scorer"]


def test_numbers_of_a_person_count_what_the_reader_sees(client, repos, alice, charlie):
    from hub.community.discussions import create_discussion
    from hub.community.likes import set_like

    for repo in repos[:2]:  # the second one is private
        set_like(repo=repo, by=alice.user, likes=True)
        create_discussion(repo=repo, by=alice.user, title="A question")

    def count(reader):
        told = client.get("/api/users/alice/overview", HTTP_AUTHORIZATION=f"Bearer {reader.token}").json()
        return told["numLikes"], told["numDiscussions"]

    assert (count(alice), count(charlie)) == ((2, 2), (1, 1))


@pytest.mark.parametrize("field", ["updated_at", "created_at", "likes", "downloads"])
def test_a_list_is_read_in_order_from_an_index(alice, field):
    """100,000 rows were sorted for each page of twenty, for 430 ms."""
    rows = Repo.objects.visible_to(alice.user).filter(type="model").order_by(f"-{field}", "-pk")[:20]
    plan = rows.explain()
    assert "DISTINCT" not in plan and "Unique" not in plan
    if connection.vendor == "sqlite":  # PostgreSQL sorts a table this small
        assert "repo_listing" in plan and "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_a_repository_is_found_by_the_index_of_names(alice):
    """`iexact` reads all repositories of a person on SQLite."""
    from django.test.utils import CaptureQueriesContext

    from hub.repos.find import lookup

    repo = Repo.objects.create(type="model", owner_user=alice.user, name="Tides")
    with CaptureQueriesContext(connection) as queries:
        assert lookup("model", "ALICE/tIDES") == repo
    assert len(queries) == 2 and not any("LIKE" in query["sql"] for query in queries.captured_queries)


def test_somebody_who_is_a_member_twice_sees_a_repository_once(organization, alice, bob):
    repo = Repo.objects.create(type="model", owner_organization=organization, name="once", is_private=True)
    for person in (alice, bob):
        repo.collaborators.create(user=person.user, role="read")
    assert list(Repo.objects.visible_to(alice.user).filter(name="once")) == [repo]
