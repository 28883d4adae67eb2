"""The page of a study in a real Chromium: its table has the numbers of the rows, what it draws lies where medians, quartiles and
fronts of the rows lie (NumPy, brute force), everything follows filters, legends and axes, and its address shows the same again.

usage: study_page.py PROGRAM [SCREENSHOT_DIR]
"""

import base64
import itertools
import json
import math
import pathlib
import random
import re
import sys
import tempfile
import time
import xml.etree.ElementTree

import numpy
from report_page import call, open_browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

NASTY = '</script><b id="x">"two" & <!--<script>'
SCHEMES = ("backprop", "greedy", "overlapping", NASTY)
UP = {"validation_loss": "validation loss", "loss": "training loss", "validation_accuracy": "validation accuracy",
      "cosine_1": "cosine with backprop, stage 1"}
# x of a row's step.
ACROSS = {
    "step": lambda row, step: step,
    "samples": lambda row, step: step * row["samples_per_step"],
    "seconds": lambda row, step: step * row["step_seconds"],
    "flops": lambda row, step: row["flops"] * step / row["steps"],
    "ideal": lambda row, step: row["parallel_flops"] * step / row["steps"],
}


def check(condition, text):
    if not condition:
        raise SystemExit(f"study_page: {text}")


# ---- Rows of studies ----------------------------------------------------------------------------


def make_row(run, place, noise, costs):
    """A run that could be: losses fall along a power law, larger batches need fewer steps, some runs diverge."""
    labels = dict(place)
    scheme, batch = SCHEMES.index(labels["scheme"]), int(labels["batch-size"])
    trial = 1 + .25 * int(labels.get("trial", 0))
    floor, need = 1.2 + .12 * scheme, (60 + 2600 / batch * (1 + .35 * scheme)) * trial * math.exp(noise.gauss(0, .08))
    losses = [floor + 2.6 / (1 + 4 * step / need) + noise.gauss(0, .015) for step in range(20, 501, 20)]
    reached = next((i for i, loss in enumerate(losses) if loss < 1.9), None)
    diverged = noise.random() < .04
    count = 6 if diverged else len(losses) if reached is None else reached + 1
    curve = {"step": list(range(20, 20 * count + 1, 20)), "validation_loss": losses[:count],
             "loss": [loss - .1 + noise.gauss(0, .01) for loss in losses[:count]],
             "validation_accuracy": [1 / (1 + loss / 2) for loss in losses[:count]]}
    if diverged:
        curve["loss"][-1] = curve["validation_loss"][-1] = None
    step_seconds = (.004 + .0002 * batch) / (1 + .8 * scheme) * math.exp(noise.gauss(0, .05))
    row = {"run": run, "place": [list(pair) for pair in place], "command": f"halfback train --data text.txt --run {run} --name 'a<b'",
           "status": "infeasible" if diverged else "incomplete" if reached is None else "complete", "steps": 20 * count,
           "seconds": 20 * count * step_seconds * 1.01, "step_seconds": step_seconds, "samples_per_step": batch,
           "loss": curve["loss"][-1], "validation_loss": curve["validation_loss"][-1],
           "validation_accuracy": curve["validation_accuracy"][-1], "curve": curve, "sent_up": 4096 * batch, "sent_down": 0,
           "activation_bytes": [65536 * batch, 32768 * batch]}
    if costs:
        curve["cosines"] = [[None, .2 + .1 * scheme + noise.gauss(0, .02)] for _ in range(count)]
        if labels["seed"] != "3" or scheme:  # the last run of backprop has no next one
            row |= {"first_layer_cka": .9 - .2 * scheme + noise.gauss(0, .02), "first_layer_angle": .3 + .3 * scheme + noise.gauss(0, .02),
                    "first_layer_largest_angle": 1.5 + noise.gauss(0, .01)}
        if labels["seed"] == "1" and batch == 8:
            row["filters"] = {"width": 4, "height": 3, "data": base64.b64encode(noise.randbytes(12 * (25 if scheme else 7))).decode()}
        row |= {"flops": 1.7e9 * batch * 20 * count * (1 + .1 * scheme), "parallel_flops": round(row["seconds"] / (2 + scheme), 2)}  # some are equal
    return row


