"""How numbers, times, states and code look on every page: `{% load hub_format %}`."""

import hashlib
from datetime import datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from hub.common.markdown import render_markdown
from hub.web.panels import render_slot
from hub.web.plots import render_line_plot, write_plot_data

register = template.Library()

UNITS = ("kB", "MB", "GB", "TB", "PB")  # SI: 1 kB = 1000 bytes, as download tools count

# state -> (icon, tone, word). One list for the whole site, so that the same state looks the same everywhere.
STATES: dict[str, tuple[str, str, str]] = {
    "passed": ("passed", "good", "Passed"),
    "succeeded": ("passed", "good", "Succeeded"),
    "cleared": ("passed", "good", "Cleared"),
    "approved": ("passed", "good", "Approved"),
    "approve": ("passed", "good", "Approved"),
    "allowed": ("passed", "good", "Allowed"),
    "resolved": ("passed", "good", "Resolved"),
    "published": ("passed", "good", "Published"),
    "stable": ("passed", "good", "Stable"),
    "equal": ("passed", "good", "Equal"),
    "close": ("passed", "good", "Within tolerance"),
    "not_worse": ("passed", "good", "Not worse"),
    "open": ("proposal", "good", "Open"),
    "talk": ("comment", "good", "Open"),  # an open discussion that is no proposal
    "merged": ("merged", "info", "Merged"),
    "running": ("running", "info", "Running"),
    "preparing": ("running", "info", "Preparing data"),
    "training": ("running", "info", "Training"),
    "proposed": ("waiting", "info", "Waiting for approvals"),
    "waiting": ("waiting", "quiet", "Waiting"),
    "queued": ("waiting", "info", "Queued"),
    "pending": ("waiting", "warn", "Waiting for screening"),
    "comment": ("comment", "quiet", "Commented"),
    "closed": ("cancelled", "quiet", "Closed"),
    "cancelled": ("cancelled", "quiet", "Cancelled"),
    "draft": ("edit", "quiet", "Draft"),
    "private": ("lock", "quiet", "Private"),
    "public": ("eye", "quiet", "Public"),
    "info": ("info", "info", "Note"),
    "held": ("held", "warn", "Waiting for a person"),
    "hold": ("held", "warn", "Needs a person"),
    "insufficient": ("held", "warn", "Too few examples to tell"),
    "unreviewed": ("warning", "warn", "Unreviewed"),
    "candidate": ("tag", "info", "Candidate"),
    "superseded": ("history", "quiet", "Superseded"),
    "contains_withdrawn": ("warning", "warn", "Contains withdrawn"),
    "yanked": ("warning", "warn", "Yanked"),
    "stale": ("history", "warn", "Out of date"),
    "failed": ("failed", "danger", "Failed"),
    "refused": ("failed", "danger", "Refused"),
    "blocked": ("failed", "danger", "Blocked"),
    "block": ("failed", "danger", "Not allowed"),
    "different": ("failed", "danger", "Different"),
    "worse": ("failed", "danger", "Worse"),
    "withheld": ("failed", "danger", "Withheld"),
    "request_changes": ("failed", "danger", "Changes requested"),
    "quarantined": ("failed", "danger", "Quarantined"),
    "disabled": ("failed", "danger", "Disabled"),
}


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """A drawing from static/icons.svg; silent beside a word, or with `label` where it stands alone."""
    says = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html('<svg class="icon" {}><use href="{}#{}"></use></svg>', says, static("icons.svg"), name)


@register.simple_tag
def state_badge(state: str, word: str = "", title: str = "") -> SafeString:
    """Icon, word and colour of a state. An unknown state shows its own word, quietly."""
    drawing, tone, usual = STATES.get(state, ("info", "quiet", str(state).replace("_", " ").capitalize()))
    hint = format_html(' title="{}"', title) if title else ""
    return format_html('<span class="badge badge--{}"{}>{}{}</span>', tone, hint, icon(drawing), word or usual)


@register.simple_tag
def avatar(owner: Any, kind: str = "") -> SafeString:
    """First letter of a name in a circle (a person) or a square (an organization)."""
    name = getattr(owner, "name", None) or str(owner or "?")
    is_organization = kind == "organization" or type(owner).__name__ == "Organization"
    shape = " avatar--organization" if is_organization else ""
    size = " avatar--large" if kind == "large" else ""
    return format_html('<span class="avatar{}{}" aria-hidden="true">{}</span>', shape, size, name[:1])


@register.simple_tag
def person_link(person: Any) -> SafeString:
    """The name of a person as a link; the hub itself, or somebody who left, has none."""
    if person is None:
        return mark_safe("The hub")
    if isinstance(person, str):  # of another hub, by name only
        return format_html("{}", person)
    return format_html('<a class="quiet" href="/{}">{}</a>', person.username, person.username)


@register.filter
def short_number(value: float) -> str:
    """71.5 and 0.1235: at most four decimals and no zeros behind them; what is tinier as 1.2e-07."""
    if value and abs(value) < 0.0001 or abs(value) >= 1e15:
        return f"{value:.3g}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


