"""What a reward will teach, in sentences made by rule from its audit.

An edit makes a caption truer by what it adds in true statements less what it adds in false ones. What pays must be
truer, and what is less true must cost: every edit that breaks this is named, where the interval decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.train.audit_result import FACT, TOTAL, Audit, Effect

RULES = {  # is it truer (1), less true (-1) or neither (0), signs of the change that are wrong, what to say of it
    "rewarded although less is true": (-1, (1,)),
    "not punished although less is true": (-1, (0,)),
    "not rewarded although more is true": (1, (0, -1)),
    "paid for although nothing is said": (0, (1,)),
}


def truer(effect: Effect) -> int:
    """1 where an edit makes captions truer, -1 where less true."""
    return (effect.true > effect.false) - (effect.true < effect.false)


def broken(audit: Audit) -> dict[str, list[str]]:
    """The edits that break each of the rules."""
    return {
        rule: [e.edit for e in audit.effects if truer(e) == direction and e.changes[TOTAL].sign in signs]
        for rule, (direction, signs) in RULES.items()
    }


def verdict(audit: Audit) -> Iterator[str]:
    """One sentence per finding."""
    price = next((price for price in audit.prices if price.kind == FACT), None)
    if price is None or price.price is None or price.ci95 is None:
        yield "a true fact earns nothing significant, so a false one has no price"
    else:
        low, high = sorted(price.sign * bound for bound in price.ci95)
        verb = "earns" if price.sign > 0 else "costs"
        times = f"{price.sign * price.price:.2f} [{low:.2f}, {high:.2f}]"
        yield f"a false fact {verb} {times} times what a true one earns in its place"
    mean, low, high = audit.word
    yield f"a word that says nothing earns {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
    for rule, edits in broken(audit).items():
        if edits:
            yield f"{rule}: {', '.join(edits)}"
