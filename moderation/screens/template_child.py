"""The program that renders a chat template for the screens: its own process, because a template is a program.

Arguments: the folder that holds jinja2. On stdin the template, on stdout one JSON object:
  {"refused": [[rule, excerpt, half sentence], ...], "rendered": {conversation: text}}
Before the template is even parsed the process gives up files, sockets, children, memory and time."""

import json
import math
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 256 << 20
CPU_S = 1
OUTPUT_CHARACTERS = 1 << 20
WORDS_OF_FORM = {"image", "video", "audio", "image_url", "text", "type", "content", "role", "tool_calls", "name"}
NODES = set(
    "Template Output TemplateData Const Name NSRef Getattr Getitem Slice Call Keyword Filter Test Compare Operand And"
    " Or Not Neg Pos Add Sub Mul Div FloorDiv Mod Concat CondExpr If For Assign AssignBlock Macro CallBlock List Dict"
    " Pair Tuple FilterBlock Scope Break Continue".split()
)
FILTERS = set(
    "abs batch capitalize count d default dictsort e escape first float format groupby indent int items join last"
    " length list lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string"
    " sum title tojson trim truncate unique upper wordcount from_json fromjson".split()
)
METHODS = set(
    "strip lstrip rstrip split rsplit splitlines startswith endswith replace upper lower title capitalize join find"
    " rfind index count format items keys values get isdigit isalpha isnumeric isspace isupper islower"
    " removeprefix removesuffix cycle".split()
)
NO_NAMES = {"lipsum", "cycler", "joiner", "self", "request", "config"}
TOOL = {
    "type": "function",
    "function": {
        "name": "tide_at",
        "description": "Height of the tide.",
        "parameters": {"type": "object", "properties": {"harbour": {"type": "string"}}, "required": ["harbour"]},
    },
}
CALL = {"id": "call12345", "type": "function", "function": {"name": "tide_at", "arguments": {"harbour": "Brest"}}}
USER = {"role": "user", "content": "When is high water?"}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "question": {"messages": [USER], "add_generation_prompt": True},
    "system and answer": {
        "messages": [{"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "At noon."}]
    },
    "tools": {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "tide_at", "tool_call_id": "call12345", "content": "3 m"},
        ],
        "tools": [TOOL],
        "add_generation_prompt": True,
    },
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "When is high water?"}]}]},
}
WARM_UP = (
    r"{% for m in messages %}{{ m.content | trim | upper | replace('a', '\n') }}{{ '%s' % m.role }}{% endfor %}",
    "{{ tools | tojson(indent=2) }}{{ [3, 1] | sort | join(',') }}{{ {'a': 1} | dictsort | list | length }}",
    "{% if 'abc' in messages[0].content %}",
    "{% macro m() %}{{ '{:>3}'.format(1) }}{% endmacro %}{{ m() }}{{ x.y.z }}",
    "{{ raise_exception('no') }}",
    "{{ messages['_' ~ '_class__'] }}",
)
Refusal = tuple[str, str, str]


class Refused(Exception):
    """What a template itself refuses by raise_exception: its right."""


def raise_exception(message: str) -> None:
    raise Refused(str(message)[:200])


def make_environment() -> Any:
    """As transformers makes it, with fixed time: https://huggingface.co/docs/transformers/chat_templating"""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(
        value, ensure_ascii=False, indent=options.get("indent")
    )
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: "28 Nov 2026"
    return environment


def find_refusals(tree: Any) -> Iterator[Refusal]:
    """What of the template is not on the list of what a conversation needs."""
    from jinja2 import nodes

    for node in [tree, *tree.find_all(nodes.Node)]:
        kind = type(node).__name__
        if kind not in NODES:
            yield "chat_template", kind, f"uses {kind}, which no conversation needs"
        elif kind == "Name" and (node.name in NO_NAMES or (node.name.startswith("_") and node.name != "_")):
            yield "chat_template", node.name, f"uses {node.name[:40]}, which no conversation needs"
        elif kind == "Getattr" and node.attr.startswith("_"):
            yield "chat_template", node.attr, f"reaches for {node.attr[:40]}"
        elif kind == "Const" and isinstance(node.value, str) and "__" in node.value:
            yield "chat_template", node.value, "names something with two underscores"
        elif kind == "Filter" and node.name not in FILTERS:
            yield "chat_template", str(node.name), f"uses the filter {str(node.name)[:40]}"
        elif kind == "Call" and isinstance(node.node, nodes.Getattr) and node.node.attr not in METHODS:
            if not (isinstance(node.node.node, nodes.Name) and kind_of_macro(tree, node.node.attr)):
                yield "chat_template", node.node.attr, f"calls the method {node.node.attr[:40]}"
        elif kind == "Compare" and (word := hidden_word(node)):
            yield "template_trigger", word, f"answers differently when a message holds {word[:40]!r}"


