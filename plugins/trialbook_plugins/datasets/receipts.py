"""SROIE's scanned receipts: questions about their fields, with those that a receipt does not have."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from trialbook import TrialbookError
from trialbook.contracts.data_files import find_files, note_files
from trialbook_plugins.datasets._paths import read_text
from trialbook_plugins.datasets._published import first_file
from trialbook_plugins.datasets._questions import Asked, Questions

_KEYS = ("company", "date", "address", "total")
_WORDINGS = {
    "company": "Which company is the receipt from?", "date": "What is the date on the receipt?",
    "address": "What is the address on the receipt?", "total": "What is the total of the receipt?",
    "phone": "What is the phone number on the receipt?", "fax": "What is the fax number on the receipt?",
    "tax number": "What is the GST number on the receipt?",
}  # fmt: skip
_OF_COMPANY = {
    "date": "What is the date on the receipt of {company}?", "total": "What is the total of the receipt of {company}?",
    "address": "What is the address of {company}?",
}  # fmt: skip
_PHONE = r"\+?\d[\d \-]{6,}\d"
#: Field -> what names it on a receipt, how its value looks, and what may be one though nothing names it.
_NUMBERS = {
    "phone": (
        r"\b(?:TEL|TELEPHONE|PHONE|H/P|HP|PH|MOBILE|CONTACT|HOTLINE|CALL)\b",
        _PHONE,
        r"\b0\d{1,2}[ -]\d{3,4}[ -]?\d{3,4}\b",
    ),
    "fax": (r"\bFAX\b", _PHONE, r"\bF *:"),
    "tax number": (r"\b(?:GST|TAX|SST)\b", r"\b0\d[\d ]{9,13}\d\b", r"\b00\d{10}\b"),
}


class Receipts(Questions):
    """A folder of SROIE: scanned receipts (``image``) and questions about their fields (``conversation``).

    ``img`` holds the scans, ``key`` a JSON file for each with ``company``, ``date``, ``address`` and ``total``, ``box`` a CSV
    file with its lines of text. Asked are these four fields and the phone, fax and tax numbers, which are read off the lines. A
    field that a receipt does not have is asked about too, and has no answer (``absent-field``); one that may be there, but
    cannot be read off the lines, is not asked about. Some questions name the company, the receipt's or another one, and have no
    answer then (``wrong-entity``). Annotations of a split: ``source``, and ``file``, the names of the scans.

    Args:
        data_root: folder that a relative ``root`` starts from.
        root: folder of the set.
        others: share of the questions naming a company that name another one than the receipt's.
        val: share of the receipts that go to val.
        test: share of the receipts that go to test.
        seed: another seed deals the receipts, and chooses companies, differently.
        size: side of the pictures: the longer side is resized to it and white fills the square; 0 keeps them as they are.
        skip_bad: leave out receipts that are broken, and list them in ``left_out``, instead of stopping.
        allow_overlap: accept splits that share receipts.
    Raises:
        TrialbookError: an option is out of its range; on first reading: a file is missing or broken.
    Source: "ICDAR2019 Competition on Scanned Receipt OCR and Information Extraction" (Huang et al., 2019); files as in the
        repository zzzDavid/ICDAR-2019-SROIE.
    """

    source = "receipts"
    licence = (
        "SROIE: MIT, as in the repository zzzDavid/ICDAR-2019-SROIE; the scans are those of the ICDAR 2019 challenge"
    )

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        root: str = "receipts",
        others: float = 0.3,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 0,
        skip_bad: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        super().__init__(data_root, root, size, val, test, seed, skip_bad, allow_overlap)
        if not 0 <= others <= 1:
            raise TrialbookError(f"others ({others}) is a share from 0 to 1")
        self.others = others

    def read(self, folder: Path) -> Iterable[tuple[None, Asked]]:
        """The questions about every receipt."""
        keys = {file.stem: self._key(file) for file in find_files(folder / "key", "*.json")}
        if not keys:
            raise TrialbookError(f"{folder}: there is no key/*.json; SROIE's folders are img, key and box")
        companies = sorted({key["company"] for key in keys.values() if key and key["company"]})
        for name, key in keys.items():
            if key is None:
                continue
            picture = first_file(folder / "img" / f"{name}{ending}" for ending in (".png", ".jpeg", ".jpg"))
            where = str(folder / "key" / f"{name}.json")
            fields = {**key, **self._numbers(folder / "box" / f"{name}.csv")}
            for field, value in fields.items():
                kind = "value" if value else "absent-field"
                yield None, Asked(
                    f"receipts-{name}-{field.replace(' ', '-')}", picture, _WORDINGS[field], (value,) if value else (),
                    where, kind, bool(value),
                )  # fmt: skip
            yield from ((None, one) for one in self._of_company(name, key, companies, picture, where))

    def _of_company(
        self, name: str, key: Mapping[str, str], companies: list[str], picture: Path, where: str
    ) -> Iterator[Asked]:
        """Questions that name a company, each the receipt's own or another one."""
        rng = random.Random(f"{self.seed} {name}")
        for field, wording in _OF_COMPANY.items():
            other = rng.random() < self.others
            own = key["company"]
            others = [one for one in companies if one.split()[:2] != own.split()[:2]]  # no other branch of a chain
            named = rng.choice(others or [""]) if other else own
            if not named or not key[field]:
                continue
            question, identity = wording.format(company=named), f"receipts-{name}-{field}-of-company"
            answers = () if other else (key[field],)
            yield Asked(identity, picture, question, answers, where, "wrong-entity" if other else "value", not other)

    def _key(self, file: Path) -> dict[str, str] | None:
        """The fields of a receipt, "" where it has none; None (and noted) where the file is broken."""
        try:
            found = json.loads(read_text(file))
        except json.JSONDecodeError as error:
            self.bad(f"{file}:{error.lineno}", f"not JSON: {error.msg}")
            return None
        if not isinstance(found, dict) or not all(isinstance(found.get(key, ""), str) for key in _KEYS):
            self.bad(str(file), f"it needs {', '.join(_KEYS)}, each a text")
            return None
        return {key: " ".join(found.get(key, "").split()) for key in _KEYS}

    def _numbers(self, file: Path) -> dict[str, str]:
        """Phone, fax and tax number: the number, "" where the receipt has none; a field is missing where that is not clear."""
        note_files([file])
        if not file.is_file():
            return {}
        rows = (
            row for line in read_text(file).splitlines() for row in csv.reader([line])
        )  # a quote ends with its line
        lines = [",".join(row[8:]).upper() for row in rows if len(row) > 8]
        found = {}
        for field, (name, number, like) in _NUMBERS.items():
            naming = [line for line in lines if re.search(name, line)]
            values = {value for line in naming if (value := _behind(line, name, number))}
            unclear = not naming and any(re.search(like, line) for line in lines)
            if len(values) == 1 or not (naming or unclear):
                found[field] = next(iter(values), "")
        return found


def _behind(line: str, name: str, number: str) -> str:
    """The number right behind a field's name, if only abbreviations of other names stand between; "" where there is none."""
    between = r"[^\dA-Z+]*(?:(?:NO|ID|REG|REGISTRATION|FAX|TEL|HP)\b[^\dA-Z+]*)*"
    found = re.search(rf"{name}{between}({number})", line)
    return found[1].strip() if found else ""
