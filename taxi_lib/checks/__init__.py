"""The exercises' answers, checked at once: ``check = questions("07")``, then ``check.q1(answer)``.

``lesson_NN`` holds the three questions of a lesson, each a function that judges an answer;
``questions`` asks them, ``verdicts`` says what came out, ``answers`` reads what a learner gives,
``server`` asks Prefect's server, ``web`` is a service to try code on, ``schedules`` works out
cron expressions, and ``progress`` remembers what was passed.
"""

from taxi_lib.checks.questions import Questions, questions

__all__ = ["Questions", "questions"]
