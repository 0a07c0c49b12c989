"""Acts upon a pull request, as the doors do them, each on its newest row."""

from tests.hub.scenes import operations


def fresh(pull_request):
    from hub.community.models import PullRequest

    return PullRequest.objects.select_related("discussion__repo", "discussion__author").get(pk=pull_request.pk)


def push(pull_request, person, files, **more):
    from hub.community.contributions import commit

    given = {"revision": pull_request.ref, "title": "More", "door": "api", "operations": operations(files), **more}
    return commit(repo=pull_request.discussion.repo, by=person.user, **given)


def merge(pull_request, person, **more):
    from hub.community.pull_requests import merge as merge_it

    return merge_it(pull_request=fresh(pull_request), by=person.user, **more)


def approve(pull_request, person, **more):
    from hub.community.reviews import review

    row = fresh(pull_request)
    return review(pull_request=row, by=person.user, verdict="approve", **{"digest": row.candidate_digest, **more})


def requirements(pull_request, person):
    from hub.community.pull_requests import unmet_requirements

    return unmet_requirements(fresh(pull_request), person.user)


def files_of(repo, commit):
    from hub.repos.places import pair

    members = pair(repo).members
    return {
        entry.path: members.read(commit, entry.path) for entry in members.tree(commit) if entry.path != ".gitattributes"
    }


def kinds(pull_request):
    return [event.kind for event in pull_request.discussion.events.all()]
