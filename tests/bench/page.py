#!/usr/bin/env python3
"""Opens pages of `--html` in headless Chromium, light and dark, wide and narrow, and on paper.

Run by tests/html.rs where Debian's chromium and chromium-driver are found, or by hand, with a built binary:

    cargo build && tests/bench/page.py target/debug/imagekit-bulk-delete /tmp/pages

Two pages are made in the folder given: one by a run against the sandbox, one from a report that holds every status
and hostile text. Of each it checks that the console is silent, that nothing is asked of any host, that every figure
equals the report's, that the script finds and sorts rows, that nothing is wider than the window, and that text stands
out from its background as WCAG AA asks. It leaves pictures to look at, and ends with 1 if something does not hold.
"""
import base64, collections, csv, json, pathlib, random, socket, subprocess, sys, tempfile, time, urllib.request

BINARY, FOLDER = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
WINDOWS = {"wide": (1280, 900), "narrow": (390, 844)}
HEADER = "file_id,status,http_status,error,attempts,duration_ms,finished_at,request_id,line,input,message,url,purge,purge_request_id"
FIGURES = """
const value = cell => Number(cell.querySelector('data').value);
const rows = id => [...document.querySelectorAll(`#${id} tbody tr`)];
return {
    statuses: Object.fromEntries(rows('statuses').map(row => [row.id, value(row)])),
    purges: Object.fromEntries(rows('purges').map(row => [row.id.slice(6), value(row)])),
    reasons: [...document.querySelectorAll('.reasons > li')].map(group => [group.className, group.id, value(group)]),
    troubles: rows('rows').map(row => [row.cells[0].textContent, row.cells[1].textContent]),
    scripts: document.scripts.length, images: document.images.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};"""
CONTRAST = """
const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = color => { const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
const behind = node => { for (; node; node = node.parentElement) { const color = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color; } return 'rgb(255, 255, 255)'; };
const texts = [...document.querySelectorAll('body *')].filter(node =>
    node.checkVisibility() && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
return texts.map(node => { const style = getComputedStyle(node);
    const [a, b] = [light(node.closest('svg') ? style.fill : style.color), light(behind(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.tagName + ': ' + node.textContent.trim().slice(0, 40)]; })
    .filter(([ratio]) => ratio < 4.5);"""
SCRIPT = """
const rows = () => [...document.querySelectorAll('#rows tbody tr')].filter(row => row.checkVisibility());
document.getElementById('every').open = true;
const find = document.getElementById('find'), all = rows().length, seen = {};
find.value = 'unknown';
find.dispatchEvent(new Event('input'));
seen.unknown = rows().length;
seen.found = document.getElementById('found').textContent;
find.value = '';
find.dispatchEvent(new Event('input'));
const line = document.querySelectorAll('#rows thead button')[2];
line.click();
line.click();
seen.lines = rows().map(row => Number(row.cells[2].textContent));
return {...seen, all};"""
TROUBLE = ("unknown", "failed", "invalid")
faults = []


def check(holds, words):
    if not holds:
        faults.append(words)
        print("FAULT:", words)


