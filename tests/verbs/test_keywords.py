"""The verbs and the commands take the same things, and docstrings say what the signatures say."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

import brain_edge
from brain_edge.verbs.limits import BudgetLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = [page for page in sorted(DOCS.rglob("*.md")) if "```pycon\n" in page.read_text(encoding="utf-8")]
"""Pages with calls that are shown and not run."""

VERBS: Final = {**{name: name for name in ("convert", "quantize", "tune", "evaluate", "prepare")}, "run_batch": "run"}
"""Public functions and the commands that do the same."""

RENAMED: Final = {
    "spec_file": "spec",
    "account": "report",
    "report_folder": "report",
    "no_rewrites": "rewrites",
    "time_limit": "time_limit_min",
    "mask": "output",
    "more_inputs": "inputs",
    "threads": "runtime",
    "stage_zero": "runtime",
    "max_memory": "runtime",
    "cache": "runtime",
    **dict.fromkeys(("atlas", "prepared", "as_they_are"), "runtime"),
    "out": "output",
    "no_picture": "picture",
    "no_gain": "gain",
    "no_weight_changes": "weight_changes",
    "quiet": "progress",
}
"""Options whose keyword has another name: units, and what travels in `RuntimeOptions`."""

ON_PAPER_ONLY: Final = {"as_json", "debug"}
"""Options that say how to print, of results and of errors; a function returns or raises."""

OF_AN_EXPLANATION: Final = {"explain"}
"""Option by which `quantize` writes where errors arise, and no package; the function returns a package."""

OF_A_VERDICT: Final = {*BudgetLimits.__annotations__, "max_dice_drop", "min_int8_share"}
"""Options by which `evaluate --baseline` ends with an exit code; the function returns what it compared."""

OF_ONE_CASE: Final = {"image", "seed", "series", "seg_encoding", "keep_empty_frames"}
"""Options of `run` that a batch does not have."""


def keywords(verb: str) -> set[str]:
    """The names that a function takes, those of a budget among them."""
    names = set(inspect.signature(getattr(brain_edge, verb)).parameters)
    return (names - {"limits"}) | (set(BudgetLimits.__annotations__) if "limits" in names else set())


def options(verb: str) -> set[str]:
    """The names that the command takes, as the function would call them."""
    command = import_module(f"brain_edge.cli.{VERBS[verb]}").command
    given = {parameter.name for parameter in command.params} - ON_PAPER_ONLY
    others = {"run_batch": OF_ONE_CASE, "evaluate": OF_A_VERDICT, "quantize": OF_AN_EXPLANATION}
    names = given - others.get(verb, set())
    if "max_dice_drop" in names:
        names.add("label_drops")  # LABEL=DROP of the same option
    # what a conversion names as its stage 0 is recorded, and nothing is run there with options of a machine
    return {name if verb == "convert" and name == "stage_zero" else RENAMED.get(name, name) for name in names}


@pytest.mark.parametrize("verb", VERBS)
def test_a_function_takes_what_its_command_takes(verb: str):
    assert keywords(verb) == options(verb)


@pytest.mark.parametrize("verb", [*VERBS, "read"])
def test_a_docstring_lists_every_parameter_what_is_returned_and_what_is_raised(verb: str):
    function = getattr(brain_edge, verb)
    text = inspect.getdoc(function) or ""
    sections = dict(re.findall(r"^(Args|Returns|Raises|Examples):\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE))
    assert list(sections) == ["Args", "Returns", "Raises", "Examples"]
    listed = re.findall(r"^ {4}\*{0,2}(\w+): ", sections["Args"], re.MULTILINE)
    assert listed == list(inspect.signature(function).parameters)
    raised = re.findall(r"^ {4}(\w+): ", sections["Raises"], re.MULTILINE)
    assert raised
    assert all(issubclass(getattr(brain_edge, name), brain_edge.BrainEdgeError) for name in raised)


@pytest.mark.parametrize("verb", [*VERBS, "read"])
def test_the_calls_of_an_example_fit_the_signature(verb: str):
    calls = [call for name, call in calls_in(inspect.getdoc(getattr(brain_edge, verb)) or "") if name == verb]
    assert calls
    for call in calls:
        bind(getattr(brain_edge, verb), call)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_calls_of_a_page_fit_the_signatures(page: Path):
    calls = list(calls_in("".join(re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))))
    assert calls
    for name, call in calls:
        bind(getattr(brain_edge, name), call)


def calls_in(text: str) -> Iterator[tuple[str, ast.Call]]:
    """The calls of names of `brain_edge` in the examples of a text, those that begin with `>>>`."""
    for example in doctest.DocTestParser().get_examples(text):
        for node in ast.walk(ast.parse(example.source)):
            function = node.func if isinstance(node, ast.Call) else None
            if isinstance(function, ast.Attribute) and ast.unparse(function.value) == "brain_edge":
                yield function.attr, cast("ast.Call", node)


def bind(function: Callable[..., Any], call: ast.Call) -> None:
    """Bind the arguments of a call to a function."""
    inspect.signature(function).bind(*call.args, **{str(keyword.arg): keyword.value for keyword in call.keywords})


def test_a_call_that_does_not_fit_is_found():
    (node,) = ast.parse("brain_edge.read('head.nii.gz', sequence='T1w')").body
    assert isinstance(node, ast.Expr)
    assert isinstance(node.value, ast.Call)
    with pytest.raises(TypeError, match="sequence"):
        bind(brain_edge.read, node.value)
