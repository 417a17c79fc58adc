"""What task ``similarity`` says of its figures, so that pages draw them: curves over layers, maps of pairs and of channels."""

from __future__ import annotations

from collections.abc import Sequence

from trialbook.contracts.plots import HeatMap, Profile

#: Measures of which there is a null.
_NULLS = ("cka", "rsa", "overlap")


def similarity_plots(
    rows: Sequence[str], columns: Sequence[str], sides: tuple[str, str], measures: Sequence[str], *, channels: bool
) -> list[Profile | HeatMap]:
    """Curves where the second encoder has one layer, else a map for each measure; and a map of its channels.

    Args:
        rows, columns: layers of both encoders.
        sides: names of both encoders.
        measures: figures of each pair.
        channels: whether there are figures of single channels.
    """
    axes = (f"layer of {sides[0]}", f"layer of {sides[1]}")
    found: list[Profile | HeatMap] = []
    if len(columns) == 1:
        found.append(Profile(
            name="similarity", title=f"Similarity to {columns[0]} by layer", axis=axes[0], places=list(rows),
            metrics={measure: f"{{place}}/{columns[0]}/{measure}" for measure in measures}, floor=["null"],
            chosen=["best_pair", sides[0]],
        ))  # fmt: skip
    else:
        found += [
            HeatMap(
                name=measure, title=measure, rows=list(rows), columns=list(columns), row_axis=axes[0], column_axis=axes[1],
                metric=f"{{row}}/{{column}}/{measure}", null="null" if measure in _NULLS else "", chosen=["best_layers"],
            )
            for measure in measures
        ]  # fmt: skip
    if channels:
        found += [
            HeatMap(
                name=f"channels-{column}", title=f"cka with channels of {column}", rows=list(rows), row_axis=axes[0],
                column_axis="channel", arrays=f"channels-{{row}}-{column}", key="cka",
            )
            for column in columns
        ]  # fmt: skip
    return found
