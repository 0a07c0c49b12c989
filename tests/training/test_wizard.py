"""The wizard: from a goal in plain words to a proposal, through the pages a person sees, without JavaScript."""

import re
from typing import Any

import pytest
from django.test import Client

from hub.community.models import PullRequest
from hub.repos.models import Repo
from tests.training.line import Line, as_jsonl, make_repo, push
from training.drafting import estimates
from training.drafting.starts import Start
from training.engine.recipe import parse_recipe

CHAT = "step=preview&goal=chat&data=alice/tide-tables"


@pytest.fixture
def signed_in(line: Line, client: Client) -> Client:
    """Alice is signed in."""
    client.force_login(line.alice)
    return client


def page(signed_in: Client, address: str, status: int = 200) -> str:
    answer = signed_in.get(address)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return answer.content.decode()


def words(html: str) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def recipe_of(pull_request: PullRequest) -> Any:
    from training.proposals.recipes import recipe_at

    return parse_recipe(recipe_at(pull_request.discussion.repo, pull_request.head))


def test_strangers_are_asked_to_sign_in(line: Line, client: Client) -> None:
    answer = client.get("/alice/tiny/propose?step=goal")
    assert answer.status_code == 302 and answer["Location"].startswith("/login?next=/alice/tiny/propose")


def test_the_steps_lead_from_a_goal_to_a_proposal(line: Line, signed_in: Client) -> None:
    goal = page(signed_in, "/alice/tiny/propose")
    assert "Answer questions and follow instructions" in goal and "method" not in words(goal)
    data = page(signed_in, "/alice/tiny/propose?step=data&goal=chat")
    assert "alice/tide-tables" in data and 'value="alice/core"' not in data  # a suite is no data to learn from
    looked = page(signed_in, "/alice/tiny/propose?step=data&goal=chat&look=alice/tide-tables")
    assert "24 rows" in looked and "columns: answer, question" in looked and "When is tide 0?" in looked
    preview = page(signed_in, f"/alice/tiny/propose?{CHAT}")
    assert '<span class="token token--learnt">Tide</span>' in preview
    assert '<span class="token token--read">When</span>' in preview
    size = page(signed_in, f"/alice/tiny/propose?{CHAT.replace('preview', 'size')}")
    assert "A taste" in size and "about 20 s" in size
    last = page(signed_in, f"/alice/tiny/propose?{CHAT.replace('preview', 'send')}&size=thorough")
    assert "Learn from tide-tables" in last and "epochs: 3" in last

    sent = signed_in.post(
        "/alice/tiny/propose?step=send",
        {"goal": "chat", "data": "alice/tide-tables", "size": "thorough", "suites": "chosen", "suite": "alice/core",
         "title": "Know the tides", "text": "So that boats come home."},
    )  # fmt: skip
    pull_request = PullRequest.objects.get()
    assert sent.status_code == 302 and sent["Location"] == pull_request.discussion.path
    assert (pull_request.discussion.title, pull_request.is_trained) == ("Know the tides", True)
    recipe = recipe_of(pull_request)
    main = Repo.objects.get(pk=line.base.pk).head
    assert (recipe.base.repo, recipe.base.revision) == ("alice/tiny", main)  # main moves when this is merged
    assert [row.repo.repo for row in recipe.contributions] == ["alice/tide-tables"]
    assert (recipe.train.method, recipe.train.epochs) == ("full", 3.0)  # so small a model learns as a whole
    assert [str(row.suite) for row in recipe.evaluate] == ["alice/core@main"]


def test_new_data_is_added_to_the_recipe_there_is(line: Line, signed_in: Client) -> None:
    push(line.target, line.alice, {"recipe.yaml": line.recipe().encode()})
    make_repo("dataset", "more", line.alice, {"train.jsonl": as_jsonl([{"prompt": "Ebb?", "completion": "Now."}] * 5)})
    signed_in.post("/alice/tides/propose?step=send", {"goal": "chat", "data": "alice/more", "size": "normal"})
    recipe = recipe_of(PullRequest.objects.get())
    assert [row.repo.repo for row in recipe.contributions] == ["alice/tide-tables", "alice/more"]
    assert str(recipe.base) == "alice/tiny@main" and recipe.train.seed == 3 and recipe.train.steps is None
    assert [str(row.suite) for row in recipe.evaluate] == ["alice/core@main"]


