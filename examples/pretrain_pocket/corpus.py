#!/usr/bin/env python3
"""Fetches and prepares the corpus that `pretrain_pocket` trains on: emoji artwork in several styles, with names,
keywords and groups. Nothing of it is committed.

    pip install resvg_py==0.5.0 pillow tokenizers
    python3 examples/pretrain_pocket/corpus.py --out corpus        # about 250 MB of packages, three minutes

It needs `npm`, which fetches these packages from its registry:

| Style | Package | Artwork and its licence | Use |
| --- | --- | --- | --- |
| noto | emoji-datasource-google 16.0.0 | Google Noto Emoji, Apache-2.0 | training |
| twemoji | @twemoji/svg 15.0.0 | Twitter and others, CC-BY 4.0 | training |
| openmoji | openmoji 17.0.0 | OpenMoji, CC-BY-SA 4.0 | training |
| emojione | emojione 2.2.7 | EmojiOne 2, CC-BY 4.0 | training |
| fluent-flat | @lobehub/fluent-emoji-flat 1.1.0 | Microsoft Fluent Emoji, MIT | training |
| fluent-color | @lobehub/fluent-emoji-modern 1.0.0 | Microsoft Fluent Emoji, MIT | training |
| fluent-3d | @lobehub/fluent-emoji-3d 1.1.0 | Microsoft Fluent Emoji, MIT | held out |
| openmoji-line | openmoji 17.0.0, black | OpenMoji, CC-BY-SA 4.0 | held out |
| fluent-line | fluentui-emoji 1.3.0, high contrast | Microsoft Fluent Emoji, MIT | held out |

Names and groups are Unicode's (unicode-emoji-json 0.9.0 and emoji-datasource-google, MIT), keywords emojilib's
(4.0.3, MIT). Flags and skin tones are left out: the first are not drawings of what they are called, the second
differ from the plain ones by a colour.

What it writes: `OUT/STYLE/CODES.png` (64 x 64, with transparency), `OUT/captions.json` and `OUT/tokenizer.json`.
"""

import argparse
import io
import json
import re
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import resvg_py
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIDE = 64
START, END = "<|startoftext|>", "<|endoftext|>"

STYLES = {
    "noto": ("emoji-datasource-google@16.0.0", "img/google/64"),
    "twemoji": ("@twemoji/svg@15.0.0", "."),
    "openmoji": ("openmoji@17.0.0", "color/svg"),
    "emojione": ("emojione@2.2.7", "assets/svg"),
    "fluent-flat": ("@lobehub/fluent-emoji-flat@1.1.0", "assets"),
    "fluent-color": ("@lobehub/fluent-emoji-modern@1.0.0", "assets"),
    "fluent-3d": ("@lobehub/fluent-emoji-3d@1.1.0", "assets"),
    "openmoji-line": ("openmoji@17.0.0", "black/svg"),
    "fluent-line": ("fluentui-emoji@1.3.0", "icons/high-contrast"),
}
NAMES, KEYWORDS = "unicode-emoji-json@0.9.0", "emojilib@4.0.3"

# Unicode's sub-groups in words that a person would use for one picture of them; the others stay as they are.
GROUP_WORDS = {
    "animal-amphibian": "amphibian", "animal-bird": "bird", "animal-bug": "bug", "animal-mammal": "mammal",
    "animal-marine": "sea animal", "animal-reptile": "reptile", "arts & crafts": "arts and crafts",
    "av-symbol": "media button", "award-medal": "medal", "alphanum": "letters and numbers sign",
    "body-parts": "body part", "book-paper": "book or paper", "dishware": "dishware",
    "food-asian": "asian food", "food-fruit": "fruit", "food-prepared": "meal", "food-sweet": "sweet food",
    "food-vegetable": "vegetable", "geometric": "geometric shape", "light & video": "light and video device",
    "musical-instrument": "musical instrument", "other-object": "object", "other-symbol": "symbol",
    "person-activity": "person doing something", "person-fantasy": "fantasy person",
    "person-gesture": "person making a gesture", "person-resting": "person resting",
    "person-role": "person at work", "person-sport": "person doing sport", "person-symbol": "person symbol",
    "place-building": "building", "place-geographic": "landscape", "place-map": "map",
    "place-other": "place", "place-religious": "religious building", "plant-flower": "flower",
    "plant-other": "plant", "sky & weather": "sky and weather", "transport-air": "aircraft",
    "transport-ground": "land vehicle", "transport-sign": "traffic sign", "transport-water": "boat",
    "time": "clock", "writing": "writing tool", "household": "household item", "office": "office supplies",
    "sport": "sport equipment", "game": "game", "event": "festive object", "emotion": "emotion symbol",
}


def group_words(subgroup):
    if subgroup in GROUP_WORDS:
        return GROUP_WORDS[subgroup]
    if subgroup.startswith("face-"):
        return subgroup[5:].replace("-", " ") + " face"
    if subgroup.startswith("hand"):
        return "hand"
    return subgroup.replace("-", " ")


