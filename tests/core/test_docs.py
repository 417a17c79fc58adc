"""The pages say what is true: the reference is up to date, links resolve, commands exist, and examples pass ``check``."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from trialbook.cli.main import cli
from trialbook.config.load import load_experiment
from trialbook.errors import ExperimentErrors
from trialbook.planning.planner import make_plan
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "runs" / "README.md",
    *sorted(DOCS.rglob("[!_]*.md")),
]
INTRO = DOCS / "_experiment-file-intro.md"
#: Commands in examples of plugins.
_EXAMPLES = ("my-lab-about", "acme-about")
#: A fenced block: its language and its text.
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def is_whole(text: str) -> bool:
    """Whether a TOML block is an experiment file by itself."""
    return re.search(r"^\[task\]\s*(#.*)?\nuse =", text, re.MULTILINE) is not None


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def book(generate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SchemaBook:
    host = PluginManager.from_modules({"trialbook": generate.trialbook_plugins.plugin})
    return SchemaBook(host, tmp_path_factory.mktemp("schemas"))


# --- the reference of experiment files ----------------------------------------------------------------------------


def test_the_reference_is_up_to_date(generate: ModuleType) -> None:
    made = generate.make_pages()
    assert made == generate.make_pages()
    generate.main(["--check"])  # exits with the names of pages that are out of date


def test_the_reference_has_every_component_and_key_and_no_path(generate: ModuleType, book: SchemaBook) -> None:
    pages = generate.make_pages()
    assert len(book.all()) == len(book.host.components())  # none is left out for want of a package
    for schema in book.all():
        page = pages[f"experiment-file/{schema.kind}.md"]
        section = page.partition(f"\n## `{schema.name}`\n")[2].partition("\n## ")[0]
        assert section, schema.name
        missing = [key for key in schema.json_schema["properties"] if f"\n| `{key}` | " not in section]
        assert not missing, f"{schema.name}: {missing}"
        assert f"(experiment-file/{schema.kind}.md#{schema.name})" in pages["experiment-file.md"]
    everything = "".join(pages.values())
    assert str(ROOT) not in everything
    assert str(Path.home()) not in everything


def test_an_outdated_page_is_noticed(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "DOCS", tmp_path)

    def outdated() -> str:
        with pytest.raises(SystemExit) as raised:
            generate.main(["--check"])
        return str(raised.value)

    assert "docs/experiment-file.md, docs/experiment-file/tables.md" in outdated()
    generate.main([])
    generate.main(["--check"])
    tables, stray = tmp_path / "experiment-file" / "tables.md", tmp_path / "experiment-file" / "kettle.md"
    tables.write_text(tables.read_text(encoding="utf-8").replace("optimiser steps;", "steps;", 1), encoding="utf-8")
    stray.write_text("a kind that is no more", encoding="utf-8")
    assert outdated().startswith("out of date: docs/experiment-file/tables.md, docs/experiment-file/kettle.md;")
    generate.main([])
    generate.main(["--check"])
    assert not stray.exists()


# --- links --------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What headings can be linked by, as GitHub makes it."""
    titles = re.findall(r"^#+ (.*)$", _BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


# --- commands -----------------------------------------------------------------------------------------------------


def code(page: Path) -> Iterator[str]:
    """Lines of the code blocks of a page, and code within its sentences."""
    text = page.read_text(encoding="utf-8")
    for _, block in _BLOCK.findall(text):
        yield from (line.strip().removeprefix("$ ") for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def commands(page: Path) -> Iterator[str]:
    """Everything on a page that begins with ``mlrun``."""
    for line in code(page):
        if found := re.match(r"(?:# )?(?:\w+=\S+ )?(?:\S*/)?(mlrun .*)", line):
            yield re.split(r"\s{2,}|\s#", found[1])[0]


def words_of(line: str) -> list[str]:
    """The words of a command line; quotes may be resumed in the next one."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def complaint(line: str) -> str | None:
    """What is wrong with a command line: an unknown command, subcommand or option."""
    words = words_of(line.replace("[", "").replace("]", ""))[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        word = words.pop(0).rstrip(",")
        if word in _EXAMPLES:
            return None
        found = command.get_command(context, word)
        if found is None:
            return f"{line}: there is no command '{word}'"
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    return f"{line}: there is no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_options_exist(page: Path) -> None:
    assert [wrong for line in commands(page) if (wrong := complaint(line))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_targets_of_make_and_modules_exist(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = list(code(page))
    named = [found[1] for line in lines if (found := re.match(r"make ([\w-]+)", line))]
    modules = [
        found[1] for line in lines if (found := re.search(r"\bpython -m ((?:benchmarks|trialbook)[\w.]*)", line))
    ]
    assert set(named) <= set(targets)
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_a_wrong_command_would_be_noticed() -> None:
    assert complaint("mlrun rnu FILE") == "mlrun rnu FILE: there is no command 'rnu'"
    assert complaint("mlrun registry sink") == "mlrun registry sink: there is no command 'sink'"
    assert complaint("mlrun run FILE --dryrun") == "mlrun run FILE --dryrun: there is no option --dryrun"
    assert complaint("mlrun run FILE --set train.lr=1e-3 --profile full") is None


# --- experiment files ---------------------------------------------------------------------------------------------

OTHERS = [page for page in PAGES if page.name not in ("experiment-file.md", "plugins.md") and blocks(page, "toml")]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_whole_experiment_files_pass_the_check(page: Path, book: SchemaBook, tmp_path: Path) -> None:
    for text in filter(is_whole, blocks(page, "toml")):
        file = tmp_path / "question.toml"
        file.write_text(text, encoding="utf-8")
        assert make_plan(load_experiment(file), book).runs


def test_the_mistakes_that_the_readme_shows_come_out_so(book: SchemaBook, tmp_path: Path) -> None:
    (whole,) = filter(is_whole, blocks(ROOT / "README.md", "toml"))
    file = tmp_path / "question.toml"
    file.write_text(
        re.sub(r"^pool\b", "poool", whole, flags=re.MULTILINE).replace('"perceiver"', '"perciever"'), "utf-8"
    )
    with pytest.raises(ExperimentErrors) as raised:
        make_plan(load_experiment(file), book)
    (shown,) = [text for text in blocks(ROOT / "README.md", "") if text.startswith("$ mlrun check question.toml")]
    assert str(raised.value).replace(str(file), file.name) == shown.partition("\n")[2].rstrip()


def test_every_example_of_the_format_passes_the_check(book: SchemaBook, tmp_path: Path) -> None:
    """The first is a whole file; the others are merged over it."""
    whole, *rest = blocks(INTRO, "toml")
    assert is_whole(whole)
    base = tmp_path / "width.toml"
    base.write_text(whole, encoding="utf-8")
    arms = {run.arm for run in make_plan(load_experiment(base), book).runs}
    assert arms == {"narrow", "wide"}
    for number, text in enumerate(rest):
        file = tmp_path / f"part{number}.toml"
        file.write_text(text if "extends" in text else f'extends = "width.toml"\n{text}', encoding="utf-8")
        assert make_plan(load_experiment(file), book).runs


def test_the_examples_of_set_pass_the_check(book: SchemaBook, tmp_path: Path) -> None:
    file = tmp_path / "width.toml"
    file.write_text(blocks(INTRO, "toml")[0], encoding="utf-8")
    lines = [line for line in commands(INTRO) if line.startswith("mlrun run width.toml --set")]
    assert len(lines) == 3
    for line in lines:
        sets = [word for word in shlex.split(line) if "=" in word]
        assert make_plan(load_experiment(file, sets=sets), book).runs


# --- the worked example of a plugin -------------------------------------------------------------------------------


def run(*arguments: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join([str(path), *filter(None, sys.path)])
    own = {**os.environ, "PYTHONPATH": found, "TRIALBOOK_CACHE": str(cwd / "cache")}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=own, capture_output=True, text=True, check=False)


def test_the_plugin_of_the_page_works_when_it_is_followed(tmp_path: Path) -> None:
    site, project = tmp_path / "site", tmp_path / "my-lab"
    done = run("-m", "trialbook", "plugins", "new", "my-lab", cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"`([\w/]+\.(?:py|toml))`[^`]*:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert list(files) == ["src/my_lab/low_rank.py", "src/my_lab/plugin.py", "tests/test_low_rank.py", "low_rank.toml"]
    for name, content in files.items():
        (tmp_path if name.endswith(".toml") else project).joinpath(name).write_text(content, encoding="utf-8")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    options = ["--quiet", "--no-deps", *isolation, "--target", str(site)]
    done = run("-m", "pip", "install", *options, str(project), cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(project / "tests"), cwd=tmp_path, path=site)
    assert "5 passed" in done.stdout, done.stdout
    done = run("-m", "trialbook", "check", "low_rank.toml", cwd=tmp_path, path=site)
    assert done.stdout == "low_rank.toml: ok, 2 arms x 3 seeds = 6 runs\n", done.stderr
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(files["low_rank.toml"].replace("rank = 4", "rnak = 4"), encoding="utf-8")
    done = run("-m", "trialbook", "check", "wrong.toml", cwd=tmp_path, path=site)
    assert "did you mean 'rank'?" in done.stderr
