"""The demo agent's tools. They really work: a bounded calculator and a word counter."""

import ast
import math
import operator
import re

MAX_EXPRESSION = 200  # characters
MAX_EXPONENT = 1000
MAX_BITS = 4096  # of an integer on the way or at the end


class ToolError(Exception):
    """The tool cannot answer; the text says why and is meant for the user."""


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}

_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_CANDIDATE = re.compile(r"(?:[-+*/%^().\d \t]|(?<=\d)[eE](?=[-+]?\d))+")
_LEADING = re.compile(r"^(?:[*/%^) \t]|\.(?!\d))+")
_HAS_OPERATION = re.compile(r"[\d.)][ \t]*[-+*/%^]")


def find_expression(text):
    """The longest arithmetic expression in a question, or None: "What is (2 + 3) * 4?" gives "(2 + 3) * 4"."""
    found = [_trim(match.group()) for match in _CANDIDATE.finditer(text.translate(_SPELLINGS))]
    found = [expression for expression in found if _HAS_OPERATION.search(expression)]
    return max(found, key=len).replace("^", "**") if found else None


def _trim(candidate):
    """Take off what belongs to the sentence around: blanks, a full stop, a bracket without its partner."""
    text = _LEADING.sub("", candidate).rstrip("+-*/%^.( \t")
    if len(text) > MAX_EXPRESSION:
        return text  # calculate() refuses it
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip("+-*/%^. \t")
    while text.startswith("(") and text.count("(") > text.count(")"):
        text = _LEADING.sub("", text[1:])
    return text


def calculate(expression):
    """The value of an expression of numbers, + - * / // % **, signs and brackets. ToolError when there is none."""
    if len(expression) > MAX_EXPRESSION:
        raise ToolError(f"the expression is longer than {MAX_EXPRESSION} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ToolError("this is not a valid expression") from None
    try:
        return _value(tree.body)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("the result is too large") from None


def _value(node):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _bounded(_power(_value(node.left), _value(node.right)))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _bounded(_OPERATORS[type(node.op)](_value(node.left), _value(node.right)))
    raise ToolError("only numbers, + - * / // % ** and brackets are understood")


def _power(base, exponent):
    if abs(exponent) > MAX_EXPONENT:
        raise ToolError(f"the exponent is larger than {MAX_EXPONENT}")
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_BITS + exponent:
        raise ToolError("the result is too large")
    return base**exponent


def _bounded(value):
    if isinstance(value, complex):
        raise ToolError("the result is not a real number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS or isinstance(value, float) and not math.isfinite(value):
        raise ToolError("the result is too large")
    return value


def word_count(text):
    words = re.findall(r"\w+(?:['’-]\w+)*", text)
    return {"words": len(words), "unique_words": len({word.lower() for word in words}), "characters": len(text)}


def portable(value):
    """MessagePack has 64-bit integers; a larger one travels as its digits."""
    return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else str(value)
