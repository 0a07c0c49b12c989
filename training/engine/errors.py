"""What the engine refuses, in words for the person who can mend it."""

from __future__ import annotations

from collections.abc import Iterable


class EngineError(Exception):
    """A refused input. `str()` is one sentence: what, where, how to mend it; the process exits 2.

    `code` is a stable snake_case word for programs; `hint` repeats how to mend it, or is empty."""

    def __init__(self, message: str, *, code: str = "refused", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    @property
    def message(self) -> str:
        """The sentence, followed by the hint where the sentence does not hold it yet."""
        text = str(self)
        if not self.hint or self.hint in text:
            return text
        return f"{text}; {self.hint}"


class RecipeError(EngineError):
    """One problem at one place of the recipe; line and column count from 1."""

    def __init__(self, line: int, column: int, message: str, hint: str = "", *, code: str = "recipe_invalid") -> None:
        tail = f"; {hint}" if hint else ""
        super().__init__(f"recipe.yaml:{line}:{column}: {message}{tail}", code=code, hint=hint)
        self.line = line
        self.column = column
        self.what = message


class RecipeErrors(EngineError):
    """All problems of one recipe together, in the order of the file; never empty."""

    def __init__(self, problems: Iterable[RecipeError]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "RecipeErrors needs at least one problem"
        first = self.problems[0]
        super().__init__("\n".join(str(p) for p in self.problems), code=first.code, hint=first.hint)
