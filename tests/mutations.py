"""Proof that tests watch over gates, tolerances and nulls: ``python tests/mutations.py [--only WORD] [--jobs N]``.

Each mutation weakens one line of the package and names the test that has to fail then. All named tests first pass on
the package as it is; then each mutation is made by itself in a copy. A mutation that its test does not notice, or
whose line is no longer there, makes the exit code 1. ``--against TESTS`` runs other tests instead of the named ones,
to see what those alone would notice.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

import argparse
import contextlib
import importlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Imported once, before the processes fork in which tests run.
HEAVY = (
    "torch",
    "torchvision",
    "scipy.cluster.hierarchy",
    "scipy.stats",
    "networkx",
    "h5py",
    "typer",
    "rich",
)


@dataclass(frozen=True)
class Mutation:
    """One changed line, and the test that has to notice it."""

    file: str  # below opsigcli/
    old: str  # in the file exactly once
    new: str
    test: str  # below tests/


def of(file: str, test: str, *changes: tuple[str, str, str]) -> list[Mutation]:
    """Mutations of one file that tests of one file notice: old and new text, and the name of the test."""
    return [Mutation(file, old, new, f"{test}::{name}") for old, new, name in changes]


MUTATIONS: list[Mutation] = [
    *of(
        "mining/proposals.py",
        "mining/test_gates.py",
        (
            "\nOPPOSED = 0.1 ",
            "\nOPPOSED = -9.0 ",
            "test_groups_have_to_oppose_one_another_however_clear_they_are",
        ),
        (
            "\nOPPOSED = 0.1 ",
            "\nOPPOSED = 0.5 ",
            "test_groups_have_to_oppose_one_another_however_clear_they_are",
        ),
        (
            "ALIKE = 0.42 ",
            "ALIKE = -9.0 ",
            "test_groups_have_to_oppose_one_another_nearly_as_much_as_they_are_alike",
        ),
        (
            "ALIKE = 0.42 ",
            "ALIKE = 0.9 ",
            "test_groups_have_to_oppose_one_another_nearly_as_much_as_they_are_alike",
        ),
        ("COHESION = 0.78 ", "COHESION = 0.0 ", "test_few_examples_have_to_be_more_alike_than_many"),
        ("COHESION = 0.78 ", "COHESION = 3.0 ", "test_few_examples_have_to_be_more_alike_than_many"),
        (
            "SEPARATION = 1.0\n",
            "SEPARATION = -9.0\n",
            "test_members_stand_farther_out_than_others_that_oppose_the_same_group",
        ),
        (
            "SEPARATION = 1.0\n",
            "SEPARATION = 9.0\n",
            "test_members_stand_farther_out_than_others_that_oppose_the_same_group",
        ),
        ("UNEQUAL = 4.0 ", "UNEQUAL = 1e9 ", "test_a_group_opposes_one_of_similar_size"),
        ("UNEQUAL = 4.0 ", "UNEQUAL = 1.5 ", "test_a_group_opposes_one_of_similar_size"),
        (" or sizes[1] > UNEQUAL * sizes[0]", "", "test_a_group_opposes_one_of_similar_size"),
        ("<= UNEQUAL * min(", "<= 1e9 * min(", "test_the_tails_of_an_axis_are_of_similar_size"),
        (
            "TAIL_OPPOSED = 0.4\n",
            "TAIL_OPPOSED = -9.0\n",
            "test_the_tails_of_an_axis_have_to_be_strongly_opposed",
        ),
        (
            "TAIL_OPPOSED = 0.4\n",
            "TAIL_OPPOSED = 0.8\n",
            "test_the_tails_of_an_axis_have_to_be_strongly_opposed",
        ),
        ("TAIL_WITHIN = 0.25\n", "TAIL_WITHIN = -9.0\n", "test_the_tails_of_an_axis_have_to_be_alike_within"),
        ("TAIL_WITHIN = 0.25\n", "TAIL_WITHIN = 0.6\n", "test_the_tails_of_an_axis_have_to_be_alike_within"),
        (
            "OVERLAP = 0.5 ",
            "OVERLAP = 9.0 ",
            "test_of_two_proposals_that_share_half_of_their_members_one_is_left",
        ),
        (
            "OVERLAP = 0.5 ",
            "OVERLAP = 0.1 ",
            "test_of_two_proposals_that_share_half_of_their_members_one_is_left",
        ),
        (
            "CLEAR = 1.5 ",
            "CLEAR = 1e9 ",
            "test_among_proposals_that_stand_apart_the_more_opposed_one_is_left",
        ),
        (
            "CLEAR = 1.5 ",
            "CLEAR = 0.01 ",
            "test_among_proposals_as_opposed_the_one_that_stands_apart_is_left",
        ),
        (
            "\nSTARTS = 500 ",
            "\nSTARTS = 0 ",
            "test_groups_that_linkage_does_not_see_are_found_from_single_examples",
        ),
        (" or sum(size) > len(members) / 2", "", "test_more_than_half_of_all_examples_are_no_proposal"),
    ),
    *of(
        "mining/fixed_point.py",
        "mining/test_gates.py",
        ("WIDER = 0.45 ", "WIDER = 0.1 ", "test_who_stands_a_third_as_far_out_as_the_members_does_not"),
        (
            "WIDER = 0.45 ",
            "WIDER = 0.9 ",
            "test_who_stands_half_as_far_out_as_the_members_joins_them_in_the_end",
        ),
        (
            "TAIL_SHARES = (0.025, 0.05)",
            "TAIL_SHARES = (0.3, 0.4)",
            "test_on_a_continuous_axis_sides_are_a_twentieth_and_all_members_a_fifth",
        ),
        (
            "TAIL_SHARES = (0.025, 0.05)",
            "TAIL_SHARES = (0.001, 0.001)",
            "test_on_a_continuous_axis_sides_are_a_twentieth_and_all_members_a_fifth",
        ),
        (
            "pairs = [_outermost(similarity, sides, most) for sides in pairs]",
            "",
            "test_groups_that_stand_apart_keep_their_outermost_twentieth",
        ),
        ("TAIL_HELD = 1.0\n", "TAIL_HELD = -99.0\n", "test_tails_hold_more_than_their_share_of_the_swing"),
        ("TAIL_HELD = 1.0\n", "TAIL_HELD = 2.5\n", "test_tails_hold_more_than_their_share_of_the_swing"),
        (
            "\nHELD = 1.75 ",
            "\nHELD = -99.0 ",
            "test_groups_that_stand_apart_hold_many_times_their_share_of_the_swing",
        ),
        (
            "\nHELD = 1.75 ",
            "\nHELD = 3.0 ",
            "test_groups_that_stand_apart_hold_many_times_their_share_of_the_swing",
        ),
        (
            "OUTLIERS = 0.2 ",
            "OUTLIERS = 1.0 ",
            "test_on_a_continuous_axis_sides_are_a_twentieth_and_all_members_a_fifth",
        ),
        (
            "OUTLIERS = 0.2 ",
            "OUTLIERS = 0.02 ",
            "test_on_a_continuous_axis_sides_are_a_twentieth_and_all_members_a_fifth",
        ),
        (
            "taken[members].mean() >= OVERLAP or ",
            "",
            "test_an_axis_that_shares_half_of_its_members_with_a_known_pair_does_not_tear_it_apart",
        ),
    ),
]


def tested(folder: str, tests: list[str]) -> int:
    """Run some tests in a folder up to the first failure, and say how pytest ended. Not for twice in one process."""
    os.chdir(folder)
    sys.path[:] = [place for place in sys.path if Path(place) not in (ROOT, ROOT / "tests")]
    with (
        Path("output").open("w") as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        return int(pytest.main(["-x", "-p", "no:cacheprovider", *tests]))


def attempted(mutation: Mutation | None, tests: list[str]) -> tuple[str, float]:
    """How tests end in a copy of the package with one mutation: green, red, or what is wrong with the mutation."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("opsigcli", "tests"):
            unwanted = shutil.ignore_patterns("__pycache__", "benchmarks")
            shutil.copytree(ROOT / name, Path(folder, name), ignore=unwanted)
        shutil.copy(ROOT / "pyproject.toml", folder)
        if mutation is not None:
            path = Path(folder, "opsigcli", mutation.file)
            whole = path.read_text()
            if whole.count(mutation.old) != 1:
                return f"the line is there {whole.count(mutation.old)} times", 0.0
            path.write_text(whole.replace(mutation.old, mutation.new))
        code = tested(folder, tests)
        if code not in (0, 1) or (mutation is None and code):
            print(Path(folder, "output").read_text()[-5000:])
        os.chdir(ROOT)
    # Any other end is an error of pytest, or a test that is not there.
    return {0: "green", 1: "red"}.get(code, f"pytest ended with {code}"), time.monotonic() - began


