"""TRL's losses and options, each with its counterpart here: the tables of docs/trl.md.

Every row is run: `make parity` takes TRL's step and ours on the same models and rows, and compares
loss and gradient. A row that differs says by what, and that is what is compared.
"""

from __future__ import annotations

import math

from tests.parity import formulas as f
from tests.parity.case import AWAY, FAILS, NOT_FINITE, differs, equal, missing, refused

VERSION = "1.16.0"

NLL = "TRL's likelihood is one mean over the chosen tokens of a micro-batch"

ALPHA = 'f_divergence_type="alpha_divergence", f_alpha_divergence_coef'

FAR = "hundreds of nats from the reference"

SYNC = "sync_ref_model=True, ref_model_sync_steps=1, ref_model_mixup_alpha=0.6"

PART = "Part(source=distributions.offline_pairs(), method=methods"
DPO_PART = f"{PART}.dpo(0.3), coefficient=0.8)"
BCO_PART = f"{PART}.bco_pair(0.3), coefficient=0.2)"
SFT_PART = f"{PART}.dco_pass_at_n(1))"

UNSHIFTED_BCO = "replace(methods.bco(0.3), margin=margins.labelled_log_ratio)"
TWO_BCO = f"Part(source=distributions.offline_thumbs(), method={UNSHIFTED_BCO}, coefficient=2.0)"

