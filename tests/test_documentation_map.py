"""policies/documentation.yaml: every section of the pack answers something, every heading is answered, articles are real."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.contracts import DataFault
from pipelines.settings import REPOSITORY
from pipelines.spec import SECTIONS, DocumentationMap, load_documentation_map

RAW = yaml.safe_load((REPOSITORY / "policies" / "documentation.yaml").read_text())

# Titles of the articles of Regulation (EU) 2024/1689 that the table cites.
ARTICLES = {
    9: "Risk management system",
    10: "Data and data governance",
    11: "Technical documentation",
    12: "Record-keeping",
    13: "Transparency and provision of information to deployers",
    14: "Human oversight",
    15: "Accuracy, robustness and cybersecurity",
    17: "Quality management system",
    19: "Automatically generated logs",
    26: "Obligations of deployers of high-risk AI systems",
    27: "Fundamental rights impact assessment for high-risk AI systems",
    40: "Harmonised standards and standardisation deliverables",
    43: "Conformity assessment",
    47: "EU declaration of conformity",
    72: "Post-market monitoring by providers and post-market monitoring plan",
    73: "Reporting of serious incidents",
    86: "Right to explanation of individual decision-making",
}


@pytest.fixture(scope="module")
def table() -> DocumentationMap:
    return load_documentation_map(REPOSITORY / "policies")


def article(cited: str) -> int:
    return int(cited.partition("(")[0])


def test_annex_iv_has_its_nine_headings_in_order(table: DocumentationMap):
    annex = table.frameworks[0]
    assert [h.number for h in annex.headings if "(" not in h.number] == ["1", "3", "4", "5", "6", "7", "8", "9"]
    assert [h.number for h in annex.headings if h.number.startswith("2")] == [f"2({letter})" for letter in "abcdefgh"]
    asked = {h.number: {article(a) for a in h.articles} for h in annex.headings}
    assert (asked["5"], asked["7"], asked["8"], asked["9"]) == ({9}, {40}, {47}, {72})
    assert 10 in asked["2(d)"]
    assert 14 in asked["2(e)"]


def test_the_articles_are_those_of_the_act(table: DocumentationMap):
    annex, articles, guidance = table.frameworks
    cited = {article(a) for framework in (annex, articles) for h in framework.headings for a in h.articles}
    assert cited == set(ARTICLES)
    for heading in articles.headings:
        assert int(heading.number) == article(heading.articles[0])
        words = ARTICLES[int(heading.number)].lower().split()[:1]
        assert words[0][:5] in heading.title.lower() or heading.number in ("19", "26", "86")
    assert not [a for h in guidance.headings for a in h.articles]


def test_every_section_answers_a_heading_of_every_law(table: DocumentationMap):
    law = [h for framework in table.frameworks[:2] for h in framework.headings]
    for headings in (law, table.frameworks[2].headings):
        assert {section for heading in headings for section in heading.sections} == set(SECTIONS)


def test_each_use_has_its_frameworks_from_the_day_they_apply(table: DocumentationMap):
    assert [f.framework for f in table.for_use("credit")] == ["eu_ai_act_annex_iv", "eu_ai_act_articles", "sr_26_2"]
    assert [f.framework for f in table.for_use("aml")] == ["sr_26_2"]
    annex, _, guidance = table.frameworks
    assert (annex.applies(date(2027, 12, 1)), annex.applies(date(2027, 12, 2))) == (False, True)
    assert (guidance.applies(date(2026, 4, 16)), guidance.applies(date(2026, 4, 17))) == (False, True)


def test_a_section_says_which_headings_it_answers(table: DocumentationMap):
    annex = table.frameworks[0]
    assert [h.number for h in annex.answered_by("fairness")] == ["2(g)", "3"]


def test_counsel_has_confirmed_nothing_yet(table: DocumentationMap):
    assert [f.confirmed_by for f in table.frameworks] == [None, None, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sections": ["fairnes"]}, "frameworks.0.headings.0.sections.0"),
        ({"sections": [], "outside": ""}, "name the sections that answer it"),
        ({"section": ["gates"]}, "did you mean 'sections'?"),
        ({"articles": ["article 9"]}, "frameworks.0.headings.0.articles.0"),
        ({"number": "9"}, "heading 9 is there more than once"),
    ],
)
def test_a_table_that_cannot_be_meant(tmp_path: Path, change: dict[str, Any], said: str):
    first, *others = RAW["frameworks"]
    heading, *rest = first["headings"]
    changed = {**RAW, "frameworks": [{**first, "headings": [{**heading, **change}, *rest]}, *others]}
    (tmp_path / "documentation.yaml").write_text(yaml.safe_dump(changed))
    with pytest.raises(DataFault) as raised:
        load_documentation_map(tmp_path)
    assert said in str(raised.value)
    assert "docs/fairness.md lists every key" in str(raised.value)