def make_rows(num_seeds, num_trials=0, costs=False, batches=(8, 16, 32, 64)):
    noise, rows = random.Random(11), []
    for scheme, batch, seed in itertools.product(SCHEMES, batches, range(1, num_seeds + 1)):
        for trial in range(num_trials or 1):
            drawn = [("trial", str(trial)), ("learning-rate", ("1e-1", "3e-2", "7e-3")[trial % 3])] if num_trials else []
            place = [("scheme", scheme), ("batch-size", str(batch)), ("seed", str(seed)), *drawn]
            rows.append(make_row(len(rows), place, noise, costs))
    random.Random(3).shuffle(rows)  # rows come as runs end
    return rows


def write_page(program, folder, name, rows):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"study": {}}, *rows]))
    page = folder / f"{name}.html"
    page.write_text(call(program, path, f"Study {name}: local updates of a small transformer"))
    return page


# ---- What should be there -----------------------------------------------------------------------


def labels_of(row):
    return dict(itertools.takewhile(lambda pair: pair[0] != "trial", row["place"])) | {
        name: label for name, label in row["place"] if name == "trial"}


def grouped(rows, key_of):
    groups = {}
    for row in sorted(rows, key=lambda row: row["run"]):
        groups.setdefault(key_of(row), []).append(row)
    return list(groups.values())


def without(row, *names):
    return tuple(item for item in labels_of(row).items() if item[0] not in names)


def summary(values):
    few = len(values) < 4
    return [float(numpy.median(values)), float(numpy.min(values) if few else numpy.quantile(values, .25)),
            float(numpy.max(values) if few else numpy.quantile(values, .75)), len(values)]


def curves_of(rows, up, across):
    """Lists [x, median, low, high, n] of each point of each line."""
    lines = []
    for members in grouped(rows, lambda row: without(row, "seed")):
        points = {}
        for row in members:
            values = [all_stages[1] for all_stages in row["curve"]["cosines"]] if up == "cosine_1" else row["curve"][up]
            for step, y in zip(row["curve"]["step"], values):
                if y is not None:
                    points.setdefault(step, []).append((ACROSS[across](row, step), y))
        lines.append([[float(numpy.median([x for x, _ in points[step]])), *summary([y for _, y in points[step]])] for step in sorted(points)])
    return lines


def scaling_of(rows):
    lines = []
    for members in grouped(rows, lambda row: without(row, "seed", "trial", "batch-size")):
        points = []
        for here in grouped(members, lambda row: row["samples_per_step"]):
            best = [min([row["steps"] for row in trials if row["status"] == "complete"], default=None)
                    for trials in grouped(here, lambda row: labels_of(row)["seed"])]
            best = [steps for steps in best if steps is not None]
            if best:
                points.append([here[0]["samples_per_step"], *summary(best)])
        lines.append(sorted(points))
    return [line for line in lines if line]


def similarities_of(rows, name):
    """The point of each line, numbered."""
    lines = grouped([row for row in rows if name in row], lambda row: without(row, "seed", "trial"))
    return [[[i, *summary([row[name] for row in members])]] for i, members in enumerate(lines)]


def front_of(points):
    """Brute force: what no other point equals or beats in both and beats in one."""
    return sorted({a for a in points if not any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in points)})


# ---- What is there ------------------------------------------------------------------------------