DPO = [
    equal("DPO", 'loss_type="sigmoid", beta=0.3', "methods.dpo(0.3)"),
    equal(
        "DPO",
        'loss_type="hinge", beta=0.3',
        "methods.hinge_norm(0.3)",
        "RSO's; `slic_hf` is the paper's SLiC",
    ),
    equal(
        "DPO",
        'loss_type="ipo", beta=0.3',
        "methods.ipo_length_normalised(0.3)",
        "log-ratios per token",
    ),
    differs(
        "DPO",
        'loss_type="ipo", beta=0.3',
        "methods.ipo(0.3)",
        f.of("methods.ipo_length_normalised(0.3)"),
        "`ipo` here is the paper's, with whole answers; TRL's is per token",
    ),
    equal(
        "DPO", 'loss_type="exo_pair", label_smoothing=0.1, beta=0.3', "methods.exo_pair(0.3, 0.1)"
    ),
    refused(
        "DPO",
        'loss_type="exo_pair", label_smoothing=0.0, beta=0.3',
        "methods.exo_pair(0.3, 0.0)",
        FAILS,
        "both refuse: log 0",
    ),
    equal("DPO", 'loss_type="nca_pair", beta=0.3', "methods.nca_pair(0.3)"),
    equal("DPO", 'loss_type="robust", label_smoothing=0.1, beta=0.3', "methods.rdpo(0.3, 0.1)"),
    equal(
        "DPO",
        'loss_type="robust", label_smoothing=0.0, beta=0.3',
        "methods.dpo(0.3)",
        "no flips: DPO",
    ),
    refused(
        "DPO",
        'loss_type="robust", label_smoothing=0.5, beta=0.3',
        "methods.rdpo(0.3, 0.5)",
        NOT_FINITE,
        "at ½ the labels say nothing; TRL divides by 0",
    ),
    refused(
        "DPO",
        'loss_type="robust", label_smoothing=0.7, beta=0.3',
        "methods.rdpo(0.3, 0.7)",
        f.swapped("methods.rdpo(0.3, 0.3)"),
        "TRL warns and prefers the rejected answers: its loss is `rdpo(0.3, 0.3)` of swapped pairs",
    ),
    equal("DPO", 'loss_type="bco_pair", beta=0.3', "methods.bco_pair(0.3)"),
    differs(
        "DPO",
        'loss_type="bco_pair", beta=0.3',
        "methods.bco(0.3)",
        f.of("methods.bco_pair(0.3)"),
        "TRL's has no shift d and no density ratio, and is a sum over a pair's two answers, ours a mean "
        "over answers, with d",
    ),
    equal(
        "DPO",
        'loss_type="bco_pair", beta=0.3',
        f'Objective(name="unshifted", parts=({TWO_BCO},))',
        "`bco` without its shift, twice",
    ),
    equal("DPO", 'loss_type="sppo_hard", beta=0.3', "methods.sppo_hard(0.3)"),
    equal(
        "DPO",
        'loss_type="aot", beta=0.3',
        "methods.aot(0.3)",
        "in one micro-batch",
        micro_batches=1,
    ),
    differs(
        "DPO",
        'loss_type="aot", beta=0.3',
        "methods.aot(0.3)",
        f.each(f.of("methods.aot(0.3)")),
        "in two: TRL sorts each micro-batch by itself, ours the step; TRL's is the mean of ours on each",
    ),
    equal(
        "DPO",
        'loss_type="aot", label_smoothing=0.1, beta=0.3',
        "replace(methods.aot(0.3), loss=losses.smoothed_logistic(0.1))",
        "in one micro-batch",
        micro_batches=1,
    ),
    equal(
        "DPO",
        'loss_type="aot_unpaired", beta=0.3',
        "methods.aot_unpaired(0.3)",
        "in one micro-batch",
        micro_batches=1,
    ),
    differs(
        "DPO",
        'loss_type="aot_unpaired", beta=0.3',
        "methods.aot_unpaired(0.3)",
        f.each(f.of("methods.aot_unpaired(0.3)")),
        "in two, as `aot`",
    ),
    equal(
        "DPO",
        'loss_type="aot_unpaired", label_smoothing=0.1, beta=0.3',
        "replace(methods.aot_unpaired(0.3), loss=losses.smoothed_logistic(0.1))",
        "in one micro-batch",
        micro_batches=1,
    ),
    differs(
        "DPO",
        'loss_type="apo_zero", beta=0.3',
        "methods.apo_zero(0.3)",
        f.plus("methods.apo_zero(0.3)", 1),
        "TRL adds 1; the gradient is the same",
    ),
    differs(
        "DPO",
        'loss_type="apo_down", beta=0.3',
        "methods.apo_down(0.3)",
        f.plus("methods.apo_down(0.3)", 1),
        "TRL adds 1; the gradient is the same",
    ),
    equal("DPO", 'loss_type="discopop", discopop_tau=0.1, beta=0.3', "methods.discopop(0.3, 0.1)"),
    refused(
        "DPO",
        'loss_type="discopop", discopop_tau=1.5, beta=0.3',
        "methods.discopop(0.3, 1.5)",
        f.whole(f.discopop(0.3, 1.5)),
        "at 1 and above e^-z is no longer bounded by its weight",
    ),
    differs(
        "DPO",
        'loss_type="sft", beta=0.3',
        "methods.dco_pass_at_n(1)",
        f.each(f.nll_per_token),
        f"{NLL}, ours per pair: -log p(y_w)",
    ),
    differs(
        "DPO",
        'loss_type="sft", beta=0.3',
        "replace(methods.dco_pass_at_n(1), margin=margins.chosen_mean_log_prob)",
        f.each(f.nll_per_token),
        f"{NLL}, ours per pair: -log p(y_w)/|y_w|",
    ),
    equal(
        "DPO",
        'loss_type="sft", beta=0.3',
        "replace(methods.dco_pass_at_n(1), margin=margins.chosen_mean_log_prob)",
        "in one micro-batch, and our file with the column `weight` = |y_w|",
        micro_batches=1,
        weighted=True,
    ),
    equal(
        "DPO",
        'loss_type="sigmoid_norm", beta=0.3',
        "methods.sigmoid_norm(0.3)",
        "`ln_dpo` by another name",
    ),
    differs(
        "DPO",
        'loss_type="sigmoid", label_smoothing=0.2, beta=0.3',
        "methods.cdpo(0.3, 0.2)",
        f.of("methods.dpo(0.3)"),
        "TRL ignores `label_smoothing` here, without a word: its loss is DPO's",
    ),
    equal(
        "DPO",
        'loss_type=["sigmoid", "bco_pair"], loss_weights=[0.8, 0.2], beta=0.3',
        f'Objective(name="both", parts=({DPO_PART}, {BCO_PART}))',
    ),
    differs(
        "DPO",
        'loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0], beta=0.3',
        f'Objective(name="three", parts=({DPO_PART}, {BCO_PART}, {SFT_PART}))',
        f.total(
            (0.8, f.of("methods.dpo(0.3)")),
            (0.2, f.of("methods.bco_pair(0.3)")),
            (1.0, f.each(f.nll_per_token)),
        ),
        "by `sft` only, as above",
    ),
    differs(
        "DPO",
        'loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0], beta=0.3',
        "methods.mpo(0.3, 0.8, 0.2, 1.0)",
        f.total(
            (0.8, f.of("methods.dpo(0.3)")),
            (0.2, f.of("methods.bco_pair(0.3)")),
            (1.0, f.each(f.nll_per_token)),
        ),
        "MPO: the paper's, here, has BCO's shift d over the step, and -log p(y_w)/|y_w| per pair",
    ),
    differs(
        "DPO",
        'loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], beta=0.3',
        "methods.rpo_sft(0.3, 0.5)",
        f.total((1.0, f.of("methods.dpo(0.3)")), (0.5, f.each(f.nll_per_token))),
        f"what became of `rpo_alpha`. {NLL}; ours is eta·beta·(-log p(y_w))",
    ),
    differs(
        "DPO",
        'loss_type="sigmoid", use_weighting=True, beta=0.3',
        "methods.wpo(0.3)",
        f.wpo(0.3),
        "TRL does not hold w(y_w)·w(y_l) at 1 or below, as the authors' code and ours do",
    ),
    equal(
        "DPO",
        'loss_type="sigmoid", use_weighting=True, beta=0.3',
        "methods.wpo(0.3)",
        "where no pair's w(y_w)·w(y_l) is above 1",
        policy="sharp",
    ),
    differs(
        "DPO",
        'loss_type="hinge", use_weighting=True, beta=0.3',
        "replace(methods.wpo(0.3), loss=losses.hinge)",
        FAILS,
        "TRL's backward pass fails: the loss was multiplied in place",
    ),
    refused(
        "DPO",
        'loss_type="sigmoid", beta=-0.1',
        "methods.dpo(-0.1)",
        f.swapped("methods.dpo(0.1)"),
        "TRL accepts it and prefers the rejected answers",
    ),
    refused(
        "DPO",
        'loss_type="sigmoid", beta=0.0',
        "methods.dpo(0.0)",
        lambda step: 0 * step.log_prob.sum() + math.log(2),
        "TRL accepts it and learns nothing: the loss is log 2",
    ),
    differs(
        "DPO",
        'loss_type="sigmoid", beta=0.3',
        "methods.dpo(0.3)",
        f.of("methods.dpo(0.3)"),
        "a model object and no `ref_model`: TRL compares with the weights on the disk it came from; here "
        "the reference is the policy as passed, and the first loss log 2",
        reference="not given",
    ),
    equal(
        "DPO",
        f'loss_type="sigmoid", {SYNC}, beta=0.3',
        "methods.tr_dpo(0.3, 0.6, 1)",
        "the first step; TRL's callback and `move_reference` blend alike after it, with or without "
        "other losses: `replace(..., reference_update=...)`",
    ),
]

