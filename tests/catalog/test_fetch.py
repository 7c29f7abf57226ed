"""Downloads by the real huggingface_hub from a hub on loopback: whatever happens on the way, the pinned bytes or a
clear error, and what was good on disk stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sekisho.assemble import Catalog, open_catalog
from sekisho.catalog.hub import PARTIAL, remove_partials
from sekisho.catalog.lockfile import Lock, LockedModel, lock_path, write_lock
from sekisho.errors import ArtifactRefused, SekishoError, SourceUnreachable, StorageFull
from sekisho.settings import Settings
from tests.catalog.conftest import REVISION
from tests.catalog.hub import Act, Hub, hub
from tests.checkpoints import write_tiny_bert
from tests.goldens_io import tiny_spec

WEIGHTS = "model.safetensors"
PLAIN = "tokenizer.json"
CHUNK = 4096


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tiny_spec("tiny-bert-max"), tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[Hub]:
    with hub(files, REVISION) as running:
        yield running


@dataclass
class Desk:
    """A catalogue of one model of the hub, an empty cache, and the sleeps that were asked for."""

    catalog: Catalog
    server: Hub
    cache: Path
    files: Path
    slept: list[float]

    def fetch(self, progress: Any = None) -> dict[str, Path]:
        spec = self.catalog.registry.find("m")
        return self.catalog.artifacts.verified(spec, self.catalog.lock.models["m"], progress)

    def fails(self, kind: type[SekishoError]) -> SekishoError:
        with pytest.raises(kind) as caught:
            self.fetch()
        return caught.value

    def right(self) -> bool:
        return all(path.read_bytes() == (self.files / name).read_bytes() for name, path in self.fetch().items())

    def partial(self) -> Path:
        (found,) = self.cache.rglob(f"*{PARTIAL}")
        return found

    def bodies(self, name: str) -> list[str | None]:
        """The range of each request for the file's bytes."""
        route = "storage" if name == WEIGHTS else "resolve"
        return [a.range for a in self.server.log if (a.method, a.route, a.name) == ("GET", route, name)]


@pytest.fixture
def desk(server: Hub, files: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http
    from huggingface_hub.utils._http import close_session

    server.forget()
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # its first import may have been in an offline test
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.4)
    monkeypatch.setattr(file_download, "time", clock)
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr("sekisho.catalog.hub.time", clock)

    root = tmp_path / "registry"
    root.mkdir()
    (root / "models.yaml").write_text(
        f"version: 1\nmodels:\n  - {{name: m, source: {{hub: org/ok, revision: {REVISION}}}}}\n"
        f"  - {{name: local, source: {{path: {files}}}}}\n"
    )
    opened = open_catalog(Settings(models=root / "models.yaml", home=home))
    pins = opened.artifacts.measure(opened.registry.find("local"))
    write_lock(lock_path(root / "models.yaml"), Lock(models={"m": LockedModel(revision=REVISION, files=pins)}))
    yield Desk(open_catalog(Settings(models=root / "models.yaml", home=home)), server, tmp_path / "cache", files, slept)
    close_session()


def test_files_come_into_the_users_cache_with_the_layout_that_others_read(desk: Desk) -> None:
    from huggingface_hub import try_to_load_from_cache

    for name, path in desk.fetch().items():
        assert path.read_bytes() == (desk.files / name).read_bytes()
        assert try_to_load_from_cache("org/ok", name, revision=REVISION, cache_dir=desk.cache) == str(path)
        assert path.is_symlink()
    assert not [*desk.cache.rglob(f"*{PARTIAL}")]


def test_a_file_that_is_here_is_not_asked_for(desk: Desk) -> None:
    desk.fetch()
    desk.server.forget()
    assert desk.right()
    assert desk.server.log == []


