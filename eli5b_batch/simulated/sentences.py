"""The sentences simulated texts are made of.

Must not know: problems, answers. No sentence holds a digit, an equals sign, a tilde or a box, so that nothing
in a simulated text can be taken for a final answer by accident.
"""

from __future__ import annotations

from typing import Final

STEPS: Final = (
    "Write down what is given and, on a line of its own, what is asked.",
    "Give every unknown quantity a short name and keep to it.",
    "Draw a small picture and mark the given lengths and angles in it.",
    "Try the smallest cases by hand before you look for a rule.",
    "Turn each condition of the text into one equation or one inequality.",
    "Look for a quantity that stays the same while everything else moves.",
    "Replace the hardest expression by a single letter, then simplify.",
    "Count the opposite event if the event itself has many cases.",
    "Split the problem into cases that exclude each other and cover everything.",
    "Check which values are ruled out, such as a zero in a denominator or a negative number under √.",
    "Factor both sides before you compare them.",
    "Use symmetry: which variables can trade places without changing the problem?",
    "Bound the quantity from both sides; the two bounds often meet.",
    "Work backwards from the last thing you would need to know.",
    "Look at remainders: they rule out most whole numbers at once.",
    "Write the sum a second time in reverse order and add the two line by line.",
    "Compare areas in two ways; the difference gives the missing length.",
    "Do only one operation per line, and copy the rest of the line unchanged.",
    "When an expression becomes long, stop and simplify it before you go on.",
    "Carry the units along; a wrong unit shows a wrong step.",
    "Ask what the largest and the smallest possible value would look like.",
    "Use the inequality a ≤ b only in the direction in which you have shown it.",
    "Put the value you found back into the first condition and see whether it holds.",
    "Read the question once more and make sure that you answer what is asked.",
)
"""What a simulated teacher advises, one sentence per numbered step."""

WORKING: Final = (
    "First I name the unknown quantities and write the conditions in terms of them.",
    "The second condition gives a relation between the two unknowns.",
    "Substituting this into the first condition leaves a single unknown.",
    "Both sides are positive, so squaring them loses nothing.",
    "The expression on the left factors, and one of the factors can't vanish.",
    "By symmetry it is enough to look at one of the cases.",
    "The remaining case leads to a contradiction, so it is ruled out.",
    "Collecting the terms with the unknown on the left makes the equation linear.",
    "The two triangles are similar, so their sides are in the same ratio.",
    "Every such choice can be made independently of the others, so the counts multiply.",
    "Each arrangement was counted once for every way to order its parts, so I divide by that number.",
    "The sum telescopes, and only the first and the last term are left.",
    "Looking at remainders leaves very few candidates.",
    "Trying the small cases suggests a pattern, which a short induction confirms.",
    "The bound is reached, because equality holds when all the variables agree.",
    "Since the function is increasing, the largest value stands at the right end: x → b.",
    "The discriminant must not be negative, which bounds the unknown from both sides (a ≤ x ≤ b).",
    "I check the result against the given conditions, and they hold.",
)
"""How a simulated student reasons."""

JUDGING: Final = (
    "I look only at what the candidate states last.",
    "Both are written out and compared term by term.",
    "The form may differ, so I simplify each side before I compare.",
    "The reasoning before it plays no part.",
    "The unit is the one that the problem names.",
    "There is one final answer, and it is stated clearly enough to compare.",
)
"""How a simulated judge reasons."""
