"""How to use a repository from a program: commands to copy, with this site's address in them."""

import json
from dataclasses import dataclass
from typing import Any

from hub.repos.models import Repo

MAX_CONFIGURATIONS = 10  # a line for each


@dataclass(frozen=True)
class Snippet:
    title: str
    code: str
    note: str = ""


def list_snippets(
    repo: Repo,
    site_url: str,
    files: set[str],
    *,
    metadata: dict[str, Any] | None = None,
    is_member: bool = False,
    has_weights: bool = True,
) -> list[Snippet]:
    """`files` are the paths at the head: a model that transformers cannot load gets no snippet for it. `metadata` of the
    card names the configurations of a dataset."""
    endpoint = f"export HF_ENDPOINT={site_url}"
    kind = "" if repo.type == "model" else f" --repo-type {repo.type}"
    title, note = "Download with hf", ""
    if not has_weights:
        title, note = "Download its files with hf", "It holds no weights yet; this brings what describes it."
    found = [Snippet(title, f"{endpoint}\nhf download {repo.full_name}{kind}", note)]
    if repo.type == "model" and "config.json" in files:
        found.append(Snippet("Load in transformers", load_model(repo, site_url)))
    if repo.type == "dataset":
        found.append(Snippet("Load in datasets", load_dataset(repo, site_url, list_configurations(metadata or {}))))
    found.append(clone_with_git(repo, site_url, is_member=is_member))
    upload = f"{endpoint}\nhf auth login\nhf upload {repo.full_name} ./my-folder .{kind} --create-pr"
    found.append(Snippet("Propose a change with hf", upload, "Without --create-pr it goes to main, if you may write."))
    found.append(propose_with_git(repo))
    return found


def propose_with_git(repo: Repo) -> Snippet:
    code = f"git push origin HEAD:refs/for/{repo.default_branch}"
    note = "It answers with the number of the proposal; git push origin HEAD:refs/pr/NUMBER adds to it."
    return Snippet("Propose a change with git", code, f"In a clone, with an access token as password. {note}")


def clone_with_git(repo: Repo, site_url: str, *, is_member: bool) -> Snippet:
    """git sends a token only where it is asked for one, so members have an address that asks."""
    note = "Large files need git-lfs."
    if is_member:
        site_url += "/git"
        note += " This address asks for a token and brings along what still waits for clearance."
    return Snippet("Clone with git", f"git lfs install\ngit clone {site_url}{repo.path}", note)


def load_model(repo: Repo, site_url: str) -> str:
    return (
        f'import os\nos.environ["HF_ENDPOINT"] = "{site_url}"  # before the import below\n'
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo.full_name}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{repo.full_name}")'
    )


def list_configurations(metadata: dict[str, Any]) -> list[str]:
    """Their names as the card gives them, where `load_dataset` has to be told one of them: there are several and none is
    the default."""
    configs = metadata.get("configs")
    rows = [row for row in configs if isinstance(row, dict)] if isinstance(configs, list) else []
    names = [row["config_name"] for row in rows if isinstance(row.get("config_name"), str)]
    has_default = "default" in names or any(row.get("default") is True for row in rows)
    return names[:MAX_CONFIGURATIONS] if len(names) > 1 and not has_default else []


def load_dataset(repo: Repo, site_url: str, configurations: list[str]) -> str:
    calls = [f'rows = load_dataset("{repo.full_name}", {json.dumps(name)})' for name in configurations]
    return (
        f'import os\nos.environ["HF_ENDPOINT"] = "{site_url}"  # before the import below\n'
        "from datasets import load_dataset\n\n" + "\n".join(calls or [f'rows = load_dataset("{repo.full_name}")'])
    )
