"""A stranger's package, really installed: its components, its command and its tasks work; broken neighbours do no harm."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from installed import ROOT, mlrun, own_tests, pip_install, python

ACME = ROOT / "tests/thirdparty"
GATED = """
from trialbook.plugins.hookspec import Component, hookimpl

@hookimpl
def mlrun_projectors():
    yield Component("gated", "acme_trialbook.gated:Gated", "a taken name")
"""
BROKEN = {
    "raising": "raise RuntimeError('bad day')",
    "leaving": "import sys\nsys.exit('bye')",
    "misspelt": GATED.replace("mlrun_projectors", "mlrun_projektors"),
    "thief": "from trialbook.plugins.hookspec import hookimpl\nimport click\n\n@hookimpl\ndef mlrun_commands(cli):\n"
    "    cli.add_command(click.Command('run'))\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package installed by pip into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip_install([ACME], target)
    return target


def listed(site: Path, cwd: Path, extra: Path | None = None) -> dict[str, dict[str, Any]]:
    rows = json.loads(mlrun("plugins", "list", "--json", site=site, cwd=cwd, extra=extra))
    return {row["name"]: row for row in rows}


def test_what_it_offers_is_listed(site: Path, tmp_path: Path) -> None:
    row = listed(site, tmp_path)["acme"]
    assert (row["distribution"], row["version"], row["error"]) == ("acme-trialbook", "0.3.0", None)
    assert row["components"] == {
        "task": ["next-token", "ridge-probe"], "dataset": ["linear-targets", "progressions"],
        "encoder": ["random-features"], "projector": ["gated"], "llm": ["gru-lm"], "metric": ["modality-gap"],
    }  # fmt: skip
    assert "acme 0.3.0" in mlrun("plugins", "list", site=site, cwd=tmp_path)


def test_listing_imports_nothing_heavy(site: Path, tmp_path: Path) -> None:
    code = "import sys; from trialbook.cli.main import cli\n" \
        "cli({!r}, standalone_mode=False); assert not {{'torch', 'transformers', 'pydantic'}} & set(sys.modules)"  # fmt: skip
    mlrun("plugins", "show", "gated", site=site, cwd=tmp_path)  # fills the cache
    for arguments in (["plugins", "list"], ["plugins", "show", "gated"], ["acme-about"]):
        done = python("-c", code.format(arguments), site=site, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_a_component_is_shown_with_its_keys_and_where_it_is_from(site: Path, tmp_path: Path) -> None:
    for name in ("gated", "projector:gated", "acme:gated", "projector:acme:gated"):
        text = mlrun("plugins", "show", name, site=site, cwd=tmp_path)
        assert "A linear map of every token times a sigmoid gate" in text
        assert "gate_bias  a number, default 2.0. bias of the gate at the start" in text
        assert "acme_trialbook.gated:Gated" in text
    shown = json.loads(mlrun("plugins", "show", "gated", "--json", site=site, cwd=tmp_path))
    assert shown["injected"] == ["dim_in", "dim_out"]
    assert shown["provenance"]["version"] == "0.3.0"


def test_an_unknown_component_is_refused_with_a_suggestion(site: Path, tmp_path: Path) -> None:
    done = python("-m", "trialbook", "plugins", "show", "gatd", site=site, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'gated'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["acme", "acme-trialbook", "acme_trialbook"])
def test_it_passes_the_check(site: Path, tmp_path: Path, package: str) -> None:
    assert "projector gated: ok" in mlrun("plugins", "check", package, site=site, cwd=tmp_path)


def test_the_check_finds_what_is_wrong(site: Path, tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("class Loose:\n    def __init__(self, **kwargs): ...\n")
    (tmp_path / "mine.py").write_text(GATED.replace("acme_trialbook.gated:Gated", "parts:Loose"))
    done = python("-m", "trialbook", "plugins", "check", "mine", site=site, cwd=tmp_path, extra=tmp_path)
    assert done.returncode == 1
    assert "takes '**kwargs'" in done.stdout
    done = python("-m", "trialbook", "plugins", "check", "nothing_there", site=site, cwd=tmp_path)
    assert done.returncode == 1
    assert "No module named 'nothing_there'" in done.stdout


def test_its_command_is_one_of_ours(site: Path, tmp_path: Path) -> None:
    assert mlrun("acme-about", "--loud", site=site, cwd=tmp_path) == "MADE BY ACME\n"
    assert "acme-about" in mlrun("--help", site=site, cwd=tmp_path)


@pytest.mark.slow
def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    own_tests(ACME, site, tmp_path)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Plugins that are at fault, as installed distributions."""
    folder = tmp_path / "broken"
    for name, source in {**BROKEN, "taken": GATED}.items():
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_module.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[trialbook.plugins]\n{name} = {name}_module\n")
    return folder