class Page:
    def __init__(self, browser, path, address=""):
        self.browser = browser
        browser.get("about:blank")
        browser.get(f"file://{path}{address}")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def set(self, name, value):
        Select(self.one(f"#{name}")).select_by_value(value)

    def tick(self, axis, label):
        self.one(f'#filters [data-axis="{axis}"] input[data-label="{label}"]').click()

    def numbers(self, plot):
        """The points of a plot's lines as the page has computed them."""
        return self.run("return halfback.plots[arguments[0]].series.filter(line => !line.isSilent).map(line => line.points.filter(Boolean)"
                        ".map(point => [point.x, point.mid, point.low, point.high, point.n]))", plot)

    def scales(self, plot):
        """Functions from numbers to pixels, from the ticks, which have to agree."""
        texts = self.run("return ['step', 'value'].map(kind => [...document.querySelectorAll(`#${arguments[0]} text.${kind}`)].map(text =>"
                         "[Number(text.dataset.value), Number(text.getAttribute(kind === 'step' ? 'x' : 'y')) - (kind === 'step' ? 0 : 4)]))", plot)
        titles = [text.text for text in self.all(f"#{plot} text.title")]
        scales = []
        for ticks, title in zip(texts, reversed(titles)):
            check(2 <= len(ticks) <= 22, f"{plot}: ticks {ticks}")
            to = math.log if "(log)" in title else float
            (first, begin), (last, end) = ticks[0], ticks[-1]
            scales.append(lambda value, to=to, first=first, last=last, begin=begin, end=end:
                          begin + (to(value) - to(first)) / (to(last) - to(first)) * (end - begin))
            check(all(abs(scales[-1](value) - at) < .01 for value, at in ticks), f"{plot}: ticks {ticks} of {title}")
        return scales

    def paths(self, plot, kind):
        """The corners of each path, by series."""
        found = {}
        for number, d in self.run("return [...document.querySelectorAll(`#${arguments[0]} path.${arguments[1]}`)].map(path =>"
                                  "[path.dataset.series, path.getAttribute('d')])", plot, kind):
            corners = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([-\d.]+ [-\d.]+)", d)]
            found.setdefault(int(number), []).extend(corners)
        return found

    def picture(self):
        return self.run("return [...document.querySelectorAll('figure[hidden], svg[role], .legend, .note, table, #counts')].map(one => one.hidden ? one.id : one.outerHTML).join()"
                        "+ [...document.querySelectorAll('input, select')].map(one => one.type === 'checkbox' ? one.checked : one.value).join()")


def check_close(found, expected, text):
    check(len(found) == len(expected), f"{text}: {len(found)} lines for {len(expected)}")
    for line, wanted in zip(found, expected):
        check(numpy.shape(line) == numpy.shape(wanted) and numpy.allclose(line, wanted, rtol=1e-12, atol=0), f"{text}: {line} for {wanted}")


def check_lines(page, plot, expected, text):
    """Medians and bands: numbers to the last digits, and where they are drawn."""
    check_close(page.numbers(plot), expected, text)
    across, up = page.scales(plot)
    drawn, bands = page.paths(plot, "curve"), page.paths(plot, "band")
    for number, line in enumerate(expected):
        at = [(across(x), up(mid)) for x, mid, *_ in line]
        found = set(drawn[number])
        check(len(line) == 1 or all(any(math.dist(point, corner) < .15 for corner in found) for point in at), f"{text}: line {number} is not at {at}")
        check(all(any(math.dist(point, corner) < .15 for point in at) for corner in found), f"{text}: line {number} has other points than {at}")
        if max(n for *_, n in line) > 1:
            edge = [(across(x), up(low)) for x, _, low, _, _ in line] + [(across(x), up(high)) for x, _, _, high, _ in reversed(line)]
            check(numpy.allclose(bands[number], edge, rtol=0, atol=.15), f"{text}: band {number} {bands[number]} for {edge}")


def check_table(page, rows):
    more = page.one("#more")
    if more.is_displayed():
        more.click()
    head, *lines = page.run("return [...document.querySelectorAll('#table tr')].map(line => [...line.cells].map(cell => cell.textContent))")
    check([int(line[0]) for line in lines] == sorted(row["run"] for row in rows), f"{len(lines)} lines for {len(rows)} runs")
    by_run = {row["run"]: row for row in rows}
    for line in lines:
        cells, row = dict(zip(head, line)), by_run[int(line[0])]
        for name, label in row["place"]:
            check(cells.pop(name) == label, f"{name} of {line}")
        for title, text in cells.items():
            value = row.get(title.replace(" ", "_"), "")
            same = (text == "not finite" if value is None else text == value if isinstance(value, str)
                    else [float(word) for word in text.split(", ")] == (value if isinstance(value, list) else [value]))
            check(same, f"run {row['run']}: {title} is {text} for {value!r}")
    shown = page.one("#counts").text
    check(f"{len(rows)} of " in shown, shown)
    for status in {row["status"] for row in rows}:
        check(f"{sum(row['status'] == status for row in rows)} {status}" in shown, shown)


