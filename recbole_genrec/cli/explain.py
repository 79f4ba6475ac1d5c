"""The command ``explain``: why an item is recommended to a user, in the words of a model that has read reviews."""

import json as as_json
from dataclasses import asdict


def explain(checkpoint, user, item, about="", data_path=None, json=False, trust_remote_code=False):
    """Print an explanation by a checkpoint of P5 or PEPLER."""
    from recbole_genrec.checkpoint.folder import existing

    existing(checkpoint)  # what is not there is said before torch is imported
    from recbole_genrec.runs.explained import explain

    found = explain(checkpoint, user, item, about, data_path, trust_remote_code)
    if json:
        print(as_json.dumps(asdict(found), ensure_ascii=False, indent=2))
        return
    print(f"{found.title}: {found.text}")
    if found.about:
        origin = "as asked" if found.is_given else "the feature that other reviews predict"
        unknown = "" if found.is_feature else "; training does not know it as a feature"
        print(f"About {found.about!r}, {origin}{unknown}.")
    if not found.knows_user:
        print(f"User {user!r} is not in the data: this is what the model says to an unknown user.")
