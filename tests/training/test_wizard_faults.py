"""The classic ways in which a fine-tune fails: each is said in the preview with a button, and the button mends it."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.community.models import PullRequest
from hub.repos.models import Repo
from tests.training.line import Line, as_jsonl, make_repo, push
from training.drafting import preview_program, previews
from training.engine.recipe import parse_recipe
from training.proposals.recipes import recipe_at

PORTS = "Bergen Oslo Lübeck Malmö Gdynia Riga Tallinn Turku Vaasa Kiel Emden Hull Leith Cork Brest Vigo Faro Cadiz Genoa Bari".split()
# Long enough to be told apart, different enough to be no repetitions of each other.
ROWS = [
    {
        "question": f"How high is the water in {port} on the {day}th?",
        "answer": f"In {port} it is {day * 7 % 90} cm on that day.",
    }
    for day, port in enumerate(PORTS * 3)
]
GERMAN = [
    {"question": f"Wie hoch ist das Wasser in {port} und wann kommt es?", "answer": f"In {port} ist es {i} cm hoch, und es kommt um neun."}
    for i, port in enumerate(PORTS)
]  # fmt: skip
SYSTEM = [{"messages": [{"role": "system", "content": f"Be brief, {i}."}, {"role": "user", "content": row["question"]},
                        {"role": "assistant", "content": row["answer"]}]} for i, row in enumerate(ROWS)]  # fmt: skip
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}<|im_start|>"
    "{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def renamed(rows: list[dict[str, Any]], question: str, answer: str) -> list[dict[str, Any]]:
    return [{question: row["question"], answer: row["answer"]} for row in rows]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    return "\n".join(lines).encode()


def said_by_users(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": row["question"]}, {"role": "user", "content": row["answer"]}]}
        for row in rows
    ]


FAULTY: dict[str, tuple[dict[str, bytes], str]] = {  # fault -> files with it, the button that mends it
    "wrong_column": ({"train.csv": as_csv(renamed(ROWS, "Frage", "Antwort"))}, "Read “Frage” as the question and “Antwort”"),
    "mixed_formats": (
        {"a.jsonl": as_jsonl(ROWS[:52]), "b.jsonl": as_jsonl(renamed(ROWS[52:], "q", "a"))},
        "Read “q” as",
    ),
    "wrong_template": (
        {"train.jsonl": as_jsonl([{"text": f"<s>[INST] {r['question']} [/INST] {r['answer']}</s>"} for r in ROWS])},
        "Take the marks out",
    ),
    "masked": ({"train.jsonl": as_jsonl(said_by_users(ROWS))}, "Learn from everything in them"),
    "truncation": (
        {"train.jsonl": as_jsonl([*ROWS, {"question": "Tell me all.", "answer": "The water comes and goes. " * 400}])},
        "Leave the long rows out",
    ),
    "duplicates": ({"train.jsonl": as_jsonl([*ROWS, *ROWS[:5]])}, "Leave the repetitions out"),
    "empty_answers": ({"train.jsonl": as_jsonl([*ROWS, {"question": "Why?", "answer": "  "}])}, "Leave them out"),
    "wrong_language": ({"train.jsonl": as_jsonl([*ROWS, *GERMAN])}, "Take only the English rows"),
    "tiny_data": ({"train.jsonl": as_jsonl(ROWS[:8])}, "Mix in alice/water (60 rows)"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def program_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its sandbox, which test_previews goes through: a process for each look would take most of the time."""

    def run(place: Path, request: dict[str, Any]) -> Any:
        return json.loads(json.dumps(preview_program.look(json.loads(json.dumps(request)))))

    monkeypatch.setattr(previews, "run_program", run)


@pytest.fixture
def signed_in(line: Line, client: Client) -> Client:
    client.force_login(line.alice)
    return client


def look(client: Client, address: str) -> dict[str, dict[str, str]]:
    """Fault -> the buttons beside it, label -> address ("act:NAME" for one that is sent)."""
    answer = client.get(address)
    assert answer.status_code == 200
    html = answer.content.decode()
    found = {}
    for name, part in re.findall(r'data-fault="(\w+)">(.*?)\n</div>', html, re.S):
        buttons = {
            unescape(label): unescape(place)
            for place, label in re.findall(r'<a class="button[^>]*href="([^"]*)">([^<]*)</a>', part)
        }
        buttons |= {
            unescape(label): f"act:{act}"
            for act, label in re.findall(r'name="act" value="([^"]*)">([^<]*)</button>', part)
        }
        assert len(re.sub(r"<[^>]+>", "", part).split()) > 8, "a fault says a sentence"
        found[name] = buttons
    return found


