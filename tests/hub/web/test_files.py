"""Folders, files, history, and changing one file in the browser."""

import time

import pytest

from tests.hub.web.conftest import TABLE

pytestmark = pytest.mark.django_db


def read(browser, address):
    answer = browser.get(address)
    assert answer.status_code == 200, address
    return answer.content.decode()


def test_a_folder_lists_folders_first_with_sizes_and_last_changes(tides, browser_of):
    page = read(browser_of(None), f"{tides.path}/tree/main")
    assert page.index(">data<") < page.index(">README.md<")
    assert "First tables" in page
    assert f'{tides.path}/resolve/main/README.md" download' in page


def test_the_card_shows_its_text_its_facts_and_where_its_pictures_are(tides, browser_of):
    page = read(browser_of(None), tides.path)
    assert "license" not in page.split("<main")[1].split("High and low water, see")[1]  # front matter is no text
    assert "licence:</span> cc-by-4.0" in page
    assert 'id="sources"' in page
    assert f'href="{tides.path}/blob/{tides.public_head}/data/tides.csv"' in page
    assert f'src="{tides.path}/resolve/{tides.public_head}/map.png"' in page


def test_broken_front_matter_is_told_with_its_line(alice, tides, browser_of, commit_as):
    commit_as(alice, tides, {"README.md": b"---\nlicense: [cc\n---\n# Still readable\n"})
    page = read(browser_of(None), tides.path)
    assert "README.md line 2" in page and "Still readable" in page


def test_what_a_card_says_runs_no_script(alice, tides, browser_of, commit_as):
    text = b"# Hi <script>alert(1)</script>\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>\n"
    commit_as(alice, tides, {"README.md": text})
    page = read(browser_of(None), tides.path).split("<article")[1].split("</article>")[0]
    assert "<script" not in page and "<img" not in page and 'href="javascript' not in page


def test_a_table_is_shown_as_rows_and_as_lines(tides, browser_of):
    table = read(browser_of(None), f"{tides.path}/blob/main/data/tides.csv")
    assert "<td>Brest</td>" in table
    lines = read(browser_of(None), f"{tides.path}/blob/main/data/tides.csv?plain")
    assert 'id="L2"' in lines and "Brest,6.1,1.2" in lines


def test_a_branch_with_a_slash_in_its_name_keeps_its_path(alice, tides, browser_of):
    from hub.repos.commits import move_ref

    move_ref(repo=tides, ref="refs/heads/try/this", new=tides.head, expected=None, by=alice.user, door="web")
    page = read(browser_of(None), f"{tides.path}/tree/try/this/data")
    assert "tides.csv" in page and f"{tides.path}/blob/try/this/data/tides.csv" in page


def test_a_withheld_large_file_says_so_and_shows_no_byte(alice, charlie, tides, browser_of, commit_as):
    from hub.repos.clearance import set_clearance
    from hub.repos.models import Content

    commit_as(alice, tides, {"args.bin": b"\x80\x02secret bytes"})
    large = Content.objects.filter(repo=tides, path="args.bin", digest__startswith="sha256:")
    set_clearance(contents=large, clearance="withheld", reason="It is a pickle; save it as JSON.")
    page = read(browser_of(charlie), f"{tides.path}/blob/main/args.bin")
    assert "It is a pickle; save it as JSON." in page and "secret bytes" not in page
    assert "Download" not in page.split("<main")[1]
    assert "Withheld" in read(browser_of(alice), f"{tides.path}/tree/main")
    listed = read(browser_of(charlie), f"{tides.path}/tree/main")
    assert "It is a pickle; save it as JSON." in listed
    assert "Download args.bin" not in listed and "Download README.md" in listed


def test_the_bare_address_of_new_things_asks_what_to_make(alice, browser_of):
    page = read(browser_of(alice), "/new")
    assert 'href="/new/model"' in page and 'href="/new/dataset"' in page
    assert browser_of(None).get("/new").status_code in (302, 401)


def test_a_model_without_weights_does_not_offer_them(alice, cleared_at_once, browser_of, commit_as):
    from tests.hub.scenes import make_repo

    repo = make_repo(alice.user, type="model")
    commit_as(alice, repo, {"README.md": b"# Soon\n"})
    assert "It holds no weights yet" in read(browser_of(None), repo.path)
    commit_as(alice, repo, {"model.safetensors": b"\0" * 64})
    assert "It holds no weights yet" not in read(browser_of(None), repo.path)


def test_history_credits_the_account_and_a_commit_shows_its_change(alice, tides, browser_of, commit_as):
    made = commit_as(alice, tides, {"data/tides.csv": TABLE.replace(b"7.0", b"7.1")}, title="Mend Hull")
    history = read(browser_of(None), f"{tides.path}/commits/main/data/tides.csv")
    assert history.index("Mend Hull") < history.index("First tables")
    assert 'href="/alice"' in history
    for commit in (made.revision.commit, made.revision.commit[:7]):
        page = read(browser_of(None), f"{tides.path}/commit/{commit}")
        assert "Hull,7.1,0.9" in page and "Hull,7.0,0.9" in page and "+1" in page
    assert "Hull" in read(browser_of(None), f"{tides.path}/blob/{made.revision.commit[:7]}/data/tides.csv")


