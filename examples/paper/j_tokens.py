"""(j) Language models: tokens at the ends of sentences and lines, which nothing decides, pull against each other.

The prose is generated; ``--data FILE`` takes a text of yours, with '.' and '!' in it and several lines a paragraph.
"""

from pathlib import Path

import numpy as np
from claims import Lab, at_most, correlation

lab = Lab("j", "in language models the opposing groups are ambiguous tokens: punctuation and new lines")
NETS = {"GPT": ("gpt?layers=1&width=24&heads=2", 0.3), "LSTM": ("lstm?width=24", 2.0)}
up, ends, lines = ({name: [] for name in NETS} for _ in range(3))
text = lab.given.data
if text and not Path(text).is_file():
    lab.refuse(f"expected a file of text as --data, found {text}")
lab.data_words.add(Path(text).name if text else "generated prose")
for seed in lab.seeds:
    for name, (model, lr) in NETS.items():
        sentences = 400 if lab.gpu else 40
        data = f"babble?sentences={sentences}&context=16&seed={seed}"
        if text:
            data = f"text:{text}?context=16&limit={lab.given.limit or sentences}"
        run = lab.trained(name, seed, {"tokens": True}, data=data, model=model, loss="lm", lr=lr, steps=100)
        deltas = np.asarray(run.deltas[50:], dtype=float)
        after = np.array([text.rsplit("[", 1)[0].rstrip().endswith((".", "!")) for text in run.names])
        word = np.array(run.classes)[run.labels]
        if not (word == ".").any() or not (word == "!").any() or not (after & (word == "\\n")).any():
            lab.refuse(
                f"among {len(word)} tokens are no '.', no '!' or no new line after one: take more with --limit"
            )

        def mean(chosen, of=deltas):
            return of[:, chosen].mean(axis=1)

        up[name].append(np.median((deltas > 0).mean(axis=1)))
        ends[name].append(correlation(mean(word == "."), mean(word == "!")))
        lines[name].append(correlation(mean(after & (word == "\\n")), mean(after & (word != "\\n"))))

for name in NETS:
    lab.expect(
        f"{name}: median share of tokens that rise late",
        up[name],
        at_most(0.6),
        revised="0.2 to 0.6 for both",
    )
    what = f"{name}: correlation of the loss changes of '.' and '!', which end the same sentences"
    lab.expect(what, ends[name], at_most(0.5), at_most(0), "class against class; other directions move both")
    what = f"{name}: the same of a new line and of a word after the end of a sentence"
    lab.expect(what, lines[name], at_most(0), at_most(0))
lab.end()
