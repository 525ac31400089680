"""The small library behind the lessons: months of trips, models, and a runner of notebooks."""
