"""The page of a schedule in a real Chromium: it opens without an error or a network, zooms and moves
by wheel and by keys, and its tooltips say what its data says.

usage: report_page.py HALFBACK [SCREENSHOT_DIR]
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BEGIN, END, NAME, KIND = 5, 6, 1, 4


def check(condition, text):
    if not condition:
        raise SystemExit(f"report_page: {text}")


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    check(done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def open_browser(dark):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,900",
                     "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(argument)
    if dark:
        options.add_argument("--force-dark-mode")
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


class Page:
    def __init__(self, browser, path):
        self.browser = browser
        browser.get(f"file://{path}")
        self.chart = browser.find_element(By.ID, "chart")
        self.tooltip = browser.find_element(By.ID, "tooltip")

    def run(self, script, *arguments):
        return self.browser.execute_script(f"return {script}", *arguments)

    def view(self):
        return self.run("[halfback.view.begin, halfback.view.end]")

    def hover(self, track, index):
        x, y = self.run("halfback.pixelOf(arguments[0], arguments[1])", track, index)
        size = self.chart.size
        chain = ActionChains(self.browser, duration=0)
        chain.move_to_element_with_offset(self.chart, round(x - size["width"] / 2), round(y - size["height"] / 2))
        chain.perform()

    def press(self, *keys):
        for key in keys:
            self.chart.send_keys(key)


def check_tooltips(page, data):
    begin, end = page.view()
    narrow = 4 * (end - begin) / page.chart.size["width"]  # seconds: no mouse points at less
    for track_number, track in enumerate(data["tracks"]):
        spans = track["spans"]
        wide = [i for i, span in enumerate(spans) if span[END] - span[BEGIN] > narrow]
        computing = [i for i in wide if len(spans[i][KIND]) == 1]
        reductions = [i for i in wide if spans[i][KIND] == "REDUCE_GRAD"]  # in lanes of their own
        check(computing, f"track {track_number} has no action that can be pointed at")
        for index in computing[:: max(1, len(computing) // 12)] + reductions[:2]:
            page.hover(track_number, index)
            check(page.tooltip.is_displayed(), f"no tooltip over {spans[index]}")
            check(page.tooltip.find_element(By.TAG_NAME, "b").text == spans[index][NAME], page.tooltip.text)
            found = [float(page.tooltip.get_attribute(f"data-{name}")) for name in ("begin", "end")]
            check(found == spans[index][BEGIN : END + 1], f"{found} over {spans[index]}")
            check("takes" in page.tooltip.text and "holds" in page.tooltip.text, page.tooltip.text)
            rank, end = spans[index][0], spans[index][END]
            held = [value for time, value in track["memory"][rank] if time <= end + 1e-12]
            check(float(page.tooltip.get_attribute("data-held")) == (held[-1] if held else 0), page.tooltip.text)


def check_moves(page):
    whole = page.view()
    ActionChains(page.browser).scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(page.chart), 0, -300
    ).perform()
    zoomed = page.view()
    check(zoomed[1] - zoomed[0] < whole[1] - whole[0], f"the wheel zooms {whole} to {zoomed}")
    page.press("+", "+", Keys.ARROW_RIGHT)
    moved = page.view()
    check(moved[1] - moved[0] < zoomed[1] - zoomed[0] and moved[0] > whole[0], f"keys move {zoomed} to {moved}")
    page.press("0")
    check(page.view() == whole, f"0 fits: {page.view()}")
    page.press(Keys.ESCAPE, "n")
    first = page.tooltip.text
    page.press("n")
    check(page.tooltip.is_displayed() and page.tooltip.text != first, "n goes to the next action")
    page.press(Keys.ARROW_DOWN)
    page.press("p", "c", "c", Keys.ESCAPE)
    check(not page.tooltip.is_displayed(), "Escape ends the choice")


def check_page(path, name, num_tracks, screenshots):
    for dark in (False, True):
        browser = open_browser(dark)
        try:
            page = Page(browser, path)
            data = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))
            check(len(data["tracks"]) == num_tracks, f"{name}: {len(data['tracks'])} tracks")
            page.press("n")
            if screenshots:
                browser.save_screenshot(str(screenshots / f"{name}_{'dark' if dark else 'light'}.png"))
            check_tooltips(page, data)
            check_moves(page)
            before = page.run("getComputedStyle(document.body).backgroundColor")
            browser.find_element(By.ID, "theme").click()
            check(page.run("getComputedStyle(document.body).backgroundColor") != before, "the theme does not change")
            rows = browser.find_elements(By.CSS_SELECTOR, "#table tr")
            check(len(rows) == 1 + sum(1 + track["num_ranks"] for track in data["tracks"]), f"{len(rows)} rows")
            fraction = f"{data['tracks'][0]['bubble_fraction']:.4f}"
            check(fraction in rows[1].text, f"the table lacks {fraction}: {rows[1].text}")
            check(page.run("performance.getEntriesByType('resource').length") == 0, "the page loads something")
            log = browser.get_log("browser")
            check(not log, f"{name}: the console says {log}")
            table = browser.find_element(By.ID, "table").text
        finally:
            browser.quit()
    return table


def main(arguments):
    halfback = pathlib.Path(arguments[0]).resolve()
    screenshots = pathlib.Path(arguments[1]) if len(arguments) > 1 else None
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        simulated = folder / "simulated.html"
        simulated.write_text(
            call(halfback, "simulate", "zb-v", "--ranks", 8, "--micro-batches", 16, "--latency", 0.05, "--format", "html")
        )
        text = folder / "text.txt"
        text.write_text("It was a bright cold day in April, and the clocks were striking thirteen. " * 300)
        call(halfback, "train", "--data", text, "--schedule", "1f1b-2", "--ranks", 2, "--steps", 3, "--layers", 4,
             "--width", 32, "--report", folder / "run")
        check_page(simulated, "simulated", 1, screenshots)
        simulated.write_text(call(halfback, "simulate", "bitpipe", "--reduce-cost", 2, "--format", "html"))
        check("1 of 4" in check_page(simulated, "reduced", 1, screenshots), "the table lacks what is exposed")
        check_page(folder / "run" / "report.html", "trained", 2, screenshots)
    print("the pages work in Chromium")


if __name__ == "__main__":
    main(sys.argv[1:])
