"""The page of a schedule in a real Chromium: it opens without an error or a network, zooms and moves
by wheel and by keys, and its tooltips say what its data says; the curves of a run have the points, labels and
gaps of its numbers.

usage: report_page.py HALFBACK [SCREENSHOT_DIR]
"""

import json
import pathlib
import re
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


def check_curves(page, metrics):
    """Compares what is drawn with the lines of metrics.jsonl, few enough that none are merged."""
    figures = page.browser.find_elements(By.TAG_NAME, "figure")
    check([figure.find_element(By.TAG_NAME, "b").text for figure in figures] == ["Loss", "Learning rate", "Speed"], "titles")
    keys = [("loss", "validation_loss"), ("learning_rate",), ("tokens_per_second",)]
    for figure, names in zip(figures, keys):
        caption = figure.find_element(By.TAG_NAME, "figcaption").text
        columns = [[line[name] for line in metrics if name in line] for name in names]
        columns = [column for column in columns if column]
        drawn = figure.find_elements(By.CSS_SELECTOR, "path.curve")
        check([int(curve.get_attribute("data-points")) for curve in drawn]
              == [sum(value is not None for value in column) for column in columns], f"points of {caption}")
        for column in columns:
            last = float(f"{column[-1]:.5g}")
            check(any(abs(float(word) - last) <= 1e-9 * abs(last) for word in caption.split() if word[0].isdigit()),
                  f"{caption} lacks {last}")
        ticks = [text.text for text in figure.find_elements(By.CSS_SELECTOR, "text.step")]
        ends = [f"step {metrics[0]['step']}"] + [str(line["step"]) for line in metrics[1:][-1:]]
        check(ticks[: len(ends)] == ends, f"steps {ticks}")
        values = [text.text for text in figure.find_elements(By.CSS_SELECTOR, "text.value")]
        check(3 <= len(values) <= 8 and len(set(values)) == len(values), f"values {values}")
        colors = {curve.value_of_css_property("stroke") for curve in drawn}
        check(len(colors) == len(drawn) and page.run("getComputedStyle(document.body).backgroundColor") not in colors, colors)
        bad = figure.find_elements(By.CSS_SELECTOR, "path.bad")
        check(sum(int(one.get_attribute("data-points")) for one in bad) == sum(column.count(None) for column in columns), "bad")
        check(("not finite" in caption) == bool(bad), caption)
    plot = figures[0].find_element(By.TAG_NAME, "svg")
    tip = figures[0].find_element(By.CLASS_NAME, "tip")
    ActionChains(page.browser, duration=0).move_to_element_with_offset(plot, plot.size["width"] // 2 - 16, 0).perform()
    check(tip.find_element(By.TAG_NAME, "b").text == f"step {metrics[-1]['step']}", tip.text)
    check(f"{metrics[-1]['loss']:.5g}" in tip.text, tip.text)
    plot.send_keys(Keys.ESCAPE)
    check(not tip.is_displayed(), "Escape ends the choice of a point")
    plot.send_keys(Keys.ARROW_RIGHT)
    check(tip.find_element(By.TAG_NAME, "b").text == f"step {metrics[0]['step']}", tip.text)
    plot.send_keys(Keys.ESCAPE)


def read_metrics(path):
    return [json.loads(line) for line in path.with_name("metrics.jsonl").read_text().splitlines()]


def check_merged(page):
    """Points of two steps each: a line over their means, with a band, between the first and the last value."""
    figure = page.browser.find_element(By.TAG_NAME, "figure")
    check(figure.find_element(By.CSS_SELECTOR, "path.curve").get_attribute("data-points") == "4", "points with their ends")
    check(len(figure.find_elements(By.CSS_SELECTOR, "path.band")) == 1, "a band")
    check("up to 2 values" in page.browser.find_element(By.ID, "curves_note").text, "what a point stands for")
    plot, tip = figure.find_element(By.TAG_NAME, "svg"), figure.find_element(By.CLASS_NAME, "tip")
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    check("steps 1 to 2\ntraining mean 4, from 3 to 5" in tip.text, tip.text)
    plot.send_keys(Keys.ARROW_RIGHT)
    check("steps 3 to 4\ntraining mean 2, from 2 to 2, 1 not finite" in tip.text, tip.text)
    check([text.text for text in figure.find_elements(By.CSS_SELECTOR, "text.value")] == ["1", "2", "3", "4", "5"], "values")


def with_training_loss(path, page, curve):
    """Writes a page again with another curve of the training loss, and without one of the validation."""
    begin, data, end = re.fullmatch(r'(.*<script id="data" type="application/json">)(.*?)(</script>.*)',
                                    page.read_text(), re.DOTALL).groups()
    data = json.loads(data)
    data["charts"][0]["curves"] = [{"name": "training", "values_per_point": 1, **curve}]
    path.write_text(begin + json.dumps(data) + end)
    return path


def check_drawn(path, name, screenshots, checks):
    for dark in (False, True):
        browser = open_browser(dark)
        try:
            checks(Page(browser, path))
            if screenshots:
                browser.save_screenshot(str(screenshots / f"{name}_{'dark' if dark else 'light'}.png"))
            log = browser.get_log("browser")
            check(not log, f"{name}: the console says {log}")
        finally:
            browser.quit()


def check_page(path, name, num_tracks, screenshots, metrics=None):
    for dark in (False, True):
        browser = open_browser(dark)
        try:
            page = Page(browser, path)
            data = json.loads(browser.find_element(By.ID, "data").get_attribute("textContent"))
            check(len(data["tracks"]) == num_tracks, f"{name}: {len(data['tracks'])} tracks")
            check(("charts" in data) == bool(metrics), f"{name}: curves of what has not run, or none")
            if metrics:
                check_curves(page, metrics)
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
             "--width", 32, "--evaluate-every", 2, "--report", folder / "run")
        call(halfback, "train", "--data", text, "--schedule", "1f1b-2", "--ranks", 2, "--steps", 1, "--layers", 2,
             "--width", 16, "--evaluate-every", 0, "--report", folder / "one")
        check_page(simulated, "simulated", 1, screenshots)
        simulated.write_text(call(halfback, "simulate", "bitpipe", "--reduce-cost", 2, "--format", "html"))
        check("1 of 4" in check_page(simulated, "reduced", 1, screenshots), "the table lacks what is exposed")
        run, one = folder / "run" / "report.html", folder / "one" / "report.html"
        metrics = read_metrics(run)
        check_page(run, "trained", 2, screenshots, metrics)
        check_drawn(one, "one_step", screenshots, lambda page: check_curves(page, read_metrics(one)))
        losses = [5.5, None, 5.25]
        lines = [{key: line[key] for key in ("step", "learning_rate", "tokens_per_second")} | {"loss": loss}
                 for line, loss in zip(metrics, losses)]
        gap = with_training_loss(folder / "gap.html", run, {"points": [[i + 1, loss] for i, loss in enumerate(losses)]})
        check_drawn(gap, "gap", screenshots, lambda page: check_curves(page, lines))
        points = [[1, 5], [1, 2, 4, 3, 5, 0], [3, 4, 2, 2, 2, 1], [4, 1]]
        merged = with_training_loss(folder / "merged.html", run, {"values_per_point": 2, "points": points})
        check_drawn(merged, "merged", screenshots, check_merged)
    print("the pages work in Chromium")


if __name__ == "__main__":
    main(sys.argv[1:])
