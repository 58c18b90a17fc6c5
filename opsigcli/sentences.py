"""Every sentence that the verdict of a report can say, by name; words between braces are filled in with numbers.

Terminal, page, Markdown and JSON say these and no others, so that each can be shown to be said where it is true, and
not where it would be false: ``tests/reporting/test_sentences.py`` has both cases of each.
"""

from __future__ import annotations

import math

DECIMALS = 0.01, 1000  # where two decimals are one to five digits
SENTENCES: dict[str, str] = {
    # of mined pairs
    "pairs: not looked for": "opposing groups were not looked for",
    "pairs: to mine": "Nothing was mined yet: run {command}.",
    "pairs: none": "no pair of opposing groups was found",
    "pairs: none, where": "No pair was found. Looked at: {looked}.",
    "pairs: classes": "only whole classes were found to oppose one another{sides}",
    "pairs: classes, how much": (
        "Class-level opposition only{sides}: the {kind} alone explains {share} of the high-passed loss deltas "
        "(adjusted "
        "R²), and no groups of outliers were found that oppose one another beyond that. Looked at: {looked}."
    ),
    "pairs: of another trace": (
        "Pairs were mined among {then} checkpoints, and {now} are traced now, of which these numbers are not: "
        "run {command}."
    ),
    "pairs: where": "Looked at for pairs: {looked}.",
    "pairs: copies": (
        "{amount} of the {size} examples of {group} are copies of one ({example}), inputs and target alike: what they "
        "hold, they hold by being repeated."
    ),
    "pairs: by class": "The {kind} alone explains {share} of the high-passed loss deltas (adjusted R²).",
    "pairs: by class, few": (
        "The {kind} alone explains {share} of the {deltas} loss deltas (adjusted R²): so few do not tell an "
        "oscillation from the fall of the loss."
    ),
    "pairs: found": "{pairs} of opposing groups {were} found",
    "pairs: not counted": "no pair of opposing groups stands apart beyond chance ({amount} proposed)",
    "pairs: like chance": "no pair of opposing groups is distinguishable from chance ({amount} proposed{untested})",
    "pairs: untested": "{pairs} of opposing groups proposed, not tested against chance",
    "pairs: verdicts": "{verdicts}.",
    "pairs: proposals": "{standing}: {verdicts}.",
    "pairs: of the data": "Together the groups are {share} of the data{result}.",
    "pairs: unstable": (
        "Unstable (searches in halves of what was compared find less than four fifths of the members again): {pairs}."
    ),
    "pairs: one swings": (
        "The pair that swings holds {share} of the energy of high-passed loss deltas with {data} of the data."
    ),
    "pairs: several swing": (
        "The {amount} pairs that swing hold {share} of the energy of high-passed loss deltas with {data} of the data."
    ),
    "pairs: one swings, proposed": (
        "The proposed pair that swings holds {share} of the energy of high-passed loss deltas with {data} of the data."
    ),
    "pairs: several swing, proposed": (
        "The {amount} proposed pairs that swing hold {share} of the energy of high-passed loss deltas with {data} of "
        "the data."
    ),
    # of sharpness and its threshold
    "edge: to measure": "Sharpness was not measured: run {command}.",
    "edge: not converged": (
        "Sharpness did not converge at {amount} of {measured}; those values are left out of the verdict."
    ),
    "edge: fixed statistics": (
        "BatchNorm's statistics were held fixed; the steps of the run saw those of their batches, whose sharpness "
        "can be "
        "several times smaller: {command}."
    ),
    "edge: no threshold": "The stability threshold is not known{why}, so sharpness is held against nothing.",
    "edge: no step": (
        "The learning rate is 0 at all of {measured}: no step is made from them, and no stability threshold exists. If "
        "they record another rate than that of training, give it: {command}."
    ),
    "edge: no step at some": (
        "At {amount} checkpoints more the learning rate is 0: no step is made from them, and there is no ratio."
    ),
    "edge: no ratio": "There is no stability ratio{why}, so sharpness is held against nothing.",
    "edge: at most": "{name} measured at {checkpoints} was at most {value} ({at})",
    "edge: largest": "{name} came to at most {top}; {measured}{covered}{result}.",
    "edge: largest, contradicted": (
        "{name} came to at most {value}, at {at}; {measured}{covered}{result}. The weights contradict its threshold, "
        "so that no ratio is said."
    ),
    "edge: not covered": "{measured}; {spikes}: run {command}.",
    "edge: contradicted": "{name} is held against a threshold that the weights contradict",
    "edge: not known": "whether {name} reached the stability threshold is not known ({measured})",
    "edge: below": "{name} was below the stability threshold at {measured}",
    "edge: above": "{name} was at or above the stability threshold at {measured}",
    "edge: above at some": (
        "{name} was at or above the stability threshold at {amount} of {measured} measured checkpoints"
    ),
    "edge: reached": "{name} reached the stability threshold by {at}",
    "edge: not confirmed": (
        "The stability threshold is not confirmed by the weights at {amount} of {measured}: {reason}."
    ),
    "edge: would have grown": (
        "At {amount} checkpoints in a row ({span}) the ratio is {least} or more, and the mean loss only falls: at "
        "twice the threshold a swing grows threefold each step, so that learning rate, rule or loss are likely others "
        "(gradients that were clipped, label smoothing)."
    ),
    "edge: not told": (
        "Whether the weights moved by this rule on this loss cannot be told at {amount} of {measured}: {reason}."
    ),
    "edge: not checked": (
        "The learning rate was not checked against the weights ({reason}): of a training loss that is summed over "
        "examples, and not their mean, the ratio is too small by as many times as there are examples in a step."
    ),
    "edge: unseen": (
        "No step was made again{apart}: that movement and memory are no longer than this rule makes them does not tell "
        "it from sharpness-aware minimisation, label smoothing, augmentation or a learning rate that was higher in "
        "between, of which sharpness or threshold are others."
    ),
    "edge: other gradient": (
        "At {amount} of {measured} the steps are those of the rule, but not those of this loss on all examples, of "
        "which the sharpness is: {reason}."
    ),
    "edge: sharpness-aware": (
        "The run records sharpness-aware minimisation ({where}), and no step confirms that gradients were taken at "
        "these weights: SAM's threshold is reached earlier, where λ (1 + ρλ/‖g‖) comes to it."
    ),
    "edge: minibatches": (
        "The run used minibatches of {size}: sharpness on all examples then lies below the stability threshold even at "
        "the edge of stability."
    ),
    "ratio: nowhere": "Stability ratio: measured at 0 of {checkpoints}.",
    "ratio: none": "Stability ratio: none; sharpness at {amount} of {checkpoints}{why}.",
    "ratio: measured": "Stability ratio{estimated} at {amount} of {checkpoints}{largest}{more}{covered}.",
    "ratio: largest": ": at most {ratio} × the threshold, at {at}",
    "ratio: not converged": "; at {amount} more it did not converge",
    "ratio: contradicted": "; at {amount} more the weights contradict the threshold",
    "ratio: not covered": "; {spikes}",
    "ratio: every spike": "; every spike is covered",
    "look: doubt": "What was traced may not be what was trained: {doubt}.",
    "look: lost": (
        "the last checkpoint does {how} better than a guess ({against}), and the mean loss was {lowest} at {at}: what "
        "the run had learned by then is lost"
    ),
    # of spikes
    "spikes: some": "the mean loss spiked {times}",
    "spikes: none": "No spike of the mean loss was found{apart}.",
    "spikes: none stands out": (
        "No spike of the mean loss was found; the largest rise, {rise} from {between}, does not stand out from "
        "usual "
        "changes{apart}."
    ),
    "spikes: too few": (
        "No spike of the mean loss can be told from {checkpoints}: there are no usual changes to stand out from."
    ),
    "spikes: apart": "; {apart}, and what rose and fell between them is not seen",
    "spikes: largest": "The largest spike is {rise} from {between}{held}.",
    "spikes: held": "; the rises in it are held {shares}",
    "spikes: together": "{classes} ({part} of the examples) held {shares} of {spikes}",
    "spikes: by whom": "By {kind}: {held}",
    "spikes: ratio there": "; {name} came to {ratio} × the stability threshold there",
    "spikes: rate there": "; the learning rate recorded at {at} is {rate}, at {before} it is {was}",
    "spikes: no spike": "no spike; largest rise {span}",
    "spikes: largest rise": "largest rise {span}",
    # of the cause of one spike
    "cause: classes": (
        "{classes} hold{s} {share} of the rise (on held-out examples {held}, random sets of that size {expected}, p "
        "{p})"
    ),
    "cause: few": "{examples} alone hold{s} {share} of the rise",
    "cause: falling": " while {classes} fall{s}",
    "cause: feature": (
        "{whose} the {highest} by {feature} changed by {up}, the {lowest} by {down} (p {p}{again})"
    ),
    "cause: group": "{group} holds {share} (class-matched random groups {expected}, p {p})",
    "cause: no class": "no class stands out on held-out examples (most: {largest} {share}, {expected} expected)",
    "cause: no classes": "no classes tell examples apart",
    "cause: no feature": "no visible feature explains more",
    # of where the sharpness is
    "sharpness: phase": "{where}: {phase} ({evidence})",
    "sharpness: layer": "at {at} layer {layer} holds {share} of the top eigenvector",
    "sharpness: group": "at {at} {group} holds {share} of the sharpness with {fraction} of the examples{null}",
    "sharpness: subset": "sharpness is that of {examples} random examples of {all}",
    "sharpness: spread": "at {at} {subsets} subsets of that size give {least} to {most}",
    "sharpness: trained part": (
        "sharpness is over the {trained} weights that train; {others} others never change or are in no parameter "
        "group, or had no update yet"
    ),
    "sharpness: estimated": "estimated, not the run's own: {what}",
    "sharpness: note": "sharpness: {reason}",
    "critical: subset": "critical sharpness is that of {examples} random examples of {all}: of others it is another",
    "critical: note": "critical sharpness: {reason}",
    "check: not made": "the optimizer was not checked against the weights: {reason}",
    "check: contradicted": "threshold not confirmed by the weights {where}: {reason}",
    "check: confirmed": "optimizer confirmed by the weights {where} {off}: {reason}",
    "check: cannot be told": "whether the weights confirm the optimizer cannot be told {where}: {reason}",
    # of the mean loss
    "mean: over what": "The mean loss is {words}.",
    "mean: gaps": (
        "The mean loss is not a finite number at {amount} of {all} checkpoints ({where}): gaps in the curves are no "
        "data."
    ),
    "trace: failed": "{amount} could not be traced, and {files} {be} left out.",
    "mean: gone": "the mean loss is no finite number from {at} on",
    "mean: unmoved": (
        "At {amount} of {all} checkpoints ({where}) all losses are those of the checkpoint before, to the bit: the "
        "weights did not move."
    ),
    # of going on without the mined groups
    "causal: no sentence": "no causal sentence: {why}",
    "causal: lower": "{outcome} is lower by {change} ({low} to {high}, 95 %{forks})",
    "causal: higher": "{outcome} is higher by {change} ({low} to {high}, 95 %{forks})",
    "causal: not told": "{outcome} is not told to change: {way} by {change} ({low} to {high}, 95 %{forks})",
    "causal: more than": "it falls more than without {controls}",
    "causal: less than": "it falls less than without {controls}",
    "causal: like": "it is not told apart from that without {controls}",
    "causal: no cause": "No causal sentence: in nothing do the mined groups beat random examples of the same classes",
    "causal: cause": "At these forks the mined groups are a cause of {outcomes}",
    "causal: beyond all": "{outcome} (more than every control)",
    "causal: beyond some": "{outcome} (not told to be more than {controls})",
    # of inputs that were watched
    "probe: swings": "{name} swings most, between {low} and {high}; {last} at {at}.",
    "probe: measured": "Measured at {amount} of {checkpoints}.",
    "probe: moved by": (
        "Its changes correlate by {correlation} with those of the mean loss of pair {pair}, the most of {groups} "
        "looked "
        "at ({changes} changes after the first 10 % of checkpoints)."
    ),
    # of several runs
    "runs: side by side": "{amount} runs side by side: {names}",
    "runs: all examples": "all examples",
    "runs: shared examples": "the {examples} that all runs share",
    "runs: own examples": "each run's own examples, which are not the same",
    "runs: the same": "{first} and {second}: {same} examples are the same, of {of} (by {told}){changed}.",
    "runs: changed": "; {ids} more {stand} for another",
    "runs: refused": "{first} and {second}: nothing is said of single examples: {why}.",
    "runs: too few": "too few {what}",
    "runs: as random": "as random groups",
    "runs: against": "against one another",
    "runs: in phase": "apart, in phase",
    "runs: different steps": "The runs count different things ({units}), so that they stand on one axis in name alone.",
    "runs: different losses": "The runs have different losses, so that mean losses are no measure of one another.",
    "runs: no ratio": "There is no stability ratio of {run}: {command} measures it.",
    "runs: not mined": "Nothing was mined in {run}: {command} finds groups.",
    "runs: contradicted": (
        "The weights of {run} contradict its stability threshold at {amount} of the {measured} checkpoints "
        "measured, whose ratios are left out."
    ),
    "runs: different sharpness": (
        "Ratios are of sharpness in some runs and of preconditioned sharpness in others, each over its threshold."
    ),
}  # fmt: skip


def say(name: str, /, **words: object) -> str:
    """The sentence of that name, filled in.

    Args:
        name: a key of ``SENTENCES``.
        words: a value for each of its braces.

    Raises:
        KeyError: no such sentence, or a brace without a value.
    """
    return SENTENCES[name].format_map(words)


def percent(share: float | None) -> str:
    """A share of a whole, in percent."""
    if share is None or not math.isfinite(share):
        return "\u2013"
    text = f"{100 * share:.{0 if abs(share) >= 0.0995 else 1}f}%"
    return "0.0%" if text == "-0.0%" else text


def decimals(value: float, sign: str = "") -> str:
    """A number of about 1 with two decimals; with two digits where these would show none of it, or many more.

    Args:
        value: the number.
        sign: "+" to show that of positive numbers as well.
    """
    if value == 0 or DECIMALS[0] <= abs(value) < DECIMALS[1]:
        return f"{round(value, 2) + 0.0:{sign}.2f}"  # never -0.00
    return f"{value:{sign}.2g}"
