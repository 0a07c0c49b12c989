"""Organizations and the roles of their members."""

from django.db import IntegrityError, transaction

from hub.accounts.events import member_changed
from hub.accounts.models import Membership, Namespace, Organization, User
from hub.accounts.names import check_name, check_name_is_free
from hub.common.errors import Conflict, InvalidInput

ROLES = ("read", "write", "admin")


@transaction.atomic
def create_organization(
    *, name: str, fullname: str = "", created_by: User | None = None, is_private_by_default: bool = False
) -> Organization:
    """The creator becomes its first admin."""
    check_name(name)
    check_name_is_free(name)
    try:
        with transaction.atomic():
            organization = Organization.objects.create(
                name=name, fullname=fullname, is_private_by_default=is_private_by_default
            )
            Namespace.objects.create(name=name, organization=organization)
    except IntegrityError:
        raise Conflict(f"The name {name!r} was taken a moment ago; choose another.") from None
    if created_by is not None:
        Membership.objects.create(organization=organization, user=created_by, role=Membership.Role.ADMIN)
    return organization


@transaction.atomic
def set_member(*, organization: Organization, user: User, role: str, by: User | None = None) -> Membership:
    """Add a member or change a role; without `by` an operator does. The last admin keeps the role."""
    if role not in ROLES:
        raise InvalidInput(f"The role {role!r} does not exist; use one of {', '.join(ROLES)}.")
    admins = organization.memberships.select_for_update().filter(role=Membership.Role.ADMIN)
    if role != Membership.Role.ADMIN and list(admins.values_list("user_id", flat=True)) == [user.pk]:
        raise InvalidInput(f"{user} is the last admin of {organization}; make somebody else admin first.")
    membership, _ = Membership.objects.update_or_create(organization=organization, user=user, defaults={"role": role})
    member_changed.send(Organization, organization=organization, user=user, role=role, by=by)
    return membership


@transaction.atomic
def remove_member(*, organization: Organization, user: User, by: User | None = None) -> None:
    """Raises InvalidInput for the last admin; somebody who is no member is none afterwards either."""
    admins = organization.memberships.select_for_update().filter(role=Membership.Role.ADMIN)
    if list(admins.values_list("user_id", flat=True)) == [user.pk]:
        raise InvalidInput(
            f"{user} is the last admin of {organization} and cannot leave; make somebody else admin first."
        )
    gone, _ = organization.memberships.filter(user=user).delete()
    if gone:
        member_changed.send(Organization, organization=organization, user=user, role="", by=by)
