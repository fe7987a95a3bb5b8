r"""Formulas: reading them, and finding whether two say the same. Bounded in time and memory, whatever they are given.

Must not know: replies, golds, verdicts, sympy.

    lexer       text to tokens
    arithmetic  tokens to expressions, with `functions`    numerals: numbers in unusual writings
    reader      tokens to whole formulas: the way in       tree: what comes out
    structure   do two trees say the same?: the way in     logic: True, False, None
    forms       the form a tree is compared in             units: what stands behind a value
    equations   x = 5, congruences, curves                 regions: intervals, inequalities
    values      are two expressions equal?                 exact: fractions and residues; numeric: to 1,000 digits
    work        the budget all of it draws on
"""