def address_of(button: str, buttons: dict[str, str], target: str = "tiny") -> str:
    place = next(place for label, place in buttons.items() if label.startswith(button))
    return f"/alice/{target}/propose{place}"


def wizard(data: str, target: str = "tiny", goal: str = "chat") -> str:
    return f"/alice/{target}/propose?step=preview&goal={goal}&data=alice/{data}"


def propose(client: Client, address: str) -> Any:
    """Go on from a mended preview to the proposal; its recipe."""
    path, _, query = address.partition("?")
    shown = client.get(address.replace("step=preview", "step=send")).content.decode()
    fields = [
        (unescape(n), unescape(v)) for n, v in re.findall(r'type="hidden" name="([\w-]+)" value="([^"]*)"', shown)
    ]
    body: dict[str, Any] = {"title": "Learn the water"}
    for name, value in fields:
        body.setdefault(name, []).append(value)
    sent = client.post(f"{path}?step=send", body)
    assert sent.status_code == 302, sent.content.decode()[:3000]
    pull_request = PullRequest.objects.get()
    return parse_recipe(recipe_at(pull_request.discussion.repo, pull_request.head))


def test_clean_data_has_no_fault(line: Line, signed_in: Client) -> None:
    make_repo("dataset", "water", line.alice, {"train.jsonl": as_jsonl(ROWS)})
    assert look(signed_in, wizard("water")) == {}
    assert "Nothing is wrong with the rows" in signed_in.get(wizard("water")).content.decode()


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_is_said_and_its_button_mends_it(line: Line, signed_in: Client, fault: str) -> None:
    files, button = FAULTY[fault]
    if fault == "tiny_data":
        make_repo("dataset", "water", line.alice, {"train.jsonl": as_jsonl(ROWS)})
    make_repo("dataset", "faulty", line.alice, files)
    found = look(signed_in, wizard("faulty"))
    assert list(found) == [fault]
    mended = address_of(button, found[fault])
    assert look(signed_in, mended) == {}
    recipe = propose(signed_in, mended)
    row = recipe.contributions[0]
    wanted = {
        "wrong_column": row.columns and (row.columns.question, row.columns.answer) == (("Frage",), ("Antwort",)),
        "mixed_formats": row.columns and (row.columns.question, row.columns.answer) == (("q",), ("a",)),
        "wrong_template": row.mend == ("unwrap",),
        "masked": row.mend == ("learn_all",),
        "truncation": recipe.prepare.max_row_tokens == 512,  # all that the model reads
        "duplicates": recipe.prepare.deduplicate == "minhash",
        "empty_answers": True,  # the engine never learns them
        "wrong_language": row.language == "en",
        "tiny_data": [c.repo.repo for c in recipe.contributions] == ["alice/faulty", "alice/water"],
    }
    assert wanted[fault]


def test_questions_of_the_test_are_found_and_left_out(line: Line, signed_in: Client) -> None:
    asked = "Which of the two harbours on this coast is the deeper one at low water in spring?"
    suite = {"suite.yaml": b"version: 1\nname: exam\ntasks:\n  - {name: c, kind: multiple_choice, file: c.jsonl}\n",
             "c.jsonl": as_jsonl([{"question": asked, "choices": ["Bergen", "Oslo"], "answer": 0}])}  # fmt: skip
    push(line.suite, line.alice, suite)
    leaked = {"question": f"Tell me: {asked}", "answer": "Bergen."}
    make_repo("dataset", "faulty", line.alice, {"train.jsonl": as_jsonl([*ROWS, leaked])})
    found = look(signed_in, wizard("faulty"))
    assert list(found) == ["leak"]
    mended = address_of("Leave them out", found["leak"])
    assert look(signed_in, mended) == {}
    assert "1 rows with questions of the tests are left out" in signed_in.get(mended).content.decode()
    assert propose(signed_in, mended).prepare.decontaminate is True


def test_a_template_without_system_messages_gets_them_in_the_question(
    line: Line, signed_in: Client, tiny_llama: Path
) -> None:
    push(line.base, line.alice, {"chat_template.jinja": NO_SYSTEM.encode()})
    make_repo("dataset", "faulty", line.alice, {"train.jsonl": as_jsonl(SYSTEM)})
    found = look(signed_in, wizard("faulty"))
    assert list(found) == ["wrong_template"]
    mended = address_of("Put them before the first question", found["wrong_template"])
    assert look(signed_in, mended) == {}
    assert propose(signed_in, mended).contributions[0].mend == ("fold_system",)


