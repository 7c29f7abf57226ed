"""Live servers for real clients, and the matrix of what worked."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.columns import COLUMNS
from tests.clients.environments import LONG, EnvironmentMissing, ProgramFailed, run_program
from tests.clients.matrix import Matrix, write_between
from tests.clients.proxy import PROXIED, proxying
from tests.clients.servers import (
    KEY,
    TINY_BODY_MIB,
    TINY_QUEUE_TOKENS,
    TINY_REQUEST_TOKENS,
    Servers,
    serving,
    share_prepared,
    write_registry,
)
from tests.clients.values import FEW, SENTENCES, TEXTS, TOKEN_IDS, ranked_documents, texts_at
from tests.conftest import REPOSITORY
from tests.goldens.rerank import QUERY

#: (environment, program, what it is given) → its report, run once a session.
RunProgram = Callable[[str, str, object], dict[str, Any]]
#: Column → what its program reports, run once a session.
ReportFor = Callable[[str], dict[str, Any]]

#: The name tiktoken gives cl100k_base in its cache: sha1 of the address it would load it from.
_TIKTOKEN_NAME = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
_ORDER = (
    "test_openai", "test_langchain", "test_langchain_others", "test_llamaindex", "test_haystack", "test_cohere",
    "test_others", "test_litellm", "test_node", "test_client_errors", "test_examples",
)  # fmt: skip
_MATRIX = pytest.StashKey[Matrix]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="write the matrix into docs/clients.md")
    parser.addoption("--all-clients", action="store_true", help="also those whose environments are large")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MATRIX] = Matrix()
    config.addinivalue_line("markers", "check(title, client=None): the cell of the client matrix that a test decides")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rows of the matrix in their order, and last what looks at it."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    here.sort(key=lambda item: _ORDER.index(item.path.stem) if item.path.stem in _ORDER else len(_ORDER))
    items[:] = [*(item for item in items if item not in here), *here]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("check") is not None:
            item.config.stash[_MATRIX].whole = False


def pytest_collection_finish(session: pytest.Session) -> None:
    if any("::" in argument for argument in session.config.args):
        session.config.stash[_MATRIX].whole = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    mark = item.get_closest_marker("check")
    if mark is not None and (report.when == "call" or not report.passed):
        column = mark.kwargs.get("client") or item.callspec.params["client"]  # type: ignore[attr-defined]
        item.config.stash[_MATRIX].note(mark.args[0], column, report.outcome)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    matrix = config.stash[_MATRIX]
    if not matrix.outcomes:
        return
    terminalreporter.section("client matrix")
    for line in matrix.lines():
        terminalreporter.write_line(line)
    if config.getoption("write_docs", default=False):
        if matrix.complete:
            write_between("matrix", matrix.markdown_rows())
            write_between("errors", matrix.markdown_texts())
            terminalreporter.write_line("written into docs/clients.md")
        else:
            terminalreporter.write_line("docs/clients.md is left as it is: not everything was run and passed")


@pytest.fixture(scope="session")
def matrix(pytestconfig: pytest.Config) -> Matrix:
    """What was found so far."""
    return pytestconfig.stash[_MATRIX]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, minilm_home: Path) -> Iterator[Servers]:
    """One open server, one with a key, one with tiny limits."""
    registry = write_registry(tmp_path_factory.mktemp("client-registry"))
    home = tmp_path_factory.mktemp("client-home")
    share_prepared(home, minilm_home)
    common = {"SEKISHO_HOME": str(home), "SEKISHO_MODELS": str(registry), "SEKISHO_TUNE": "off"}
    common |= {"SEKISHO_CACHE_MIB": "0"}  # a queue is filled by texts that were sent before
    tiny = {
        "SEKISHO_MAX_BODY_MIB": str(TINY_BODY_MIB),
        "SEKISHO_MAX_QUEUE_TOKENS": str(TINY_QUEUE_TOKENS),
        "SEKISHO_MAX_REQUEST_TOKENS": str(TINY_REQUEST_TOKENS),
        "SEKISHO_THREADS": "1",
        "SEKISHO_BATCH_TOKENS": "256",
    }
    with ExitStack() as running:

        def start(name: str, variables: dict[str, str]) -> str:
            return running.enter_context(serving(tmp_path_factory.mktemp(name), common | variables))

        yield Servers(start("open", {}), start("keyed", {"SEKISHO_API_KEYS": KEY}), start("tiny", tiny))


@pytest.fixture(scope="session")
def tiktoken_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TIKTOKEN_CACHE_DIR names: cl100k_base, so that tiktoken loads nothing."""
    directory = tmp_path_factory.mktemp("tiktoken")
    packed = (REPOSITORY / "src" / "sekisho" / "data" / "cl100k_base.tiktoken.gz").read_bytes()
    (directory / _TIKTOKEN_NAME).write_bytes(gzip.decompress(packed))
    return directory


def skip_if_long(environment: str, config: pytest.Config) -> None:
    """Where only the quick environments were made."""
    if environment in LONG and not config.getoption("all_clients"):
        pytest.skip(f"the environment {environment} is large: scripts/client-matrix runs it, or pytest --all-clients")


@pytest.fixture(scope="session")
def proxy(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A litellm proxy in front of the servers."""
    with proxying(tmp_path_factory.mktemp("proxy"), servers) as url:
        yield url


@pytest.fixture(scope="session")
def given() -> dict[str, Any]:
    """What every program is given but those of openai and of LangChain's OpenAIEmbeddings."""
    return {
        "texts": texts_at(TEXTS),
        "few": texts_at(FEW),
        "token_ids": TOKEN_IDS,
        "query": QUERY,
        "documents": ranked_documents(),
        "asked": texts_at(SENTENCES[:1])[0],
        "sentences": texts_at(SENTENCES[1:]),
    }


@pytest.fixture(scope="session")
def report_for(report_of: RunProgram, given: dict[str, Any]) -> ReportFor:
    """Column → what its program reports."""
    return lambda column: report_of(COLUMNS[column].environment, COLUMNS[column].program, given)


@pytest.fixture(scope="session")
def report_of(
    servers: Servers, tiktoken_cache: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> RunProgram:
    """Run a program against the servers; the same client and program run once a session."""
    reports: dict[tuple[str, str], dict[str, Any] | Exception] = {}
    variables = servers.variables | {"TIKTOKEN_CACHE_DIR": str(tiktoken_cache)}

    def run(client: str, program: str, given: object) -> dict[str, Any]:
        skip_if_long(client, request.config)
        if program == PROXIED:
            variables["PROXY_URL"] = request.getfixturevalue("proxy")
        if (client, program) not in reports:
            home = tmp_path_factory.mktemp("client")
            try:
                reports[client, program] = run_program(client, program, variables, home=home, given=given)
            except (EnvironmentMissing, ProgramFailed) as error:
                reports[client, program] = error
        report = reports[client, program]
        if isinstance(report, Exception):
            pytest.fail(str(report), pytrace=False)
        return report

    return run
