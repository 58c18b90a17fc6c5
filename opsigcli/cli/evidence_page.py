"""The manual page that defines the evidence for a pair, with its constants."""

from __future__ import annotations

from opsigcli.cli.topic import Topic

EVIDENCE_PAGE = Topic(
    "opsig-evidence",
    "how pairs are found, what their numbers are, and which of them are findings",
    (
        (
            "SIMILARITY",
            (
                "At each of the checkpoints compared (--gradient-checkpoints, 8) an example has a gradient g, as a "
                "sketch of --sketch-dimensions numbers, and an output residual d, the gradient of its loss with "
                "respect to the outputs. A network's gradient is J'd, with the Jacobian J of its outputs; in networks "
                "that pool, the Jacobians of all inputs are nearly the same, so that gradients of two classes oppose "
                "one another and gradients of one class agree whatever the inputs share. That is taken out: B, the "
                "usual gradient of a unit of residual, is the ridge regression (ridge 1 example) of g/|d| on d/|d| "
                "over 700 random examples, made three times; the second and third time an example counts 1/sqrt(1 + "
                "(r/m)^2), with r the length of its remainder g/|d| - B'd/|d| and m the median of these. Each "
                "reference is left out of its own fit.",
                "Of gradients per unit of residual and of remainders, lengths are Euclidean; m is taken over the "
                "references, each of them beyond the fit to all others, and its last value counts. The feature of an "
                "example is its remainder divided by sqrt(r^2 + (1.5 m)^2): its length is below 1, and short where the "
                "remainder is no longer than it usually is. The similarity S of two examples is the inner product of "
                "their features, averaged over the checkpoints compared (--similarity adjusted). Where features are "
                "evened (below) at a quarter of the checkpoints or more, of the inner products a quarter, rounded "
                "down, is left out at either end, for each two examples: in networks that pool, a pair that opposes "
                "at six of eight checkpoints may agree at the others. Likewise of the mean similarities by which "
                "others join a pair or stand with it in unseen examples.",
                "In networks that pool, features differ in few directions, the same for all examples, and noise that "
                "lies in these hides what a group shares in a direction of its own. With C the mean of feature times "
                "feature transposed over the references, they differ in (tr C)^2 / tr C^2 directions; tr C^2 is the "
                "mean square of the inner product of two different ones of 200 references, spread evenly over them in "
                "the order of the data, and tr C the mean square of their lengths. At a checkpoint with at least 6 "
                "and fewer than 20 directions (networks that pool have 3 to 19, others 20 to 220; fewer than 6 are "
                "those of a few strong groups) features are evened: F is multiplied with W, W W' = s (C + l)^-1, "
                "l = tr C^2 / tr C with all references, and s such that tr (W'C W)^2 is tr C^2: products are as large "
                "as before in the mean square.",
                "Groups of a tenth of all on a side would be taken for usual by such a fit. Of up to 700 random "
                "examples those are left out first that follow another usual gradient than most: of two ridge fits "
                "each example counts to the one that it is nearer to, over all checkpoints compared, in turns (12 "
                "rounds; started from the third with the largest gradients and from those most like each of 6 random "
                "examples; the start that leaves least counts). Pairs are sought beyond the fit to all others, and "
                "again without the members of those pairs that hold a tenth of the candidates or more, until four "
                "fifths of the members are the same (3 times at most). The members of such pairs, where they then "
                "stand apart, are left out of the usual gradient of everything that follows.",
                "Where there are fewer than 50 references for each output, or 8 outputs and more, such a fit would "
                "follow the groups that are sought. S is then a quarter of (c - f)/(1 - f) above and of (c - f)/(1 + "
                "f) below f, averaged over the checkpoints compared, with c the cosine of two gradients and f the "
                "median cosine of pairs of references whose residuals are as alike, in 20 quantile bins of the "
                "residuals' cosines, of which those whose medians agree to five digits are one (f runs straight "
                "between the bins' medians of either, and level beyond them), and no room 1 - f or 1 + f below .02. "
                "Of 8 outputs and more, where there are at least 10 references for each, S is the mean of this and of "
                "the S of features, with a fit whose ridge is e (e + 1)/2, at least 1, where e = (tr D'D)^2 / |D'D|^2 "
                "are the directions that the references' residuals D lie in (rows d/|d|, |D'D| Frobenius): as many as "
                "there are couples of classes, where these are as frequent as one another. Of tokens the outputs are "
                "the words of a vocabulary. Residuals of more than 2,048 outputs are sketches of so many numbers.",
            ),
        ),
        (
            "SEARCH",
            (
                "From up to 500 examples of the highest opposition degree (minus the mean of the 5 lowest S), each "
                "with the 8 examples most like it and the 8 that oppose these most, and from groups of average linkage "
                "on 1 - S (cuts .5, .65, .75, .85) with the groups that oppose them most, two groups are refined "
                "against one another six times: a member has a contrast (mean S to its group minus mean S to the "
                "other) above .55 of the group's mean contrast, a mean S to its group above half of the group's, and "
                "one to the other below -.05. Of the last three states the one with the highest clarity counts. A pair "
                "is proposed where its opposition exceeds .07 and .22 of the geometric mean of the S within both "
                "groups, its separation 1.5, the mean S within each group times sqrt(n - 1) .2, neither group is 6 "
                "times the other and no half of its members is in a clearer pair. What fails by its separation alone, "
                "or by its groups' sizes or cohesion, and has one above .9, is refined six times more with .75 in "
                "place of .55: its core is proposed where all that holds and its separation exceeds 1.7. Memberships "
                "are then refined three times with .45 in place of .55 (a core's with .75; with .55 those of a pair "
                "whose separation is no longer above 1.5 so); there, and in replication, medians take the place of the "
                "group's means. Of those that may belong to several pairs each goes to the pair p with the largest "
                "|G^-1 c|_p / sqrt((G^-1)_pp), where c are its contrasts with all pairs and G those of the pairs' "
                "members (mean of the one group less that of the other). Pairs that do not stand apart keep at most a "
                "fifth of all examples, those that their direction moves most.",
                "A group may be opposed by several that are not alike: where a feature means one class to some and "
                "other classes to others. The groups of what is proposed, without regard to clearer pairs, are taken "
                "in the order of the mean S within them times sqrt(n), each without the members that came before and "
                "only where half of it, and 5 examples, are left. Two of them oppose one another where a proposal has "
                "half of the smaller of either and its side, and where -S between them is at least .45 of the largest "
                "that either has with any group. Around each group those that oppose it, 7 at most, are gathered; of "
                "three groups or more the two sides are those for which the sum of S, of two on one side less that of "
                "two on different sides, is largest. Of those that share half of the smaller one's members the one "
                "with the largest opposition times sqrt(n1 n2) counts. Its groups are refined as above, each against "
                "the whole other side, with one bar for a side; the group that opposes the other side least is left "
                "out until the whole stands apart (its groups as below under separation); what it shares half of its "
                "members with is no pair of its own. But where a pair found by itself has half of a side in a group "
                "more than twice as large, as a pair has within whole classes, the pair counts and the whole does not.",
                "On a smooth axis nobody stands apart. Both ends of the first eigenvector of S, a tenth of the "
                "examples each, are proposed as well where their opposition exceeds the same two bars and their "
                "separation .8, and no half of the smaller one's members is shared with a pair; memberships are "
                "refined likewise, members of pairs stay there, and what stands apart then is not proposed: it is more "
                "than half of the examples.",
                "Of more examples than --candidates three quarters of the candidates are those of the highest "
                "opposition degree at a few of the checkpoints compared, and a quarter is drawn from the rest. They "
                "are r = 1 to 4, as many as let 3 r be a tenth of the checkpoints traced (of tokens 1): of m compared "
                "the ones of index (2 j + 1) m / (2 r), j from 0, rounded down. With r above 1 sketches are folded to "
                "half of their dimensions. The degree of an example there is minus the mean S of those checkpoints "
                "between the 10 examples most like it and the 10 least like it, of those in blocks of 64 random ones "
                "of which the most extreme counts; B is fitted to 700 random examples. It is computed by several kinds "
                "of S, and the best of an example's ranks counts: with features evened, multiplied with (l / (C + "
                "l))^(1/2), where C is the mean of feature times feature transposed over up to 65,536 random examples "
                "and l the mean of its eigenvalues, as what all examples differ in most would hide what a few share; "
                "with features as they are, where at some of these checkpoints they differ in fewer than 20 directions "
                "(as above), or in place of evened ones where each of 8 outputs or more has 10 of the 700, and not 50; "
                "and the cosine of two gradients beyond a straight line in the cosine of their residuals, through the "
                "20 bins' medians, which stands alone where there are fewer. The drawn ones stand for all "
                "others, w examples each, and the chosen ones for themselves: in what follows the random examples that "
                "B is fitted to are of the drawn ones and of a share 1/w of the chosen ones, those at which "
                "NumPy's default_rng(0).random over all candidates is below 1/w. Without any of them whoever is far "
                "out would be unusual.",
                "Where candidates were chosen so, pairs that are alike are told apart. S is made again of features "
                "that are evened at every checkpoint compared (by W as above, from the same ones). Among the n "
                "members of all that is proposed there with opposition and cohesion enough and a separation above .9, "
                "its eigenvalues above 2 s sqrt(n) count, s the root mean square of S between them and all others (the "
                "diagonal is filled in three times by what these give); along their eigenvectors, scaled by their "
                "roots, groups are those of average linkage on one less the cosine, cut at .35. All candidates are "
                "then assigned three times: to the group whose mean they reach farthest along, at a cosine above .65 "
                "and half of its length. Groups are paired so that the sum of -S over the geometric mean of the S "
                "within is largest, with the bars for opposition and size as above. Such a pair takes the place of "
                "those that it shares members with, unless these stand apart, or n is more than half; what stands "
                "apart by S as it is and was not found in it is left out, as its surrogates look there alone.",
                "Of more examples than --candidates the others join a pair found, if the S between its groups is "
                "below -.0375, by the same S and the rule for memberships with .7 in place of .55, each the pair that "
                "it goes to as above; of these, who is looked at at all checkpoints compared exceeds .35 at those "
                "that were screened. At most 5 % of all examples are on a side that others joined.",
            ),
        ),
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
                "from the bulk, with others all the way between. Where a side has several labels of at least 5 "
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
                "Measured where some pair may be a finding. contrast_by_class: share of the variance of all "
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
                "as the sharpness is; so in growth), over the largest eigenvalue, at the checkpoint with converged "
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
                "growth, where some pair may be a finding, steps are saved one by one and the rule is full-batch "
                "gradient descent without momentum, weight decay or clipping: from the step with the largest "
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
                "update, training goes on from up to 8 of them to see it. A fork whose arm with all examples has no "
                "period two is left out, and a run without period two has no causal sentence.",
                "From a fork 60 updates are made with the rule, rates and state there: with all examples, without the "
                "members of all pairs that count, and without as many others: of the highest loss, gradient norm (16 "
                "numbers of a sketch) and curvature v'Hv along the direction v of the largest eigenvalue, and five "
                "draws of examples of the same classes. Of the examples left are taken: the sharpness at once (with "
                "BatchNorm through the statistics of these examples), the sum of rises of their mean loss, the mean "
                "of |l(t+1) - 2 l(t) + l(t-1)|/4 (amplitude), the final mean loss, and with --test-data the final "
                "test loss. The effect is 1 - q/q0 for the first three and q0 - q for losses, q0 of the same examples "
                "where all are kept. Intervals are m +- t s/sqrt(F) over the F forks, Student's t at 97.5 % with F - "
                "1 degrees of freedom: of places in this run, whose arms may overlap, not of other runs. A control is "
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
