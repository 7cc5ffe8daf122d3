"""The slow, obvious way to answer a question: look at what is drawn."""

import re

COLOURS = ["red", "green", "blue", "yellow", "cyan", "pink", "white", "orange"]


def answer_by_looking(frames, text):
    """Answer `text` from the marks of each frame alone."""
    whole = {mark.character: mark.colour for frame in frames for mark in frame}
    colour = next((name for name in COLOURS if re.search(rf"\b{name}\b", text)), None)
    digit = next(iter(re.findall(r"\d", text)), None)
    if "number" in text or "word" in text:
        return _read(frames[0], text, colour)
    if "different" in text:
        return str(len(whole))
    if text in ("how many digits are there?", "count the digits."):
        return str(len(frames[0]))
    if text.startswith(("is there", "do you see")):
        there = colour in whole.values() if colour else digit in whole
        return "yes" if there else "no"
    if "move" in text:
        return _motion(frames, text, digit)
    if "flash" in text or "moment" in text:
        return _flash(frames, text, whole)
    if "appear" in text:
        return _appearance(frames, text)
    if "colour is the" in text:
        return whole[digit]
    if colour:
        return next(character for character, painted in whole.items() if painted == colour)
    return _extreme(frames[0], text)


def _read(marks, text, colour):
    is_number = "number" in text
    line = [m for m in marks if m.character.isdigit() == is_number and colour in (None, m.colour)]
    return "".join(mark.character for mark in sorted(line, key=lambda mark: mark.column))


def _motion(frames, text, digit):
    first = {mark.character: mark for mark in frames[0]}
    last = {mark.character: mark for mark in frames[-1]}
    for character, start in first.items():
        end = last[character]
        across, down = end.column - start.column, end.row - start.row
        if across or down:
            if digit is None:
                return character
            assert digit == character
            return ("right" if across > 0 else "left") if across else ("down" if down > 0 else "up")
    raise AssertionError("nothing moves")


def _flash(frames, text, whole):
    shown = {c: sum(any(m.character == c for m in frame) for frame in frames) for c in whole}
    short = min(shown, key=shown.get)
    assert sorted(shown.values())[1] > shown[short]
    return whole[short] if "colour" in text else short


def _appearance(frames, text):
    start = {}
    for number, frame in enumerate(frames):
        for mark in frame:
            start.setdefault(mark.character, number)
    assert len(set(start.values())) == len(start)
    return min(start, key=start.get) if "first" in text else max(start, key=start.get)


def _extreme(marks, text):
    if "largest" in text:
        return str(max(int(mark.character) for mark in marks))
    across = {mark.column: mark.character for mark in marks}
    down = {mark.row: mark.character for mark in marks}
    if "left" in text:
        return across[min(across)]
    if "right" in text:
        return across[max(across)]
    return down[min(down)] if "top" in text else down[max(down)]
