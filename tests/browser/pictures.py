# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pictures of the status page for the README: make pictures.

The page is the gateway's own. The figures are made up, as no job runs here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.browser import made_up
from tests.browser.chromium import Browser, browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1000, 720)


def take(page: Browser, url: str, path: Path, size: tuple[int, int], dark: bool, what: str) -> None:
    """Take a picture of the page from its top to the end of an element."""
    page.look(size, dark=dark)
    page.go(url)
    page.picture(path, page.run(f"Math.ceil(document.querySelector('{what}').getBoundingClientRect().bottom) + 12"))


def main(folder: Path = IMAGES) -> None:
    """Write the README's pictures, or all sizes to another folder.

    :param folder: the folder of the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = made_up.status(made_up.gpu("vasp-02", 21504), made_up.gpu("vasp-02", 29491))
    with made_up.served(shown) as url, browser() as page:
        for scheme in ("light", "dark"):
            if folder == IMAGES:
                take(page, url, folder / f"status-{scheme}.png", SIZE, scheme == "dark", ".tiers")
                continue
            for width in (390, 1280):
                take(page, url, folder / f"{width}-{scheme}.png", (width, 844), scheme == "dark", "footer")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
