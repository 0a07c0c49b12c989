"""Who lives in the demo community, and what each of them does there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    name: str
    fullname: str
    about: str  # shown beside the password
    is_moderator: bool = False
    is_staff: bool = False


ADA = Person(
    "ada", "Ada Lindqvist", "maintains the commons organization: runs, approves and merges proposals", is_staff=True
)
BEN = Person("ben", "Ben Okafor", "writes in commons too: the second pair of eyes for a release")
MARIA = Person("maria", "Maria Santos", "a teacher: brought the tide questions and proposed the fine-tune")
NOOR = Person("noor", "Noor Haddad", "moderator: decides what is published", is_moderator=True)
JUN = Person("jun", "Jun Park", "moderator too: agrees, or does not, where two have to", is_moderator=True)
PEOPLE = (ADA, BEN, MARIA, NOOR, JUN)

ORGANIZATION = "commons"
BASE = "smollm2-135m-instruct"
SUITE = "core-suite"
DATASET = "tide-answers"
ASSISTANT = "tide-assistant"
