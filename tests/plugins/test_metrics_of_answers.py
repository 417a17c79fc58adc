"""Scores of answers, case by case on random edits: against restatements here, and with ``-m slow`` against others' code.

The others' code is not needed to work here. Get it with

    pip install --no-deps --target FOLDER anls==0.0.2 lmms_eval==0.7.3 salesforce-lavis==1.0.2

and name FOLDER in the environment variable ORACLES; only single functions of it are run, so that nothing else of these
packages must be installed. LAVIS has the text processing of the official VQA script, with an older rule of when to apply it;
the present rule is restated here.
"""

from __future__ import annotations

import ast
import os
import random
import re
import statistics
import string
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from trialbook.contracts.predictions import Prediction, Scorer, normalized_match
from trialbook_plugins.metrics.anls import ANLS, anls_paper, anls_script
from trialbook_plugins.metrics.exact_match import ExactMatch
from trialbook_plugins.metrics.relaxed_accuracy import RelaxedAccuracy, relaxed_match
from trialbook_plugins.metrics.token_f1 import TokenF1, token_f1
from trialbook_plugins.metrics.vqa_accuracy import VQAAccuracy, vqa_evalai, vqa_official

FEW, MANY = 400, 20_000
#: Sums of ten shares in another order differ by less.
ROUNDING = 1e-12
TEXTS = (
    "Red Lion Inn", "the total due", "A", "%", "1,000", "1,000.50", "12.5%", "100", "-3", "0", "0.0", "$4.50", "1e3", "one",
    "None of the two", "ten", "it's a dog's life", "dont", "couldn'tve", "ow's'at", "somebody'd", "lets", "Im", "im", "yall'd've",
    "u.s.a.", "1.5 m", "3.", "yes; no", "left-hand side", "a/b", "well, maybe?", "Straße", "İstanbul", "naïve café", "10:30", "",
    "  wide   spaced ", "tab\tand\nline", "(c) 2019", "John@mail.org", "nan", "inf", "unanswerable", "5", "5.25", "105", "95",
    "0.05",
)  # fmt: skip
LETTERS = string.ascii_lowercase + "AZ" + string.digits + " .,;:/-'\"%?!()@_ßİé\t\n"


