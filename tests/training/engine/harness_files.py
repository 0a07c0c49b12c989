"""Task files as lm-evaluation-harness has them, with rows in the suite: what the tests of harness tasks read."""

import json
from pathlib import Path

TRAIN = [
    {"question": f"What rises {n} times?", "support": " Read. ", "options": {"text": ["tide", "sun", "é wind"], "label": ["A", "B", "C"]},
     "key": "ABC"[n % 3], "solution": f"It rises. #### {n},{n}00", "topic": "even" if n % 2 == 0 else "odd"}
    for n in range(9)
]  # fmt: skip
ASKED = [
    {"question": f"Which comes {'and goes ' * (n % 3)}in the harbour, number {n}?", "support": "The sea is calm. ",
     "options": {"text": ["tide", "boats in the rain", "é wind"], "label": ["A", "B", "C"]}, "key": "ABC"[n % 3],
     "solution": f"Boats. #### {n}", "topic": "even" if n % 2 == 0 else "odd"}
    for n in range(8)
]  # fmt: skip

DATA = """\
dataset_path: json
dataset_kwargs: {data_files: {train: rows/train.jsonl, test: rows/test.jsonl}}
training_split: train
test_split: test
"""
ARC = (
    """\
tag:
  - ai2_arc
task: tide_arc
"""
    + DATA
    + """\
dataset_name: null
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{options.label.index(key)}}"
doc_to_choice: "{{options.text}}"
should_decontaminate: true
doc_to_decontamination_query: "Question: {{question}}\\nAnswer:"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
)
SHOWN = (
    "task: tide_shown\n"
    + DATA
    + """\
fewshot_split: test
num_fewshot: 3
description: "Questions about {{topic}}.\\n\\n"
output_type: multiple_choice
doc_to_text: |
  {{support.strip()}}
  {% for letter in options.label %}{{letter}}. {{options.text[loop.index0]}}
  {% endfor %}{{question}} Answer:
doc_to_choice: ["A", "B", "C"]
doc_to_target: key
fewshot_delimiter: "\\n--\\n"
"""
)
SOLVED = (
    "task: tide_solved\n"
    + DATA
    + """\
fewshot_split: train
num_fewshot: 2
fewshot_config: {sampler: first_n}
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{solution if topic == 'odd' else '[invalid]'}}"
metric_list:
  - metric: exact_match
    ignore_case: true
    regexes_to_ignore: [",", "(?s).*#### ", "\\\\.$"]
generation_kwargs:
  until: ["Question:", "q"]
  max_gen_toks: 12
  do_sample: false
  temperature: 0.0
repeats: 1
filter_list:
  - name: strict-match
    filter:
      - {function: regex, regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"}
      - {function: take_first}
  - name: letters
    filter:
      - {function: regex, group_select: -1, regex_pattern: "([a-f])|([g-z])"}
      - {function: lowercase}
      - {function: take_first}
"""
)
ROLLED = (
    "task: tide_rolled\n"
    + DATA
    + """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{support}}{{question}} {{support|upper}}{{question}} {{support}}{{question + question}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
"""
)
ENDED = (
    "task: tide_ended\n"
    + DATA
    + """\
output_type: loglikelihood
doc_to_text: "{{question}} "
doc_to_target: "{{options.text[0]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
"""
)
FILES = {"arc": ARC, "shown": SHOWN, "solved": SOLVED, "rolled": ROLLED, "ended": ENDED}


def write_harness_suite(folder: Path, **changed: str) -> Path:
    """A suite with each task of FILES; `changed` replaces the text of a file."""
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    (folder / "tasks").mkdir(exist_ok=True)
    for name, rows in (("train", TRAIN), ("test", ASKED)):
        (folder / "rows" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = FILES | changed
    for name, text in files.items():
        (folder / "tasks" / f"{name}.yaml").write_text(text)
    lines = [f"  - {{name: {name}, kind: harness, file: tasks/{name}.yaml}}" for name in files]
    (folder / "suite.yaml").write_text("version: 1\nname: Harness\ntasks:\n" + "\n".join(lines) + "\n")
    return folder
