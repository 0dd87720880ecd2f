"""Documents are fresh, their links lead somewhere, and the commands that they show exist."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from hyprstream_core import __version__
from hyprstream_core.cli.context import Context
from hyprstream_core.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(p for p in ROOT.glob("docs/**/*.md") if not p.name.endswith(".head.md")),
    *ROOT.glob("plugins/*/*.md"),
    *ROOT.glob("api/*.md"),
]
ADRS = sorted(ROOT.glob("docs/adr/*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.S)
DISTRIBUTIONS = {"hyprstream", "hyprstream-api", "hyprstream-demo", "hyprstream-qwen"}


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["generate"]


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def test_generated_documents_are_fresh(generate):
    found = dict(generate.stale())
    assert found == {}, "run: make docs"


def anchors(text):
    """The anchors that a page's headings get."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower().replace("`", "")).replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page):
    text = BLOCK.sub("", page.read_text())
    broken = []
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        found = (page.parent / path).resolve() if path else page
        is_page = found.suffix == ".md"
        if not found.exists() or (anchor and is_page and anchor not in anchors(found.read_text())):
            broken.append(target)
    assert broken == []


def shown_commands():
    """(page, command line) of every console block."""
    for page in PAGES:
        for language, code in BLOCK.findall(page.read_text()):
            if language == "console":
                for line in code.splitlines():
                    if line.startswith("$ "):
                        yield page_id(page), line[2:]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_are_shown_in_console_blocks_where_they_are_checked(page):
    unchecked = [
        line
        for language, code in BLOCK.findall(page.read_text())
        for line in code.splitlines()
        if language != "console" and re.match(r"\$ |pip install |make |hyprstream (clone|infer) ", line)
    ]
    assert unchecked == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_what_is_installed_can_clone_the_demo(page):
    for language, code in BLOCK.findall(page.read_text()):
        if language == "console" and "pip install" in code and "demo://" in code:
            assert "hyprstream-demo" in code.split("demo://")[0]


def root_context():
    """As click makes it: a command remembers the names of its help option from the first context it sees."""
    return click.Context(cli, info_name="hyprstream", obj=Context({}), **cli.context_settings)


def option_names(command, ctx):
    return {name for p in command.get_params(ctx) for name in (*p.opts, *p.secondary_opts)}


def check_verb(words):
    """Each word of a ``hyprstream …`` line is a verb, an option of it, or one of its arguments."""
    ctx = root_context()
    command, takes_value = cli, {"--set", "--config", "--models-dir", "--log-level"}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("|", ">", "&&", "&"):
            return
        if word.startswith("-") and word != "-":
            assert word.split("=")[0] in option_names(command, ctx), f"{command.name} has no option {word}"
            option = next(p for p in command.get_params(ctx) if word.split("=")[0] in (*p.opts, *p.secondary_opts))
            if word in takes_value or not getattr(option, "is_flag", False):
                rest.pop(0)
        elif isinstance(command, click.Group):
            child = command.get_command(ctx, word)
            assert child is not None, f"no verb {word!r}"
            ctx = click.Context(child, info_name=word, parent=ctx, obj=ctx.obj)
            command = child
    assert not isinstance(command, click.Group) or command is cli, "a verb is missing"


COMMANDS = sorted(set(shown_commands()))


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{p}: {c}" for p, c in COMMANDS])
def test_every_command_that_is_shown_exists(page, line):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name = words.pop(0).split("=")[0]
        assert name.startswith("HYPRSTREAM_") or name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"), name
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    match words:
        case ["make", target, *_]:
            assert target in targets
        case ["hyprstream", *rest]:
            check_verb(rest)
        case ["pip", "install", *names]:
            assert set(names) <= DISTRIBUTIONS
        case ["python", "your_program.py"]:
            pass
        case [".", path]:
            assert path == ".venv/bin/activate"
        case _:
            pytest.fail(f"{page} shows a command that nothing checks: {line}")


