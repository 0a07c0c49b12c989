"""Thousands of rows in one go: plain INSERTs, where Django would make an object and an expression of every value."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Model


def insert_rows(
    model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Any]], *, update: Sequence[str] = ()
) -> None:
    """Insert rows of plain values (str, int, bool, datetime, None) in the order of `columns`, names as the table has them.

    The caller names every column that has no default in the database. A row that is there already stays as it is, or
    takes the columns of `update`; its other columns are then its unique key."""
    quote = connection.ops.quote_name
    names = ", ".join(map(quote, columns))
    marks = ", ".join(["%s"] * len(columns))
    conflict = "ON CONFLICT DO NOTHING"
    if update:
        key = ", ".join(quote(column) for column in columns if column not in update)
        changes = ", ".join(f"{quote(column)} = EXCLUDED.{quote(column)}" for column in update)
        conflict = f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks}) {conflict}"
    times: dict[datetime, Any] = {}

    def adapt(value: Any) -> Any:
        if not isinstance(value, datetime):
            return value
        if value not in times:
            times[value] = connection.ops.adapt_datetimefield_value(value)
        return times[value]

    given = [[adapt(value) for value in row] for row in rows]
    if given:
        with connection.cursor() as cursor:
            cursor.executemany(sql, given)