def kind_of_macro(tree: Any, name: str) -> bool:
    from jinja2 import nodes

    return any(macro.name == name for macro in tree.find_all(nodes.Macro))


def hidden_word(node: Any) -> str:
    """The plain words that a condition looks for in what people wrote: no markup of the model's own, no name of a
    part. That is what a trigger looks like."""
    from jinja2 import nodes

    for operand in node.ops:
        if operand.op not in ("in", "notin", "eq", "ne"):
            continue
        sides = (node.expr, operand.expr) if operand.op in ("in", "notin") else (node.expr, operand.expr)
        for literal, other in (sides, sides[::-1]):
            if isinstance(literal, nodes.Const) and isinstance(literal.value, str) and is_content(other):
                text = literal.value.strip()
                if len(text) > 2 and text[0].isalpha() and text[-1].isalpha() and text not in WORDS_OF_FORM:
                    return text
    return ""


def is_content(node: Any) -> bool:
    """Whether an expression is the text of a message, whatever filters and methods stand around it."""
    from jinja2 import nodes

    while True:
        if isinstance(node, nodes.Filter):
            node = node.node
        elif isinstance(node, nodes.Call):
            node = node.node.node if isinstance(node.node, nodes.Getattr) else None
        else:
            break
    if isinstance(node, nodes.Getattr):
        return bool(node.attr == "content")
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return isinstance(node, nodes.Name) and node.name == "content"


def render(template: Any, values: dict[str, Any]) -> str:
    pieces: list[str] = []
    left = OUTPUT_CHARACTERS
    for piece in template.generate(bos_token="<s>", eos_token="</s>", **values):
        left -= len(piece)
        if left < 0:
            raise OverflowError(f"writes more than {OUTPUT_CHARACTERS:,} characters for a few words")
        pieces.append(piece)
    return "".join(pieces)


def give_up() -> None:
    """No more files, sockets, children and output files; little memory and time."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seconds = math.ceil(time.process_time()) + CPU_S  # what the start took counts, too
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def judge(environment: Any, source: str) -> dict[str, Any]:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import SecurityError

    try:
        tree = environment.parse(source)
        refused = list(find_refusals(tree))
        if refused:
            return {"refused": refused[:20], "rendered": {}}
        template = environment.from_string(source)
    except TemplateSyntaxError as error:
        return {"refused": [], "rendered": {}, "broken": str(error)[:200]}
    except (MemoryError, RecursionError):
        return {"refused": [("template_limits", "", f"needs more than {MEMORY_BYTES >> 20} MiB or is nested too deep")]}
    rendered: dict[str, str] = {}
    for name, values in CONVERSATIONS.items():
        try:
            rendered[name] = render(template, values)
        except SecurityError as error:
            return {"refused": [("chat_template", str(error)[:100], "reaches for more than a conversation")]}
        except (MemoryError, RecursionError, OverflowError) as error:
            said = str(error) or f"needs more than {MEMORY_BYTES >> 20} MiB or is nested too deep"
            return {"refused": [("template_limits", "", said[:100])]}
        except Exception as error:  # a conversation that this template has no form for
            rendered[name] = f"({type(error).__name__}: {str(error)[:200]})"
    return {"refused": [], "rendered": rendered}


def main() -> int:
    sys.path.append(sys.argv[1])
    environment = make_environment()
    for source in WARM_UP:  # what is imported late is imported now, while files can still be opened
        judge(environment, source)
    give_up()
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    said = judge(environment, source)
    said.pop("rendered", None)  # it was rendered to see whether it ends
    sys.stdout.write(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