class Browser:
    """As much of WebDriver as is needed, over HTTP."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}", "--log-level=OFF"], stdout=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(self.base + "/status").close()
                break
            except OSError:
                time.sleep(0.1)
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        asked = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                 "goog:chromeOptions": {"args": FLAGS + [f"--user-data-dir={self.profile.name}"]}}
        session = self.post("/session", {"capabilities": {"alwaysMatch": asked}})["sessionId"]
        self.base += "/session/" + session

    def post(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]

    def cdp(self, command, **parameters):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script):
        return self.post("/execute/sync", {"script": script, "args": []})

    def log(self, kind):
        return self.post("/se/log", {"type": kind})

    def close(self):
        urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE")).close()
        self.driver.terminate()
        self.driver.wait()
        self.profile.cleanup()


def make_report(path):
    """Three hours with every status, a few pauses, and text that would break out if it could."""
    dice = random.Random(7)
    rows, now = [], 1_764_051_000_000
    reasons = [("failed", 403, "rejected", "Your account may not delete this file."),
               ("failed", 400, "rejected", "<script>alert(1)</script> \"quoted\" & 'single' file 5f{n} is locked"),
               ("unknown", 503, "server_error", "upstream did not answer in {n} ms"),
               ("unknown", "", "timeout", "no answer within 60s"),
               ("invalid", "", "invalid_id", "white space inside"),
               ("not_found", 404, "not_found", "The requested file does not exist."),
               ("gone", 404, "not_found", "not there any more, after an attempt whose answer was lost"),
               ("duplicate", "", "duplicate", "the ID stood in an earlier record")]
    for number in range(40_000):
        now += dice.choice([0, 0, 0, 500]) if number % 6_000 else 600_000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000)) + f".{now % 1000:03}Z"
        file_id, status, http, error, message = f"{dice.getrandbits(96):024x}", "deleted", 204, "", ""
        if dice.random() < 0.03:
            status, http, error, message = dice.choices(reasons, [3, 1, 2, 1, 1, 20, 2, 5])[0]
            message = message.replace("{n}", str(dice.randrange(9_999)))
        if status == "invalid":
            file_id = dice.choice(["", "<img src=x onerror=alert(1)>", "bad id"])
        sent = status not in ("invalid", "duplicate")
        attempts = dice.choices([1, 2, 3, 4, 14], [90, 7, 2, 1, 0.1])[0] if sent else 0
        took = int(dice.lognormvariate(5, 0.6) * attempts ** 3)
        purge = dice.choices(["requested", "failed", "no_url"], [98, 1, 1])[0] if status in ("deleted", "gone") else ""
        rows.append([file_id, status, http, error, attempts, took, stamp, f"r-{number}" if sent else "", number + 2,
                     "old-files.csv", message, "", purge, ""])
    with path.open("w", newline="") as file:
        file.write(HEADER + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)


def make_pages():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.*"):
        old.unlink()
    dice = random.Random(8)
    ids = [f"{dice.getrandbits(96):024x}" for _ in range(4_000)]
    (FOLDER / "old.csv").write_text("\n".join(ids + ids[:7] + ["bad id", "a/b"]) + "\n")
    subprocess.run([BINARY, "--sandbox", "--quiet", "--html", "run.html", "old.csv"], cwd=FOLDER, check=False)
    make_report(FOLDER / "old-files.report.csv")
    subprocess.run([BINARY, "--html", "rich.html", "--from-report", "old-files.report.csv"], cwd=FOLDER, check=True)
    return {"run.sandbox": "old.report.sandbox.csv", "rich": "old-files.report.csv"}


def check_figures(name, seen, report):
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    count = lambda column, of=rows: collections.Counter(row[column] for row in of)
    statuses = count("status")
    check({key: n for key, n in seen["statuses"].items() if n} == dict(statuses), f"{name}: statuses {seen['statuses']}")
    purges = count("purge", [row for row in rows if row["purge"]])
    check({key: n for key, n in seen["purges"].items() if n} == dict(purges), f"{name}: purges {seen['purges']}")
    due = [row for row in rows if row["status"] in TROUBLE or row["purge"] in ("failed", "over_limit")]
    shown = collections.Counter(status for status, _ in seen["troubles"])
    expected = collections.Counter(row["status"] if row["status"] in TROUBLE else "purge" for row in due)
    check(shown == expected, f"{name}: rows {shown}, not {expected}")
    for status in ("failed", "unknown", "invalid", "not_found", "gone"):
        told = sum(n for group, _, n in seen["reasons"] if group == status)
        check(told == statuses[status], f"{name}: {told} reasons of {status}, not {statuses[status]}")
    check(seen["scripts"] == 1 and seen["images"] == 0, f"{name}: scripts or images")


def look(browser, name, report, scheme, window):
    width, height = WINDOWS[window]
    browser.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.log("performance"), browser.log("browser")
    browser.post("/url", {"url": (FOLDER / f"{name}.html").as_uri()})
    seen, what = browser.run(FIGURES), f"{name}, {scheme}, {window}"
    check_figures(what, seen, report)
    check(seen["overflow"] <= 0, f"{what}: {seen['overflow']} pixels wider than the window")
    for ratio, text in browser.run(CONTRAST):
        check(False, f"{what}: contrast {ratio:.2f} of {text!r}")
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    if seen["troubles"]:
        acted = browser.run(SCRIPT)
        unknown = sum(status == "unknown" for status, _ in seen["troubles"])
        check(acted["all"] == len(seen["troubles"]), f"{what}: unfolded {acted['all']} rows")
        check(acted["unknown"] == unknown and acted["found"].startswith(f"{unknown:,} "), f"{what}: found {acted['found']}")
        check(acted["lines"] == sorted(acted["lines"], reverse=True), f"{what}: not sorted by line")
    check(browser.run(overflow) <= 0, f"{what}: wider than the window, unfolded")
    console = [entry["message"] for entry in browser.log("browser")]
    check(not console, f"{what}: the console says {console}")
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    check(all(url.startswith("file:") and url.endswith(f"{name}.html") for url in asked), f"{what}: asked for {asked}")
    for suffix, beyond in (("first", False), ("whole", True)):
        picture = browser.cdp("Page.captureScreenshot", captureBeyondViewport=beyond)
        (FOLDER / f"{name}-{scheme}-{window}-{suffix}.png").write_bytes(base64.b64decode(picture["data"]))


def main():
    pages = make_pages()
    browser = Browser()
    try:
        for name, report in pages.items():
            for scheme in ("light", "dark"):
                for window in WINDOWS:
                    look(browser, name, FOLDER / report, scheme, window)
            paper = browser.cdp("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
            (FOLDER / f"{name}.pdf").write_bytes(base64.b64decode(paper["data"]))
    finally:
        browser.close()
    print(f"{len(faults)} faults; pictures in {FOLDER}")
    sys.exit(1 if faults else 0)


main()
