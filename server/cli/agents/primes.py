"""A program that speaks text: counts primes aloud, and answers what it hears between two of them."""

from __future__ import annotations

import itertools
import select
import sys

PAUSE_S = 0.01
IN_A_ROW = 16


def main() -> None:
    """Until stdin ends."""
    for place, prime in enumerate(_primes(), start=1):
        print(prime, end="\n" if place % IN_A_ROW == 0 else " ", flush=True)
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], PAUSE_S)
        if readable:
            heard = sys.stdin.readline()
            if not heard:
                print("\nmy input has ended, and so do I", flush=True)
                return
            print(f"\nyou said {heard.strip()!r} after {place} primes", flush=True)


def _primes() -> itertools.filterfalse[int]:
    return itertools.filterfalse(
        lambda number: any(number % factor == 0 for factor in range(2, int(number**0.5) + 1)),
        itertools.count(2),
    )


if __name__ == "__main__":
    main()
