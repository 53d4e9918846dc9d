"""What open_clip's own tokenizer makes of texts in many scripts, for testing how texts are cleaned.

Writes `words.json` beside itself:

- `made_by`: the versions of what made it;
- `texts`: `[text, cleaned, ids]`; `cleaned` is null where cleaning changes nothing, `ids` is a hash (`fnv`) of the
  token ids, padded to 32, that open_clip gives with the merges of `openclip_vit/tokenizer.json`;
- `characters`: a hash of what each character of `RANGES` becomes, cleaned between two letters;
- `entities`: a hash of what each of HTML's names becomes, with a semicolon and without.

Nothing is random or downloaded, and a second run writes the same bytes. `openclip_vit` must be there already.

    pip install open_clip_torch==3.3.0 ftfy==6.3.1 wcwidth regex torch==2.9.0 torchvision==0.24.0
    python export_words.py
"""
import gzip
import html
import json
import platform
import tempfile
import unicodedata
from html.entities import html5
from importlib.metadata import version
from pathlib import Path

import ftfy  # also for its codecs, such as `sloppy-windows-1252`
from open_clip.tokenizer import SimpleTokenizer, _clean_lower

ROOT = Path(__file__).resolve().parent
CONTEXT = 32
RANGES = ((0x0, 0x700), (0x1E00, 0x3400), (0xFB00, 0x10000))

SCRIPTS = """
A Photo of two Dogs!|Žluťoučký kůň, ČERVENÝ|Zażółć gęślą jaźń|Łódź ŁÓDŹ|Straße STRASSE ẞ|über Öl|ñandú ¿QUÉ?
l’été à Noël|ŒUVRE œuf|İstanbul ISPARTA ılık|ĞÜŞ ğüş|Þorn Æðið|Ľúbim ťa|Ő ŰR őr űr|țară ȘI|Ċ ħ ġ|ĀBELE ābols
Ķirsis|Việt Nam ĐẸP|Tiếng Việt|ΟΔΟΣ ΣΊΣΥΦΟΣ Σ|Ελληνικά ΰ Ϊ|ἀρχή ᾼ ᾳ ῼ|Москва ёж ЙОГ|Київ ЇЖАК ґанок|Љубав Ђурђевдан
Қазақ ӘЛІПБИ|Ճանապարհ ՀԱՅ և|ქართული ᲥᲐᲠᲗᲣᲚᲘ|שָׁלוֹם עולם|العربيّة ٣٤٥|فارسی گربه|اُردو بلی|ܣܘܪܝܝܐ|ދިވެހި
አማርኛ ድመት፡|ⲘⲈⲦ ⲣⲉⲙ|Ꭰ ᏣᎳᎩ ꭰ|हिन्दी बिल्ली ३|বাংলা বিড়াল|ਪੰਜਾਬੀ|ગુજરાતી|ଓଡ଼ିଆ|தமிழ் பூனை|తెలుగు|ಕನ್ನಡ|മലയാളം|සිංහල
ไทย แมว ๓|ລາວ|မြန်မာ|ខ្មែរ|བོད་ཡིག|ᠮᠣᠩᠭᠣᠯ|東京 タワー|ひらがな がぎぐ|カタカナ|汉字 猫|漢字、「貓」。|한국어 고양이|한
ㄅㄆㄇ|ꆈꌠ|𝒜𝓁𝓅𝒽𝒶 𝔄|𐐀𐐨 𐐁|𞤀𞤢|𐤀𐤁|ߒߞߏ|ⴰⴱ|ᚠᚢ|𓀀 𒀀"""

# Read in wrong encodings, below.
MANGLED = """
voilà le travail|só é à la carte|Žluťoučký kůň|Zażółć gęślą|“quoted” – it’s… €5|naïve café|ñandú|Größe ß|Đặng Việt
Москва ёж|Київ|Ελληνικά|שלום|العربية|हिन्दी|தமிழ்|ไทย|東京|한국어|カタカナ|🦀 crab|✔ No problems|×2 ²³ ½ °C|İstanbul
Ā ē ķ|A B|fl–fi—µ|• ™ ® ©|‰ † ‡|a “b”|(ノಠ益ಠ)ノ|œuf Œ|Ø å Æ"""

