"""The plan of the house, checked on the syntax trees: who imports whom, and what may stand where."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("features", "training", "ray_apps", "feature_repo")
FILES = sorted(p.relative_to(ROOT).as_posix() for name in PACKAGES for p in (ROOT / name).rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

RAY_FILES = {
    *("ray_apps/app.py", "ray_apps/cluster.py", "ray_apps/supervisor.py", "ray_apps/actors.py"),
    "ray_apps/remote.py",
    *("ray_apps/metrics.py", "training/search.py"),
}
ENVIRONMENT_FILES = {"ray_apps/settings.py"}
PURE_LIBRARIES = {"features", "numpy", "numba", "msgspec", "onnxruntime"}
PURE_STDLIB = {
    *(
        "__future__",
        "abc",
        "ast",
        "base64",
        "bisect",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "enum",
    ),
    *(
        "datetime",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
    ),
    *(
        "statistics",
        "string",
        "struct",
        "types",
        "typing",
        "zlib",
        "io",
        "binascii",
        "decimal",
        "numbers",
        "warnings",
    ),
}
CLOCK_CALLS = {"now", "utcnow", "today"}
# package -> the other packages of ours it may import
MAY_IMPORT = {
    "features": {"features"},
    "training": {"training", "features", "ray_apps"},
    "ray_apps": {"ray_apps", "features"},
    "feature_repo": {"feature_repo", "features"},
}
TRAINING_DOORS = ("ray_apps.store", "ray_apps.settings", "ray_apps.config", "ray_apps.errors", "ray_apps.words")


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"), file)


@cache
def nodes(file: str) -> list[ast.AST]:
    return list(ast.walk(tree(file)))


@cache
def imports(file: str) -> list[tuple[str, int]]:
    """Give every module a file imports, at any depth, `from a import b` as a.b."""
    return list(_imports(file))


def _imports(file: str) -> Iterator[tuple[str, int]]:
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def in_package(name: str) -> list[str]:
    return [f for f in FILES if f.startswith(f"{name}/")]


def dotted(node: ast.AST) -> str:
    """Give `a.b.c` of an attribute chain, else nothing."""
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return node.id if isinstance(node, ast.Name) else ""


def faults(checked: list[str], is_fault) -> list[str]:
    return [f"{f}:{line}: {said}" for f in checked for said, line in is_fault(f)]


def test_there_is_something_to_check():
    assert len(FILES) > 10


def test_imports_are_absolute():
    assert not faults(
        FILES,
        lambda f: (("relative import", n.lineno) for n in nodes(f) if isinstance(n, ast.ImportFrom) and n.level),
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_who_imports_whom(package):
    def wrong(file):
        for name, line in imports(file):
            top = name.partition(".")[0]
            if top in PACKAGES and top not in MAY_IMPORT[package]:
                if file == "ray_apps/cli.py" and top == "training":
                    continue
                yield f"imports {name}", line
            if top == "tests":
                yield f"imports {name}", line

    assert not faults(in_package(package), wrong)


def test_training_uses_its_doors_only():
    def wrong(file):
        for name, line in imports(file):
            if name.startswith("ray_apps") and not name.startswith(TRAINING_DOORS):
                yield f"imports {name}", line

    assert not faults(in_package("training"), wrong)


def test_ray_stays_in_its_files():
    def wrong(file):
        return ((n, line) for n, line in imports(file) if n == "ray" or n.startswith("ray."))

    assert not faults([f for f in FILES if f not in RAY_FILES], wrong)


def test_the_environment_is_read_in_settings_only():
    def wrong(file):
        for node in nodes(file):
            if dotted(node) in ("os.environ", "os.getenv", "os.putenv", "os.environb"):
                yield dotted(node), node.lineno
        for name, line in imports(file):
            if name in ("os.environ", "os.getenv", "os.putenv"):
                yield name, line

    assert not faults([f for f in FILES if f not in ENVIRONMENT_FILES], wrong)


def test_features_imports_only_what_is_pure():
    def wrong(file):
        for name, line in imports(file):
            top = name.partition(".")[0]
            if top not in PURE_LIBRARIES | PURE_STDLIB:
                yield f"imports {name}", line

    assert not faults(in_package("features"), wrong)


def test_features_reads_no_clock_no_file_and_no_global_random_state():
    def wrong(file):
        for node in nodes(file):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            last = name.rpartition(".")[2]
            is_clock = last in CLOCK_CALLS and "date" in name
            is_random = name.startswith(("np.random.", "numpy.random.")) and not is_seeded(node, last)
            if is_clock or is_random or name in ("open", "input", "print", "exec", "eval"):
                yield f"calls {name}", node.lineno

    assert not faults(in_package("features"), wrong)


def is_seeded(call: ast.Call, name: str) -> bool:
    named = name in ("default_rng", "Generator", "SeedSequence") or name.startswith(("PCG", "Philox", "SFC"))
    return named and bool(call.args or call.keywords)


def test_nothing_is_unpickled():
    def wrong(file):
        for name, line in imports(file):
            if name.partition(".")[0] in ("pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"):
                yield f"imports {name}", line
        for node in nodes(file):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                yield "allow_pickle", node.lineno

    assert not faults(FILES, wrong)


QUIET = (
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)
QUIET += (ast.ClassDef, ast.Assert, ast.TypeAlias) if hasattr(ast, "TypeAlias") else (ast.ClassDef, ast.Assert)


def is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")


def is_composition(node: ast.stmt) -> bool:
    """Say whether a statement only puts a command, a route or a docstring together."""
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    called = node.value.func if isinstance(node.value, ast.Call) else None
    while isinstance(called, ast.Call):
        called = called.func
    return called is not None and dotted(called).startswith("app.")


def test_importing_has_no_side_effect():
    def wrong(file):
        for node in tree(file).body:
            if not isinstance(node, QUIET) and not is_main_guard(node) and not is_composition(node):
                yield f"does {ast.unparse(node)[:60]!r} at import", node.lineno

    checked = [f for f in FILES if not f.endswith("/migrations/env.py")]  # Alembic runs that file as a script
    assert not faults(checked, wrong)


def test_files_and_functions_stay_small():
    def wrong(file):
        n_lines = len((ROOT / file).read_text("utf-8").splitlines())
        if n_lines > MAX_FILE_LINES:
            yield f"{n_lines} lines, expected at most {MAX_FILE_LINES}", 1
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > MAX_FUNCTION_LINES:
                    yield (
                        f"{node.name} has {n_lines} lines, expected at most {MAX_FUNCTION_LINES}",
                        node.lineno,
                    )

    assert not faults(FILES, wrong)


def test_every_module_says_what_it_gives():
    def wrong(file):
        if tree(file).body and not ast.get_docstring(tree(file)):
            yield "no docstring", 1

    assert not faults(FILES, wrong)