class Case(NamedTuple):
    """An answer and the accepted ones of ten annotators."""

    text: str
    answers: list[str]


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Texts and edits of them, so that matches, near misses and misses are all frequent."""
    draw = random.Random(seed)
    for _ in range(count):
        base = draw.choice(TEXTS)
        others = [edited(base, draw, draw.randint(0, 2)) for _ in range(draw.choice((0, 1, 3)))]
        answers = [draw.choice([base, *others]) for _ in range(10)]
        text = edited(draw.choice([*answers, draw.choice(TEXTS)]), draw, draw.choice((0, 0, 1, 2, len(base) // 2 + 1)))
        yield Case(nearby(text, draw) if draw.random() < 0.3 else text, answers)


def edited(text: str, draw: random.Random, edits: int) -> str:
    """The text after random insertions, deletions, substitutions and changes of case."""
    for _ in range(edits):
        at = draw.randint(0, len(text))
        kind = draw.randrange(4)
        if kind == 3:
            text = text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]
        else:
            text = text[:at] + (draw.choice(LETTERS) if kind != 1 else "") + text[at + (kind != 0) :]
    return text


def nearby(text: str, draw: random.Random) -> str:
    """A number some percent away, where the text is one."""
    try:
        return f"{float(text.rstrip('%')) * draw.uniform(0.92, 1.08):g}" + "%" * text.endswith("%")
    except ValueError:
        return text


def compare(ours: Scorer, theirs: Callable[[str, list[str]], float], count: int, answers: int = 10) -> list[float]:
    """Compare all cases with the first ``answers`` accepted answers; the scores."""
    scores = []
    for case in cases(count):
        accepted = case.answers[:answers]
        scores.append(ours(case.text, accepted))
        assert scores[-1] == pytest.approx(theirs(case.text, list(accepted)), abs=ROUNDING), case
    return scores


def check_spread(scores: Sequence[float]) -> None:
    """Both right and wrong answers are among the cases, so that agreement says something."""
    assert 0.1 < sum(score > 0 for score in scores) / len(scores) < 0.95
    assert sum(score == 1 for score in scores) > 0.05 * len(scores)


def mean_of(metric: Any, figure: str, count: int, answers: int = 10) -> float:
    """What the metric itself makes of the cases."""
    asked = [Prediction(str(i), "?", case.text, tuple(case.answers[:answers])) for i, case in enumerate(cases(count))]
    return float(metric.compute(predictions=asked)[figure])


# --- restatements -------------------------------------------------------------------------------------------------------


def edits_between(one: str, other: str) -> int:
    """By the table of all prefixes."""
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
    return table[-1][-1]


def similarity(one: str, other: str, *, raw: bool) -> float:
    """1 − NL; the length of raw or of compared strings."""
    a, b = (re.sub(r"\s+", " ", text.lower()).strip() for text in (one, other))
    length = max(len(text.upper()) for text in ((one, other) if raw else (a, b)))
    return 1 - edits_between(a, b) / length if length else 1.0


def restated_anls_paper(text: str, answers: list[str]) -> float:
    return max(like if (like := similarity(text, answer, raw=False)) > 0.5 else 0 for answer in answers)


def restated_anls_script(text: str, answers: list[str]) -> float:
    return max(like if (like := similarity(text, answer, raw=True)) >= 0.5 else 0 for answer in answers)


def squad_words(text: str) -> list[str]:
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    words = re.sub(r"\b(a|an|the)\b", " ", plain).split()
    return words or text.lower().split()


def restated_f1(text: str, answers: list[str]) -> float:
    best = 0.0
    for answer in answers:
        given, wanted = squad_words(text), squad_words(answer)
        common = sum(min(given.count(word), wanted.count(word)) for word in set(given))
        if common:
            precision, recall = common / len(given), common / len(wanted)
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def restated_relaxed(text: str, answers: list[str]) -> float:
    def number(written: str) -> float | None:
        found = re.fullmatch(r"\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(%*)", written, re.IGNORECASE | re.ASCII)
        return float(found[1]) / (100 if found[4] else 1) if found else None

    def right(answer: str) -> bool:
        given, wanted = number(text), number(answer)
        if given is None or wanted is None or wanted == 0:
            return text.lower() == answer.lower()
        return abs(given - wanted) / abs(wanted) <= 0.05

    return float(any(map(right, answers)))


def leave_one_out(text: str, answers: list[str]) -> float:
    """VQA accuracy of texts as they are."""
    left = [answers[:i] + answers[i + 1 :] for i in range(len(answers))]
    return statistics.fmean(min(1.0, others.count(text) / 3) for others in left)


@pytest.mark.parametrize(
    ("ours", "theirs", "answers"),
    [
        (anls_paper, restated_anls_paper, 3), (anls_script, restated_anls_script, 3), (token_f1, restated_f1, 3),
        (normalized_match, lambda text, answers: float(squad_words(text) in map(squad_words, answers)), 3),
        (relaxed_match, restated_relaxed, 2),
    ],
)  # fmt: skip
def test_scores_of_random_edits_are_those_of_a_restatement(
    ours: Scorer, theirs: Callable[[str, list[str]], float], answers: int
):
    check_spread(compare(ours, theirs, FEW, answers))


def test_vqa_accuracy_of_random_edits_leaves_out_each_annotator_in_turn():
    """Where no text has anything to bring to a common form."""
    draw = random.Random(1)
    for _ in range(FEW):
        answers = [draw.choice(("red", "blue", "green")) for _ in range(10)]
        expected = leave_one_out("red", answers)
        assert vqa_official("red", answers) == pytest.approx(expected, abs=ROUNDING)
        assert vqa_evalai("red", answers) == pytest.approx(expected, abs=ROUNDING)


# --- others' code -------------------------------------------------------------------------------------------------------


def oracle(package: str, version: str) -> Distribution:
    """The installed package; skips where it is not there in this version."""
    folder = os.environ.get("ORACLES")
    for found in distributions(name=package, **({"path": [folder]} if folder else {})):
        if found.version == version:
            return found
    pytest.skip(f"{package} {version} is not installed: see the top of {Path(__file__).name}")


def parts_of(package: Distribution, file: str, *names: str, **given: Any) -> list[Any]:
    """Functions and classes of a file without the rest of it: decorators left out, ``given`` in place of its imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in their strings
        tree = ast.parse(Path(str(package.locate_file(file))).read_text(encoding="utf-8"))
        kept = [node for node in tree.body if getattr(node, "name", None) in names]
        for node in kept:
            node.decorator_list = []
        scope = dict(given)
        exec(compile(ast.Module(kept, []), file, "exec"), scope)
    return [scope[name] for name in names]