def check_sorting(page, rows):
    key = {"validation_loss": lambda row: row["validation_loss"], "activation_bytes": lambda row: max(row["activation_bytes"]),
           "at.batch-size": lambda row: row["samples_per_step"]}
    if "trial" in labels_of(rows[0]):
        key["drawn.learning-rate"] = lambda row: float(dict(row["place"])["learning-rate"])
    for name, value_of in key.items():
        for sign in (1, -1):
            page.one(f'[data-sort="{name}"]').click()
            expected = [row["run"] for row in sorted(rows, key=lambda row: (value_of(row) is None, sign * (value_of(row) or 0), row["run"]))]
            found = page.run("return [...document.querySelectorAll('#table tbody tr')].map(line => Number(line.cells[0].textContent))")
            check(found == expected[: len(found)], f"sorted by {name}: {found}")
            check(page.run("return document.activeElement.dataset.sort") == name, "the focus stays at the header")
    page.one('[data-sort="run"]').click()


def check_costs(page, rows):
    complete = [row for row in rows if row["status"] == "complete"]
    costs = all("flops" in row for row in complete)
    point_of = lambda row: (row["flops"], row["parallel_flops"]) if costs else (row["steps"] * row["samples_per_step"], row["seconds"])
    across, up = page.scales("cost")
    marks = page.run("return [...document.querySelectorAll('#cost .plot path.mark')].map(mark => [Number(mark.dataset.runs),"
                     "...mark.getAttribute('transform').match(/[-\\d.]+/g).map(Number)])")
    check(sorted(run for run, *_ in marks) == sorted(row["run"] for row in complete), f"{len(marks)} marks")
    at = {run: (x, y) for run, x, y in marks}
    for row in complete:
        x, y = point_of(row)
        check(math.dist(at[row["run"]], (across(x), up(y))) < .15, f"run {row['run']} is at {at[row['run']]}")
    fronts = list(page.paths("cost", "front").values())
    groups = [group for group in grouped(complete, lambda row: labels_of(row)["scheme"])]
    check(len(fronts) == len(groups), f"{len(fronts)} fronts")
    for corners, group in [*zip(fronts, groups), (list(page.paths("cost", "front_all").values())[0], complete)]:
        expected = [(across(x), up(y)) for x, y in front_of([point_of(row) for row in group])]
        check(numpy.shape(corners) == numpy.shape(expected) and numpy.allclose(corners, expected, rtol=0, atol=.15), f"front {corners} for {expected}")


