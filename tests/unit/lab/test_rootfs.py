"""Keys of the cache, and the settings that come from the machine's apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.process import LabError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "lab"
DEB822 = """Types: deb
# a comment: with a colon
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main contrib

Types: deb
URIs: http://vendor.example/apt
Suites: nodistro
Components: main

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_only_bookworm_is_taken_from_the_machines_sources() -> None:
    texts = {
        "debian.sources": DEB822,
        "more.list": "deb [trusted=yes] http://b.example/debian bookworm main\n"
        "deb http://c.example cloud main\n# deb x\n",
    }
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert rootfs.bookworm_sources(texts).splitlines() == [
        f"deb {keyring} http://mirror.example/debian bookworm main",
        f"deb {keyring} http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main contrib",
        "deb [trusted=yes] http://b.example/debian bookworm main",
    ]


def test_machine_without_debian_has_no_debian_sources() -> None:
    assert rootfs.bookworm_sources({"ubuntu.sources": DEB822.replace("bookworm", "noble")}) == ""


def test_proxy_and_certificates_are_taken_from_apt() -> None:
    dump = (FIXTURES / "apt-config-dump").read_text(encoding="utf-8")
    assert rootfs.acquire_options(dump) == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Check-Date "false";',
        'Acquire::http::Proxy "http://192.0.2.7:3142";',
        'Acquire::https::CaInfo "/etc/ssl/certs/site.pem";',
        'Acquire::Retries "3";',
    ]


def test_package_lists_have_comments_and_no_order() -> None:
    assert rootfs.package_list("# all\n b \na # why\n\nb\n") == ("a", "b")


@pytest.mark.parametrize(("one", "other"), [(["ab", "c"], ["a", "bc"]), (["a"], ["a", ""]), (["a", "b"], ["b", "a"])])
def test_different_contents_have_different_keys(one: list[str], other: list[str]) -> None:
    assert rootfs.key_of(one) != rootfs.key_of(other)


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recipes"
    for name in ("base", "nginx", "tools"):
        (folder / name).mkdir(parents=True)
        (folder / name / "packages").write_text("one\n", encoding="utf-8")
        (folder / name / "setup.sh").write_text("true\n", encoding="utf-8")
    (folder / "nginx" / "files" / "etc").mkdir(parents=True)
    (folder / "nginx" / "files" / "etc" / "conf").write_text("a", encoding="utf-8")
    (folder / "make_layer.sh").write_text("true\n", encoding="utf-8")
    (folder / "repository.packages").write_text("one\n", encoding="utf-8")
    monkeypatch.setattr(rootfs, "RECIPES", folder)
    return folder


@pytest.mark.parametrize(
    ("changed", "text", "base", "repository", "layer"),
    [
        ("base/packages", "one\ntwo\n", True, True, True),
        ("base/setup.sh", "false\n", True, True, True),
        ("base/packages", "# a comment\none\n", False, False, False),
        ("repository.packages", "two\n", False, True, False),
        ("make_layer.sh", "false\n", False, False, True),
        ("nginx/files/etc/conf", "b", False, False, True),
        ("nginx/setup.sh", "false\n", False, False, True),
        ("tools/setup.sh", "false\n", False, False, False),
    ],
)
def test_changed_recipe_rebuilds_only_itself_and_its_dependants(
    recipes: Path, tmp_path: Path, changed: str, text: str, base: bool, repository: bool, layer: bool
) -> None:
    store = rootfs.Store(tmp_path)

    def keys() -> tuple[Path, Path, Path]:
        return store.base(), store.repository(), store.layer(("nginx",))

    before = keys()
    (recipes / changed).write_text(text, encoding="utf-8")
    assert tuple(a != b for a, b in zip(before, keys(), strict=True)) == (base, repository, layer)


@pytest.mark.usefixtures("recipes")
def test_layers_are_stacked_on_the_base(tmp_path: Path) -> None:
    store = rootfs.Store(tmp_path)
    assert store.lower_folders(("nginx", "tools")) == [
        store.layer(("nginx", "tools")),
        store.layer(("nginx",)),
        store.base(),
    ]


@pytest.mark.usefixtures("recipes")
def test_error_for_an_unknown_layer_lists_the_known_layers() -> None:
    with pytest.raises(LabError, match="no layer 'nosuch'; there are base, nginx, tools"):
        rootfs.recipe("nosuch")


@pytest.mark.usefixtures("recipes")
def test_only_unused_images_are_pruned(tmp_path: Path) -> None:
    store = rootfs.Store(tmp_path / "store")
    old, used = store.folder / "base" / "old", store.folder / "layer" / "nginx-used"
    half = store.folder / "layer" / ".new-nginx-x"
    for folder in (store.base(), store.repository(), store.layer(("nginx",)), old, used, half):
        folder.mkdir(parents=True)
    assert set(store.unused({used})) == {old, half}


@pytest.mark.usefixtures("recipes")
def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = rootfs.Store(tmp_path / "store")

    def refuse(*_words: object, **_options: object) -> None:
        raise LabError("no network")

    monkeypatch.setattr(rootfs, "run", refuse)
    with pytest.raises(LabError, match="no network"):
        store.ensure_base()
    assert list((store.folder / "base").iterdir()) == []


@pytest.mark.parametrize(("system", "layers"), [("debian12", ("nginx",)), ("el8-like", ("el8", "nginx"))])
def test_system_of_a_host_may_be_a_layer(system: str, layers: tuple[str, ...]) -> None:
    assert rootfs.layers_of(system, ("nginx",)) == layers
