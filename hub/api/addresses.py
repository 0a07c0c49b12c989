"""How doors name things in addresses: repository types, absolute links, the next page of a list."""

from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import register_converter

from hub.repos.models import Repo

PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}  # before NAMESPACE/NAME in addresses for people


class RepoTypeConverter:
    """`<repo_type:type>` in API addresses: "models" in the address is "model" in the code."""

    regex = "models|datasets|spaces"

    def to_python(self, value: str) -> str:
        return value[:-1]

    def to_url(self, value: str) -> str:
        return f"{value}s"


class RestConverter:
    """`<rest:...>`: a revision and a path, both of which may hold slashes (WSGI hands over `%2F` decoded)."""

    regex = ".+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return quote(value)


register_converter(RepoTypeConverter, "repo_type")
register_converter(RestConverter, "rest")


def base_url(request: HttpRequest) -> str:
    """Scheme and host without a slash at the end, as the client sees them."""
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")


def absolute(request: HttpRequest, path: str) -> str:
    """The absolute address of a path of this site; `path` is not quoted yet."""
    return base_url(request) + quote(path)


def api_path(repo: Repo) -> str:
    return f"/api/{repo.type}s/{repo.full_name}"


def next_page(request: HttpRequest, **changes: Any) -> str:
    """A Link header to the same address with all its filters and the changes: the client uses it word by word."""
    query = request.GET.copy()
    for key, value in changes.items():
        query[key] = str(value)
    pairs = [(key, value) for key, values in query.lists() for value in values]
    return f'<{absolute(request, request.path)}?{urlencode(pairs)}>; rel="next"'
