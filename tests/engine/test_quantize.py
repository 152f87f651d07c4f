"""QLoRA: on 4-bit layers the engine computes what transformers does, forward and backward."""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from collimate import _bitsandbytes
from collimate._bitsandbytes import hidden, load_bitsandbytes
from collimate._checks import BadConfig, BadModel, MissingExtra
from collimate._types import Example
from collimate.engine.check import check_layout
from collimate.engine.evaluate import pack
from collimate.engine.fingerprint import model_fingerprint, weights_hash
from collimate.engine.load import add_lora, load_model
from collimate.engine.model import LogProbModel
from collimate.engine.quantize import (
    Quantization,
    compute_dtype,
    entries,
    is_quantized,
    quantization_of,
)
from tests.engine.tiny import model_of, pairs

ARCHITECTURES = ("llama", "llama_tied", "qwen2", "gemma2", "gpt2")  # biases, soft-caps, Conv1D
CPU = torch.device("cpu")
MAPS = Path("/proc/self/maps")
NF4 = Quantization(kind="nf4", compute=torch.float32, device=CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a random model that has opinions, whatever its architecture."""
    root = tmp_path_factory.mktemp("models")

    def find(name: str) -> Path:
        if not (root / name).exists():
            model_of(name, factor=3.0).save_pretrained(root / name)
        return root / name

    return find


def plain_log_probs(model: nn.Module, examples: list[Example]) -> Tensor:
    """One row per answer, one forward pass each, whole logits."""
    found: list[Tensor] = []
    for example in examples:
        for answer in example.answers:
            ids = torch.tensor([[*example.prompt, *answer.ids]])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt) - 1 : -1]
            target = torch.as_tensor(answer.ids)[:, None]
            found.append(logits.float().log_softmax(-1).gather(1, target)[:, 0])
    return torch.cat(found)


def adapted(model: nn.Module) -> nn.Module:
    """With an adapter that is no longer zero."""
    model = add_lora(model, rank=4)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    return model


def slopes(model: nn.Module, values: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_log_probs_and_gradients_are_those_of_the_whole_logits(
    name: str, folder: Callable[[str], Path]
) -> None:
    model = load_model(folder(name), quantization=NF4)
    assert check_layout(model, longest=40, gradients="none").shared
    examples = pairs(6)
    model = adapted(model).eval()
    expected = plain_log_probs(model, examples)
    wanted = slopes(model, expected)
    assert wanted
    assert all("lora" in name for name in wanted)
    largest = max(gradient.abs().max() for gradient in wanted.values())
    for recompute in (False, True):
        engine = LogProbModel(model, shared=True, recompute=recompute)
        (values,) = engine(pack(engine, examples))
        assert (values - expected).abs().max() < 1e-4
        found = slopes(model, values)
        assert found.keys() == wanted.keys()
        assert max((found[n] - wanted[n]).abs().max() for n in wanted) < 1e-4 * largest


def test_a_zero_adapter_changes_no_bit(folder: Callable[[str], Path]) -> None:
    """So that every log-ratio to the policy as passed is 0 at the start."""
    examples = pairs(6)
    model = load_model(folder("llama"), quantization=NF4)
    engine = LogProbModel(model, shared=True)
    with torch.no_grad():
        (before,) = engine(pack(engine, examples))
    engine = LogProbModel(add_lora(model, rank=4), shared=True)
    (after,) = engine(pack(engine, examples))
    assert after.requires_grad
    assert torch.equal(before, after)


def test_linear_layers_alone_are_quantised(folder: Callable[[str], Path]) -> None:
    plain, model = load_model(folder("llama")), load_model(folder("llama"), quantization=NF4)
    assert (is_quantized(plain), quantization_of(plain)) == (False, None)
    assert (is_quantized(model), quantization_of(model)) == (True, "nf4")
    functional = load_bitsandbytes().functional
    before = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        assert entries(parameter) == before[name].numel()
        if "_proj" not in name:
            assert torch.equal(parameter, before[name])
            continue
        assert parameter.dtype == torch.uint8
        assert parameter.numel() * 2 == before[name].numel()
        again = functional.dequantize_4bit(parameter.data, parameter.quant_state)
        largest = before[name].abs().max()
        assert 0 < (again - before[name]).abs().max() < 0.2 * largest  # the widest gap is 0.30


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not list what is mapped")
def test_the_file_is_let_go(folder: Callable[[str], Path]) -> None:
    """Else its pages, read once, would count beside the 4-bit weights made of them."""
    path = folder("llama_tied") / "model.safetensors"
    model = load_model(path.parent, quantization=NF4)
    gc.collect()
    assert str(path) not in MAPS.read_text()
    assert quantization_of(model) == "nf4"


def test_the_fingerprint_is_of_the_numbers_computed_with(folder: Callable[[str], Path]) -> None:
    named: dict[str, Any] = {"layout": "shared", "precision": "fp32"}
    model = load_model(folder("llama"), quantization=NF4)
    found, weights = model_fingerprint(model, **named), weights_hash(model)
    plain_log_probs(model, pairs(2))
    assert model_fingerprint(model, **named) == found
    again = load_model(folder("llama"), quantization=NF4)
    assert model_fingerprint(again, **named) == found
    plain = load_model(folder("llama"))
    assert weights_hash(plain) != weights
    assert model_fingerprint(plain, **named, weights=weights) != found
    half = Quantization(kind="nf4", compute=torch.bfloat16, device=CPU)
    other = load_model(folder("llama"), quantization=half)
    assert (compute_dtype(other), compute_dtype(model)) == (torch.bfloat16, torch.float32)
    assert weights_hash(other) == weights
    assert model_fingerprint(other, **named) != found


def test_a_bias_is_what_the_first_pass_would_make_it(folder: Callable[[str], Path]) -> None:
    """A 4-bit layer rounds its bias in place, and a hash taken before would be of another model."""
    half = Quantization(kind="nf4", compute=torch.bfloat16, device=CPU)
    model = load_model(folder("qwen2"), quantization=half)
    before = weights_hash(model)
    plain_log_probs(model, pairs(2))
    assert weights_hash(model) == before


class TestRefused:
    def test_a_model_object_is_taken_as_it_is(self) -> None:
        with pytest.raises(BadConfig, match="leave out quantize and load it with transformers"):
            load_model(model_of("llama"), quantization=NF4)

    def test_weights_that_are_quantised_already(
        self, folder: Callable[[str], Path], tmp_path: Path
    ) -> None:
        model: Any = load_model(folder("llama"), quantization=NF4)
        model.save_pretrained(tmp_path / "packed")
        again = load_model(tmp_path / "packed")
        assert quantization_of(again) == "nf4"
        assert weights_hash(again) == weights_hash(model)
        with pytest.raises(BadConfig, match="quantised already: leave out quantize"):
            load_model(tmp_path / "packed", quantization=NF4)

    def test_eight_bit_layers(self, folder: Callable[[str], Path]) -> None:
        eight = AutoModelForCausalLM.from_pretrained(
            folder("llama"),
            dtype=torch.float32,
            quantization_config=BitsAndBytesConfig(load_in_8bit=True),
            device_map={"": CPU},
        )
        with pytest.raises(BadModel, match=r"8-bit \(LLM.int8\).*depend on its neighbours"):
            load_model(eight)

    def test_why_eight_bit_layers_are(self) -> None:
        """An outlier of one token changes the numbers of another; 4-bit layers do not do that."""
        layers = load_bitsandbytes().nn
        torch.manual_seed(0)
        eight = layers.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False, threshold=6.0)
        four = layers.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        tokens = torch.randn(2, 64)
        tokens[1, 7] = 8.0
        gaps = {}
        for name, layer in (("eight", eight), ("four", four)):
            layer.to(CPU).eval()
            gaps[name] = (layer(tokens)[0] - layer(tokens[:1])[0]).abs().max()
        assert gaps["eight"] > 1e-4
        assert gaps["four"] < 1e-6

    def test_layers_that_pass_no_gradient(self, folder: Callable[[str], Path]) -> None:
        model = load_model(folder("llama"), quantization=NF4)
        layers = [module for module in model.modules() if hasattr(module, "quant_state")]
        assert not any(layer.support_avx512bf16_for_cpu for layer in layers)  # none will repack
        layers[3].quant_state.packing_format_for_cpu = True  # type: ignore[union-attr]
        with pytest.raises(BadModel, match="pass no gradient back"):
            load_model(model)

    def test_a_missing_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(MissingExtra, match=r'pip install "collimate\[quantize\]"'):
            NF4.require_runs()

    def test_a_device_without_kernels_of_its_own(self) -> None:
        apple = Quantization(kind="nf4", compute=torch.float32, device=torch.device("mps"))
        with pytest.raises(BadConfig, match=r"quantize nf4 cannot run on 'mps'.*cuda and cpu only"):
            apple.require_runs()

    def test_a_library_that_does_not_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        NF4.require_runs()

        def broken(*_: object, **__: object) -> NoReturn:
            raise RuntimeError("no kernel image\nand more")

        monkeypatch.setattr(load_bitsandbytes().nn, "Linear4bit", broken)
        with pytest.raises(
            BadConfig, match=r"this machine's 'cpu'.*\(no kernel image\).*--quantize"
        ):
            NF4.require_runs()


class TestImport:
    def test_a_hidden_package_is_back_afterwards(self) -> None:
        with hidden("wave"), pytest.raises(ImportError):
            importlib.import_module("wave")
        with hidden("json"), pytest.raises(ImportError):  # although it is here already
            importlib.import_module("json")
        assert importlib.import_module("json") is json
        assert importlib.import_module("wave").__name__ == "wave"

    def test_no_kernels_are_fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[object] = []

        class Spy:
            def find_spec(self, name: str, *_: object) -> None:
                if name == "bitsandbytes":
                    seen.append(sys.modules.get("kernels", "could be imported"))

        monkeypatch.setattr(_bitsandbytes, "require_extra", lambda *_: None)
        monkeypatch.setattr(sys, "meta_path", [Spy()])  # which finds nothing
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        monkeypatch.delitem(sys.modules, "bitsandbytes")
        with pytest.raises(ModuleNotFoundError):
            load_bitsandbytes()
        assert "kernels" not in sys.modules
        there = ModuleType("kernels")  # as transformers imports it where it is installed
        monkeypatch.setitem(sys.modules, "kernels", there)
        with pytest.raises(ModuleNotFoundError):
            load_bitsandbytes()
        assert sys.modules["kernels"] is there
        assert seen == [None, None]

    def test_it_waits_until_it_is_needed(self) -> None:
        code = (
            "import sys, collimate.engine.load, collimate.jobs.settings, collimate.optim\n"
            "assert not {'peft', 'bitsandbytes'} & sys.modules.keys()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