def test_an_empty_repository_asks_what_to_start_from(line: Line, signed_in: Client) -> None:
    make_repo("model", "bare", line.alice, {"README.md": b"# Soon"})
    stuck = page(signed_in, "/alice/tides/propose")
    assert "holds no model yet" in stuck and "?base=alice/tiny" in stuck and "?base=alice/bare" not in stuck
    assert "alice/bare holds no model yet either" in page(signed_in, "/alice/tides/propose?base=alice/bare")
    signed_in.post(
        "/alice/tides/propose?step=send", {"base": "alice/tiny", "goal": "chat", "data": "alice/tide-tables"}
    )
    assert str(recipe_of(PullRequest.objects.get()).base) == "alice/tiny@main"


def test_neither_suites_nor_the_rules_of_the_hub_are_data_to_learn_from(line: Line) -> None:
    from training.drafting.choices import data_for, suites_for

    Repo.objects.filter(pk=make_repo("dataset", "rules", line.alice, {"policy.yaml": b"version: 1\n"}).pk).update(
        is_policy=True
    )
    assert [repo.full_name for repo in data_for(line.alice)] == ["alice/tide-tables"]
    assert [repo.full_name for repo in suites_for(line.alice)] == ["alice/core"]


def test_data_that_does_not_fit_says_why_and_goes_no_further(line: Line, signed_in: Client) -> None:
    make_repo("dataset", "odd", line.alice, {"train.jsonl": as_jsonl([{"foo": "a", "size": 3}] * 3)})
    for step in ("preview", "send"):
        shown = page(signed_in, f"/alice/tiny/propose?step={step}&goal=chat&data=alice/odd")
        assert "it has the columns foo, size, and questions with answers, or conversations need messages, or" in shown
        assert "Next: how thoroughly?" in shown and "disabled" in shown
    refused = signed_in.post("/alice/tiny/propose?step=send", {"goal": "chat", "data": "alice/odd"})
    assert refused.status_code in (200, 400) and not PullRequest.objects.exists()


def test_a_broken_file_is_named_with_its_line(line: Line, signed_in: Client) -> None:
    make_repo("dataset", "cut", line.alice, {"train.jsonl": b'{"question": "a", "answer": "b"}\n{"question": \n'})
    assert "alice/cut/train.jsonl:2: not valid JSON" in page(
        signed_in, "/alice/tiny/propose?step=preview&goal=chat&data=alice/cut"
    )


def test_private_data_of_others_looks_missing(line: Line, client: Client, charlie: Any) -> None:
    line.data.is_private = True
    line.data.save()
    client.force_login(charlie.user)
    assert "alice/tide-tables" not in page(client, "/alice/tiny/propose?step=data&goal=chat")
    page(client, f"/alice/tiny/propose?{CHAT}", status=404)