DIVERGENCES = [
    equal(
        "DPO",
        'loss_type="sigmoid", f_divergence_type="forward_kl", beta=0.3',
        "methods.f_dpo(0.3, divergences.forward_kl)",
    ),
    differs(
        "DPO",
        'loss_type="sigmoid", f_divergence_type="forward_kl", beta=0.3',
        "methods.f_dpo(0.3, divergences.forward_kl)",
        NOT_FINITE,
        f"{FAR}: e^-u overflows and TRL's loss is NaN; ours goes on by its tangent beyond 60 nats",
        policy="far",
    ),
    equal(
        "DPO",
        'loss_type="sigmoid", f_divergence_type="js_divergence", beta=0.3',
        "methods.f_dpo_js(0.3)",
        "`f_dpo(2·beta, jensen_shannon)`: the paper's is twice the standard one",
    ),
    equal(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=0.5, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(0.5))",
        "`alpha(1 - coefficient)`",
    ),
    equal(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=0.2, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(0.8))",
    ),
    equal(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=-0.5, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(1.5))",
    ),
    equal(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=1.0, beta=0.3',
        "methods.dpo(0.3)",
        "at 1: the reverse KL",
    ),
    differs(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=1 - 2e-6, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(2e-6))",
        AWAY,
        "near 1 TRL's e^x - 1 is rounding error in float32; ours is not",
    ),
    differs(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=0.5, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(0.5))",
        f.whole(f.of_gap(f.logistic_of(0.3), f.alpha_slope(0.5))),
        f"{FAR}: TRL holds the exponent at 80, beyond which its gradient is 0; ours goes on by its "
        "tangent beyond 60 nats",
        policy="far",
    ),
    refused(
        "DPO",
        f'loss_type="sigmoid", {ALPHA}=1.5, beta=0.3',
        "methods.f_dpo(0.3, divergences.alpha(-0.5))",
        f.whole(f.of_gap(f.logistic_of(0.3), f.alpha_slope(1.5))),
        "above 1 f'(0) is finite, so that the optimum has no closed form and the loss no claim to it",
    ),
    equal(
        "DPO",
        'loss_type="hinge", f_divergence_type="forward_kl", beta=0.3',
        "replace(methods.hinge_norm(0.3), divergence=divergences.forward_kl)",
    ),
    equal(
        "DPO",
        'loss_type="exo_pair", label_smoothing=0.1, f_divergence_type="js_divergence", beta=0.3',
        "replace(methods.exo_pair(0.6, 0.1), divergence=divergences.jensen_shannon)",
        "twice beta, as above",
    ),
    equal(
        "DPO",
        f'loss_type="robust", label_smoothing=0.1, {ALPHA}=0.5, beta=0.3',
        "replace(methods.rdpo(0.3, 0.1), divergence=divergences.alpha(0.5))",
    ),
    equal(
        "DPO",
        'loss_type="discopop", discopop_tau=0.1, f_divergence_type="forward_kl", beta=0.3',
        "replace(methods.discopop(0.3, 0.1), divergence=divergences.forward_kl)",
    ),
    missing(
        "DPO",
        'loss_type="ipo", f_divergence_type="forward_kl", beta=0.3',
        f.per_token(f.ipo_of(0.3), f.forward_slope),
        "(f'(u_w)/|y_w| - f'(u_l)/|y_l| - 1/(2·beta))²: the margin per token reads no f'",
    ),
    missing(
        "DPO",
        'loss_type="sigmoid_norm", f_divergence_type="forward_kl", beta=0.3',
        f.per_token(f.logistic_of(0.3), f.forward_slope),
        "-log sigmoid(beta·(f'(u_w)/|y_w| - f'(u_l)/|y_l|)), likewise",
    ),
]

