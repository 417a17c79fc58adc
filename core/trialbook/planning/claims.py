"""Checks of a file's claims on its own factors: each must name one, levels that it goes through, and a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialbook.config.experiment import Experiment
from trialbook.config.kinds import place_of
from trialbook.config.options import ClaimOptions
from trialbook.config.toml import KeyPath
from trialbook.errors import TrialbookError, suggest
from trialbook.planning.components import TableReport
from trialbook.plugins.table_errors import describe_literal


class ClaimCheck:
    """Checks what claims say of the factors of one experiment; keys, types and metrics are checked before.

    Args:
        experiment: the file.
        report: takes the problems.
    """

    def __init__(self, experiment: Experiment, report: TableReport) -> None:
        self.experiment, self.report = experiment, report

    def values(self, path: KeyPath, claim: Mapping[str, Any]) -> None:
        """Check what types cannot say of a claim's values."""
        try:
            ClaimOptions(**claim)
        except TrialbookError as error:
            self.report.add(path, ("at_least",), str(error))

    def factor(self, path: KeyPath, claim: Mapping[str, Any]) -> None:
        """The factor of a claim, and the levels that it names."""
        factor, factors = claim["factor"], self.experiment.factors
        if factor in self.experiment.fixed:
            return  # a profile or --set holds it: the claim cannot be answered this time
        if factor in factors:
            self.levels(path, claim, factors[factor])
        elif {"arm", "grid"} & self.report.problems.lost:
            return
        elif not factors:
            self.report.add(path, (), "a claim is about a [grid] or several arms, and the file has neither")
        elif factor in self.experiment.grid or factor == "arm":
            self.report.add(path, ("factor",), f"'{factor}' has one value only: there is nothing to compare it with")
        else:
            hint = suggest(factor, factors)
            there = "" if hint else f"; there are {', '.join(factors)}"
            self.report.add_suggested(path, ("factor",), f"'{factor}' is no key of the grid{there}", hint)

    def levels(self, path: KeyPath, claim: Mapping[str, Any], levels: list[Any]) -> None:
        """The level and those that it is compared with."""
        self.level(path, ("level",), claim["level"], claim["factor"], levels)
        wanted = claim.get("against")
        if wanted is None:
            return
        single = not isinstance(wanted, list) or place_of(wanted, levels) is not None
        each = [(("against",), wanted)] if single else [(("against", n), one) for n, one in enumerate(wanted)]
        if not each:
            self.report.add(path, ("against",), "'against' is empty; leave it out to compare with all other values")
        for key, one in each:
            self.level(path, key, one, claim["factor"], levels)
            if place_of(one, [claim["level"]]) is not None:
                self.report.add(path, key, "'against' names the level itself")

    def level(self, path: KeyPath, key: KeyPath, value: Any, factor: str, levels: list[Any]) -> None:
        """A value that must be one of the factor's."""
        if place_of(value, levels) is None:
            names = [one for one in levels if isinstance(one, str)]
            hint = suggest(value, names) if isinstance(value, str) else None
            there = "" if hint else f"; it is {' or '.join(map(describe_literal, levels))}"
            self.report.add_suggested(path, key, f"'{factor}' is never {describe_literal(value)}{there}", hint)
