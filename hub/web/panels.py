"""Slots that higher rooms fill: pages of the hub ask here, training and moderation register from AppConfig.ready().

A panel is a function (request, context) -> HTML string; "" shows nothing. What the context holds, by slot:

    home                    {}                                        below the head of the front page
    repo_header             {"repo", "reader"}                        under the repository's name, on each of its pages
    repo_side               {"repo", "reader"}                        right column of the Card tab
    repo_tabs               {"repo", "reader"}                        extra markup at the end of the tab row (prefer `add_tab`)
    file_side               {"repo", "reader", "commit", "entry"}     right column of one file
    pull_request_top        {"repo", "discussion", "pull_request"}    above the verdict
    pull_request_checks     ... and {"check"}                         once per check: links to its evidence
    check_actions           ... and {"check"}                         once per check: re-run, run, cancel
    pull_request_evidence   {"repo", "discussion", "pull_request"}    under the checks: curves, comparisons, samples
    pull_request_side       {"repo", "discussion", "pull_request"}    right column
    answer_actions          {"repo", "job", "release", "commit", "prompt", "messages", "answer", "settings"}
                                                                      under an answer of the playground

`pull_request_*` and `check_actions` are part of the fragment that is polled while something runs: they must be cheap,
and give the same HTML while nothing has changed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString, mark_safe

from hub.repos.models import Repo

log = logging.getLogger(__name__)

SLOTS = frozenset(
    "home repo_header repo_side repo_tabs file_side pull_request_top pull_request_checks check_actions "
    "pull_request_evidence pull_request_side answer_actions".split()
)

Render = Callable[[HttpRequest, dict[str, Any]], str]


@dataclass(frozen=True)
class Tab:
    title: str
    path_suffix: str  # "/runs": appended to the repository's address
    predicate: Callable[[HttpRequest, Repo], bool]
    count: Callable[[HttpRequest, Repo], int | None]
    order: int = 0


_panels: dict[str, list[tuple[int, Render]]] = {slot: [] for slot in SLOTS}
_tabs: list[Tab] = []


def add_panel(slot: str, render: Render, order: int = 0) -> None:
    """Fill a slot; lower `order` comes first. Registering the same function again changes nothing."""
    if slot not in SLOTS:
        raise ValueError(f"There is no slot {slot!r}; use one of {', '.join(sorted(SLOTS))}.")
    if all(known is not render for _, known in _panels[slot]):
        _panels[slot].append((order, render))
        _panels[slot].sort(key=lambda panel: panel[0])


def add_tab(
    title: str,
    path_suffix: str,
    predicate: Callable[[HttpRequest, Repo], bool] = lambda request, repo: True,
    count: Callable[[HttpRequest, Repo], int | None] = lambda request, repo: None,
    order: int = 0,
) -> None:
    """A further tab of every repository for which `predicate(request, repo)` holds, between Proposals and Settings."""
    if all(tab.path_suffix != path_suffix for tab in _tabs):
        _tabs.append(Tab(title, path_suffix, predicate, count, order))
        _tabs.sort(key=lambda tab: tab.order)


def tabs_of(request: HttpRequest, repo: Repo) -> list[Tab]:
    return [tab for tab in _tabs if tab.predicate(request, repo)]


def render_slot(slot: str, request: HttpRequest, context: dict[str, Any]) -> SafeString:
    """All panels of a slot, one after another."""
    return mark_safe("".join(render_panel(slot, render, request, context) for _, render in _panels[slot]))  # noqa: S308


def render_panel(slot: str, render: Render, request: HttpRequest, context: dict[str, Any]) -> str:
    try:
        return str(render(request, context) or "")
    except Exception:  # a broken panel must not take the whole page of a repository with it
        log.exception("The panel %s of slot %s failed", getattr(render, "__qualname__", render), slot)
        return '<p class="callout callout--warn" role="status">This part of the page could not be shown.</p>'
