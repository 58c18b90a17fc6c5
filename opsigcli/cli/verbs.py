"""What the help and the manual say about each command, beside its options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A command in words."""

    summary: str  # its line in the list of commands
    description: str
    examples: str
    one_speaks: bool = False  # of processes that work together (torchrun), only the first prints


ROOT_EPILOG = """\b
Examples:
  opsig train runs/demo && opsig trace runs/demo && opsig report
      the embedded example, in which the opposing pairs are known
  opsig trace ckpts/ --model torchvision:resnet18 --data folder:train
      then opsig mine, opsig sharpness, opsig report --html
  opsig help trace
      as opsig trace --help; opsig help gates shows man opsig-gates

\b
Environment:
  OPSIG_STORE          the store that --store names, where it is not given
  NO_COLOR             no colours on a terminal; elsewhere there are none
  HF_HOME              where the Hugging Face cache is (hub:ORG/NAME)
  XDG_STATE_HOME       where the key lies that signs this user's manifests
  GITHUB_ACTIONS       true: errors and gates are annotations as well
  GITHUB_STEP_SUMMARY  the file that opsig report --markdown joins
  RANK, WORLD_SIZE …   set by torchrun and srun: processes share the work

\b
Exit status:
  0 done, 1 a gate tripped (opsig report --fail-on), 2 usage, 3 input refused,
  4 some checkpoints failed, 70 a bug, 130 and 143 interrupted
"""