LENGTHS = [
    equal("DPO", 'loss_type="sigmoid", ld_alpha=0.4, beta=0.3', "methods.ld_dpo(0.3, 0.4)"),
    equal(
        "DPO",
        'loss_type="hinge", ld_alpha=0.4, beta=0.3',
        "replace(methods.ld_dpo(0.3, 0.4), loss=losses.hinge)",
    ),
    equal(
        "DPO",
        'loss_type="exo_pair", label_smoothing=0.1, ld_alpha=0.4, beta=0.3',
        "replace(methods.ld_dpo(0.3, 0.4), loss=losses.bernoulli_kl(0.1))",
    ),
    equal(
        "DPO",
        'loss_type="robust", label_smoothing=0.1, ld_alpha=0.4, beta=0.3',
        "replace(methods.ld_dpo(0.3, 0.4), loss=losses.debiased_logistic(0.1))",
    ),
    equal(
        "DPO",
        'loss_type="discopop", discopop_tau=0.1, ld_alpha=0.4, beta=0.3',
        "replace(methods.ld_dpo(0.3, 0.4), loss=losses.discopop_loss(0.1))",
    ),
    refused(
        "DPO",
        'loss_type="sigmoid", ld_alpha=1.5, beta=0.3',
        "methods.ld_dpo(0.3, 1.5)",
        f.desensitised(1.5, f.of_gap(f.logistic_of(0.3))),
        "TRL accepts an alpha outside [0, 1]",
    ),
    missing(
        "DPO",
        'loss_type="apo_zero", ld_alpha=0.4, beta=0.3',
        f.desensitised(0.4, f.apo_zero(0.3)),
        "TRL's `ld_alpha` acts in every loss but `sft`; here it is a margin of pairs, so that losses of "
        "single answers (`apo_*`, `bco_pair`, `nca_pair`, `sppo_hard`), of sorted ones (`aot*`) and per "
        "token (`ipo`, `sigmoid_norm`) have none",
    ),
    missing(
        "DPO",
        'loss_type="sigmoid", ld_alpha=0.4, f_divergence_type="forward_kl", beta=0.3',
        f.desensitised(0.4, f.of_gap(f.logistic_of(0.3), f.forward_slope)),
        "nor does that margin read an f'",
    ),
]

