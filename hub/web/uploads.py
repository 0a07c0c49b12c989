"""Uploading in the browser: each file in pieces that survive a cut connection, then one commit for all of them.

An upload has no row and no secret: its id follows from the person, the repository and the file (path, size, time of
last change), so the same person who drops the same file again goes on where it stopped. Without JavaScript the same page
is an ordinary form."""

import hashlib
import hmac
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.views.decorators.http import require_http_methods, require_POST

from hub.accounts.models import User
from hub.common.errors import HubError, InvalidInput, QuotaExceeded, TooLarge
from hub.community.spools import open_spool, spool_file
from hub.repos.blobs import take_in
from hub.repos.largeness import is_large
from hub.repos.loose import TEXTS, count_waiting_texts, hold_for, is_held, let_go
from hub.repos.models import Repo
from hub.repos.places import uploads
from hub.repos.quotas import check_room, room_left
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.storage.git import AddFile, AddPointer, check_path
from hub.web.edits import commit_from_browser, form_options
from hub.web.forms import CommitForm
from hub.web.repo_pages import render_repo_page, repo_page

PART_BYTES = 8 * 1024 * 1024
MAX_PARTS = 10_000
MAX_FILES = 2_000  # in one commit from a browser
SAMPLE_BYTES = 65_536
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class FileUpload:
    """One file on its way from a browser."""

    id: str
    path: str
    size: int

    @property
    def loose_name(self) -> str:
        return f"{TEXTS if self.may_be_text else 'parts:'}{self.id}"

    @property
    def may_be_text(self) -> bool:
        """As far as name and size tell; its bytes decide when all of them are there."""
        return not is_large(self.path, self.size, b"")

    @property
    def part_bytes(self) -> int:
        return max(PART_BYTES, math.ceil(self.size / MAX_PARTS))

    @property
    def part_count(self) -> int:
        return math.ceil(self.size / self.part_bytes)

    def size_of_part(self, number: int) -> int:
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)


def read_upload(repo: Repo, by: User, data: Any) -> FileUpload:
    """From what the browser says of a file: {"path", "size", "modified"}. Raises InvalidInput, TooLarge."""
    path, modified = str(data.get("path", "")), str(data.get("modified", ""))[:40]
    try:
        check_path(path)
        size = int(data.get("size", ""))
    except StorageError as problem:
        raise InvalidInput(str(problem)) from None
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{path}: the size {str(data.get('size'))[:40]!r} is no number of bytes.") from None
    if size < 0:
        raise InvalidInput(f"{path}: a file cannot have {size} bytes.")
    if size > settings.MAX_FILE_BYTES:
        raise TooLarge(f"{path} has {size:,} bytes; this hub takes files of at most {settings.MAX_FILE_BYTES:,}.")
    about = json.dumps([by.pk, repo.key, path, size, modified])
    digest = hmac.new(settings.SECRET_KEY.encode(), about.encode(), hashlib.sha256).hexdigest()
    return FileUpload(f"web-{digest[:48]}", path, size)


