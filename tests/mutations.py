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
        "stability/late_rates.py",
        "stability/test_late_rates.py",
        (
            "verdict(row, None) == CONTRADICTED and verdict(row, near) == CONFIRMED",
            "False",
            "test_each_is_judged_by_the_rate_of_the_next",
        ),
        (
            "verdict(row, None) == CONTRADICTED and verdict(row, near) == CONFIRMED",
            "True",
            "test_rates_that_are_those_of_the_next_step_are_left",
        ),
    ),
    Mutation(
        "stability/job.py",
        "return followed or self._judged_otherwise(row)",
        "return self._judged_otherwise(row)",
        "stability/test_late_rates.py::test_the_last_checkpoint_is_judged_anew_when_another_one_follows",
    ),
    *of(
        "stability/weighed.py",
        "stability/test_weighed.py",
        ("min(weights) >= -ROUNDING and", "", "test_weights_below_nothing_are_none"),
        ("if NO not in parts:", "if True:", "test_what_weighs_yes_is_named"),
    ),
    *of(
        "runs/other_scale.py",
        "runs/test_other_scale.py",
        ("WORSE = 3.0", "WORSE = 1e9", "test_an_unusual_scale_is_a_line"),
        (
            "clear = residual < (1 - CLEAR) * whole and",
            "clear =",
            "test_outputs_that_hardly_follow_the_targets_are_of_no_scale",
        ),
        (
            "max(own, between**2) < FLAT",
            "own < FLAT",
            "test_outputs_near_the_mean_target_are_told_from_others",
        ),
    ),
    *of(
        "checkpoints/optimizer_beside.py",
        "checkpoints/test_optimizer_beside.py",
        (
            "if len(found) == 1 and not any(map(holds_weights, others))",
            "if found",
            "test_where_names_leave_a_doubt_there_is_none",
        ),
        (
            "if beside and TorchFile().describe_state(beside).optimizer.group else None",
            "",
            "test_a_file_that_is_no_optimizers_is_left_alone",
        ),
    ),
    Mutation(
        "checkpoints/several_runs.py",
        "if number < before:",
        "if False:",
        "checkpoints/test_several_runs.py::test_stages_whose_steps_begin_anew_are_refused_and_told_how_to_be_ordered",
    ),
    Mutation(
        "curvature/krylov.py",
        "if not math.isfinite(float(torch.linalg.vector_norm(rest))):",
        "if not bool(torch.isfinite(rest).all()):",
        "curvature/test_lanczos.py::test_products_whose_length_is_too_large_for_the_type_end_the_search",
    ),
    Mutation(
        "runs/right_answers.py",
        "labels = own\n",
        "pass\n",
        "tracing/test_look_at_ends.py::test_one_hot_rows_are_answered_as_their_classes_are",
    ),
    *of(
        "gates/judge.py",
        "gates/test_metrics.py",
        ("tripped = True", "tripped = False", "test_what_was_not_measured_trips_every_gate"),
        (
            "== (condition.sense == FAIL_ON)",
            "== True",
            "test_fail_on_trips_where_it_is_true_and_require_where_it_is_not",
        ),
    ),
    *of(
        "gates/sharpness.py",
        "gates/test_metrics.py",
        ("    if lacking:", "    if False:", "test_a_point_without_a_ratio_of_its_own_leaves_no_largest_one"),
        (
            "if point.step == end), None)",
            "if point.step <= end), None)",
            "test_the_last_one_is_that_of_the_last_checkpoint_and_no_earlier_one",
        ),
    ),
    *of(
        "gates/losses.py",
        "gates/test_metrics.py",
        (
            "if mean.finite[row] < mean.total:",
            "if False:",
            "test_one_loss_that_is_not_finite_leaves_no_loss_to_pass_a_gate",
        ),
    ),
    *of(
        "gates/pairs.py",
        "gates/test_metrics.py",
        (
            "if untested := parted.get(UNTESTED):",
            "if untested := parted.get(''):",
            "test_pairs_that_were_not_tested_are_no_findings_and_not_none_either",
        ),
    ),
    *of(
        "gates/project.py",
        "gates/test_project.py",
        ("or not inside:", "or False:", "test_what_is_no_gate_is_refused"),
    ),
    *of(
        "optimizers/schedulefree.py",
        "optimizers/test_schedule_free.py",
        (
            "limit = (4 - 2 * newest)",
            "limit = (4 - 1.9 * newest)",
            "test_half_a_percent_decides_whether_schedule_free_converges",
        ),
        (
            "+ beta * newest)",
            "+ 0.9 * newest)",
            "test_half_a_percent_decides_whether_schedule_free_converges",
        ),
        (
            'limit - hyper["weight_decay"]',
            "limit",
            "test_half_a_percent_decides_whether_schedule_free_converges",
        ),
        (
            '"averaged": not group["train_mode"]',
            '"averaged": False',
            "test_the_hessian_is_measured_where_gradients_are_taken_whichever_weights_were_saved",
        ),
        (
            "1 - _beta(hyper))",
            "_beta(hyper))",
            "test_the_hessian_is_measured_where_gradients_are_taken_whichever_weights_were_saved",
        ),
        (
            "(done + 1) / warm if done < warm",
            "(done + 1) / warm if done < 0",
            "test_the_weight_of_the_next_update_is_read_from_its_group",
        ),
    ),
    *of(
        "optimizers/adamw_hf.py",
        "optimizers/test_adamw_hf.py",
        (
            "adamw_threshold(hyper) / left if",
            "adamw_threshold(hyper) if",
            "test_half_a_percent_decides_whether_it_converges",
        ),
        (
            "/ math.sqrt(1 - second_beta**step) if",
            "if",
            "test_each_update_is_the_first_moment_over_the_preconditioner",
        ),
    ),
    *of(
        "optimizers/eight_bits.py",
        "optimizers/test_eight_bits.py",
        (
            "_BLOCKS = (256, 2048)",
            "_BLOCKS = (256,)",
            "test_codes_are_values_of_the_table_times_the_scale_of_their_block",
        ),
        (
            " * scales.float().repeat_interleave(block)[:size]",
            "",
            "test_codes_are_values_of_the_table_times_the_scale_of_their_block",
        ),
        (
            "if not block or ",
            "if ",
            "test_codes_that_do_not_fit_their_scales_are_refused",
        ),
    ),
    *of(
        "optimizers/bitsandbytes.py",
        "optimizers/test_eight_bits.py",
        (
            'group.get("alpha") or ',
            "",
            "test_only_adam_is_told_from_the_other_rules_of_bitsandbytes",
        ),
        (
            ' or len(group["betas"]) != 2',
            "",
            "test_only_adam_is_told_from_the_other_rules_of_bitsandbytes",
        ),
    ),
    *of(
        "mining/proposals.py",
        "mining/test_gates.py",
        (
            "\nOPPOSED = 0.07 ",
            "\nOPPOSED = -9.0 ",
            "test_groups_have_to_oppose_one_another_however_clear_they_are",
        ),
        (
            "\nOPPOSED = 0.07 ",
            "\nOPPOSED = 0.5 ",
            "test_groups_have_to_oppose_one_another_however_clear_they_are",
        ),
        (
            "ALIKE = 0.22 ",
            "ALIKE = -9.0 ",
            "test_groups_oppose_one_another_at_least_a_quarter_as_much_as_they_are_alike",
        ),
        (
            "ALIKE = 0.22 ",
            "ALIKE = 0.9 ",
            "test_groups_oppose_one_another_at_least_a_quarter_as_much_as_they_are_alike",
        ),
        ("COHESION = 0.2 ", "COHESION = 0.0 ", "test_few_examples_have_to_be_more_alike_than_many"),
        ("COHESION = 0.2 ", "COHESION = 3.0 ", "test_few_examples_have_to_be_more_alike_than_many"),
        (
            "SEPARATION = 1.5 ",
            "SEPARATION = -9.0 ",
            "test_members_stand_farther_out_than_others_that_oppose_the_same_group",
        ),
        (
            "SEPARATION = 1.5 ",
            "SEPARATION = 9.0 ",
            "test_members_stand_farther_out_than_others_that_oppose_the_same_group",
        ),
        ("UNEQUAL = 6.0 ", "UNEQUAL = 1e9 ", "test_a_group_opposes_one_of_similar_size"),
        ("UNEQUAL = 6.0 ", "UNEQUAL = 1.5 ", "test_a_group_opposes_one_of_similar_size"),
        (" or sizes[1] > UNEQUAL * sizes[0]", "", "test_a_group_opposes_one_of_similar_size"),
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
    ),
    *of(
        "mining/over_checkpoints.py",
        "mining/test_over_checkpoints.py",
        (
            "4 * sum(few) >= len(few)",
            "2 * sum(few) >= len(few)",
            "test_the_middle_half_counts_where_directions_are_few_at_a_quarter",
        ),
        ("len(values) // 4", "len(values) // 3", "test_the_middle_half_is_that_of_scipy"),
    ),
    *of(
        "mining/similarity.py",
        "mining/test_over_checkpoints.py",
        (
            "middle(products) * len(found)",
            "products.sum(axis=0)",
            "test_similarity_is_the_middle_of_those_at_each_checkpoint_where_directions_are_few",
        ),
        (
            "if not of_middle([each.few for each in found]):",
            "if not found:",
            "test_elsewhere_the_few_checkpoints_at_which_a_pair_opposes_count_as_much_as_all",
        ),
    ),
    *of(
        "mining/extend.py",
        "mining/test_over_checkpoints.py",
        (
            "own = over_checkpoints(np.stack([at.own for at in members.values()]), few)",
            "own = np.mean([at.own for at in members.values()], axis=0)",
            "test_others_join_by_the_middle_half_as_members_were_found",
        ),
        (
            "standing = over_checkpoints(np.stack(list(at_each.values())), few)",
            "standing = np.mean(list(at_each.values()), axis=0)",
            "test_others_join_by_the_middle_half_as_members_were_found",
        ),
    ),
    *of(
        "mining/unseen.py",
        "mining/test_over_checkpoints.py",
        (
            "over_checkpoints(standing, few)",
            "standing.mean(axis=0)",
            "test_others_join_by_the_middle_half_as_members_were_found",
        ),
    ),
    *of(
        "mining/evened.py",
        "mining/test_evened.py",
        (
            "FEW = 20.0",
            "FEW = 0.0",
            "test_others_are_held_against_members_by_the_same_evened_features",
        ),
        (
            "FEW = 20.0",
            "FEW = 1e9",
            "test_where_directions_are_many_or_those_of_few_groups_features_stay_as_they_are",
        ),
        (
            "FEWEST = 6.0",
            "FEWEST = 0.0",
            "test_where_directions_are_many_or_those_of_few_groups_features_stay_as_they_are",
        ),
        (
            "* (squares / after) ** 0.25",
            "",
            "test_evening_is_a_scaled_inverse_of_the_moments_and_keeps_the_size_of_products",
        ),
        (
            "moments + spread)",
            "moments + 9 * spread)",
            "test_evening_is_a_scaled_inverse_of_the_moments_and_keeps_the_size_of_products",
        ),
        (
            "if squares.any() else",
            "if len(squares) else",
            "test_one_example_and_features_of_zeros_are_not_evened",
        ),
    ),
    *of(
        "mining/states.py",
        "mining/test_gates.py",
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
        (" & (both <= self.first.shape[1] / 2)", "", "test_more_than_half_of_all_examples_are_no_proposal"),
    ),
    *of(
        "mining/starts.py",
        "mining/test_gates.py",
        (
            "\nSTARTS = 500 ",
            "\nSTARTS = 0 ",
            "test_groups_that_linkage_does_not_see_are_found_from_single_examples",
        ),
    ),
    *of(
        "mining/fixed_point.py",
        "mining/test_fixed_point.py",
        *(
            (old, new, "test_of_a_proposal_that_does_not_stand_apart_its_core_is_found_where_that_does")
            for old, new in (
                ("CORE = 0.75 ", "CORE = 0.55 "),
                ("core.separation > APART", "core.separation > 0"),
            )
        ),
    ),
    *of(
        "mining/outliers.py",
        "mining/test_outliers.py",
        (
            "if members >= RARE * examples:",
            "if True:",
            "test_the_ends_of_an_axis_with_long_tails_do_not_stand_apart_and_a_group_as_rare_does",
        ),
        (
            "alike = np.isin(labels[others], labels[members])",
            "pass",
            "test_on_an_axis_within_one_class_nobody_stands_apart_from_those_between_the_ends",
        ),
        (
            "- weights / 2",
            "- weights",
            "test_candidates_that_were_drawn_count_for_all_that_are_none",
        ),
        (
            "found = _bulk(others, weights)",
            "found = _bulk(others, None)",
            "test_candidates_that_were_drawn_count_for_all_that_are_none",
        ),
        (
            "return stands_apart(similarity, sides, of, labels, examples, weights)",
            "return stands_apart(similarity, sides, of, labels, 0, weights)",
            "test_the_last_few_of_an_axis_with_long_tails_are_no_outliers_here_either",
        ),
        (
            "_bulk(near, stand_for)",
            "_bulk(near, None)",
            "test_candidates_that_were_drawn_count_for_all_that_are_none",
        ),
    ),
    *of(
        "mining/chance.py",
        "mining/test_mixtures.py",
        (
            "if not (chosen_of and findable):",
            "if True:",
            "test_where_candidates_were_chosen_a_finding_is_one_by_mixtures_and_by_rotations",
        ),
    ),
    *of(
        "mining/evidence/material.py",
        "mining/test_resampled.py",
        (
            "HALVED if self.findable else OF_PROPOSALS",
            "HALVED",
            "test_proposals_are_sought_again_too_in_halves_of_checkpoints_and_candidates",
        ),
    ),
    *of(
        "mining/other_pairs.py",
        "mining/test_other_pairs.py",
        ("OWN = 0.9", "OWN = 0.1", "test_slices_of_one_axis_are_not_told_from_one_another"),
        (
            "far / np.sqrt(max(float(far[rows].mean()), 1e-6))",
            "far",
            "test_members_of_another_pair_with_a_feature_that_is_alike_do_not_stand_between",
        ),
    ),
    *of(
        "mining/surrogate.py",
        "mining/test_other_pairs.py",
        (
            "clear(surrogate, sides, labels, out, chosen=True)",
            "clear(surrogate, sides, labels, chosen=True)",
            "test_pairs_are_told_from_one_another_in_surrogates_too",
        ),
    ),
    *of(
        "mining/evidence/opposition.py",
        "mining/test_evidence.py",
        (
            "~inside[rows] & ~left_out",
            "~inside[rows]",
            "test_separation_and_clarity_leave_out_members_of_pairs_that_are_told_from_it",
        ),
        (
            "pair.pair.left_out, chosen=chosen)",
            "chosen=chosen)",
            "test_separation_and_clarity_leave_out_members_of_pairs_that_are_told_from_it",
        ),
    ),
    *of(
        "mining/usual_cosine.py",
        "mining/test_simple.py",
        (
            "np.where(bits >> 31, ~bits, bits",
            "np.where(bits >> 31, bits, bits",
            "test_pairs_are_binned_in_float32_as_in_float64",
        ),
    ),
    *of(
        "mining/inputs.py",
        "mining/test_large_groups.py",
        (
            "(drawn * self.weights.max() < 1)",
            "(drawn < 0)",
            "test_of_chosen_candidates_as_large_a_share_is_held_for_usual_as_of_those_drawn",
        ),
    ),
    *of(
        "mining/told_apart.py",
        "mining/test_told_apart.py",
        (
            "ALONG = 0.35 ",
            "ALONG = 0.9 ",
            "test_pairs_that_are_alike_and_share_a_label_are_told_apart",
        ),
        (
            "MOST = 0.5 ",
            "MOST = 1.0 ",
            "test_where_more_than_half_are_in_proposals_nothing_is_told_apart",
        ),
        (
            "if not apart(sides)",
            "if True",
            "test_what_stands_apart_is_left_to_the_search_in_similarities_as_they_are",
        ),
        (
            "mean() > OVERLAP]",
            "mean() > 2]",
            "test_pairs_that_no_others_replace_stay_without_the_members_that_others_have",
        ),
    ),
    *of(
        "mining/mixtures.py",
        "mining/test_mixtures.py",
        (
            "first = np.flatnonzero((place % 2 == 0)",
            "first = np.flatnonzero((place % 2 == 2)",
            "test_mixtures_keep_the_mean_and_nearly_the_covariance_of_a_class",
        ),
        (
            "angles = rng.uniform(0, 2 * np.pi,",
            "angles = rng.uniform(0, 0,",
            "test_a_group_has_others_all_the_way_between_in_a_mixture_and_long_tails_stay",
        ),
        (
            "_add(rows, means - share @ rows, of)",
            "_add(rows, -share @ rows, of)",
            "test_mixtures_keep_the_mean_and_nearly_the_covariance_of_a_class",
        ),
    ),
    *of(
        "mining/surrogate.py",
        "mining/test_mixtures.py",
        (
            "_mixtures(similarity, labels) if chosen else",
            "_mixtures(similarity, labels) if False else",
            "test_a_group_has_others_all_the_way_between_in_a_mixture_and_long_tails_stay",
        ),
        (
            "*cores, *along_the_axis(surrogate))",
            "*cores)",
            "test_the_ends_of_an_axis_count_in_a_mixture",
        ),
    ),
    *of(
        "mining/mine.py",
        "mining/test_mine.py",
        (
            "if chosen and settings.method in TELL_APART",
            "if settings.method in TELL_APART",
            "test_where_candidates_were_chosen_pairs_alike_are_told_apart",
        ),
        (
            "evened=True",
            "evened=False",
            "test_where_candidates_were_chosen_pairs_alike_are_told_apart",
        ),
        (
            "of = examples if chosen else 0",
            "of = 0",
            "test_where_candidates_were_chosen_pairs_are_held_against_mixtures",
        ),
    ),
    *of(
        "mining/evidence/opposition.py",
        "mining/test_evidence.py",
        (
            "chosen = material.candidates.weights is not None",
            "chosen = False",
            "test_clarity_is_how_far_a_pair_stands_apart_where_candidates_were_chosen",
        ),
        (
            "if len(material.rotations):",
            "if False:",
            "test_clarity_is_how_far_a_pair_stands_apart_where_candidates_were_chosen",
        ),
        (
            "reached(some, near, pair.size",
            "reached(some, ~near, pair.size",
            "test_separation_counts_others_of_the_members_own_labels_by_themselves",
        ),
        (
            "if weights is not None:",
            "if False:",
            "test_separation_counts_those_drawn_for_all_that_are_no_candidates",
        ),
    ),
    *of(
        "mining/similarity.py",
        "mining/test_simple.py",
        (
            "RIDGE if _parts(at, some) == (FEATURES,) else couples(references)",
            "RIDGE",
            "test_a_group_that_is_half_of_its_class_does_not_make_itself_usual",
        ),
        (
            "(COSINES, FEATURES) if references >= SOME * outputs",
            "(COSINES, FEATURES) if references >= 0",
            "test_of_many_outputs_cosines_beyond_those_of_residuals_as_alike_are_taken",
        ),
        (
            "    if outputs < MANY:",
            "    if outputs < 0:",
            "test_of_many_outputs_cosines_beyond_those_of_residuals_as_alike_are_taken",
        ),
    ),
    *of(
        "mining/opposition.py",
        "mining/test_scale.py",
        (
            "[1]) < FEW for each in at)",
            "[1]) < 0 for each in at)",
            "test_features_as_they_are_are_ranked_where_gradients_differ_in_few_directions",
        ),
    ),
    *of(
        "mining/conflicts.py",
        "mining/test_conflicts.py",
        ("MOSTLY = 0.45 ", "MOSTLY = 0.0 ", "test_who_opposes_a_group_a_little_is_no_part_of_its_conflict"),
        (
            ", signs, sums, signs).argmax()",
            ", signs, sums, signs).argmin()",
            "test_the_sides_are_those_between_which_opposition_adds_up_to_most",
        ),
    ),
    *of(
        "mining/fixed_point.py",
        "mining/test_conflicts.py",
        (
            "if not any(each.swallows(p.sides) for p in alone[0])",
            "if True",
            "test_whole_classes_that_oppose_one_another_do_not_swallow_a_pair_of_some_of_their_examples",
        ),
        (
            "    if all(apart):\n",
            "    if True:\n",
            "test_groups_that_keep_a_conflict_from_standing_apart_are_left_out",
        ),
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
            "if again != bars:",
            "if False:",
            "test_memberships_are_no_wider_than_groups_that_stand_apart",
        ),
    ),
    *of(
        "mining/loss_pca.py",
        "mining/test_loss_pca.py",
        (" or taken[members].mean() >= OVERLAP", "", "test_only_pairs_that_are_new_and_active_are_added"),
        (
            "if float(energy[members].mean()) <= CONCENTRATED * usual:",
            "if False:",
            "test_only_pairs_that_are_new_and_active_are_added",
        ),
    ),
    *of(
        "mining/outliers.py",
        "mining/test_gates.py",
        (
            "OUTLIERS = 0.2 ",
            "OUTLIERS = 0.5 ",
            "test_on_an_axis_no_more_than_a_fifth_are_members_whatever_was_proposed",
        ),
    ),
    *of(
        "mining/outliers.py",
        "mining/test_outliers.py",
        ("> APART", "> 99", "test_few_members_on_an_axis_and_groups_that_stand_apart_are_left_as_they_are"),
        ("> APART", "> -99", "test_on_a_continuous_axis_the_examples_it_moves_most_stay"),
    ),
    *of(
        "mining/verdict.py",
        "mining/test_verdict.py",
        *[
            (f"\n{old}", f"\n{new}", "test_a_verdict_turns_where_evidence_no_longer_exceeds_its_null")
            for old, new in (
                ("MARGIN = 0.04 ", "MARGIN = 0.001 "),
                ("MARGIN = 0.04 ", "MARGIN = 0.4 "),
                ("LEANING = 0.07 ", "LEANING = 0.9 "),
                ("LEANING = 0.07 ", "LEANING = 0.01 "),
                ("APART = 1.5 ", "APART = 1.0 "),
                ("APART = 1.5 ", "APART = 3.5 "),
                ("COHERENT = 0.12 ", "COHERENT = 0.0 "),
                ("COHERENT = 0.12 ", "COHERENT = 0.3 "),
            )
        ],
        (
            "\nSIGNIFICANT = 0.05\n",
            "\nSIGNIFICANT = 1.0\n",
            "test_how_often_the_search_finds_as_clear_a_pair_by_chance_is_said",
        ),
        (
            "\nSIGNIFICANT = 0.05\n",
            "\nSIGNIFICANT = 0.01\n",
            "test_how_often_the_search_finds_as_clear_a_pair_by_chance_is_said",
        ),
        (
            "BY_CLASS = 0.5 ",
            "BY_CLASS = 9.0 ",
            "test_where_the_label_explains_a_contrast_only_groups_far_apart_are_more",
        ),
        (
            "BY_CLASS = 0.5 ",
            "BY_CLASS = 0.1 ",
            "test_where_the_label_explains_a_contrast_only_groups_far_apart_are_more",
        ),
        (
            "FAR = 3.0 ",
            "FAR = 1.0 ",
            "test_where_the_label_explains_a_contrast_only_groups_far_apart_are_more",
        ),
        (
            "TOGETHER = 0.3 ",
            "TOGETHER = 0.0 ",
            "test_few_that_are_hardly_alike_are_no_end_of_an_axis",
        ),
        ("STILL = 0.45 ", "STILL = 0.3 ", "test_few_that_are_hardly_alike_are_no_end_of_an_axis"),
        (
            "null is not None and null < SWING",
            "null is not None",
            "test_no_axis_is_named_where_random_groups_of_the_labels_oppose_in_gradients_and_losses",
        ),
        (
            "ALTERNATES = -0.3 ",
            "ALTERNATES = 9.0 ",
            "test_losses_swing_where_they_part_every_step_and_visibly",
        ),
        ("VISIBLE = 1e-3 ", "VISIBLE = 0.0 ", "test_losses_swing_where_they_part_every_step_and_visibly"),
        ("CONCENTRATED = 1.3", "CONCENTRATED = 1.0", "test_a_trait_is_lost_with_the_evidence_for_it"),
        ("CONCENTRATED = 1.3", "CONCENTRATED = 2.0", "test_a_trait_is_lost_with_the_evidence_for_it"),
        ("\nHELD = 1.0", "\nHELD = -99.0", "test_a_trait_is_lost_with_the_evidence_for_it"),
        ("\nHELD = 1.0", "\nHELD = 1.9", "test_a_trait_is_lost_with_the_evidence_for_it"),
        ("SWING = -0.3", "SWING = 1.0", "test_a_trait_is_lost_with_the_evidence_for_it"),
        ("SWING = -0.3", "SWING = -0.7", "test_a_trait_is_lost_with_the_evidence_for_it"),
    ),
    *of(
        "mining/spikes.py",
        "mining/test_spikes.py",
        (
            "SIGMAS = 6.0",
            "SIGMAS = 2.0",
            "test_a_rise_has_to_stand_out_of_the_usual_steps_however_large_it_is",
        ),
        (
            "SIGMAS = 6.0",
            "SIGMAS = 30.0",
            "test_a_rise_has_to_stand_out_of_the_usual_steps_however_large_it_is",
        ),
        (
            "SMALLEST_RISE = 0.02",
            "SMALLEST_RISE = 0.0",
            "test_a_rise_of_a_hundredth_is_no_spike_however_quiet_the_loss_was",
        ),
        (
            "SMALLEST_RISE = 0.02",
            "SMALLEST_RISE = 0.2",
            "test_a_rise_of_a_hundredth_is_no_spike_however_quiet_the_loss_was",
        ),
        (
            "len(finite) < FEWEST_CHANGES",
            "len(finite) < 1",
            "test_checkpoints_without_a_loss_end_a_climb_and_constant_curves_have_none",
        ),
    ),
    *of(
        "mining/window.py",
        "mining/test_window.py",
        ("FALLEN = 0.5", "FALLEN = 0.9", "test_an_oscillation_lasts_until_it_has_fallen_to_half_of_its_peak"),
        ("FALLEN = 0.5", "FALLEN = 0.3", "test_an_oscillation_lasts_until_it_has_fallen_to_half_of_its_peak"),
        (
            ">= FALLEN * smooth",
            ">= 0 * smooth",
            "test_an_oscillation_begins_where_half_of_its_peak_is_reached",
        ),
        (
            "SHORTEST = 12",
            "SHORTEST = 1",
            "test_a_short_oscillation_keeps_enough_steps_for_segments_and_held_out_ones",
        ),
        ("steps < 2 * SHORTEST", "steps < 2", "test_a_trace_too_short_for_two_windows_is_taken_whole"),
    ),
    *of(
        "objective/forms.py",
        "objective/test_forms.py",
        (
            "AGREEMENT = 1e-5",
            "AGREEMENT = 1e-2",
            "test_a_folded_norm_that_rounds_worse_than_the_plain_one_is_not_used",
        ),
        (
            "AGREEMENT = 1e-5",
            "AGREEMENT = 1e-2",
            "test_weights_stay_as_they_are_where_channels_last_changes_losses",
        ),
        (
            "AGREEMENT = 1e-5",
            "AGREEMENT = 1e-4",
            "test_two_forms_agree_up_to_rounding_and_where_neither_loss_is_finite",
        ),
        ("AGREEMENT = 1e-5", "AGREEMENT = 0.0", "test_a_folded_norm_is_used_where_it_agrees"),
        (
            " * first.abs().clamp_min(1.0)",
            "",
            "test_two_forms_agree_up_to_rounding_and_where_neither_loss_is_finite",
        ),
        (".clamp_min(1.0)", "", "test_two_forms_agree_up_to_rounding_and_where_neither_loss_is_finite"),
        (
            " | (first.isnan() & second.isnan())",
            "",
            "test_two_forms_agree_up_to_rounding_and_where_neither_loss_is_finite",
        ),
        (
            "if agree(plain, objective.loss_fn(model(turned), targets)):",
            "if True:",
            "test_weights_stay_as_they_are_where_channels_last_changes_losses",
        ),
    ),
    Mutation(
        "objective/evaluate.py",
        "return folded if self._agree(plain, folded) else plain",
        "return folded",
        "objective/test_forms.py::test_a_folded_norm_that_rounds_worse_than_the_plain_one_is_not_used",
    ),
    *of(
        "derivatives/check_hvp.py",
        "derivatives/test_check_hvp.py",
        ("TOLERANCE = 1e-2", "TOLERANCE = 0.5", "test_second_derivatives_that_leave_out_a_tenth_are_refused"),
        ("REPEATS = 0.1", "REPEATS = 0.0", "test_second_derivatives_that_leave_out_a_tenth_are_refused"),
        (
            "STEPS = (1e-8, 1e-9, 1e-10, 1e-7)",
            "STEPS = (1e-8,)",
            "test_second_derivatives_that_leave_out_a_tenth_are_refused",
        ),
        ("DIRECTIONS = 2", "DIRECTIONS = 0", "test_second_derivatives_that_leave_out_a_tenth_are_refused"),
        ("TOLERANCE = 1e-2", "TOLERANCE = 0.5", "test_an_operation_on_a_tenth_of_the_units_is_refused"),
    ),
    Mutation(
        "derivatives/check_hvp.py",
        "REPEATS = 0.1",
        "REPEATS = 1e9",
        "derivatives/test_check_hvp.py::test_differences_that_do_not_agree_with_each_other_prove_nothing",
    ),
    *of(
        "models/checks.py",
        "models/test_checks.py",
        ("TOLERANCE = 1e-3", "TOLERANCE = 0.1", "test_passes_that_differ_by_a_fiftieth_are_refused"),
        ("TOLERANCE = 1e-3", "TOLERANCE = 0.0", "test_passes_that_differ_as_kernels_do_agree"),
        (" * max(largest, 1e-6)", "", "test_differences_are_held_against_the_largest_output"),
        (
            "half = _forward(model, inputs[: (len(inputs) + 1) // 2])",
            "half = outputs",
            "test_passes_that_differ_by_a_fiftieth_are_refused",
        ),
        (
            "second = _forward(model, inputs)",
            "second = outputs",
            "test_passes_that_differ_by_a_fiftieth_are_refused",
        ),
    ),
    Mutation(
        "curvature/lanczos.py",
        "SAFETY = 2.0",
        "SAFETY = 0.005",
        "curvature/test_error_bounds.py::test_what_is_called_converged_is_within_the_tolerance_by_its_bound_alone",
    ),
    Mutation(
        "curvature/krylov.py",
        "coupled / apart.min(axis=1)",
        "0.01 * coupled / apart.min(axis=1)",
        "curvature/test_error_bounds.py::test_no_eigenvalue_is_farther_off_than_its_bound_once_its_neighbour_is_seen",
    ),
    *of(
        "curvature/lanczos.py",
        "curvature/test_lanczos.py",
        (
            "MISSED = 0.01",
            "MISSED = 1e9",
            "test_a_near_double_eigenvalue_is_resolved_from_nearly_every_start",
        ),
        (
            "MISSED = 0.01",
            "MISSED = 0.5",
            "test_a_near_double_eigenvalue_is_resolved_from_nearly_every_start",
        ),
        (
            "elif bool((krylov.errors(symmetric=True) <= tolerance / SAFETY * scale).all()):",
            "elif False:",
            "test_products_too_coarse_for_the_tolerance_end_the_search_early",
        ),
    ),
    *of(
        "curvature/krylov.py",
        "curvature/test_lanczos.py",
        (" + np.sqrt(skew))", ")", "test_a_noisy_operator_is_not_called_converged"),
        (
            "return closed == 0 or closed >= self.count or self.complete()",
            "return True",
            "test_eigenvalues_agree_with_a_dense_solver",
        ),
    ),
    *of(
        "curvature/missed_eigenvalues.py",
        "curvature/test_lanczos.py",
        (
            "np.sqrt(2 * size / (math.pi",
            "np.sqrt(1e-6 * size / (math.pi",
            "test_a_near_double_eigenvalue_is_resolved_from_nearly_every_start",
        ),
        ("REACH = 2.0", "REACH = 1e-6", "test_a_near_double_eigenvalue_is_resolved_from_nearly_every_start"),
    ),
    *of(
        "mining/evidence/material.py",
        "mining/test_evidence.py",
        (
            "extreme = null >= value if",
            "extreme = null <= value if",
            "test_a_real_pair_stands_out_and_a_random_one_does_not",
        ),
        (
            "(1 + extreme.sum()) / (1 + len(null))",
            "extreme.sum() / len(null) / 9",
            "test_p_values_of_pairs_named_in_advance_are_uniform",
        ),
    ),
    *of(
        "mining/class_matched.py",
        "mining/test_class_matched.py",
        (
            "np.flatnonzero(of & ~inside)",
            "np.flatnonzero(~inside)",
            "test_random_groups_have_the_labels_and_sizes_of_each_side_and_are_disjoint",
        ),
        (
            "np.flatnonzero(of & ~inside)",
            "np.flatnonzero(of)",
            "test_members_of_any_pair_are_drawn_only_where_a_label_has_too_few_others",
        ),
    ),
    *of(
        "stability/curvature_attribution.py",
        "stability/test_nulls.py",
        (
            "random = class_matched(labels, sides,",
            "random = class_matched(labels * 0, sides,",
            "test_the_alignment_of_a_group_that_is_like_its_classes_equals_its_null",
        ),
        (
            "curvatures[nulls].sum(axis=1).mean() / total",
            "1.0",
            "test_the_share_of_a_group_that_is_sharper_than_its_classes_exceeds_its_null",
        ),
        (
            "curvatures[nulls].sum(axis=1).mean() / total",
            "len(members) * curvatures.mean() / total",
            "test_the_share_of_a_group_that_is_like_its_classes_equals_its_null",
        ),
    ),
    Mutation(
        "stability/curvature_attribution.py",
        "class_matched(labels, sides, members,",
        "class_matched(labels, sides, members[:0],",
        "stability/test_group_curvature.py::test_members_of_pairs_are_in_no_null_of_share_or_alignment",
    ),
    Mutation(
        "gradients/pair_curvature.py",
        "class_matched(self._trace.labels, sides, members,",
        "class_matched(self._trace.labels, sides, members[:0],",
        "gradients/test_pair_curvature.py::test_it_is_held_against_three_class_matched_pairs_without_members_of_any_pair",
    ),
    *of(
        "gradients/ablation.py",
        "gradients/test_ablation.py",
        (
            "class_matched(labels, (members,), members,",
            "class_matched(labels, (members,), members[:0],",
            "test_controls_of_the_same_classes_have_no_member_and_the_same_labels",
        ),
        (
            "class_matched(labels, (members,), members,",
            "class_matched(labels * 0, (members,), members,",
            "test_controls_of_the_same_classes_have_no_member_and_the_same_labels",
        ),
        (
            "highest(trace.losses[row][counted])",
            "highest(trace.losses[0][counted])",
            "test_the_control_of_high_loss_has_the_largest_losses_at_the_fork",
        ),
        (
            "np.argsort(-np.nan_to_num(values)",
            "np.argsort(np.nan_to_num(values)",
            "test_the_control_of_large_gradient_has_the_largest_gradients",
        ),
        (
            "directional_derivatives(objective, direction, counted).curvatures",
            "directional_derivatives(objective, direction, counted).slopes",
            "test_the_control_of_high_curvature_curves_most_along_the_sharpest_direction",
        ),
    ),
    *of(
        "mining/removal.py",
        "mining/test_removal.py",
        (
            "over[1] > 0 and all(",
            "all(",
            "test_a_control_is_beaten_only_where_it_lowers_less_at_every_fork_and_in_every_draw",
        ),
        (
            "value > each.max()",
            "value > each.mean()",
            "test_a_control_is_beaten_only_where_it_lowers_less_at_every_fork_and_in_every_draw",
        ),
    ),
    *of(
        "stability/step_causes.py",
        "stability/test_step_causes.py",
        (
            "return lr > 0 and 0 <= momentum < 1 and weight_decay >= 0",
            "return weight_decay >= 0",
            "test_a_momentum_of_1_or_more_and_a_rate_below_0_are_no_cause",
        ),
        (" and weight_decay >= 0 and", " and", "test_a_weight_decay_below_0_is_no_cause"),
        (
            "abs(scale) < 1e-6 for",
            "abs(scale) < 9 for",
            "test_a_rate_for_each_parameter_and_frozen_ones_are_named",
        ),
    ),
    Mutation(
        "stability/step_rounding.py",
        "BOUND = 1e-3",
        "BOUND = 3.0",
        "stability/test_step_check.py::test_a_wrong_rule_is_contradicted_and_the_right_one_is_named",
    ),
    Mutation(
        "checkpoints/formats/rebuild.py",
        "if span.crc and",
        "if False and",
        "checkpoints/test_torch.py::test_numbers_that_are_not_those_written_are_refused_with_the_tensor_that_has_them",
    ),
    Mutation(
        "checkpoints/formats/torch_container.py",
        "(member.crc and zlib",
        "(True and zlib",
        "checkpoints/test_torch.py::test_files_saved_without_checksums_are_read",
    ),
    Mutation(
        "runs/parameter_groups.py",
        "best = evidence(list(alone)) if alone and averaged else None",
        "best = 0 if alone else None",
        "stability/test_several_optimizers.py::test_states_tell_which_of_two_optimizers_moved_the_weights",
    ),
    Mutation(
        "mean_loss.py",
        "same.append(row + 1)",
        "pass",
        "tracing/test_unmoved.py::test_weights_that_were_saved_again_are_said",
    ),
    Mutation(
        "stability/far_check.py",
        "squared = self._gained(row, at) if sums else",
        "squared = None if sums else",
        "stability/test_far_check.py::test_a_summed_loss_is_told_and_the_rate_on_the_mean_accepted",
    ),
    *of(
        "stability/gradient_length.py",
        "stability/test_state_check.py",
        (
            "if error <= PARALLEL and times > 0:",
            "if False:",
            "test_a_summed_loss_is_not_confirmed_by_states_that_divide_it_away",
        ),
        (
            "if times <= SQUARED:",
            "if True:",
            "test_a_summed_loss_is_not_confirmed_by_states_that_divide_it_away",
        ),
        (
            "value / times if",
            "value if",
            "test_the_rate_on_the_mean_is_taken_beside_the_momentum_of_a_sum",
        ),
    ),
    *of(
        "stability/state_verdict.py",
        "stability/test_state_check.py",
        (
            "if between not in (None, 1):",
            "if False:",
            "test_checkpoints_that_the_optimizer_counts_further_apart_are_not_one_step",
        ),
        (
            "if abs(seen - beta) > FAR * spread + allowed:",
            "if False:",
            "test_a_momentum_that_the_states_do_not_tell_is_told_by_random_batches",
        ),
        (
            "return again is not None and again.fits(self.found.bound or 0.0)",
            "return False",
            "test_a_momentum_that_the_states_do_not_tell_is_told_by_random_batches",
        ),
    ),
    *of(
        "runs/movement.py",
        "stability/test_unfreezing.py",
        (
            "(made > units).any()",
            "(made > 1e9 * units).any()",
            "test_each_point_is_over_the_weights_that_train_there",
        ),
    ),
    *of(
        "stability/ratio.py",
        "stability/test_ratio_by_group.py",
        (
            "own if uniform(tuning) else own * (limit.threshold / reference)",
            "own",
            "test_learning_rates_by_group_are_one_operator",
        ),
        (
            "if limit.threshold - (0 if part.rule.preconditions else limit.penalty) <= 0:",
            "if False:",
            "test_a_decay_that_makes_weights_grow_is_told_and_has_no_threshold",
        ),
        (
            "[limit.penalty for limit in limits], operator",
            "[0.0 for limit in limits], operator",
            "test_l2_penalties_by_group_are_on_the_diagonal_of_the_hessian",
        ),
    ),
    *of(
        "runs/state_order.py",
        "runs/test_state_order.py",
        (
            "and gain > needed:",
            "and False:",
            "test_what_is_told_for_some_modules_and_not_for_others_is_refused",
        ),
        ("CHANCE = 4.0", "CHANCE = 0.0", "test_what_is_told_for_some_modules_and_not_for_others_is_refused"),
    ),
    *of(
        "runs/state_values.py",
        "runs/test_unlike_states.py",
        (
            "if not isinstance(found, torch.Tensor):",
            "if False:",
            "test_what_is_no_average_of_gradients_is_not_taken_for_one",
        ),
        (
            "0 <= number < math.inf",
            "True",
            "test_a_number_of_updates_that_is_none_is_said",
        ),
        (
            "isinstance(found, list | tuple) else []",
            "found else []",
            "test_groups_that_list_no_parameters_are_none",
        ),
    ),
    *of(
        "gradients/fork.py",
        "runs/test_what_trains.py",
        (
            'not any(part.hyper["lr"] > 0 for part in found.parts)',
            "False",
            "test_causal_arms_go_on_by_rule_and_learning_rate_of_their_checkpoint",
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