WRONG = ("latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253",
         "sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437")

QUOTES = """
a dog’s bowl|it isn’t a “wolf”|‘a’ ‚b‛ „c‟ ʼn “d”|DON’T I'LL You'Re we’ve I’m he'd|'S 'T 'Re|'sss ''s|'ſ 'ſun it'ſ
«x» ‹y›|′5″ `a´|dog's'|rock 'n' roll|O'Neill’s"""

ENTITIES = """
salt &amp; pepper|a caf&eacute; table|5 &lt; 7 apples|a &quot;bass&quot;|R&amp;amp;B|R&amp;amp;amp;amp;B|100 &deg; oven
&hellip; it&#x2019;s|P&EACUTE;REZ &NTILDE; &nTILDE; &SZLIG;|&Aacute; &AACUTE; &FRAC12; &DEG; &HELLIP;|<b>&amp;</b>
a<b &eacute; &lt;c&gt;|&eacute|&notit; &notin; &not|&ampx &AMPx; &Amp;|&#65;&#x42;&#X43;|&#65 &#x42 &#x43z
&#0; &#x0d; &#x80; &#x81; &#x85; &#150;|&#xD800; &#x110000; &#99999999999;|&#1; &#11; &#xFDD0; &#xFFFF;
&#59; &#x3b; &amp;#59;|&# &#x &#xg; &; & &&amp;|&amp;lt;b&amp;gt;|&CounterClockwiseContourIntegral; x
&fjlig; &ThickSpace; &NotEqualTilde;|&nbsp;x&nbsp;|x&shy;y &zwj; &ZeroWidthSpace;|&copy;&copy &COPY &reg;
&Jscr;ohn &HilbertSpace;|&#x1F980; &#129408;|&lt;end_of_text&gt;|&#x1b;[31mred|&Tab;a&NewLine;b|&AElig; &AELIG; &aelig;
&thorn;&THORN;|&macr;\\_(ã\x83\x84)_/&macr;|&atilde;&copy;|&Atilde;&copy; l&agrave;|e&#769; e&#x301|&apos; &#39; &#039;
&GTCC; &ltcc; &gtx|&lowbar;&UnderBar;|&bne; &caps;|AT&T; Q&A; &a1b2c3d4e5f6g7h8i9j0k1l2m3;|<&eacute;\n&eacute;"""

FORMS = """
ﬁve ﬂowers|ﬀ ﬃ ﬄ ﬅ ﬆ|Ĳ ĳ ŉ Ǆ ǅ ǆ|Ǉubav ǈ ǉ Ǌ ǋ ǌ Ǳ ǲ ǳ|ｆｕｌｌ ｗｉｄｔｈ　ＡＢＣ！|ｶﾞｷﾞ ﾊﾟﾝ ﾀﾜｰ|ﾡﾢ ￠￡￥ ￨|Ⅷ ⅷ Ⓐ ⓐ
x² H₂O ½ ⅔|Å \u212b K \u2126|ﷺ ﻼ|cafe\u0301 e\u0301\u0323 A\u030a|o\u0308\u0301 \u0301x|\u1112\u1161\u11ab
q\u0307\u0323 q\u0323\u0307|x\u0345 \u0345 y|α\u0345 Α\u0345|i\u0307 I\u0307|\u0958|ſ ẛ ẞ|ŐÖ|\ufb1d \ufb2a"""

SPECIAL = """
<end_of_text>¦a <start_of_text> cat <end_of_text> dog¦<END_OF_TEXT>¦!<end_of_text>¦<end_of_text><end_of_text>!
<ſtart_of_text>¦<|endoftext|>¦<|startoftext|> a cat¦x<|endoftext|>y¦< end_of_text >¦<end_of_text
don't stop, it's 3.14% of 1,000 (#42)!¦a_b snake_case¦C++ c# .NET¦100% 5€ £6¦e=mc² 10³¦#hash @me¦http://x.y/z?a=b&c=d"""

EMOJI = """
🦀|👩‍🚀 👨‍👩‍👧|👍🏽|🏴󠁧󠁢󠁷󠁬󠁳󠁿|🇪🇺|☺️ ☺|1️⃣|❤️‍🔥|(ﾉಥ益ಥ)ﾉ|¯\\_(ツ)_/¯|ʕ•ᴥ•ʔ|♥♪ ★ → ≠ ∞|┌─┐│└─┘|▀▄█"""

