"""Typed readers of environment variables: a wrong value stops the start with one sentence."""

import ipaddress
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub.storage.bucket import parse_store_url


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


def env_networks(name: str, default: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Networks as "10.1.0.0/16, fd00::/8"; a single address is a network of one."""
    networks = []
    for text in env_list(name, default):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as problem:
            raise EnvError(
                f"The environment variable {name} names {text!r}, which is no network ({problem}); "
                "write for example 10.1.0.0/16, separated by commas."
            ) from None
    return networks


def read_database_url(name: str, text: str) -> dict[str, Any]:
    """Django's settings for `postgres://user:password@host:port/name`; `?host=/run/postgresql` names a socket's folder."""
    hint = "write postgres://user:password@host/name, or leave it out for SQLite"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as problem:
        raise EnvError(f"The environment variable {name} is no address ({problem}); {hint}.") from None
    if url.scheme not in ("postgres", "postgresql"):
        raise EnvError(f"The environment variable {name} begins with {url.scheme or text[:20]!r}; {hint}.")
    if not url.path.strip("/"):
        raise EnvError(f"The environment variable {name} names no database; {hint}.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": parse_qs(url.query).get("host", [url.hostname or ""])[-1],
        "PORT": port or "",
        "CONN_MAX_AGE": 60,  # seconds
        "CONN_HEALTH_CHECKS": True,  # the server may have been restarted meanwhile
    }


def read_store_url(name: str, text: str) -> str:
    """`text` if it names a bucket, or is empty for the local disk."""
    if text:
        if find_spec("botocore") is None:
            raise EnvError(
                f"The environment variable {name} names a bucket, which needs a package more; install it with "
                "./manage.py prepare, or with pip install 'botocore~=1.44'."
            )
        try:
            parse_store_url(text)
        except ValueError as problem:
            raise EnvError(
                f"The environment variable {name} is no address of a bucket ({problem}); write "
                "s3://bucket/prefix?endpoint=https://host, or leave it out for the local disk."
            ) from None
    return text
