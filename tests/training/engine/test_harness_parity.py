"""A task file means here what it means to lm-evaluation-harness: the same questions, and the same scores of one model."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.harness_files import FILES, write_harness_suite
from tests.training.engine.tiny_served import open_tiny
from training.engine.evals.harness_tasks import FEWSHOT_SEED, iterate_pairs
from training.engine.evals.scoring import score_task
from training.engine.evals.suite import Suite, Task, read_suite
from training.engine.serving import Served

pytestmark = pytest.mark.slow  # lm_eval takes some ten seconds to import


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_harness_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def suite(folder: Path) -> Suite:
    return read_suite(folder)


@pytest.fixture(scope="module", params=["bare", "marked"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """It reads less than some of the questions hold. Marked: its tokenizer begins every text with a mark, as llama's do."""
    served = open_tiny(tmp_path_factory.mktemp("model"), context_tokens=160)
    if request.param == "marked":
        from tokenizers.processors import TemplateProcessing

        start = served.tokenizer.bos_token
        process = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, served.tokenizer.bos_token_id)])
        served.tokenizer.backend_tokenizer.post_processor = process
        assert served.tokenizer("tide")["input_ids"][0] == served.tokenizer.bos_token_id
    return served


def read_theirs(folder: Path, name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task as the harness reads the very file, from the folder of the suite."""
    import yaml
    from lm_eval.api.task import ConfigurableTask

    monkeypatch.chdir(folder)
    config = yaml.safe_load((folder / "tasks" / f"{name}.yaml").read_text())
    config["dataset_kwargs"]["cache_dir"] = str(cache)
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def ask_theirs(task: Any) -> list[tuple[Any, ...]]:
    task.build_all_requests(limit=None, rank=0, world_size=1)
    return [instance.arguments for instance in task.instances]


def ask_ours(task: Task) -> list[tuple[Any, ...]]:
    assert task.harness is not None
    kind, rows = task.harness.output_type, task.rows
    if kind == "loglikelihood_rolling":
        return [(row["text"],) for row in rows]
    if kind == "generate_until":
        return [(row["context"],) for row in rows]
    return [pair for row in rows for pair in iterate_pairs(task.harness, row)]


@pytest.mark.parametrize("name", FILES)
def test_the_same_is_asked(
    folder: Path, suite: Suite, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ask_ours(next(task for task in suite.tasks if task.name == name))
    theirs = ask_theirs(read_theirs(folder, name, tmp_path, monkeypatch))
    assert [asked[: len(ours[0])] for asked in theirs] == ours
    assert len(set(ours)) == len(ours) >= 8


@pytest.mark.parametrize(
    ("name", "metric", "filter"),
    [
        ("arc", "acc", None),
        ("arc", "acc_norm", None),
        ("shown", "acc", None),
        ("solved", "exact_match", "strict-match"),
        ("solved", "exact_match", "letters"),
        ("rolled", "bits_per_byte", None),
        ("ended", "acc", None),
    ],
)
def test_the_same_model_has_the_same_score(
    folder: Path,
    served: Served,
    name: str,
    metric: str,
    filter: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    line = f"{{name: {name}, kind: harness, file: tasks/{name}.yaml, metric: {metric}"
    line += f", filter: {filter}}}" if filter else "}"
    (folder / "suite.yaml").write_text(f"version: 1\nname: One\ntasks:\n  - {line}\n")
    (task,) = read_suite(folder).tasks
    scores = score_task(task, served)
    own = sum(row.score for row in scores) / sum(row.weight for row in scores)
    model = HFLM(pretrained=served.model, tokenizer=served.tokenizer, batch_size=3, device="cpu", max_length=160)
    theirs = read_theirs(folder, name, tmp_path, monkeypatch)
    said = evaluate(lm=model, task_dict={theirs.task_name: theirs}, bootstrap_iters=0, log_samples=True)
    key = f"{metric},{filter or 'none'}"
    assert own == pytest.approx(said["results"][theirs.task_name][key], abs=1e-4)
    samples = [s for s in said["samples"][theirs.task_name] if s["filter"] == (filter or "none")]
    samples.sort(key=lambda sample: sample["doc_id"])
    if name == "solved":
        assert [row.log["text"] for row in scores] == [sample["resps"][0][0] for sample in samples]
        assert [row.log["filtered"] for row in scores] == [sample["filtered_resps"][0] for sample in samples]
    elif name != "rolled":
        found = [value for row in scores for value in row.log["logprobs"]]
        assert found == pytest.approx([answer[0][0] for s in samples for answer in s["resps"]], abs=2e-4)
