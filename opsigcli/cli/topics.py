"""Manual pages that are about no single command."""

from __future__ import annotations

from opsigcli.cli.api_page import api_page
from opsigcli.cli.evidence_page import EVIDENCE_PAGE
from opsigcli.cli.gates_page import GATES
from opsigcli.cli.scaling import SCALING
from opsigcli.cli.store_page import STORE_PAGE
from opsigcli.cli.topic import Topic

LOSSES = Topic(
    "opsig-losses",
    "the loss that was trained: its options, weights, and how the mean is taken",
    (
        (
            "DESCRIPTION",
            (
                "Loss traces hold each example's own loss l. The mean loss, its gradient, its Hessian "
                "and all that is "
                "made of them (sharpness, batch sharpness, gradients that opsig mine compares, spikes) are those of "
                "L = sum of w l / sum of w over the examples, where w is mostly 1. Where it is not, opsig trace and "
                "opsig sharpness say what w is, and the store holds it.",
            ),
        ),
        (
            "LOSSES AND THEIR OPTIONS",
            (
                "ce?label_smoothing=0.1&weight=0.2,1,5&ignore_index=255 is torch.nn.CrossEntropyLoss with these "
                "arguments: with weights of classes w of an example is that of its label, as torch divides by their "
                "sum. Maps of labels (B, H, W) under outputs (B, C, H, W) are averaged over all labelled places. "
                "Labels of -100 are ignored always. Outputs that a softmax or a sigmoid makes are refused: with "
                "of=probabilities the loss is -log p of those of a softmax, and of=logits takes them for logits, as a "
                "run did that gave probabilities to CrossEntropyLoss.",
                "nll?weight=...&ignore_index=... is the same for outputs that are log-probabilities.",
                "lm?mean=tokens&label_smoothing=...&weight=...&ignore_index=... is for outputs (B, L, "
                "V) and tokens (B, L), "
                "already shifted; labels that stand beside their own tokens, as transformers has them, are shifted by "
                "shift=true in --data. mean=tokens, the default, is the mean over all labelled tokens, which trainers "
                "minimise: w of a sequence is the number of its labelled tokens. mean=sequences lets all sequences "
                "count alike. A sequence's own loss is the mean over its tokens either way.",
                "focal?gamma=2&weight=... (softmax), gce?q=0.7&weight=... ((1 - p^q)/q, bounded), "
                "sigmoid_focal?gamma=2&alpha=0.25 (as torchvision's), "
                "bce?pos_weight=3&weight=... of logits (of=logits insists on it), bce_prob?weight=... of "
                "probabilities; "
                "pos_weight and weight are one "
                "number, or one for each output, and as in torch enter no denominator.",
                "mse, l1, huber?delta=1, smooth_l1?beta=1: mean over an example's outputs; outputs=sum adds them up, "
                "scale=0.5 multiplies. The half squared distance is mse?outputs=sum&scale=0.5.",
                "py:pkg.mod:fn and file:path.py:fn take outputs and targets of B examples and return "
                "their losses (B,), or "
                "a pair of losses (B,) and weights w (B,), which depend on the example's own targets alone: "
                "not on outputs, and not divided by their sum over a batch.",
                "An L2 penalty is no part of the loss: it is left out of L and its Hessian. opsig sharpness "
                "--weight-decay c moves the threshold by as much instead, which says the same.",
            ),
        ),
        (
            "WEIGHTS OF EXAMPLES",
            (
                "npz: files hold them as an array weights (N,); a dataset of your own as an attribute "
                "weights; any source "
                "of images or arrays takes weights=FILE.npy, one number for each example of the whole source in its "
                "order: --data 'folder:images/train?weights=w.npy'. They multiply those of the loss.",
            ),
        ),
        (
            "WHAT IS REFUSED",
            (
                "A loss or model in which the examples of a batch depend on one another (contrastive "
                "losses, experts of "
                "limited capacity, statistics of the batch) gives no example a loss of its own. It is found at the "
                "first checkpoint, by evaluating one batch whole and in pieces, and refused with exit status 3.",
            ),
        ),
    ),
)

