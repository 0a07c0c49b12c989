"""Forms of the pages. They read and clean what a browser sends; the rules themselves live below, in the services."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

ROLES = [("read", "Read: sees private and waiting content"), ("write", "Write: commits, merges, approves"),
         ("admin", "Admin: also settings and people")]  # fmt: skip
CODE = {"class": "code", "rows": 24, "spellcheck": "false", "autocapitalize": "off"}


EMAIL_HELP = "Shown to nobody but the maintainers of gated repositories that you ask for access."


class SignUpForm(forms.Form):
    username = forms.CharField(
        label="Name",
        max_length=96,
        help_text="Your address here: letters, digits, '-', '_' and '.'.",
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "off", "spellcheck": "false"}),
    )
    email = forms.EmailField(
        label="E-mail", required=False, widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        help_text=EMAIL_HELP,
    )  # fmt: skip
    password = forms.CharField(
        strip=False,
        help_text="At least 8 characters, no common word.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class SignInForm(AuthenticationForm):
    error_messages = {
        "invalid_login": "The name or the password is wrong. Check both; capital letters count in the password.",
        "inactive": "This account is switched off; ask the operator of this hub.",
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "Name"
        self.fields["username"].widget.attrs.update(autocapitalize="off", spellcheck="false")


class NewPasswordForm(forms.Form):
    password = forms.CharField(
        label="New password",
        strip=False,
        help_text="At least 8 characters, no common word.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class ProfileForm(forms.Form):
    fullname = forms.CharField(label="Full name", max_length=150, required=False)
    email = forms.EmailField(label="E-mail", required=False, help_text=EMAIL_HELP)
    bio = forms.CharField(
        label="About you", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Markdown works here.",
    )  # fmt: skip


class PasswordForm(forms.Form):
    current = forms.CharField(
        label="Present password", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
    new = forms.CharField(
        label="New password", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 8 characters, no common word.",
    )  # fmt: skip


def names_field(label: str) -> forms.CharField:
    return forms.CharField(
        label=label, max_length=10_000, required=False,
        help_text="One a line: a person or an organization stands for all their repositories; "
        "or models/NAME/REPOSITORY, datasets/NAME/REPOSITORY, spaces/NAME/REPOSITORY.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "autocapitalize": "off"}),
    )  # fmt: skip


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="For example the machine where you will use it.")
    role = forms.ChoiceField(
        label="What it may do",
        choices=[
            ("read", "Read: download what you may see"),
            ("write", "Write: also upload, propose, review, merge"),
            ("fineGrained", "Fine-grained: only with what you name below, beside reading what is public"),
        ],
        widget=forms.RadioSelect,
        initial="write",
    )
    reading = names_field("Fine-grained: may read")
    writing = names_field("Fine-grained: may read and write")
    days = forms.ChoiceField(
        label="Valid for", choices=[("30", "30 days"), ("365", "one year"), ("", "until you revoke it")], required=False
    )


class WebhookForm(forms.Form):
    url = forms.CharField(
        label="Address of the receiver", max_length=2000, help_text="It gets a POST; https:// or http://, at a public address.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.org/hook", "spellcheck": "false"}),
    )  # fmt: skip
    watched = forms.CharField(
        label="What it watches", max_length=30_000,
        help_text="One a line: a person or an organization stands for all their repositories; "
        "or models/NAME/REPOSITORY, datasets/NAME/REPOSITORY, spaces/NAME/REPOSITORY.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocapitalize": "off"}),
    )  # fmt: skip
    domains = forms.MultipleChoiceField(
        label="What it hears of",
        choices=[
            ("repo", "Repositories: commits, settings, names"),
            ("discussion", "Discussions, proposals and comments"),
        ],
        widget=forms.CheckboxSelectMultiple,
        initial=["repo", "discussion"],
    )
    secret = forms.CharField(
        required=False, max_length=200, strip=False,
        help_text="The receiver knows by it that a request comes from this hub.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )  # fmt: skip


class NewRepoForm(forms.Form):
    owner = forms.ChoiceField()
    name = forms.CharField(
        max_length=96,
        help_text="Letters, digits, '-', '_' and '.'; it becomes part of the address.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )
    description = forms.CharField(label="In one sentence", max_length=300, required=False)
    visibility = forms.ChoiceField(
        label="Who sees it",
        choices=[
            ("public", "Public: everybody sees what is cleared"),
            ("private", "Private: only you and the people you add"),
        ],
        widget=forms.RadioSelect,
        initial="public",
    )

    def __init__(self, *args: Any, owners: list[str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["owner"].choices = [(name, name) for name in owners]  # type: ignore[attr-defined]


class CopyForm(NewRepoForm):
    """What a copy of a repository is called; private ones have private copies."""

    description = None  # type: ignore[assignment]  # the copy keeps the sentence of its source

    def __init__(self, *args: Any, source: Any, owners: list[str], **kwargs: Any):
        initial = {"name": source.name, "visibility": "private" if source.is_private else "public"}
        super().__init__(*args, owners=owners, initial=initial, **kwargs)
        if source.is_private:
            choices = self.fields["visibility"].choices  # type: ignore[attr-defined]
            self.fields["visibility"].choices = [choice for choice in choices if choice[0] == "private"]  # type: ignore[attr-defined]


class ImportForm(forms.Form):
    archive = forms.FileField(
        label="Archive", help_text="A .tar file of a repository.",
        widget=forms.FileInput(attrs={"accept": ".tar,application/x-tar"}),
    )  # fmt: skip
    owner = forms.ChoiceField()
    name = forms.CharField(
        max_length=96,
        help_text="Letters, digits, '-', '_' and '.'; it becomes part of the address.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )
    visibility = forms.ChoiceField(
        label="Who sees it",
        required=False,
        choices=[("", "As it was"), ("public", "Public: everybody sees what is cleared"),
                 ("private", "Private: only you and the people you add")],
        widget=forms.RadioSelect,
        initial="",
    )  # fmt: skip

    def __init__(self, *args: Any, owners: list[str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["owner"].choices = [(name, name) for name in owners]  # type: ignore[attr-defined]


class NewOrganizationForm(forms.Form):
    name = forms.CharField(
        max_length=96,
        help_text="Letters, digits, '-', '_' and '.'; it becomes part of the address.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )
    fullname = forms.CharField(label="Full name", max_length=150, required=False)
    is_private_by_default = forms.BooleanField(label="New repositories begin as private", required=False)


class CollectionForm(forms.Form):
    owner = forms.ChoiceField()
    title = forms.CharField(max_length=100)
    description = forms.CharField(label="In one sentence", max_length=150, required=False)
    visibility = forms.ChoiceField(
        label="Who sees it",
        choices=[
            ("public", "Public: everybody sees it, and in it what they may read"),
            ("private", "Private: only you, or the members of the organization"),
        ],
        widget=forms.RadioSelect,
        initial="public",
    )
    item = forms.CharField(required=False, widget=forms.HiddenInput, max_length=250)  # what to put into a new one

    def __init__(self, *args: Any, owners: list[str] | None = None, **kwargs: Any):
        """Without `owners` an existing collection is changed, whose owner stays."""
        super().__init__(*args, **kwargs)
        if owners is None:
            del self.fields["owner"]
        else:
            self.fields["owner"].choices = [(name, name) for name in owners]  # type: ignore[attr-defined]


class OrganizationForm(forms.Form):
    fullname = forms.CharField(label="Full name", max_length=150, required=False)
    description = forms.CharField(
        label="About it", required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Markdown works here.",
    )  # fmt: skip
    is_private_by_default = forms.BooleanField(label="New repositories begin as private", required=False)


class PersonRoleForm(forms.Form):
    """Give somebody a role, in an organization or a repository."""

    username = forms.CharField(label="Name of the person", max_length=96)
    role = forms.ChoiceField(choices=ROLES, initial="read", widget=forms.RadioSelect)


class RepoSettingsForm(forms.Form):
    description = forms.CharField(label="In one sentence", max_length=300, required=False)
    visibility = forms.ChoiceField(
        label="Who sees it",
        choices=[
            ("public", "Public: everybody sees what is cleared"),
            ("private", "Private: only its members, and the moderators of this hub"),
        ],
        widget=forms.RadioSelect,
    )

    gated = forms.ChoiceField(
        label="Who reads its files", required=False, widget=forms.RadioSelect,
        choices=[
            ("open", "Everybody who sees it"),
            ("auto", "Everybody who signs in and shares their name and e-mail address"),
            ("manual", "Only people whose request a maintainer accepts"),
        ],
        help_text="The card can ask questions: extra_gated_prompt, extra_gated_fields and extra_gated_button_content.",
    )  # fmt: skip


class DiscussionForm(forms.Form):
    title = forms.CharField(min_length=3, max_length=300)
    text = forms.CharField(
        label="What do you want to say?", required=False, max_length=65_536, help_text="Markdown works here.",
        widget=forms.Textarea(attrs={"rows": 10, "data-draft": "new-discussion", "data-attach": ""}),
    )  # fmt: skip


class CommitForm(forms.Form):
    """What every change through the browser asks for: where it goes, and why."""

    title = forms.CharField(label="What changes, in a few words", max_length=200, required=False)
    description = forms.CharField(
        label="Why", required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 3})
    )
    goes_to = forms.ChoiceField(label="Where it goes", widget=forms.RadioSelect)

    def __init__(self, *args: Any, branch: str, may_write: bool, may_propose: bool = True, **kwargs: Any):
        super().__init__(*args, **kwargs)
        choices = []
        if may_write:
            choices.append(("branch", f"Commit to {branch} at once"))
        if may_propose:
            choices.append(("proposal", "Open it as a proposal, so that it is checked and reviewed first"))
        self.fields["goes_to"].choices = choices  # type: ignore[attr-defined]
        if choices:
            self.fields["goes_to"].initial = choices[0][0]


class EditForm(CommitForm):
    path = forms.CharField(
        label="File name",
        max_length=1024,
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )
    content = forms.CharField(label="Content", required=False, strip=False, widget=forms.Textarea(attrs=CODE))
    parent = forms.CharField(required=False, widget=forms.HiddenInput, max_length=40)
