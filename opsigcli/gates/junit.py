"""Gates as JUnit XML, which GitHub, GitLab and Jenkins show."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from opsigcli.gate_records import GateResult
from opsigcli.gates.judge import sentence
from opsigcli.printable import printable

SUITE = "opsig"


def junit(results: Sequence[GateResult]) -> bytes:
    """A test suite with a case for every gate; one that tripped is a failure, of a type that says why."""
    tripped = sum(result.tripped for result in results)
    counts = {"tests": str(len(results)), "failures": str(tripped), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": SUITE, **counts})
    for result in results:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": SUITE, "name": printable(f"--{result.sense} {result.condition}")}
        )
        words = printable(sentence(result))
        if result.tripped:
            kind = "tripped" if result.measured else "not measured"
            failure = ElementTree.SubElement(case, "failure", {"message": words, "type": kind})
            failure.text = f"{words}\n{printable(result.origin)}"
        else:
            ElementTree.SubElement(case, "system-out").text = words
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
