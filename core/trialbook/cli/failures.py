"""``mlrun failures``: what a run answered wrongly, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialbook.cli.output import echo, echo_json, for_people, json_option
from trialbook.cli.registry import complete_run

if TYPE_CHECKING:
    from trialbook.reports.document.blocks import TableBlock
    from trialbook.reports.gallery_page import Gallery


@click.command()
@click.argument("run", shell_complete=complete_run)
@click.option(
    "--against", metavar="OTHER", shell_complete=complete_run, help="Beside this run: what got better and worse."
)
@click.option("--evaluation", metavar="NAME", help="Of an evaluation by 'mlrun eval', not of the run's own answers.")
@click.option("--tag", "tags", multiple=True, metavar="ID=TAG", help="Correct a tag by hand; ID= takes it back.")
@click.option("--new-tag", is_flag=True, help="Let --tag add new tags.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=300, show_default=True, help="Examples shown; 0 shows all."
)
@click.option("--all", "everything", is_flag=True, help="Show right answers, too.")
@click.option("--open", "open_it", is_flag=True, help="Show the page in the browser.")
@json_option
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def failures(
    run: str, against: str | None, evaluation: str | None, tags: tuple[str, ...], new_tag: bool, limit: int,
    everything: bool, open_it: bool, as_json: bool, runs: Path | None,
) -> None:  # fmt: skip
    """Tag what RUN answered wrongly, count it, and write a gallery: RUN/failures.html, one file that needs no network.

    An answer is right if it says what an accepted one says, numbers by value, or abstains where the images hold no answer. Every
    wrong one gets a tag by rule (reading, counting, distractor, should-have-abstained …); --tag puts another in its place,
    and is kept in RUN/tags.json.
    """
    from trialbook.analysis.failures.corrections import parse_tags
    from trialbook.analysis.failures.load import read_answers
    from trialbook.api.app import open_app
    from trialbook.replay.recorded_run import find_run
    from trialbook.reports.gallery_page import write_gallery

    app = open_app(runs)
    answers = read_answers(find_run(run, app.settings), evaluation)
    beside = None if against is None else read_answers(find_run(against, app.settings), evaluation)
    if tags:
        answers.corrections.correct(parse_tags(tags), new=new_tag)
    made = write_gallery(
        answers, app.settings, app.book, beside=beside, limit=limit, everything=everything, templates=app.host.templates(),
    )  # fmt: skip
    for remark in made.remarks:
        echo(remark, err=True)
    if as_json:
        echo_json(made.as_dict())
    else:
        echo(_told(made), styled=True)
    if open_it:
        import webbrowser

        webbrowser.open(made.file.absolute().as_uri())


def _told(made: Gallery) -> str:
    """Return what it comes to, for people."""
    from trialbook.errors import printable
    from trialbook.reports.document.blocks import Strong, pieces
    from trialbook.reports.pages.failures_page import risk_grid, tag_grid, versus_sentence

    judged = made.judged
    wrong, total = len(judged.failures), judged.judged
    share = f" ({wrong / total:.1%})" if total else ""
    blocks = [printable(made.answers.title) + f": {wrong:,} of {total:,} answers are wrong{share}"]
    if wrong:
        blocks.append(_table(tag_grid(judged, made.answers.corrections.known())))
    if judged.risks():
        blocks.append(_table(risk_grid(judged)))
    if made.versus is not None:
        said = pieces(versus_sentence(made.versus, made.other))
        blocks.append(printable("".join(piece.text if isinstance(piece, Strong) else str(piece) for piece in said)))
    return "\n\n".join([*blocks, printable(str(made.file))])


def _table(grid: TableBlock) -> str:
    from trialbook.reports.tables import Table, render

    return render(Table(grid.columns, grid.rows), "table", terminal=for_people())
