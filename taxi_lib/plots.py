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
        rc={"figure.figsize": (8, 4), "figure.dpi": 100, "axes.titlelocation": "left"},
    )


def show(figure: Figure, alt: str) -> None:
    """Show a figure with a description for readers who cannot see it, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn.
    alt : str
        What the figure shows, in a sentence; the HTML copy carries it as alternative text.
    """
    figure.tight_layout()
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def predicted_against_actual(actual: np.ndarray, predicted: np.ndarray, title: str) -> Figure:
    """Draw how often each pair of actual and predicted minutes occurs.

    Parameters
    ----------
    actual, predicted : numpy.ndarray, shape (n,)
        Minutes.
    title : str
        What the figure shows, as a finding.

    Returns
    -------
    matplotlib.figure.Figure
        With the line on which a perfect model's trips would lie.
    """
    figure, axes = plt.subplots(figsize=(6.5, 5.5))
    # Logarithmic counts: the short trips outnumber the long ones by thousands.
    bins = axes.hexbin(
        actual, predicted, gridsize=40, extent=(0, 60, 0, 60), bins="log", cmap="viridis"
    )
    axes.plot([0, 60], [0, 60], color="black", linestyle="--", linewidth=1.5, label="perfect")
    axes.set(xlim=(0, 60), ylim=(0, 60), title=title)
    axes.set(xlabel="actual duration (minutes)", ylabel="predicted duration (minutes)")
    axes.legend(loc="upper left")
    if bins.get_array().any():  # there is no scale to show when all lies outside
        figure.colorbar(bins, label="trips")
    return figure


def trend(months: list[str], errors: list[float]) -> Figure:
    """Draw a model's error from month to month.

    Parameters
    ----------
    months : list of str, length n
        The months that were scored on.
    errors : list of float, length n
        RMSE in minutes.
    """
    worst = months[int(np.argmax(errors))]
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(8, 3.5))  # without pyplot: a worker has no screen
        axes = figure.subplots()
    axes.plot(months, errors, marker="o")
    axes.set(xlabel="month scored on", ylabel="RMSE (minutes)", title=f"Hardest to tell: {worst}")
    axes.set_ylim(bottom=0)  # else a hundredth of a minute looks like a collapse
    return figure


def as_data_uri(figure: Figure) -> str:
    """Return a figure as an address that holds its picture, for Prefect's image artifacts."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=80, bbox_inches="tight")
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