def test_the_same_words_refuse_a_recipe_at_all_three_doors(line: Line, signed_in: Client, alice: Any) -> None:
    from hub.community.contributions import commit
    from hub.storage.git import AddFile
    from tests.training.line import run_waiting_jobs, summary_of

    text = line.recipe().replace("method: full", "method: ful")
    form = signed_in.post("/alice/tides/propose/recipe", {"recipe": text, "act": "propose"})
    rest = Client().post(
        "/api/v1/proposals",
        {"repo": "alice/tides", "recipe": text, "title": "Learn"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {alice.token}"},
    )
    assert not PullRequest.objects.exists()
    operations = [AddFile("recipe.yaml", text.encode())]
    made = commit(
        repo=line.target,
        by=line.alice,
        revision=None,
        operations=operations,
        title="Learn",
        create_pr=True,
        door="http",
    )
    run_waiting_jobs(kinds=("training.rebuild",))
    sentence = summary_of(made.pull_request, "prepare")
    assert sentence.startswith("recipe.yaml:7:17: 'ful' is not one of pretrain, full, lora")
    assert rest.status_code == 400 and rest.json()["error"] == sentence
    assert form.status_code == 400 and sentence.replace("'", "&#x27;") in form.content.decode()
    assert "column 17" in form.content.decode()


def test_the_expert_form_checks_without_proposing(line: Line, signed_in: Client) -> None:
    good = signed_in.post("/alice/tides/propose/recipe", {"recipe": line.recipe(), "act": "check"})
    assert good.status_code == 200 and "The recipe is in order" in good.content.decode()
    missing = line.recipe(data="alice/nothing@main")
    bad = signed_in.post("/alice/tides/propose/recipe", {"recipe": missing, "act": "check"})
    assert bad.status_code == 400 and "names the dataset alice/nothing@main" in bad.content.decode()
    assert not PullRequest.objects.exists()
    sent = signed_in.post(
        "/alice/tides/propose/recipe", {"recipe": line.recipe(), "act": "propose", "title": "By hand"}
    )
    assert sent["Location"] == PullRequest.objects.get().discussion.path


def test_a_model_of_ones_own_starts_from_another(line: Line, client: Client, charlie: Any) -> None:
    client.force_login(charlie.user)
    assert "alice/tiny" in page(client, "/propose")
    assert "Make a model of your own from it" in page(client, "/propose?base=alice/tiny")
    made = client.post("/propose", {"base": "alice/tiny", "owner": "charlie", "name": "my-tiny"})
    assert made["Location"].startswith("/charlie/my-tiny/propose?step=goal&base=alice%2Ftiny")
    client.post(
        "/charlie/my-tiny/propose?step=send", {"base": "alice/tiny", "goal": "chat", "data": "alice/tide-tables"}
    )
    assert PullRequest.objects.get().discussion.repo.full_name == "charlie/my-tiny"
    taken = client.post("/propose", {"base": "alice/tiny", "owner": "charlie", "name": "my-tiny"})
    assert taken.status_code == 400 and "already" in taken.content.decode()


LLAMA_135M = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152,
    "num_attention_heads": 9, "num_key_value_heads": 3,
}  # fmt: skip


def test_the_memory_that_is_shown_is_the_engines_own_estimate(settings: Any) -> None:
    start = Start(None, None, None, "", parameters=134_515_008, config=LLAMA_135M)
    shown = {}
    for room in (16, 2, 1):
        settings.ENGINE_MEMORY_BYTES = int(room * 1e9)
        shown[room] = estimates.fit_memory(start)
    assert [shown[room].is_enough for room in (16, 2, 1)] == [True, True, False]
    assert shown[2].needed_bytes < shown[16].needed_bytes < 16e9 and not shown[16].how
    assert "layers are made twice instead of kept" in shown[2].how
    settings.ENGINE_MEMORY_BYTES = 16 * 10**9
    assert estimates.fit_memory(start, is_paired=True).needed_bytes > 1.2 * shown[16].needed_bytes, "rows twice as long"
    unknown = Start(None, None, None, "", parameters=1_000_000_000, config={"model_type": "unheard"})
    assert estimates.fit_memory(unknown).needed_bytes > 8e9


def test_data_that_nobody_could_look_at_may_be_proposed_all_the_same(
    line: Line, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine under load kept a teacher from her proposal for an hour: the failed look was remembered like a good one."""
    from django.core.cache import cache

    from training.drafting import previews

    cache.clear()  # of a look by another test
    monkeypatch.setattr(previews, "TIMEOUT_S", 0.001)
    seen = page(signed_in, f"/alice/tiny/propose?{CHAT}")
    assert "took too long; look again in a minute, or go on" in seen and ">Look again</a>" in seen
    assert "disabled" not in seen[seen.index("Next: how thoroughly?") - 80 :]
    size = page(signed_in, f"/alice/tiny/propose?{CHAT.replace('preview', 'size')}")
    assert "A taste" in size and "Next: look it over" in size
    last = page(signed_in, f"/alice/tiny/propose?{CHAT.replace('preview', 'send')}&size=thorough")
    assert "alice/tide-tables" in last
    monkeypatch.undo()
    cache.clear()  # as after half a minute
    assert "When is tide 0?" in page(signed_in, f"/alice/tiny/propose?{CHAT}")