def lmms(file: str, *names: str, **given: Any) -> list[Any]:
    return parts_of(oracle("lmms_eval", "0.7.3"), f"lmms_eval/{file}", *names, **given)


def official_processing() -> Any:
    package = oracle("salesforce-lavis", "1.0.2")
    return parts_of(package, "lavis/common/vqa_tools/vqa_eval.py", "VQAEval", re=re)[0]()


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 3, 10])
def test_anls_of_the_paper_agrees_with_anls_0_0_2(answers: int):
    package = oracle("anls", "0.0.2")
    _, distance = parts_of(package, "anls/metrics/dist.py", "levenshtein_distance", "normalized_levenshtein_distance")
    _, theirs = parts_of(package, "anls/metrics/score.py", "similatiry_function", "anls_score", NL=distance, List=list)
    scores = compare(anls_paper, theirs, MANY, answers)
    check_spread(scores)
    assert mean_of(ANLS(), "paper", MANY, answers) == pytest.approx(statistics.fmean(scores), abs=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 3, 10])
def test_anls_of_the_script_agrees_with_lmms_eval_0_7_3(answers: int):
    _, theirs = lmms("api/metrics.py", "levenshtein_distance", "anls")
    scores = compare(anls_script, lambda text, accepted: theirs(accepted, [text])["anls"], MANY, answers)
    check_spread(scores)
    assert scores.count(0.5) > 20
    assert mean_of(ANLS(), "script", MANY, answers) == pytest.approx(statistics.fmean(scores), abs=ROUNDING)


@pytest.mark.slow
def test_relaxed_accuracy_agrees_with_lmms_eval_0_7_3_but_for_equal_texts_that_read_as_no_finite_number():
    (theirs,) = lmms("tasks/chartqa/utils.py", "relaxed_correctness")
    left_out = 0

    def expected(text: str, answers: list[str]) -> float:
        nonlocal left_out
        if (
            re.fullmatch(r"[+-]?(nan|inf(inity)?)%*", text.strip(), re.IGNORECASE)
            and text.lower() == answers[0].lower()
        ):
            left_out += 1
            return 1.0
        return float(theirs(text, answers[0]))

    check_spread(compare(relaxed_match, expected, MANY, answers=1))
    assert left_out < MANY / 20


@pytest.mark.slow
def test_vqa_accuracy_of_evalai_agrees_with_textvqa_in_lmms_eval_0_7_3():
    (processor,) = lmms("tasks/_task_utils/vqa_eval_metric.py", "EvalAIAnswerProcessor", re=re)
    (process,) = lmms(
        "tasks/textvqa/utils.py", "textvqa_process_results", EvalAIAnswerProcessor=processor, statistics=statistics
    )

    def theirs(text: str, answers: list[str]) -> float:
        return float(process({"answers": answers, "question_id": 0}, [text])["exact_match"])

    scores = compare(vqa_evalai, theirs, MANY)
    check_spread(scores)
    assert mean_of(VQAAccuracy(), "evalai", MANY) == pytest.approx(statistics.fmean(scores), abs=ROUNDING)


