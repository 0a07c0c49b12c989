"""Which of a suite's items stand, in part, in the data that a run learnt from: its share, beside each score."""

from typing import Any

from training.models import Run


def add_contamination(results: dict[str, Any], run: Run, suite_name: str, suite_commit: str) -> None:
    """Write "contaminated" (a share from 0 to 1) into every part of an evaluation.json whose files were compared when the
    corpus was built; the parts of others have none. The whole is the share of all items."""
    counts = counts_of(run, suite_name, suite_commit)
    files: dict[str, list[str]] = results.get("task_files") or {}
    known = {task: [counts[path] for path in paths if path in counts] for task, paths in files.items()}
    for part in results["slices"]:
        put(part, known.get(part["task"], []))
    if known and all(known.values()):
        put(
            results["overall"],
            [count for path, count in counts.items() if any(path in names for names in files.values())],
        )


def put(part: dict[str, Any], counts: list[dict[str, int]]) -> None:
    compared = sum(count["compared"] for count in counts)
    if compared:
        part["contaminated"] = round(sum(count["seen"] for count in counts) / compared, 6)
        part["contaminated_of"] = compared


def counts_of(run: Run, suite_name: str, suite_commit: str) -> dict[str, dict[str, int]]:
    """File of the suite -> {"items", "compared", "seen"}; empty where the corpus was not compared with this very commit."""
    for row in run.result.get("contamination") or []:
        if str(row.get("suite", "")).lower() == suite_name.lower() and row.get("commit") == suite_commit:
            return dict(row["files"])
    return {}
