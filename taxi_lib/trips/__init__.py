"""Months of trips: found, downloaded, checked, cleaned, or made up."""

from taxi_lib.trips.data import read_trips
from taxi_lib.trips.month_file import MonthFile
from taxi_lib.trips.sources import banner, fetch_held_out, fetch_months

__all__ = ["MonthFile", "banner", "fetch_held_out", "fetch_months", "read_trips"]
