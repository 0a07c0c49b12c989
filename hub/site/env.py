"""Typed readers of environment variables: a wrong value stops the start with one sentence."""

import os
from pathlib import Path


class EnvError(SystemExit):
    """A setting that cannot be understood; exits with the sentence."""


def env_str(name: str, default: str) -> str:
    return os.environ.get(name, default)


def env_int(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise EnvError(
            f"The environment variable {name} is {text!r}; write a whole number, for example {default}."
        ) from None


def env_bool(name: str, default: bool) -> bool:
    text = os.environ.get(name, "").lower()
    if text in ("", None):
        return default
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise EnvError(f"The environment variable {name} is {text!r}; write 1 or 0.")


def env_path(name: str, default: Path) -> Path:
    return Path(os.environ.get(name) or default).expanduser().resolve()


def env_list(name: str, default: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]
