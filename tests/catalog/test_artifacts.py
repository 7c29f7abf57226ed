"""Nothing that is loaded escapes its digest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.assemble import Catalog, open_catalog
from sekisho.convert.sealing import sha256_of
from sekisho.errors import ArtifactRefused, ModelUnpinned, NotReady, SourceUnreachable
from sekisho.settings import Settings
from tests.catalog.conftest import REVISION, Install, OpenCatalog, lock_as_it_is
from tests.conftest import WriteRegistry

REQUIRED = ["config.json", "model.safetensors", "tokenizer.json"]
OPTIONAL = ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json"]
FILES = REQUIRED + OPTIONAL


def verified(opened: Catalog) -> dict[str, Path]:
    spec = opened.registry.find("m")
    return opened.artifacts.verified(spec, opened.lock.models.get("m"))


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def swap(path: Path) -> None:
    """Another file of the same model."""
    other = next(name for name in FILES if name != path.name and not str(path).endswith(name))
    root = path.parents[1] if path.parent.name == "1_Pooling" else path.parent
    shutil.copyfile(root / other, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip_a_byte, truncate, lengthen, swap, empty]


@pytest.fixture(params=["path", "package"])
def place(request: pytest.FixtureRequest, checkpoint: Path, install: Install) -> tuple[str, Path]:
    """(a source for models.yaml, the directory behind it)"""
    if request.param == "path":
        return "{path: checkpoint}", checkpoint
    return "{package: some-files, subdir: model}", install("some-files", checkpoint)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name_and_place(
    place: tuple[str, Path], catalog: OpenCatalog, name: str, damage: Callable[[Path], None]
) -> None:
    source, root = place
    lock_as_it_is(catalog(source))
    opened = catalog(source)
    assert verified(opened) == {file: root / file for file in FILES}
    before = {file: (root / file).read_bytes() for file in FILES if file != name}
    damage(root / name)
    with pytest.raises(ArtifactRefused) as caught:
        verified(opened)
    message = caught.value.message
    assert message.startswith(f"{name} of the model 'm' was refused")
    assert "path checkpoint" in message or "package some-files" in message
    assert str(root) not in message, "a message may travel to a stranger"
    assert {file: (root / file).read_bytes() for file in before} == before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(place: tuple[str, Path], catalog: OpenCatalog, name: str) -> None:
    source, root = place
    lock_as_it_is(catalog(source))
    (root / name).unlink()
    with pytest.raises(SourceUnreachable, match="does not have it") as caught:
        verified(catalog(source))
    assert "'m'" in caught.value.message
    assert f" {name}: " in caught.value.message


@pytest.mark.parametrize("name", FILES)
def test_a_directory_in_a_files_place_is_no_file(place: tuple[str, Path], catalog: OpenCatalog, name: str) -> None:
    source, root = place
    lock_as_it_is(catalog(source))
    (root / name).unlink()
    (root / name).mkdir()
    with pytest.raises(SourceUnreachable, match=name):
        verified(catalog(source))


def test_a_file_beside_the_locked_ones_is_not_taken(place: tuple[str, Path], catalog: OpenCatalog) -> None:
    source, root = place
    (root / "modules.json").rename(root / "kept")
    lock_as_it_is(catalog(source))
    (root / "kept").rename(root / "modules.json")
    assert "modules.json" not in verified(catalog(source))


def test_an_unlocked_directory_is_taken_as_it_is(checkpoint: Path, catalog: OpenCatalog) -> None:
    flip_a_byte(checkpoint / "modules.json")
    opened = catalog("{path: checkpoint}")
    assert set(verified(opened)) == set(FILES)
    pins = opened.artifacts.pins(opened.registry.find("m"), None)
    data = (checkpoint / "modules.json").read_bytes()
    assert pins["modules.json"].sha256 == hashlib.sha256(data).hexdigest()
    assert pins["modules.json"].size == len(data)


@pytest.mark.parametrize("name", REQUIRED)
def test_an_unlocked_directory_without_a_needed_file(checkpoint: Path, catalog: OpenCatalog, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(ArtifactRefused, match=rf"^{name} of the model 'm' is not in path checkpoint"):
        verified(catalog("{path: checkpoint}"))


def test_an_absolute_path_stays_out_of_messages(checkpoint: Path, catalog: OpenCatalog) -> None:
    source = f"{{path: {checkpoint}}}"
    lock_as_it_is(catalog(source))
    flip_a_byte(checkpoint / "config.json")
    with pytest.raises(ArtifactRefused, match=r"path checkpoint: sha256") as caught:
        verified(catalog(source))
    assert str(checkpoint) not in caught.value.message


def test_an_unlocked_directory_may_lack_the_optional_files(checkpoint: Path, catalog: OpenCatalog) -> None:
    for name in OPTIONAL:
        (checkpoint / name).unlink()
    assert sorted(verified(catalog("{path: checkpoint}"))) == ["config.json", "model.safetensors", "tokenizer.json"]


HUB = f"{{hub: org/m, revision: {REVISION}, mirrors: [{{path: bad}}, {{package: some-files, subdir: model}}]}}"


def test_a_good_mirror_stands_in_for_a_bad_one(
    tmp_path: Path, checkpoint: Path, install: Install, catalog: OpenCatalog
) -> None:
    """The digest decides, not the place: no request reaches a hub, and the bad copy stays as it is."""
    good = install("some-files", checkpoint)
    lock_as_it_is(catalog(HUB), catalog("{path: checkpoint}"), REVISION)
    shutil.copytree(checkpoint, tmp_path / "bad")
    flip_a_byte(tmp_path / "bad" / "tokenizer.json")
    (tmp_path / "bad" / "config.json").unlink()
    files = verified(catalog(HUB))
    assert files["tokenizer.json"] == good / "tokenizer.json"
    assert files["config.json"] == good / "config.json"
    assert files["modules.json"] == tmp_path / "bad" / "modules.json"


def test_when_no_place_is_good_every_place_is_named(
    tmp_path: Path, checkpoint: Path, install: Install, catalog: OpenCatalog
) -> None:
    good = install("some-files", checkpoint)
    lock_as_it_is(catalog(HUB), catalog("{path: checkpoint}"), REVISION)
    shutil.copytree(checkpoint, tmp_path / "bad")
    flip_a_byte(tmp_path / "bad" / "tokenizer.json")
    truncate(good / "tokenizer.json")
    with pytest.raises(ArtifactRefused, match=r"path bad: sha256 .*package some-files: [\d,]+ bytes, the lock says"):
        verified(catalog(HUB))


def test_when_no_place_has_the_file_each_says_why(catalog: OpenCatalog, checkpoint: Path) -> None:
    lock_as_it_is(catalog(HUB), catalog("{path: checkpoint}"), REVISION)
    with pytest.raises(SourceUnreachable) as caught:
        verified(catalog(HUB))
    message = caught.value.message
    assert "path bad does not have it" in message
    assert "package some-files does not have it" in message
    assert "hub org/m: not in the local cache" in message
    assert "offline" in message


@pytest.mark.parametrize(
    ("source", "locked_revision", "advice"),
    [
        ("{hub: org/m}", None, "with a full commit as `revision` in models.yaml"),
        ("{hub: org/m}", REVISION, "with a full commit as `revision` in models.yaml"),
        (f"{{hub: org/m, revision: {REVISION}}}", None, "`sekisho lock m`"),
        (f"{{hub: org/m, revision: {REVISION}}}", REVISION[::-1], "`sekisho lock m`"),
    ],
)
def test_an_unpinned_hub_model_is_refused_with_the_command_that_pins_it(
    checkpoint: Path, catalog: OpenCatalog, source: str, locked_revision: str | None, advice: str
) -> None:
    """Also where a lock is there, but of another commit, and the bytes lie on a mirror."""
    source = source.replace("}", ", mirrors: [{path: checkpoint}]}")
    lock_as_it_is(catalog(source), catalog("{path: checkpoint}"), locked_revision)
    opened = catalog(source)
    assert opened.lock.models
    with pytest.raises(ModelUnpinned, match="'m' is not pinned") as caught:
        verified(opened)
    assert advice in caught.value.message
    assert "`sekisho lock m`" in caught.value.message


def test_without_any_lock_a_hub_model_is_refused(checkpoint: Path, catalog: OpenCatalog) -> None:
    opened = catalog(f"{{hub: org/m, revision: {REVISION}, mirrors: [{{path: checkpoint}}]}}")
    with pytest.raises(ModelUnpinned):
        opened.preparer.prepare(opened.registry.find("m"))


def test_progress_tells_each_file_to_its_end(checkpoint: Path, catalog: OpenCatalog) -> None:
    opened = catalog("{path: checkpoint}")
    told: dict[str, tuple[int, int]] = {}
    opened.artifacts.verified(
        opened.registry.find("m"), None, lambda name, done, size: told.update({name: (done, size)})
    )
    assert set(told) == {f"verify {name}" for name in FILES}
    assert all(done == size == (checkpoint / step.split()[1]).stat().st_size for step, (done, size) in told.items())


def test_a_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = os.urandom(3 * (1 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    chunks: list[int] = []
    assert sha256_of(tmp_path / "file", chunks.append) == hashlib.sha256(data).hexdigest()
    assert sum(chunks) == len(data)


def test_a_model_that_runs_elsewhere_has_no_files(write_registry: WriteRegistry, home: Path) -> None:
    upstream = "{api: cohere, base_url: http://127.0.0.1:9, model: x}"
    path = write_registry(f"version: 1\nmodels:\n  - {{name: m, kind: reranker, upstream: {upstream}}}\n")
    opened = open_catalog(Settings(models=path, home=home))
    for attempt in (verified, lambda opened: opened.artifacts.lock(opened.registry.find("m"))):
        with pytest.raises(NotReady, match="runs at another service") as caught:
            attempt(opened)
        assert caught.value.permanent


def test_variants_for_other_machines_are_locked_and_not_fetched(checkpoint: Path, catalog: OpenCatalog) -> None:
    (checkpoint / "onnx").mkdir()
    for name in ("arm.onnx", "avx2.onnx", "avx2.onnx_data", "q4.onnx"):
        (checkpoint / "onnx" / name).write_bytes(name.encode())
    variants = "    variants: {arm64: onnx/arm.onnx, avx2: onnx/avx2.onnx}\n"
    lock_as_it_is(catalog("{path: checkpoint}", variants))
    opened = catalog("{path: checkpoint}", variants)
    assert set(opened.lock.models["m"].files) == {*FILES, "onnx/arm.onnx", "onnx/avx2.onnx", "onnx/avx2.onnx_data"}
    assert set(verified(opened)) == set(FILES)


def test_a_checkpoint_of_pickles_is_refused_by_name(checkpoint: Path, catalog: OpenCatalog) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(ArtifactRefused, match=r"model\.safetensors .*pytorch_model\.bin would run code when read"):
        verified(catalog("{path: checkpoint}"))
