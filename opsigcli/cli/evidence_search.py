"""How pairs are sought: the sections of the manual page of evidence on similarity and search, with constants."""

from __future__ import annotations

SEARCH: tuple[tuple[str, tuple[str, ...]], ...] = (
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
)
