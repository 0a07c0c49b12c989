"""Pages of REST lists: `?cursor=` of the Link header of the page before, opaque to the caller."""

from typing import Any

from django.http import HttpRequest
from rest_framework.response import Response

from hub.api.addresses import next_page
from hub.common.errors import InvalidInput
from hub.common.paging import cut_page, read_limit, read_number


def answer_page(request: HttpRequest, rows: Any, serializer: Any, *, default: int = 50, most: int = 200) -> Response:
    """Rows by falling primary key, `limit` of them, with a Link to the next page when there is one."""
    limit = read_limit(request, default=default, most=most)
    cursor = request.GET.get("cursor", "")
    if cursor:
        last = read_number(cursor)
        if last is None:
            raise InvalidInput("The cursor is not one of this list; start again without it.")
        rows = rows.filter(pk__lt=last)
    page, has_more = cut_page(list(rows.order_by("-pk")[: limit + 1]), limit=limit)
    headers = {"Link": next_page(request, cursor=page[-1].pk)} if has_more else None
    return Response(serializer(page, many=True).data, headers=headers)
