"""Check ``not-finite``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.findings import Finding
from trialbook_plugins.checks._tensors import named

_WHERE = {
    "parameter": "has parameters that are not finite",
    "input": "has values that are not finite",
    "output": "makes it of finite inputs",
    "gradient": "makes it in its backward pass",
    "vanished": "did not make it again when the step was repeated",
}
_ADVICE = {
    "parameter": "a step before spoilt the weights: lower the learning rate, clip the gradient, check what writes into the part",
    "input": "look for NaN, infinity or empty rows in the data and in stored features",
    "output": "look there for a division by 0, the log or square root of 0, a softmax over masked positions only, a large exp",
    "gradient": "look there for a norm or square root at 0, whose slope is infinite; add a small number under it",
    "vanished": "lower the learning rate, clip the gradient, or compute in float32 (precision = 'no')",
}
#: Norms of gradients overflow now and then in half precision, where the step is then left out.
_MAY_OVERFLOW = ("grad_norm",)


def check(chart: RunEvidence) -> Iterable[Finding]:
    """A value that is NaN or infinite: the module that first made it, and recorded metrics that are not finite."""
    for one in chart.of("failure"):
        facts = one.values
        module, how = facts.get("module") or "", facts.get("how", "vanished")
        batch = f"'{module}' of the batch" if module else "the batch"
        where = f"{batch if how == 'input' else module or 'the task itself'} {_WHERE.get(how, 'made it')}"
        name, value = facts.get("name", "a value"), facts.get("value", "not finite")
        yield Finding(
            "not-finite", "error", module, f"'{name}' is {value} at step {one.step}: {where}",
            {"value": value, "name": name, "how": how}, _ADVICE.get(how, _ADVICE["vanished"]), one.step,
        )  # fmt: skip
    wrong: dict[str, tuple[int, float | None]] = {}
    for record in chart.records:
        for name, figure in record.values.items():
            if name in _MAY_OVERFLOW or (figure is not None and math.isfinite(figure)):
                wrong.pop(name, None)  # it is finite again
            else:
                wrong[name] = (record.step, figure)
    if wrong and not chart.of("failure"):
        step = min(step for step, _ in wrong.values())
        loss = any("loss" in name.split("/") for name in wrong)
        yield Finding(
            "not-finite", "error" if loss else "warning", "", f"not a number: {named(wrong)}",
            {name: str(figure) for name, (_, figure) in list(wrong.items())[:4]},
            "embeddings that are not finite, or a metric that divides by 0: an empty split, a class without rows", step,
        )  # fmt: skip
