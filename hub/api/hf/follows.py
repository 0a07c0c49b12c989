"""Who follows whom, as the stock client lists it, and following by program."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.names import find_owner
from hub.api.hf.endpoints import View, answer, endpoint, signed_in
from hub.api.hf.people import answer_pages, describe_person, find_organization, find_person
from hub.community.follows import followers_of, following_of, set_follow


def list_by(find: Any, list_people: Any) -> View:
    def show(request: HttpRequest, *, who: str) -> HttpResponse:
        return answer_pages(request, list_people(find(who)), describe_person)

    return show


def change_follow(follows: bool) -> View:
    @signed_in
    def change(request: HttpRequest, *, who: str) -> HttpResponse:
        owner = find_owner(who)
        set_follow(owner=owner, by=request.user, follows=follows)
        return answer({"isFollowing": follows, "numFollowers": followers_of(owner).count()})

    return change


followers_of_person = endpoint(GET=list_by(find_person, followers_of))
followers_of_organization = endpoint(GET=list_by(find_organization, followers_of))
following = endpoint(GET=list_by(find_person, following_of))
follow = endpoint(POST=change_follow(True), DELETE=change_follow(False))
