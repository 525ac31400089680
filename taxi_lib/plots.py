"""The house style of figures: readable, labelled, safe for colour-blind readers, described."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import display
from matplotlib.figure import Figure


def use_house_style() -> None:
    """Set the house style for the figures of this notebook."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.figsize": (8, 4),
            "figure.dpi": 100,
            "axes.titlelocation": "left",
            "patch.force_edgecolor": False,  # white edges would hide bars of a pixel or two
        },
    )


def show(figure: Figure, alt: str) -> None:
    """Show a figure with a description for readers who cannot see it, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    alt : str
        What it shows, in a sentence: the alternative text in the HTML copy.
    """
    figure.tight_layout()
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def predicted_against_actual(actual: np.ndarray, predicted: np.ndarray, title: str) -> Figure:
    """Draw how often each pair of actual and predicted minutes occurs, and a perfect model's line.

    Both axes show 0 to 60 minutes; the legend counts the predictions that this leaves out.

    Parameters
    ----------
    actual, predicted : numpy.ndarray, shape (n,)
        Minutes.
    title : str
        What the figure shows, as a finding.
    """
    figure, axes = plt.subplots(figsize=(6.5, 5.5))
    # Logarithmic counts: the short trips outnumber the long ones by thousands.
    bins = axes.hexbin(
        actual, predicted, gridsize=40, extent=(0, 60, 0, 60), bins="log", cmap="viridis"
    )
    axes.plot([0, 60], [0, 60], color="black", linestyle="--", linewidth=1.5, label="perfect")
    axes.set(xlim=(0, 60), ylim=(0, 60), title=title)
    axes.set(xlabel="actual duration (minutes)", ylabel="predicted duration (minutes)")
    outside = int(((np.asarray(predicted) < 0) | (np.asarray(predicted) > 60)).sum())
    if outside:
        axes.plot([], [], " ", label=f"{outside:,} predictions are outside")
    axes.legend(loc="upper left")
    if bins.get_array().any():  # no scale if all trips are outside
        figure.colorbar(bins, label="trips (log scale)")
    return figure


def trend(months: list[str], errors: list[float]) -> Figure:
    """Draw a model's RMSE, in minutes, on each of some validation months."""
    worst = months[int(np.argmax(errors))]
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(8, 3.5))  # not by pyplot, which needs a screen
        axes = figure.subplots()
    axes.plot(months, errors, marker="o")
    axes.set(xlabel="validation month", ylabel="RMSE (minutes)", title=f"Hardest month: {worst}")
    axes.set_ylim(bottom=0)  # or small differences would look large
    return figure


def as_data_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` address, for Prefect's image artifacts."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=80, bbox_inches="tight")
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