SPACES = [
    "  tabs\tand\nnew  lines ", "a\r\nb\rc", "a\u2028b\u2029c\x85d", "a\xa0b\u202fc\u2009d\u3000e\u1680f\u205fg",
    "\ufeffbom a\ufeffb", "nul\x00 \x01\x07\x08 \x0b\x0c \x0e\x1f\x7f", "a\x1cb\x1dc\x1ed\x1fe",
    "\u200ba\u200bb \u200c\u200d\u200e\u200f\u2060", "x\u00ady", "\x1b[36;44mI'm blue\x1b[0m", "\x1b[1;٣mx \x1b[ \x1b[31",
    "\x80\x91\x92\x93\x94\x96\x9f", "\x81\x8d\x8f\x90\x9d", "caf\x8e \x85 x", "\u206a\u206f\ufff9\ufffa\ufffb\ufffcz\ufffd",
    "", " ", "\n", "\x00", "\x1b[0m", "&nbsp;", "line &amp; one\n<b> &amp;\nthree &amp;", "\u180ea\u2800b", "a\n\n\nb",
    "\u202aa\u202c \u2066b\u2069", "one\n  Ã©tÃ©\nwindows Ã© ✔", "x\x85y\n\x85", "\ue000 \uf8ff \U000f0000",
]

# Mojibake as it is met: lossy, with spaces for no-break spaces, in the midst of sound text, CESU-8, Java's NUL.
BROKEN = [
    "a cafÃ© sign", "Ã la mode", "voilÃ le travail", "Ã s onze", "sÃ£o Ã quele", "â€œ like this â€�", "â€œhereâ€\x9d",
    "schÃ¶n � Ã?x", "doesnâ€™t Ãƒâ€š", "ÃƒÂ©tÃƒÂ©", "vÃ­deo âœ” ok ✔", "l’humanitÃ©", "Â£5 Â©", "Â°C Â½", "RÃ©ve MoscÃ³w Москва",
    "рџ¦Ђ РєСЂР°Р±", "ГўВЂВ™s", "вЂ™", "Ð¿Ñ\x80Ð¸Ð²ÐµÑ\x82", "ï¿½", "ï»¿bom", "í\xa0½í²©", "í ½í²© x", "À\x80x Ã©", "Ã©\nÃ©", "‚Äôs ‚Ä¶",
    "√©t√©", "├⌐t├⌐", "ΟΞ‘Ξ’", "β€™s", "ā€™s", "Å¡ Å ", "Ãºltimo Ã", "x Â ", "Â", "Ã", "Â Â Â", "à² à²µ", "ãƒ„", "ã‚¢ã‚¤", "å¤§",
    "ðŸ¦€", "ðŸ¦ ", "ð ¦€", "Ø§Ù„Ø¹", "Ø§ÙØ¹Ø±", "×©×œ×•×", "¿QuÃ©?", "Itâ€˜s â€“ â€”", "AlmerÃ\xada", "Ã\xada", "ÃÂ ", "œx œ ÷", "É°",
    "a Â» b", "«Â»", "¡Ã!", "—â€”", "\x80uro", "FranÃ§ois & co &eacute;", "l\x92\xe9t\xe9", "\x93quoted\x94 \x81", "Ã\x83Â©",
    "Ã¢â‚¬â„¢", "a€˜b", "ÄŤesky", "ĂˇĂ©", "Ĺˇ Ĺľ", "Đ±", "HUHLÃ\x8dÃ\x8cGÃ\x8cÃ\x8d", "Ã¯Â»Â¿x", "ÃŸ", "WELCHE ÄÖÜ ß", "PÃ‰REZ",
    "L€™AVENIR", "ammaccato,\xa0Ã¨ come", "í\xa0½í²\n", "À\n", "Ãƒƒƒƒ", "a Ã©\x1a", "x\u00f8°y É°", "Ã\xad¡ √± ≈° ×²", "ГўВЂВ.x",
]


