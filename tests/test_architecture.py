"""The rules of docs/architecture.md that a linter does not hold: owners, sizes, and what each command loads.

The layers are import-linter's (`make lint`).
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "savecli"
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [source.relative_to(PACKAGE).as_posix() for source in SOURCES]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

OWNERS = {
    "PIL": ["media/decode/picture.py", "media/decode/photo.py"],
    "av": ["media/decode/*", "media/encode.py", "media/cut.py", "media/copy.py"],
    "click": ["cli/*", "__main__.py"],
    "ctranslate2": ["speech/*"],
    "ctypes": ["media/serve.py", "media/speak.py"],
    "espeakng_loader": ["media/speak.py"],
    "faster_whisper": ["speech/*"],
    "filelock": ["store/lock.py", "model/pull.py", "train/folder.py"],
    "hnswlib": ["store/graph.py"],
    "imagebind": ["model/teacher.py"],
    "onnxruntime": ["model/onnx.py"],
    "open_clip": ["model/*"],
    "opencc": ["fold.py"],
    "pathspec": ["media/ignore.py"],
    "platformdirs": ["config.py"],
    "pyarrow": ["bench/parquet.py"],
    "readline": ["shell.py"],
    "regex": ["model/inputs.py", "fold.py", "search/exact.py"],
    "rich": ["render/*"],
    "sqlite3": ["store/catalog.py"],
    "subprocess": ["play.py", "media/worker.py"],
    "textual_image": ["render/preview.py"],
    "tokenizers": ["model/text.py"],
    "torch": ["model/*", "train/*", "speech/reference.py", "speech/convert.py"],
    "usearch": ["store/graph.py"],
    "watchfiles": ["watch.py"],
    "whisper": ["speech/*"],
}
# Of an owner that most runs do without.
LAZY = {
    "PIL": ["media/*"],
    "imagebind": ["model/*"],
    "onnxruntime": ["model/*"],
    "open_clip": ["model/*"],
    "pathspec": ["media/*"],
    "pyarrow": ["bench/*"],
    "textual_image": ["render/*"],
    "torch": ["speech/*"],
    "watchfiles": ["watch.py"],
}
# The shell asks whether to raise; the decoder's process sets what BLAS reads.
ENVIRONMENT = ["config.py", "__main__.py", "media/serve.py", "__init__.py"]
NETWORK = re.compile(r"(import|from) (aiohttp|ftplib|http|httpx|requests|smtplib|urllib\.request|urllib3)\b")


def tree(name):
    return ast.parse((PACKAGE / name).read_text("utf-8"))


def matches(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def imported(nodes):
    """Top-level names of the packages that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_is_imported_by_its_owners_alone(package):
    importers = [name for name in NAMES if package in imported(ast.walk(tree(name)))]
    assert importers, f"nothing imports {package}: is its rule out of date?"
    assert [name for name in importers if not matches(name, OWNERS[package])] == []


@pytest.mark.parametrize("package", LAZY)
def test_a_lazy_package_is_imported_within_functions(package):
    at_the_top = [
        name for name in NAMES if matches(name, LAZY[package]) and package in imported(tree(name).body)
    ]
    assert at_the_top == []


def test_only_the_download_imports_what_speaks_to_a_network():
    speaking = [name for name in NAMES if NETWORK.search(ast.unparse(tree(name)))]
    assert speaking == ["model/pull.py"]


def test_the_environment_is_read_in_one_place():
    def touches(node):
        return isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}

    assert [
        name for name in NAMES if any(map(touches, ast.walk(tree(name)))) and name not in ENVIRONMENT
    ] == []


def test_only_render_writes_to_stdout():
    def prints(node):
        written = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.stdout.write"
        return written or (isinstance(node, ast.Call) and ast.unparse(node.func) == "print")

    silent = [name for name in NAMES if not name.startswith("render/")]
    assert [name for name in silent if any(map(prints, ast.walk(tree(name))))] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_it_is_for(name):
    assert ast.get_docstring(tree(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_and_its_functions_are_short(name):
    functions = [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef)]
    n_lines = len((PACKAGE / name).read_text("utf-8").splitlines())
    assert n_lines <= MAX_FILE_LINES
    assert [f.name for f in functions if f.end_lineno - f.lineno >= MAX_FUNCTION_LINES] == []


def loaded(*arguments):
    """Names of all top-level modules that `save ARGUMENTS` has loaded when it ends."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules)) + chr(10)))\n"
        f"sys.argv = ['save', *{list(arguments)!r}]\n"
        "from savecli.__main__ import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in json.loads(run.stderr.splitlines()[-1])}


def test_a_search_and_its_score_load_no_torch():
    code = (
        "import sys, savecli.search, savecli.model.encode\n"
        "print(*{'torch', 'av', 'safetensors', 'tokenizers', 'faster_whisper'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    "name",
    [
        "query.py",
        "search/flow.py",
        "search/scoring.py",
        "model/score.py",
        "model/likeness.py",
        "model/words.py",
        "model/text.py",
        *("model/cpu.py", "model/onnx.py", "model/fusing.py", "model/legacy.py", "model/mel.py"),
    ],
)
def test_what_a_query_needs_never_imports_torch(name):
    assert "torch" not in set(imported(ast.walk(tree(name))))


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("index", "--help"), ("eval", "--help"), ("model", "list", "-h")],
)
def test_help_loads_click_and_the_standard_library_only(arguments):
    before = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    start_up = {name.partition(".")[0] for name in before.stdout.split()}  # .pth files of editable installs
    assert loaded(*arguments) - start_up - sys.stdlib_module_names == {"click", "savecli"}


def test_docs_are_what_the_commands_say():
    spec = importlib.util.spec_from_file_location("make_cli_docs", ROOT / "scripts" / "make_cli_docs.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == maker.render_docs(), (
        "run scripts/make_cli_docs.py"
    )


def drawn():
    """The files and folders in the tree of docs/architecture.md, as paths below savecli/."""
    picture = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```")[1]
    folder = ""
    for row in picture.splitlines():
        branch = re.match(r"(?P<lead>[│ ]*)[├└]── (?P<names>[^\s,]+(?:, [^\s,]+)*)", row)
        if branch is None:
            continue
        inner = bool(branch["lead"])
        for name in branch["names"].split(", "):
            yield (folder if inner else "") + name
            if name.endswith("/") and not inner:
                folder = name


def test_the_drawn_tree_is_the_tree():
    named = set(drawn())
    folders = {name for name in named if name.endswith("/")}
    opened = {folder for folder in folders if any(n != folder and n.startswith(folder) for n in named)}
    unlisted = tuple(folders - opened)  # drawn as a whole
    assert [name for name in named if not (PACKAGE / name).exists()] == []
    own = [name for name in NAMES if not name.endswith(("__init__.py", "__main__.py"))]
    assert [name for name in own if name not in named and not name.startswith(unlisted)] == []


def test_the_storeys_that_are_told_of_are_those_that_a_linter_holds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    told = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```")[3].splitlines()[1:]
    storeys = [storey for line in told for storey in line.split(maxsplit=1)[1].split(", then ")]
    assert [set(storey.split(" | ")) for storey in storeys] == [set(layer.split(" | ")) for layer in layers]
