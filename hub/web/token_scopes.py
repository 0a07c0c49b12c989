"""What a fine-grained token reaches, as a person types it: one name a line."""

from hub.accounts.models import AccessToken, User
from hub.accounts.names import find_owner
from hub.common.errors import InvalidInput
from hub.repos.find import find_repo

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
MAX_NAMES = 20  # of one token
OWNER = "namespace/"


def read_scopes(*, reading: str, writing: str, user: User) -> dict[str, str]:
    """{name as `token_allows` looks it up: "read" or "write"}; who stands in both may write.

    Raises InvalidInput, NotFound for a name that this person does not see."""
    lines = [(line.strip().strip("/"), "read") for line in reading.splitlines()]
    lines += [(line.strip().strip("/"), "write") for line in writing.splitlines()]
    named = [(line, scope) for line, scope in lines if line]
    if not named:
        raise InvalidInput("Name what a fine-grained token may read or write, one name a line.")
    if len(named) > MAX_NAMES:
        raise InvalidInput(
            f"A token names at most {MAX_NAMES} repositories and owners; name an owner for all of theirs."
        )
    return {name_of(line, user): scope for line, scope in named}


def name_of(line: str, user: User) -> str:
    parts = line.split("/")
    if len(parts) == 1:
        return f"{OWNER}{find_owner(line[:200])}"
    if len(parts) != 3 or parts[0] not in KINDS:
        raise InvalidInput(
            f"{line[:100]!r} names nothing; write a name, or models/, datasets/ or spaces/ and NAME/REPOSITORY."
        )
    repo = find_repo(KINDS[parts[0]], f"{parts[1][:200]}/{parts[2][:200]}", user)
    return f"{repo.type}s/{repo.full_name}"


def describe_scopes(token: AccessToken) -> list[str]:
    """ "writes datasets/alice/tides", for the list of tokens."""
    words = {"read": "reads", "write": "reads and writes"}
    return [
        f"{words.get(scope, scope)} {f'all of {name.removeprefix(OWNER)}' if name.startswith(OWNER) else name}"
        for name, scope in sorted((token.scopes or {}).items())
    ]