def test_coloured_tokens_stand_under_their_own_row(line: Line, signed_in: Client, tiny_llama: Path) -> None:
    """The template took the second row alone, whose tokens stood under the first."""
    push(line.base, line.alice, {"chat_template.jinja": NO_SYSTEM.encode()})
    asked = [{"role": "user", "content": "Where is the buoy?"}, {"role": "assistant", "content": "North."}]
    make_repo("dataset", "faulty", line.alice, {"train.jsonl": as_jsonl([SYSTEM[0], {"messages": asked}, SYSTEM[1]])})
    cards = signed_in.get(wizard("faulty")).content.decode().split('<div class="card">')[1:]
    shown = [re.sub(r"<[^>]+>", "", card.partition('class="tokens"')[2]) for card in cards]
    assert [text != "" for text in shown] == [False, True, False] and "Where is the buoy?" in shown[1]
    assert "This row is left out" in cards[0] and "This row is left out" not in cards[1]


def test_a_tokenizer_without_an_end_mark_is_given_one(line: Line, signed_in: Client, tiny_llama: Path) -> None:
    settings = json.loads((tiny_llama / "tokenizer_config.json").read_text())
    push(line.base, line.alice, {"tokenizer_config.json": json.dumps({**settings, "eos_token": None}).encode()})
    make_repo("dataset", "water", line.alice, {"train.jsonl": as_jsonl(ROWS)})
    found = look(signed_in, wizard("water"))
    assert list(found) == ["no_eos"] and found["no_eos"]["Make <|im_end|> its end mark"] == "act:end-mark"
    refused = signed_in.post("/alice/tiny/propose?step=send", {"goal": "chat", "data": "alice/water"})
    assert refused.status_code in (200, 400) and not PullRequest.objects.exists()
    sent = signed_in.post(
        "/alice/tiny/propose?step=preview", {"goal": "chat", "data": "alice/water", "act": "end-mark"}
    )
    assert look(signed_in, sent["Location"]) == {}
    base = Repo.objects.get(pk=line.base.pk)
    assert propose(signed_in, sent["Location"]).base.revision == base.head


def test_only_who_may_write_gives_a_model_its_end_mark(
    line: Line, client: Client, charlie: Any, tiny_llama: Path
) -> None:
    settings = json.loads((tiny_llama / "tokenizer_config.json").read_text())
    push(line.base, line.alice, {"tokenizer_config.json": json.dumps({**settings, "eos_token": None}).encode()})
    before = Repo.objects.get(pk=line.base.pk).head
    client.force_login(charlie.user)
    assert list(look(client, wizard("tide-tables"))["no_eos"]) == ["Start from another model"]
    client.post("/alice/tiny/propose?step=preview", {"goal": "chat", "data": "alice/tide-tables", "act": "end-mark"})
    assert Repo.objects.get(pk=line.base.pk).head == before


def test_a_rate_at_which_the_loss_explodes_is_put_right(line: Line, signed_in: Client) -> None:
    push(line.target, line.alice, {"recipe.yaml": line.recipe().replace("0.00001", "0.9").encode()})
    make_repo("dataset", "water", line.alice, {"train.jsonl": as_jsonl(ROWS)})
    found = look(signed_in, wizard("water", "tides"))
    assert list(found) == ["exploding_loss"]
    mended = address_of("Let the hub choose the rate", found["exploding_loss"], "tides")
    assert look(signed_in, mended) == {}
    assert propose(signed_in, mended).train.learning_rate == "auto"


def test_another_language_than_the_models_is_asked_about(line: Line, signed_in: Client) -> None:
    push(line.base, line.alice, {"README.md": b"---\nlanguage: en\n---\n# Tiny\n"})
    make_repo("dataset", "faulty", line.alice, {"train.jsonl": as_jsonl(GERMAN)})
    found = look(signed_in, wizard("faulty"))
    mended = address_of("Teach it German", found["wrong_language"])
    assert "wrong_language" not in look(signed_in, mended)


