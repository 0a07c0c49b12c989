"""Lists: search, filters, order, pages, and what they cost the database."""

import pytest

pytestmark = pytest.mark.django_db


@pytest.fixture
def many(alice, organization):
    """Thirty public datasets without files."""
    from hub.repos.models import Repo

    repos = [
        Repo(type="dataset", name=f"letters-{number:02}", owner_user=alice.user, likes=number, tags=["letters"])
        for number in range(15)
    ]
    repos += [Repo(type="dataset", name=f"logs-{number:02}", owner_organization=organization) for number in range(15)]
    return Repo.objects.bulk_create(repos)


def titles(page):
    return [repo.full_name for repo in page.context["page"].object_list]


def test_a_list_page_costs_the_same_however_long_it_is(many, browser_of, alice, django_assert_num_queries):
    with django_assert_num_queries(2):  # count, repositories with owners
        browser_of(None).get("/datasets")
    browser = browser_of(alice)
    with django_assert_num_queries(5):  # session, person, count, repositories with owners, bell
        browser.get("/datasets")


def test_the_search_costs_one_query_for_each_kind(many, browser_of, django_assert_num_queries):
    with django_assert_num_queries(5):  # models, datasets, people, organizations, discussions
        browser_of(None).get("/search?q=letters")


def test_the_files_of_a_folder_cost_the_same_however_many_they_are(
    alice, tides, browser_of, commit_as, django_assert_num_queries
):
    files = {f"more/{number}.txt": b"x\n" for number in range(60)}
    commit_as(alice, tides, files)
    address = f"{tides.path}/tree/main/more"
    with django_assert_num_queries(6):  # name, repository, collaborators, what is held back, last changes, open counts
        browser_of(None).get(address)


def test_the_profile_lists_in_few_queries(many, browser_of, django_assert_num_queries):
    with django_assert_num_queries(7):  # name, follows, types, collections, count, repositories, organizations
        browser_of(None).get("/alice?tab=dataset")


def test_words_find_owner_name_and_description(many, tides, browser_of):
    browser = browser_of(None)
    assert titles(browser.get("/datasets?q=alice/letters-03")) == ["alice/letters-03"]
    assert titles(browser.get("/datasets?q=low+water")) == ["alice/tides"]
    assert len(titles(browser.get("/datasets?q=tidewatch"))) == 15
    assert titles(browser.get("/datasets?q=%25")) == []


def test_tags_match_whole_words_only(many, browser_of):
    assert len(titles(browser_of(None).get("/datasets?tag=letters"))) == 15
    assert titles(browser_of(None).get("/datasets?tag=letter")) == []


def test_what_a_card_says_can_be_filtered_by(tides, browser_of):
    browser = browser_of(None)
    assert titles(browser.get("/datasets?tag=cc-by-4.0")) == ["alice/tides"]
    assert titles(browser.get("/datasets?tag=mit")) == []
    assert 'href="/datasets?tag=cc-by-4.0"' in browser.get(tides.path).content.decode()


def test_order_and_page_stand_in_the_address(many, browser_of):
    browser = browser_of(None)
    assert titles(browser.get("/datasets?sort=likes"))[0] == "alice/letters-14"
    first, second = titles(browser.get("/datasets?sort=name")), titles(browser.get("/datasets?sort=name&page=2"))
    assert len(first) == 24 and len(second) == 6 and not set(first) & set(second)
    assert 'href="?sort=name&amp;page=2"' in browser.get("/datasets?sort=name").content.decode()


@pytest.mark.parametrize(
    "query", ["page=0", "page=999999", "page=x", "sort=nonsense", "q=" + "x" * 5000, "tag=%00", "q=%00"]
)
def test_nonsense_in_the_address_gives_a_page(many, browser_of, query):
    assert browser_of(None).get(f"/datasets?{query}").status_code == 200


def test_the_short_list_under_the_search_box_is_only_a_list(tides, browser_of):
    answer = browser_of(None).get("/search?q=tid", headers={"HX-Request": "true"})
    assert "alice/tides" in answer.content.decode() and "<html" not in answer.content.decode()


def test_a_disabled_repository_is_in_no_list(tides, browser_of, alice):
    type(tides).objects.filter(pk=tides.pk).update(is_disabled=True, disabled_reason="Stolen data.")
    assert "alice/tides" not in browser_of(None).get("/datasets").content.decode()
    refused = browser_of(None).get(tides.path)
    assert refused.status_code == 403 and "offline: Stolen data." in refused.content.decode()
    assert "Stolen data." in browser_of(alice).get(tides.path).content.decode()


def test_the_desk_shows_what_waits_for_me(tides, proposal, browser_of, alice, charlie):
    mine = browser_of(alice).get("/").content.decode()
    assert "Add Cork" in mine.split("What waits for you")[1].split("Your proposals")[0]
    theirs = browser_of(charlie).get("/").content.decode()
    assert "Add Cork" in theirs.split("Your proposals")[1].split("Your repositories")[0]
