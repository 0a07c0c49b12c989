"""Queries compiled once: the same rows as Django's own, without writing the SQL again."""

import threading

import pytest
from django.db import connection
from django.db.models import Count, F
from django.db.models.functions import Lower
from django.db.models.sql.compiler import SQLCompiler

from hub.accounts.models import User
from hub.common.prepared import Prepared
from hub.repos.models import Repo
from tests.people import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    user = make_person("dora").user
    Repo.objects.create(type="model", name="one", owner_user=user, tags=["a", "b"], card={"license": "mit"})
    Repo.objects.create(type="dataset", name="two", owner_user=user, is_private=True)
    return user


def by_name() -> Prepared[Repo]:
    return Prepared(lambda owner, name: Repo.objects.for_listing().filter(owner_user_id=owner, name=name), int, str)


def test_rows_are_those_of_the_queryset_in_every_field(owner: User):
    found = by_name().first(owner.pk, "one")
    expected = Repo.objects.get(name="one")
    assert found == expected
    assert {f.attname: getattr(found, f.attname) for f in Repo._meta.concrete_fields} == {
        f.attname: getattr(expected, f.attname) for f in Repo._meta.concrete_fields
    }
    assert by_name().first(owner.pk, "three") is None


def test_joined_rows_come_along(owner: User, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = by_name().first(owner.pk, "one")
        assert found is not None
        assert (found.owner_user, found.owner_organization) == (owner, None)


def test_sql_is_written_once_for_a_connection(owner: User, monkeypatch):
    prepared, written = by_name(), []
    write = SQLCompiler.as_sql
    monkeypatch.setattr(
        SQLCompiler, "as_sql", lambda self, *rest, **more: written.append(1) or write(self, *rest, **more)
    )
    assert [prepared.rows(owner.pk, name)[0].name for name in ("one", "two", "one")] == ["one", "two", "one"]
    assert len(written) == 1


@pytest.mark.django_db(transaction=True)
def test_each_thread_has_its_own(owner: User):
    prepared, found = by_name(), []
    assert prepared.first(owner.pk, "one")

    def ask() -> None:
        found.append(prepared.first(owner.pk, "two"))
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0] is not None


def test_values_may_come_twice_and_beside_constants(owner: User):
    either = Prepared(
        lambda name: Repo.objects.filter(name=name, is_private=False) | Repo.objects.filter(name=name, type="dataset"),
        str,
    )
    assert [row.name for row in either.rows("two")] == ["two"]
    assert [row.name for row in either.rows("one")] == ["one"]


def test_tuples_where_the_query_asks_for_them(owner: User):
    counts = Prepared(
        lambda owner: (
            Repo.objects.filter(owner_user_id=owner)
            .order_by()
            .values("owner_user_id")
            .annotate(n=Count("pk"))
            .values_list("n", Lower("owner_user__username"))
        ),
        int,
    )
    assert counts.rows(owner.pk) == [(2, "dora")]


@pytest.mark.parametrize("values", [(None, "one"), ("1", "one"), (1, 2)])
def test_values_of_another_type_are_refused(owner: User, values):
    with pytest.raises(TypeError, match="This query takes"):
        by_name().rows(*values)


def test_a_value_that_the_query_changes_or_drops_is_refused(owner: User):
    with pytest.raises(TypeError, match="changed on its way"):
        Prepared(lambda text: Repo.objects.filter(name__contains=text), str).rows("one")
    with pytest.raises(TypeError, match="changed on its way"):
        Prepared(lambda text: Repo.objects.filter(name=F("name")), str).rows("one")


def test_prefetches_are_refused(owner: User):
    with pytest.raises(TypeError, match="prefetches nothing"):
        Prepared(lambda: Repo.objects.prefetch_related("collaborators")).rows()


def test_hostile_values_stay_values(owner: User):
    assert by_name().rows(owner.pk, "one' OR '1'='1") == []