KTO = [
    equal(
        "KTO",
        'loss_type="kto", beta=0.3',
        "methods.kto(0.3)",
        "in one micro-batch, z of the same answers under other prompts",
        micro_batches=1,
        mismatched="theirs",
    ),
    equal(
        "KTO",
        'loss_type="kto", desirable_weight=1.5, undesirable_weight=0.5, beta=0.3',
        "methods.kto(0.3, 1.5, 0.5)",
        "likewise",
        micro_batches=1,
        mismatched="theirs",
    ),
    differs(
        "KTO",
        'loss_type="kto", beta=0.3',
        "methods.kto(0.3)",
        f.each(f.rotated(f.of("methods.kto(0.3)"))),
        "in two, z of the same answers: TRL's z is of each micro-batch, ours of the step; TRL's is the "
        "mean of ours on each",
        mismatched="theirs",
    ),
    differs(
        "KTO",
        'loss_type="kto", beta=0.3',
        "methods.kto(0.3)",
        f.rotated(f.of("methods.kto(0.3)")),
        "in one, z of other answers: TRL puts the answer of the row before under each prompt, in a "
        "circle within the micro-batch, also where that row has the same prompt; ours is of the next row "
        "with another prompt, in a circle of the whole file",
        micro_batches=1,
    ),
    equal("KTO", 'loss_type="apo_zero_unpaired", beta=0.3', "methods.apo_zero_unpaired(0.3)"),
    equal(
        "KTO",
        'loss_type="apo_zero_unpaired", desirable_weight=1.5, undesirable_weight=0.5, beta=0.3',
        "replace(methods.kto(0.3, 1.5, 0.5), margin=margins.labelled_log_ratio)",
        "weights are `kto`'s",
    ),
    equal(
        "KTO",
        f'loss_type="apo_zero_unpaired", {SYNC}, beta=0.3',
        "replace(methods.apo_zero_unpaired(0.3), "
        "reference_update=methods.tr_dpo(0.3, 0.6, 1).reference_update)",
        "as in DPO",
    ),
]

MEAN_IPO = "margin=replace(margins.mean_log_prob_gap, constant=0.5), loss=losses.squared(unit=0.3)"

BENT_IPO = (
    "margin=replace(margins.bent_log_prob_gap(0.25), constant=0.5), loss=losses.squared(unit=0.3)"
)