def check_first_layer(page, rows):
    """Points and whiskers lie where the rows say, and each pixel of the pictures has its byte."""
    shown = page.one("#first_layer").is_displayed()
    check(shown == any("filters" in row or "first_layer_cka" in row for row in rows), "the section is there with its data only")
    if not shown:
        return
    for plot, name in (("cka", "first_layer_cka"), ("angle", "first_layer_angle")):
        expected = similarities_of(rows, name)
        check_close(page.numbers(plot), expected, name)
        across, up = page.scales(plot)
        marks = page.run("return [...document.querySelectorAll(`#${arguments[0]} .plot path.mark`)].map(mark =>"
                         "mark.getAttribute('transform').match(/[-\\d.]+/g).map(Number))", plot)
        check(len(marks) == len(expected), f"{plot}: {len(marks)} marks")
        whiskers = page.paths(plot, "whisker")
        for i, [[x, mid, low, high, _]] in enumerate(expected):
            check(math.dist(marks[i], (across(x), up(mid))) < .15, f"{plot}: mark {i} at {marks[i]}")
            check(numpy.allclose(whiskers[i], [(across(x), up(low)), (across(x), up(high))], rtol=0, atol=.15), f"{plot}: whisker {i} {whiskers[i]}")
    pictured = sorted((row for row in rows if "filters" in row), key=lambda row: row["run"])
    found = page.run("return [...document.querySelectorAll('#first_layer canvas')].map(canvas => [Number(canvas.dataset.run), canvas.width, canvas.height,"
                     "[...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]])")
    check([run for run, *_ in found] == [row["run"] for row in pictured], f"pictures of runs {[run for run, *_ in found]}")
    for (run, width, height, pixels), row in zip(found, pictured):
        wide, high = row["filters"]["width"], row["filters"]["height"]
        filters = numpy.frombuffer(base64.b64decode(row["filters"]["data"]), numpy.uint8).reshape(-1, high, wide)
        across = math.ceil(math.sqrt(len(filters)))
        expected = numpy.zeros((math.ceil(len(filters) / across) * (high + 1) - 1, across * (wide + 1) - 1, 4), numpy.uint8)
        for i, one in enumerate(filters):
            part = expected[i // across * (high + 1):, i % across * (wide + 1):][:high, :wide]
            part[..., :3], part[..., 3] = one[..., None], 255
        check(numpy.array_equal(numpy.reshape(pixels, (height, width, 4)), expected), f"the filters of run {run}")
    captions = [one.text for one in page.all("#first_layer #filters_of_schemes figcaption")]
    check(all(labels_of(row)["scheme"] in text and f"run {row['run']}" in text for row, text in zip(pictured, captions)), f"captions {captions}")


def check_fits(page, rows):
    """Least squares of the medians over 1 / batch size, drawn from the smallest to the largest."""
    across, up = page.scales("scaling")
    lines = [line for line in scaling_of(rows) if len(line) >= 3]
    drawn = [corners for _, corners in sorted(page.paths("scaling", "fit").items())]
    check(len(drawn) == len(lines), f"{len(drawn)} fits of {len(lines)} lines")
    for corners, line in zip(drawn, lines):
        sizes, steps = numpy.array(line)[:, 0], numpy.array(line)[:, 1]
        c1, c2 = numpy.linalg.lstsq(numpy.stack([1 / sizes, numpy.ones(len(sizes))], 1), steps, rcond=None)[0]
        expected = [(across(x), up(c1 / x + c2)) for x in numpy.geomspace(sizes[0], sizes[-1], len(corners))]
        check(len(corners) > 20 and numpy.allclose(corners, expected, rtol=0, atol=.15), f"fit {corners} for {expected}")


def check_cosines(page, rows):
    """Medians over the runs of a color; stage 0 has none. One stage makes one point."""
    check(page.one("#cosines").is_displayed() == ("cosines" in rows[0]["curve"]), "cosines of the rows that have them")
    if page.one("#cosines").is_displayed():
        check_lines(page, "cosines", [[[1, *summary([numpy.median([stages[1] for stages in row["curve"]["cosines"]]) for row in group])]]
                                      for group in grouped(rows, lambda row: labels_of(row)["scheme"])], "cosines")


def check_legends(page, rows, lines):
    groups = {scheme: [row for row in rows if labels_of(row)["scheme"] == scheme] for scheme in SCHEMES}
    for plot in ("curves", "cost", "scaling"):
        keys = page.all(f"#{plot} .legend button")
        check([key.find_element(By.TAG_NAME, "span").text for key in keys] == list(SCHEMES), f"legend of {plot}")
        check(all(re.search(r"n = \d", key.text) for key in keys), f"{plot}: no figure without n")
    for scheme, text in zip(SCHEMES, [key.text for key in page.all("#cost .legend button")]):
        check(text.endswith(f"n = {sum(row['status'] == 'complete' for row in groups[scheme])}"), text)
    seeds = len({labels_of(row)["seed"] for row in rows})
    check(f"{lines} lines, n = {seeds}" in page.one("#curves .legend button").text, page.one("#curves .legend button").text)
    page.one('#curves .legend button[data-label="greedy"]').click()
    left = [row for row in rows if labels_of(row)["scheme"] != "greedy"]
    check(page.run("return document.activeElement.dataset.label") == "greedy", "the focus stays at the legend")
    check(page.one('#cost .legend button[data-label="greedy"]').get_attribute("aria-pressed") == "false", "all legends agree")
    check_lines(page, "curves", curves_of(left, "validation_loss", "step"), "without greedy")
    check_costs(page, left)
    check_first_layer(page, left)
    page.one('#cost .legend button[data-label="greedy"]').click()
    check_lines(page, "curves", curves_of(rows, "validation_loss", "step"), "with greedy again")


def check_axes(page, rows):
    acrosses = [name for name in ACROSS if "flops" in rows[0] or name not in ("flops", "ideal")]
    check([one.get_attribute("value") for one in page.all("#x option")] == acrosses, "choices across")
    cosines = [("cosine_1", "step")] if "cosines" in rows[0]["curve"] else []  # stage 0 has none
    ups = [one.get_attribute("value") for one in page.all("#y option")]
    check(ups == [name for name in UP if name != "cosine_1" or cosines], f"choices up: {ups}")
    for up, across in [*itertools.product(["validation_loss"], acrosses), ("loss", "step"), *cosines,
                       ("validation_accuracy", "samples")]:
        page.set("y", up)
        page.set("x", across)
        check_lines(page, "curves", curves_of(rows, up, across), f"{up} over {across}")
        check(UP[up] in page.one("#curves text.title.begin").text, f"title of {up}")
    page.one("#logx").click()
    page.one("#logy").click()
    check(all("(log)" in text.text for text in page.all("#curves text.title")), "log in the titles")
    check_lines(page, "curves", curves_of(rows, "validation_accuracy", "samples"), "log over log")
    return rows


def check_address(page, path):
    address, before = page.run("return location.hash"), page.picture()
    check(len(address) > 20, f"the address {address}")
    again = Page(page.browser, path, address)
    check(again.picture() == before, f"another look at {address}")
    again.one("#reset").click()
    check(again.run("return location.hash") == "" and again.picture() != before, "reset")
    again.run("location.hash = arguments[0]", address)
    check(again.browser.execute_async_script("const done = arguments[0]; setTimeout(() => done(true), 50)"), "waits for the event")
    check(again.picture() == before, "an address that is put in")
    again.run("location.hash = '#y=nonsense&color=nothing&off=x&not.scheme=y'")
    again.one("#reset").click()


def check_filters(page, rows):
    page.tick("scheme", "overlapping")
    page.tick("batch-size", "16")
    page.tick("status", "infeasible")
    left = [row for row in rows if labels_of(row)["scheme"] != "overlapping" and row["samples_per_step"] != 16 and row["status"] != "infeasible"]
    check_lines(page, "curves", curves_of(left, "validation_loss", "step"), "filtered")
    check_costs(page, left)
    check_first_layer(page, left)
    check_table(page, left)
    check(len(page.all("#curves .legend button")) == 3, "a legend of what is shown")
    page.one('#filters [data-axis="batch-size"] button[data-all=""]').click()
    check("0 of " in page.one("#counts").text and "No run" in page.one("#curves svg[role] text").text, "nothing is shown")
    check(not page.one("#cost").is_displayed() and not page.one("#scaling").is_displayed(), "nothing is complete")
    page.one('#filters [data-axis="batch-size"] button[data-all="1"]').click()
    check(page.one("#cost").is_displayed(), "all again")
    page.one("#reset").click()
    check_lines(page, "curves", curves_of(rows, "validation_loss", "step"), "reset")


def check_tips(page, rows):
    commands = {row["run"]: row["command"] for row in rows}
    for plot in ("curves", "cost", "scaling", *(("cka", "angle") if "flops" in rows[0] else ())):
        svg, tip = page.one(f"#{plot} svg[role]"), page.one(f"#{plot} .tip")
        svg.send_keys(Keys.ARROW_RIGHT)
        seen = set()
        for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_UP):
            seen.add(tip.text)
            run = int(re.search(r"run (\d+)(?!.*run \d)", tip.text.split("halfback train")[0], re.DOTALL)[1])
            check(tip.is_displayed() and commands[run] in tip.text and "n = " in tip.text, f"{plot}: {tip.text}")
            svg.send_keys(key)
        check(len(seen) > 2, f"{plot}: arrow keys go to other points")
        svg.send_keys(Keys.ESCAPE)
        check(not tip.is_displayed(), "Escape ends the choice")
        page.run("arguments[0].scrollIntoView({block: 'center'})", svg)
        spots = page.run("return halfback.plots[arguments[0]].spots.map(({point}) => [point.px, point.py, point.x, point.mid])", plot)
        for px, py, x, mid in spots[:: max(1, len(spots) // 5)]:
            size = svg.size
            ActionChains(page.browser, duration=0).move_to_element_with_offset(svg, round(px - size["width"] / 2), round(py - size["height"] / 2)).perform()
            found = [float(tip.get_attribute(f"data-{name}")) for name in ("x", "y")]
            near = [(a, b) for left, top, a, b in spots if math.dist((left, top), (px, py)) < 3]
            check(tip.is_displayed() and tuple(found) in near, f"{plot}: {found} over {(x, mid)}")
        ActionChains(page.browser, duration=0).move_to_element(page.one("#title")).perform()


def check_saving(page, folder):
    """Each figure goes into a file that shows the same without the page: title, legend with n, and as many marks, lines and texts."""
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    for figure in (one.get_attribute("id") for one in page.all("figure:has(svg[role])") if one.is_displayed()):
        page.one(f"#{figure} .save").click()
        path, deadline = folder / f"{figure}.svg", time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(.05)
        text = path.read_text()
        path.unlink()  # the next page has the same names
        root = xml.etree.ElementTree.fromstring(text)
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        shown = page.run("return [...document.querySelectorAll(`#${arguments[0]} h2, #${arguments[0]} .legend span, #${arguments[0]} .legend small, #${arguments[0]} svg text`)]"
                         ".map(one => one.textContent)", figure)
        check(sorted(texts) == sorted(shown) and any("n = " in one for one in texts), f"{figure}.svg has the texts {texts}")
        paths = page.run("return [...document.querySelectorAll(`#${arguments[0]} svg path`)].map(path => path.getAttribute('d'))", figure)
        found = [element.get("d") for element in root.iter("{http://www.w3.org/2000/svg}path")]
        check(sorted(found) == sorted(paths), f"{figure}.svg has {len(found)} of {len(paths)} paths")
        check(not re.search("class=|style=|var\\(|currentcolor", text, re.I), f"{figure}.svg needs the page")


# ---- Colors -------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009: what those without one kind of cone see, of linear RGB.
BLIND = {
    "deuteranopia": [[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.01182, .04294, .968881]],
    "protanopia": [[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]],
    "tritanopia": [[1.255528, -.076749, -.178779], [-.078411, .930809, .147602], [.004733, .691367, .3039]],
}


def linear(color):
    values = numpy.array([int(word) / 255 for word in re.findall(r"\d+", color)[:3]])
    return numpy.where(values <= .04045, values / 12.92, ((values + .055) / 1.055) ** 2.4)


def contrast(a, b):
    high, low = sorted((linear(color) @ [.2126, .7152, .0722] + .05 for color in (a, b)), reverse=True)
    return high / low


def oklab(rgb):
    lms = numpy.cbrt(numpy.array([[.4122214708, .5363325363, .0514459929], [.2119034982, .6806995451, .1073969566], [.0883024619, .2817188376, .6299787005]]) @ rgb)
    return numpy.array([[.2104542553, .793617785, -.0040720468], [1.9779984951, -2.428592205, .4505937099], [.0259040371, .7827717662, -.808675766]]) @ lms


def check_inks(page):
    """Contrast of WCAG 2.2: 3 for what is drawn, 4.5 for text; inks differ for everyone, the first ones most."""
    of = lambda css: page.run("const one = document.body.appendChild(document.createElement('i')); one.style.color = arguments[0];"
                              "const found = getComputedStyle(one).color; one.remove(); return found", css)
    back = page.run("return getComputedStyle(document.body).backgroundColor")
    inks = [of(f"var(--ink{i})") for i in range(8)]
    check(all(contrast(ink, back) >= 3 for ink in inks), f"{[contrast(ink, back) for ink in inks]} to {back}")
    check(min(contrast(of(f"var(--{name})"), back) for name in ("text", "soft")) >= 4.5, "contrast of text")
    for name, matrix in {"all cones": numpy.eye(3), **BLIND}.items():
        seen = [oklab(numpy.clip(numpy.array(matrix) @ linear(ink), 0, 1)) for ink in inks]
        for count, least in ((4, .12), (8, .06)):
            far = min((numpy.linalg.norm(a - b), i, j) for (i, a), (j, b) in itertools.combinations(enumerate(seen[:count]), 2))
            check(far[0] >= least, f"{name}: inks {far[1:]} of the first {count} differ by {far[0]:.3f}")
    dashes = page.run("return [...document.querySelectorAll('#curves .legend svg path:first-child')].map(path => path.getAttribute('stroke-dasharray'))")
    check(len(set(dashes)) == len(dashes), f"dashes {dashes} are a second cue")


def check_page(path, rows, dark, screenshots):
    browser = open_browser(dark)
    try:
        page = Page(browser, path)
        check(page.run("return document.title") == page.one("#title").text, "title")
        trials = len({labels_of(row).get("trial") for row in rows})
        check_lines(page, "curves", curves_of(rows, "validation_loss", "step"), "at first")
        check_lines(page, "scaling", scaling_of(rows), "steps over batch size")
        check_fits(page, rows)
        check_cosines(page, rows)
        check_costs(page, rows)
        check_first_layer(page, rows)
        check_inks(page)
        if screenshots:
            height = page.run("return document.documentElement.scrollHeight")
            browser.set_window_size(1400, min(height, 1900))
            browser.save_screenshot(str(screenshots / f"{path.stem}_{'dark' if dark else 'light'}.png"))
            browser.set_window_size(1400, 900)
        check_table(page, rows)
        check_sorting(page, rows)
        check_legends(page, rows, 4 * trials)
        check_filters(page, rows)
        check_tips(page, rows)
        check_saving(page, path.parent)
        check_axes(page, rows)
        page.set("color", "batch-size")
        page.tick("seed", "2")
        check_lines(page, "curves", curves_of([row for row in rows if labels_of(row)["seed"] != "2"], "validation_accuracy", "samples"), "by size")
        check(not page.run("return [...document.querySelectorAll('#curves path.whole')].some(path => !['8', '16', '32', '64'].includes(path.dataset.label))"), "colors")
        page.one('[data-sort="steps"]').click()
        check_address(page, path)
        page.set("color", "seed")
        check(all(n == 1 for line in page.numbers("curves") for *_, n in line), "by seed each run has its line")
        back = page.run("return getComputedStyle(document.body).backgroundColor")
        page.one("#theme").click()
        check(page.run("return getComputedStyle(document.body).backgroundColor") != back, "the theme does not change")
        check_inks(page)
        check(not page.all("b#x"), "a label became an element")
        check(page.run("return performance.getEntriesByType('resource').length") == 0, "the page loads something")
        check(not (log := browser.get_log("browser")), f"the console says {log}")
    finally:
        browser.quit()


def check_quiet(path, checks):
    browser = open_browser(False)
    try:
        checks(Page(browser, path))
        check(not (log := browser.get_log("browser")), f"{path.stem}: the console says {log}")
    finally:
        browser.quit()


def check_large(page, rows):
    """Thousands of runs: each change draws everything again; the table begins with a part."""
    check(len(page.all("#table tbody tr")) == 200 and str(len(rows)) in page.one("#more").text, "a part of the table")
    took = page.run("const begin = performance.now(); document.querySelector('#filters input').click(); document.body.offsetHeight; return performance.now() - begin")
    print(f"{len(rows)} runs: a change takes {took:.0f} ms")
    check_lines(page, "curves", curves_of([row for row in rows if labels_of(row)["scheme"] != SCHEMES[0]], "validation_loss", "step"), "many")
    page.one("#more").click()
    check(len(page.all("#table tbody tr")) == sum(labels_of(row)["scheme"] != SCHEMES[0] for row in rows), "the whole table")


def check_small(page, rows):
    """A run alone, which did not get there and has no axes: neither costs nor steps to the result."""
    check(not page.one("#cost").is_displayed() and not page.one("#scaling").is_displayed(), "figures without a complete run")
    check_table(page, rows)
    check("n = 1" in page.one("#curves .legend").text, "n of a run alone")


def main(arguments):
    program = pathlib.Path(arguments[0]).resolve()
    screenshots = pathlib.Path(arguments[1]) if len(arguments) > 1 else None
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # Each begins light or dark, and changes to the other.
        for name, rows, dark in (("plain", make_rows(5), False), ("costs", make_rows(3, costs=True), True), ("trials", make_rows(4, 3), False)):
            check_page(write_page(program, folder, name, rows), rows, dark, screenshots)
        large = make_rows(25, 10, batches=(8, 16, 32, 64))
        check_quiet(write_page(program, folder, "large", large), lambda page: check_large(page, large))
        small = [make_rows(1)[0] | {"place": [], "status": "incomplete", "validation_accuracy": None}]
        check_quiet(write_page(program, folder, "small", small), lambda page: check_small(page, small))
        check_quiet(write_page(program, folder, "empty", []), lambda page: check("0 of 0" in page.one("#counts").text, "no run"))
    print("the pages of studies work in Chromium")


if __name__ == "__main__":
    main(sys.argv[1:])
