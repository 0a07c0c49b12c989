"""A suite of three small tasks, written to a folder."""

import json
from pathlib import Path
from typing import Any

QUESTIONS = [
    {"question": f"Which word is number {n}? " + "the tide " * (n % 5), "choices": ["sea", "harbour wall", "rain"],
     "answer": n % 3, "topic": "even" if n % 2 == 0 else "odd"}
    for n in range(10)
]  # fmt: skip
PROMPTS = [{"prompt": "Say tide.", "answer": "tide"}, {"prompt": "Say sea.", "answers": ["sea", "the sea"]}]
TEXTS = [{"text": f"The sea is calm on day {n}, and the boats lie in the harbour."} for n in range(6)]
DESCRIPTION = """\
version: 1
name: Tiny
margin: 0.5
tasks:
  - {name: choices, kind: multiple_choice, file: choices.jsonl, slice: topic}
  - {name: answers, kind: generation, file: answers.jsonl, metric: f1, max_new_tokens: 4}
  - {name: texts, kind: perplexity, file: texts.jsonl, margin: 5}
"""


def write_suite(folder: Path, description: str = DESCRIPTION, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(description)
    rows = {"choices": QUESTIONS, "answers": PROMPTS, "texts": TEXTS} | files
    for name, content in rows.items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text)
    return folder
