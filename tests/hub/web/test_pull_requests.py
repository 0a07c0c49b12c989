"""The page of a proposal: what blocks it, the checks, reviews, the merge, and what moves by itself."""

import re

import pytest

from tests.people import make_person

pytestmark = pytest.mark.django_db


def page_of(browser, proposal, suffix=""):
    answer = browser.get(proposal.discussion.path + suffix)
    assert answer.status_code == 200
    return answer.content.decode()


def verdict_in(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.split('class="verdict__title">')[1].split("</section>")[0]))


def test_a_maintainer_sees_that_it_can_be_merged_and_merges(proposal, alice, tides, browser_of):
    from hub.repos.places import pair

    browser = browser_of(alice)
    assert "Ready to merge" in verdict_in(page_of(browser, proposal))
    answer = browser.post(f"{proposal.discussion.path}/merge")
    assert answer.headers["Location"] == proposal.discussion.path
    page = page_of(browser, proposal)
    assert "Merged into main by alice" in verdict_in(page)
    assert b"Cork" in pair(tides).members.read(pair(tides).members.resolve("main"), "data/tides.csv")
    assert "Add Cork" in page_of(browser_of(None), proposal, "/commits")  # its parts stay readable
    assert "Cork,4.0,0.5" in page_of(browser_of(None), proposal, "/files")


def test_others_read_that_a_maintainer_can_merge_it_and_get_no_button(proposal, charlie, browser_of):
    for person in (charlie, None):
        page = page_of(browser_of(person), proposal)
        assert "a maintainer can merge it" in verdict_in(page)
        assert "Merge into main" not in page


def test_who_may_add_to_a_proposal_reads_how_to_do_it_with_git_and_hf(proposal, alice, charlie, browser_of):
    line = f"git push origin HEAD:{proposal.ref}"
    assert all(line in page_of(browser_of(person), proposal) for person in (alice, charlie))
    upload = f"hf upload alice/tides ./my-folder . --repo-type dataset --revision {proposal.ref}"
    assert upload in page_of(browser_of(charlie), proposal) and upload not in page_of(browser_of(None), proposal)
    assert line not in page_of(browser_of(None), proposal)
    repo = proposal.discussion.repo
    assert "git push origin HEAD:refs/for/main" in browser_of(None).get(repo.path).content.decode()
    browser_of(alice).post(f"{proposal.discussion.path}/merge")
    assert line not in page_of(browser_of(charlie), proposal)


def test_an_owner_who_is_alone_is_led_to_where_people_are_added(alice, bob, charlie, browser_of):
    from hub.repos.models import RepoCollaborator
    from tests.hub.scenes import make_repo, propose

    repo = make_repo(alice.user, type="model")
    own = propose(repo, alice.user, {"recipe.yaml": "version: 1\n"})
    link = f'<a href="{repo.path}/settings#people">add a person in Settings</a>'
    assert own.is_trained and link in page_of(browser_of(alice), own)
    assert link not in page_of(browser_of(charlie), own)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    assert link not in page_of(browser_of(alice), own) and "It needs an approval" in page_of(browser_of(alice), own)


def test_only_who_may_add_to_a_proposal_edits_its_files(proposal, alice, charlie, bob, browser_of):
    path = f"{proposal.discussion.repo.path}/edit/{proposal.ref}/data/tides.csv"
    assert browser_of(charlie).get(path).status_code == browser_of(bob).get(path).status_code == 200
    given = {"path": "data/tides.csv", "content": "harbour\n", "parent": proposal.head, "goes_to": "branch"}
    assert browser_of(charlie).post(path, {**given, "goes_to": "proposal"}).status_code == 400
    assert browser_of(charlie).post(path, given).headers["Location"] == proposal.discussion.path
    stranger = make_person("erna")
    assert browser_of(stranger).get(path).status_code == 403
    browser_of(alice).post(f"{proposal.discussion.path}/merge")
    assert browser_of(charlie).get(path).status_code == 403


def test_a_stranger_who_merges_anyway_is_refused_by_name(proposal, charlie, browser_of):
    page = browser_of(charlie).post(f"{proposal.discussion.path}/merge", follow=True).content.decode()
    proposal.refresh_from_db()
    assert "Only people with write access to alice/tides may do this" in page
    assert proposal.merge_commit == ""


def test_a_required_check_blocks_with_its_sentence_and_the_button_is_disabled(proposal, alice, browser_of):
    from hub.community.checks import set_check

    set_check(proposal, "files", state="failed", summary="Row 3 has no answer; add one.")
    page = page_of(browser_of(alice), proposal)
    assert "Cannot be merged as it is" in verdict_in(page)
    assert "Row 3 has no answer; add one." in verdict_in(page)
    assert re.search(r"<button[^>]* disabled>.*Merge into main", page)
    browser_of(alice).post(f"{proposal.discussion.path}/merge")
    proposal.refresh_from_db()
    assert proposal.merge_commit == ""


