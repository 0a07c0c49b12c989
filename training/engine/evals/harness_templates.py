"""Jinja templates of strangers, rendered within bounds: no code, no loop without end, no text without measure.

Three fences, each enough against what the next one lets through: only listed pieces of the language compile, every operation
that can make a text longer is measured before it runs, and the sandbox of Jinja hides what Python keeps under its objects.
The caller sets the time limit (`time_limit`), for all rows of a task together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from types import BuiltinMethodType
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_SOURCE_CHARACTERS = 16 << 10  # the longest of lm-evaluation-harness has about 3 KiB
MAX_TEXT_CHARACTERS = 1 << 20  # of a rendered text and of every value on the way to it
MAX_RANGE = 1000
MAX_NUMBER_BITS = 4096  # of a whole number; what is longer is computed in one step that no time limit interrupts
MAX_DIGITS = 20  # behind the point
MAX_NUMERAL_CHARACTERS = 1000
MAX_LOOPS = 2  # one within another

ALLOWED_NODES = frozenset(
    "Template Output TemplateData Const Name Getattr Getitem Slice Call Keyword Filter Test CondExpr If For List Tuple Dict "
    "Pair Compare Operand And Or Not Add Sub Mul Div FloorDiv Mod Neg Pos Concat Assign".split()
)
ALLOWED_METHODS = frozenset(
    "strip lstrip rstrip lower upper title capitalize split rsplit splitlines startswith endswith removeprefix removesuffix "
    "replace join index find count get keys values items isdigit".split()
)
ALLOWED_FILTERS = frozenset(
    "trim lower upper title capitalize first last length count list default d int float abs round sort unique reverse min max".split()
)
ALLOWED_TESTS = frozenset(
    "defined undefined none string number mapping sequence boolean true false integer float odd even in eq ne lt le gt ge".split()
)
LISTS = (nodes.List, nodes.Tuple, nodes.Dict)
PLAIN = (str, bool, int, float, type(None), date, time, Decimal)  # datetime is a date


class TemplateProblem(Exception):
    """What is wrong with a template, or with what it makes of a row; one sentence without its end."""


class BoundedTemplate:
    """A template that compiled. Raises TemplateProblem when it holds what is not allowed."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise TemplateProblem(f"the template is longer than {MAX_SOURCE_CHARACTERS >> 10} KiB")
        try:
            tree = ENVIRONMENT.parse(source)
            _check(tree)
            code = ENVIRONMENT.compile(_JoinedConcat().visit(tree))
            self.template = ENVIRONMENT.template_class.from_code(ENVIRONMENT, code, ENVIRONMENT.globals)
        except TemplateProblem:
            raise
        except Exception as error:  # Python's own compiler refuses some of what Jinja's lets pass
            raise TemplateProblem(f"this is no template: {_say(error)}") from None

    def render(self, row: Mapping[str, Any]) -> str:
        """Raises TemplateProblem; TimeoutError passes through."""
        pieces: list[str] = []
        length = 0
        try:
            for piece in self.template.root_render_func(self.template.new_context(dict(row))):
                length = _bound(length + len(piece))
                pieces.append(piece)
        except (TimeoutError, TemplateProblem):
            raise
        except Exception as error:  # a template may divide by zero, call what is none, compare a number with a text
            raise TemplateProblem(f"the template fails: {_say(error)}") from None
        return "".join(pieces)


def _say(error: Exception) -> str:
    words = error.message if isinstance(error, TemplateError) else str(error)
    return (words or type(error).__name__).splitlines()[0][:200].rstrip(".")


