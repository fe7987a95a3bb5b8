r"""Replies as different models write them: where the final answer stands, and what else stands near it.

`{answer}` is the answer, `{other}` another value. Must not know: golds, graders.
"""

from __future__ import annotations

from typing import Final

FINAL: Final = {
    "box at the end": "Counting the pairs gives ${other}$ of one kind.\n\n\\[\n\\boxed{{answer}}\n\\]",
    "box in a sentence": "Hence the number is $\\boxed{{answer}}$, as claimed.",
    "box with a name": "So we have $N = \\boxed{{answer}}$.",
    "box with words after it": "$\\boxed{{answer}}$ is the answer, since ${other}$ was ruled out in step 2.",
    "box in inline brackets": "We conclude that the value is \\(\\boxed{{answer}}\\).",
    "box with spaces": "So it is \\boxed {  {answer}  }.",
    "fbox": "The result is \\fbox{{answer}}.",
    "box then a check": "\\boxed{{answer}}\n\nCheck: putting it in gives $1 = 1$, as it should be.",
    "corrected box": "First try: \\boxed{{other}}. That misses a case. Corrected: \\boxed{{answer}}.",
    "box and unit outside": "The length is $\\boxed{{answer}}$ units.",
    "minerva": "Final Answer: The final answer is ${answer}$. I hope it is correct.",
    "final answer, bold": "**Final Answer**\n\nThe final answer is $\\boxed{{answer}}$",
    "answer line": "Since ${other}$ is too much, we stop here.\n\nAnswer: ${answer}$",
    "answer line, bold": "We use induction.\n\n**Answer: ${answer}$**",
    "answer line, capitals": "ANSWER: ${answer}$",
    "answer heading": "### Answer\n\n${answer}$",
    "answer heading, display": "## Final answer\n\n$$\n{answer}\n$$",
    "the answer is": "There are ${other}$ ways to start. The answer is ${answer}$.",
    "the answer is, colon": "The answer is: ${answer}$",
    "the final answer is, display": "The final answer is:\n\n\\[ {answer} \\]",
    "thus the answer is": "Thus, the answer is \\({answer}\\), which is what we wanted.",
    "so the answer is": "It can't be ${other}$. So the answer is ${answer}$",
    "tag": "<think>Perhaps it is {other}? No.</think>\n<answer>{answer}</answer>",
    "tag with dollars": "<answer>\n${answer}$\n</answer>",
    "hashes": "First there are {other} of them.\n#### {answer}",
    "hashes with dollars": "Adding up.\n\n#### ${answer}$",
    "bold box": "**The final answer is** $\\boxed{{answer}}$.",
    "our answer": "Therefore our answer is ${answer}$.",
    "answer equals": "Final answer = ${answer}$",
    "required value": "Hence the required value is $\\boxed{{answer}}$.",
    "numbered steps": "1. Let $a = 2$.\n2. Then $b = {other}$.\n3. So $c = {answer}$.\n\n\\boxed{{answer}}",
    "code before it": "```python\nprint({other})\n```\n\nThe program prints it, so the answer is \\boxed{{answer}}.",
    "thinking before it": "<think>\nMaybe \\boxed{{other}}? Let me see.\n</think>\n\nThe answer is \\boxed{{answer}}.",
    "twice the same": "We get \\boxed{{answer}}.\n\n**Final answer:** \\boxed{{answer}}",
    "display with text": "\\[ \\text{The answer is } \\boxed{{answer}} \\]",
    "aligned": "\\begin{align*}\na &= {other} \\\\\nb &= \\boxed{{answer}}\n\\end{align*}",
    "dollars in the box": "The answer is \\boxed{${answer}$}.",
    "text round it": "\\boxed{\\text{Answer: } {answer}}",
    "json": 'Working it out step by step.\n\n{"answer": "{json}"}',
}
"""Name -> a reply whose final answer is `{answer}`."""

NO_ANSWER: Final = {
    "cut short": "We start with ${answer}$ and a box: \\boxed{",
    "cut short in the middle": "Let $x = {answer}$. Then we have to look at the cases in which",
    "given up": "I can't find the answer to this one, even after trying ${answer}$ in the first equation. Sorry!",
    "empty box": "Therefore the answer is \\boxed{}.",
    "nothing": "",
    "no value": "The answer is left to the reader.",
    "question": "Could you tell me what you mean by the last sentence?",
}
"""Name -> a reply without a final answer."""