def verbs(command, ctx, path=()):
    """Every verb with its help."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            yield from verbs(child, click.Context(child, parent=ctx, obj=ctx.obj), (*path, name))


def test_every_example_in_the_help_of_a_verb_is_a_command_that_exists():
    ctx = root_context()
    seen = 0
    for path, command in verbs(cli, ctx):
        lines = (command.help or "").partition("Examples:\n")[2].splitlines()
        if path:
            assert lines, f"hyprstream {' '.join(path)} --help has no examples"
        for line in filter(None, map(str.strip, lines)):
            words = shlex.split(line.rpartition(" | ")[2])
            while re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words[0] == "hyprstream":
                check_verb(words[1:])
                seen += 1
    assert seen >= 20


def test_python_blocks_compile():
    for page in PAGES:
        for language, code in BLOCK.findall(page.read_text()):
            if language == "python":
                compile(code, page_id(page), "exec")


def test_the_tree_in_the_readme_names_every_package_of_core():
    text = (ROOT / "README.md").read_text()
    tree = text[text.index("hyprstream_core/\n") :].split("```")[0]
    folder = ROOT / "hyprstream_core"
    parts = {f"{p.name}/" for p in folder.iterdir() if (p / "__init__.py").exists()}
    parts |= {p.name for p in folder.glob("*.py") if p.name != "__init__.py"}
    assert {p for p in parts if not re.search(rf"^  {re.escape(p)} ", tree, re.M)} == set()


def test_the_tree_in_the_readme_of_the_api_names_every_module_and_no_other():
    text = (ROOT / "api/README.md").read_text()
    tree = text[text.index("hyprstream_api/\n") :].split("```")[0]
    modules = {p.name for p in ROOT.glob("api/hyprstream_api/*.py")} - {"__init__.py"}
    assert set(re.findall(r"\w+\.py", tree)) == modules


def test_every_suite_is_listed():
    text = (ROOT / "README.md").read_text()
    for path in ROOT.glob("hyprstream_core/testing/suites/*.py"):
        for name in re.findall(r"^class (\w+Suite)\b", path.read_text(), re.M):
            assert f"[`{path.stem}.{name}`]({path.relative_to(ROOT).as_posix()})" in text


def test_files_that_the_architecture_names_exist():
    page = (ROOT / "docs/architecture.md").read_text()
    section = page[page.index("## Life of a request") : page.index("## The model store")]
    names = set(re.findall(r"[\w/]+\.py", section))
    assert len(names) > 20
    assert {
        n for n in names if not any((ROOT / p / n).exists() for p in ("hyprstream_core", "api/hyprstream_api"))
    } == set()


def test_docstrings_name_no_document_that_is_not_there():
    known = {p.name for p in PAGES} | {"batch.md", "spec.md", "server-discovery.md"}  # those are git-lfs's own
    for folder in ("hyprstream_core", "api/hyprstream_api", "plugins/qwen/hyprstream_qwen", "tests"):
        for path in ROOT.glob(f"{folder}/**/*.py"):
            if path != Path(__file__):
                assert set(re.findall(r"\b[\w-]+\.md\b", path.read_text())) <= known, path


def test_the_layers_on_the_page_are_those_that_are_enforced():
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c for c in contracts if c["type"] == "layers")["layers"]
    page = (ROOT / "docs/architecture.md").read_text()
    block = page[page.index("cli  ") :].split("```")[0]
    assert [re.split(r"  +", line)[0] for line in block.strip().splitlines()] == layers


@pytest.mark.parametrize("page", ADRS, ids=page_id)
def test_a_decision_record_has_its_four_parts_on_half_a_page(page):
    text = page.read_text()
    number = int(page.name[:4])
    assert text.startswith(f"# {number}. ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.M) == ["Context", "Options", "Choice", "Consequence"]
    assert len(text.splitlines()) <= 40


def test_decision_records_are_numbered_without_gaps():
    assert [int(p.name[:4]) for p in ADRS] == list(range(1, len(ADRS) + 1))


def test_every_security_case_is_on_the_page_once():
    rows = re.findall(r"^\| (\d+) \| (?:test|slow|root) \|", (ROOT / "docs/security-cases.md").read_text(), re.M)
    assert sorted(map(int, rows)) == list(range(1, 117))


def test_every_test_of_a_security_case_names_one_that_exists(generate):
    tests = generate.case_tests()
    assert set(tests) <= set(range(1, 117))
    assert {path.split("/")[0] for paths in tests.values() for path in paths} >= {"tests", "api"}


def test_a_case_that_waits_for_a_feature_is_carried_by_no_test(generate):
    waiting = [number for numbers in generate.NOT_YET.values() for number in numbers]
    assert len(waiting) == len(set(waiting))
    assert set(waiting).isdisjoint(generate.case_tests())


def test_the_changelog_has_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
