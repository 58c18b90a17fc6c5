"""The manual page that defines the evidence for a pair, with its constants."""

from __future__ import annotations

from opsigcli.cli.evidence_search import SEARCH
from opsigcli.cli.topic import Topic

EVIDENCE_PAGE = Topic(
    "opsig-evidence",
    "how pairs are found, what their numbers are, and which of them are findings",
    (
        *SEARCH,
        (
            "EVIDENCE",
            (
                "Quantiles interpolate linearly; a mean S of a member to its own group leaves the member out, and so "
                "does its contrast. Sketches of 512 numbers moved opposition by 3 % and separation by up to 7 % "
                "against whole gradients.",
                "Of more examples than --candidates a pair's numbers are those of its members among the candidates, "
                "and so are its fractions of the examples; who joined from outside counts in growth, curvature, the "
                "null of unseen_members and the lists of members. Where examples are tokens, labels are the tokens "
                "that follow.",
                "gradient_cosine: cosine of the two groups' mean gradients, mean over the checkpoints compared. "
                "persistence: share of these at which it is below the 5 % quantile of the null's. gradient_ratio: root "
                "of the mean square length of a group's mean gradient, over both groups and these checkpoints, over "
                "the mean of that in the null.",
                "opposition: minus the mean S between the groups. cohesion: mean S within a group, the smaller of "
                "both. separation: 10 % quantile of the members' contrast over the 98 % quantile of its size in all "
                "other candidates, or in those of them that have a label of some member, whichever is larger: on an "
                "axis within a class only its own stand between the ends. Where candidates were chosen, those drawn at "
                "random count in these quantiles for all that are none: with the sizes in increasing order and each at "
                "what is counted before it and half of itself, from 0 at the first to 1 at the last, .98 is read off "
                "the straight lines between them. Of a pair whose n members among the "
                "candidates are less than 2 % of all N examples the (.1 n)th largest size, rounded up, of those with "
                "such labels takes the place of their quantile: where tails are long the few at the ends stand far out "
                "from the bulk, with others all the way between. Where candidates were chosen, members of another pair "
                "are none of these others if the two are told apart: of the members of either at least 90 % lean more "
                "to their own, by the contrast (of a member to its own side, else the larger) over the root of its "
                "mean over that pair's members; so it is in clarity, and in surrogates among all that is proposed "
                "there. Where a side has several labels of at least 5 "
                "members, and the mean S of members of different ones is at most 0, it is several groups, members of "
                "other labels in the most alike; for cohesion and separation S to its own group, or to the most alike "
                "of others, then takes the place of S to the whole side, and each random group is parted by the same "
                "labels. replication: every other checkpoint alone refines the groups from the members found in six "
                "rounds, and separation, by the quantile over all others, is measured at the others; of both ways "
                "round the smaller. stability_checkpoints, stability_dimensions, stability_candidates: the same search "
                "in 4 random halves of the checkpoints compared, of the dimensions of sketches, of the candidates; in "
                "each the largest Jaccard index of the pair's members, those among the half's candidates, and the "
                "members of a pair found there, (common members of both sides) over (members of either); the mean. "
                "Halves with fewer than 5 members of a side do not count. Below .8 the pair is called unstable. "
                "Measured where surrogates are drawn, of dimensions where some pair may be a finding. "
                "contrast_by_class: share of the variance of all "
                "candidates' contrast between classes. clarity: opposition times separation, of which no more than 1.5 "
                "counts; here the 98 % quantile is over all M candidates, members as 0, the value at place .98 M (from "
                "0, rounded down) of the increasing ones, and the 10 % quantile likewise. Where the candidates were "
                "chosen out of more examples it is the separation instead, as of a pair with less than 2 % of them "
                "and of one group a side.",
                "High-passed loss deltas are l(t+1) - l(t), minus the mean of the same over 5 steps (two before, two "
                "after; fewer at the ends), minus the median of that over all examples. Of S of them the first 10 % "
                "are the first .1 S, rounded. share_of_loss_change: sum of their squares over the members, after the "
                "first 10 %, over that of all examples. share_ratio: that over the members' share of the examples.",
                "anti_phase: correlation of the groups' mean high-passed loss deltas over steps that no compared "
                "checkpoint begins or ends. alternation: correlation of the difference of these means with itself one "
                "step later, after the first 10 % of the steps; amplitude: its root mean square. Losses are said to "
                "swing against one another where anti_phase and alternation are below -.3 and the amplitude exceeds "
                ".001 (nats, or the loss's own unit).",
                "swing_held: v is the difference of the groups' mean gradients; at 3 of the checkpoints compared, the "
                "middles of thirds (of 8 the second, fifth and seventh), the losses at the weights plus and minus "
                "v/|v|^2, along which either group's mean loss moves about .5: logarithm of the members' share of the "
                "sum of |l(+) - l(-)| over all candidates, over their share of the candidates; the largest. "
                "curvature: u'Hu, u = v/|v| and H the Hessian of the mean loss (through the statistics of BatchNorm "
                "as the sharpness is), over the largest eigenvalue, at the checkpoint with converged "
                "sharpness nearest to one compared, the earlier of two. members by FEATURE: of what can be seen, the "
                "feature for which the probability is largest that a member has more than a candidate outside all "
                "pairs, or less, ties counted half; sides by FEATURE: likewise a member of one side and one of the "
                "other; nulls and p over the best feature of each draw.",
                "first: token seen TOKEN, and the like for second and token predicted, where examples are texts or "
                "tokens: the share of a side's members that have it right before what they predict, or predict it, "
                "beside the share of all candidates. p is the hypergeometric probability of at least as many among as "
                "many random candidates, labels not matched, times the number of tokens tried: those that any "
                "candidate has, of both roles and on both sides. Shown are the three of each side and role with the "
                "smallest p up to .05, else the one of the side.",
                "With --test-data, of pairs that stand apart, where some pair may be a finding: an example that was "
                "never mined stands with a side by its gradients at the checkpoints compared, by the rule for members "
                "(.55; B, the features of the members and their contrast are those of the candidates); no loss is "
                "looked at. unseen_members: the share of those that do. unseen_anti_phase: as anti_phase, on the same "
                "held-out steps. unseen_agreement: correlation over these steps of the difference of the two sides' "
                "mean high-passed loss deltas with that of the mined sides. unseen_share_ratio: their share of the "
                "energy of high-passed loss deltas there over their share of the examples. Medians and nulls are "
                "those of the unseen examples; at most --candidates of them are drawn, and examples of the run "
                "itself, by their content, left out (not of tokens). Nothing was searched there, so that these "
                "p-values need no correction for the search. The swing is said to be there where anti-phase is below "
                "-.3 and agreement above .3 (to part and meet, where the losses of the mined sides do no more than "
                "that); closer than random ones where the p of agreement is at most .05.",
                "The class alone explains (adjusted R^2): of the M candidates' high-passed loss deltas after the first "
                "10 % of the steps, less their mean at each step, 1 - (R/(M - K))/(T/(M - 1)), T the sum of their "
                "squares over all steps and R that about the means of the K classes at each step; a class of one "
                "example counts as it is, and not among the K. Whole classes are said to oppose one another where that "
                "is at least .4, no pair was found, and "
                "the first principal component of the classes' mean deltas, times the root of their sizes, "
                "turns back (the product with itself one step later is below 0): on either side up to three classes "
                "whose loading is half of the largest there, on the side of the smaller loading a quarter of the "
                "largest of all, and whose mean correlates below -.3 with the one of the largest.",
                "growth, where some pair may be a finding, steps are saved one by one and the rule is full-batch "
                "gradient descent without momentum, weight decay or clipping, and training moved no statistics of "
                "BatchNorm, of which the direction of a pair knows nothing: from the step with the largest "
                "difference of the two groups' mean high-passed loss deltas one goes back as long as the difference "
                "of their mean loss deltas changes its sign and was smaller, at least 3 steps; the median factor from "
                "one of these steps to the next, beside |1 - lr u'Hu|, u along the difference of the groups' mean "
                "gradients, median over the checkpoints at a quarter, half and three quarters of them.",
                "Nulls are 199 draws of random candidates of the same labels and sizes, members included: a p-value is "
                "then exact for a pair named in advance. Replication and stability have 19 draws, curvature 3, "
                "outside all pairs while there are enough. What the search looks for (opposition, gradient cosine, "
                "persistence, cohesion, separation, replication) has a null and no p-value.",
            ),
        ),
        (
            "FINDINGS",
            (
                "The p-value of clarity accounts for the search: the search is repeated in S after a random rotation "
                "of the examples' features within each class that leaves its mean where it is (S with 1 on its "
                "diagonal, rotated, and scaled back to a diagonal of 1, from no less than .05; a rotation is the "
                "orthonormal cosine transform of a class, its examples in an order drawn once, its coefficients but "
                "the first put into random order with random signs, and the transform back; the search starts from 100 "
                "examples; --surrogates, 39; 19 where no pair stands apart; no more once 10 are as clear as the run's "
                "clearest pair), and p is the share of these, the run itself counted, whose clearest pair is as clear. "
                "Rotations keep means and covariances of classes, and so class hierarchy and Gaussian axes. They do "
                "not repeat the second fit that leaves large groups out: it is used where such groups then stand apart "
                "alone, and of 360 runs without pairs the same two have a finding with it and without it.",
                "Where candidates were chosen out of more examples they are the far ends of what all are, and "
                "rotations, whose tails are Gaussian, have nothing like them; nor have Gaussian draws of all examples "
                "out of which as many are chosen. Mixtures take their place: random couples of a class, i and j, with "
                "d the features less the class mean, have d_i cos t + d_j sin t and d_j cos t - d_i sin t for theirs, "
                "t drawn evenly from 0 to 2 pi for each couple, the mean of all d taken out again and the class mean "
                "put back (S with 1 on its diagonal and scaled back, as above). These keep class means, covariances "
                "and long tails; who was far out is now anywhere between, and where clarity asks for hardly anybody "
                "between a group is none any more. The ends of an axis count there as well. Where a pair would be a "
                "finding so, rotations are made besides, and p is the larger one of this and of what opposition times "
                "separation has among them: no more is a finding than by rotations alone.",
                "Where a pair is clearer than all 39 and is kept from being a finding by their number alone, more are "
                "made, 499 at most, until it is one or a surrogate is as clear; its p is then 1/(1 + m), with m the "
                "number of surrogates before the first as clear. That holds wherever one stops: without pairs, the "
                "first m are all less clear in 1 of 1 + m runs.",
                "A finding is a pair called opposing outliers whose clarity passes the false discovery rate "
                "(--false-discovery-rate, .1; Benjamini-Hochberg over all pairs called so). Other pairs are proposals: "
                "shown apart, never counted (finding: false). Where there are no surrogates, pairs are not tested "
                "(finding: null).",
            ),
        ),
        (
            "CAUSES",
            (
                "mine --causal goes on from three checkpoints. Period two is seen where the difference of a pair's "
                "mean losses changes the sign of its deltas at all of 20 updates or at 36 of 40, the first two among "
                "them, and these deltas have a root mean square above .001; the forks are the first checkpoint where "
                "some pair that counts begins so, and those at a third and two thirds of all such checkpoints, or the "
                "next ones at least 20 updates after the one before. Where checkpoints are farther apart than one "
                "update, training goes on from up to 8 of them for 60 updates, anywhere in which it may begin. A fork "
                "whose arm with all examples has no period two is left out, and a run without period two has no causal "
                "sentence.",
                "From a fork 60 updates are made with the rule, rates and state there: with all examples, without the "
                "members of all pairs that count, and without as many others: of the highest loss, gradient norm (16 "
                "numbers of a sketch) and curvature v'Hv along the direction v of the largest eigenvalue, and five "
                "draws of examples of the same classes. Of the examples left are taken: the sharpness at once (with "
                "BatchNorm through the statistics of these examples), the sum of rises of their mean loss, the mean "
                "of |l(t+1) - 2 l(t) + l(t-1)|/4 (amplitude), the final mean loss, and with --test-data the final "
                "test loss. The effect is 1 - q/q0 for the first three and q0 - q for losses, q0 of the same examples "
                "where all are kept; where q0 is 0 or not finite, that fork has no part in it. Intervals are "
                "m +- t s/sqrt(F) over the F forks, Student's t at 97.5 % with F - 1 degrees of freedom: of "
                "places in this run, whose arms may overlap, not of other runs. A control is "
                "beaten where the mined groups' effect is larger at every fork, and than every draw, and the interval "
                "of the difference lies above 0. A cause is named where the effect's interval lies above 0 and the "
                "random examples are beaten; else there is no causal sentence.",
            ),
        ),
        (
            "VERDICTS",
            (
                "opposing outliers: opposition at least .04 above its null, separation above 1.5 (above 3 where at "
                "least half of the variance of the contrast lies between classes) and cohesion above .12. class-level "
                "opposition only: not so, and at least half of the variance of the contrast lies between classes; or "
                "opposition no more than .04 above its null, and that above .07; or all that follows and nulls of "
                "gradient_cosine and anti_phase, where that is measured, below -.3. tails of one continuous axis: "
                "opposition at least .04 above its null, none of these, and cohesion times sqrt(n - 1) at least "
                ".3, or .45 where the losses do not swing, n the members of the smaller group. not distinguishable "
                "from chance: else.",
                "What is not told: whether a pair with a small opposition matters for the optimizer (see opsig "
                "sharpness and opsig mine --causal); pairs that oppose one another at few of the checkpoints compared "
                "only; groups of fewer than 5 examples, or of more than about a sixth of all on a side (a tenth where "
                "what they share is weak), whose gradients become the usual ones; and whether one side is made of "
                "several groups that oppose one another too.",
            ),
        ),
    ),
    related=("mine", "report"),
)
