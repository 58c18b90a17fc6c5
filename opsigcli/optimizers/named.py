"""Rules that are known by name and have no stability threshold here, each with the reason.

Their checkpoints are told by a key that no other rule writes: nothing is computed from them, so others may be there.
"""

from __future__ import annotations

from collections.abc import Callable

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys
from opsigcli.optimizers.layout import BOOKKEEPING
from opsigcli.optimizers.sam import SAM_LAYOUT

_SHARPNESS = "the sharpness itself is measured all the same"
_SIGN = f"its step has the same length whatever the gradient, so no curvature makes it unstable: {_SHARPNESS}"
_MATRIX = f"it divides each matrix by a root of second moments that is not diagonal: {_SHARPNESS}"
_NOT_DERIVED = f"none is derived for it: {_SHARPNESS}"


_OWN_RATE = f"it finds its learning rate itself, as it goes, and none is derived for it: {_SHARPNESS}"


def _named(name: str, reason: str, told: Callable[[Hyper, frozenset[str]], bool]) -> Optimizer:
    def recognise(group: Hyper, state_keys: StateKeys) -> str | None:
        return "" if told(group, frozenset(state_keys or ())) else None

    return Optimizer(
        name,
        defaults={"lr": NO_RATE},
        make=None,
        limit=None,
        recognise=recognise,
        refusal=f"{name}: {reason}",
    )