@register.simple_tag
def copy_button(text: str, what: str = "Copy") -> SafeString:
    return format_html(
        '<button type="button" class="button button--quiet button--small copy" data-copy="{}" title="{}">{}'
        '<span class="visually-hidden">{}</span></button>',
        text, what, icon("copy"), what,
    )  # fmt: skip


@register.simple_tag
def copy_code(text: str) -> SafeString:
    """A block of code with a button that copies it."""
    return format_html('<div class="code-copy"><pre><code>{}</code></pre>{}</div>', text, copy_button(text))


@register.simple_tag
def copy_lines(*lines: str) -> SafeString:
    return copy_code("\n".join(lines))


@register.simple_tag(takes_context=True)
def panels(context: template.Context, slot: str, **things: Any) -> SafeString:
    """What other rooms show in a slot of this page (hub.web.panels)."""
    return render_slot(slot, context["request"], things)


@register.simple_tag
def line_plot(
    series: Any,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    live_url: str = "",
    note: str = "",
    **ranges: Any,
) -> SafeString:
    """A figure with a server-drawn plot that plot.js takes over; `live_url` is polled for new points until it says ended."""
    drawn = render_line_plot(series, title=title, x_label=x_label, y_label=y_label, **ranges)
    data = write_plot_data(series, title=title, x_label=x_label, y_label=y_label, **ranges)
    # A picture that follows its run by itself stays in place when the fragment around it is exchanged (hx-preserve).
    live = (
        format_html(' id="{}" data-live-url="{}" hx-preserve="true"', plot_id(live_url), live_url) if live_url else ""
    )
    head = format_html('<span class="plot__title">{}</span><span class="plot__note">{}</span>', title, note)
    return format_html(
        '<figure class="plot" data-plot{}><figcaption>{}</figcaption><div class="plot__picture">{}</div>'
        '<script type="application/json">{}</script></figure>',
        live, head, drawn, mark_safe(data),
    )  # fmt: skip


def plot_id(live_url: str) -> str:
    return "plot-" + hashlib.sha256(live_url.encode()).hexdigest()[:12]


@register.filter
def size(count: int | None) -> str:
    """Bytes in SI units: 999 B, 1.5 kB, 269 MB."""
    if count is None:
        return ""
    value = float(count)
    if value < 1000:
        return f"{int(value)} B"
    for unit in UNITS:
        value /= 1000
        if value < 999.5 or unit == UNITS[-1]:
            return f"{value:.3g} {unit}"
    return ""


@register.filter
def compact(count: int | None) -> str:
    """1234 -> 1.2k, 134515008 -> 135M."""
    value = float(count or 0)
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.4g}"


@register.filter
def duration(seconds: float | None) -> str:
    """0.4 s, 38 s, 4 min 10 s, 2 h 5 min."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def took(thing: Any) -> str:
    """How long something with started_at and finished_at took, or has been running."""
    if thing.started_at is None:
        return ""
    return duration(((thing.finished_at or timezone.now()) - thing.started_at).total_seconds())


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """ "3 hours ago" with the exact time (UTC) in the tooltip."""
    if moment is None:
        return mark_safe("")
    exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, how_long_ago(moment))


def how_long_ago(moment: datetime, now: datetime | None = None) -> str:
    seconds = ((now or timezone.now()) - moment).total_seconds()
    if seconds < 45:
        return "just now"
    for length, name in ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute")):
        count = round(seconds / length)
        if seconds >= length * 0.75 and count:
            return f"{count} {name}{'s' if count != 1 else ''} ago"
    return "a minute ago"


@register.filter
def short_sha(oid: str | None) -> str:
    return (oid or "")[:7]


@register.filter
def short_digest(digest: str | None) -> str:
    """ "sha256:0123456789ab…", the algorithm kept."""
    name, colon, value = (digest or "").rpartition(":")
    return f"{name}{colon}{value[:12]}…" if len(value) > 12 else f"{name}{colon}{value}"


@register.filter
def markdown(text: str | None) -> SafeString:
    """What a person wrote, as safe HTML."""
    return mark_safe(render_markdown(text or ""))  # noqa: S308  render_markdown sanitises


@register.filter
def percent(share: float) -> str:
    """A share from 0 to 1: 0.034 is "3.4%"."""
    return f"{100 * share:.1f}%".replace(".0%", "%")


@register.filter
def plural(count: int, word: str) -> str:
    """{{ 3|plural:"file" }} -> 3 files; {{ 2|plural:"repository,repositories" }}."""
    one, _, many = word.partition(",")
    return f"{count:,} {one if count == 1 else many or one + 's'}"


@register.filter
def get(mapping: Any, key: Any) -> Any:
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def words(text: str) -> list[str]:
    return text.split()


@register.simple_tag
def revision_address(place: Any, page: str, revision: str, path: str | None = None) -> str:
    """Address of a page ("tree", "blob", "resolve" ...) of hub.web.files.Place at another revision or path."""
    return place.address(page, path, revision)
