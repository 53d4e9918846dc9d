#!/usr/bin/env python3
"""What Pillow makes of pictures of unusual kinds, damaged ones among them.

Writes `pictures.json` beside itself: for each picture its file in Base64, and what `Image.open(..).convert("RGB")` gives: width,
height and the levels in Base64, or null where Pillow refuses. `close` is how many levels apart a decoder may be where
Pillow's own library rounds otherwise than the specification asks for. Run with Pillow 13.0.0 and NumPy 2:

    python tests/golden/export_pictures.py
"""
import base64
import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

warnings.filterwarnings("ignore")
WIDTH, HEIGHT = 20, 18
pictures: dict[str, tuple[bytes, int]] = {}


def drawn(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Waves of three colours with a hard edge and a spot."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / 3), 128 + 100 * np.cos(y / 4), 128 + 90 * np.sin((x + y) / 5)]
    image = np.stack(waves, -1).astype(np.uint8)
    image[height // 3 : 2 * height // 3, width // 4 : width // 2] = [240, 20, 60]
    image[1:5, -6:-2] = [10, 200, 250]
    return image


RGB = drawn()
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = ((np.mgrid[0:HEIGHT, 0:WIDTH].sum(0) * 9) % 256).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
INKS = np.dstack([255 - RGB, ALPHA // 2])


def keep(name: str, file: bytes, close: int = 0) -> None:
    pictures[name] = (file, close)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# JPEG: what three components mean, and files that are not as they should be.
def jpeg_parts(file: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    parts, at = [], 2
    while True:
        marker, length = file[at + 1], struct.unpack(">H", file[at + 2 : at + 4])[0]
        parts.append((marker, file[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == 0xDA:
            return parts, file[at:]


def jpeg_joined(parts: list[tuple[int, bytes]], rest: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(bytes([0xFF, m]) + struct.pack(">H", len(p) + 2) + p for m, p in parts) + rest


def jpeg_marked(file: bytes, ids: bytes | None = None, jfif: bool = True, adobe: int | None = None) -> bytes:
    parts, rest = jpeg_parts(file)
    marked = []
    for marker, part in parts:
        part = bytearray(part)
        if ids and marker == 0xC0:
            part[6::3] = ids
        if ids and marker == 0xDA:
            part[1 : 1 + 2 * len(ids) : 2] = ids
        if marker == 0xEE or (marker == 0xE0 and not jfif):
            continue
        marked.append((marker, bytes(part)))
    if adobe is not None:
        marked.insert(0, (0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe)))
    return jpeg_joined(marked, rest)


def jpegs() -> None:
    colour = Image.fromarray(drawn(40, 32))
    plain = saved(colour, "JPEG", quality=80)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            name = f"jpeg {subsampling}{' progressive' if progressive else ''}"
            keep(name, saved(colour, "JPEG", quality=80, subsampling=subsampling, progressive=progressive))
    keep("jpeg odd size", saved(Image.fromarray(drawn(33, 27)), "JPEG", quality=80))
    keep("jpeg grey", saved(colour.convert("L"), "JPEG", quality=80))
    inks = saved(Image.fromarray(INKS, "CMYK"), "JPEG", quality=90)
    keep("jpeg of four inks", inks)
    keep("jpeg of four inks without a marker", jpeg_marked(inks))
    keep("jpeg of luma, chroma and black", jpeg_marked(inks, adobe=2))
    for ids in (b"RGB", b"\0\1\2", b"\1\2\3", b"rgb", b"\7\x09\x16"):
        for jfif in (True, False):
            for adobe in (None, 0, 1):
                keep(f"jpeg ids {list(ids)} jfif {jfif} adobe {adobe}", jpeg_marked(plain, ids, jfif, adobe))
    apart = saved(colour, "JPEG", quality=80, subsampling="4:4:4")
    keep("jpeg 4:4:4 as 2 x 2", apart.replace(b"\1\x11\0\2\x11\1\3\x11\1", b"\1\x22\0\2\x22\1\3\x22\1"))
    keep("jpeg ids alike", jpeg_marked(plain, b"\1\1\1"))
    keep("jpeg zeros before its end", plain[:-2] + bytes(9) + plain[-2:])
    keep("jpeg fill bytes", plain[:2] + b"\xff\xff\xff" + plain[2:])
    keep("jpeg with more after it", plain + b"something else" * 9)
    keep("jpeg twice", plain + plain)
    keep("jpeg not at byte 0", b"\r\n" + plain)
    keep("jpeg without its end", plain[:-2])
    keep("jpeg with zeros for its end", plain[:-2] + bytes(300))
    keep("jpeg progressive with zeros for its end", saved(colour, "JPEG", progressive=True)[:-2] + bytes(300))
    keep("jpeg cut, with an end", plain[: len(plain) * 8 // 10] + b"\xff\xd9")
    for name, file in (
        ("colour", plain),
        ("progressive", saved(colour, "JPEG", progressive=True)),
        ("grey", saved(colour.convert("L"), "JPEG")),
        ("of four inks", inks),
    ):
        for part in (70, 95):
            keep(f"jpeg {name} cut at {part} %", file[: len(file) * part // 100])
    turns = saved(colour, "JPEG", quality=80, restart_marker_blocks=1)
    at = [i for i in range(len(turns) - 1) if turns[i] == 0xFF and 0xD0 <= turns[i + 1] <= 0xD7]
    keep("jpeg restart markers", turns)
    for lost in (0, 2, len(at) - 1):
        keep(f"jpeg restart marker {lost} lost", turns[: at[lost]] + turns[at[lost] + 2 :])
    keep("jpeg two restart markers lost", turns[: at[1]] + turns[at[1] + 2 : at[2]] + turns[at[2] + 2 :])
    keep("jpeg interval lost", turns[: at[1]] + turns[at[2] :])
    keep("jpeg restart marker twice", turns[: at[1]] + turns[at[0] :])
    keep("jpeg restart marker of another number", turns[: at[1] + 1] + b"\xd5" + turns[at[1] + 2 :])
    flipped = bytearray(turns)
    flipped[at[1] + 5] ^= 0x55
    keep("jpeg damaged within an interval", bytes(flipped))


# TIFF: kinds of numbers, alpha, palettes, planes.
def tiff(samples: np.ndarray, photometric: int, bits: int, width: int = WIDTH, big: bool = False, **more) -> bytes:
    """A little-endian TIFF of one strip; `more` by tag: extra, format, colours, planes, turn, fill."""
    count = 1 if samples.ndim == 2 else samples.shape[2]
    data = (np.moveaxis(samples, -1, 0) if more.get("planes") == 2 else samples).tobytes()
    strips = count if more.get("planes") == 2 else 1
    tags = {256: [width], 257: [HEIGHT], 258: [bits] * count, 259: [1], 262: [photometric], 273: [0] * strips}
    tags |= {277: [count], 278: [HEIGHT], 279: [len(data) // strips] * strips, 284: [more.get("planes", 1)]}
    for tag, name in ((266, "fill"), (274, "turn"), (320, "colours"), (338, "extra"), (339, "format")):
        if name in more:
            value = more[name]
            tags[tag] = value if isinstance(value, list) else [value] * (count if name == "format" else 1)
    inline, pointer, entry = (8, "Q", 20) if big else (4, "I", 12)
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    free = len(head) + (8 if big else 2) + entry * len(tags) + (8 if big else 4)
    long = {273, 279}
    sizes = {tag: len(values) * (4 if tag in long else 2) for tag, values in tags.items()}
    places = {}
    for tag in sorted(tags):
        if sizes[tag] > inline:
            places[tag] = free
            free += sizes[tag]
    tags[273] = [free + strip * (len(data) // strips) for strip in range(strips)]
    entries, apart = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack("<" + ("I" if tag in long else "H") * len(values), *values)
        entries += struct.pack("<HH" + pointer, tag, 4 if tag in long else 3, len(values))
        entries += struct.pack("<" + pointer, places[tag]) if tag in places else packed.ljust(inline, b"\0")
        apart += packed if tag in places else b""
    number = struct.pack("<Q" if big else "<H", len(tags))
    return head + number + entries + bytes(8 if big else 4) + apart + data


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Rows of samples of a few bits, each filled up to a byte."""
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()) for row in levels]
    return np.stack(rows)


def tiffs() -> None:
    colours = [((i * step) % 256) * 257 for step in (53, 7, 91) for i in range(256)]
    premultiplied = np.dstack([RGB.astype(int) * ALPHA[..., None] // 255, ALPHA]).astype(np.uint8)
    wide = GREY.astype("<u2")
    keep("tiff alpha, multiplied", tiff(premultiplied, 2, 8, extra=1))
    keep("tiff alpha, multiplied, 16 bits", tiff(premultiplied.astype("<u2") * 257, 2, 16, extra=1))
    keep("tiff alpha, multiplied, and a sample more", tiff(np.dstack([premultiplied, ALPHA]), 2, 8, extra=[1, 0]))
    keep("tiff alpha, multiplied, in planes", tiff(premultiplied, 2, 8, extra=1, planes=2))
    keep("tiff alpha", tiff(RGBA, 2, 8, extra=2))
    keep("tiff alpha, 16 bits", tiff(RGBA.astype("<u2") * 257, 2, 16, extra=2))
    keep("tiff alpha in planes", tiff(RGBA, 2, 8, extra=2, planes=2))
    keep("tiff fourth sample without meaning", tiff(RGBA, 2, 8, extra=0))
    keep("tiff fourth sample without a word", tiff(RGBA, 2, 8))
    keep("tiff grey, alpha", tiff(np.dstack([GREY, ALPHA]), 1, 8, extra=2))
    keep("tiff grey, alpha, multiplied", tiff(np.dstack([GREY, ALPHA]), 1, 8, extra=1))
    keep("tiff planes", tiff(RGB, 2, 8, planes=2))
    keep("tiff big", tiff(RGB, 2, 8, big=True))
    keep("tiff big, palette", tiff(GREY, 3, 8, big=True, colours=colours))
    keep("tiff inks", tiff(INKS, 5, 8))
    keep("tiff inks in planes", tiff(INKS, 5, 8, planes=2))
    keep("tiff inks, 16 bits", tiff(INKS.astype("<u2") * 257, 5, 16))
    keep("tiff luma and chroma", tiff(np.asarray(Image.fromarray(RGB).convert("YCbCr")), 6, 8), close=1)
    keep("tiff Lab", tiff(RGB, 8, 8))
    keep("tiff palette", tiff(GREY, 3, 8, colours=colours))
    keep("tiff palette, turned", tiff(GREY, 3, 8, colours=colours, turn=6))
    keep("tiff palette, alpha", tiff(np.dstack([GREY, ALPHA]), 3, 8, extra=2, colours=colours))
    keep("tiff palette of 8-bit numbers", tiff(GREY, 3, 8, colours=[number // 257 for number in colours]))
    keep("tiff palette, too short", tiff(GREY, 3, 8, colours=colours[:300]))
    for bits in (1, 2, 4):
        few = packed(GREY >> (8 - bits), bits)
        short = [number for plane in range(3) for number in colours[256 * plane : 256 * plane + (1 << bits)]]
        keep(f"tiff palette, {bits} bits", tiff(few, 3, bits, colours=short))
        keep(f"tiff grey, {bits} bits", tiff(few, 1, bits))
        keep(f"tiff white is zero, {bits} bits", tiff(few, 0, bits))
    keep("tiff white is zero", tiff(255 - GREY, 0, 8))
    keep("tiff bits in the other order", tiff(GREY, 1, 8, fill=2))
    keep("tiff grey, 16 bits", tiff(wide * 3, 1, 16))
    keep("tiff white is zero, 16 bits", tiff(wide * 3, 0, 16))
    keep("tiff grey, 16 bits with a sign", tiff((wide.astype(int) * 3 - 200).astype("<i2"), 1, 16, format=2))
    keep("tiff grey, 8 bits with a sign", tiff((GREY.astype(int) - 128).astype("i1"), 1, 8, format=2))
    keep("tiff grey, 32 bits", tiff(wide.astype("<u4") * 2, 1, 32))
    keep("tiff grey, 32 bits, large", tiff(wide.astype("<u4") * 2**24, 1, 32))
    keep("tiff grey, 32 bits with a sign", tiff(wide.astype("<i4") * 2 - 100, 1, 32, format=2))
    keep("tiff grey, floating", tiff(GREY.astype("<f4") * 1.7 - 20.5, 1, 32, format=3))
    keep("tiff white is zero, floating", tiff(GREY.astype("<f4"), 0, 32, format=3))
    keep("tiff grey, no numbers", tiff(np.full_like(GREY, np.nan, "<f4"), 1, 32, format=3))
    keep("tiff colour, floating", tiff((RGB / 255).astype("<f4"), 2, 32, format=3))
    keep("tiff colour, 32 bits", tiff(RGB.astype("<u4") * 2**24, 2, 32))
    keep("tiff colour, 16 bits", tiff(RGB.astype("<u2") * 257, 2, 16))
    keep("tiff colour, 16 bits in planes", tiff(RGB.astype("<u2") * 257, 2, 16, planes=2))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        keep(f"tiff {compression}", saved(Image.fromarray(RGB), "TIFF", compression=compression))
        keep(f"tiff palette {compression}", saved(Image.fromarray(RGB).quantize(16), "TIFF", compression=compression))
    keep("tiff group 4", saved(Image.fromarray(GREY > 120), "TIFF", compression="group4"))
    keep("tiff jpeg", saved(Image.fromarray(RGB), "TIFF", compression="jpeg"), close=2)
    big_endian = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    keep("tiff palette, big-endian", saved(Image.fromarray(RGB).quantize(16), "TIFF", tiffinfo=big_endian))
    keep("tiff cut", tiff(RGB, 2, 8)[:-20])


# GIF: where the first frame lies.
def gif(box: tuple[int, int, int, int], transparent: int | None = None, local: bool = False, lines: bool = False) -> bytes:
    table = bytes((i * 3 + j * 70) % 256 for i in range(16) for j in range(3))
    left, top, width, height = box
    control = b"!\xf9\x04" + bytes([1, 10, 0, transparent]) + b"\0" if transparent is not None else b""
    data = b"GIF89a" + struct.pack("<HHBBB", WIDTH, HEIGHT, 0xF3, 3, 0) + table + control
    flags = (0x83 if local else 0) | (0x40 if lines else 0)
    data += b"," + struct.pack("<HHHHB", left, top, width, height, flags) + (bytes(reversed(table)) if local else b"")
    bits = ""  # of 5 each, the lowest first: a code that clears the table before every eighth index
    for at in range(width * height):
        codes = ([16] if at % 8 == 0 else []) + [(at // width + at % width) % 16]
        bits += "".join(f"{code:05b}"[::-1] for code in codes)
    bits += f"{17:05b}"[::-1]
    codes = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(codes[at : at + 255])]) + codes[at : at + 255] for at in range(0, len(codes), 255))
    return data + b"\x04" + blocks + b"\0;"


def gifs() -> None:
    keep("gif whole", gif((0, 0, WIDTH, HEIGHT)))
    keep("gif inside", gif((3, 4, 9, 8)))
    keep("gif inside, transparent", gif((3, 4, 9, 8), transparent=5))
    keep("gif inside, own palette", gif((3, 4, 9, 8), local=True))
    keep("gif inside, lines in turn", gif((3, 4, 9, 11), lines=True))
    keep("gif beyond", gif((15, 12, 12, 12)))
    keep("gif beyond, transparent", gif((15, 12, 12, 12), transparent=9))
    keep("gif transparent beyond the palette", gif((3, 4, 9, 8), transparent=200))
    keep("gif without its last byte", gif((0, 0, WIDTH, HEIGHT))[:-1])
    keep("gif cut", gif((0, 0, WIDTH, HEIGHT))[:-40])


# PNG, WebP and BMP: what is missing at the end.
def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def others() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
    png = head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    for missing in (1, 4, 8, 11, 12, 14, 16, 20):
        keep(f"png without {missing} bytes", png[:-missing])
    for missing in (26, 60, 200):
        keep(f"png without {missing} bytes", png[:-missing])
    keep("png cut after a chunk of text", png[:-12] + chunk(b"tEXt", b"a\0b")[:-3])
    keep("png without its last rows", head + chunk(b"IDAT", zlib.compress(rows[:-300])) + chunk(b"IEND", b""))
    keep("png grey, 16 bits", saved(Image.fromarray(GREY.astype(np.uint16) * 3), "PNG"))
    webp = saved(Image.fromarray(RGB), "WEBP", lossless=True)
    keep("webp", webp)
    for missing in (1, 2, 30):
        keep(f"webp without {missing} bytes", webp[:-missing])
    bmp = saved(Image.fromarray(RGB), "BMP")
    keep("bmp", bmp)
    keep("bmp cut", bmp[:-30])


def seen(file: bytes) -> list | None:
    try:
        image = Image.open(io.BytesIO(file)).convert("RGB")
    except Exception:
        return None
    return [image.width, image.height, base64.b64encode(image.tobytes()).decode()]


def main() -> None:
    jpegs(), tiffs(), gifs(), others()
    # Of a picture that is as another, only its name.
    known: dict[str, str] = {}
    entries = []
    for name, (file, close) in pictures.items():
        levels = seen(file)
        entry = dict(name=name, file=base64.b64encode(file).decode(), levels=levels)
        if levels is not None and levels[2] in known:
            entry["levels"] = known[levels[2]]
        elif levels is not None:
            known[levels[2]] = name
        if close:
            entry["close"] = close
        entries.append(entry)
    path = Path(__file__).parent / "pictures.json"
    path.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")


if __name__ == "__main__":
    main()
