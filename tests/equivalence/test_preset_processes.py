"""Two processes compute and train as one: labelled answers, lists, signals, references as models."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from collimate.engine.processes import ALONE
from tests.engine.tiny import difference
from tests.equivalence.preset_worker import COUNTS, METHODS, RUNS, run, steps
from tests.equivalence.runs import metrics_of, record_of
from tests.equivalence.test_processes import launched

pytestmark = pytest.mark.slow

PARALLEL = ("ddp", "fsdp2")
REFUSED = [("sparse_po", "fsdp2"), ("tr_dpo", "fsdp2")]
SERVED = [one for name in RUNS for parallel in PARALLEL if (one := (name, parallel)) not in REFUSED]


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return dict(steps(ALONE))


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    for done in launched(2, "tests.equivalence.preset_worker", str(out)):
        assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one")
    for name in RUNS:
        run(out, name, "ddp")
    return out


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_step_has_the_loss_and_the_gradients_of_one_process(
    parallel: str, name: str, count: int, alone: dict[str, Tensor], together: Path
) -> None:
    place = f"{name} {count} "
    expected = {k: v for k, v in alone.items() if k.startswith(place)}
    found = {
        k.removeprefix(f"{parallel} "): v
        for k, v in load_file(together / "steps.safetensors").items()
        if k.startswith(f"{parallel} {place}")
    }
    assert found.keys() == expected.keys()
    loss = f"{place}loss"
    assert found.pop(loss).item() == pytest.approx(expected.pop(loss).item(), rel=1e-6)
    assert any(gradient.abs().max() > 0 for gradient in expected.values())
    assert difference(found, expected) <= 1e-6


@pytest.mark.parametrize(("name", "parallel"), SERVED)
def test_a_run_is_that_of_one_process(
    name: str, parallel: str, single: Path, together: Path
) -> None:
    one, two = single / f"{name} ddp", together / f"{name} {parallel}"
    for line, expected in zip(metrics_of(two), metrics_of(one), strict=True):
        assert line.keys() == expected.keys()
        for key, value in expected.items():
            if (line["step"], key) == (1, "reward_accuracy"):
                continue  # every log-ratio is 0 but for rounding: whose sign it has is chance
            assert line[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
    for when in ("before", "after"):
        found, wanted = (record_of(folder)["evaluation"][when]["loss"] for folder in (two, one))
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert record_of(two)["machine"]["processes"] == 2
    (path,) = (one / "model").glob("*.safetensors")
    expected, found = load_file(path), load_file(two / "model" / path.name)
    for key, tensor in expected.items():  # Adam: signs of rounding
        assert (found[key] - tensor).abs().max() < 1e-2 * max(tensor.abs().max(), 1e-3)


def test_what_moves_or_learns_beside_the_policy_is_refused_where_it_would_be_sharded(
    together: Path,
) -> None:
    paths = sorted(together.glob("*.refused"))
    assert [path.stem for path in paths] == [" ".join(one) for one in REFUSED]
    for path in paths:
        assert "is not sharded: use --parallel ddp" in path.read_text(encoding="utf-8")