VERBS = {
    "train": Verb(
        "Train a reference run: checkpoints and a manifest.",
        """Train a reference run: checkpoints and a manifest that the other commands read.

        Run again, it goes on from the last checkpoint to the same bits as an undisturbed run. Without options it is
        full-batch gradient descent on the embedded planted data, in which the opposing pairs are known. Full-batch
        checkpoints hold the BatchNorm statistics of the batch at their own weights, not a running mean over steps.
        """,
        """
        opsig train runs/demo
            the embedded planted data, full-batch gradient descent
        opsig train runs/cifar --model 'mlp?hidden=200,200' --lr 0.08 \\
            --data 'folder:cifar10/train?limit=2000&standardize=channel'
        opsig train runs/adam --optimizer adam --lr 0.003 --batch-size 100
        opsig train runs/demo --steps 600
            goes on from the last checkpoint
        opsig train runs/low --from runs/demo/step-000100.safetensors --lr 0.1
            a fork: the same from there on, with another learning rate
        """,
    ),
    "inspect": Verb(
        "Show what is in a folder of checkpoints.",
        """Show what is in a folder of checkpoints, without running code from it.

        For each checkpoint: its format, its step and where that was found (manifest, content, sidecar or name),
        learning rate, optimizer, type and number of the parameters, and the sets of weights to choose from. Files
        that are left out are named with the reason. Where no word in a name says what counts, it is the number that
        varies along names that are equal but for it; sources of numbers that would give another order than the names
        or the epochs are named. Only headers are read. For a store: the run it belongs to, the
        checkpoints and examples that were traced, and whether these are a subset.
        """,
        """
        opsig inspect ckpts/
        opsig inspect lightning_logs/version_0/checkpoints
        opsig inspect run/checkpoint-500
        opsig inspect opsig.h5
        opsig inspect ckpts/ --json | jq '.result.checkpoints[].step'
        """,
    ),
    "init": Verb(
        "Write down which model and data checkpoints belong to.",
        """Write the manifest opsig-run.toml into a folder of checkpoints, so that opsig trace needs no options.

        Looks first: the weights of the first and the last checkpoint must fit the model, and 200 examples, drawn at
        random from every class, come out with the losses and the share of right answers that are shown, beside those
        of a uniform guess and of the best constant one (right: the most frequent class). Where the last checkpoint
        does no better than a guess, the usual normalisations and both orders of colour channels are tried: if one
        does clearly better, the data are refused and the spec to give is named; so they are where the model has
        outputs for another number of classes. BatchNorm uses the statistics of the data, as in a trace, and those
        that the checkpoint stores tell of the inputs of training: where other constants fit them clearly better, the
        data are refused likewise. What is said of the optimizer (its name as in opsig or as in PyTorch: SGD with
        --momentum, AdamW) goes before what the checkpoints show and serves all commands.
        """,
        """
        opsig init ckpts/
            names the models whose tensors fit, when no --model is given
        opsig init ckpts/ --model torchvision:resnet18 --data folder:images/train
        opsig init ckpts/ --model py:mynet:build --data npz:train.npz \\
            --optimizer SGD --lr 0.1 --momentum 0.9 --batch-size 128
        opsig init run/ --model hf:run/checkpoint-500 --data npz:train.npz
        """,
    ),
    "trace": Verb(
        "Compute every example's loss at every checkpoint.",
        """Compute every example's loss, and its change, at every checkpoint.

        Reads the checkpoints of most frameworks, running no code from them (see opsig inspect), evaluates each
        example in a fixed order, unshuffled and unaugmented, and writes the loss trace to the store. Run again, it
        computes only what is new.

        Model, loss and data are held against one another on a real batch first. At the end the first and the last
        checkpoint are put beside a uniform guess and the best constant one, in losses and right answers (R² under
        mse). Where the last does no better, or answers classes as one another, the likeliest cause is named with the
        --data to give: an order of classes, a normalisation. An order that the run wrote down beside its weights
        (id2label in config.json, class_to_idx.json, classes.txt) is kept to.

        --probe watches an input that need not be in the data: a colour, a picture, a text, or one example, sized and
        normalised as the data are. Its class probabilities at every checkpoint stay in the store, later checkpoints are
        answered too, and opsig report shows them beside the pair whose losses move with them. On a store that is traced
        already nothing else is computed.
        """,
        """
        opsig trace runs/demo
            checkpoints made by opsig train: the manifest says the rest
        opsig trace ckpts/ --model torchvision:resnet18?num_classes=10 \\
            --data 'folder:images/train?size=32&mean=0.5&std=0.25'
        opsig trace ckpts/ --model py:mynet:build --data npz:train.npz
        opsig trace runs/cifar --probe colour:skyblue --probe image:sky.jpg
        torchrun --nproc-per-node 4 -m opsigcli trace ckpts/
            four processes share the work; the result is the same to the bit
        """,
    ),
    "mine": Verb(
        "Find opposing groups and the largest loss changes.",
        """Find the largest loss changes and the pairs of groups with opposing signals.

        Lists the examples whose loss rose and fell most at each step; compares examples' gradients, adjusted for what
        their labels alone explain; and reports pairs of groups that pull the weights in opposite directions, each
        score beside its null. Loss spikes are attributed to the groups.

        What another method, window or other choices found stays in the store, under the name of that command; what
        --causal found stays too. The latest result is shown first; opsig report --result shows another.
        """,
        """
        opsig mine --top 20
        opsig mine --export outliers.csv
        opsig mine --window first
            the first oscillation by itself; later ones mix several pairs
        opsig mine --causal
        opsig mine --method eigen
            whose loss each of the Hessian's top eigenvectors moved, up or down
        opsig mine --json | jq '.result.pairs[] | {opposition, verdict}'
        """,
    ),
    "sharpness": Verb(
        "Measure sharpness against the stability threshold.",
        """Measure sharpness at the checkpoints, against the optimizer's stability threshold.

        Sharpness is the largest eigenvalue of the Hessian of the mean loss, by Lanczos on exact Hessian-vector
        products over all examples. It is right to the tolerance, but for a chance of about 1 % that a nearly equal,
        larger eigenvalue was passed over; a value that did not converge is marked so. For Adam and its kin the ratio
        uses the preconditioned Hessian, with the second moments in the checkpoint; where it has none they are
        estimated from batches of the run's size (--minibatch), and marked so, or there is no ratio. For runs with
        minibatches the mean curvature along their gradients (batch sharpness) is measured as well. BatchNorm's
        statistics are those of the trace (--batch-norm): by default those of the data, through which the derivatives
        go.

        --quick measures the critical sharpness instead, 2/ηc, where ηc is the smallest learning rate at which the run's
        own update raises the loss: the difference to the next checkpoint where that is one step away, else the step
        of the optimizer on all examples with the state in the checkpoint, else the gradient. It takes at most nine
        forward passes over the examples, and no memory beyond theirs but for a gradient, so it serves language
        models. It is the mean curvature along the update and no eigenvalue: for gradient descent at most the
        sharpness, to second order. The ratio is η/ηc, 1 where the update itself brings the loss back to its start,
        momentum and preconditioner included. Below the edge gradients hardly lie along sharp directions, and it can
        be a hundredth of the sharpness: it tells that a run is at its edge, and not how near it has come. A rise of
        the loss between two places looked at is not seen.

        Where the next checkpoint is one update away, the update made is held against that of the rule whose threshold
        is given, on all examples: confirmed (off by less than 0.1 % beside the rounding of the weights), contradicted,
        with what would fit (learning rate, momentum, weight decay, label smoothing), or cannot be told. The step of a
        batch that is not known is held against those of random batches of its size. It costs a gradient at each point.

        What is measured joins what the store has, checkpoint by checkpoint: more checkpoints, layers, groups, the
        spectrum, more eigenvalues, a better tolerance. What is known is not measured again. Values under other
        choices (--precision, --examples, --batch-norm, --minibatch, the rule, the seed …) are another result, kept
        beside the first under the name of the command that makes it. --fresh alone removes, and only the result of
        its own name.
        """,
        """
        opsig sharpness
        opsig sharpness --top 5 --every 10 --steps 100:400
        opsig sharpness --layers --groups --secant --every 50
        opsig sharpness --quick
        opsig sharpness --budget 10m
        opsig sharpness --optimizer momentum --lr 0.01 --momentum 0.9
        opsig sharpness --json | jq '.result.points[] | [.step, .ratio]'
        """,
        one_speaks=True,
    ),
    "report": Verb(
        "Show the whole case, in the terminal or as HTML.",
        """Show the whole case: in the terminal, or as one HTML file that needs no network.

        It begins with the loss and who held its spikes (man opsig-spikes), how near the edge of stability the run
        was, and what to run next, on a screen of 40 lines; --full shows everything. Reads the store alone: neither the
        model, the data nor the checkpoints.

        A pair counts as found where it is beyond chance after the search that chose it; the others are folded as
        proposed. Of the threshold no more is said than was measured: spikes without a ratio are named, with the
        command that covers them. The sharpness shown is the result with ratios at most checkpoints, the pairs are
        those of the last opsig mine; --result shows others by name. The page and --json name no home folder. A server
        may send the policy in the page's own meta element as a header; a stricter one (default-src 'none' alone) bars
        its style sheet and script, and leaves charts and text. Printed, what is folded stays so, and says so.

        Several stores are put side by side, in the terminal, as HTML or JSON: what the runs were made with and where
        that differs, losses, spikes and stability ratios on one axis, and what the groups that one run mined do in the
        others, beside random groups of the same labels and sizes there. Examples are the same where id and content are;
        it is said how many are, and nothing is said of single examples where none are.

        For pipelines it holds gates against the case (--fail-on, --require, and those of the project's settings) and
        exits with 1 where one trips; man opsig-gates has the metrics and the settings.
        """,
        """
        opsig report
        opsig report --full
        opsig report --html
        opsig report -o case.html --store case.h5
        opsig report --log tensorboard:runs/opsig
        opsig report gd.h5 adam.h5 -o both.html
        opsig report --result 'mine --method losses; sharpness --top 5'
        opsig report --fail-on 'sharpness.ratio.max > 1.2' \\
            --require 'trace.failed == 0'
        opsig report --json > main.json
        opsig report --baseline main.json --require 'loss.last <= baseline * 1.1'
        """,
    ),
    "schema": Verb(
        "Print the JSON Schema of what --json prints.",
        """Print the JSON Schema (draft 2020-12) of what a command prints under --json.

        The schema of an object is named by its key schema, as opsig/report. It describes every key, and what is printed
        where the command fails. Within a schema_version keys are added, and none goes or changes its meaning.
        """,
        """
        opsig schema
        opsig schema report
        opsig schema error
        """,
    ),
    "export": Verb(
        "Write losses, pairs and the like as tables.",
        """Write a part of the store as a table for other programs, with ids, paths and labels.

        losses and deltas have a row per example and a column per checkpoint (step_0, step_10; step_0_to_10 for the
        change to the next one traced, positive where it got worse), in nats, or the unit of a loss that is no log
        likelihood; sharpness a row per checkpoint measured; pairs a row per member of a group, with the pair's
        opposition and, as p_value, the p of its clarity, which a finding hangs on; examples a row per example, with
        its first and last loss, its groups (1 first;2 second) and what is seen in it. What is written
        is read block by block, so that memory does not grow with the run.

        A number that is missing is empty in csv, null in jsonl and parquet, NaN in npz; there losses and deltas are one
        array of checkpoints by examples, beside steps. What is true or false (converged, measured, finding) is true or
        false in csv, jsonl and parquet, and in npz of bools; finding, which was not asked of every pair, may be missing
        as a number may, and is 1 or 0 in npz. In csv a text that a spreadsheet would run as a formula (it
        begins with = + - @, a tab or a line break) has an apostrophe before it; the other formats have it as it is.
        Parquet needs pyarrow: pip install 'opsig[parquet]'. The layout of the store itself: man opsig-store.
        """,
        """
        opsig export losses -o losses.parquet
        opsig export deltas --steps 100:400:10 --examples 3,17 -o deltas.csv
        opsig export pairs --format jsonl -o - | jq .id
        opsig export losses --examples outliers.csv -o outliers.npz
        """,
    ),
}