def test_a_large_file_comes_from_the_storage_without_the_token(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    desk.fetch()
    tokens = {(asked.route, asked.token) for asked in desk.server.log if asked.name == WEIGHTS}
    assert tokens == {("resolve", "Bearer hf_abc"), ("storage", None)}


def test_progress_tells_bytes_of_each_file(desk: Desk) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    desk.fetch(lambda step, done, size: told.setdefault(step, []).append((done, size)))
    size = (desk.files / WEIGHTS).stat().st_size
    assert set(told) == {f"fetch {name}" for name in desk.catalog.lock.models["m"].files}
    weights = told[f"fetch {WEIGHTS}"]
    assert weights[0] == (0, size)
    assert weights[-1] == (size, size)
    assert len(weights) > size // CHUNK
    assert weights == sorted(weights)


@pytest.mark.parametrize("name", [WEIGHTS, PLAIN])
def test_a_connection_that_drops_is_taken_up_where_it_broke(desk: Desk, name: str) -> None:
    desk.server.plan("GET", name, Act(cut=3 * CHUNK + 5), Act(cut=CHUNK))
    assert desk.right()
    assert desk.bodies(name) == [None, f"bytes={3 * CHUNK}-", f"bytes={4 * CHUNK}-"]
    assert desk.slept


def test_a_hub_that_always_drops_is_told_and_what_came_is_kept(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, Act(cut=2 * CHUNK), *[Act(cut=1)] * 6)
    error = desk.fails(SourceUnreachable)
    assert f"{WEIGHTS}: hub org/ok: not in the local cache, and the hub cannot be reached" in error.message
    assert not error.permanent
    assert desk.partial().read_bytes() == (desk.files / WEIGHTS).read_bytes()[: 2 * CHUNK]
    desk.server.forget()
    assert desk.right()
    assert desk.bodies(WEIGHTS) == [f"bytes={2 * CHUNK}-"]


def test_an_earlier_process_is_taken_up(desk: Desk) -> None:
    """What `kill -9` leaves: the first bytes under the partial's name."""
    desk.fetch()
    blob = (desk.fetch()[WEIGHTS]).resolve()
    data = blob.read_bytes()
    desk.fetch()[WEIGHTS].unlink()
    blob.unlink()
    blob.with_name(f"{blob.name}{PARTIAL}").write_bytes(data[:1000])
    desk.server.forget()
    assert desk.right()
    assert desk.bodies(WEIGHTS) == ["bytes=1000-"]


@pytest.mark.parametrize("begun", [b"other bytes", b"x" * 1_000_000, b""])
def test_what_was_begun_with_other_bytes_is_begun_again(desk: Desk, begun: bytes) -> None:
    desk.server.plan("GET", WEIGHTS, *[Act(cut=1)] * 6)
    desk.fails(SourceUnreachable)
    desk.partial().write_bytes(begun)
    desk.server.forget()
    assert desk.right()


def test_a_partial_as_long_as_the_file_and_wrong(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, *[Act(cut=1)] * 6)
    desk.fails(SourceUnreachable)
    desk.partial().write_bytes(bytes((desk.files / WEIGHTS).stat().st_size))
    desk.server.forget()
    assert desk.right()
    assert desk.bodies(WEIGHTS) == [None]


def test_a_server_that_knows_no_ranges(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, Act(cut=2 * CHUNK), Act(ranges=False))
    assert desk.right()


def test_a_slow_body_is_waited_for(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, Act(slow=0.03))
    assert desk.right()


def test_a_body_that_stalls_is_asked_for_anew(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, Act(slow=1.0))
    assert desk.right()
    assert len(desk.bodies(WEIGHTS)) == 2


@pytest.mark.parametrize("name", [WEIGHTS, PLAIN])
def test_wrong_bytes_are_refused_and_leave_nothing(desk: Desk, name: str) -> None:
    desk.server.plan("GET", name, Act(damage=True))
    error = desk.fails(ArtifactRefused)
    assert f"{name} of the model 'm' was refused: hub org/ok: sha256" in error.message
    assert not [*desk.cache.rglob(f"*{PARTIAL}")]
    assert not [*desk.cache.rglob(name)]
    assert desk.right()


def test_more_bytes_declared_than_sent(desk: Desk) -> None:
    desk.server.plan("GET", PLAIN, *[Act(declare=10)] * 8)
    desk.fails(SourceUnreachable)
    desk.server.forget()
    assert desk.right()


@pytest.mark.parametrize("name", [WEIGHTS, PLAIN])
def test_another_size_than_the_locks_is_refused_before_a_byte_is_sent(desk: Desk, name: str, tmp_path: Path) -> None:
    path = lock_path(desk.catalog.path)
    size = (desk.files / name).stat().st_size
    path.write_text(path.read_text().replace(f'"size": {size},', f'"size": {size + 1},'))
    desk.catalog = open_catalog(Settings(models=desk.catalog.path, home=tmp_path / "home"))
    assert f"hub org/ok: {size:,} bytes, the lock says {size + 1:,}" in desk.fails(ArtifactRefused).message
    assert desk.bodies(name) == []


@pytest.mark.parametrize(
    ("method", "acts", "slept"),
    [
        ("HEAD", [Act(status=429, retry_after="3")], [3]),
        ("HEAD", [Act(status=503), Act(status=502)], [0.5, 1.5]),
        ("HEAD", [Act(status=503, retry_after="2")], [2]),
        ("GET", [Act(status=429, retry_after="3")], [4]),
    ],
)
def test_a_hub_that_asks_for_patience_gets_it(desk: Desk, method: str, acts: list[Act], slept: list[float]) -> None:
    desk.server.plan(method, PLAIN, *acts)
    assert desk.right()
    assert desk.slept == slept


@pytest.mark.parametrize(
    ("acts", "part", "retry"),
    [
        ([Act(status=429)], "limits our requests (429): try again later", 30),
        ([Act(status=429, retry_after="300")], "limits our requests (429): try again in 300 s", 300),
        ([Act(status=500)] * 3, "it answered 500", 30),
        ([Act(status=401, code="GatedRepo")], "accept the model's terms on its page", 30),
        ([Act(status=401)], "asks for a token (401): set HF_TOKEN", 30),
        ([Act(status=404, code="EntryNotFound")], "hub org/ok does not have it", 30),
        ([Act(status=404, code="RevisionNotFound")], "no such repository or revision (404)", 30),
        ([Act(status=418)], "it answered 418", 30),
    ],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(desk: Desk, acts: list[Act], part: str, retry: int) -> None:
    desk.server.plan("HEAD", PLAIN, *acts)
    error = desk.fails(SourceUnreachable)
    assert part in error.message
    assert f"{PLAIN}: hub org/ok" in error.message
    assert desk.right()


def test_a_good_copy_stays_when_the_hub_turns_bad(desk: Desk) -> None:
    good = desk.fetch()
    missing = good.pop(PLAIN)
    before = {name: path.read_bytes() for name, path in good.items()}
    missing.resolve().unlink()
    missing.unlink()
    desk.server.plan("GET", PLAIN, Act(damage=True))
    desk.fails(ArtifactRefused)
    assert {name: path.read_bytes() for name, path in good.items()} == before


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, shorten])
def test_a_copy_that_went_bad_in_the_cache_is_fetched_anew(desk: Desk, damage: Callable[[Path], None]) -> None:
    """A disk that lost bytes heals by itself; nobody has to find the file and remove it."""
    damage(desk.fetch()[WEIGHTS].resolve())
    assert desk.right()


