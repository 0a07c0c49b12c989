"""Task files of lm-evaluation-harness: what is accepted is scored, what is not is refused by name and place."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.harness_files import ARC, ASKED, FILES, ROLLED, SHOWN, SOLVED, write_harness_suite
from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine.__main__ import main as run_engine
from training.engine.corpus.contamination import read_questions
from training.engine.decoding import decode
from training.engine.evals.harness_scoring import apply_filter, cut, generate, matches, roll_windows
from training.engine.evals.harness_templates import BoundedTemplate, TemplateProblem
from training.engine.evals.suite import SuiteError, Task, read_suite
from training.engine.inputs import InputRepo
from training.engine.tokenizer import time_limit


def read_task(folder: Path, name: str, **changed: str) -> Task:
    return next(t for t in read_suite(write_harness_suite(folder, **changed)).tasks if t.name == name)


# Questions


def test_questions_are_those_of_the_file(tmp_path: Path) -> None:
    row = read_task(tmp_path, "arc").rows[1]
    assert row["context"] == "Question: Which comes and goes in the harbour, number 1?\nAnswer:"
    assert (row["choices"], row["answer"]) == (["tide", "boats in the rain", "é wind"], 1)


def test_solved_examples_stand_before_a_question_and_never_hold_it(tmp_path: Path) -> None:
    rows = read_task(tmp_path, "shown").rows
    for asked, row in zip(ASKED, rows, strict=True):
        start, *examples, question = row["context"].removeprefix("Questions about ").split("\n--\n")
        assert start.startswith(f"{asked['topic']}.\n\nThe sea")
        assert len(examples) == 2 and question.endswith(f"{asked['question']} Answer:\n")
        assert all(str(asked["question"]) not in example for example in (start, *examples))
    assert len({row["context"].split("number ")[1] for row in rows}) > 2, "sampled anew for each row"
    first = read_task(tmp_path, "solved").rows
    assert all(row["context"].startswith("Question: What rises 0 times?\nAnswer: [invalid]\n\n") for row in first)


def test_the_first_rows_as_examples_leave_the_asked_row_out(tmp_path: Path) -> None:
    first = SHOWN.replace("num_fewshot: 3", "num_fewshot: 3\nfewshot_config: {sampler: first_n}")
    rows = read_task(tmp_path, "shown", shown=first).rows
    assert [row["context"].count(f"number {n}?") for n, row in enumerate(rows)] == [1] * 8
    assert [row["context"].count("number 3?") for row in rows] == [1, 1, 1, 1, 0, 0, 0, 0]


def test_a_harness_task_is_evaluated_and_logged_as_others(tmp_path: Path) -> None:
    folder = write_harness_suite(tmp_path / "suite")
    text = (folder / "suite.yaml").read_text()
    (folder / "suite.yaml").write_text(text.replace("arc.yaml}", "arc.yaml, metric: acc_norm, slice: topic}"))
    model = make_tiny_folder(tmp_path / "model")
    out = tmp_path / "out"
    assert run_engine(["evaluate", "--suite", str(folder), "--model", str(model), "--out", str(out)]) == 0
    report = json.loads((out / "evaluation.json").read_text())
    assert [(s["slice"], s["metric"], s["n"]) for s in report["slices"]] == [
        ("even", "acc_norm", 4),
        ("odd", "acc_norm", 4),
        ("shown", "acc", 8),
        ("solved", "exact_match", 8),
        ("rolled", "bits_per_byte", 8),
        ("ended", "acc", 8),
    ]
    assert [s["higher_is_better"] for s in report["slices"]] == [True, True, True, True, False, True]
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 40 and samples[0]["context"].startswith("Question: Which")
    assert {"text", "filtered"} <= samples[20]["candidate"].keys()
    changed = ROLLED.replace("upper", "lower")
    assert read_suite(write_harness_suite(folder, rolled=changed)).digest != report["suite_digest"]


def test_rows_may_lie_in_a_parquet_file_and_are_kept_out_of_training(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write_harness_suite(tmp_path)
    renamed = [{"asked": row["question"]} | row for row in ASKED]
    pq.write_table(
        pa.Table.from_pylist([{k: v for k, v in r.items() if k != "question"} for r in renamed]),
        folder / "rows.parquet",
    )
    start = "task: p\ndataset_path: parquet\ndataset_kwargs: {data_files: {validation: rows.parquet}}\nvalidation_split: validation\n"
    task = read_task(folder, "arc", arc=start + "doc_to_text: asked\ndoc_to_target: topic\n")
    assert [row["context"] for row in task.rows] == [row["question"] for row in ASKED]
    assert task.rows[0]["answers"] == ["even"]
    suite = InputRepo("dataset", "a/b", "", None, folder, folder, "a/b")
    assert str(ASKED[0]["question"]) in {question.text for question in read_questions(suite)}


# Refusals


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("arc", '"{{options.text}}"', "!function utils.choices", "arc.yaml:12:16: the tag !function is not allowed; functions of"),
        ("arc", "task: tide_arc", "task: a\nprocess_docs: x", "arc.yaml:4:1: 'process_docs' is outside of what is accepted"),
        ("arc", "task: tide_arc", "task: a\ninclude: b.yaml", "'include' is outside of what is accepted; write the keys"),
        ("arc", "dataset_name: null", "dataset_name: ARC-Easy", "'dataset_name' is outside"),
        ("arc", "task: tide_arc", "task: a\nunsafe_code: true", "'unsafe_code' is outside"),
        ("arc", "dataset_path: json", "dataset_path: allenai/ai2_arc", "'allenai/ai2_arc' is not one of json, parquet"),
        ("arc", "rows/test.jsonl", "rows/../../x.jsonl", "leads out of the suite"),
        ("arc", "rows/test.jsonl", "gone.jsonl", "gone.jsonl is missing"),
        ("arc", "{train: rows/train.jsonl, test: rows/test.jsonl}", "rows/test.jsonl", "a mapping from split to file"),
        ("arc", "test_split: test", "test_split: tests", "data_files has no split 'tests'"),
        ("arc", "doc_to_choice:", "doc_to_choices:", "unknown key 'doc_to_choices'; did you mean 'doc_to_choice'?"),
        ("arc", "metric: acc_norm", "metric: f1", "'f1' is not one of acc,"),
        ("arc", "metric: acc_norm", "metric: exact_match", "multiple_choice has no metric exact_match here"),
        ("arc", "aggregation: mean", "aggregation: perplexity", "acc is not put together by perplexity"),
        ("arc", "higher_is_better: true", "higher_is_better: false", "the direction of acc is the other one"),
        ("arc", "{{question}}\\nAnswer", "{{query}}\\nAnswer", "test.jsonl: row 1: the template fails: 'query' is undefined"),
        ("arc", '"{{options.label.index(key)}}"', "3", "must give one of the choices or its number, 0 to 2"),
        ("arc", '"{{options.text}}"', '"{{question}}"', "row 1: the template does not write a list as Python does"),
        ("arc", "{{options.label.index(key)}}", "{% macro x() %}{% endmacro %}", "'macro' is not allowed in a template"),
        ("arc", 'doc_to_text: "', 'num_fewshot: 1\ndoc_to_text: "', "'fewshot_split' is missing"),
        ("shown", "num_fewshot: 3", "num_fewshot: 8", "8 solved examples need 9 rows, there are 8"),
        ("shown", "num_fewshot: 3", "num_fewshot: 3\ngen_prefix: A", "'gen_prefix' is outside"),
        ("solved", "do_sample: false", "do_sample: true", "answers are greedy here; write do_sample: false"),
        ("solved", "temperature: 0.0", "temperature: 0.7", "0.7 is out of range"),
        ("solved", "max_gen_toks: 12", "num_beams: 4", "unknown key 'num_beams'"),
        ("solved", "repeats: 1", "repeats: 8", "'repeats' is outside of what is accepted; each row is asked once"),
        ("solved", "{function: lowercase}", "{function: majority_vote}", "'majority_vote' is not one of regex,"),
        ("solved", "      - {function: lowercase}\n      - {function: take_first}\n", "", "does not end with take_first"),
        ("solved", "(?s).*#### ", "(?s.*", "this is no regular expression"),
        ("rolled", "  - metric: bits_per_byte\n", "", "no metric of metric_list can be scored; add bits_per_byte"),
        ("rolled", 'doc_to_text: ""', "num_fewshot: 1", "a text is scored without examples"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, name: str, old: str, new: str, what: str) -> None:
    assert old in FILES[name]
    with pytest.raises(SuiteError) as refused:
        read_suite(write_harness_suite(tmp_path, **{name: FILES[name].replace(old, new, 1)}))
    assert any(what in problem for problem in refused.value.problems), refused.value.problems
    assert all(problem.startswith((f"tasks/{name}.yaml:", "rows/")) for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("arc.yaml}", "arc.yaml, metric: bits_per_byte}", "arc.yaml: metric_list has no bits_per_byte; it can be scored by acc or"),
        ("solved.yaml}", "solved.yaml, filter: strict}", "filter_list has no 'strict'; known there: strict-match, letters"),
        ("arc.yaml}", "arc.yaml, max_new_tokens: 3}", "harness has no max_new_tokens; its file says that"),
        ("arc.yaml}", "arc.yaml, slice: subject}", "row 1: the column 'subject' is missing"),
        ("tasks/arc.yaml", "rows/test.jsonl", "rows/test.jsonl is no file of kind harness"),
        ("kind: harness, file: tasks/arc", "kind: generation, file: tasks/arc", "tasks/arc.yaml is no file of kind generation"),
    ],
)  # fmt: skip
def test_a_suite_says_of_a_harness_file_only_what_it_holds(tmp_path: Path, old: str, new: str, what: str) -> None:
    folder = write_harness_suite(tmp_path)
    text = (folder / "suite.yaml").read_text()
    assert old in text
    (folder / "suite.yaml").write_text(text.replace(old, new))
    with pytest.raises(SuiteError) as refused:
        read_suite(folder)
    assert what in str(refused.value)


def test_templates_that_never_end_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.engine.evals.harness_tasks.TEMPLATES_TIMEOUT_S", 0.2)
    loop = "{% for a in range(999) %}{% for b in range(999) %}{% if a == b + 999 %}x{% endif %}{% endfor %}{% endfor %}"
    with pytest.raises(SuiteError, match=r"arc.yaml: the templates take longer than 0.2 seconds; simplify them"):
        read_suite(write_harness_suite(tmp_path, arc=ARC.replace("Question: {{question}}", loop)))


# Templates

ROW: dict[str, Any] = {"q": " Why? ", "c": {"text": ["a", "b's"]}, "n": 3, "long": "x" * 400_000}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Q: {{q.strip()}}\n", "Q: Why?\n"),
        ("{% set start = 'Q:' + q %}{{start + 'A:'}} {{[c, c]|map(attribute='text')|list}}", "Q: Why? A: [['a', \"b's\"], ['a', \"b's\"]]"),
        ("{{c.text}} {{[q, n, none, true]}}", "['a', \"b's\"] [' Why? ', 3, None, True]"),
        ("{{q|trim ~ n ~ none}}{{ n * 2 + 1 }}", "Why?3None7"),
        ("{% for x in c.text %}{{loop.index}}{{x if x != 'a'}}{% endfor %}", "12b's"),
        ("{{', '.join(c.text)}} {{c.text|join('+')}} {{q.replace('W', 'w')|regex_replace('h(.)', '\\\\1\\\\1')}}", "a, b's a+b's  wyy? "),
    ],
)  # fmt: skip
def test_templates_write_what_jinja_writes(source: str, text: str) -> None:
    assert BoundedTemplate(source).render(ROW) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ [q] * 1000000000 }}",
        "{{ 2 ** 1000000 ** 1000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ q.center(1000000000) }}",
        "{{ q|center(1000000000) }}",
        "{{ long + long + long }}",
        "{{ long ~ long ~ long }}",
        "{{ [long, long, long] }}",
        "{{ [long, long, long]|join }}",
        "{{ long.replace('x', long) }}",
        "{{ long|replace('', long) }}",
        "{{ long.join(c.text * 1) }}",
        "{{ long.join([q, q, q, q]) }}",
        "{{ long|regex_replace('x', long) }}",
        "{{ long }}{{ long }}{{ long }}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{{ q }}{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}{% endfor %}",
        "{% for a in q %}{% for b in q %}{% for c in q %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set a = [q, q] %}{% set b = [a, a] %}",
        "{% set a, b = q, q %}",
        "{% set a %}{{ q }}{% endset %}",
        "{% set a = long + long %}{% set a = a + a %}",
        "{{ c.text|map('upper')|list }}",
        "{{ [q]|map(attribute='__class__')|list }}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{{ q.__class__ }}",
        "{{ q['__class__'].__mro__ }}",
        "{{ q|attr('__class__') }}",
        "{{ c.text.append('x') }}",
        "{{ c.text.index(*q) }}",
        "{{ lipsum() }}",
        "{{ cycler }}",
        "{{ self }}",
        "{{ q.strip }}",
        "{{ missing }}",
        "{{ 1 / 0 }}",
        "{{ 1|round(10000000, 'ceil') is number }}",
        "{% set a = 7 %}" + "{% set a = a * a %}" * 26 + "{{ a is number }}",
        "{{ '".ljust(2000, "1") + "'|int(base=2) is number }}",
        "{{ q",
        "{{ " + "(" * 900 + "q" + ")" * 900 + " }}",
        "x" * 20_000,
    ],
)
def test_templates_that_reach_too_far_are_refused(source: str) -> None:
    with time_limit(2), pytest.raises(TemplateProblem):
        BoundedTemplate(source).render(ROW)


# Scores


def test_answers_are_filtered_and_compared_as_the_file_says(tmp_path: Path) -> None:
    found = read_task(tmp_path, "solved").harness
    assert found is not None
    strict, letters = found.filter_list
    assert [apply_filter(strict, text) for text in ("so #### -1,200. #### 3", "none")] == ["-1,200.", "[invalid]"]
    assert [apply_filter(letters, text) for text in ("a 3 Z h", "")] == ["h", "[invalid]"]
    (metric,) = found.metric_list
    assert matches(metric, "-1,200.", "It IS. #### -1200") and not matches(metric, "1200", "#### -1200")
    assert cut("a Question: b q", ("q", "Question:")) == "a "


def test_an_answer_ends_where_its_stop_text_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = open_tiny(tmp_path / "model")
    task = read_task(tmp_path / "suite", "solved", solved=SOLVED.replace('["Question:", "q"]', '["<never>"]'))
    assert task.harness is not None
    whole = generate(task.harness, task.rows, served, lambda done: None)
    stop = whole[0][4:6]
    kwargs = replace(task.harness.generation_kwargs, until=(stop, "<never>"))
    ended = replace(task.harness, generation_kwargs=kwargs)
    written: list[int] = []

    def count(*args: Any, **named: Any) -> list[list[int]]:
        answers = decode(*args, **named)
        written.extend(map(len, answers))
        return answers

    monkeypatch.setattr("training.engine.evals.harness_scoring.decode", count)
    assert generate(ended, task.rows, served, lambda done: None) == [text.split(stop)[0] for text in whole]
    assert min(written) < 12


@pytest.mark.parametrize("length", [1, 7, 8, 9, 24, 29])
def test_windows_predict_every_token_once_and_read_all_they_can(length: int) -> None:
    tokens = list(range(100, 100 + length))
    windows = list(roll_windows(tokens, 1, 8))
    assert [t for w in windows for t in w.continuation] == tokens
    assert windows[0].context == (1,)
    assert all(len(w.read_tokens()) == min(8, length) for w in windows)
    for window in windows:
        whole = window.context + window.continuation
        assert whole == tuple([1, *tokens][whole[0] - 99 if whole[0] > 1 else 0 :][: len(whole)])
