"""The last state of a widget as text: a page has no script that could draw it."""

import html
import re
from collections.abc import Mapping
from typing import Any

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
_BAR = 20  # characters
_DEEPEST = 10  # boxes within boxes


def states_of(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the last state of each widget by its number, from a notebook's metadata."""
    try:
        kept = metadata["widgets"][STATE]["state"]
        return {str(number): dict(model["state"]) for number, model in kept.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def as_text(states: Mapping[str, Mapping[str, Any]], view: object, deep: int = 0) -> str:
    """Return the texts, values and bars of a widget and of the widgets in it.

    ``view`` is the content of an output, ``{"model_id": …}``, or a widget's number.
    """
    number = view.get("model_id") if isinstance(view, Mapping) else view
    state = states.get(str(number).removeprefix("IPY_MODEL_"))
    if not state or deep > _DEEPEST:
        return ""
    children = state.get("children")
    if isinstance(children, list):
        between = "\n" if "VBox" in str(state.get("_model_name")) else " "
        return between.join(filter(None, (as_text(states, c, deep + 1) for c in children)))
    return " ".join(filter(None, (_plain(state.get("description")), _value(state))))


def _value(state: Mapping[str, Any]) -> str:
    if isinstance(state.get("outputs"), list):
        return "".join(_plain(output.get("text")) for output in state["outputs"])
    value = state.get("value")
    if "Progress" in str(state.get("_model_name")):
        try:
            low, high = float(state.get("min", 0)), float(state.get("max", 100))
            done = min(max((float(value) - low) / (high - low), 0), 1)
        except (TypeError, ValueError, ZeroDivisionError):
            return ""
        return "█" * round(_BAR * done) + "░" * round(_BAR * (1 - done))
    return "" if value is None else _plain(value)


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return re.sub(r"[\xa0\u2007]", " ", html.unescape(re.sub(r"<[^>]*>", "", text))).strip()
