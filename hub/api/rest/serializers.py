"""The shapes of the REST door. They only describe and check; the rules live in the rooms below."""

from typing import Any

from rest_framework import serializers

from hub.community.models import Check, Discussion, Event, PullRequest, Review
from hub.community.reviews import is_stale
from hub.repos.models import Repo


class RefusalSerializer(serializers.Serializer[Any]):
    error = serializers.CharField(help_text="One sentence: what, where, how to mend it.")


class OrganizationRoleSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(source="organization.name")
    title = serializers.CharField(source="organization.title")
    role = serializers.CharField()


class MeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(source="username")
    title = serializers.CharField()
    email = serializers.CharField()
    is_moderator = serializers.BooleanField()
    is_staff = serializers.BooleanField()
    organizations = OrganizationRoleSerializer(many=True, source="memberships.all")
    token_role = serializers.SerializerMethodField(help_text="Role of the token that was sent; empty for a session.")

    def get_token_role(self, user: Any) -> str:
        token = getattr(user, "token", None)
        return token.role if token else ""


class RepoSerializer(serializers.Serializer[Repo]):
    type = serializers.ChoiceField(choices=Repo.Type.choices)
    name = serializers.CharField(source="full_name", help_text="NAMESPACE/NAME")
    url = serializers.CharField(source="path", help_text="Path of its page on this site.")
    description = serializers.CharField()
    is_private = serializers.BooleanField()
    is_disabled = serializers.BooleanField()
    tags = serializers.ListField(child=serializers.CharField())
    likes = serializers.IntegerField()
    downloads = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class RepoDetailSerializer(RepoSerializer):
    default_branch = serializers.CharField()
    head = serializers.CharField(help_text="Commit of the default branch as you see it; empty when there is none.")
    card = serializers.JSONField(help_text="Metadata of README.md.")
    card_problem = serializers.CharField(help_text="What is wrong with that metadata, with its line.")
    shows = serializers.ChoiceField(choices=Repo.Shows.choices)
    has_release_policy = serializers.BooleanField()


class CheckSerializer(serializers.Serializer[Check]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Check.State.choices)
    summary = serializers.CharField()
    is_required = serializers.BooleanField()
    evidence = serializers.JSONField(help_text='What to open, for example {"run": 12}.')
    digest = serializers.CharField(help_text="Candidate that it judged.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class ReviewSerializer(serializers.Serializer[Review]):
    by = serializers.CharField(source="by.username")
    verdict = serializers.ChoiceField(choices=Review.Verdict.choices)
    text = serializers.CharField()
    digest = serializers.CharField(help_text="Candidate that it judged.")
    is_stale = serializers.SerializerMethodField(help_text="True when the candidate has changed since.")
    at = serializers.DateTimeField()

    def get_is_stale(self, review: Review) -> bool:
        return is_stale(review)


class PullRequestSerializer(serializers.Serializer[PullRequest]):
    number = serializers.IntegerField(source="discussion.number")
    title = serializers.CharField(source="discussion.title")
    author = serializers.CharField(source="discussion.author.username", default="deleted")
    status = serializers.ChoiceField(choices=Discussion.Status.choices, source="discussion.status")
    url = serializers.CharField(source="discussion.path", help_text="Path of its page on this site.")
    ref = serializers.CharField(help_text="The ref that belongs to its author.")
    target = serializers.CharField()
    is_trained = serializers.BooleanField(help_text="It changes how weights are made, so training checks are required.")
    created_at = serializers.DateTimeField(source="discussion.created_at")
    updated_at = serializers.DateTimeField(source="discussion.updated_at")


class PullRequestDetailSerializer(PullRequestSerializer):
    head = serializers.CharField(help_text="Commit of the ref.")
    candidate = serializers.CharField(
        help_text="Commit that would be merged: target + pull request + what its run made."
    )
    candidate_digest = serializers.CharField(help_text="What checks and approvals bind to.")
    conflict_paths = serializers.ListField(child=serializers.CharField())
    merge_commit = serializers.CharField()
    checks = CheckSerializer(many=True, source="told_checks")
    reviews = ReviewSerializer(many=True, source="ordered_reviews")
    unmet = serializers.ListField(
        child=serializers.CharField(),
        help_text="What keeps you from merging it, one sentence each; empty when nothing does.",
    )


class GivenReviewSerializer(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(choices=Review.Verdict.choices)
    text = serializers.CharField(required=False, allow_blank=True, default="", max_length=65_536)
    digest = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        help_text="The candidate you looked at. An approval needs it; another one by now is a 409.",
    )


class MergeSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(required=False, allow_blank=True, default="", max_length=65_536)


class MergedSerializer(serializers.Serializer[Any]):
    commit = serializers.CharField()
    status = serializers.CharField()


class EventSerializer(serializers.Serializer[Event]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    author = serializers.CharField(source="author.username", default=None, allow_null=True)
    data = serializers.JSONField()
    at = serializers.DateTimeField()


class LiveStateSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=Discussion.Status.choices)
    candidate_digest = serializers.CharField()
    checks = CheckSerializer(many=True)
    unmet = serializers.ListField(child=serializers.CharField())
    events = EventSerializer(many=True, help_text="Entries of the timeline after the one you named in `after`.")
    last_event = serializers.IntegerField(help_text="Send it as `after` next time.")
