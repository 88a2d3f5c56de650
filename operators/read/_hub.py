"""Which files of a folder are the splits of a Hugging Face dataset."""

from __future__ import annotations

import json
import re
from typing import Any

from reinforced.errors import RequestError, nearest

from ._files import refusal
from ._listing import Found, list_folder, open_path

PART = re.compile(r"(?P<folder>(?:.*/)?)(?P<split>[^/]+?)-\d{5}-of-(?P<parts>\d{5})(?P<tail>(?:-[0-9a-f]+)?)\.parquet")


def find_splits(operator: str, path: str, split: str | None) -> dict[str, list[Found]]:
    """Return the files of each split in their order, or of the named split only.

    Raises: RequestError if the folder holds no dataset, several, only parts of one, or no such split.
    """
    fs, root = open_path(path)
    files = {file.name: file for file in list_folder(operator, fs, root)}

    def parse(name: str) -> Any:
        if name not in files:
            raise RequestError(f"{operator}: '{name}' is missing from '{path}'; copy the whole dataset")
        return json.loads(fs.cat_file(files[name].path))

    if "dataset_dict.json" in files:
        folders = {name: f"{name}/" for name in parse("dataset_dict.json")["splits"]}
    elif "state.json" in files:
        folders = {parse("state.json").get("_split") or "train": ""}
    else:
        folders = {}
    names = {
        name: [folder + part["filename"] for part in parse(f"{folder}state.json")["_data_files"]]
        for name, folder in folders.items()
    } or _hub_layout(operator, path, list(files))
    # A file that the dataset names is one of its folder, never `../elsewhere`.
    if missing := [name for parts in names.values() for name in parts if name not in files]:
        raise RequestError(f"{operator}: '{missing[0]}' is missing from '{path}'; copy the whole dataset")
    if split is not None and split not in names:
        raise RequestError(f"{operator}: '{path}' has no split '{split}'{nearest(split, names)}")
    for file in (files[part] for parts in names.values() for part in parts):
        if reason := refusal(fs, root, file.path):
            raise RequestError(f"{operator}: '{file.path}' {reason}; put the file itself there")
    return {name: [files[part] for part in parts] for name, parts in names.items() if split in (None, name)}


def _hub_layout(operator: str, path: str, files: list[str]) -> dict[str, list[str]]:
    found = [match for match in map(PART.fullmatch, files) if match]
    if not found:
        raise RequestError(
            f"{operator}: '{path}' holds no dataset; give the folder that save_to_disk wrote, or one with Parquet "
            "files such as train-00000-of-00001.parquet (read.parquet reads files with other names)"
        )
    folders = sorted({match["folder"] for match in found})
    if len(folders) > 1:
        raise RequestError(
            f"{operator}: '{path}' holds several configurations ({', '.join(folders)}); give one of them"
        )
    splits: dict[str, list[str]] = {}
    for match in found:
        splits.setdefault(match["split"], []).append(match[0])
    for match in found:
        names, parts = splits[match["split"]], int(match["parts"])
        if len(names) != parts:
            raise RequestError(
                f"{operator}: split '{match['split']}' in '{path}' has {len(names)} of {parts} "
                "files; copy the whole dataset"
            )
    return splits
