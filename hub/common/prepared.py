"""Queries that are asked at every request, compiled once.

Django writes the SQL of a query anew each time it runs, which costs several times what SQLite or PostgreSQL need for a
row by its key. A `Prepared` query is written once for each connection; rows, joined rows and conversions are Django's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

Row = TypeVar("Row")
# Stand-ins while the SQL is written, one kind for each type that a value may have.
SLOTS: dict[type, Callable[[int], Any]] = {str: "\ue000slot-{}\ue000".format, int: (2**62).__add__}


@dataclass
class Compiled:
    sql: str
    constants: list[Any]  # in the order of the SQL's marks
    slots: list[tuple[int, int]]  # (mark, which value goes there)
    converters: list[tuple[int, tuple[list[Any], Any]]]
    # Of a query that gives objects:
    model: type[Model] | None = None
    columns: tuple[int, int] = (0, 0)
    names: Sequence[str] = ()
    populators: Sequence[Any] = ()


class Prepared(Generic[Row]):
    """`Prepared(lambda name: Repo.objects.filter(name=name), str)`: a query whose only changing parts are plain values
    of the given types (str or int). It gives objects, or tuples where `values_list` asks for them. None is refused, as
    it takes other SQL (IS NULL); prefetches are no part of it."""

    def __init__(self, build: Callable[..., QuerySet[Any, Row]], *types: type) -> None:
        self.build, self.types = build, types
        self._compiled: WeakKeyDictionary[Any, Compiled] = WeakKeyDictionary()

    def first(self, *values: Any) -> Row | None:
        """The first row, or None. The query should be one that finds at most one."""
        return next(iter(self.rows(*values)), None)

    def rows(self, *values: Any) -> list[Row]:
        for value, type in zip(values, self.types, strict=True):
            if not isinstance(value, type):
                raise TypeError(f"This query takes {type.__name__}, not {value!r}.")
        connection = connections["default"]
        compiled = self._compiled.get(connection)
        if compiled is None:
            compiled = self._compiled[connection] = self._compile(connection)
        parameters = list(compiled.constants)
        for mark, which in compiled.slots:
            parameters[mark] = values[which]
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, parameters)
            return [make_row(compiled, list(row), connection) for row in cursor.fetchall()]

    def _compile(self, connection: Any) -> Compiled:
        stand_ins = [SLOTS[type](number) for number, type in enumerate(self.types)]
        queryset = self.build(*stand_ins)
        if queryset._prefetch_related_lookups:  # type: ignore[attr-defined]
            raise TypeError("A prepared query prefetches nothing.")
        compiler = queryset.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        slots = [(mark, stand_ins.index(value)) for mark, value in enumerate(parameters) if value in stand_ins]
        if {which for _, which in slots} != set(range(len(stand_ins))):
            raise TypeError("A value of a prepared query is changed on its way into the SQL.")
        converters = list(compiler.get_converters([column[0] for column in compiler.select]).items())
        compiled = Compiled(sql, list(parameters), slots, converters)
        if compiler.klass_info is not None:
            chosen = compiler.klass_info["select_fields"]
            compiled.columns = chosen[0], chosen[-1] + 1
            compiled.model = compiler.klass_info["model"]
            compiled.names = [column[0].target.attname for column in compiler.select[slice(*compiled.columns)]]
            compiled.populators = get_related_populators(  # type: ignore[call-arg]  # the stubs are of a later Django
                compiler.klass_info, compiler.select, connection.alias
            )
        return compiled


def make_row(compiled: Compiled, row: list[Any], connection: Any) -> Any:
    """As Django's own ModelIterable makes it of a row of the database."""
    for position, (converters, expression) in compiled.converters:
        for convert in converters:
            row[position] = convert(row[position], expression, connection)
    if compiled.model is None:
        return tuple(row)
    made = compiled.model.from_db(connection.alias, compiled.names, row[slice(*compiled.columns)])
    for populator in compiled.populators:
        populator.populate(row, made)
    return made