def split(texts: str, separator: str = "|") -> list[str]:
    """Texts one after another; a line break between lines of this file separates them too."""
    lines = texts.removeprefix("\n").replace("<&eacute;\n", "<&eacute;\0")
    return [text.replace("\0", "\n") for text in lines.replace("\n", separator).split(separator)]


def mangled() -> list[str]:
    """Texts as wrong encodings show their UTF-8, as two of them show it in turn, and every character of each."""
    found = []
    for text in split(MANGLED):
        found += [text.encode().decode(wrong) for wrong in WRONG]
        for first, second in (("latin-1", "latin-1"), ("sloppy-windows-1252",) * 2, ("cp437", "latin-1")):
            found.append(text.encode().decode(first).encode().decode(second))
    lossy = [text.replace("\xa0", " ") for text in found[::11]] + [f"Ok ✔ {text}, é" for text in found[5::13]]
    # The files would be large with all of them; which are left out is arbitrary.
    found = [text for at, text in enumerate(found) if at % 5 > 1]
    second = "".join(chr(0xC0 + low) for low in range(0x40))
    first = "".join(chr(high << 6 | 0x2A) for high in range(2, 0x20)) + "".join(chr(high << 12 | 0xABC) for high in range(1, 13))
    every = [part.encode().decode(wrong) for wrong in WRONG for part in (second, first)]
    return found + lossy + every


def corpus() -> list[str]:
    scripts = split(SCRIPTS)
    groups = [scripts, [f"{a} {b}" for a, b in zip(scripts[::3], scripts[7::3])], split(SPECIAL, "¦")]
    groups += [split(texts) for texts in (QUOTES, ENTITIES, FORMS, EMOJI)] + [SPACES, BROKEN, mangled()]
    return list(dict.fromkeys(text for group in groups for text in group))


def tokenizer(model: dict) -> SimpleTokenizer:
    """open_clip's own, with the merges of a tokenizer.json."""
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:
        Path(file.name).write_bytes(gzip.compress("\n".join(["#version: 0.2", *merges]).encode()))
        return SimpleTokenizer(file.name, context_length=CONTEXT)


def fnv(numbers) -> str:
    """A hash in the manner of FNV-1a, of whole numbers in place of bytes."""
    value = 0x811C9DC5
    for number in numbers:
        value = (value ^ number) * 0x01000193 % 2**32
    return f"{value:08x}"


def characters() -> str:
    known = (chr(code) for low, high in RANGES for code in range(low, high) if not 0xD800 <= code < 0xE000)
    return fnv(ord(c) for known in known for c in f"{_clean_lower(f'a{known}b')}\n")


def entities() -> str:
    names = sorted({name.rstrip(";") for name in html5})
    return fnv(ord(c) for name in names for c in f"{html.unescape(f'&{name};')}\n{html.unescape(f'&{name} ')}\n")


def readable(text: str) -> str:
    """Invisible characters as JSON's escapes, so that an editor leaves them alone."""
    def escaped(c: str) -> str:
        units = c.encode("utf-16-be")
        return "".join(f"\\u{units[at:at + 2].hex()}" for at in range(0, len(units), 2))

    unseen = ("Cc", "Cf", "Co", "Mn", "Zl", "Zp", "Zs")
    return "".join(escaped(c) if c not in " \n" and unicodedata.category(c) in unseen else c for c in text)


def main() -> None:
    model = json.loads((ROOT / "openclip_vit" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    texts = corpus()
    cleaned = [_clean_lower(text) for text in texts]
    ids = tokenizer(model)(texts).tolist()
    rows = [[text, None if text == clean else clean, fnv(row)] for text, clean, row in zip(texts, cleaned, ids)]
    libraries = {"open_clip": "open_clip_torch", "ftfy": "ftfy", "regex": "regex"}
    made_by = {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    made_by |= {name: version(package) for name, package in libraries.items()}
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    head = json.dumps({"made_by": made_by, "characters": characters(), "entities": entities()})
    out = readable(f'{head[:-1]}, "texts": [\n{lines}\n]}}\n')
    assert json.loads(out)["texts"] == rows
    (ROOT / "words.json").write_text(out, encoding="utf-8", newline="\n")
    print(len(rows), "texts,", sum(row[1] is not None for row in rows), "changed,", len(out.encode()), "bytes")


if __name__ == "__main__":
    main()