def test_broken_plugins_are_named_and_everything_else_works(site: Path, tmp_path: Path, broken: Path) -> None:
    rows = listed(site, tmp_path, broken)
    assert rows["raising"]["error"] == "importing raising_module raises RuntimeError: bad day"
    assert rows["leaving"]["error"] == "importing leaving_module calls sys.exit('bye')"
    assert rows["misspelt"]["error"] == "there is no hook 'mlrun_projektors'; did you mean 'mlrun_projectors'?"
    assert rows["thief"]["error"] == "the command 'run' exists already"
    assert rows["acme"]["error"] is None
    text = mlrun("plugins", "list", site=site, cwd=tmp_path, extra=broken)
    assert "disabled: importing raising_module raises RuntimeError: bad day" in text
    assert mlrun("acme-about", site=site, cwd=tmp_path, extra=broken) == "made by acme\n"
    assert "Usage: mlrun run" in mlrun("run", "--help", site=site, cwd=tmp_path, extra=broken)


def test_a_taken_name_must_be_picked_by_plugin(site: Path, tmp_path: Path, broken: Path) -> None:
    done = python("-m", "trialbook", "plugins", "show", "projector:gated", site=site, cwd=tmp_path, extra=broken)
    assert done.returncode == 2
    assert "write 'acme:gated' or 'taken:gated'" in done.stderr
    shown = mlrun("plugins", "show", "acme:gated", "--json", site=site, cwd=tmp_path, extra=broken)
    assert json.loads(shown)["plugin"] == "acme"


def results(runs: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Run name without its id to the metrics of ``results.json``."""
    files = runs.glob("*/*/results.json")
    return {file.parent.name.rpartition("-")[0]: json.loads(file.read_text())["metrics"] for file in files}


def test_its_language_model_trains_in_stages(site: Path, tmp_path: Path) -> None:
    file = ACME / "experiments/next_token.toml"
    mlrun("run", str(file), "--runs", str(tmp_path / "runs"), "--set", "seeds=[0]", site=site, cwd=tmp_path)
    found = results(tmp_path / "runs")
    assert set(found) == {"at-once-s0", "staged-s0"}
    for metrics in found.values():
        assert metrics["val/loss"]["first"] == pytest.approx(math.log(32), abs=0.2)
        assert metrics["val/loss"]["last"] < 1
        assert metrics["loss"]["last_step"] == 240


def test_its_probes_measure_without_training(site: Path, tmp_path: Path) -> None:
    file = ACME / "experiments/ridge_probe.toml"
    mlrun("run", str(file), "--runs", str(tmp_path / "runs"), site=site, cwd=tmp_path)
    found = results(tmp_path / "runs")
    assert set(found) == {"narrow-s0", "narrow-s1", "wide-s0", "wide-s1"}
    assert all(
        set(metrics) == {f"vector/r2@{strength}" for strength in ("0.001", "1", "100")} for metrics in found.values()
    )
    assert min(found[f"wide-s{seed}"]["vector/r2@0.001"]["last"] for seed in (0, 1)) > 0.9
    assert list((tmp_path / "runs/.features").iterdir())
    drawn = (tmp_path / "runs" / "acme_ridge_probe" / "plots" / "profile-1.svg").read_text()
    assert all(f">{said}<" in drawn for said in ("narrow", "wide", "0.001", "100", "strength"))