SPIKES = Topic(
    "opsig-spikes",
    "who held a spike of the mean loss, and how sure that is",
    (
        (
            "DESCRIPTION",
            (
                "A spike is a climb of the mean loss, from bottom to top, of more than six robust standard "
                "deviations of its steps (1.4826 times the median distance from the median) and 2 % of the loss at its "
                "bottom; of fewer than 6 checkpoints none is told. opsig report and opsig mine attribute the "
                "largest ones (24, fewer on more than 125,000 examples) to names, from the losses in the store "
                "alone: no gradient, no model. What an example holds is its positive loss delta from bottom to "
                "top times its weight in the mean loss; shares are of the sum of these, so that the classes "
                "add up to 100 %. 'of the rise' is a class's part of the rise of the mean loss, falls "
                "counted, and adds up to that.",
                "Features are looked at when a trace is made, in at most 10,000 random examples, and kept in "
                "the store: brightness, contrast, colour axes and dominant colour of pictures, the same of "
                "their rim (the background); the columns of tables; of texts the token before, position and "
                "document.",
            ),
        ),
        (
            "MEAN LOSS",
            (
                "The mean loss is over the examples that have a finite loss at every checkpoint at which at least half "
                "of them have one, times the weights of the run's loss; the other checkpoints have none, and end a "
                "climb. Examples whose label says to ignore them have no part in it.",
                "A spike is a catapult where the mean loss comes back, after the top, to what it was at the bottom; "
                "else a divergence where at the last checkpoint it is at or above the top, or not finite; else "
                "unresolved (kind in JSON).",
            ),
        ),
        (
            "CHOICE",
            (
                "Of one half of every class the classes are put in order by their excess, what they hold less their "
                "size times what all hold. Those count that exceed it by one standard deviation of random sets of as "
                "many examples; of the first, the first two and the first three those are chosen whose excess "
                "together is largest over sqrt(n (N - n)), n their examples of N. They are named where on the other "
                "half p is at most .05 and they hold 5 % of the rise more than their size. A class is said to fall "
                "where its mean loss falls by two standard errors.",
                "A feature is looked for in the three classes that hold most on the first half, of those with 20 "
                "examples in either half (in all examples, where no class has): the largest Spearman correlation with "
                "the loss delta, from 2/sqrt(n - 1) on. On the other half thirds by the feature, of a category the "
                "examples that have it and the others, are held against one another.",
            ),
        ),
        (
            "NULLS",
            (
                "Class: random sets of as many examples, p by the largest excess of any class over 999 "
                "permutations of the labels (fewer on large data). Group of a pair: class-matched random "
                "groups. Feature: permutation within the class. Confidence before, p = exp(-loss) under "
                "plain cross-entropy: as many random examples of every class; with p > 1/2 an example was "
                "surely right, with p < 1/C surely wrong. The loss alone does not tell the margin in "
                "between.",
                "What is named is chosen on one half of the examples of every class and measured on the "
                "other: the share said to be on held-out examples, and the loss changes of the thirds, are of "
                "examples that did not choose them; the share before it is that of the table, of all examples. "
                "p-values are corrected for all spikes, classes and features measured (FDR). 'Again in "
                "k of n other spikes': the same class splits by the same feature there, in either direction.",
            ),
        ),
        (
            "STRENGTH",
            (
                "seen: the named classes hold at least half of the held-out rise, with p at most .01; or six "
                "examples or fewer, 1 % of all at most, hold half of the rise alone (the largest of what examples "
                "hold, as many as it takes).",
                "likely: they hold less, or p is at most .05 (named are classes that hold 5 % of the held-out rise "
                "more than their size); or a feature parts a class that holds a fifth "
                "of the rise, p at most .05 and a part 5 % above or below its size; or a group of a mined pair "
                "holds at least 5 % and more than class-matched ones, p at most .05 (it was mined from these "
                "losses, so that it is never more than likely).",
                "cannot be told from these checkpoints: none of these.",
                "The strength is of who held the rise. That the optimizer was unstable is another question: "
                "a spike is covered if a stability ratio was measured at a checkpoint from its bottom to its "
                "top. Where a checkpoint up to its top records 1.5 times the learning rate of its bottom that is said, "
                "and one with the smaller rate does not cover it: its threshold is not that of the steps.",
            ),
        ),
        (
            "PHASES",
            (
                "What opsig sharpness and opsig report call the stretches of a run, from converged points alone: at "
                "the edge, a stability ratio from .9 to 2; past the edge, 2 and more; progressive sharpening, below .9 "
                "(the first point at the edge included): from the smallest sharpness to the largest after it, three "
                "points at least, by 20 % or more, two thirds of the points above the one before. A single point "
                "between two of another kind counts as theirs. Without thresholds sharpening alone is told.",
                "A catapult begins at a point with a ratio of 1 or more and ends at the first later one by which the "
                "mean loss rose more than 10 % above that at its beginning and is back, the ratio is below 1, and the "
                "sharpness at most 75 % of its largest before. The words are of ratios, not of whether losses swing.",
            ),
        ),
    ),
)

