"""Keys of the cache, and the settings that come from the machine's apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import images, rootfs
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


BOOKWORM = images.Image("Debian 12", "bookworm")
TRIXIE = images.Image("Debian 13", "trixie")


def test_only_the_suite_is_taken_from_the_machines_sources() -> None:
    texts = {
        "debian.sources": DEB822,
        "more.list": "deb [trusted=yes] http://b.example/debian bookworm main\n"
        "deb http://c.example cloud main\n# deb x\n",
    }
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert rootfs.suite_sources(texts, "bookworm", "bookworm").splitlines() == [
        f"deb {keyring} http://mirror.example/debian bookworm main",
        f"deb {keyring} http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main contrib",
        "deb [trusted=yes] http://b.example/debian bookworm main",
    ]


def test_machine_without_debian_has_no_debian_sources() -> None:
    assert rootfs.suite_sources({"ubuntu.sources": DEB822.replace("bookworm", "noble")}, "bookworm", "") == ""


def test_another_suite_comes_from_the_addresses_of_the_machines_own() -> None:
    texts = {"debian.sources": DEB822, "more.list": "deb [arch=amd64] http://bookworm.example/debian bookworm main\n"}
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert rootfs.suite_sources(texts, "trixie", "bookworm").splitlines() == [
        f"deb {keyring} http://mirror.example/debian trixie main",
        f"deb {keyring} http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main contrib",
        "deb [arch=amd64] http://bookworm.example/debian trixie main",
    ]


def test_own_sources_of_a_suite_win_over_renamed_ones() -> None:
    texts = {"debian.sources": DEB822, "more.list": "deb http://b.example/debian trixie main\n"}
    assert rootfs.suite_sources(texts, "trixie", "bookworm") == "deb http://b.example/debian trixie main\n"


@pytest.mark.parametrize(
    ("os_release", "suite"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID="12"\n', "bookworm"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", ""),
        ('ID="rocky"\nVERSION_ID="8.10"\n', ""),
    ],
)
def test_suite_of_the_machine_is_only_known_for_debian(os_release: str, suite: str) -> None:
    assert rootfs.machine_suite(os_release) == suite


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
        return store.base(BOOKWORM), store.repository(BOOKWORM), store.layer(BOOKWORM, ("nginx",))

    before = keys()
    (recipes / changed).write_text(text, encoding="utf-8")
    assert tuple(a != b for a, b in zip(before, keys(), strict=True)) == (base, repository, layer)


@pytest.mark.usefixtures("recipes")
def test_layers_are_stacked_on_the_base(tmp_path: Path) -> None:
    store = rootfs.Store(tmp_path)
    assert store.lower_folders(BOOKWORM, ("nginx", "tools")) == [
        store.layer(BOOKWORM, ("nginx", "tools")),
        store.layer(BOOKWORM, ("nginx",)),
        store.base(BOOKWORM),
    ]


@pytest.mark.usefixtures("recipes")
def test_systems_share_no_file_system(tmp_path: Path) -> None:
    store = rootfs.Store(tmp_path)
    for place in (store.base, store.repository, lambda image: store.layer(image, ("nginx",))):
        assert place(BOOKWORM) != place(TRIXIE)


@pytest.mark.usefixtures("recipes")
def test_error_for_an_unknown_layer_lists_the_known_layers() -> None:
    with pytest.raises(LabError, match="no layer 'nosuch'; there are base, nginx, tools"):
        rootfs.recipe("nosuch")


@pytest.mark.usefixtures("recipes")
def test_only_unused_images_are_pruned(tmp_path: Path) -> None:
    store = rootfs.Store(tmp_path / "store")
    old, used = store.folder / "base" / "old", store.folder / "layer" / "nginx-used"
    half = store.folder / "layer" / ".new-nginx-x"
    for image in images.IMAGES.values():
        for folder in (store.base(image), store.repository(image), store.layer(image, ("nginx",))):
            folder.mkdir(parents=True, exist_ok=True)
    for folder in (old, used, half):
        folder.mkdir(parents=True)
    assert set(store.unused({used})) == {old, half}


@pytest.mark.usefixtures("recipes")
def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = rootfs.Store(tmp_path / "store")

    def refuse(*_words: object, **_options: object) -> None:
        raise LabError("no network")

    monkeypatch.setattr(rootfs, "run", refuse)
    with pytest.raises(LabError, match="no network"):
        store.ensure_base(BOOKWORM)
    assert list((store.folder / "base").iterdir()) == []


@pytest.mark.parametrize(
    ("system", "layers"), [("debian12", ("nginx",)), ("debian13", ("nginx",)), ("el8-like", ("el8", "nginx"))]
)
def test_system_of_a_host_may_be_a_layer(system: str, layers: tuple[str, ...]) -> None:
    assert images.IMAGES[system].with_layers(("nginx",)) == layers


@pytest.mark.parametrize("name", images.IMAGES)
def test_every_image_has_its_recipes(name: str) -> None:
    for layer in images.IMAGES[name].layers:
        assert rootfs.recipe(layer).packages