CPO = [
    equal(
        "CPO",
        'loss_type="sigmoid", cpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=())",
        "no likelihood",
    ),
    differs(
        "CPO",
        'loss_type="sigmoid", cpo_alpha=0.5, beta=0.3',
        "methods.cpo(0.3, 0.5)",
        f.total((1.0, f.term("methods.cpo(0.3, 0.5)", "loss")), (0.5, f.each(f.nll_per_token))),
        f"{NLL}, ours per pair: -alpha·log p(y_w), as in the paper",
    ),
    equal(
        "CPO",
        'loss_type="sigmoid", cpo_alpha=0.5, beta=0.3',
        "methods.cpo(0.3, 0.5 / 5.875)",
        "in one micro-batch, where 5.875 is the chosen answers' mean number of tokens",
        micro_batches=1,
    ),
    equal(
        "CPO",
        'loss_type="sigmoid", label_smoothing=0.1, cpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=(), loss=losses.smoothed_logistic(0.1))",
    ),
    equal(
        "CPO",
        'loss_type="hinge", cpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=(), loss=losses.hinge)",
        "`slic_hf` has delta in nats for beta, and a likelihood",
    ),
    equal(
        "CPO",
        'loss_type="ipo", cpo_alpha=0.0, beta=0.3',
        f"replace(methods.cpo(0.3), also=(), {MEAN_IPO})",
        "per token and without a reference: neither `ipo` nor `ipo_length_normalised`",
    ),
    equal(
        "CPO",
        'loss_type="simpo", simpo_gamma=0.5, cpo_alpha=0.0, beta=2.0',
        "methods.simpo(2.0, 0.5)",
    ),
    differs(
        "CPO",
        'loss_type="simpo", simpo_gamma=0.5, beta=2.0',
        "methods.simpo(2.0, 0.5)",
        f.total((1.0, f.of("methods.simpo(2.0, 0.5)")), (1.0, f.each(f.nll_per_token))),
        "TRL adds the likelihood unless `cpo_alpha` is 0; its default is 1",
    ),
    equal(
        "CPO",
        'loss_type="simpo", simpo_gamma=0.5, label_smoothing=0.1, cpo_alpha=0.0, beta=2.0',
        "replace(methods.simpo(2.0, 0.5), loss=losses.smoothed_logistic(0.1))",
    ),
    equal(
        "CPO",
        'loss_type="alphapo", alpha=0.25, simpo_gamma=0.5, beta=2.0',
        "methods.alpha_po(2.0, 0.5, 0.25)",
    ),
    equal(
        "CPO",
        'loss_type="alphapo", simpo_gamma=0.5, beta=2.0',
        "methods.simpo(2.0, 0.5)",
        "TRL's default alpha of 0: SimPO",
    ),
    equal(
        "CPO",
        'loss_type="ipo", alpha=0.25, cpo_alpha=0.0, beta=0.3',
        f"replace(methods.cpo(0.3), also=(), {BENT_IPO})",
    ),
    missing(
        "CPO",
        'loss_type="sigmoid", alpha=0.05, cpo_alpha=0.0, beta=0.3',
        f.bent_whole(0.3, 0.05),
        "`alpha` with `sigmoid` or `hinge` bends the log-prob of whole answers, (1 - p(y)^-a)/a, which "
        "overflows for all but short ones; the margin here is per token, as in the paper",
    ),
]

ORPO = [
    differs(
        "ORPO",
        "beta=0.3",
        "methods.orpo(0.3)",
        f.total((1.0, f.each(f.nll_with_prompt)), (0.3, f.term("methods.orpo(0.3)", "odds_ratio"))),
        "the odds ratio is equal; TRL's likelihood runs over prompt and answer, as one mean over the "
        "tokens of a micro-batch. Ours is -log p(y_w)/|y_w| per pair, as in the paper. TRL's `beta` is "
        "lam",
    )
]

GOLD = (
    "TRL's likelihood of the gold answer is one mean over the gold tokens of a micro-batch, ours per "
    "row: -alpha·log p(y_gold), as in the paper. Its column is `gold` here, or `reference` as there"
)
TPO_IPO = f"replace(methods.tpo(0.3, 0.5), {MEAN_IPO})"

