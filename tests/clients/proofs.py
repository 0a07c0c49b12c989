"""Whether a test really does what its mark claims, as far as its source shows: the test, the helpers and fixtures of its
own file that it uses, the values it is parametrized with and the scripts it starts are read, nothing is run.

A claim that something works needs a call outside of `pytest.raises`; a claim of a refusal needs one within it, or
`fails=True`. Files beside the test's own are not followed."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
RAISES = ("pytest.raises", "raises")


@dataclass(frozen=True)
class Call:
    """One call that a test makes, or a class it builds upon."""

    name: str  # create_repo of api.create_repo(...), ModelCard of ModelCard(...)
    owner: str  # api, or ModelCard of ModelCard.load(...)
    words: tuple[str, ...]  # the texts it begins with: ("repos", "create") of hf("repos", "create", name)
    keywords: frozenset[str]
    is_refused: bool  # within pytest.raises, or with fails=True


@dataclass
class File:
    """The top level of a file of tests."""

    functions: dict[str, Function] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)  # of its constants


@cache
def read_file(source: str) -> File:
    file = File()
    for node in ast.parse(source).body:
        if isinstance(node, Function):
            file.functions[node.name] = node
        elif isinstance(node, ast.Assign):
            file.values |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return file


def proves(source: str, test: str, name: str, *, is_refusal: bool = False) -> bool:
    """Whether the function `test` of a file with this source uses `name` of the surface as its mark claims."""
    made = list_calls(source, test)
    return any(call.is_refused == is_refusal and fits(call, name, source, test) for call in made)


@cache
def list_calls(source: str, test: str) -> tuple[Call, ...]:
    file = read_file(source)
    return tuple(Reader(file).read(file.functions[test]))


def fits(call: Call, name: str, source: str, test: str) -> bool:
    if name.startswith("hf "):
        words = tuple(name.split()[1:])
        return call.name == "hf" and call.words[: len(words)] == words
    owner, _, method = name.rpartition(".")
    if owner == "HfFileSystem":
        return call.name == method and call.owner in list_file_systems(source, test)
    if owner == "HfApi":
        return call.name == method and call.owner not in list_file_systems(source, test)
    library, _, deed = name.rpartition(" ")
    if library:
        return deed in {call.name, *call.keywords} and library in call.owner.split()
    return name in (call.name, call.owner, *call.words)


def list_file_systems(source: str, test: str) -> set[str]:
    """Arguments of the test that are said to be an HfFileSystem."""
    arguments = read_file(source).functions[test].args.args
    return {one.arg for one in arguments if one.annotation and ast.unparse(one.annotation) == "HfFileSystem"}


class Reader:
    """Walks through one test and what it uses of its file, each part once as refused and once as not."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.expects_refusal = False  # whether the function being read holds a pytest.raises
        self.seen: set[tuple[str, bool]] = set()
        self.given: dict[str, list[str]] = {}  # argument -> texts that the test is parametrized with

    def read(self, function: Function, is_refused: bool = False) -> Iterator[Call]:
        if (function.name, is_refused) in self.seen:
            return
        self.seen.add((function.name, is_refused))
        self.given |= dict(self.list_given(function))
        fixtures = [self.file.functions.get(one.arg) for one in function.args.args]
        for fixture in fixtures:
            if fixture is not None and any("fixture" in ast.unparse(mark) for mark in fixture.decorator_list):
                yield from self.read(fixture)
        before, self.expects_refusal = self.expects_refusal, holds_raises(function)
        for node in function.body:
            yield from self.walk(node, is_refused)
        self.expects_refusal = before

    def list_given(self, function: Function) -> Iterator[tuple[str, list[str]]]:
        for mark in function.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
                names, rows = mark.args[0], self.resolve(mark.args[1])
                literal: Any = ast.literal_eval(names)
                texts = [one.strip() for one in literal.split(",")] if isinstance(literal, str) else list(literal)
                for at, name in enumerate(texts):
                    cells = [row.elts[at] if len(texts) > 1 else row for row in getattr(rows, "elts", [])]
                    yield name, [str(cell.value) for cell in cells if isinstance(cell, ast.Constant)]

    def resolve(self, node: ast.expr) -> ast.expr:
        return self.file.values.get(node.id, node) if isinstance(node, ast.Name) else node

    def walk(self, node: ast.AST, is_refused: bool) -> Iterator[Call]:
        if isinstance(node, ast.With) and any(is_raises(item.context_expr) for item in node.items):
            for inner in node.body:
                yield from self.walk(inner, True)
            return
        # What waits in a lambda is called later, and beside a pytest.raises most likely within it.
        is_refused = is_refused or (isinstance(node, ast.Lambda) and self.expects_refusal)
        if isinstance(node, ast.ClassDef):
            yield from (Call(last_word(base), "", (), frozenset(), is_refused) for base in node.bases)
        if isinstance(node, ast.Name) and node.id in self.file.values:
            yield from self.read_value(self.file.values[node.id], is_refused)
        if isinstance(node, ast.Call):
            helper = self.file.functions.get(node.func.id) if isinstance(node.func, ast.Name) else None
            is_refused = is_refused or says_fails(node) or (helper is not None and expects_refusal(helper))
            yield from self.tell(node, is_refused)
            if helper is not None:
                yield from self.read(helper, is_refused)
        for inner in ast.iter_child_nodes(node):
            yield from self.walk(inner, is_refused)

    def tell(self, node: ast.Call, is_refused: bool) -> Iterator[Call]:
        """The call itself, one for each text that it is parametrized with."""
        keywords = frozenset(keyword.arg or "" for keyword in node.keywords)
        owner = first_word(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        name, words = last_word(node.func), leading_texts(node)
        yield Call(name, owner, words, keywords, is_refused)
        if isinstance(node.func, ast.Call) and last_word(node.func.func) == "getattr":
            method = node.func.args[1]
            for text in self.given.get(method.id, []) if isinstance(method, ast.Name) else ():
                yield Call(text, first_word(node.func.args[0]), (), keywords, is_refused)
        if name == "hf" and any(isinstance(argument, ast.Starred) for argument in node.args):
            for text in (text for texts in self.given.values() for text in texts):
                yield Call("hf", "", tuple(text.split()[1:]), keywords, is_refused)

    def read_value(self, value: ast.expr, is_refused: bool) -> Iterator[Call]:
        """A script that a process of its own runs; its calls belong to the libraries that it imports."""
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            return
        try:
            tree = ast.parse(value.value)
        except SyntaxError:
            return
        libraries = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                keywords = frozenset(keyword.arg or "" for keyword in node.keywords)
                yield Call(last_word(node.func), " ".join(libraries), leading_texts(node), keywords, is_refused)


def is_raises(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in RAISES


def holds_raises(function: Function) -> bool:
    return any(isinstance(node, ast.expr) and is_raises(node) for node in ast.walk(function))


def expects_refusal(function: Function) -> bool:
    """A helper like expect_refusal(lambda: ...): what it is given fails."""
    return holds_raises(function) and any(argument.arg == "call" for argument in function.args.args)


def says_fails(node: ast.Call) -> bool:
    return any(word.arg == "fails" and ast.unparse(word.value) == "True" for word in node.keywords)


def last_word(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def first_word(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def leading_texts(node: ast.Call) -> tuple[str, ...]:
    texts: list[str] = []
    for argument in node.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            break
        texts.append(argument.value)
    return tuple(texts)
