"""Galleries of failures find the data of a mixture, the tables of which are nested."""

from __future__ import annotations

from pathlib import Path

from trialbook.analysis.failures.load import Answers, open_surroundings
from trialbook.config.settings import Settings
from trialbook.plugins.manager import PluginManager
from trialbook.plugins.schema import SchemaBook
from trialbook.registry.run_directory import RunDirectory


def test_texts_and_pictures_of_nested_sources_are_found(tmp_path: Path) -> None:
    table = {"use": "mixture", "sources": {"pages": {"use": "documents", "train": 4, "val": 0, "test": 4}}}
    settings = Settings(root=tmp_path, runs=tmp_path / "runs", data_root=None, cache=tmp_path / "cache")
    book = SchemaBook(PluginManager.discover(), tmp_path / "cache")
    around = open_surroundings(Answers(RunDirectory(tmp_path), None, (), "test", table), settings, book)
    texts = around.texts()
    assert texts
    assert all(name.startswith("pages") for name in texts)
    assert all(texts.values())