TPO = [
    equal(
        "TPO",
        'loss_type="sigmoid", tpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=())",
        "no gold answers; as CPO without likelihood",
    ),
    equal(
        "TPO",
        'loss_type="sigmoid", label_smoothing=0.1, tpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=(), loss=losses.smoothed_logistic(0.1))",
    ),
    equal(
        "TPO",
        'loss_type="hinge", tpo_alpha=0.0, beta=0.3',
        "replace(methods.cpo(0.3), also=(), loss=losses.hinge)",
    ),
    equal(
        "TPO",
        'loss_type="ipo", tpo_alpha=0.0, beta=0.3',
        f"replace(methods.cpo(0.3), also=(), {MEAN_IPO})",
    ),
    equal(
        "TPO",
        'loss_type="tpo-l", tpo_l_gamma=0.5, tpo_alpha=0.0, beta=2.0',
        "methods.simpo(2.0, 0.5)",
        "TPO-L without gold answers is SimPO",
    ),
    equal(
        "TPO",
        'loss_type="tpo-l", tpo_l_gamma=0.5, label_smoothing=0.1, tpo_alpha=0.0, beta=2.0',
        "replace(methods.simpo(2.0, 0.5), loss=losses.smoothed_logistic(0.1))",
    ),
    differs(
        "TPO",
        'loss_type="sigmoid", tpo_alpha=0.5, beta=0.3',
        "methods.tpo(0.3, 0.5)",
        f.with_gold(0.5, "methods.tpo(0.3, 0.5)"),
        GOLD,
    ),
    equal(
        "TPO",
        'loss_type="sigmoid", tpo_alpha=0.5, beta=0.3',
        "methods.tpo(0.3, 0.5 / 7.5)",
        "in one micro-batch, where 7.5 is the gold answers' mean number of tokens",
        micro_batches=1,
    ),
    differs(
        "TPO",
        'loss_type="hinge", tpo_alpha=0.5, beta=0.3',
        "replace(methods.tpo(0.3, 0.5), loss=losses.hinge)",
        f.with_gold(0.5, "replace(methods.tpo(0.3, 0.5), loss=losses.hinge)"),
        "by the likelihood, as above",
    ),
    differs(
        "TPO",
        'loss_type="ipo", tpo_alpha=0.5, beta=0.3',
        TPO_IPO,
        f.with_gold(0.5, TPO_IPO),
        "likewise",
    ),
    differs(
        "TPO",
        'loss_type="tpo-l", tpo_l_gamma=0.5, tpo_alpha=0.5, beta=2.0',
        "methods.tpo_l(2.0, 0.5, 0.5)",
        f.with_gold(0.5, "methods.tpo_l(2.0, 0.5, 0.5)"),
        "likewise",
    ),
    equal(
        "TPO",
        'loss_type="tpo-l", tpo_l_gamma=0.5, tpo_alpha=0.5, beta=2.0',
        "methods.tpo_l(2.0, 0.5, 0.5 / 7.5)",
        "in one micro-batch, as `tpo`",
        micro_batches=1,
    ),
]

SECTIONS = {
    "DPO": DPO,
    "DPO under another divergence": DIVERGENCES,
    "DPO with `ld_alpha`": LENGTHS,
    "KTO": KTO,
    "CPO": CPO,
    "ORPO": ORPO,
    "TPO": TPO,
}

CASES = [case for cases in SECTIONS.values() for case in cases]

ABSENT = {
    "router_aux_loss_coef": "the load-balancing loss of a mixture of experts, which TRL's DPO and "
    "KTO add by default where the model's config has a coefficient",
}

"""Options that act on what is trained, and have neither a counterpart nor a row above."""

NOT_OF_THE_LOSS = {
    "activation_offloading",
    "dataset_num_proc",
    "disable_dropout",
    "generate_during_eval",
    "is_encoder_decoder",
    "learning_rate",
    "max_completion_length",
    "max_length",
    "model_init_kwargs",
    "pad_to_multiple_of",
    "pad_token",
    "padding_free",
    "padding_value",
    "precompute_ref_batch_size",
    "precompute_ref_log_probs",
    "train_sampling_strategy",
    "truncation_mode",
    "trust_remote_code",
}

"""Options of TRL's configs that leave a batch's loss as it is."""