def test_a_changed_large_file_is_told_by_size_and_digest(alice, tides, browser_of, commit_as):
    commit_as(alice, tides, {"a.bin": b"\0" * 50})
    made = commit_as(alice, tides, {"a.bin": b"\0" * 70})
    page = read(browser_of(None), f"{tides.path}/commit/{made.revision.commit}")
    assert "50 B" in page and "70 B" in page and "git-lfs.github.com" not in page


def form_for(tides, **more):
    fields = {"title": "", "description": "", "goes_to": "branch", "path": "README.md", "content": "# New\r\n\r\nText"}
    return {**fields, "parent": tides.head, **more}


def test_editing_a_file_is_a_commit_with_unix_line_ends(bob, tides, browser_of):
    from hub.repos.places import pair

    answer = browser_of(bob).post(f"{tides.path}/edit/main/README.md", form_for(tides))
    assert answer.headers["Location"] == f"{tides.path}/tree/main"
    git = pair(tides).members
    head = git.resolve("main")
    assert git.read(head, "README.md") == b"# New\n\nText\n"
    assert git.commit_info(head).title == "Update README.md"


def test_somebody_elses_commit_in_between_loses_nothing(alice, bob, tides, browser_of, commit_as):
    seen = form_for(tides)  # Bob has opened the editor
    commit_as(alice, tides, {"README.md": b"# Faster\n"})
    browser = browser_of(bob)
    answer = browser.post(f"{tides.path}/edit/main/README.md", seen)
    page = answer.content.decode()
    assert answer.status_code == 400
    assert "has changed since you opened this page" in page and "# New" in page
    assert f'value="{tides.head}"' in page  # saving once more is a decision, made after looking


def test_renaming_in_the_editor_moves_the_file(alice, tides, browser_of):
    from hub.repos.places import pair

    browser_of(alice).post(f"{tides.path}/edit/main/README.md", form_for(tides, path="docs/README.md"))
    git = pair(tides).members
    head = git.resolve("main")
    assert git.entry(head, "README.md") is None and git.entry(head, "docs/README.md") is not None


def test_a_stranger_edits_by_a_proposal(charlie, tides, browser_of):
    from hub.repos.places import pair

    answer = browser_of(charlie).post(f"{tides.path}/edit/main/README.md", form_for(tides, goes_to="proposal"))
    proposal = tides.discussions.get(is_pull_request=True)
    assert answer.headers["Location"] == proposal.path
    assert pair(tides).members.resolve("main") == tides.head  # main did not move


def test_deleting_a_file_leaves_its_history(bob, tides, browser_of):
    data = {"title": "", "description": "", "goes_to": "branch"}
    browser_of(bob).post(f"{tides.path}/delete/main/data/tides.csv", data)
    assert browser_of(bob).get(f"{tides.path}/blob/main/data/tides.csv").status_code == 404
    assert "tides.csv" in read(browser_of(bob), f"{tides.path}/tree/{tides.head}/data")


def test_a_file_of_many_files_is_found_by_name(tides, browser_of):
    answer = browser_of(None).get(f"{tides.path}/names/main").json()
    assert answer["base"] == f"{tides.path}/blob/main"
    assert "data/tides.csv" in answer["paths"]


def test_headings_are_linked_once_each_and_take_no_name_of_the_page(alice, tides, browser_of, commit_as):
    commit_as(alice, tides, {"README.md": b"# Content\n\n## Use\n\n## Use\n\n## Gr\xc3\xbc\xc3\x9fe\n"})
    page = read(browser_of(None), tides.path)
    for anchor in ("content-2", "use", "use-2", "gr\u00fc\u00dfe"):
        assert page.count(f'id="{anchor}"') == 1
    assert page.count('id="content"') == 1


def test_a_card_of_nothing_but_headings_is_drawn_in_time():
    """For each heading all anchors so far were gathered again: one README of them held a thread for hours."""
    from types import SimpleNamespace

    from hub.web.cards import MAX_ANCHORS, render_readme

    def draw(count):
        began = time.perf_counter()
        drawn = render_readme("# a\n" * count, SimpleNamespace(path="/alice/x"), "0" * 40)
        return time.perf_counter() - began, drawn

    few_s = min(draw(500)[0] for _ in range(4))  # the quickest of some: others may use the machine, too
    many_s, drawn = min((draw(4000) for _ in range(4)), key=lambda drawing: drawing[0])
    assert many_s < few_s * 32  # eight times as many; each against all before it would take 64 times as long
    assert drawn.html.count("<h1") == 4000
    assert drawn.html.count('<h1 id="') == len(drawn.contents) == MAX_ANCHORS
