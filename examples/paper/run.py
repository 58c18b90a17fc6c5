"""Run the scripts of this folder, one after another, and write the table of examples/README.md from what they wrote.

python examples/paper/run.py [--only a,b] [--quick] [--out FOLDER] [--data PICTURES] [--scale gpu] [--seeds N]

What a script writes joins ``results.jsonl``, so that ``--only`` renews its own rows and leaves the others. A quick run
prints its table and leaves both files as they are. Ends with exit status 1 if an expectation of ours failed.
Scripts that --data or --scale make no sense for say so and are left out.
"""

import argparse
import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

from claims import HERE, said

RESULTS, TABLE = HERE / "results.jsonl", HERE.parent / "README.md"
BEGIN, END = "<!-- results: written by paper/run.py -->", "<!-- end of results -->"
SCRIPTS = {path.name[0]: path for path in sorted(HERE.glob("?_*.py"))}


def table(lines):
    """Rows of Markdown: claim and commands, then a row for each expectation."""
    found = []
    for letter, of in groupby(sorted(lines, key=lambda line: line["claim"]), key=lambda line: line["claim"]):
        rows = list(of)
        first = rows[0]
        found += [
            f"### ({letter}) {first['paper says'][0].upper()}{first['paper says'][1:]}",
            "",
            f"[`{SCRIPTS[letter].name}`](paper/{SCRIPTS[letter].name}), {first['seconds']} s, "
            f"data: {', '.join(first['data'])}.",
            "",
            "```console",
            *(f"$ opsig {command}" for command in rows[-1]["commands"]),
            "```",
            "",
            "| what | we expect | seen: mean ± spread (each seed) | as we expect | the paper |",
            "|---|---|---|---|---|",
        ]
        found += [
            f"| {row['what']} | {row['expected']} | {said(row)} | {'yes' if row['agrees'] else '**no**'} "
            f"| {row['paper']} |"
            for row in rows
        ]
        found.append("")
    return "\n".join(found)


def main():
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SCRIPTS), help="letters with commas between them")
    parser.add_argument("--out", type=Path, default=Path("opsig-paper"))
    parser.add_argument("--quick", action="store_true")
    given, rest = parser.parse_known_args()
    letters = given.only.split(",")
    unknown = [letter for letter in letters if letter not in SCRIPTS]
    if unknown:
        parser.error(f"expected letters of {', '.join(SCRIPTS)}, found {', '.join(unknown)}")
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    failed, unfit = [], []
    for letter in letters:
        quick = ["--quick"] if given.quick else []
        call = [sys.executable, SCRIPTS[letter], "--out", given.out, *quick, *rest]
        file = given.out / f"{letter}.jsonl"
        file.unlink(missing_ok=True)
        code = subprocess.run(call, check=False).returncode
        if code:
            (unfit if code == 2 else failed).append(letter)
        if code == 2:  # it takes no such data or scale, and has said so
            continue
        lines = [line for line in lines if line["claim"] != letter]
        lines += [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if given.quick:
        print(table([line for line in lines if line["claim"] in letters and line["claim"] not in unfit]))
    else:
        RESULTS.write_text(
            "".join(json.dumps(line) + "\n" for line in sorted(lines, key=lambda li: li["claim"]))
        )
        begin, rest = TABLE.read_text().split(BEGIN)
        TABLE.write_text(f"{begin}{BEGIN}\n\n{table(lines)}\n{END}{rest.split(END)[1]}")
    if unfit:
        print(f"left out, as they say why: {', '.join(unfit)}", file=sys.stderr)
    sys.exit(f"not as expected: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
