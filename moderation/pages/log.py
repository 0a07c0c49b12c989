"""What everybody may read about how this hub decides: its policy, and the log of decisions."""

from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control

from hub.accounts.permissions import can
from hub.web.listings import cut_numbered_page
from moderation import audit
from moderation.models import AuditEntry
from moderation.releasing import model_signing, verify_release
from moderation.releasing.manifests import canonical

PER_PAGE = 100
WORDS = {
    "case.allowed": "allowed",
    "case.refused": "refused",
    "case.resolved": "resolved",
    "case.waiting": "found a report right on",
    "case.half_allowed": "would allow, and waits for a second moderator,",
    "case.seconded": "agreed to allow",
    "case.escalated": "told of a late case of",
    "case.recused": "stepped back from a case of",
    "exception.asked": "asked for an exception for",
    "case.appealed": "asked for another look",
    "collaborator.changed": "changed a role in",
    "content.held": "held back",
    "content.withheld": "withheld",
    "history.cleaned": "made the history clean of",
    "history.purged": "purged files from the history of",
    "member.changed": "changed a role in",
    "outputs.held": "held the answers of",
    "policy.changed": "changed the rules of this hub in",
    "policy.shows_older": "found an older text than the rules in force in",
    "proposal.merged": "merged a proposal into",
    "repo.deleted": "deleted",
    "repo.restored": "brought back",
    "repo.removed": "ended for good",
    "report.opened": "reported",
    "report.tested": "made a test of a report on",
    "report.fixed": "closed a report that is fixed in",
    "report.reopened": "opened a report again on",
    "quarantine.seconded": "agreed to keep offline",
    "quarantine.lifted": "put online again",
    "quarantine.ended": "ended the quarantine, without putting it online, of",
    "quarantine.lapsed": "put online again, since nobody seconded it,",
    "release.stays_closed": "could not give out again",
    "release.proposed": "proposed to release",
    "release.approved": "approved",
    "release.published": "published",
    "release.refused": "took back",
    "release.yanked": "yanked",
    "release.quarantined": "quarantined",
    "replay.asked": "asked to have a run made again of",
    "replay.ended": "made a run again of",
    "review.given": "reviewed a proposal in",
    "run.cancelled": "cancelled a run of",
    "run.restarted": "started a run again of",
    "run.started": "pressed “run” in",
}


def show_log(request: HttpRequest) -> HttpResponse:
    """Public entries for everybody, all of them for moderators, newest first."""
    sees_all = can(request.user, "moderate")
    rows = AuditEntry.objects.order_by("-number")
    rows = rows if sees_all else rows.filter(is_public=True)
    context = {
        "page": cut_numbered_page(request, rows, PER_PAGE),
        "words": WORDS,
        "sees_all": sees_all,
        "problem": audit.verify_lately(),
        "count": AuditEntry.objects.count(),
        "head": audit.sign_head(),
    }
    return render(request, "moderation/audit.html", context)


def download_log(request: HttpRequest) -> StreamingHttpResponse:
    """One JSON object a line, in order; the last line is the signed head."""
    rows = audit.export_signed(is_all=can(request.user, "moderate"))
    lines = (canonical(row) + b"\n" for row in rows)
    response = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    response["Content-Disposition"] = 'attachment; filename="audit.jsonl"'
    return response


@cache_control(public=True, max_age=300)
def download_model_key(request: HttpRequest) -> HttpResponse:
    """PEM, as `model_signing verify key --public_key` takes it."""
    return HttpResponse(model_signing.public_pem(), content_type="application/x-pem-file")


@cache_control(public=True, max_age=300)
def download_verifier(request: HttpRequest) -> FileResponse:
    path = Path(verify_release.__file__)
    return FileResponse(path.open("rb"), as_attachment=True, filename=path.name, content_type="text/x-python")
