"""What `--tenant` says: the part of the capacity that a tenant may have at most.

acme=slots:4,memory:8G,pids:512
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from watchglass.protocol.base import NAME_CHARS_MAX
from watchglass.protocol.errors import shown
from watchglass.protocol.execution import Reservation

from .amounts import AMOUNT_FORM, amount_bytes

FIELDS: Final[Mapping[str, str]] = {"slots": "task_slots", "memory": "memory_bytes", "pids": "pids"}
AMOUNT_MAX: Final = 1 << 50

_FORM: Final = "use TENANT=slots:N[,memory:SIZE][,pids:N]"


class QuotaFault(ValueError):
    """A text that is no quota; it names the field, the value and the bound."""


def quotas_of(texts: Sequence[str]) -> dict[str, Reservation]:
    """The quota of each tenant.

    Raises:
        QuotaFault: One of the texts is of another form, or names a tenant again.
    """
    quotas: dict[str, Reservation] = {}
    for text in texts:
        tenant, quota = _quota(text)
        if tenant in quotas:
            raise QuotaFault(f"{shown(text)}: tenant {shown(tenant)} has a quota already; give it once")
        quotas[tenant] = quota
    return quotas


def _quota(text: str) -> tuple[str, Reservation]:
    tenant, equals, parts = text.rpartition("=")
    if not equals or not tenant.strip() or len(tenant) > NAME_CHARS_MAX:
        raise QuotaFault(f"{shown(text)}: {_FORM}, with a name of 1 to {NAME_CHARS_MAX} characters")
    amounts: dict[str, int] = {}
    for part in parts.split(","):
        field, _, value = part.partition(":")
        if field not in FIELDS:
            raise QuotaFault(f"{shown(text)}: {shown(field)} is no resource; {_FORM}")
        if FIELDS[field] in amounts:
            raise QuotaFault(f"{shown(text)}: {field} is there twice; give it once")
        amounts[FIELDS[field]] = _amount(text, field, value)
    if "task_slots" not in amounts:
        raise QuotaFault(f"{shown(text)}: slots is missing; {_FORM}")
    return tenant, Reservation(**amounts)


def _amount(text: str, field: str, value: str) -> int:
    if field == "memory":
        found, form = amount_bytes(value), f"{AMOUNT_FORM}, from"
    else:
        found, form = int(value) if value.isascii() and value.isdecimal() else None, "a whole number from"
    if found is None or not 1 <= found <= AMOUNT_MAX:
        raise QuotaFault(f"{shown(text)}: {field} {shown(value)}: use {form} 1 to {AMOUNT_MAX}")
    return found