@repo_page(action="propose")
def upload(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """The page, and (POST) the ordinary form of browsers without JavaScript."""
    branch = request.GET.get("branch", repo.default_branch)
    form = CommitForm(request.POST or None, **form_options(request, repo, branch))
    if request.method == "POST" and form.is_valid():
        try:
            with open_spool() as spool:
                operations = take_form_files(request, repo, spool)
                address = commit_from_browser(
                    repo=repo, request=request, branch=branch, operations=operations, data=form.cleaned_data,
                    usual_title=describe_upload([operation.path for operation in operations]),
                )  # fmt: skip
            return HttpResponseRedirect(address)
        except (HubError, StorageError) as problem:
            form.add_error(None, str(problem))
    return render_repo_page(
        request,
        repo,
        reader,
        "files/upload.html",
        tab="/tree",
        form=form,
        branch=branch,
        folder=(request.POST if request.method == "POST" else request.GET).get("folder", "").strip("/"),
        status=400 if form.is_bound else 200,
    )


def describe_upload(paths: list[str]) -> str:
    return f"Upload {paths[0]}" if len(paths) == 1 else f"Upload {len(paths)} files"


def take_form_files(request: HttpRequest, repo: Repo, spool: IO[bytes]) -> list[AddFile | AddPointer]:
    files = request.FILES.getlist("files")
    if not files:
        raise InvalidInput("No file was chosen; choose one or several and send the form again.")
    folder = request.POST.get("folder", "").strip().strip("/")
    named = [(f"{folder}/{file.name}" if folder else str(file.name), file) for file in files]
    refuse_twins([check_path(path) for path, _ in named])
    adding = sum(count_large(path, file) for path, file in named)
    if adding:
        check_room(repo=repo, by=request.user, adding=adding)
    return bounded(
        (store_file(repo, request.user, path, file.size or 0, file.chunks(PIECE_BYTES), spool), file.size or 0)
        for path, file in named
    )


def count_large(path: str, file: UploadedFile) -> int:
    """Bytes that go to the byte store; 0 for a text of the commit."""
    size, beginning = file.size or 0, file.read(SAMPLE_BYTES)
    file.seek(0)
    return size if is_large(path, size, beginning) else 0


def refuse_twins(paths: list[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise InvalidInput(f"{path} is named twice; leave one of the two out.")
        seen.add(path)


def bounded(stored: Iterable[tuple[AddFile | AddPointer, int]]) -> list[AddFile | AddPointer]:
    """The operations of (operation, size in bytes), made one by one. Texts are part of the commit, so their sum has the
    bound that it has for programs."""
    operations: list[AddFile | AddPointer] = []
    texts_bytes = 0
    for operation, size in stored:
        operations.append(operation)
        texts_bytes += size if isinstance(operation, AddFile) else 0
        if texts_bytes > settings.MAX_COMMIT_BODY_BYTES:
            most = settings.MAX_COMMIT_BODY_BYTES
            raise TooLarge(f"The commit has more than {most:,} bytes of small files; split it into several.")
    return operations


def store_file(
    repo: Repo, by: User, path: str, size: int, pieces: Iterator[bytes], spool: IO[bytes]
) -> AddFile | AddPointer:
    """Text of ordinary size becomes part of the commit and waits in `spool`; all else goes to the byte store."""
    beginning = b""
    for piece in pieces:
        beginning += piece
        if len(beginning) >= min(size, SAMPLE_BYTES):
            break
    if not is_large(path, size, beginning[:SAMPLE_BYTES]):
        return spool_file(path, b"".join([beginning, *pieces]), spool)

    def all_pieces() -> Iterator[bytes]:
        yield beginning
        yield from pieces

    check_room(repo=repo, by=by, adding=size)  # what looked like text until now was not asked before
    stored = take_in(repo=repo, by=by, pieces=all_pieces(), expected_size=size)
    return AddPointer(path, stored.sha256, stored.size)


@require_POST
@repo_page(action="propose")
def start_upload(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """{"part_bytes", "part_count", "have": [numbers of parts that have arrived whole]}."""
    upload = read_upload(repo, request.user, read_body(request))
    check_parts_room(repo, request.user, upload)
    arrived = uploads().parts(upload.id)
    have = [number for number, (_, size) in arrived.items() if size == upload.size_of_part(number)]
    return JsonResponse({"part_bytes": upload.part_bytes, "part_count": upload.part_count, "have": have})


@require_http_methods(["PUT"])
@repo_page(action="propose")
def put_part(request: HttpRequest, repo: Repo, reader: RepoReader, number: int) -> HttpResponse:
    """One part of a file; the address names the file. Streamed to disk, complete or absent."""
    upload = read_upload(repo, request.user, request.GET)
    if not 1 <= number <= upload.part_count:
        raise InvalidInput(f"{upload.path} has {upload.part_count} parts, so there is no part {number}.")
    expected = upload.size_of_part(number)
    check_parts_room(repo, request.user, upload)
    hold_for(repo, request.user, {upload.loose_name: upload.size})
    etag = uploads().write_part(upload.id, number, read_exactly(request, expected, upload.path, number))
    return JsonResponse({"number": number, "sha256": etag})


def check_parts_room(repo: Repo, by: User, upload: FileUpload) -> None:
    """An upload whose first part has come counts whole already. What may be text takes no room; where room is limited
    only so much of it may wait for a commit."""
    adding = 0 if is_held(repo, by, upload.loose_name) else upload.size
    if not upload.may_be_text:
        check_room(repo=repo, by=by, adding=adding)
    elif adding and room_left(repo=repo, by=by) is not None:
        most = settings.MAX_COMMIT_BODY_BYTES
        if count_waiting_texts(repo, by) + adding > most:
            raise QuotaExceeded(f"More than {most:,} bytes of small files wait for their commit; commit those first.")


def read_exactly(request: HttpRequest, count: int, path: str, number: int) -> Iterator[bytes]:
    """`count` bytes of the body; one more or less and the part does not come to be."""
    left = count
    while piece := request.read(min(PIECE_BYTES, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise InvalidInput(f"{path}: part {number} must have {count:,} bytes; send it again.")


@require_POST
@repo_page(action="propose")
def finish_upload(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """Put a large file together and take it into the byte store, before the commit; this may take a while."""
    upload = read_upload(repo, request.user, read_body(request))
    with open_spool() as spool:
        made = assemble(repo, request.user, upload, spool)
    return JsonResponse({"path": upload.path, "sha256": made.sha256 if isinstance(made, AddPointer) else None})


def assemble(repo: Repo, by: User, upload: FileUpload, spool: IO[bytes]) -> AddFile | AddPointer:
    arrived = uploads().parts(upload.id)
    whole = sum(size for _, size in arrived.values())
    if whole != upload.size:
        raise InvalidInput(f"{upload.path}: {whole:,} of {upload.size:,} bytes have arrived; go on with the upload.")
    pieces = uploads().assemble(upload.id, [etag for etag, _ in arrived.values()])
    let_go(repo, by, upload.loose_name)
    try:
        made = store_file(repo, by, upload.path, upload.size, pieces, spool)
    except BaseException:
        hold_for(repo, by, {upload.loose_name: upload.size})
        raise
    if isinstance(made, AddPointer):  # now the file counts, and its parts must not lie beside it
        uploads().discard(upload.id)
    else:
        hold_for(repo, by, {upload.loose_name: upload.size})
    return made


@require_POST
@repo_page(action="propose")
def commit_upload(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """One commit of files that have arrived: {"branch", "title", "description", "goes_to", "files": [{"path", "size",
    "modified", "sha256"?}]}. Answers {"address"}."""
    data = read_body(request)
    branch = str(data.get("branch") or repo.default_branch)
    files = data.get("files")
    if not isinstance(files, list) or not files:
        raise InvalidInput("There is no file to commit; add one first.")
    if len(files) > MAX_FILES:
        raise TooLarge(f"A browser commits at most {MAX_FILES:,} files at once; use `hf upload` for more.")
    form = CommitForm(data, **form_options(request, repo, branch))
    if not form.is_valid():
        raise InvalidInput(" ".join(str(error) for errors in form.errors.values() for error in errors))
    wanted = [(read_upload(repo, request.user, file), file.get("sha256")) for file in files if isinstance(file, dict)]
    paths = [upload.path for upload, _ in wanted]
    refuse_twins(paths)
    with open_spool() as spool:
        operations = bounded((arrive(repo, request.user, *file, spool), file[0].size) for file in wanted)
        address = commit_from_browser(
            repo=repo, request=request, branch=branch, operations=operations, data=form.cleaned_data,
            usual_title=describe_upload(paths),
        )  # fmt: skip
    for upload, _ in wanted:
        uploads().discard(upload.id)
        let_go(repo, request.user, upload.loose_name)
    return JsonResponse({"address": address})


def arrive(repo: Repo, by: User, upload: FileUpload, sha256: Any, spool: IO[bytes]) -> AddFile | AddPointer:
    """What was finished before is named by its digest; the rest is put together now."""
    return AddPointer(upload.path, str(sha256), upload.size) if sha256 else assemble(repo, by, upload, spool)


def read_body(request: HttpRequest) -> dict[str, Any]:
    try:
        data = json.loads(request.body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise InvalidInput("The request is no JSON object; reload the page and try again.")
    return data