def fetch(package, cache):
    """Unpacks an npm package, once."""
    folder = cache / re.sub(r"[^\w.-]+", "-", package).strip("-")
    if not folder.exists():
        name = subprocess.run(["npm", "pack", "--silent", package], cwd=cache, check=True,
                              stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]
        part = folder.with_suffix(".part")
        with tarfile.open(cache / name) as tar:
            tar.extractall(part, filter="data")
        next(path for path in part.iterdir() if path.is_dir()).rename(folder)
        part.rmdir()
        (cache / name).unlink()
    return folder


def plain(codes):
    """Code points in lower case without presentation selectors, which packages put in or leave out."""
    return "-".join(code for code in codes.lower().split("-") if code != "fe0f")


def find(folder, names):
    """Files of a style by plain code points; files named by words through `names`."""
    files = {}
    for path in sorted(folder.iterdir()):
        stem = path.stem.removesuffix("-default")
        if re.fullmatch(r"[0-9a-fA-F]{2,6}(-[0-9a-fA-F]{2,6})*", stem):
            files.setdefault(plain(stem), path)
        elif stem in names:
            files.setdefault(names[stem], path)
    return files


def draw(path):
    """One picture, 64 x 64, with transparency, centred."""
    if path.suffix == ".svg":
        svg = path.read_text(encoding="utf-8")
        image = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, skip_system_fonts=True)))
    else:
        image = Image.open(path)
    image = image.convert("RGBA")
    if image.getextrema()[3][1] == 0:
        raise ValueError(f"{path}: nothing drawn")
    image.thumbnail((SIDE, SIDE), Image.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square


def captions(cache):
    """Name, keywords, group and sub-group of every emoji but flags, in Unicode's order."""
    entries = json.loads((fetch(STYLES["noto"][0], cache) / "emoji.json").read_text())
    by_emoji = json.loads((fetch(NAMES, cache) / "data-by-emoji.json").read_text())
    keywords = json.loads((fetch(KEYWORDS, cache) / "dist/emoji-en-US.json").read_text())
    characters = {plain("-".join(f"{ord(c):04x}" for c in emoji)): emoji for emoji in by_emoji}
    found = {}
    for entry in sorted(entries, key=lambda entry: entry["sort_order"]):
        code = plain(entry["unified"])
        if entry["category"] in ("Flags", "Component") or code not in characters:
            continue
        emoji = characters[code]
        name = clean(by_emoji[emoji]["name"])
        words = [clean(word) for word in keywords.get(emoji, [])] + [clean(n) for n in entry["short_names"]]
        words = [word for word in dict.fromkeys(words) if len(word) > 1 and word != name]
        found[code] = {"name": name, "keywords": words, "group": clean(entry["category"].replace("&", "and")),
                       "subgroup": group_words(entry["subcategory"]), "unicode_subgroup": entry["subcategory"]}
    return found


def clean(text):
    text = text.lower().replace("_", " ").replace("’", "'").replace("“", "").replace("”", "").replace(":", "")
    return re.sub(r"\s+", " ", re.sub(r"[^\w '.!?+&-]", " ", text)).strip()


def tokenizer(entries, vocabulary):
    """CLIP's pipeline in small: lower case, byte-level BPE with `</w>`, start and end tokens."""
    words = [" ".join([entry["name"], *entry["keywords"], entry["group"], entry["subgroup"]]) for entry in entries]
    words += ["a photo of a an the . , emoji icon drawing picture sketch clip art of line 3d cartoon style"] * 50
    words += [chr(code) for code in range(33, 127)]
    model = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    model.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pieces = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary - 2, end_of_word_suffix="</w>", show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), min_frequency=2)
    model.train_from_iterator(words, trainer)
    # After training, so that the two have the largest ids, as in CLIP.
    model.add_special_tokens([START, END])
    ids = {token: model.token_to_id(token) for token in (START, END)}
    model.post_processor = processors.RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=False, add_prefix_space=False)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--cache", type=Path, help="where packages are kept; OUT/.packages where none is given")
    parser.add_argument("--vocabulary", type=int, default=3072, help="tokens of the tokenizer")
    arguments = parser.parse_args()
    cache = arguments.cache or arguments.out / ".packages"
    cache.mkdir(parents=True, exist_ok=True)
    entries = captions(cache)
    names = {re.sub(r"[^\w]+", "-", entry["name"]).strip("-"): code for code, entry in entries.items()}
    for style, (package, inside) in STYLES.items():
        files = {code: path for code, path in find(fetch(package, cache) / inside, names).items() if code in entries}
        folder = arguments.out / style
        folder.mkdir(exist_ok=True)

        def one(item):
            code, path = item
            try:
                draw(path).save(folder / f"{code}.png", optimize=True)
                return 1
            except ValueError as error:
                print(f"left out {error}")
                return 0

        with ThreadPoolExecutor(2) as pool:
            count = sum(pool.map(one, files.items()))
        print(f"{style}: {count} of {len(entries)}")
    (arguments.out / "captions.json").write_text(json.dumps(entries, ensure_ascii=False, indent=1))
    tokenizer(entries.values(), arguments.vocabulary).save(str(arguments.out / "tokenizer.json"))


if __name__ == "__main__":
    main()
