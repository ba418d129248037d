"""Write the pages of `docs/reference` that the code itself knows best: commands, steps, recipes, the JSON Schema.

And from what was recorded under `benchmarks/results`: the page of operator coverage, the newest figures of whole
programs in the README, the networks over their strongest rivals, and the ways to INT8.

    python docs/generate.py

`make docs` runs it; a test compares what is committed with what it would write. Nothing here depends on the machine,
the terminal or the day.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
from msgspec import Struct, structs

from benchmarks.harness.cell_record import read_cells
from benchmarks.harness.coverage_page import coverage_page
from benchmarks.harness.coverage_record import read_coverage
from benchmarks.harness.method_page import method_tables
from benchmarks.harness.method_record import read_methods
from benchmarks.harness.record import RESULTS
from benchmarks.report.recipe_age import Ages, read_recipe_ages
from benchmarks.report.speed_tables import RIVAL_WORDS, over_rivals, trained_in_words
from benchmarks.report.summaries import machines
from benchmarks.report.whole_programs import newest_comparisons, programs_table, programs_words
from brain_edge.cli.main import COMMANDS, PROGRAM, program
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.spec import Network, Sequence
from brain_edge.spec.steps import (
    AfterStep,
    BeforeStep,
    ChannelStep,
    CleanStep,
    CombineStep,
    DecodeStep,
    GridStep,
    IntensityStep,
)
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names
from brain_edge_conversion.specification import json_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from brain_edge_conversion.recipe import Recipe

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
HELP_WIDTH: Final = 100
STEPS: Final = get_args(BeforeStep) + get_args(AfterStep)
EXECUTIONS: Final = get_args(next(field.type for field in structs.fields(Network) if field.name == "execution"))
SECTIONS: Final = re.compile(r"\n\n(Raises|Args|Returns|Attributes):\n")


def pages() -> dict[str, str]:
    """Every generated page: path from `docs/reference` -> text."""
    writers: Mapping[str, Callable[[], str]] = {
        "cli.md": lambda: _page(_commands()),
        "coverage.md": lambda: _page(coverage_page(recipe_names(), read_coverage(), Ages(read_recipe_ages()))),
        "recipes.md": lambda: _page(_recipes()),
        "steps.md": lambda: _page(_steps()),
        "../../README.md": _readme,
        "../benchmarks/int8-methods.md": _methods,
        "../benchmarks/programs.md": _programs,
        "spec-schema.json": lambda: json.dumps(json_schema(), indent=2) + "\n",
    }
    return {name: write() for name, write in writers.items()}


def main() -> None:
    """Write them all, and say which."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8", newline="\n")
        click.echo((REFERENCE / name).resolve().relative_to(REFERENCE.parents[1]).as_posix(), err=True)


def _readme() -> str:
    """As it is, but for the table of whole programs, and the networks with published weights over their rivals."""
    runs, ages = newest_comparisons(RESULTS), Ages(read_recipe_ages())
    networks = [words for each in machines(read_cells(RESULTS)) if (words := trained_in_words(each, ages))]
    return _filled("../../README.md", "figures", [programs_table(runs), programs_words(runs), *networks])


def _programs() -> str:
    """As it is, but for the networks over their rivals."""
    ages = Ages(read_recipe_ages())
    shown = [(each.cpu, table) for each in machines(read_cells(RESULTS)) if (table := over_rivals(each, ages))]
    blocks = [*(f"{cpu}\n\n{table}" for cpu, table in shown), RIVAL_WORDS, *ages.words()]
    return _filled("../benchmarks/programs.md", "rivals", blocks)


def _methods() -> str:
    """As it is, but for the ways to INT8."""
    return _filled("../benchmarks/int8-methods.md", "methods", method_tables(read_methods()))


