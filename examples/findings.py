"""Print what mining found, one line for every pair.

opsig mine --store opsig.h5 --json >mine.json
python3 findings.py mine.json ...
"""

import json
import sys
from pathlib import Path


def labels(group):
    """``12 cat, 3 dog, +4``: the three largest classes of a group."""
    named = sorted(group["labels"].items(), key=lambda item: -item[1])
    rest = sum(count for _, count in named[3:])
    return ", ".join(f"{count} {name}" for name, count in named[:3]) + (f", +{rest}" if rest else "")


def held(evidence):
    """``-0.97 (-0.17)``: a value and its null."""
    return "-" if evidence is None else f"{evidence['value']:+.2f} ({evidence['null']:+.2f})"


def main(files):
    """One block for every net."""
    for file in files:
        result = json.loads(Path(file).read_text())["result"]
        by_class = result["explained"].get("class", 0)
        counted = sum(bool(pair["finding"]) for pair in result["pairs"])
        print(
            f"\n{Path(file).parent.name}: {len(result['pairs'])} pairs, {counted} of them findings; "
            f"class explains {by_class:.0%} of high-passed loss deltas"
        )
        for number, pair in enumerate(result["pairs"], 1):
            evidence = pair["evidence"]
            features = [
                f"{name} {evidence[name]['value']:.2f} ({evidence[name]['null']:.2f})"
                for name in evidence
                if " by " in name and evidence[name]["p_value"] <= 0.05
            ]
            print(f"  {number}. {labels(pair['first'])} | {labels(pair['second'])}")
            told = "finding" if pair["finding"] else "proposal"
            print(f"     {told}: {pair['verdict']}; {', '.join(pair['traits']) or 'no traits'}")
            share = evidence["share_of_loss_change"]["value"] / evidence["share_ratio"]["value"]
            print(
                f"     opposition {held(pair['opposition'])}, cosine {held(evidence['gradient_cosine'])}, "
                f"held-out correlation {held(evidence.get('anti_phase'))}, "
                f"{evidence['share_of_loss_change']['value']:.0%} of the loss-change energy "
                f"with {share:.1%} of the data"
            )
            print(f"     {'; '.join(features) or 'no image feature tells members or sides'}")
        if not result["pairs"]:
            print("  class-level opposition only" if by_class >= 0.5 else "  no pairs")
        for note in result["notes"]:
            print(f"  - {note}")


if __name__ == "__main__":
    main(sys.argv[1:])