MANIFEST = Topic(
    "opsig-manifest",
    "the file that says how a run was made",
    (
        (
            "DESCRIPTION",
            (
                "opsig-run.toml lies beside the checkpoints of a run. opsig train writes it, opsig init writes "
                "it for "
                "checkpoints that something else made, and every other command reads it. It is TOML in UTF-8 "
                "of at most "
                "64 MiB with one number and two tables. Nothing else may stand in it, and each value has the "
                "type and the "
                "bounds given here: a manifest that does not fit is refused with exit status 3, saying what "
                "was expected, "
                "what was found, and where.",
                "  schema = 1\n\n"
                "  [run]\n"
                '  model = "mlp?hidden=32,32"\n'
                '  data = "npz:/data/train.npz"\n'
                '  loss = "ce"\n'
                '  optimizer = "momentum"\n\n'
                "  [run.hyper]\n"
                "  lr = 0.1\n"
                "  momentum = 0.9\n\n"
                "  [[checkpoints]]\n"
                '  file = "step-000000.safetensors"\n'
                "  step = 0",
            ),
        ),
        (
            "THE RUN",
            (
                "model, data, loss: specs, as --model, --data and --loss take them, with absolute paths. All "
                "three have to "
                "be there; what follows may be left out.",
                "optimizer: the update rule, a name that --optimizer takes, or empty. hyper: a table of its "
                "hyper-parameters: numbers, true or false, text, or lists of these.",
                "batch_size: examples per update, 1 or more; absent for the full batch. steps: updates "
                "planned, 0 or more. "
                "save_every: updates between checkpoints, 1 or more; save_steps: ranges of steps saved instead, as "
                "--save-steps takes them, or empty. seed: a whole number of 64 bits.",
                "schedule: what multiplies the learning rate over the steps, as --schedule takes it, or empty. "
                "clip: the norm to which longer gradients were scaled. augment: what training changed of its "
                "examples, as --augment takes it, or empty: losses are of the examples as they are.",
                "forked_from, forked_step, forked_sha256: the checkpoint of another run that this one goes on from, by "
                "opsig train --from; empty where it began anew. differs: a list of what is not as in that run. "
                "perturb: how far the weights were moved there, as --perturb takes it, or empty. reset_state: true "
                "where the optimizer's state was left behind.",
                "unit: what the steps of checkpoints count: step, epoch, number (in a name that does not say what) or "
                "position.",
                "input_shape: a list of whole numbers, of one example. classes: a list of names. fingerprint: "
                "of the data, text; other data are warned of. transform: a table of what is done to inputs: "
                "text, numbers and lists.",
                "key: which part of a checkpoint holds the weights. weights: model or ema, where it holds "
                "both. partial: "
                "true where the weights fit the model in part. config: the text of the config.json of a model hf:DIR, "
                "which opens without DIR then.",
                "signature: hexadecimal, of the specs, by the user who wrote them on this machine. Without it, "
                "code that a "
                "py: or file: spec names is not run unless --trust-manifest says so.",
            ),
        ),
        (
            "THE CHECKPOINTS",
            (
                "A [[checkpoints]] table for each, in their order. Files of the folder that no row names are "
                "left out; "
                "without rows, all are taken.",
                "file: path within the folder, with slashes; not absolute, without '..', and in one row alone. step: "
                "optimizer updates made, a whole number from 0 to 2^53. Both have to be there.",
                "epoch: a number of at least 0. lr: the learning rate there. sha256: of the file, hexadecimal.",
            ),
        ),
        (
            "BOUNDS",
            (
                "Numbers are finite, and whole numbers have at most 64 bits. Dates and times stand nowhere. Names of "
                "tables have at most a hundred parts. A manifest of a newer schema is refused by name; "
                "older ones are read.",
            ),
        ),
    ),
    section=5,
    related=("init", "train", "trace"),
)

TOPICS = (api_page(), SCALING, LOSSES, SPIKES, EVIDENCE_PAGE, GATES, MANIFEST, STORE_PAGE)