@pytest.mark.slow
def test_vqa_accuracy_of_the_official_script_agrees_with_its_text_processing_applied_where_answers_differ():
    script = official_processing()

    def theirs(text: str, answers: list[str]) -> float:
        text, *answers = (one.replace("\n", " ").replace("\t", " ").strip() for one in (text, *answers))
        if len(set(answers)) > 1:
            text, *answers = (script.processDigitArticle(script.processPunctuation(one)) for one in (text, *answers))
        return leave_one_out(text, answers)

    scores = compare(vqa_official, theirs, MANY)
    check_spread(scores)
    assert mean_of(VQAAccuracy(), "official", MANY) == pytest.approx(statistics.fmean(scores), abs=ROUNDING)


@pytest.mark.slow
def test_vqa_accuracy_of_the_official_script_agrees_with_vqav2_in_lmms_eval_0_7_3_where_answers_differ():
    """That always processes, and takes ``1,,2`` for a number with commas."""
    (processor,) = lmms("tasks/_task_utils/vqa_eval_metric.py", "EvalAIAnswerProcessor", re=re)
    (process,) = lmms(
        "tasks/vqav2/utils.py", "vqav2_process_results", EvalAIAnswerProcessor=processor, statistics=statistics
    )
    compared = 0
    for text, answers in cases(MANY):
        plain = {answer.replace("\n", " ").replace("\t", " ").strip() for answer in answers}
        if len(plain) < 2 or any(re.search(r"\d,,+\d", one) for one in (text, *answers)):
            continue
        document = {"answers": [{"answer": one, "id": i} for i, one in enumerate(answers)], "question_id": 0}
        assert vqa_official(text, answers) == pytest.approx(process(document, [text])["exact_match"], abs=ROUNDING)
        compared += 1
    assert compared > MANY / 3


@pytest.mark.slow
def test_contractions_and_numbers_are_those_of_the_official_script():
    script = official_processing()
    words = {*script.contractions, *script.contractions.values(), *script.manualMap, *script.articles}
    assert len(words) > 200
    for word in words:
        for spelled in (word, word.lower(), word.capitalize(), f"is {word} so", word.replace("'", "")):
            wanted = script.processDigitArticle(script.processPunctuation(spelled))
            assert vqa_official(spelled, [wanted] * 9 + ["something else"]) == 1, spelled


def test_scores_of_predictions_stand_in_their_order_and_those_that_do_not_count_are_nan() -> None:
    rows = [
        Prediction(str(i), "?", text, answers, answerable=bool(answers), source=source)
        for i, (text, answers, source) in enumerate(
            [("a cat", ("cat",), "x"), ("cat", ("dog",), "y"), ("cat", ("cat",), "y"), ("?", (), "y")]
        )
    ]
    values = ExactMatch(sources=["y"], answerable_only=True).compute(predictions=rows)
    assert dict(values) == {"exact": 0.5, "normalized": 0.5}
    for scores in values.per_sample.values():
        assert str(scores.tolist()) == "[nan, 0.0, 1.0, nan]"


@pytest.mark.parametrize("metric", [RelaxedAccuracy(), TokenF1()])
def test_a_metric_is_the_mean_of_its_scores(metric: Any):
    (figure,) = metric.produces
    ours = relaxed_match if isinstance(metric, RelaxedAccuracy) else token_f1
    scores = [ours(text, answers) for text, answers in cases(FEW)]
    assert mean_of(metric, figure, FEW) == pytest.approx(statistics.fmean(scores), abs=ROUNDING)
