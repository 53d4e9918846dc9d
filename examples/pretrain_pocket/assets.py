#!/usr/bin/env python3
"""Chooses the small test sets that are shipped with the crate: emoji from the corpus that corpus.py prepared, and icons.

    pip install resvg_py==0.5.0 pillow tokenizers
    python3 examples/pretrain_pocket/assets.py --corpus corpus --out examples/pocket

| Style | Artwork | Licence | What it tests |
| --- | --- | --- | --- |
| fluent-3d | Microsoft Fluent Emoji, 3D | MIT | known things in a style that was held out |
| fluent-line | Microsoft Fluent Emoji, high contrast | MIT | the same, further away |
| icon-line | Tabler Icons 3.52.0, outline | MIT | things and styles that were never seen |
| icon-colour | the same in coloured lines, filled with a lighter colour | MIT | the same in another style |

A class of emoji is a Unicode sub-group, in the words that the pocket model was trained with; one of icons is a category
of Tabler Icons, in their words. A class is taken if every style has enough pictures of it, so that something is left to
test on after 16 shots. Shots and test pictures should not be nearly the same drawing: emoji that differ from another
one by gender alone are left out, and of icons that differ by a modifier ("bell-plus", "bell-off") the plainest is taken.
The same things are written in every style, at most `--most` a class, spread over the artwork's order.

What it writes: `OUT/images/STYLE/CLASS/NAME.png`, 64 x 64 on white, with a palette.
"""

import argparse
import colorsys
import io
import json
import re
import shutil
from pathlib import Path

import resvg_py
from PIL import Image

from corpus import SIDE, fetch

# Styles of emoji, with the colours of their palettes.
EMOJI = {"fluent-3d": 64, "fluent-line": 8}

# Many enough, and left out: families are silhouettes in one style and people in another, and a symbol is whatever is no
# arrow, button or letter.
NO_CLASS = {"family", "symbol"}

GENDERED = re.compile(r"\b(man|woman|men|women)\b")

ICONS = "@tabler/icons@3.52.0"

# Trademarks, and what says where an icon is used and not what it shows.
NO_SUBJECT = {"Brand", "Communication", "Design", "Development", "E-commerce", "Media", "Symbols", "System", "Text"}

# Every icon of these is one of its own.
NO_MODIFIERS = {"Letters", "Numbers", "Math"}

MODIFIERS = set(
    "plus minus x check up down left right filled question exclamation code cog dollar heart pause pin search share star "
    "bolt cancel edit lock cursor upload download play stop bar half bottom top small big horizontal vertical".split())


def emoji(corpus, fewest):
    """The emoji of every class, in Unicode's order."""
    entries = json.loads((corpus / "captions.json").read_text())
    drawn = set.intersection(*({path.stem for path in (corpus / style).glob("*.png")} for style in EMOJI))
    found = {}
    for code, entry in entries.items():
        if code in drawn and not GENDERED.search(entry["name"]):
            found.setdefault(entry["subgroup"], []).append((code, re.sub(r"[^\w]+", "-", entry["name"]).strip("-")))
    return {name: members for name, members in found.items() if len(members) >= fewest and name not in NO_CLASS}


def icons(package, fewest):
    """The icons of every class, by name."""
    found = {}
    for name, icon in json.loads((package / "icons.json").read_text()).items():
        words = name.split("-")
        if icon["category"] in NO_SUBJECT or "off" in words or words[0] == "brand":
            continue
        plain = [word for word in words if not word.isdigit() and word not in MODIFIERS] or words
        key = name if icon["category"] in NO_MODIFIERS else "-".join(plain)
        members = found.setdefault(icon["category"].lower(), {})
        members[key] = min(members.get(key, name), name, key=lambda name: (len(name), name))
    return {name: sorted(members.values()) for name, members in found.items() if len(members) >= fewest}


def spread(members, most):
    """At most so many of a list, evenly over it."""
    if len(members) <= most:
        return members
    return [members[index * len(members) // most] for index in range(most)]


def icon(package, name, in_colour):
    """One icon: dark lines, or lines of a colour that its name decides, filled with a light one."""
    svg = (package / "icons/outline" / f"{name}.svg").read_text()
    lines = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    line, fill = "#202020", "none"
    if in_colour:
        hue = sum(map(ord, name)) % 12 / 12
        line, fill = (colour(hue, lightness) for lightness in (0.35, 0.75))
    paint = f'stroke="{line}" fill="{fill}" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g {paint}>{lines}</g></svg>'
    png = resvg_py.svg_to_bytes(svg_string=drawing, width=2 * SIDE, height=2 * SIDE, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGBA").resize((SIDE, SIDE), Image.LANCZOS)


def colour(hue, lightness):
    return "#" + "".join(f"{int(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, 0.65))


def write(picture, folder, name, colours):
    folder.mkdir(parents=True, exist_ok=True)
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    flat = ground.convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat.save(folder / f"{name}.png", optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="the folder that corpus.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write `images` into")
    parser.add_argument("--fewest", type=int, default=20, help="emoji that a class needs")
    parser.add_argument("--fewest-icons", type=int, default=24, help="icons that a class needs")
    parser.add_argument("--most", type=int, default=32, help="pictures taken of a class")
    arguments = parser.parse_args()
    cache = arguments.corpus / ".packages"
    cache.mkdir(exist_ok=True)
    package = fetch(ICONS, cache)
    root = arguments.out / "images"
    shutil.rmtree(root, ignore_errors=True)
    for name, members in sorted(emoji(arguments.corpus, arguments.fewest).items()):
        for code, stem in spread(members, arguments.most):
            for style, colours in EMOJI.items():
                picture = Image.open(arguments.corpus / style / f"{code}.png").convert("RGBA")
                write(picture, root / style / name.replace(" ", "_"), stem, colours)
    for name, members in sorted(icons(package, arguments.fewest_icons).items()):
        for stem in spread(members, arguments.most):
            for style, colours in (("icon-line", 8), ("icon-colour", 12)):
                write(icon(package, stem, style == "icon-colour"), root / style / name.replace(" ", "_"), stem, colours)
    for style in sorted(root.iterdir()):
        files = list(style.rglob("*.png"))
        size = sum(path.stat().st_size for path in files) / 1e6
        print(f"{style.name}: {len(list(style.iterdir()))} classes, {len(files)} pictures, {size:.2f} MB")


if __name__ == "__main__":
    main()
