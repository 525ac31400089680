"""One field of a notebook's contract: a parameter that it takes, or a result that it promises.

A field is a line of Python: ``name: type = value  # help [limit]``; a result has no value.
The limit is a range (``[1 to 100]``, ``[1 or more]``, ``[above 0]``), ``[inside the workspace]``
for a path, or ``[secret]``.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from taxi_lib.errors import ContractError
from taxi_lib.months import MONTH, check_begun
from taxi_lib.results import Value
from taxi_lib.runner.kinds import adapter, in_words, inside_workspace, members

# The words of a name that say that its value is a secret, if they come last or before one of
# _LAST: `api_key` and `aws_access_key_id`, but neither `key_column` nor `token_limit`.
_SECRET_WORDS = re.compile(
    r"(^|_)([a-z]*(password|passwd|passphrase|passcode|apikey|authkey|privatekey|secretkey|accesskey"
    r"|accesstoken|authtoken|apitoken)|pwd|pw|secret|secrets|credential|credentials|creds"
    r"|bearer|jwt|auth|userpass"
    r"|(db|user|smtp|mysql|postgres|pg|sql|ftp|admin|root|mail|email|login)_?(pass|password)"
    r"|(api|access|private|secret|signing|encryption|auth|ssh|gpg|rsa|tls|ssl|fernet|hmac|account"
    r"|storage|subscription|license|master|shared|service|deploy|client|consumer|bot|webhook"
    r"|openai|anthropic|azure|aws|gcp|google|github|gitlab|wandb|kaggle|stripe|hf)_keys?"
    # not what a language model's vocabulary calls so
    r"|(?<!pad_)(?<!eos_)(?<!bos_)(?<!sep_)(?<!cls_)(?<!unk_)(?<!mask_)(?<!end_)(?<!start_)"
    r"(?<!stop_)(?<!special_)token)"
    r"\d*(_(id|key|value|string|text|header|code|phrase|token|secret|data|json|hash|base64|b64"
    r"|prod|dev|test|staging|\d+))*$"
)
# A password within an address or a connection string.
_HOLDS_PASSWORD = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@|\b(password|pwd|accountkey|sharedaccesskey)=[^;\s&]"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"(env|block):[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Field:
    """One parameter or result.

    Attributes
    ----------
    name, type, help : str
        As written in its cell; ``help`` is the comment behind the value, without the limit.
    default : str, int, float, bool, list, dict or None
        The value when none is given; None for a result.
    limit : str
        What stands in brackets at the end of the comment, such as ``1 to 100``; often empty.
    """

    name: str
    type: str
    default: Value
    help: str
    limit: str = ""

    @property
    def is_month(self) -> bool:
        """Whether the value is a month: a text whose name ends in ``month``."""
        is_text = any(kind in ("str", "Any") or "Literal['" in kind for kind in self.kinds)
        return self.name.endswith("month") and is_text

    @property
    def is_path(self) -> bool:
        """Whether the value is a path."""
        return "Path" in self.kinds

    @property
    def kinds(self) -> frozenset[str]:
        """The types that the value may have: ``str`` and ``None`` for ``str | None``."""
        return members(self.type)

    @property
    def is_secret(self) -> bool:
        """Whether the value is a secret: it is told by where it is kept, never by itself."""
        return self.limit == "secret"

    @property
    def told(self) -> str:
        """The comment behind the value, as it stands in the notebook."""
        return f"{self.help} [{self.limit}]".strip() if self.limit else self.help

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        return in_words(self.name, self.type) + (f", {self.limit}" if self.limit else "")

    def check(self, value: object, strict: bool = False) -> Value:
        """Return the value as this field's type, or refuse it in one sentence.

        Parameters
        ----------
        value : object
            A text from a command line will do, unless `strict`.
        strict : bool
            Take nothing for something else: the text ``"3"`` is no number.

        Returns
        -------
        str, int, float, bool, list, dict or None
            Dates in ISO's notation and paths in full, as texts.

        Raises
        ------
        ContractError
            With the field, the value and what was expected.
        """
        if value == "None" and self.kinds & {"None", "Any"} and not strict:
            return None  # how the command line says it
        if self.is_secret and value not in ("", None):
            return self._check_reference(value)
        if isinstance(value, str) and _HOLDS_PASSWORD.search(value):
            raise ContractError(
                f"{self.name} holds a password: end its line with [secret], and say where it is "
                "kept, as env:VARIABLE or block:NAME."
            )
        try:
            checked = adapter(self.name, self.type, self.limit, strict).validate_python(value)
        except (ValidationError, ValueError):
            raise self._refused(value) from None
        if self.is_month and checked is not None:
            check_begun(checked, self.name)
        if self.limit == "inside the workspace" and checked is not None:
            return inside_workspace(checked, self.name)
        return checked

    def schema(self) -> dict[str, Any]:
        """Return the field as JSON schema: what Prefect draws its form from."""
        schema = adapter(self.name, self.type, self.limit).json_schema()
        if self.is_month:
            schema |= {"pattern": f"^{MONTH.pattern}$"}  # holds for texts, not for None
        if self.is_secret:
            # Prefect keeps what it is given: its server refuses a secret that is told outright.
            schema |= {"pattern": f"^({_REFERENCE.pattern})?$"}
        # No default: two notebooks may have different ones for the same name.
        return schema | {"title": self.name, "description": self.help}

    def check_name(self) -> None:
        """Refuse a text that sounds like a secret, and is not called one.

        Raises
        ------
        ContractError
            With the name.
        """
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).casefold()
        could_be = self.kinds & {"str", "Any"} and not self.is_secret
        if could_be and _SECRET_WORDS.search(words):
            raise ContractError(
                f"{self.name} sounds like a secret: end its line with [secret], "
                "or give it another name."
            )

    def _refused(self, value: object) -> ContractError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
        help_text = f": {self.help}" if self.help else ""
        return ContractError(f"{self.name} is {shown}, expected {self.expected}{help_text}.")

    def _check_reference(self, value: object) -> str:
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            return value
        raise ContractError(
            f"{self.name} is secret: say where it is kept, as env:VARIABLE or block:NAME "
            "(a Secret block of Prefect), not what it is."
        )
