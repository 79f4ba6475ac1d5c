"""The example users of a board as HTML: a card a model, the target marked."""

from html import escape

from recbole_genrec.report.example_users import EXAMPLES, MOST_ROWS, example_users


def example_cards(analysis):
    """A section with the users, and what it leaves out."""
    examples = example_users(analysis)
    shown = "".join(_user(example, examples.titles) for example in examples.users)
    notes = [_intro(examples)] if examples.users else []
    if examples.without_lists:
        notes.append(
            f"No lists of {', '.join(examples.without_lists)}: the outcomes (.npz) are missing or kept without lists."
        )
    if examples.other_users:
        notes.append(f"Tested on other users or targets: {', '.join(examples.other_users)}.")
    if examples.left_out:
        notes.append(f"The {MOST_ROWS} best rows are shown, not {', '.join(examples.left_out)}.")
    said = "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)
    return f"<h3>Example users</h3>\n{said}{shown}"


def _intro(examples):
    titles = (
        ""
        if examples.titles
        else (" Items are shown by id: no checkpoint and no .item file with titles was found where the runs say.")
    )
    return (
        f"{EXAMPLES} users chosen for their differences, one of each kind that exists, by rule and not by hand; they "
        f"are not typical. Lists as the test ranked them, the target marked.{titles}"
    )


def _user(example, titles):
    targets = "; ".join(
        f"<b>{_item(token, titles)}</b>, {count:,} training interactions" for token, count in example.targets
    )
    cards = "".join(_card(listed, example, titles) for listed in example.lists)
    return (
        f"<section><h4>User {escape(example.user)}, {example.interactions:,} interactions in training</h4>\n"
        f"<p>{'Target' if len(example.targets) == 1 else 'Targets'}: {targets}.</p>\n"
        f'<p class="note">{escape(example.reason)}.</p>\n<div class="cards">{cards}</div></section>\n'
    )


def _card(listed, example, titles):
    items = "".join(
        f'<li class="hit"><mark>{_item(item, titles)}</mark> <span class="sign">\N{CHECK MARK} target</span></li>\n'
        if hit
        else f"<li>{'<i>no item</i>' if item is None else _item(item, titles)}</li>\n"
        for item, hit in zip(listed.items, listed.hits)
    )
    if any(listed.hits):
        found = f"target at {' and '.join(str(place) for place, hit in enumerate(listed.hits, 1) if hit)}"
    else:
        found = f"target not among the first {len(listed.items)}"
    kind = "card found" if any(listed.hits) else "card"
    return (
        f'<div class="{kind}"><h5>{escape(listed.row)}</h5><p class="note">seed {listed.seed}, {found}</p>\n'
        f"<ol>\n{items}</ol></div>\n"
    )


def _item(token, titles):
    return escape(titles.get(token, f"item {token}"))
