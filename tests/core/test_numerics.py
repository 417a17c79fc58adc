"""Options of how numbers are computed: in files, in the workplace, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trialbook.config.load import load_experiment
from trialbook.config.numerics import CUBLAS_VARIABLE, Numerics, numerics_of, prepare_cublas
from trialbook.config.settings import Settings, load_settings
from trialbook.errors import ExperimentErrors, TrialbookError
from trialbook.planning.planner import make_plan
from trialbook.plugins.schema import SchemaBook


def workplace(tmp_path: Path, text: str = "") -> Settings:
    (tmp_path / "runner.toml").write_text(text)
    return load_settings(tmp_path)


def test_a_file_goes_before_the_workplace_and_the_workplace_before_the_default(tmp_path: Path) -> None:
    plain = workplace(tmp_path)
    assert (
        numerics_of({"train": {"precision": "auto"}}, plain.numerics) == numerics_of({}, plain.numerics) == Numerics()
    )
    own = workplace(
        tmp_path, 'precision = "bf16"\nmatmul_precision = "high"\ndeterministic = true\ncudnn_benchmark = false\n'
    )
    assert numerics_of({"train": {"precision": "auto"}}, own.numerics) == Numerics("bf16", "high", True, False)
    train = {"precision": "no", "matmul_precision": "highest", "deterministic": False, "cudnn_benchmark": True}
    assert numerics_of({"train": train}, own.numerics) == Numerics("no", "highest", False, True)
    assert (
        numerics_of({"train": {"cudnn_benchmark": True}}, own.numerics).cudnn_benchmark is False
    )  # it is deterministic


def test_evaluate_says_it_for_a_run_that_trains_nothing(tmp_path: Path) -> None:
    settings = workplace(tmp_path)
    evaluate = {"deterministic": True, "matmul_precision": "high"}
    assert numerics_of({"evaluate": evaluate}, settings.numerics) == Numerics("no", "high", True)
    assert numerics_of({"evaluate": evaluate, "train": {"steps": 1}}, settings.numerics) == Numerics()


def test_cublas_is_prepared_if_any_run_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS_VARIABLE, "")  # so that it is put back at the end
    monkeypatch.delenv(CUBLAS_VARIABLE)
    settings = workplace(tmp_path)
    plain, repeated = {"train": {"steps": 1}}, {"train": {"steps": 1, "deterministic": True}}
    prepare_cublas([plain, plain], settings.numerics)
    assert CUBLAS_VARIABLE not in os.environ
    prepare_cublas([plain, repeated], settings.numerics)
    assert os.environ[CUBLAS_VARIABLE] == ":4096:8"
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")
    prepare_cublas([repeated], settings.numerics)
    assert os.environ[CUBLAS_VARIABLE] == ":16:8"


MISTAKES = {
    'matmul_precision = "tf32"': r"runner\.toml:2: 'matmul_precision' is 'tf32'; it may be highest, high, medium$",
    'precision = "fp8"': r"runner\.toml:2: 'precision' is 'fp8'; it may be no, bf16, fp16$",
    'device = "gpu"': r"runner\.toml:2: 'device' is 'gpu'; it may be auto, cpu, cuda, mps$",
    "deterministic = 1": r"runner\.toml:2: 'deterministic' has the wrong type: 1$",
    "threads = true": r"runner\.toml:2: 'threads' has the wrong type: True$",
    "determinstic = true": r"runner\.toml:2: unknown key 'determinstic'; did you mean 'deterministic'\?$",
    "deterministic = true\ncudnn_benchmark = true": r"runner\.toml:3: 'cudnn_benchmark' chooses algorithms again each time",
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.items())
def test_a_mistake_in_the_settings_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TrialbookError, match=says):
        workplace(tmp_path, f"\n{text}\n")


REFUSED = {
    '[arm.deep.train]\nmatmul_precision = "hihg"': (
        "[arm.deep.train] 'matmul_precision' must be one of 'highest', 'high', 'medium', not 'hihg'; did you mean 'high'?"
    ),
    "[arm.deep.train]\ndeterministic = true\ncudnn_benchmark = true": (
        "[arm.deep.train] 'cudnn_benchmark' chooses algorithms again each time, which 'deterministic' rules out"
    ),
    "[arm.deep.evaluate]\ndeterministic = true": (
        "[arm.deep.evaluate] 'deterministic' holds for the whole run, which trains: write it in [train]"
    ),
    '[[arm.deep.stage]]\nsteps = 3\nprecision = "bf16"': (
        "[arm.deep.stage] 'precision' holds for the whole run, not for a stage: write it in [train]"
    ),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.items())
def test_a_mistake_in_a_file_is_named_with_its_line(
    toy_file: Callable[..., Path], toys: SchemaBook, text: str, says: str
) -> None:
    file = toy_file(append=text)
    with pytest.raises(ExperimentErrors) as caught:
        make_plan(load_experiment(file), toys)
    last = len(file.read_text().splitlines())  # where the key stands
    assert str(caught.value) == f"{file}:{last}: {says}"


def test_what_a_file_does_not_say_is_no_part_of_its_runs(toy_file: Callable[..., Path], toys: SchemaBook) -> None:
    def train(**changes: Any) -> tuple[str, dict[str, Any]]:
        told = "".join(f"\n{key} = {value}" for key, value in changes.items())
        run = make_plan(load_experiment(toy_file(("steps = 20", f"steps = 20{told}"))), toys).runs[0]
        return run.id, dict(run.config["train"])

    plain, said = train(), train(deterministic="true")
    assert not {"deterministic", "matmul_precision", "cudnn_benchmark"} & set(plain[1])  # ids of old runs stay
    assert said[1] == {**plain[1], "deterministic": True}
    assert plain[0] != said[0]
