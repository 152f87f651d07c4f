"""`--method`: a preset by name, or something from the user's own file."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from collimate import methods
from collimate._checks import BadComposition, BadConfig, CollimateError, nearest
from collimate._types import PairLogProbs
from collimate.axes import Method as AnyMethod
from collimate.cli._values import bind
from collimate.compose import Method, Objective


def resolve(name: str, parameters: Mapping[str, Any]) -> AnyMethod | Objective:
    """The method called `name`, with its parameters.

    A preset, `dpo`; or `my_file.py:thing`, where thing is a function of pairs (its first parameter;
    further ones are the method's), a `Method` or `Objective`, or a function without a required
    parameter that returns one of these.
    Errors: BadConfig for unknown names and parameters and files that cannot be read or imported;
    BadComposition for a function that does not return one value per pair.
    """
    if ".py" in name:
        return _from_file(name, parameters)
    return bound(preset(name), name, parameters)


def preset(name: str) -> Callable[..., Method]:
    """The preset of that name. Errors: BadConfig for an unknown one, with the nearest."""
    if name not in methods.__all__:
        raise BadConfig(
            f"unknown method '{name}'; known: {', '.join(methods.__all__)}, and your own as "
            f"my_file.py:function{nearest(name, methods.__all__)}"
        )
    return getattr(methods, name)


def bound(function: Callable[..., Method], name: str, parameters: Mapping[str, Any]) -> Method:
    """The preset called with parameters. Errors: as `resolve`."""
    return function(**bind(f"method '{name}'", function, parameters))


def _from_file(name: str, parameters: Mapping[str, Any]) -> AnyMethod | Objective:
    file, _, attribute = name.rpartition(":")
    if not file:
        raise BadConfig(
            f"a method of your own is given as FILE.py:NAME, got '{name}' without the name"
        )
    path = Path(file)
    module = _module(path)
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        defined = f"it defines {', '.join(known)}" if known else "it defines no function"
        raise BadConfig(f"{path} has no '{attribute}'; {defined}{nearest(attribute, known)}")
    with _User(name):
        method = _method(name, getattr(module, attribute), parameters)
        if not isinstance(method, Objective):
            _try_out(method)
    return method


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadConfig(f"there is no method file {path}: check the path in --method FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(f"collimate_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise BadConfig(f"{path} is no Python file: a method file's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name; what lies beside the file can be imported from it.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with _User(str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(path.resolve().parent))
    return module


def _method(name: str, thing: Any, parameters: Mapping[str, Any]) -> AnyMethod | Objective:
    if not inspect.isclass(thing) and isinstance(thing, AnyMethod | Objective):
        if parameters:
            raise BadConfig(
                f"'{name}' is a finished method and takes no parameters: set them in the file"
            )
        return thing
    if not callable(thing):
        raise BadConfig(
            f"'{name}' must be a function of PairLogProbs, a Method or an Objective, got "
            f"{type(thing).__name__}"
        )
    if _required(name, thing) == 0:
        made = thing(**bind(f"'{name}'", thing, parameters))
        if isinstance(made, AnyMethod | Objective) and not inspect.isclass(made):
            return made
        raise BadConfig(
            f"'{name}' has no required parameter, so it must return a Method or an Objective, got "
            f"{type(made).__name__}; a loss takes PairLogProbs as its first parameter"
        )
    given = bind(f"'{name}'", thing, parameters, skip=1)
    with_parameters: Any = functools.partial(thing, **given)
    functools.update_wrapper(with_parameters, thing)  # its name is the method's
    return Method.of(with_parameters)


def _required(name: str, function: Callable[..., Any]) -> int:
    parameters = list(inspect.signature(function).parameters.values())
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    if required and required[0] is not parameters[0]:
        raise BadConfig(f"'{name}' must take PairLogProbs as its first parameter")
    return len(required)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _try_out(method: AnyMethod) -> None:
    """Call a pair method once on made-up pairs, so that a wrong one fails before anything loads."""
    if method.needs.view != "pairs":
        return

    def values(first: float, second: float) -> torch.Tensor:
        return torch.tensor([first, second])

    pairs = PairLogProbs(
        policy_chosen=values(-9.0, -4.0).requires_grad_(),
        policy_rejected=values(-8.0, -6.0).requires_grad_(),
        reference_chosen=values(-9.0, -5.0),
        reference_rejected=values(-7.0, -6.0),
        chosen_tokens=values(3.0, 2.0),
        rejected_tokens=values(4.0, 2.0),
        columns={"weight": values(1.0, 1.0), "margin": values(1.0, 0.0)},
    )
    try:
        method(pairs)
    except KeyError:
        return  # it may read columns that made-up pairs lack
    except AttributeError as error:
        if "NoneType" not in str(error):  # it may read tokens, which made-up pairs lack
            raise


class _User:
    """Within it, whatever the user's own code raises becomes an error with its file and line."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Translate the error."""
        if error is None or isinstance(error, CollimateError) or not isinstance(error, Exception):
            return
        if isinstance(error, SyntaxError):
            raise BadConfig(
                f"{error.filename}, line {error.lineno}: {error.msg}: "
                f"{(error.text or '').strip()}; mend the method file"
            ) from error
        last = traceback.extract_tb(trace)[-1]
        raise BadComposition(
            f"{self.where} failed with {type(error).__name__}: {error} ({last.filename}, line "
            f"{last.lineno}: {last.line}); mend the method file"
        ) from error