LION = _named(
    "lion",
    _SIGN,
    lambda group, state: (
        {"lr", "betas", "weight_decay"} <= group.keys()
        and not any(str(key).startswith(("eps", "rho", "clip_threshold")) for key in group)
        and state <= {"exp_avg"}
    ),
)
MUON = _named(
    "muon",
    f"it orthogonalises each matrix, so that no curvature makes it unstable: {_SHARPNESS}",
    lambda group, state: bool({"ns_steps", "use_muon"} & group.keys()),
)
LAMB = _named(
    "lamb",
    "its step is scaled to the norm of each tensor's weights, which is not in the threshold of Adam that it is built "
    f"on: {_SHARPNESS}",
    lambda group, state: (
        "betas" in group
        and bool({"max_grad_norm", "trust_clip"} & group.keys())
        and not {"exp_avg_diff", "neg_pre_grad"} & state
    ),
)
ADAFACTOR = _named(
    "adafactor",
    f"its second moments are factored and its steps clipped: {_SHARPNESS}",
    lambda group, state: bool({"beta2_decay", "decay_rate"} & group.keys()) and "s" not in state,
)
ADADELTA = _named(
    "adadelta",
    f"it sets the length of its steps by those before, whatever the curvature: {_SHARPNESS}",
    lambda group, state: {"rho", "eps"} <= group.keys() and not {"betas", "adaptive"} & group.keys(),
)
SCHEDULE_FREE = _named(
    "schedulefree",
    "a form of Schedule-Free whose checkpoints do not tell the weights at which gradients are taken, or that steps by "
    f"another rule than its SGD and AdamW: {_SHARPNESS}, of the weights in the checkpoint",
    lambda group, state: bool({"weight_lr_power", "weight_sum"} & group.keys()),
)
LOOKAHEAD = _named(
    "lookahead",
    "every few steps it draws the weights back to slow ones, which no threshold of the rule inside knows: "
    f"{_SHARPNESS}; give the rule inside with --optimizer and --lr to hold it against that one",
    lambda group, state: bool({"lookahead_alpha", "lookahead_k", "slow_state"} & group.keys()),
)
LBFGS = _named(
    "lbfgs",
    f"it steps by its own estimate of the inverse Hessian, as far as a search says: {_SHARPNESS}",
    lambda group, state: {"history_size", "max_iter"} <= group.keys(),
)
SPARSE_ADAM = _named(
    "sparseadam",
    "moments of a row stand still while no example has it, which the threshold of Adam does not know: "
    f"{_SHARPNESS}; where every step has all rows it is that of adam (--optimizer adam, --lr)",
    lambda group, state: (
        group.keys() - BOOKKEEPING == {"lr", "betas", "eps"} and state <= {"step", "exp_avg", "exp_avg_sq"}
    ),
)
BITSANDBYTES = _named(
    "bitsandbytes",
    "the rules of bitsandbytes other than Adam, AdamW (LAMB, LARS, Lion, RMSprop, SGD, AdEMAMix) write states that do "
    f"not tell which one it was: {_SHARPNESS}; give --optimizer and --lr to hold it against one without a state",
    lambda group, state: "state1" in state,
)
SGDP = _named("sgdp", _NOT_DERIVED, lambda group, state: "wd_ratio" in group and "betas" not in group)
ADAMP = _named("adamp", _NOT_DERIVED, lambda group, state: "wd_ratio" in group and "betas" in group)
ADOPT = _named("adopt", _NOT_DERIVED, lambda group, state: "clip_exp" in group)
MARS = _named("mars", _NOT_DERIVED, lambda group, state: "mars_type" in group)
ADAN = _named(
    "adan",
    _NOT_DERIVED,
    lambda group, state: "no_prox" in group or "exp_avg_diff" in state,
)
ADABELIEF = _named("adabelief", _NOT_DERIVED, lambda group, state: "degenerated_to_sgd" in group)
MADGRAD = _named("madgrad", _NOT_DERIVED, lambda group, state: {"grad_sum_sq", "x0"} <= state)
PRODIGY = _named("prodigy", _OWN_RATE, lambda group, state: {"d", "d0", "d_coef"} <= group.keys())
DADAPTATION = _named(
    "dadaptation",
    _OWN_RATE,
    lambda group, state: (
        "d" in group
        and "d_coef" not in group
        and bool({"numerator_weighted", "gsq_weighted", "growth_rate"} & group.keys())
    ),
)
KRON = _named("kron", _MATRIX, lambda group, state: "precond_lr" in group)
SOAP = _named("soap", _MATRIX, lambda group, state: "precondition_frequency" in group)
ASGD = _named("asgd", _NOT_DERIVED, lambda group, state: {"lambd", "t0"} <= group.keys())
RPROP = _named("rprop", _SIGN, lambda group, state: {"etas", "step_sizes"} <= group.keys())
SAM_OTHER = _named(
    "sam_other",
    "SAM with a neighbourhood of its own scale, or around another rule than SGD: " + _NOT_DERIVED,
    lambda group, state: (
        {"rho", "adaptive"} <= group.keys() and (bool(group["adaptive"]) or not SAM_LAYOUT.fits(group, state))
    ),
)
NOVOGRAD = _named(
    "novograd",
    f"it divides each tensor by the norm of its gradients: {_NOT_DERIVED}",
    lambda group, state: {"betas", "grad_averaging"} <= group.keys() and "max_grad_norm" not in group,
)
LAPROP = _named("laprop", _NOT_DERIVED, lambda group, state: {"exp_avg_lr_1", "exp_avg_lr_2"} <= state)
NADAM_LEGACY = _named("nadamlegacy", _NOT_DERIVED, lambda group, state: "schedule_decay" in group)
ADAHESSIAN = _named(
    "adahessian",
    f"it divides by estimates of the Hessian, which is in its threshold a second time: {_NOT_DERIVED}",
    lambda group, state: "hessian_power" in group,
)
SOPHIA = _named(
    "sophia",
    f"it divides by estimates of the Hessian and clips its steps: {_SHARPNESS}",
    lambda group, state: "hessian" in state,
)
CAME = _named(
    "came",
    f"its second moments are factored and its steps clipped: {_SHARPNESS}",
    lambda group, state: "exp_avg_res_row" in state,
)
GALORE = _named(
    "galore",
    f"its moments are those of gradients in a subspace: {_SHARPNESS}",
    lambda group, state: "update_proj_gap" in group or "projector" in state,
)
SHAMPOO = _named(
    "shampoo",
    _MATRIX,
    lambda group, state: (
        "matrix_eps" in group or bool({"precond_0", "pre_cond_0", "pre_conditioner"} & state)
    ),
)
NADAMW = _named(
    "nadamw",
    _NOT_DERIVED,
    lambda group, state: (
        {"betas", "clipping_threshold", "corrected_weight_decay"} <= group.keys() and "amsgrad" not in group
    ),
)
CORRECTED = _named(
    "corrected_weight_decay",
    f"its weight decay falls with the square of the learning rate: {_NOT_DERIVED}; give --optimizer, --lr and the "
    "--weight-decay times lr over its maximum",
    lambda group, state: bool(group.get("corrected_weight_decay") and group.get("weight_decay")),
)
CAUTIOUS = _named(
    "cautious",
    "it leaves out what of an update points against the gradient, which no threshold of the rule inside knows: "
    f"{_SHARPNESS}",
    lambda group, state: bool(group.get("caution")),
)
