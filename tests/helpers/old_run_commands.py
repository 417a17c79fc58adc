"""What is asked of the old runs: a name, under which the answer of the old program was recorded, and the command.

The words may follow the program where it renames options, tables or metrics; the recorded answers never change.
"""

from __future__ import annotations

from old_runs import Command

#: A run of each kind, by a name that means only this run.
RUNS = {
    "alignment": "alignment/mlp-s0", "sweep": "sweep/main,lr=0.03,dim=16-s1", "failed": "broken/main-s0",
    "killed": "killed/main-s0", "instruct": "instruct/mlp-s0", "probing": "probing/llava_next-s0",
    "sensors": "sensors/main-s1", "sample": "step.sample/main-s0", "captions": "step.captions/main-s0",
    "text": "step.text/main-s0",
}  # fmt: skip
#: Experiments with finished runs.
EXPERIMENTS = ("alignment", "sweep", "instruct", "probing", "sensors")
_FORMATS = ("markdown", "csv", "json", "latex")


def _page(words: str, *pages: str) -> Command:
    return Command(words, pages=pages, writes=True)


_LISTS = {
    "ls": Command("ls"),
    **{f"ls-{style}": Command(f"ls --format {style}") for style in _FORMATS},
    "ls-experiment": Command("ls --experiment alignment"),
    **{f"ls-{status}": Command(f"ls --status {status}") for status in ("killed", "failed")},
    **{f"show-{kind}": Command(f"show {run}") for kind, run in RUNS.items()},
    **{f"show-{kind}-json": Command(f"show {run} --json") for kind, run in RUNS.items()},
    "diff-arms": Command("diff alignment/linear-s0 alignment/mlp-s0"),
    "diff-seeds": Command("diff instruct/mlp-s0 instruct/mlp-s1 --format json"),
}
_COMPARISONS = {
    **{f"compare-{name}": Command(f"compare {name}") for name in EXPERIMENTS},
    **{f"compare-file-{name}": Command(f"compare {name}.toml") for name in EXPERIMENTS},
    **{f"compare-{style}": Command(f"compare alignment --format {style}") for style in _FORMATS},
    **{f"compare-{name}-json": Command(f"compare {name} --json") for name in EXPERIMENTS[1:]},
    "compare-by-key": Command("compare sweep --by train.lr"),
    "compare-by-number": Command("compare alignment sweep --by task.dim --metric retrieval/t2i@1"),
    "compare-by-seed": Command("compare instruct --by seed"),
    "compare-where": Command("compare sweep --where train.lr>0.01 --where seed!=0"),
    "compare-by-clip": Command("compare alignment --by train.max_grad_norm --metric loss --metric info-nce/loss"),
    "compare-step": Command("compare alignment --at step:20 --metric val/retrieval/i2t@5 --metric val/loss"),
    "compare-best": Command("compare alignment --at best:val/retrieval/i2t@5 --metric val/effective-rank/text"),
    "compare-baseline": Command("compare alignment --baseline mlp --metric retrieval/i2t/median_rank"),
    "compare-experiments": Command("compare alignment sweep --metric retrieval/i2t@1"),
    "compare-runs": Command("compare alignment/linear alignment/mlp-s1"),
    "compare-killed": Command("compare killed", status=2),
    "compare-failed": Command("compare broken", status=2),
}
_DOCTOR = {
    **{f"doctor-{kind}": Command(f"doctor {run}") for kind, run in RUNS.items()},
    **{f"doctor-all-{name}": Command(f"doctor {name} --json") for name in EXPERIMENTS},
    "doctor-file": Command("doctor alignment.toml"),
}
_PAGES = {
    **{f"report-{name}": _page(f"report {name} --no-plots", f"runs/{name}/report.md") for name in EXPERIMENTS},
    **{
        f"report-file-{name}": _page(f"report {name}.toml --no-plots", f"runs/{name}/report.md", f"runs/{name}/results.json")
        for name in EXPERIMENTS
    },
    **{f"report-run-{kind}": _page(f"report {run} --no-plots", f"runs/{run}-*/report.md") for kind, run in RUNS.items()},
    "decide": _page(
        "decide decision.toml --no-plots",
        "runs/decision/report.md", "runs/decision/decision.json", "runs/decision/metrics.yaml",
    ),
    "decide-json": _page("decide decision.toml --no-plots --json"),
    "failures": _page("failures instruct/mlp-s0"),
    "failures-json": _page("failures instruct/mlp-s0 --json --all"),
    "failures-against": _page("failures instruct/wide-s2 --against instruct/mlp-s2"),
    "failures-evaluation": _page("failures instruct/mlp-s0 --evaluation again"),
    "eval": _page("eval alignment/mlp-s0"),
    # the run recorded zero-shot 0.1782 and 0.08428: equal captions were not known to be equal then
    "eval-val": _page("eval sensors/main-s0 --split val"),
    "export": _page("export instruct/mlp-s0 exported"),
}  # fmt: skip
_REGISTRY = {
    "registry-check": Command("registry check"),
    "registry-sync": Command("registry sync"),
    "registry-sync-anew": Command("registry sync --reread"),
    **{
        f"sql-{view}": Command(f'sql "select * from {view} order by experiment, arm, seed" --format csv')
        for view in ("run_overview", "run_components", "run_findings")
    },
    "sql-final_metrics": Command('sql "select * from final_metrics where seed = 0" --format csv'),
    "sql-metric_points": Command("sql \"select * from metric_points where kind = 'metric' and seed = 1\" --format csv"),
    "sql-run_config": Command('sql "select * from run_config where seed = 2" --format csv'),
}

COMMANDS = {**_LISTS, **_COMPARISONS, **_DOCTOR, **_REGISTRY, **_PAGES}
