"""Changes to a module's source: every place where one can be made, and the source with it made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}  # fmt: skip
_COUNTED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
}  # fmt: skip
_SWAPPED = {"min": "max", "max": "min", "ceil": "floor", "floor": "ceil", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Change:
    """Characters `start` to `end` of a module become `text`."""

    line: int
    start: int
    end: int
    text: str

    def made(self, source: str) -> str:
        """The source with it."""
        return source[: self.start] + self.text + source[self.end :]

    def shown(self, source: str) -> str:
        """Its line, with what was and what is now between arrows."""
        begin = source.rfind("\n", 0, self.start) + 1
        stop = source.find("\n", self.end)
        was = source[self.start : self.end]
        return f"{source[begin : self.start].lstrip()}>>{was}->{self.text}<<{source[self.end : stop]}"


def changes(source: str) -> list[Change]:
    """Every change that can be made to a module, but for docstrings, annotations and imports."""
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    raw = source.encode()

    def at(line: int, column: int) -> int:
        return len(raw[: lines[line - 1] + column].decode())

    return [Change(node.lineno, *_between(source, at, node, other), text) for node, other, text in _places(ast.parse(source))]


def _between(source: str, at: object, node: ast.expr | ast.stmt, other: tuple[ast.expr, ast.expr, str] | None) -> tuple[int, int]:
    """Where what changes stands: the whole node, or the operator between two parts of it."""
    begin = at(node.lineno, node.col_offset)  # type: ignore[operator]
    end = at(node.end_lineno, node.end_col_offset)  # type: ignore[operator]
    if other is None:
        return begin, end
    left, right, sign = other
    low = at(left.end_lineno, left.end_col_offset)  # type: ignore[operator]
    high = at(right.lineno, right.col_offset)  # type: ignore[operator]
    found = source.index(sign, low, high)
    return found, found + len(sign)


def _places(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, tuple[ast.expr, ast.expr, str] | None, str]]:
    for node in _code(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
            sign, other = _COMPARED[type(node.ops[0])]
            yield node, (node.left, node.comparators[0], sign), other
        elif isinstance(node, ast.BinOp) and type(node.op) in _COUNTED and not isinstance(node.left, ast.JoinedStr):
            sign, other = _COUNTED[type(node.op)]
            yield node, (node.left, node.right, sign), other
        elif isinstance(node, ast.BoolOp):
            sign, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            yield node, (node.values[0], node.values[1], sign), other
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            yield node, None, str(not node.value)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, None, str(node.value + 1) if isinstance(node.value, int) else repr(node.value * 1.5 or 0.5)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, None, f"bool({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in _SWAPPED:
                whole = ast.unparse(node.func)
                yield node.func, None, whole[: len(whole) - len(name)] + _SWAPPED[name]
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node.test, None, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            yield node, None, "pass"


def _code(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs; what stands in annotations, imports, text and errors that are raised is left out."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr | ast.Assert | ast.Global):
            continue
        yield node
        for name, below in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            waiting += [each for each in (below if isinstance(below, list) else [below]) if isinstance(each, ast.AST)]
