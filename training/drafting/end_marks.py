"""Giving a model's tokenizer the end mark that it forgot to name; without one nothing can be trained on it."""

import json
from typing import Any

from hub.accounts.permissions import require
from hub.common.errors import EntryNotFound, InvalidInput
from hub.community.contributions import commit
from hub.storage.git import AddFile
from training.drafting.preview_columns import END_MARKS
from training.drafting.previews import MAX_TOKENIZER_BYTES
from training.drafting.starts import Start

SETTINGS = "tokenizer_config.json"


def name_end_mark(start: Start, user: Any) -> None:
    """Write the end mark that its vocabulary holds into the tokenizer of the model, as a commit.

    Raises Forbidden without write access to it, InvalidInput where there is nothing to write."""
    if start.model is None or not start.follows_branch:
        raise InvalidInput("This model is pinned, so its tokenizer stays as it is; start from another model.")
    repo = start.model.repo
    require(user, "write", repo)
    try:
        settings = json.loads(start.model.read_text(start.commit, SETTINGS))
    except EntryNotFound:
        settings = {}
    except (ValueError, RecursionError):
        raise InvalidInput(f"{SETTINGS} of {repo.full_name} is not JSON that can be read; mend it first.") from None
    mark = find_end_mark(start.model.read_text(start.commit, "tokenizer.json", limit=MAX_TOKENIZER_BYTES))
    if not mark or not isinstance(settings, dict):
        raise InvalidInput(
            f"The vocabulary of {repo.full_name} holds no end mark that is known here; start from another model."
        )
    text = json.dumps({**settings, "eos_token": mark}, indent=2, ensure_ascii=False) + "\n"
    commit(
        repo=repo,
        by=user,
        revision=None,
        operations=[AddFile(SETTINGS, text.encode())],
        title=f"Name {mark} as the end mark",
        expected_parent=start.commit,
        door="browser",
    )


def find_end_mark(tokenizer: str) -> str:
    """The first usual end mark among the added tokens and the vocabulary of a tokenizer.json; "" when there is none."""
    try:
        known = json.loads(tokenizer)
        words = {
            *known.get("model", {}).get("vocab", {}),
            *(token["content"] for token in known.get("added_tokens", ())),
        }
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return ""
    return next((mark for mark in END_MARKS if mark in words), "")