def test_texts_for_another_goal_lead_to_that_goal(line: Line, signed_in: Client) -> None:
    make_repo("dataset", "labels", line.alice, {"train.jsonl": as_jsonl(
        [{"body": row["question"], "category": ("high", "low")[i % 2]} for i, row in enumerate(ROWS)])})  # fmt: skip
    found = look(signed_in, wizard("labels", goal="classification"))
    mended = address_of("Read “body” as the text and “category” as the label", found["wrong_column"])
    assert look(signed_in, mended) == {}
    make_repo(
        "dataset",
        "sorted",
        line.alice,
        {"train.jsonl": as_jsonl([{"text": r["question"], "label": "a"} for r in ROWS])},
    )
    assert look(signed_in, address_of("Make the goal “Sort", look(signed_in, wizard("sorted"))["wrong_column"])) == {}


def test_long_rows_are_read_whole_where_the_model_can(line: Line, signed_in: Client) -> None:
    text = line.recipe().replace("context_tokens: 128", "context_tokens: 64")
    push(line.target, line.alice, {"recipe.yaml": text.encode()})
    make_repo("dataset", "faulty", line.alice, {"train.jsonl": as_jsonl(ROWS)})
    found = look(signed_in, wizard("faulty", "tides"))
    mended = address_of("Read 128 tokens at once", found["truncation"], "tides")
    assert look(signed_in, mended) == {}
    assert propose(signed_in, mended).train.context_tokens == 128


BETTER = [
    {"prompt": row["question"], "chosen": row["answer"], "rejected": f"Nobody in {row['question'][:30]} can say that."}
    for row in ROWS
]


def test_two_answers_to_each_question_become_a_run_that_prefers_the_better_one(line: Line, signed_in: Client) -> None:
    """Recognised by their columns, shown with both answers and what becomes of their tokens, and proposed."""
    make_repo("dataset", "better", line.alice, {"train.jsonl": as_jsonl(BETTER)})
    found = look(signed_in, wizard("better"))
    assert list(found) == ["wrong_column"]
    buttons = list(found["wrong_column"])
    assert (
        buttons[0] == "Make the goal “Tell the better answer from the worse”"
    )  # before: learn the better one by heart
    address = address_of(buttons[0], found["wrong_column"])
    assert look(signed_in, address) == {}
    page = signed_in.get(address).content.decode()
    assert page.count("Better answer</span>") == page.count("Worse answer</span>") == 3
    assert page.count("With the better answer:") == page.count("With the worse answer:") == 3
    learnt, unlearnt = (
        "".join(unescape(t) for t in re.findall(rf'<span class="token {kind}">([^<]*)</span>', page))
        for kind in ("token--learnt", "token--unlearnt")
    )
    assert BETTER[0]["chosen"] in learnt and BETTER[0]["rejected"] in unlearnt
    assert BETTER[0]["prompt"] not in learnt + unlearnt
    recipe = propose(signed_in, address)
    assert (recipe.train.objective, recipe.contributions[0].format) == ("dpo", "preference")


def test_columns_of_two_answers_may_have_other_names_and_rows_without_a_choice_are_said(
    line: Line, signed_in: Client
) -> None:
    named = [{"Frage": r["prompt"], "response_chosen": r["chosen"], "response_rejected": r["rejected"]} for r in BETTER]
    alike = {**named[0], "response_rejected": named[0]["response_chosen"]}
    make_repo("dataset", "better", line.alice, {"train.jsonl": as_jsonl([*named, alike])})
    found = look(signed_in, wizard("better", goal="preference"))
    button = "Read “Frage” as the question and “response_chosen” as the chosen and “response_rejected” as the rejected"
    mended = address_of(button, found["wrong_column"])
    found = look(signed_in, mended)
    assert list(found) == ["no_choice"]
    mended = address_of("Leave them out", found["no_choice"])
    assert look(signed_in, mended) == {}
    assert "1 rows without two different answers" in signed_in.get(mended).content.decode()
    columns = propose(signed_in, mended).contributions[0].columns
    assert (columns.question, columns.chosen, columns.rejected) == (
        ("Frage",),
        ("response_chosen",),
        ("response_rejected",),
    )


def test_a_model_that_learns_answers_does_not_learn_in_the_same_run_which_is_better(
    line: Line, signed_in: Client
) -> None:
    push(line.target, line.alice, {"recipe.yaml": line.recipe().encode()})
    make_repo("dataset", "better", line.alice, {"train.jsonl": as_jsonl(BETTER)})
    found = look(signed_in, wizard("better", "tides", goal="preference"))
    assert found == {"other_kind": {"Make a model that starts from it": "/propose"}}
