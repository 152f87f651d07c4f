"""One threshold for all classes: how differently it serves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadConfig, BadData, same_length, within_closed

Utility = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def f1(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor, /) -> Tensor:
    """2·tp/(2·tp + fp + fn), in [0, 1]: harmonic mean of precision and recall; 0 without matches.

    >>> f1(*torch.tensor([1.0, 1.0, 1.0, 0.0]))
    tensor(0.5000)
    """
    return 2 * tp / (2 * tp + fp + fn)


def sensitivity_specificity(tp: Tensor, fp: Tensor, fn: Tensor, tn: Tensor, /) -> Tensor:
    """Harmonic mean of tp/(tp + fn) and tn/(tn + fp), in [0, 1]; 0 where both are 0.

    It does not depend on the share of matches, which differs between classes. Source: zhang:24b.

    >>> sensitivity_specificity(*torch.tensor([1.0, 1.0, 1.0, 1.0]))
    tensor(0.5000)
    """
    found, kept = tp / (tp + fn), tn / (tn + fp)
    total = found + kept
    return torch.where(total > 0, 2 * found * kept / torch.where(total > 0, total, 1.0), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UtilityCurves:
    """U_c(d), the utility of class c at threshold d: step functions, right-continuous, in float64.

    step: sorted distances at which a curve may jump. value[:, 0] holds below the first step, and
    value[:, k] from step[k - 1] up to, not including, step[k].
    """

    step: Float[Tensor, " step"]
    value: Float[Tensor, "class piece"]

    def at(self, threshold: Float[Tensor, " threshold"], /) -> Float[Tensor, "class threshold"]:
        """U_c at each threshold."""
        return self.value[:, torch.searchsorted(self.step, threshold.double(), right=True)]

    def pieces(
        self, low: float, high: float
    ) -> tuple[Float[Tensor, " piece"], Float[Tensor, " piece"], Float[Tensor, "class piece"]]:
        """(start, length, utility) of the pieces within [low, high]; BadConfig unless low < high."""
        _range(low, high)
        inner = self.step[(self.step > low) & (self.step < high)]
        ends = torch.cat([inner.new_tensor([low]), inner, inner.new_tensor([high])])
        return ends[:-1], ends.diff(), self.at(ends[:-1])


def utility_curves(
    distance: Float[Tensor, " pair"],
    match: Bool[Tensor, " pair"],
    owner: Int[Tensor, " pair"],
    *,
    utility: Utility = sensitivity_specificity,
) -> UtilityCurves:
    """U_c(d) of every class when pairs of distance <= d are called matches.

    distance: of each pair (of a similarity give the negative). match: whether the pair is one. owner:
    class of the pair, 0 to classes - 1; a pair of two classes is listed under both. utility: of the
    counts (true and false matches, missed matches, true rejections), e.g. `f1`.

    Errors: BadData unless distances are finite and each class has pairs that match and that do not.
    Source: zhang:24b.

    >>> d, match = torch.tensor([0.2, 0.8, 0.4, 0.6]), torch.tensor([True, False, True, False])
    >>> utility_curves(d, match, torch.tensor([0, 0, 1, 1])).at(torch.tensor([0.1, 0.3, 0.5])).tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """
    same_length(distance=len(distance), match=len(match), owner=len(owner))
    if not distance.isfinite().all():
        raise BadData("distances must be finite")
    classes = int(owner.max()) + 1
    step, place = distance.double().unique(return_inverse=True)

    def reached(of: Tensor) -> Tensor:
        """Pairs of each class with distance <= each step; [class, piece], the first piece empty."""
        table = torch.zeros(classes, len(step) + 1, dtype=torch.float64, device=distance.device)
        table.index_put_((owner[of], place[of] + 1), table.new_ones(()), accumulate=True)
        return table.cumsum(1)

    tp, fp = reached(match), reached(~match)
    if not ((tp[:, -1] > 0) & (fp[:, -1] > 0)).all():
        raise BadData(
            "each class from 0 to the largest owner needs pairs that match and pairs that do not: "
            "leave out classes without, and number the others anew"
        )
    return UtilityCurves(step=step, value=utility(tp, fp, tp[:, -1:] - tp, fp[:, -1:] - fp))


def opis(
    curves: UtilityCurves, low: float, high: float, *, trapezoid: int | None = None
) -> Float[Tensor, " class"]:
    """∫ (U_c(d) - mean_c U(d))² dd over [low, high], divided by high - low, of each class.

    The mean of the result is the operating-point-inconsistency score, in [0, ¼] for utilities in
    [0, 1]; its largest entries name the classes that a shared threshold serves unlike the others. The
    integral of the step functions is exact; `trapezoid`: the trapezoidal rule at that many evenly
    spaced thresholds instead, as far as published numbers rest on a grid.

    A small score says that the classes are served alike, not well: see `shared_threshold`.

    Errors: BadConfig unless low < high, and for fewer than two thresholds. Source: zhang:24b; read in
    descriptions of it, not in the paper itself, whose variant for the worst classes is not offered.

    >>> curves = UtilityCurves(
    ...     step=torch.tensor([0.5]).double(), value=torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double()
    ... )
    >>> opis(curves, 0.0, 1.0)
    tensor([0.1250, 0.1250], dtype=torch.float64)
    """
    if trapezoid is None:
        _, length, value = curves.pieces(low, high)
        return ((value - value.mean(0)).square() * length).sum(1) / length.sum()
    if trapezoid < 2:
        raise BadConfig(f"trapezoid must be at least 2 thresholds, got {trapezoid}")
    _range(low, high)
    d = torch.linspace(low, high, trapezoid, dtype=torch.float64, device=curves.step.device)
    value = curves.at(d)
    return torch.trapezoid((value - value.mean(0)).square(), d) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedThreshold:
    """The best threshold for all classes, and what it costs against one for each.

    threshold: a point of [low, high] with the largest mean utility (the first such piece's start).
    utility [class]: there. own [class]: the largest utility of each class anywhere in the range.
    """

    threshold: float
    utility: Float[Tensor, " class"]
    own: Float[Tensor, " class"]

    @property
    def price(self) -> float:
        """mean own - mean utility >= 0: what one threshold costs; 0 iff one is best for every class."""
        return float((self.own - self.utility).mean())


def shared_threshold(curves: UtilityCurves, low: float, high: float) -> SharedThreshold:
    """argmax_d mean_c U_c(d) over [low, high), and each class's own maximum: exact for steps.

    Errors: BadConfig unless low < high.

    >>> d, match = torch.tensor([0.2, 0.8, 0.4, 0.6]), torch.tensor([True, False, True, False])
    >>> best = shared_threshold(utility_curves(d, match, torch.tensor([0, 0, 1, 1])), 0.0, 1.0)
    >>> round(best.threshold, 6), best.price
    (0.4, 0.0)
    """
    start, _, value = curves.pieces(low, high)
    best = int(value.mean(0).argmax())
    return SharedThreshold(threshold=float(start[best]), utility=value[:, best], own=value.amax(1))


def threshold_at_false_match_rate(
    distance: Float[Tensor, " pair"], match: Bool[Tensor, " pair"], rate: float
) -> float:
    """The least distance of a non-matching pair at which their share within it reaches `rate`.

    Two rates (the paper's kind of calibration range: a low and a high one) give `low` and `high` of
    `opis`. Pairs of two classes count once here.

    Errors: BadData without a non-matching pair; BadConfig for rates outside [0, 1]. Source: zhang:24b.

    >>> threshold_at_false_match_rate(torch.tensor([1.0, 2.0, 3.0, 0.5]), torch.arange(4) == 3, 0.5)
    2.0
    """
    within_closed("rate", rate, 0.0, 1.0)
    other = distance[~match].double().sort().values
    if not len(other) or not other.isfinite().all():
        raise BadData("a false match rate needs pairs that do not match, of finite distance")
    share = torch.arange(1, len(other) + 1, dtype=torch.float64, device=other.device) / len(other)
    return float(other[int((share < rate).sum())])


def _range(low: float, high: float) -> None:
    if not -float("inf") < low < high < float("inf"):
        raise BadConfig(f"a calibration range needs finite low < high, got {low!r} and {high!r}")