def _check(tree: nodes.Template) -> None:
    for node in tree.find_all(nodes.Node):
        name = type(node).__name__
        if name not in ALLOWED_NODES:
            raise TemplateProblem(f"'{name.lower()}' is not allowed in a template")
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            raise TemplateProblem(f"'{node.attr}' is private")
        if isinstance(node, nodes.Call | nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
            raise TemplateProblem("'*' is not allowed before an argument")
        if isinstance(node, nodes.Call):
            _check_call(node.node)
        if isinstance(node, nodes.Assign) and any(isinstance(one, LISTS) for one in [node.node, *node.find_all(LISTS)]):
            # A list of lists of lists that all are one list is compared without end.
            raise TemplateProblem("'set' takes no list; write it where it is needed")
    if _count_loops(tree) > MAX_LOOPS:
        raise TemplateProblem(f"more than {MAX_LOOPS} loops stand within one another")


def _check_call(called: nodes.Node) -> None:
    if isinstance(called, nodes.Name) and called.name == "range":
        return
    if not isinstance(called, nodes.Getattr) or called.attr not in ALLOWED_METHODS:
        name = getattr(called, "attr", getattr(called, "name", type(called).__name__))
        raise TemplateProblem(f"'{name}' cannot be called in a template")


def _count_loops(node: nodes.Node) -> int:
    below = max(map(_count_loops, node.iter_child_nodes()), default=0)
    return below + isinstance(node, nodes.For)


class _JoinedConcat(NodeTransformer):
    """`a ~ b` becomes `[a, b]|join`: Jinja's own concatenation cannot be measured."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        pieces = nodes.List([self.visit(piece) for piece in node.nodes], lineno=node.lineno)
        return nodes.Filter(pieces, "join", [], [], None, None, lineno=node.lineno)


def _bound(length: int) -> int:
    if length > MAX_TEXT_CHARACTERS:
        raise TemplateProblem(f"the template makes more than {MAX_TEXT_CHARACTERS >> 20} MiB of text")
    return length


def write_out(value: Any) -> Any:
    """The text of a value as Jinja writes it, measured before a list is written."""
    if isinstance(value, str | Undefined):
        return value
    if isinstance(value, list | tuple | dict):
        _bound(sum(map(_measure, _walk(value))))
    elif not isinstance(value, PLAIN):
        raise TemplateProblem(f"the template writes out a {type(value).__name__}, which is no text")
    return str(value)


def _measure(value: Any) -> int:
    return len(value) + 4 if isinstance(value, str) else 8


def _walk(value: Any) -> Iterator[Any]:
    """Every value within, at most as many as a text may have characters."""
    waiting, seen = [value], 0
    while waiting:
        found = waiting.pop()
        seen = _bound(seen + 1)
        if isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple):
            waiting += found
        elif not isinstance(found, PLAIN):
            raise TemplateProblem(f"the template writes out a {type(found).__name__}, which is no text")
        yield found


def bounded_join(value: Any, d: str = "") -> str:
    pieces = [str(write_out(piece)) for piece in value]
    _bound(sum(map(len, pieces)) + len(pieces) * len(d))
    return d.join(pieces)


def bounded_replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = str(write_out(value))
    found = text.count(old) if count < 0 else min(count, text.count(old))
    _bound(len(text) + found * len(new))
    return text.replace(old, new, count)


def regex_replace(value: str, pattern: str, repl: str, count: int = 0) -> str:
    """As lm-evaluation-harness has it; the pattern runs within the caller's time limit."""
    length = 0

    def fill(match: re.Match[str]) -> str:
        nonlocal length
        filled = match.expand(repl)
        length = _bound(length + len(filled))
        return filled

    return re.sub(pattern, fill, value, count=count)


def bounded_round(value: Any, precision: int = 0, method: str = "common") -> Any:
    """Jinja's own takes ten to the power of any precision."""
    if not -MAX_DIGITS <= precision <= MAX_DIGITS:
        raise TemplateProblem(f"round takes at most {MAX_DIGITS} digits")
    return DEFAULT_FILTERS["round"](value, precision, method)


def bounded_int(value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > MAX_NUMERAL_CHARACTERS:
        raise TemplateProblem(f"a number is written with more than {MAX_NUMERAL_CHARACTERS} characters")
    return DEFAULT_FILTERS["int"](value, default, base)


def map_attribute(value: Any, attribute: str) -> list[Any]:
    """`map` as tasks use it; with the name of a filter it is not accepted."""
    return [ENVIRONMENT.getitem(item, attribute) for item in value]


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset("+ * %".split())

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sized = [side for side in (left, right) if not isinstance(side, bool | int | float)]
        if operator != "+" and sized:
            raise TemplateProblem(f"'{operator}' takes numbers only")
        if len(sized) == 2:
            _bound(sum(map(len, sized)))
        if (
            operator == "*"
            and sum(side.bit_length() for side in (left, right) if isinstance(side, int)) > MAX_NUMBER_BITS
        ):
            raise TemplateProblem(f"the template makes a number of more than {MAX_NUMBER_BITS} bits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, *args: Any, **named: Any) -> Any:
        owner = called.__self__ if isinstance(called, BuiltinMethodType) else None
        if isinstance(owner, str) and called.__name__ == "replace":
            return bounded_replace(owner, *args, **named)
        if isinstance(owner, str) and called.__name__ == "join":
            return bounded_join(args[0] if args else (), owner)
        return super().call(context, called, *args, **named)


def _bounded_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise TemplateProblem(f"range goes over more than {MAX_RANGE} numbers")
    return found


def _make_environment() -> BoundedEnvironment:
    made = BoundedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=write_out, cache_size=0)
    made.globals = {"range": _bounded_range}
    made.filters = {name: DEFAULT_FILTERS[name] for name in ALLOWED_FILTERS} | {
        "join": bounded_join,
        "replace": bounded_replace,
        "string": write_out,
        "regex_replace": regex_replace,
        "round": bounded_round,
        "int": bounded_int,
        "map": map_attribute,
    }
    made.tests = {name: DEFAULT_TESTS[name] for name in ALLOWED_TESTS}
    return made


ENVIRONMENT = _make_environment()
