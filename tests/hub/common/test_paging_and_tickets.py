"""Pages of lists, and the tickets that let a page listen to a job."""

import pytest


@pytest.mark.parametrize(
    ("given", "limit"),
    [("", 50), ("?limit=10", 10), ("?limit=0", 1), ("?limit=-5", 1), ("?limit=99999", 1000), ("?limit=x", 50)],
)
def test_a_limit_is_a_number_within_bounds(rf, given, limit):
    from hub.common.paging import read_limit

    assert read_limit(rf.get(f"/api/models{given}")) == limit


def test_a_list_is_cut_and_tells_whether_there_is_more():
    from hub.common.paging import cut_page

    assert cut_page([1, 2, 3], limit=2) == ([1, 2], True)
    assert cut_page([1, 2], limit=2) == ([1, 2], False)


def test_the_next_page_keeps_every_filter(rf):
    from hub.common.paging import next_link

    request = rf.get("/api/models?tag=a&tag=b%20c&limit=2&cursor=old")
    assert next_link(request, "https://hub.example", cursor="n&w") == (
        '<https://hub.example/api/models?tag=a&tag=b+c&limit=2&cursor=n%26w>; rel="next"'
    )


def test_a_path_of_any_letters_makes_a_valid_header(rf):
    from hub.common.paging import next_link

    assert (
        next_link(rf.get("/tree/m%C3%A4rz%3E/x%20y"), "", cursor=1) == '</tree/m%C3%A4rz%3E/x%20y?cursor=1>; rel="next"'
    )


def test_a_ticket_is_for_one_job_until_it_is_old(settings):
    from hub.common import tickets

    ticket = tickets.make_ticket("job-1")
    assert tickets.read_ticket(ticket) == "job-1"
    assert tickets.read_ticket(ticket.replace("job-1", "job-2")) is None
    assert tickets.read_ticket("") is None
    settings.SECRET_KEY = "another hub's"
    assert tickets.read_ticket(ticket) is None


def test_an_old_ticket_is_none(monkeypatch):
    from hub.common import tickets

    ticket = tickets.make_ticket("job-1")
    monkeypatch.setattr(tickets, "LIFETIME_S", -1)
    assert tickets.read_ticket(ticket) is None