def test_reviews_need_the_candidate_that_was_seen(proposal, alice, bob, charlie, browser_of, tides, commit_as):
    seen = proposal.candidate_digest
    commit_as(charlie, tides, {"data/tides.csv": b"other\n"}, revision=proposal.ref)
    data = {"verdict": "approve", "text": "", "digest": seen}
    page = browser_of(bob).post(f"{proposal.discussion.path}/review", data, follow=True).content.decode()
    assert "has changed since you looked" in page
    proposal.refresh_from_db()
    data["digest"] = proposal.candidate_digest
    browser_of(bob).post(f"{proposal.discussion.path}/review", data)
    page = page_of(browser_of(alice), proposal)
    assert "approved this" in page and "Approved" in page
    commit_as(charlie, tides, {"data/tides.csv": b"other again\n"}, revision=proposal.ref)
    assert "Out of date" in page_of(browser_of(alice), proposal)


def test_the_author_is_not_offered_to_approve(proposal, alice, charlie, browser_of):
    assert 'value="approve"' not in page_of(browser_of(charlie), proposal)
    assert 'value="approve"' in page_of(browser_of(alice), proposal)


def test_pending_content_of_a_proposal_is_shown_to_its_author_and_the_maintainers_only(
    tides, alice, bob, charlie, browser_of, commit_as
):
    from hub.repos.clearance import set_clearance
    from hub.repos.models import Content

    made = commit_as(charlie, tides, {"new.txt": b"my private words\n"}, create_pr=True, title="More words")
    set_clearance(contents=Content.objects.filter(repo=tides, path="new.txt"), clearance="pending")
    address = f"{made.pull_request.discussion.path}/files"
    assert "my private words" in browser_of(charlie).get(address).content.decode()
    assert "my private words" in browser_of(bob).get(address).content.decode()
    public = browser_of(None).get(address).content.decode()
    assert "my private words" not in public and "not cleared for the public yet" in public
    assert "new.txt waits for screening" in verdict_in(page_of(browser_of(alice), made.pull_request))


def test_a_conflict_names_the_files(tides, alice, charlie, proposal, browser_of, commit_as):
    commit_as(alice, tides, {"data/tides.csv": b"something else entirely\n"})
    page = page_of(browser_of(alice), proposal)
    assert "It conflicts with main in data/tides.csv" in verdict_in(page)


# --- what moves by itself


def fragment_address(page):
    found = re.search(r'hx-get="([^"]+)"', page.split('id="pull-request-state"')[1].split(">")[0])
    return found and found.group(1).replace("&amp;", "&")


def test_while_a_check_runs_the_page_asks_again_and_hears_only_of_changes(proposal, alice, browser_of):
    from hub.community.checks import set_check

    set_check(proposal, "train", state="running", summary="Step 1 of 4.")
    browser = browser_of(alice)
    page = page_of(browser, proposal)
    address = fragment_address(page)
    assert "every 2s" in page
    assert browser.get(address).status_code == 204  # nothing changed: nothing moves
    set_check(proposal, "train", state="running", summary="Step 2 of 4.")
    changed = browser.get(address)
    assert changed.status_code == 200 and "Step 2 of 4." in changed.content.decode()
    set_check(proposal, "train", state="passed", summary="Done.")
    last = browser.get(fragment_address(changed.content.decode())).content.decode()
    assert "every 4s" in last  # nothing runs any more, but people may act
    assert 'hx-swap-oob="beforeend:#timeline"' in last and "Check <strong>train</strong>" in last


def test_an_event_that_comes_while_the_page_is_drawn_is_told_once(proposal, alice, browser_of, monkeypatch):
    from hub.community.discussions import add_event
    from hub.web import live

    browser, draw = browser_of(alice), live.describe_state

    def draw_late(request, pull_request):
        add_event(pull_request.discussion, "status-change", alice.user, status="open")
        return draw(request, pull_request)

    address = fragment_address(page_of(browser, proposal))
    monkeypatch.setattr(live, "describe_state", draw_late)
    assert browser.get(address).status_code == 204
    monkeypatch.setattr(live, "describe_state", draw)
    told = browser.get(address).content.decode()
    assert len(re.findall(r'id="event-\d+"', told)) == 1
    assert browser.get(fragment_address(told)).status_code == 204


