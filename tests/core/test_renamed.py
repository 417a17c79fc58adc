"""What was written for an earlier version is answered with the new names, at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trialbook.config.load import load_experiment
from trialbook.config.renamed import KEYS, SETTINGS, TABLES
from trialbook.config.settings import load_settings
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.schema import SchemaBook


def problems_of(file: Path, book: SchemaBook) -> list[str]:
    with pytest.raises(ExperimentErrors) as raised:
        make_plan(load_experiment(file), book)
    return [str(one) for one in raised.value.problems]


@pytest.mark.parametrize(
    ("table", "key"), [place for place in KEYS if place[0] in ("train", "stage", "checkpoint", "external_baseline")]
)
def test_an_old_key(table: str, key: str, toy_file: Callable[..., Path], toys: SchemaBook) -> None:
    header = {
        "stage": "[[stage]]\nname = 'one'",
        "external_baseline": "[external_baseline.paper]\nsource = 'x'\nvalues = {}",
    }
    value = "{}" if key in ("figures", "lr_scale") else 1
    file = toy_file(append="" if table == "train" else f"{header.get(table, f'[{table}]')}\n{key} = {value}\n")
    if table == "train":
        file.write_text(file.read_text().replace("[train]", f"[train]\n{key} = {value}"))
    line = file.read_text().splitlines().index(f"{key} = {value}") + 1
    said = [one for one in problems_of(file, toys) if KEYS[table, key] in one]
    assert [f"{file.name}:{line}:" in one for one in said] == [True]


@pytest.mark.parametrize(("old", "new"), TABLES.items())
def test_an_old_table(old: str, new: str, toy_file: Callable[..., Path], toys: SchemaBook) -> None:
    file = toy_file(append=f"[{old}.one]\nsource = 'x'\n")
    (said,) = (one for one in problems_of(file, toys) if f"table [{old}] is now table [{new}]" in one)
    assert said.startswith(f"{file}:{file.read_text().splitlines().index(f'[{old}.one]') + 1}:")


@pytest.mark.parametrize(("old", "new"), SETTINGS.items())
def test_an_old_setting(old: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text(f"runs = 'runs'\n{old} = []\n")
    with pytest.raises(TrialbookError, match=f"runner.toml:2: '{old}' is now '{new}'"):
        load_settings(tmp_path)
