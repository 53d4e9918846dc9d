"""Fetches easy-VQA 1.0 from PyPI into a folder outside the project: `python fetch_easy_vqa.py FOLDER`.

4,000 + 1,000 pictures of one shape, 38,575 + 9,673 questions; what is read then is `FOLDER/easy_vqa/data`.
"""
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "easy-vqa==1.0"], check=True
    )
    [wheel] = Path(folder).glob("*.whl")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)