def test_a_review_and_a_new_candidate_reach_the_open_page(proposal, alice, bob, browser_of):
    from hub.community.models import PullRequest

    browser = browser_of(bob)
    address = fragment_address(page_of(browser, proposal))
    browser_of(alice).post(f"{proposal.discussion.path}/review", {"verdict": "request_changes", "text": "Mend row 3."})
    told = browser.get(address).content.decode()
    assert 'id="pull-request-facts" hx-swap-oob="true"' in told and "Changes requested" in told
    assert 'id="approval"' not in told  # what Bob may have chosen in the form stays
    PullRequest.objects.filter(pk=proposal.pk).update(candidate_digest="sha256:" + "1" * 64)
    later = browser.get(fragment_address(told)).content.decode()
    assert 'id="approval" hx-swap-oob="true"' in later and 'value="sha256:' + "1" * 64 in later


def test_a_proposal_that_is_merged_asks_no_more(proposal, alice, browser_of):
    from hub.community.checks import set_check

    set_check(proposal, "train", state="running", summary="", is_required=False)
    browser = browser_of(alice)
    assert fragment_address(page_of(browser, proposal)) is not None
    browser.post(f"{proposal.discussion.path}/merge")
    assert fragment_address(page_of(browser, proposal)) is None


def test_programs_read_the_same_as_json(proposal, alice, browser_of):
    from hub.community.checks import set_check

    set_check(proposal, "files", state="failed", summary="Row 3 has no answer.")
    found = browser_of(alice).get(f"/live/pulls/{proposal.pk}?after=0").json()
    assert found["status"] == "open" and found["is_moving"] is False
    assert found["checks"][0]["summary"] == "Row 3 has no answer."
    assert [event["kind"] for event in found["events"]] == ["commit", "check"]
    later = browser_of(alice).get(f"/live/pulls/{proposal.pk}?after={found['after']}").json()
    assert later["events"] == []


def test_the_live_state_of_a_private_proposal_is_missing_for_strangers(secret, alice, charlie, browser_of, commit_as):
    made = commit_as(alice, secret, {"a.txt": b"a\n"}, create_pr=True, title="Hidden work")
    for suffix in ("", "/state"):
        assert browser_of(charlie).get(f"/live/pulls/{made.pull_request.pk}{suffix}").status_code == 404
        assert browser_of(None).get(f"/live/pulls/{made.pull_request.pk}{suffix}").status_code == 404
        assert browser_of(alice).get(f"/live/pulls/{made.pull_request.pk}{suffix}").status_code == 200


def test_other_rooms_show_evidence_and_acts_beside_their_check(proposal, alice, browser_of, monkeypatch):
    from hub.community.checks import set_check
    from hub.web import panels

    monkeypatch.setattr(panels, "_panels", {slot: [] for slot in panels.SLOTS})
    panels.add_panel("pull_request_checks", lambda request, found: f"<a href='/runs/7'>{found['check'].name} run</a>")
    panels.add_panel("check_actions", lambda request, found: f"<b>again {found['check'].name}</b>")
    panels.add_panel("pull_request_evidence", lambda request, found: f"<i>curve of {found['pull_request'].pk}</i>")
    set_check(proposal, "train", state="running", summary="Step 1 of 4.")
    browser = browser_of(alice)
    for page in (page_of(browser, proposal), browser.get(f"/live/pulls/{proposal.pk}/state").content.decode()):
        row = page.split('id="check-train"')[1].split("</tr>")[0]
        assert "train run" in row and "again train" in row
        assert f"curve of {proposal.pk}" in page


def test_clocks_and_plots_that_follow_by_themselves_are_no_change():
    from hub.web.live import digest_fragment

    page = '<p>{word}</p><time data-since="x">{clock}</time><figure id="a" data-live-url="/m">{points}</figure>'
    before = digest_fragment(page.format(word="Running", clock="1 s", points="1 2"))
    assert digest_fragment(page.format(word="Running", clock="2 s", points="1 2 3")) == before
    assert digest_fragment(page.format(word="Done", clock="1 s", points="1 2")) != before


def test_the_desk_shows_first_what_waits_for_a_person(client, alice, charlie):
    from hub.community.checks import set_check
    from tests.hub.scenes import make_repo, propose

    repo = make_repo(alice.user)
    ready = propose(repo, charlie.user, {"a.txt": "one"})
    broken = propose(repo, charlie.user, {"b.txt": "two"})
    for pull_request, title, state in ((ready, "Ready to look at", "passed"), (broken, "To be mended", "failed")):
        pull_request.discussion.title = title
        pull_request.discussion.save()
        set_check(pull_request, "files", state=state, summary="Looked at.")
    client.force_login(alice.user)
    waiting = client.get("/").content.decode().partition("What waits for you")[2].partition("Your proposals")[0]
    assert waiting.index("Ready to look at") < waiting.index("To be mended")  # although it is older
