"""Reading an experiment file: what it extends merged under it, a profile and ``--set`` merged over it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from trialbook.config.experiment import Experiment
from trialbook.config.merge import decide, decide_key, overlay, subtree, without
from trialbook.config.structure import drop_misplaced, is_plain_name, is_text_or_texts
from trialbook.config.toml import Document, parse_key, parse_value, read_toml
from trialbook.errors import ErrorCollector, ExperimentErrors, Position, Problem, TrialbookError, suggest

#: KEY=VALUE, where quoted parts of the key may hold anything.
_ASSIGNMENT = re.compile(r"((?:[^=\"']|\"[^\"]*\"|'[^']*')+)=(.*)", re.DOTALL)


def load_experiment(file: Path, *, profile: str | None = None, sets: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    A profile, then ``--set``, is merged over the file; a key that they name holds in every arm and at every point of the
    grid, whatever these say of it. To change one arm alone, name it: ``[profile.full.arm.wide.projector.image]``,
    ``--set arm.wide.projector.image.width=64``.

    Args:
        file: the TOML file.
        profile: name of one of its ``[profile.NAME]`` tables.
        sets: ``KEY=VALUE`` each: a dotted key (elements of arrays by number: ``loss.0.weight``) and a TOML value; bare
            words are texts.
    Returns:
        The experiment; mistakes in its tables are in its ``problems`` and not raised yet.
    Raises:
        ExperimentErrors: the file, or one that it extends, is not TOML or cannot be read, or files extend one another.
        TrialbookError: the file does not exist.
    """
    file = Path(file)
    problems = ErrorCollector(file)
    document = drop_misplaced(_read(file, (), problems), problems)
    profiles = document.data.get("profile", {})
    alternatives = (
        () if profile or sets else tuple(_under(file, document, name, (), ErrorCollector(file)) for name in profiles)
    )
    return _under(file, document, profile, sets, problems, alternatives)


def _under(
    file: Path,
    document: Document,
    profile: str | None,
    sets: Sequence[str],
    problems: ErrorCollector,
    alternatives: tuple[Experiment, ...] = (),
) -> Experiment:
    """The experiment of a document under a profile and ``--set``."""
    profiles = document.data.get("profile", {})
    grid = document.data.get("grid", {})
    if profile in profiles:
        document = decide(document, subtree(document, "profile", str(profile)))
    elif profile is not None:
        message = f"there is no profile '{profile}'" + ("" if profiles else "; the file has none")
        problems.extend([Problem("--profile", 0, "", message, suggest(profile, profiles))])
    for text in sets:
        document = _set(document, text, problems)
    document = drop_misplaced(document, problems)
    if "name" not in document.data and "name" not in problems.lost and (complaint := is_plain_name(file.stem)):
        problems.add(None, "", f"the file's name {complaint}; or write one after 'name =' at its top")
    return Experiment(
        file=file, name=document.data.get("name", file.stem),
        question=document.data.get("question", _question(document.comment)),
        document=document, profile=profile, fixed=frozenset(grid) - frozenset(document.data.get("grid", {})),
        problems=tuple(problems), lost=frozenset(problems.lost), alternatives=alternatives,
    )  # fmt: skip


def _read(file: Path, chain: tuple[Path, ...], problems: ErrorCollector) -> Document:
    """The file merged over those that it extends."""
    own = read_toml(file)
    parents = own.data.get("extends", [])
    place = own.positions.get(("extends",))
    if complaint := is_text_or_texts(parents):
        problems.add(place, "", f"'extends' {complaint}")
        parents = []
    chain = (*chain, file.resolve())
    below = Document()
    for name in [parents] if isinstance(parents, str) else parents:
        parent = Path(os.path.normpath(file.parent / name))
        if not parent.is_file():
            raise ExperimentErrors([Problem.at(place, "", f"'extends' names {parent}, which is no file")])
        if parent.resolve() in chain:
            loop = [*chain[chain.index(parent.resolve()) :], parent]
            listed = " -> ".join(path.name for path in loop)
            raise ExperimentErrors([Problem.at(place, "", f"files extend one another: {listed}")])
        below = overlay(below, _read(parent, chain, problems))
    for key in ("name", "question", "extends"):  # a file has its own
        below = without(below, (key,))
    merged = overlay(below, own)
    return Document(merged.data, merged.positions, own.comment)


def _set(document: Document, text: str, problems: ErrorCollector) -> Document:
    """Apply one ``--set``."""
    here = Position(None, 0)
    found = _ASSIGNMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError(f"{text!r} has no '=': write KEY=VALUE")
        key = parse_key(found[1].strip())
        arms = document.data.get("arm", {})
        if key[0] == "arm" and len(key) > 1 and key[1] not in arms:
            problems.add(here, "", f"there is no arm '{key[1]}'", word=key[1], known=arms)
            return document
        return decide_key(document, key, parse_value(found[2].strip()), here)
    except (ValueError, TrialbookError) as error:
        problems.add(here, "", str(error))
        return document


def _question(comment: str) -> str:
    """The first paragraph of the opening comment, without lines that show how to run the file."""
    lines = [line for line in comment.split("\n") if "mlrun run " not in line]
    return " ".join("\n".join(lines).strip().split("\n\n")[0].split())
