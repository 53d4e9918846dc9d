#!/usr/bin/env python3
"""Chooses the small test set that is shipped with the crate from the corpus that corpus.py prepared.

    pip install pillow
    python3 examples/pretrain_pocket/assets.py --corpus corpus --out examples/pocket

A class is a Unicode sub-group, in the words that the pocket model was trained with. It is taken if every style here
draws at least `--fewest` of its emoji, so that something is left to test on after 16 shots. Emoji that differ from
another one by gender alone are left out: shots and test pictures should not be nearly the same drawing. The same
emoji are written in every style, at most `--most` a class, spread over Unicode's order.

| Style | Artwork | Licence | Use of it in training |
| --- | --- | --- | --- |
| fluent-3d | Microsoft Fluent Emoji, 3D | MIT | held out |
| fluent-line | Microsoft Fluent Emoji, high contrast | MIT | held out |
| noto | Google Noto Emoji | Apache-2.0 | trained on |

What it writes: `OUT/images/STYLE/CLASS/NAME.png`, 64 x 64 on white, with a palette.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from PIL import Image

# Styles, with the colours of their palettes.
STYLES = {"fluent-3d": 96, "fluent-line": 8, "noto": 64}

# Many enough, and left out: families are silhouettes in one style and people in another, and a symbol is whatever is no
# arrow, button or letter.
LEFT_OUT = {"family", "symbol"}

GENDERED = re.compile(r"\b(man|woman|men|women)\b")


def classes(entries, codes, fewest, most):
    """The emoji of every class, in Unicode's order."""
    found = {}
    for code, entry in entries.items():
        if code in codes and not GENDERED.search(entry["name"]):
            found.setdefault(entry["subgroup"], []).append(code)
    found = {name: members for name, members in found.items() if len(members) >= fewest and name not in LEFT_OUT}
    return {name: spread(members, most) for name, members in sorted(found.items())}


def spread(members, most):
    """At most so many of a list, evenly over it."""
    if len(members) <= most:
        return members
    return [members[index * len(members) // most] for index in range(most)]


def write(source, target, colours):
    picture = Image.open(source).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    flat = ground.convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat.save(target, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="the folder that corpus.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write `images` into")
    parser.add_argument("--fewest", type=int, default=20, help="emoji that a class needs")
    parser.add_argument("--most", type=int, default=34, help="emoji taken of a class")
    arguments = parser.parse_args()
    entries = json.loads((arguments.corpus / "captions.json").read_text())
    drawn = [{path.stem for path in (arguments.corpus / style).glob("*.png")} for style in STYLES]
    chosen = classes(entries, set.intersection(*drawn), arguments.fewest, arguments.most)
    root = arguments.out / "images"
    shutil.rmtree(root, ignore_errors=True)
    for style, colours in STYLES.items():
        for name, members in chosen.items():
            folder = root / style / name.replace(" ", "_")
            folder.mkdir(parents=True)
            for code in members:
                stem = re.sub(r"[^\w]+", "-", entries[code]["name"]).strip("-")
                write(arguments.corpus / style / f"{code}.png", folder / f"{stem}.png", colours)
        files = list((root / style).rglob("*.png"))
        print(f"{style}: {len(files)} pictures, {sum(path.stat().st_size for path in files) / 1e6:.2f} MB")
    for name, members in chosen.items():
        print(f"{len(members):3} {name}")


if __name__ == "__main__":
    main()
