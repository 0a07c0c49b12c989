"""People, organizations and what proves who somebody is. One case-folded namespace for both, old names kept."""

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

__all__ = ["AccessToken", "DeviceGrant", "FailedAttempt", "Membership", "Namespace", "Organization", "User"]


class Namespace(models.Model):
    """A name in the one list that people and organizations share. A former name stays and points to its owner."""

    name = models.CharField(max_length=96)
    user = models.ForeignKey("hub.User", null=True, on_delete=models.PROTECT, related_name="names")
    organization = models.ForeignKey("hub.Organization", null=True, on_delete=models.PROTECT, related_name="names")
    is_current = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("name"), name="namespace_name_unique"),
            models.CheckConstraint(
                condition=models.Q(user__isnull=True) ^ models.Q(organization__isnull=True),
                name="namespace_has_one_owner",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def owner(self) -> "User | Organization":
        return self.user or self.organization  # type: ignore[return-value]


class UserManager(DjangoUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(username__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    username = models.CharField(max_length=96, unique=True)
    fullname = models.CharField(max_length=150, blank=True)
    email = models.EmailField(blank=True)
    bio = models.TextField(blank=True)
    is_staff = models.BooleanField(default=False)  # operates the hub
    is_moderator = models.BooleanField(default=False)
    is_system = models.BooleanField(default=False)  # the hub's own account; nobody signs in with it
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    objects = UserManager()
    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    def __str__(self) -> str:
        return self.username

    @property
    def name(self) -> str:
        return self.username

    @property
    def title(self) -> str:
        return self.fullname or self.username


class Organization(models.Model):
    name = models.CharField(max_length=96, unique=True)
    fullname = models.CharField(max_length=150, blank=True)
    description = models.TextField(blank=True)
    is_private_by_default = models.BooleanField(default=False)  # new repositories
    created_at = models.DateTimeField(default=timezone.now)
    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        User, through="Membership", related_name="organizations"
    )

    def __str__(self) -> str:
        return self.name

    @property
    def title(self) -> str:
        return self.fullname or self.name


class Membership(models.Model):
    class Role(models.TextChoices):
        READ = "read", "Read"
        WRITE = "write", "Write"
        ADMIN = "admin", "Admin"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.READ)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="membership_once")]


class AccessToken(models.Model):
    """Only the SHA-256 of a token is kept; `hint` is its first and last characters for the settings page."""

    class Role(models.TextChoices):
        READ = "read", "Read"
        WRITE = "write", "Write"
        FINE_GRAINED = "fineGrained", "Fine-grained"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)  # sha256 hex; hub.accounts.tokens.find_token
    hint = models.CharField(max_length=20)
    role = models.CharField(max_length=12, choices=Role.choices, default=Role.READ)
    scopes = models.JSONField(default=dict)  # fine-grained: {"models/alice/poems": "read"|"write"}
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.user}/{self.name}"


class DeviceGrant(models.Model):
    """`hf auth login`: a program shows a code, a signed-in person approves it in the browser."""

    device_code_digest = models.CharField(max_length=64, unique=True)
    user_code = models.CharField(max_length=12, unique=True)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE)
    denied = models.BooleanField(default=False)
    issued = models.BooleanField(default=False)
    expires_at = models.DateTimeField()


class FailedAttempt(models.Model):
    """A password or code that was wrong (hub.accounts.throttles). Kept in the database, which all processes share."""

    subject = models.CharField(max_length=64)  # sha256 hex: people type passwords into the field of the name
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["subject", "at"], name="failed_attempt_count"),  # check_patience
            models.Index(fields=["at"], name="failed_attempt_age"),  # note_failure removes the old ones
        ]
