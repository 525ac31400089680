"""A real browser without a window."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def page_in_browser(address: str, profile: Path) -> str:
    """Return what a browser shows at an address, once the page has been built."""
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    how = ["--headless=new", "--no-sandbox", f"--user-data-dir={profile}", *quiet]
    show = ["--virtual-time-budget=30000", "--dump-dom", address]
    done = subprocess.run(
        [CHROMIUM, *how, *show], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout
