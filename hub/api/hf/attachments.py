"""Attachments of discussions: uploaded as the stock client does, and served so that nothing in them can run."""

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from hub.api.addresses import absolute
from hub.api.hf.endpoints import LengthRequired, announced_length, answer, endpoint, open_body, signed_in
from hub.api.hf.ranges import read_range
from hub.api.hf.resolve import SAFE_HEADERS
from hub.community.attachments import FORMATS, MOST_BYTES, attach, find_attachment, remove_attachment
from hub.repos.places import store


@signed_in
def upload(request: HttpRequest) -> HttpResponse:
    """The body is the file; the answer is its address as plain text."""
    size = announced_length(request)
    if size is None:
        raise LengthRequired("Send the file with a Content-Length, so that one sees whether it arrived whole.")
    body = open_body(request, limit=MOST_BYTES, must_announce=True)
    made = attach(by=request.user, body=body, size=size)
    return HttpResponse(absolute(request, made.path), content_type="text/plain; charset=utf-8")


def show(request: HttpRequest, *, name: str) -> HttpResponse:
    attachment = find_attachment(name)
    headers = {
        **SAFE_HEADERS,
        "Content-Type": FORMATS[attachment.suffix].content_type,
        "Content-Disposition": f'inline; filename="{attachment.key}.{attachment.suffix}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",  # what a moderator removed is gone within the hour
    }
    part = read_range(request.headers.get("Range"), attachment.size)
    start, end = part or (0, attachment.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{attachment.size}"
    headers["Content-Length"] = str(end - start)
    status = 206 if part else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    return StreamingHttpResponse(store().read(attachment.sha256, start, end), status=status, headers=headers)


@signed_in
def remove(request: HttpRequest, *, name: str) -> HttpResponse:
    remove_attachment(attachment=find_attachment(name), by=request.user)
    return answer({"success": True})


many = endpoint(POST=upload)
one = endpoint(GET=show, DELETE=remove)
