"""A notebook without the notebook: run the cells on the standard input in order, and print what each shows, both as JSON."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
import types
from typing import Any


def show(cell: str, names: dict[str, Any]) -> str:
    """What a cell prints, and the value of the expression that it ends with."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            sys.displayhook(eval(compile(ast.Expression(last.value), "<cell>", "eval"), names))
    return shown.getvalue()


if __name__ == "__main__":
    session = sys.modules["session"] = types.ModuleType("session")
    print(json.dumps([show(cell, vars(session)) for cell in json.load(sys.stdin)]))
