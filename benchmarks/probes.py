"""1,000 linear probes together against one by one, and the similarity of 200,000 samples in bounded memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks._measure import in_turn, ratio, save
from trialbook.engine.timing import peak_memory
from trialbook_plugins.probes.cka import LinearSimilarity
from trialbook_plugins.probes.recipes import Loss, Plan, first_weights, grid, sample_order
from trialbook_plugins.probes.ridge import Ridge
from trialbook_plugins.probes.training import fit_probes

SAMPLES, WIDTH, OUTPUTS, PROBES, ALONE = 5000, 768, 4, 1000, 30
STEPS = 20  # of every probe; the cost of a step does not depend on which it is
SETTINGS = grid(torch.logspace(-4, -1, 10).tolist(), torch.logspace(-4, 0, 10).tolist(), range(10))


def _alone(x: torch.Tensor, y: torch.Tensor, plan: Plan) -> Callable[[], float]:
    """Seconds of 1,000 probes by torch's modules and optimiser, measured on 30 of them."""
    loss = nn.MSELoss() if plan.loss == "mse" else nn.CrossEntropyLoss()
    scaled = (x - x.mean(0)) / x.std(0, correction=0)

    def run() -> float:
        started = time.perf_counter()
        for setting in SETTINGS[:: PROBES // ALONE][:ALONE]:
            model = nn.Linear(WIDTH, OUTPUTS)
            weight, bias = first_weights(setting.seed, WIDTH, OUTPUTS, 0)
            model.weight.data, model.bias.data = weight.T.clone(), bias
            optimiser = torch.optim.AdamW(model.parameters(), lr=setting.lr, weight_decay=setting.weight_decay)
            for rows in sample_order(setting.seed, len(x), plan) if plan.batch else [slice(None)] * plan.steps:
                optimiser.zero_grad()
                loss(model(scaled[rows]), y[rows]).backward()
                optimiser.step()
        return (time.perf_counter() - started) * PROBES / ALONE

    return run


def _together(x: torch.Tensor, y: torch.Tensor, plan: Plan) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        fit_probes(x, y, SETTINGS, plan)
        return time.perf_counter() - started

    return run


def _compare(loss: Loss, batch: int, steps: int, rounds: int = 3) -> tuple[float, float, float]:
    """Ratio, and median seconds together and alone."""
    torch.manual_seed(0)
    x = torch.randn(SAMPLES, WIDTH)
    y = torch.randn(SAMPLES, OUTPUTS) if loss == "mse" else torch.randint(OUTPUTS, (SAMPLES,))
    plan = Plan(loss=loss, steps=steps, batch=batch)
    taken = in_turn({"alone": _alone(x, y, plan), "together": _together(x, y, plan)}, rounds)
    return (
        ratio(taken, "alone", "together"),
        sorted(taken["together"])[rounds // 2],
        sorted(taken["alone"])[rounds // 2],
    )


def _penalties() -> float:
    """Seconds of 100 penalties with exact leave-one-out errors from one eigendecomposition."""
    x, y = torch.randn(SAMPLES, WIDTH), torch.randn(SAMPLES, OUTPUTS)
    started = time.perf_counter()
    ridge = Ridge(x, y)
    ridge.errors(torch.logspace(-3, 5, 100).tolist())
    return time.perf_counter() - started


def similarity_memory(
    samples: int = 200_000, widths: tuple[int, int] = (1024, 768), chunk: int = 4096
) -> dict[str, float]:
    """Peak resident bytes and seconds of the similarity of so many samples, drawn a chunk at a time; for a process of its own."""
    sums = LinearSimilarity({"x": widths[0]}, {"y": widths[1]})
    started = time.perf_counter()
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        sums.add({"x": torch.randn(count, widths[0])}, {"y": torch.randn(count, widths[1])})
    figures = {"cka": sums.cka()["x", "y"], "procrustes": sums.procrustes()["x", "y"]}
    seconds = time.perf_counter() - started
    return {"gigabytes": peak_memory(torch.device("cpu")) / 2**30, "seconds": seconds, **figures}


def main() -> None:
    """In turn, 3 rounds each, one thread; the similarity in a process of its own."""
    torch.set_num_threads(1)
    rows = []
    for loss, batch, name in (("mse", 0, "squared error, all samples a step"), ("mse", 256, "squared error, 256 samples a step"),
                              ("cross-entropy", 256, "cross-entropy, 256 samples a step")):  # fmt: skip
        found, together, alone = _compare(loss, batch, STEPS)
        bound = "" if batch else ">= 20"
        rows += [
            {"what": f"one by one / together: {name}", "value": found, "unit": "x", "bound": bound},
            {"what": f"1,000 probes together, {STEPS} steps: {name}", "value": together, "unit": "s", "bound": ""},
            {"what": f"1,000 probes one by one (30 measured): {name}", "value": alone, "unit": "s", "bound": ""},
        ]
    rows.append(
        {"what": "100 penalties with exact leave-one-out errors", "value": _penalties(), "unit": "s", "bound": ""}
    )
    code = "from benchmarks.probes import similarity_memory as m; f = m(); print(f['gigabytes'], f['seconds'])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    gigabytes, seconds = map(float, done.stdout.split())
    rows += [
        {"what": "similarity, 200,000 samples (1024-d, 768-d): peak memory", "value": gigabytes, "unit": "GiB", "bound": "<= 2"},
        {"what": "similarity, 200,000 samples (1024-d, 768-d)", "value": seconds, "unit": "s", "bound": ""},
    ]  # fmt: skip
    note = f"Linear probes {WIDTH} -> {OUTPUTS} on {SAMPLES:,} samples: 10 rates x 10 decays x 10 seeds, one thread."
    save("probes", "Probes and similarity", rows, note)


if __name__ == "__main__":
    main()
