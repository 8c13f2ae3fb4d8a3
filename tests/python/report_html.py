#!/usr/bin/env python3
"""Judges pages by three who know HTML: html5lib parses as the standard says, and every parse error counts; tidy looks at
elements and attributes; SVG, which neither of them looks into, is compared with what SVG 1.1 has.

usage: report_html.py FOLDER      every *.html below it
Exit status 77 (skipped) where html5lib or tidy is missing; 1 with TENON_REQUIRE_PYTHON=1.
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

from needs import give_up

try:
    import html5lib
    from html5lib.constants import E as WORDS
except ImportError as reason:
    give_up(reason)
if not shutil.which("tidy"):
    give_up("no program tidy")

SVG = "{http://www.w3.org/2000/svg}"
# Of SVG 1.1, what the pages draw with; `class` and `role` may be everywhere.
DRAWN = {"svg": {"viewBox", "width", "height"}, "g": set(), "path": {"d"}, "text": {"x", "y"}, "title": set(), "desc": set()}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
PATH = re.compile(rf"(?:M(?:[MLHVmlhvZz]|{NUMBER}|[ ,])*)?")


def parse_errors(page):
    parser = html5lib.HTMLParser()
    tree = parser.parse(page)
    return tree, [f"line {line}: {WORDS[code] % data}" for (line, _), code, data in parser.errors]


def tidy_errors(page):
    # Tidy 5.6 is older than <div> around a term and its description (HTML 5.2).
    page = page.replace("<div><dt>", "<dt>").replace("</dd></div>", "</dd>")
    done = subprocess.run(["tidy", "-e", "-q", "-utf8", "--drop-empty-elements", "no"], input=page.encode(),
                          capture_output=True, timeout=60)
    return done.stderr.decode().splitlines()


def drawing_errors(tree):
    for element in tree.iter():
        if not isinstance(element.tag, str) or not element.tag.startswith(SVG):
            continue
        name = element.tag.removeprefix(SVG)
        if name not in DRAWN:
            yield f"<{name}> in a drawing"
            continue
        for attribute, value in element.attrib.items():
            if attribute not in DRAWN[name] | {"class", "role"}:
                yield f"<{name} {attribute}>"
            elif attribute in ("x", "y", "width", "height") and not re.fullmatch(NUMBER, value):
                yield f"{attribute}=\"{value}\""
            elif attribute == "viewBox" and not re.fullmatch(rf"{NUMBER}(?: {NUMBER}){{3}}", value):
                yield f"viewBox=\"{value}\""
            elif attribute == "d" and not PATH.fullmatch(value):
                yield f"d=\"{value[:100]}\""


def errors_of(page):
    tree, errors = parse_errors(page)
    names = [e.attrib["id"] for e in tree.iter() if isinstance(e.tag, str) and "id" in e.attrib]
    errors += [f"id {name} twice" for name in {n for n in names if names.count(n) > 1}]
    return [f"html5lib: {e}" for e in errors] + [f"tidy: {e}" for e in tidy_errors(page)] + [
        f"svg: {e}" for e in drawing_errors(tree)]


pages = {path: path.read_bytes().decode() for path in sorted(Path(sys.argv[1]).rglob("*.html"))}
failed = 0
for path, page in pages.items():
    errors = errors_of(page)
    failed += bool(errors)
    for error in errors[:20]:
        print(f"{path}: {error}")
# Each of the three sees a mistake.
whole = next(page for page in pages.values() if "<path" in page)
for judge, right, wrong in (("html5lib", "</main>", "</p></main>"), ("tidy", "<main>", "<main wide=\"1\">"),
                            ("svg", "<path class=", "<path width=\"1\" class="), ("svg", " d=\"M", " d=\"M0 nan")):
    if right not in whole or not any(e.startswith(judge) for e in errors_of(whole.replace(right, wrong, 1))):
        print(f"{judge} does not mind {wrong}")
        failed += 1
if len(pages) < 11:
    print(f"expected 11 pages, found {len(pages)}")
    failed += 1
print(f"{len(pages)} pages, {failed} failed")
sys.exit(1 if failed else 0)
