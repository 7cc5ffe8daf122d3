"""The slow, obvious way to answer a question about a drawn picture: look its words up in the plan."""

import re


def answer_from(task, plan, text):
    """The one right answer, from what the picture shows."""
    looks = {"documents": _document, "charts": _chart, "screens": _screen, "texture": _texture}
    return looks[task](plan, text)


def _only(found):
    """The one value that was found."""
    (value,) = found
    return value


def _document(plan, text):
    named = re.findall(r"[A-Z]{3,}|\d\.\d\d", text)
    if "page" in text:
        assert plan.kind == "page"
        return plan.foot
    if "heading" in text:
        return plan.heading
    if "bold" in text:
        return plan.bold
    if "comes after" in text or "word after" in text:
        words = [word for row in plan.rows for word in row]
        return words[words.index(named[0]) + 1]
    if "ticked" in text or "cross" in text:
        return {"[x]": "yes", "[ ]": "no"}[dict(plan.rows)[named[0]]]
    if "filled in" in text or "field" in text:
        return dict(plan.rows)[named[0]]
    return _sums(plan, text, named)


def _sums(plan, text, named):
    if plan.kind == "table":
        column = 1 + plan.heads.index(named[-1])
        if len(named) == 2:
            return _only(row[column] for row in plan.rows if row[0] == named[0])
        most = max(int(row[column]) for row in plan.rows)
        return _only(row[0] for row in plan.rows if int(row[column]) == most)
    prices = {item: int(price.replace(".", "")) for item, price in plan.rows}
    if "total" in text:
        return f"{sum(prices.values()) / 100:.2f}"
    if "how many" in text or "count" in text:
        return str(len(prices))
    if not named:
        return _only(item for item in prices if prices[item] == max(prices.values()))
    if named[0] in prices:
        return f"{prices[named[0]] / 100:.2f}"
    return _only(item for item, price in plan.rows if price == named[0])


def _chart(plan, text):
    named = re.findall(r"\b(?:[A-Z]|[A-Z]{3,})\b", text)
    if plan.kind == "lines":
        return _line(plan, text, named)
    bars = dict(zip(plan.labels, plan.values[0], strict=True))
    value = next(iter(re.findall(r"\d", text)), None)
    if "how many" in text or "count" in text:
        return str(len(bars))
    if value:
        return _only(label for label in bars if bars[label] == int(value))
    if len(named) == 2:
        return "yes" if bars[named[0]] > bars[named[1]] else "no"
    if named:
        return str(bars[named[0]])
    extreme = min(bars.values()) if "smallest" in text else max(bars.values())
    return _only(label for label in bars if bars[label] == extreme)


def _line(plan, text, named):
    lines = dict(zip(plan.colours, plan.values, strict=True))
    colour = next((name for name in lines if f" {name} " in text), None)
    places = [plan.labels.index(label) for label in named]
    if "how many" in text or "count" in text:
        return str(len(lines))
    if colour is None:
        top = max(values[places[0]] for values in lines.values())
        return _only(name for name, values in lines.items() if values[places[0]] == top)
    values = lines[colour]
    if len(places) == 2:
        change = values[places[1]] - values[places[0]]
        assert change
        return "up" if change > 0 else "down"
    if places:
        return str(values[places[0]])
    return _only(
        label for label, value in zip(plan.labels, values, strict=True) if value == max(values)
    )


def _screen(plan, text):
    named = re.findall(r"[A-Z]{3,}", text)
    items = {panel.kind: panel.items for panel in plan.panels}
    if "title" in text:
        return plan.title
    if text.startswith(("where", "in which corner")):
        return _corner(plan, text, named)
    if "how many" in text or "count" in text:
        return str(len(items["list"]))
    nth = re.search(r"the (\w+) item ", text)
    if nth:
        order = [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
        ]
        return items["list"][order.index(nth[1])].label
    if "selected" in text or "marked" in text:
        return _only(item.label for item in items["list"] if item.on)
    if "button" in text:
        on = "enabled" in text or "pressed" in text
        return _only(item.label for item in items["buttons"] if item.on == on)
    if "switch" in text or text.endswith(" on?"):
        return "yes" if _only(i for i in items["switches"] if i.label == named[0]).on else "no"
    return _only(item.value for item in items["fields"] if item.label == named[0])


def _corner(plan, text, named):
    kinds = {"list": "list", "button": "buttons", "field": "fields", "switch": "switches"}
    kind = _only(kinds[word] for word in re.findall(r"\b(list|button|field|switch)\b", text))
    number = _only(number for number, panel in enumerate(plan.panels) if panel.kind == kind)
    assert all(word in {item.label for item in plan.panels[number].items} for word in named)
    return ("top ", "bottom ")[number // 2] + ("left", "right")[number % 2]


def _texture(plan, text):
    parts = {part.place: part for part in plan.parts}
    if "blurred" in text or "focus" in text:
        return _only(place for place, part in parts.items() if part.is_blurred)
    if "bright" in text or "dark" in text:
        extreme = (max if "bright" in text else min)(part.light for part in plan.parts)
        return _only(place for place, part in parts.items() if part.light == extreme)
    place = re.search(r"(?:at the|of the) ([a-z ]+?)(?: part)?\?", text)
    if place:
        return parts[place[1]].pattern
    name = re.search(r"pattern (\w+)\?", text)[1]
    return _only(place for place, part in parts.items() if part.pattern == name)
