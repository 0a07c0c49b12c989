"""How to use a repository from a program: commands to copy, with this site's address in them."""

from dataclasses import dataclass

from hub.repos.models import Repo


@dataclass(frozen=True)
class Snippet:
    title: str
    code: str
    note: str = ""


def list_snippets(
    repo: Repo, site_url: str, files: set[str], *, is_member: bool = False, has_weights: bool = True
) -> list[Snippet]:
    """`files` are the paths at the head: a model that transformers cannot load gets no snippet for it."""
    endpoint = f"export HF_ENDPOINT={site_url}"
    kind = "" if repo.type == "model" else f" --repo-type {repo.type}"
    title, note = "Download with hf", ""
    if not has_weights:
        title, note = "Download its files with hf", "It holds no weights yet; this brings what describes it."
    found = [Snippet(title, f"{endpoint}\nhf download {repo.full_name}{kind}", note)]
    if repo.type == "model" and "config.json" in files:
        found.append(Snippet("Load in transformers", load_model(repo, site_url)))
    if repo.type == "dataset":
        found.append(Snippet("Load in datasets", load_dataset(repo, site_url)))
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


def load_dataset(repo: Repo, site_url: str) -> str:
    return (
        f'import os\nos.environ["HF_ENDPOINT"] = "{site_url}"  # before the import below\n'
        f'from datasets import load_dataset\n\nrows = load_dataset("{repo.full_name}")'
    )
