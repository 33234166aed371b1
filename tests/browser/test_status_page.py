# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page in a real browser, through a real nginx and the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.resources import files

import pytest

from tests.browser import made_up
from tests.browser.chromium import DESK, PHONE, Browser
from tests.browser.conftest import settled, url
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Gateway

#: WCAG requires that a page reflows at a zoom of 400 % on 1280 pixels.
NARROW = (320, 700)
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
LIGHT_LEVELS = ("17, 99, 41", "125, 78, 0", "164, 14, 38")
DARK_LEVELS = ("86, 211, 100", "227, 179, 65", "255, 138, 128")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def violations(page: Browser) -> list[str]:
    """Return axe's violations of the shown page."""
    page.run(f"{AXE};0")
    options = json.dumps({"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]})
    found = page.run(f"axe.run(document, {options}).then(r => r.violations)")
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def unfold(page: Browser) -> None:
    """Unfold all examples and the table of tasks."""
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; }); 0")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_page_shows_the_state_of_each_tier(page: Browser, made: Gateway, script: bool) -> None:
    page.look(script=script)
    page.go(url(made))
    assert page.text("#summary") == "1 of 2 tiers answer. Unavailable: reasoning."
    assert "Ready It answers requests." in page.text("#tier-fast")
    reasoning = page.text("#tier-reasoning")
    assert "Preempted by VASP job 88, pending: Priority." in reasoning
    assert "Expected in about 25 minutes" in reasoning
    assert "try again in 30 seconds" in reasoning
    assert REASONING_MODEL in reasoning
    buttons = page.run("[...document.querySelectorAll('button')].map(b => b.textContent)")
    assert buttons == (["Copy", "Copy", "Copy", "Copy", "Pause updates"] if script else [])
    # The browser shows Tokyo's time, which has no summer time; without script the server's UTC stays.
    assert page.text("#generated").endswith("UTC") is not script


