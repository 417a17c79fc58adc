"""The steps of a file: what they and the file need must be there, and no two names may mean the same."""

from __future__ import annotations

from trialbook.experiment import Experiment
from trialbook.problems import Problems
from trialbook.variants import find_cycle
from trialbook.words import closest


class StepCheck:
    """Checks how the steps of one file hang together; each of them is checked as an experiment by itself."""

    def __init__(self, experiment: Experiment, problems: Problems) -> None:
        self.experiment, self.problems = experiment, problems
        self.steps = experiment.steps

    def check(self) -> None:
        """Names that are needed and not there, steps that need one another, names that an arm has too."""
        self.needs("", self.experiment)
        for name, step in self.steps.items():
            self.needs(name, step)
            if name in self.experiment.arms:
                self.report(name, f"'{name}' is an arm too; runs that need one of them could not tell which")
        wanted = {name: [need for need in step.needed if need in self.steps] for name, step in self.steps.items()}
        if len(cycle := find_cycle(wanted)) > 2:
            self.report(cycle[0], f"steps need one another: {' -> '.join(cycle)}")

    def needs(self, name: str, one: Experiment) -> None:
        """What a step, or the file itself, needs: other steps, or files."""
        known = [step for step in self.steps if step != name]
        for index, need in enumerate(one.needed):
            if need in known or need.endswith(".toml"):
                continue
            place = one.place("needs", index) or one.place("needs")
            message = "a step cannot need itself" if need == name else f"there is no step '{need}' to need"
            message += "" if known or need == name else "; another experiment is named by its file, as in 'other.toml'"
            hint = None if need == name else closest(need, known)
            self.problems.add_suggested(place, f"step.{name}" if name else "", message, hint)

    def report(self, name: str, message: str) -> None:
        self.problems.add(self.experiment.place("step", name), f"step.{name}", message)