def test_offline_a_copy_that_went_bad_is_refused_and_stays(desk: Desk, home: Path) -> None:
    blob = desk.fetch()[WEIGHTS].resolve()
    flip(blob)
    before = blob.read_bytes()
    desk.catalog = open_catalog(Settings(models=desk.catalog.path, home=home, offline=True))
    desk.server.forget()
    assert "hub org/ok: sha256" in desk.fails(ArtifactRefused).message
    assert blob.read_bytes() == before
    assert desk.server.log == []


def test_a_cache_without_symbolic_links(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert not desk.fetch()[WEIGHTS].is_symlink()
    assert desk.right()


@pytest.mark.parametrize("etag", ["../../evil", "a/b", "..", "", "x" * 500])
def test_an_etag_that_would_leave_the_cache_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch, etag: str) -> None:
    monkeypatch.setattr("tests.catalog.hub._git_oid", lambda data: etag)
    before = sorted(desk.cache.parent.rglob("*"))
    assert "no usable etag" in desk.fails(SourceUnreachable).message
    assert sorted(desk.cache.parent.rglob("*")) == before


def test_a_full_disk_is_told_and_the_download_goes_on_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sekisho.catalog.hub.os.fsync", full)
        assert "HF_HOME" in desk.fails(StorageFull).message
    assert desk.partial().is_file()
    assert desk.right()


def test_unfinished_downloads_can_be_removed(desk: Desk) -> None:
    desk.server.plan("GET", WEIGHTS, Act(cut=2 * CHUNK), *[Act(cut=1)] * 6)
    desk.fails(SourceUnreachable)
    assert remove_partials(dry_run=True) == [("org/ok", 2 * CHUNK)]
    assert desk.partial().is_file()
    assert remove_partials(dry_run=False) == [("org/ok", 2 * CHUNK)]
    assert remove_partials(dry_run=False) == []
    assert desk.right()


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION, None])
def test_locking_resolves_and_hashes_what_the_hub_does_not(desk: Desk, revision: str | None) -> None:
    """The digest of a large file is the hub's word; plain files are fetched, checked against git's name, and hashed."""
    locked = desk.catalog.artifacts.lock(desk.catalog.registry.find("m"), revision)
    assert locked == desk.catalog.lock.models["m"]
    assert desk.bodies(WEIGHTS) == []
    assert len(desk.bodies(PLAIN)) == 1


def test_locking_a_revision_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(SourceUnreachable, match="no such repository or revision"):
        desk.catalog.artifacts.lock(desk.catalog.registry.find("m"), "gone")


def test_locking_refuses_a_plain_file_that_is_not_the_listed_one(desk: Desk) -> None:
    desk.server.plan("GET", PLAIN, Act(damage=True))
    with pytest.raises(ArtifactRefused, match="git blob"):
        desk.catalog.artifacts.lock(desk.catalog.registry.find("m"))
    assert not [*desk.cache.rglob(PLAIN)]