def test_page_refreshes_itself(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    unfold(page)
    page.run("window.mark = 1; document.querySelector('#openai').focus()")
    made.unavailable("fast", "loading", "loading 43 %", 12, percent=43)
    page.wait(lambda: "43 % loaded" in page.text("#tier-fast"), "the page that says so", 15)
    assert page.run("document.querySelector('progress').value") == 43
    assert page.text("#summary") == "No tier answers."
    made.ready("fast", 9, [FAST_MODEL])
    page.wait(lambda: "It answers requests." in page.text("#tier-fast"), "the page that says so", 15)
    assert page.run("window.mark") == 1
    assert page.run("document.activeElement.id") == "openai"


def test_updates_can_be_paused(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    find = "[...document.querySelectorAll('button')].find(b => /updates/.test(b.textContent))"
    page.run(f"{find}.click()")
    assert page.run(f"{find}.textContent") == "Resume updates"
    page.asked.clear()
    time.sleep(6)
    page.run("0")
    assert page.asked == []
    page.run(f"{find}.click()")
    time.sleep(6)
    page.run("0")
    assert page.asked == [url(made)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE, NARROW], ids=["desk", "phone", "narrow"])
def test_page_fits_its_viewport_without_violations(
    page: Browser, made: Gateway, size: tuple[int, int], dark: bool
) -> None:
    page.look(size, dark=dark)
    page.go(url(made))
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert violations(page) == []
    unfold(page)
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(246, 248, 250)")
    assert violations(page) == []
    small = "[...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 24).length"
    assert page.run(small) == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("state", ["loading", "draining", "pending", "backing-off", "stopped"])
def test_page_has_no_violations_in_any_state(page: Browser, made: Gateway, state: str, dark: bool) -> None:
    made.unavailable("fast", state, "because of the tests", 9, percent=43 if state == "loading" else None)
    settled(made, "fast", state)
    page.look(PHONE, dark=dark)
    page.go(url(made))
    assert violations(page) == []


def reached(page: Browser) -> list[str]:
    """Return what the Tab key reaches, from the top of the page to its end."""
    page.run("getSelection().collapse(document.body, 0)")
    found: list[str] = []
    for _step in range(40):
        page.press("Tab", 9)
        here = str(page.run("(e => e === document.body ? '' : e.id || e.textContent.trim())(document.activeElement)"))
        if not here:
            break
        found.append(here)
    return found


def test_page_can_be_used_by_keyboard(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    names = ["curl", "Python, package openai", "Python, package anthropic"]
    links = ["Refresh", "As JSON", "Metrics", "Pause updates"]
    assert reached(page) == [*names, "Models by task (2)", *links]
    page.run("document.querySelector('summary').focus()")
    page.press("Enter", 13)
    assert page.run("document.querySelector('details').open")
    unfold(page)
    page.run("document.activeElement.blur(); 0")
    pres = [each for name in ("curl-fast", "curl-reasoning", "openai", "anthropic") for each in (name, "Copy")]
    assert [one for one in reached(page) if one not in (*names, "Models by task (2)")] == [*pres, *links]


def test_example_is_copied_unchanged(page: Browser, made: Gateway) -> None:
    origin = made.url(path="")
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"], origin=origin)
    page.go(url(made))
    unfold(page)
    page.run("document.querySelector('#curl-fast').nextElementSibling.focus()")
    page.press("Enter", 13)
    page.wait(lambda: page.text("#curl-fast + button") == "Copied", "the button that says so")
    assert page.run("navigator.clipboard.readText()") == page.run("document.querySelector('#curl-fast').textContent")
    page.wait(lambda: page.text("#curl-fast + button") == "Copy", "the button as it was", 5)


def test_example_is_selected_without_a_clipboard(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    unfold(page)
    # As on a page that was loaded without TLS from another host.
    page.run("Object.defineProperty(navigator, 'clipboard', {value: undefined}); 0")
    page.run("document.querySelector('#openai').nextElementSibling.click()")
    page.wait(lambda: page.text("#openai + button") == "Selected", "the button that says so")
    assert page.run("getSelection().toString()").startswith("import os\nfrom openai import OpenAI\n")


def test_texts_of_slurm_and_jobs_are_escaped(page: Browser, made: Gateway) -> None:
    evil = "<img src=x onerror='window.mark=1'><script>window.mark=1</script>"
    made.unavailable("fast", "pending", evil, 5, job_id=evil, pending_reason=evil)
    settled(made, "fast", "pending")
    page.go(url(made))
    assert "<script>window.mark=1</script>" in page.text("#tier-fast")
    # An update must escape the same texts.
    made.unavailable("fast", "pending", f"{evil} again", 5, job_id=evil, pending_reason=evil)
    page.wait(lambda: "again" in page.text("#tier-fast"), "the page that says so", 15)
    assert page.run("window.mark") is None
    assert page.run("document.images.length") == 0


def test_other_scripts_do_not_run(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.mark = 1'})); 0"
    )
    assert page.run("window.mark") is None
    assert any("Content Security Policy" in text for text in page.complaints)
    page.complaints.clear()


def test_page_shows_that_the_gateway_does_not_answer(page: Browser, made: Gateway) -> None:
    page.go(url(made))
    made.stop("nginx")
    page.wait(lambda: "may be out of date" in page.text("#connection"), "the page that says so", 15)
    made.start_nginx()
    page.wait(lambda: page.text("#connection") == "", "the page that says no more", 15)
    assert all("ERR_CONNECTION_REFUSED" in text or "Failed to load" in text for text in page.complaints)
    page.complaints.clear()


@pytest.mark.parametrize("path", ["/", "/fast/status", "/reasoning/status", "/status?x=1"])
def test_each_path_leads_to_the_page(page: Browser, made: Gateway, path: str) -> None:
    page.go(url(made, path))
    assert page.text("h1") == "Inference status"
    page.run("document.querySelector('a[href=\"status.json\"]').click()")
    page.wait(lambda: page.run("document.contentType") == "application/json", "the facts as JSON")
    # For a response that is not a page, the browser itself requests an icon.
    page.complaints[:] = [text for text in page.complaints if "favicon.ico" not in text]


#: Elements whose text is cut: it needs more room than its element shows.
CUT = """[...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth
    && getComputedStyle(e).display !== 'inline' && !(e instanceof SVGElement)).map(e => e.outerHTML.slice(0, 99))"""
#: Values that are not on the line of their unit.
TORN = """[...document.querySelectorAll('.quantity, time')].filter(e => e.getClientRects().length > 1)
    .map(e => e.textContent)"""
OUTSIDE = """[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > window.innerWidth)
    .map(e => e.outerHTML.slice(0, 99))"""
GPUS = [made_up.gpu(f"vasp-{number:02}", used) for number, used in ((2, 21504), (2, 29491), (3, 32100), (3, 27700))]


@pytest.fixture(scope="module", params=[1, 1000], ids=["usual", "large"])
def busy(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve a page with all that a page can show, once with very large figures."""
    shown = made_up.status(*GPUS, counts=request.param)
    with made_up.served(shown) as found:
        yield found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE, NARROW], ids=["desk", "phone", "narrow"])
def test_figures_and_units_stay_whole(chromium: Browser, busy: str, size: tuple[int, int], dark: bool) -> None:
    chromium.look(size, dark=dark)
    chromium.go(busy)
    for _folded in (True, False):
        assert chromium.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert chromium.run(TORN) == []
        assert chromium.run(OUTSIDE) == []
        assert violations(chromium) == []
        unfold(chromium)
    if size != DESK:
        assert chromium.run(CUT) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_gpus_have_names_and_the_colors_of_their_levels(chromium: Browser, busy: str, dark: bool) -> None:
    chromium.look(PHONE, dark=dark)
    chromium.go(busy)
    text = chromium.text("#tier-fast")
    assert text.count(made_up.V100) == 4
    assert "28.8 of 32.0 GiB, above target" in text
    assert "31.3 of 32.0 GiB, critical" in text
    colors = "[...document.querySelectorAll('meter')].map(e => [e.dataset.level, getComputedStyle(e).color])"
    good, some, bad = (f"rgb({color})" for color in (DARK_LEVELS if dark else LIGHT_LEVELS))
    assert chromium.run(colors) == [["below", good], ["acceptable", some], ["critical", bad], ["good", good]]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_charts_show_the_last_hour(chromium: Browser, busy: str, script: bool) -> None:
    chromium.look(script=script)
    chromium.go(busy)
    labels = chromium.run("[...document.querySelectorAll('svg')].map(e => e.getAttribute('aria-label').slice(0, 12))")
    assert labels == ["Requests in ", "Generated to", "Mean time to"] * 2
    assert chromium.run("[...document.querySelectorAll('svg')].every(e => e.getBoundingClientRect().height > 20)")
    assert "Last hour Requests" in chromium.text("#tier-fast")


def test_phone_page_is_short(page: Browser, made: Gateway) -> None:
    """The page of two tiers had 2,668 pixels before its examples were folded."""
    page.look(PHONE)
    page.go(url(made))
    assert page.run("document.documentElement.scrollHeight") <= 1334
