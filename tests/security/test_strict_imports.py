"""Ordinary libraries work in strict: imported at the top, preloaded, and lazily where allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, Sandbox, Timeouts
from pyproc.pool import StartMethod

APPS = Path(__file__).parent / "apps"
LATELY = APPS / "lately.py"
#: Large libraries start slowly where other tests run beside.
TIMEOUTS = Timeouts(start=100)
pytestmark = pytest.mark.no_sanitizer("compiled libraries of others, which are not its build")


@pytest.fixture(scope="module")
def numeric() -> Iterator[Pool]:
    with Pool(APPS / "numeric.py", workers=1, sandbox=Sandbox("strict"), timeouts=TIMEOUTS) as pool:
        yield pool


@pytest.fixture(scope="module")
def documents() -> Iterator[Pool]:
    app = APPS / "documents.py"
    with Pool(app, workers=1, sandbox=Sandbox("strict"), timeouts=TIMEOUTS) as pool:
        yield pool


# ---- at the top ----


@pytest.mark.parametrize("size", [8, 600])
def test_numpy_multiplies_matrices(numeric: Pool, size: int) -> None:
    assert numeric.call("product", size) == size


def test_numpy_solves_a_linear_system(numeric: Pool) -> None:
    assert numeric.call("solve", 200) < 1e-9


def test_pandas_reads_and_groups_a_table(numeric: Pool) -> None:
    table = "name,day,count\na,2024-01-01,1\nb,2024-01-02,5\na,2024-02-01,2\n"
    assert numeric.call("totals", table) == {"a": 3, "b": 5}


@pytest.mark.parametrize(("model", "least"), [("linear", 0.8), ("neighbours", 1.0)])
def test_scikit_learn_fits_a_model(numeric: Pool, model: str, least: float) -> None:
    assert numeric.call("scores", model) >= least


def test_lxml_parses_xml_and_html(documents: Pool) -> None:
    assert documents.call("texts", b"<a><p>one</p><b><p>two</p></b></a>") == ["one", "two"]
    assert documents.call("page_title", b"<title>A page</title><p>never closed") == "A page"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_pillow_encodes_and_decodes(documents: Pool, kind: str) -> None:
    data = documents.call("picture", kind, 40, 30)
    width, height, red = documents.call("decoded", data)
    assert (width, height) == (40, 30)
    assert abs(red - 200) < 12


@pytest.mark.parametrize("library", ["pypdf", "pymupdf"])
def test_libraries_read_the_text_of_a_pdf(documents: Pool, library: str) -> None:
    data = documents.call("written", ["first page", "second page"])
    assert documents.call("read", data, library) == ["first page", "second page"]


def test_pymupdf_draws_a_page(documents: Pool) -> None:
    assert documents.call("drawn", documents.call("written", ["words"])) == [595, 842]


# ---- after the start ----


def test_pure_modules_are_imported_lazily() -> None:
    with Pool(LATELY, workers=1, sandbox="strict") as pool:
        assert pool.call("imports", "colorsys") == "colorsys"
        assert pool.call("imports", "iniconfig") == "iniconfig"


@pytest.mark.parametrize(
    ("function", "argument", "module", "root"),
    [
        ("root", b"<a/>", "lxml.etree", "lxml"),
        ("product", 3, "numpy._core._multiarray_umath", "numpy"),
    ],
)
def test_a_compiled_module_imported_lazily_is_named_with_what_would_help(
    function: str, argument: object, module: str, root: str
) -> None:
    with Pool(LATELY, workers=1, sandbox="strict") as pool:
        with pytest.raises(ImportError) as caught:
            pool.call(function, argument)
        assert repr(module) in str(caught.value)
        assert f"preload=[{root!r}]" in str(caught.value)
        assert pool.call("imports", "colorsys") == "colorsys"  # the worker goes on


@pytest.mark.parametrize("method", ["exec", "template"])
def test_compiled_modules_are_imported_lazily_where_that_is_allowed(method: StartMethod) -> None:
    sandbox = Sandbox("strict", late_native_imports=True)
    with Pool(LATELY, workers=1, sandbox=sandbox, start_method=method, timeouts=TIMEOUTS) as pool:
        assert pool.call("root", b"<a/>") == "a"
        assert pool.call("product", 3) == 9


@pytest.mark.parametrize("method", ["exec", "template"])
def test_preloaded_compiled_modules_are_there(method: StartMethod) -> None:
    with Pool(
        LATELY, workers=1, sandbox="strict", start_method=method, timeouts=TIMEOUTS,
        preload=["lxml.etree", "numpy"],
    ) as pool:  # fmt: skip
        assert pool.call("root", b"<a/>") == "a"
        assert pool.call("product", 3) == 9


def test_following_the_errors_advice_is_enough() -> None:
    with Pool(LATELY, workers=1, sandbox="strict", preload=["numpy"], timeouts=TIMEOUTS) as pool:
        assert pool.call("product", 3) == 9