def _filled(page: str, block: str, parts: Iterable[str]) -> str:
    """A page with other paragraphs between the marks of a block."""
    before, begin, rest = (REFERENCE / page).read_text(encoding="utf-8").partition(f"<!-- {block}:begin")
    mark, _, rest = rest.partition("\n")
    _, end, after = rest.partition(f"<!-- {block}:end -->")
    return "".join([before, begin, mark, "\n", "\n\n".join(parts), "\n", end, after])


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield f"What `{PROGRAM} --help` and `{PROGRAM} COMMAND --help` print. Results go to stdout, progress and warnings"
    yield "to stderr; what the program ends with is listed in [exit codes](exit-codes.md)."
    # not from the terminal that happens to run this
    root = program.make_context(PROGRAM, ["--help"], resilient_parsing=True, terminal_width=HELP_WIDTH)
    yield from _help(program, root, 2)
    for name in COMMANDS:
        command = program.get_command(root, name)
        if command is None:
            raise AssertionError(f"{name} is listed and not there")
        yield from _with_subcommands(command, click.Context(command, info_name=name, parent=root), 2)


def _with_subcommands(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield from _help(command, context, level)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.commands[name]
            yield from _with_subcommands(below, click.Context(below, info_name=name, parent=context), level + 1)


def _help(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} {context.command_path}", "", "```text", command.get_help(context), "```")


def _steps() -> Iterator[str]:
    definitions = json_schema()["$defs"]
    yield "# Steps"
    yield ""
    yield "Every operation that a [specification](../concepts/steps-and-stages.md) may name, from the docstrings of"
    yield '`brain_edge.spec.steps`. A step is written `{"op": ..., ...}`; `version` may be left out, and is 1 for'
    yield "all of them. The same as a JSON Schema: [spec-schema.json](spec-schema.json)."
    places = {
        "Before the network: grid": GridStep,
        "Before the network: intensities": IntensityStep,
        "Before the network: channels": ChannelStep,
        "After the network: deciding, and the way back": DecodeStep,
        "After the network: several stages": CombineStep,
        "After the network: cleaning up": CleanStep,
    }
    for title, place in places.items():
        yield from ("", f"## {title}")
        for step in STEPS:
            if issubclass(step, place):
                yield from _step(step, definitions[step.__name__])
    yield from ("", "## How the network is run", "", "The `execution` of a network, written with its `kind`.")
    for execution in EXECUTIONS:
        yield from _step(execution, definitions[execution.__name__])
    roots = (*STEPS, *EXECUTIONS, Sequence)
    named = sorted(
        {each for root in roots for each in _named_in(root)}.difference(roots), key=lambda each: each.__name__
    )
    yield from ("", "## Parts")
    for part in (each for each in named if issubclass(each, Struct)):
        yield from _step(part, definitions[part.__name__])
    yield from ("", "## Choices")
    for choice in (each for each in named if issubclass(each, StrEnum)):
        yield from _choice(choice)


def _named_in(declared: Any) -> Iterator[type[Struct | StrEnum]]:
    """The structs and choices that occur in a type: itself, its parts, the parameters of a struct."""
    if isinstance(declared, type) and issubclass(declared, Struct | StrEnum):
        yield declared
    is_struct = isinstance(declared, type) and issubclass(declared, Struct)
    for part in [field.type for field in structs.fields(declared)] if is_struct else get_args(declared):
        yield from _named_in(part)


def _step(step: type[Struct], schema: Mapping[str, Any]) -> Iterator[str]:
    properties = {name: value for name, value in schema["properties"].items() if name not in ("op", "kind", "version")}
    yield from ("", f"### {step.__name__}", "")
    if (config := step.__struct_config__).tag is not None:
        yield from (f'`"{config.tag_field}": "{config.tag}"`', "")
    yield from _prose(inspect.getdoc(step) or "")
    if not properties:
        return
    rows = []
    for name, value in properties.items():
        missing = "required" if name in schema.get("required", ()) else "left out"
        default = f"`{json.dumps(value['default'])}`" if "default" in value else missing
        rows.append((f"`{name}`", _value(value), default))
    yield from ("", markdown_table(("parameter", "value", "default"), rows, aligned=False))


def _prose(docstring: str) -> Iterator[str]:
    """A docstring as Markdown: a section such as "Raises" becomes a list."""
    text, *sections = SECTIONS.split(docstring)
    yield text
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        yield from ("", f"{title}:", "")
        for item in re.split(r"\n(?=    \S)", "\n" + body)[1:]:
            name, _, words = " ".join(item.split()).partition(": ")
            yield f"- `{name}`: {words}"


def _value(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_value(each) for each in schema["anyOf"])
    if schema["type"] == "array":
        fixed = schema.get("prefixItems")
        return f"{len(fixed)} times {_value(fixed[0])}" if fixed else f"list of {_value(schema['items'])}"
    return " ".join([schema["type"], *_limits(schema)])


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    stated = [f"{word} {schema[key]:g}" for key, word in words.items() if key in schema]
    if stated:
        yield f"({', '.join(stated)})"


def _choice(choice: type[StrEnum]) -> Iterator[str]:
    yield from ("", f"### {choice.__name__}", "", inspect.getdoc(choice) or "", "")
    yield from (f'- `"{value}"`: {words}' for value, words in _members(choice).items())


def _members(choice: type[StrEnum]) -> dict[str, str]:
    """Value -> the sentence below it in the source, which Python itself does not keep."""
    (definition,) = ast.parse(inspect.getsource(choice)).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{choice.__name__} is not written as a class")
    words = [
        ast.literal_eval(statement.value)
        for statement in definition.body[1:]
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    ]
    if len(words) != len(choice):
        raise TypeError(f"{choice.__name__}: expected a sentence below each of {len(choice)} members, got {len(words)}")
    return {member.value: " ".join(text.split()) for member, text in zip(choice, words, strict=True)}


def _recipes() -> Iterator[str]:
    yield "# Recipes"
    yield ""
    yield f"The models that `{PROGRAM} convert` knows by name. The figures are the publishers' own and were measured on"
    yield "their data; what quantisation cost a package is in its manifest (`brain-edge info`). Research use only: none"
    yield "of them is a medical device."
    for name in recipe_names():
        yield from _recipe(load_recipe(name))


def _input(sequence: Sequence) -> str:
    words = [" or ".join(sequence.stated), sequence.description]
    return f"`{sequence.name}` ({', '.join(filter(None, words))})"


def _recipe(recipe: Recipe) -> Iterator[str]:
    model = recipe.variant(Variant())
    spec, card, licence = model.spec, model.card, model.licence
    yield from ("", f"## {recipe.name}", "", card.summary, "")
    yield f"- Task: {spec.task}"
    yield f"- Input: {', '.join(map(_input, spec.inputs))}"
    yield f"- Labels: {', '.join(f'{value} {label}' for value, label in spec.label_names().items())}"
    yield f"- Weights: {recipe.weights}"
    for graph in recipe.variant(Variant(members=recipe.members)).graphs:
        if graph.weights is not None:
            yield f"- SHA-256 of the weights of `{graph.graph}`: `{graph.weights.sha256}`"
    yield f"- Licence of the weights: {licence.name}, {licence.holder}. {licence.notes}".rstrip()
    yield f"- Cite: {card.citation}"
    yield f"- Published figures: {card.published_figures}"
    yield f"- Limits: {card.limits}"
    yield f"- Default calibration cohort: `{recipe.cohort}`" if recipe.cohort else "- No default calibration cohort"
    if recipe.members > 1:
        yield f"- `--members 1` to `{recipe.members}`, or `all`; 1 unless stated"
    if recipe.has_flips:
        yield "- `--flips`: average over the mirrorings of the published program"
    for names in recipe.sequences:
        chosen = recipe.variant(Variant(sequences=names)).card
        yield f"- `--sequences {','.join(names)}`: {chosen.published_figures}"
    for stage in spec.stages:
        before, after = (", ".join(f"`{type(step).__name__}`" for step in part) for part in (stage.before, stage.after))
        yield f"- Stage `{stage.name}`: {before}; network; {after}"


if __name__ == "__main__":
    main()