def attempted_one(against: list[str] | None, mutation: Mutation | None) -> tuple[str, float]:
    """``attempted`` with the mutation's own test; without a mutation with all of them."""
    own = sorted({m.test for m in MUTATIONS}) if mutation is None else [mutation.test]
    return attempted(mutation, against or [f"tests/{test}" for test in own])


def main() -> int:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="mutations whose file or line holds this word")
    parser.add_argument("--against", nargs="*", help="tests to run instead of the named ones")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    MUTATIONS[:] = [m for m in MUTATIONS if chosen.only in m.file or chosen.only in m.old]
    for name in HEAVY:
        importlib.import_module(name)
    noticed = 0
    with multiprocessing.get_context("fork").Pool(chosen.jobs, maxtasksperchild=1) as pool:
        attempt = partial(attempted_one, chosen.against)
        for mutation, (word, seconds) in zip(
            [None, *MUTATIONS], pool.imap(attempt, [None, *MUTATIONS], chunksize=1), strict=True
        ):
            if mutation is None:
                print(f"{word:8} {seconds:5.1f} s  the package as it is", flush=True)
                if word != "green":
                    return 1
                continue
            noticed += word == "red"
            change = f"{mutation.old.strip()} -> {mutation.new.strip() or 'nothing'}"
            print(f"{word:8} {seconds:5.1f} s  {mutation.file}: {change}  [{mutation.test}]", flush=True)
    print(f"{noticed} of {len(MUTATIONS)} mutations noticed")
    return int(noticed < len(MUTATIONS))


if __name__ == "__main__":
    raise SystemExit(main())
