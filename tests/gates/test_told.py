"""What a pipeline is told of gates: JUnit, Markdown, annotations; texts from data are text in each."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Opsig
from markdown_it import MarkdownIt
from reporting_case import make_case
from store_case import write_everything

from opsigcli.cli.actions import annotation, defused
from opsigcli.gate_records import GateResult
from opsigcli.gates.junit import junit
from opsigcli.gates.metrics import measure
from opsigcli.reporting.markdown import escaped_text, figure_link, render_markdown
from opsigcli.spike_records import SpikeCause

EVIL = (
    "]]></failure>&\x00\x1b[2J\n::error::forged ##[add-mask]x @everyone #12 | a | **b** `c` <img src=x onerror=y> "
    "[l](http://e) ![p](http://e/p.png) https://e www.e.org ~~s~~ $x$"
)


def gate(*, tripped: bool, measured: bool = True, words: str = "loss.last is 3") -> GateResult:
    return GateResult("loss.last > 2", "fail-on", tripped, measured, "loss.last", 3.0, 2.0, None, words, EVIL)


def test_junit_has_a_case_for_every_gate_and_a_failure_for_each_that_tripped() -> None:
    results = [gate(tripped=False), gate(tripped=True), gate(tripped=True, measured=False)]
    root = ElementTree.fromstring(junit(results))
    (suite,) = root.findall("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    assert [case.find("failure") is not None for case in suite] == [False, True, True]
    assert [f.get("type") for f in suite.iter("failure")] == ["tripped", "not measured"]


def test_junit_is_xml_whatever_the_words_are() -> None:
    root = ElementTree.fromstring(junit([gate(tripped=True, words=EVIL)]))
    (failure,) = root.iter("failure")
    assert "]]></failure>&" in (failure.get("message") or "")


def markdown_words(text: str) -> tuple[str, set[str], set[str]]:
    """The text that Markdown shows, the kinds of its marks, and its HTML."""
    tokens = (
        MarkdownIt("commonmark", {"html": True, "linkify": False})
        .enable(["table", "strikethrough"])
        .parse(text)
    )
    inline = [child for token in tokens for child in (token.children or ())]
    shown = "".join(t.content for t in inline if t.type in ("text", "text_special"))
    kinds = {t.type for t in [*tokens, *inline]}
    return shown, kinds, {t.content for t in inline if t.type == "html_inline"}


@pytest.mark.parametrize("start", ["", "- ", "# ", "1. ", "> ", "| x | ", "+ ", "= ", "\t"])
def test_markdown_shows_text_as_text(start: str) -> None:
    text = start + EVIL
    shown, kinds, html = markdown_words(f"- {escaped_text(text)}\n")
    assert html <= {"<span>", "</span>"}
    assert not kinds & {
        "link_open",
        "image",
        "code_inline",
        "strong_open",
        "em_open",
        "s_open",
        "heading_open",
    }
    assert not kinds & {"ordered_list_open", "blockquote_open", "table_open", "html_block", "fence"}
    assert "**b** `c` <img src=x onerror=y> [l](http://e) ![p](http://e/p.png)" in shown
    line = escaped_text(text)
    assert "\n" not in line
    assert not re.search(r"@\w|#\d|https?://|www\.|::", line)


def test_a_report_as_markdown_says_the_verdict_the_gates_and_the_numbers() -> None:
    case = make_case(classes=(EVIL, "dog", "frog"))
    cause = SpikeCause("seen", f"class {EVIL} holds 70% of the rise", ())
    case = replace(case, spikes=tuple(replace(spike, cause=cause) for spike in case.spikes))
    found = measure(case)
    text = render_markdown(
        case, found, [gate(tripped=True, words=EVIL), gate(tripped=False)], {"loss.last": 0.25}
    )
    shown, kinds, html = markdown_words(text)
    assert html <= {"<span>", "</span>"}
    assert not kinds & {"link_open", "image", "code_inline", "em_open", "s_open"}
    assert "1 of 2 gates tripped." in shown
    assert "0.25" in shown
    assert f"{found['loss.last'].value:.6g}" in shown
    for row in re.findall(r"^\| .*$", text, re.M):
        assert len(re.findall(r"(?<!\\)\|", row)) in (4, 6)
    assert "All gates passed." in render_markdown(case, found, [gate(tripped=False)], None)


@pytest.mark.parametrize(
    ("figure", "place"),
    [
        ("out/a b.svg", "./out/a%20b.svg"),
        ("/home/me/f.png", "./f.png"),
        ("../f.svg", "./f.svg"),
        (EVIL, None),
    ],
)
def test_a_figure_is_shown_from_the_file_beside_the_document(figure: str, place: str | None) -> None:
    _, kinds, html = markdown_words(line := figure_link(Path(figure)))
    assert not html
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "image", "text"}
    assert "image" in kinds
    assert place is None or f"]({place})" in line
    assert line.count("\n") == 2


def test_a_report_joins_no_picture_to_the_summary_of_a_pipeline(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    write_everything(tmp_path / "s.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    done = opsig("report", "--store", "s.h5", "--markdown", "--figure", "out.svg")
    assert done.code == 0, done.err
    assert done.out.endswith("](./out.svg)\n")
    assert Path("out.svg").read_bytes().startswith(b"<?xml")
    assert "out.svg" not in Path("summary.md").read_text()


def test_an_annotation_is_one_line_and_ends_where_its_text_does() -> None:
    line = annotation("a:b,c", "100 %\r\n::set-env name=x::y")
    assert line == "::error title=a%3Ab%2Cc::100 %25%0D%0A::set-env name=x::y"


def test_words_of_data_are_no_commands_of_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    assert defused("std::vector") == "std::vector"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert not re.search(r"^\s*::|##\[", defused("  ::error::x\n##[error]y"), re.M)
